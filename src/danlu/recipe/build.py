"""The only place where names become objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from danlu.core.errors import RecipeError
from danlu.core.ideas import Objective, State
from danlu.core.tasks import Task
from danlu.recipe.catalogue import Entry, entries, load, lookup


def build_model(name: str, settings: Mapping[str, Any], task: Task, num_features: int, *, seed: int) -> Any:
    """The unfitted model `name`; `settings` are checked against its catalogue entry."""
    entry = lookup("model", name)
    if task.kind not in entry.tasks:
        fitting = ", ".join(other for other, part in entries("model").items() if task.kind in part.tasks)
        raise RecipeError(
            f"The model {name!r} learns {', '.join(entry.tasks)}; this target makes a {task.kind} task, "
            f"for which there are: {fitting}."
        )
    cls: Any = load(entry)
    return cls(settings_of(entry, cls, settings), task, num_features, seed=seed)


def settings_of(entry: Entry, cls: Any, given: Mapping[str, Any]) -> Any:
    """The settings object of a part from plain values."""
    return cls.__part__.settings(**entry.checked(given, where=f"models.{entry.name}"))


def build_objective(task: Task, *, y: np.ndarray, weight: np.ndarray | None, standardise: bool) -> Objective:
    """The objective of a task; networks learn regression targets on a standard scale."""
    if task.kind != "regression":
        from danlu.objectives.classification import CrossEntropy

        return CrossEntropy(task)
    from danlu.objectives.regression import SquaredError

    return SquaredError.fitted(task, y, weight) if standardise else SquaredError(task)


def restore_objective(task: Task, state: State) -> Objective:
    """The objective whose `state` a bundle holds."""
    if task.kind != "regression":
        from danlu.objectives.classification import CrossEntropy

        return CrossEntropy(task)
    from danlu.objectives.regression import SquaredError

    return SquaredError(task, shift=state["shift"], scale=state["scale"])
