"""A fit in a process of its own, which can be ended at any moment: `python -m danlu.updates.child FOLDER`.

The rows and the fitted arrays travel through a temporary folder as .npy files beside one JSON file; nothing
is pickled.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from danlu.core.errors import DanluError, DataError, OutOfTime, RecipeError
from danlu.core.ideas import Batch, Context, Step
from danlu.core.tasks import Task

KNOWN_ERRORS: dict[str, type[DanluError]] = {
    kind.__name__: kind for kind in (DataError, RecipeError, OutOfTime)
}


def fit_in_child(model: Any, batch: Batch, task: Task, context: Context) -> Step:
    """As `model.fit_round` of a model that is not fitted yet. The child ends with this call in any case.

    Raises `OutOfTime` at the context's deadline, what the child raised on purpose, or a `DanluError` with its
    last words.
    """
    kind = type(model)
    request = {
        "model": f"{kind.__module__}:{kind.__qualname__}",
        "settings": dataclasses.asdict(model.settings),
        "num_features": model.num_features,
        "seed": model.seed,
        "task": task.as_dict(),
        "batch": {name: value for name, value in batch.items() if value is not None},
        "context": {"seed": context.seed, "num_threads": context.num_threads},
    }
    with tempfile.TemporaryDirectory(prefix="danlu-fit-") as name:
        folder = Path(name)
        save(folder / "request", request)
        with (folder / "errors.txt").open("wb") as errors:
            process = subprocess.Popen(
                # -P: a json.py in the person's working folder is not ours. Its own session: Ctrl-C is for the
                # parent.
                [sys.executable, "-P", "-m", "danlu.updates.child", name],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                start_new_session=True,
            )
            try:
                left = context.deadline.seconds_left
                process.wait(None if left == float("inf") else max(left, 0.0))
            except subprocess.TimeoutExpired:
                rows = f"{len(batch['y']):,} rows"
                raise OutOfTime(
                    f"{kind.__name__} was still being fitted to {rows} when its time was up."
                ) from None
            finally:
                process.kill()
                process.communicate()
        if not (folder / "answer" / "content.json").exists():
            words = (folder / "errors.txt").read_text(encoding="utf-8", errors="replace").splitlines()
            last = next(
                (line for line in reversed(words) if re.match(r"[\w.]+(Error|Exception)\b", line)), ""
            )
            last = last or f"exit status {process.returncode}"
            raise DanluError(f"The process that fitted {kind.__name__} ended without a result: {last}")
        answer = load(folder / "answer")
    if "error" in answer:
        raise KNOWN_ERRORS.get(answer["error"], DanluError)(answer["message"])
    model.load(answer["state"])
    return Step(answer["losses"], answer["signals"], answer["done"])


def save(folder: Path, value: Mapping[str, Any]) -> None:
    """Write nested tables of plain values, arrays and CSR matrices; content.json comes last."""
    folder.mkdir()
    count = 0

    def put(item: Any) -> Any:
        nonlocal count
        if isinstance(item, Mapping):
            return {"table": {name: put(inner) for name, inner in item.items()}}
        if hasattr(item, "tocsr"):
            item = item.tocsr()
            return {"csr": [put(item.data), put(item.indices), put(item.indptr)], "shape": list(item.shape)}
        if isinstance(item, np.ndarray):
            count += 1
            np.save(folder / f"{count}.npy", item, allow_pickle=False)
            return {"array": count}
        return {"value": item}

    content = json.dumps(put(value))
    (folder / "content.part").write_text(content, encoding="utf-8")
    (folder / "content.part").rename(folder / "content.json")


def load(folder: Path) -> Any:
    """Read what `save` wrote."""

    def get(item: dict[str, Any]) -> Any:
        if "table" in item:
            return {name: get(inner) for name, inner in item["table"].items()}
        if "csr" in item:
            from scipy.sparse import csr_matrix

            return csr_matrix(tuple(get(part) for part in item["csr"]), shape=tuple(item["shape"]))
        if "array" in item:
            return np.load(folder / f"{item['array']}.npy", allow_pickle=False)
        return item["value"]

    return get(json.loads((folder / "content.json").read_text(encoding="utf-8")))


def main(folder: Path) -> None:
    """Fit what the folder asks for and write the answer beside it."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    request = load(folder / "request")
    module, _, name = request["model"].partition(":")
    kind: Any = getattr(importlib.import_module(module), name)
    task = Task.from_dict(request["task"])
    try:
        settings = kind.__part__.settings(**request["settings"])
        model = kind(settings, task, request["num_features"], seed=request["seed"])
        step = model.fit_round(request["batch"], task, Context(**request["context"]))
    except DanluError as error:
        save(folder / "answer", {"error": type(error).__name__, "message": str(error)})
        return
    save(
        folder / "answer",
        {"state": model.state(), "losses": step.losses, "signals": step.signals, "done": step.done},
    )


def _end_with_parent() -> None:
    """The parent holds the other end of stdin: it closes when the parent is gone, whatever ended it."""
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
