"""The watchers that a recipe asks for by name: `engine.watch`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from danlu.core.errors import MissingExtra, RecipeError, closest
from danlu.core.ideas import Watcher

NAMES = ("jsonl", "tensorboard", "mlflow")


def check_watchers(names: Sequence[str]) -> None:
    """`MissingExtra` where a watcher's package is not installed, before anything is written for it."""
    for name, package in (("tensorboard", "tensorboard"), ("mlflow", "mlflow-skinny")):
        if name in names and find_spec(name) is None:
            raise MissingExtra(package, name, purpose=f"The watcher {name!r}")


def watchers_of(names: Sequence[str], folder: Path, *, part: str = "") -> list[Watcher]:
    """The watchers called `names` for one candidate, `part`, of the run in `folder`, where each keeps its files.

    `jsonl`: events.jsonl; `tensorboard`: tensorboard/PART; `mlflow`: mlflow.db. Raises `RecipeError` for another name
    and `MissingExtra` where a package is not installed.
    """
    made: list[Watcher] = []
    for name in dict.fromkeys(names):
        match name:
            case "jsonl":
                from danlu.watch.json_lines import JsonLines

                made.append(JsonLines(folder / "events.jsonl", part=part))
            case "tensorboard":
                from danlu.watch.tensorboard import TensorBoard

                made.append(TensorBoard((folder / "tensorboard").joinpath(*_folders(part))))
            case "mlflow":
                from danlu.watch.mlflow import MLflow

                made.append(MLflow(folder, part=part))
            case _:
                raise RecipeError(
                    f"engine.watch knows {', '.join(NAMES)}, got {name!r}.{closest(name, NAMES)} "
                    "The run store and the progress line are always there."
                )
    return made


def _folders(part: str) -> list[str]:
    """`mlp/0` as names of folders, whatever characters are in it."""
    return [re.sub(r"[^\w.+-]+", "-", name).lstrip(".") or "fit" for name in part.split("/")]
