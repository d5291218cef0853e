"""Checkpoints of several processes: whole ones that rank 0 writes, and sliced ones of which each rank writes its part.

    FOLDER/slices-000000120-5f3a9c01/00000-of-00002.safetensors    rank 0's slices of the sliced tensors
                                     00001-of-00002.safetensors    rank 1's
           step-000000120/...                                      what every rank has alike, and JSON about the slices

The slices are on the disk before rank 0 commits the checkpoint that names them, with their sizes and SHA-256: a kill
between the two leaves the checkpoint before it. A tensor is sliced along its first axis, as FSDP2 does it, and what N
ranks wrote is read at any other number of them.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from danlu.core.checkpoint import COMMIT, Checkpoints, read_checkpoint
from danlu.core.errors import BundleError, DanluError, UserError
from danlu.core.files import disk_errors, sync_folder
from danlu.core.ideas import State
from danlu.core.process_ranks import ProcessRanks

SLICED = "$slices"
BLOCK = 1 << 22  # bytes that are hashed at a time


class SharedCheckpoints(Checkpoints):
    """Whole checkpoints: rank 0 writes them and hands on what it reads, so that only it needs the folder."""

    def __init__(
        self, folder: str | Path, *, ranks: ProcessRanks, warn: Callable[[str], object] = lambda text: None
    ) -> None:
        super().__init__(folder, warn=warn)
        self._ranks = ranks

    def save(self, state: State, *, step: int) -> Path:
        """As ever, by rank 0; the error of a full disk is every rank's."""
        error = ""
        if self._ranks.rank == 0:
            try:
                super().save(state, step=step)
            except UserError as problem:
                error = str(problem)
        _raise(self._ranks.agree(error), UserError)
        return self.folder / f"step-{step:09d}"

    def newest(self) -> State | None:
        """What rank 0 finds, on every rank."""
        state = super().newest() if self._ranks.rank == 0 else None
        if not self._ranks.agree("found" if state is not None else ""):
            return None
        return self._ranks.share(state)


class SlicedCheckpoints(Checkpoints):
    """Checkpoints in a folder that all ranks can reach: each writes and reads its own slices of the sliced tensors."""

    def __init__(
        self,
        folder: str | Path,
        *,
        ranks: ProcessRanks,
        mesh: Any,
        warn: Callable[[str], object] = lambda text: None,
    ) -> None:
        """`mesh` is torch's DeviceMesh of the ranks."""
        super().__init__(folder, warn=warn)
        self._ranks, self._mesh = ranks, mesh

    def save(self, state: State, *, step: int) -> Path:
        """Write this rank's slices; once all ranks have, rank 0 commits. An error of one rank is every rank's."""
        from safetensors.torch import save

        ranks = self._ranks
        name = ranks.agree(f"slices-{step:09d}-{secrets.token_hex(4)}" if ranks.rank == 0 else "")
        slices: dict[str, Any] = {}
        whole = _without_slices(state, "state", slices)
        own = {key: value.to_local().detach().cpu().contiguous() for key, value in slices.items()}
        file = self.folder / name / _file(ranks.rank, ranks.number)
        error, facts = "", ""
        try:
            facts = _put(file, save(own))
        except UserError as problem:
            error = str(problem)
        error = ranks.agree(error)
        files = dict(
            zip([_file(rank, ranks.number) for rank in range(ranks.number)], ranks.texts(facts), strict=True)
        )
        if not error and ranks.rank == 0:
            shapes = {key: list(value.shape) for key, value in slices.items()}
            try:
                about = {"folder": name, "files": files, "shapes": shapes}
                super().save({"state": whole, "slices": about}, step=step)
            except UserError as problem:
                error = str(problem)
        error = ranks.agree(error)
        if ranks.rank == 0:
            self._clear_slices(besides=None if error else name)
        _raise(error, UserError)
        return self.folder / f"step-{step:09d}"

    def newest(self) -> State | None:
        """This rank's share of the newest checkpoint that is whole on every rank; damaged ones are passed over."""
        ranks = self._ranks
        names = [path.name for path in _committed(self.folder)] if ranks.rank == 0 else []
        for name in filter(None, ranks.agree(" ".join(names)).split(" ")):
            error, found = "", None
            try:
                found = read_checkpoint(self.folder / name)
                # Each rank hashes its share of the files, so that each file is read twice and not once for each rank.
                _check(self.folder, found, list(found["slices"]["files"])[ranks.rank :: ranks.number])
            except (BundleError, KeyError) as problem:
                error = str(problem)
            error = ranks.agree(error)
            if error or found is None:
                if ranks.rank == 0:
                    self.warn(f"The checkpoint {self.folder / name} is passed over: {error}")
                continue
            return self._sliced(found)
        return None

    def _sliced(self, found: State) -> State:
        """The state with this rank's slices as torch's DTensors."""
        import torch
        from torch.distributed.tensor import DTensor, Shard

        def slice_of(name: str, shape: Sequence[int]) -> Any:
            first, count = rows_of(shape[0], self._ranks.rank, self._ranks.number)
            local = reader.read(name, shape, first, first + count).to(self._mesh.device_type)
            stride = [1]
            for size in reversed(shape[1:]):
                stride.insert(0, stride[0] * size)
            placed: Any = DTensor.from_local(  # pyright: ignore[reportUnknownMemberType]
                local, self._mesh, [Shard(0)], run_check=False, shape=torch.Size(shape), stride=tuple(stride)
            )
            return placed

        with _Reader(self.folder, found["slices"]) as reader:
            return _with_slices(found["state"], found["slices"]["shapes"], slice_of)

    def _clear_slices(self, *, besides: str | None) -> None:
        """Delete the slices that no committed checkpoint names."""
        named = {besides}
        for path in _committed(self.folder):
            with suppress(BundleError, KeyError):
                named.add(read_checkpoint(path)["slices"]["folder"])
        for path in self.folder.glob("slices-*"):
            if path.name not in named:
                shutil.rmtree(path, ignore_errors=True)


def read_joined(path: str | Path) -> State:
    """The whole state in one sliced checkpoint, `FOLDER/step-000000120`, in one process without any group.

    `BundleError` says in which way it is not whole.
    """
    path = Path(path)
    found = read_checkpoint(path)
    if "slices" not in found:
        raise BundleError(f"{path} is a whole checkpoint: read it with core.checkpoint.read_checkpoint.")
    _check(path.parent, found, list(found["slices"]["files"]))
    with _Reader(path.parent, found["slices"]) as reader:
        return _with_slices(
            found["state"],
            found["slices"]["shapes"],
            lambda name, shape: reader.read(name, shape, 0, shape[0]),
        )


def rows_of(num_rows: int, rank: int, ranks: int) -> tuple[int, int]:
    """First row and number of rows of a rank's slice: as torch.chunk deals them, the last ones may have none."""
    size = -(-num_rows // ranks)
    first = min(rank * size, num_rows)
    return first, min(size, num_rows - first)


class _Reader:
    """Rows of sliced tensors out of the files of however many ranks."""

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        self._folder, self._names = folder / about["folder"], list(about["files"])
        self._files: list[Any] = []

    def __enter__(self) -> _Reader:
        from safetensors import safe_open

        opened: Any = safe_open
        self._files = [opened(self._folder / name, framework="pt").__enter__() for name in self._names]
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files:
            file.__exit__(None, None, None)

    def read(self, name: str, shape: Sequence[int], first: int, end: int) -> Any:
        """Rows `first` to `end` of the tensor called `name`, whose whole shape is given."""
        import torch

        found: list[Any] = []
        for rank, file in enumerate(self._files):
            start, count = rows_of(shape[0], rank, len(self._files))
            low, high = max(first, start), min(end, start + count)
            if low < high:
                found.append(file.get_slice(name)[low - start : high - start])
        if found:
            return torch.cat(found)
        return self._files[0].get_tensor(name)[:0].reshape(0, *shape[1:])


def _without_slices(value: Any, place: str, slices: dict[str, Any]) -> Any:
    """The state with a mark in the place of each sliced tensor, which is put into `slices`."""
    if hasattr(value, "placements"):
        sliced: Any = value
        if any(placement.is_shard() for placement in sliced.placements):
            slices[place] = sliced
            return {SLICED: place}
        return sliced.to_local()  # every rank has all of it
    if isinstance(value, Mapping):
        given = cast(Mapping[str, Any], value)
        return {key: _without_slices(item, f"{place}/{key}", slices) for key, item in given.items()}
    if isinstance(value, (list, tuple)):
        items = cast(Sequence[Any], value)
        return [_without_slices(item, f"{place}/{index}", slices) for index, item in enumerate(items)]
    return value


def _with_slices(
    value: Any, shapes: Mapping[str, Sequence[int]], slice_of: Callable[[str, Sequence[int]], Any]
) -> Any:
    """The state again."""
    if isinstance(value, Mapping):
        given = cast(Mapping[str, Any], value)
        if SLICED in given:
            return slice_of(given[SLICED], shapes[given[SLICED]])
        return {key: _with_slices(item, shapes, slice_of) for key, item in given.items()}
    if isinstance(value, list):
        return [_with_slices(item, shapes, slice_of) for item in cast(list[Any], value)]
    return value


def _put(file: Path, content: bytes) -> str:
    """Bring a file onto the disk; its size and SHA-256 as `size:hash`."""
    with disk_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as target:
            target.write(content)
            target.flush()
            os.fsync(target.fileno())
        sync_folder(file.parent)
    return f"{len(content)}:{hashlib.sha256(content).hexdigest()}"


def _check(folder: Path, found: State, names: Sequence[str]) -> None:
    """`BundleError` where one of the named files is not what was written."""
    about = found["slices"]
    for name in names:
        path = folder / about["folder"] / name
        try:
            with path.open("rb") as file:
                digest = hashlib.sha256()
                while block := file.read(BLOCK):
                    digest.update(block)
                facts = f"{file.tell()}:{digest.hexdigest()}"
        except OSError as error:
            raise BundleError(f"{name} cannot be read ({error.strerror}).") from error
        if facts != about["files"][name]:
            raise BundleError(
                f"{name} is not what was written ({path.stat().st_size:,} bytes, another hash)."
            )


def _committed(folder: Path) -> Iterator[Path]:
    """The folders of committed checkpoints, newest first."""
    return (path for path in sorted(folder.glob("step-*"), reverse=True) if (path / COMMIT).exists())


def _file(rank: int, number: int) -> str:
    return f"{rank:05d}-of-{number:05d}.safetensors"


def _raise(error: str, kind: type[DanluError]) -> None:
    if error:
        raise kind(error)
