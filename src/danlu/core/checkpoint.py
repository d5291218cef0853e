"""Checkpoints that are whole or not there: a kill or a full disk at any moment leaves the one before it.

    FOLDER/step-000000120/state.json             numbers, texts, and where the arrays stand
                          tensors.safetensors    every array and tensor
                          commit.json            size and SHA-256 of the two; written last

Committed in this order: both files into a folder of their own and onto the disk (fsync), the folder gets its name,
commit.json makes it count, older checkpoints go. What `newest` returns was read whole and has the right hashes.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from danlu.core.errors import BundleError
from danlu.core.files import disk_errors, sync_folder, write_atomic
from danlu.core.ideas import State
from danlu.core.states import put_together, take_apart, tensor_names

STATE, TENSORS, COMMIT = "state.json", "tensors.safetensors", "commit.json"
FORMAT = 1
KEPT = 2  # one more than needed: the newest may be found damaged


class Checkpoints:
    """The checkpoints of one fit, below a folder of its own."""

    def __init__(self, folder: str | Path, *, warn: Callable[[str], object] = lambda text: None) -> None:
        self.folder, self.warn = Path(folder), warn

    def save(self, state: State, *, step: int) -> Path:
        """Commit `state` as the checkpoint of `step`; `UserError` where the disk refuses, the older ones untouched."""
        target = self.folder / f"step-{step:09d}"
        with disk_errors(target):
            self.folder.mkdir(parents=True, exist_ok=True)
            part = Path(tempfile.mkdtemp(prefix=".part-", dir=self.folder))
            try:
                files = _write(part, state)
                if target.exists():  # not whole, or from a run that went on from an older one
                    shutil.rmtree(target)
                os.replace(part, target)
                sync_folder(self.folder)
                write_atomic(target / COMMIT, json.dumps({"format": FORMAT, "files": files}, indent=1) + "\n")
            except BaseException:
                shutil.rmtree(part, ignore_errors=True)
                if not (target / COMMIT).exists():  # it would take up what is left of the disk
                    shutil.rmtree(target, ignore_errors=True)
                raise
        self._clear(keep=target)
        return target

    def newest(self) -> State | None:
        """The state of the newest checkpoint that is whole; a damaged one is passed over with a warning."""
        for path in reversed(self._in_order()):
            if not (path / COMMIT).exists():
                continue  # the run was killed while it wrote this one
            try:
                return read_checkpoint(path)
            except BundleError as error:
                self.warn(f"The checkpoint {path} is passed over: {error}")
        return None

    def remove(self) -> None:
        """Delete all of them, once they are of no more use."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _in_order(self) -> list[Path]:
        """All that are there, whole or not, by their steps."""
        return sorted(self.folder.glob("step-*"), key=lambda path: (len(path.name), path.name))

    def _clear(self, *, keep: Path) -> None:
        """Delete what a kill left half-written, what lies ahead of `keep`, and all but the newest committed ones."""
        committed = [path for path in self._in_order() if (path / COMMIT).exists()]
        place = committed.index(keep)
        kept = committed[max(place + 1 - KEPT, 0) : place + 1]
        for path in [*self.folder.glob(".part-*"), *self.folder.glob("step-*")]:
            if path not in kept:
                shutil.rmtree(path, ignore_errors=True)


def read_checkpoint(path: Path) -> State:
    """The state in one checkpoint's folder; `BundleError` says in which way it is not whole."""
    try:
        commit = json.loads((path / COMMIT).read_text(encoding="utf-8"))
        version, files = commit["format"], dict[str, Any](commit["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"its commit record cannot be read ({error}).") from error
    if version != FORMAT:
        raise BundleError(f"its format is {version!r}, and this version of danlu reads {FORMAT}.")
    content: dict[str, bytes] = {}
    for name in (STATE, TENSORS):
        try:
            content[name] = (path / name).read_bytes()
        except OSError as error:
            raise BundleError(f"{name} cannot be read ({error.strerror}).") from error
        if files.get(name) != _facts(content[name]):
            raise BundleError(f"{name} is not what was written ({len(content[name]):,} bytes, another hash).")
    value = json.loads(content[STATE])
    return put_together(value, arrays=_tensors(content[TENSORS], value))


def _write(folder: Path, state: State) -> dict[str, Any]:
    """Put the two files of a state onto the disk; their sizes and hashes."""
    arrays: dict[str, Any] = {}
    value = take_apart(state, place="state", arrays=arrays, strict=False)
    content = {
        STATE: json.dumps(value).encode(),
        TENSORS: _packed(arrays, has_tensors=bool(tensor_names(value))),
    }
    for name, data in content.items():
        with (folder / name).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    sync_folder(folder)
    return {name: _facts(data) for name, data in content.items()}


def _packed(arrays: dict[str, Any], *, has_tensors: bool) -> bytes:
    """The arrays as safetensors; torch is imported for tensors only."""
    if has_tensors:
        from safetensors.torch import save

        return save({name: _tensor(array) for name, array in arrays.items()})
    from safetensors.numpy import save as save_arrays

    return save_arrays({name: array.copy(order="C") for name, array in arrays.items()})


def _tensor(array: Any) -> Any:
    """A contiguous tensor that shares memory with no other one of the state."""
    import torch

    tensor = array.detach() if hasattr(array, "detach") else torch.as_tensor(array.copy())
    return tensor.to("cpu", copy=True).contiguous()


def _tensors(content: bytes, value: Any) -> dict[str, Any]:
    as_tensor = set(tensor_names(value))
    if not as_tensor:
        from safetensors.numpy import load as load_arrays

        return load_arrays(content)
    from safetensors.torch import load

    tensors = load(content)
    return {name: tensor if name in as_tensor else tensor.numpy() for name, tensor in tensors.items()}


def _facts(content: bytes) -> dict[str, Any]:
    return {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
