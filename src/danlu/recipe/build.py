"""The only place where names become objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from danlu.core.errors import BundleError, RecipeError
from danlu.core.ideas import Objective, State
from danlu.core.tasks import Task
from danlu.recipe.catalogue import Entry, entries, load, lookup
from danlu.recipe.settings import to_plain

DEFAULT_OBJECTIVE = {"regression": "squared_error", "binary": "cross_entropy", "multiclass": "cross_entropy"}


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


def build_objective(
    task: Task,
    *,
    y: np.ndarray,
    weight: np.ndarray | None,
    standardise: bool,
    choice: str | Mapping[str, Any] = "auto",
) -> Objective:
    """The objective that a recipe names, with what it takes from the training targets.

    `auto` is squared error for a number and cross-entropy for classes. With `standardise` scores live on a scale of
    the targets' own, as networks need it.
    """
    given = {"name": choice} if isinstance(choice, str) else dict(choice)
    name = given.pop("name", None)
    if not isinstance(name, str):
        raise RecipeError(f"objective needs a name, like {{name: huber, delta: 2}}, got {choice!r}.")
    name = DEFAULT_OBJECTIVE[task.kind] if name == "auto" else name
    cls, settings = _objective(task, name, given)
    return cls.fitted(task, y, weight, settings, standardise=standardise)


def stored_objective(objective: Any) -> State:
    """The objective as a bundle holds it: its name, its settings where they differ, what it took from the targets."""
    base = getattr(objective, "base", objective)  # a wrapper such as mixup changes no prediction
    if not hasattr(type(base), "__part__"):
        raise BundleError(
            f"A model file names its objective, and {type(base).__name__} is no part of the catalogue. "
            "Register it with danlu.core.parts.part, or keep the network's own state_dict."
        )
    usual = to_plain(type(base).__part__.settings())
    changed = {name: value for name, value in to_plain(base.settings).items() if value != usual[name]}
    return {"name": type(base).__part__.name, "settings": changed} | base.state()


def restore_objective(task: Task, state: State) -> Objective:
    """The objective that `stored_objective` wrote. The first bundles name none: then it is the default of the task."""
    kept = {key: value for key, value in state.items() if key not in ("name", "settings")}
    name, given = state.get("name", DEFAULT_OBJECTIVE[task.kind]), state.get("settings", {})
    if not isinstance(name, str) or not isinstance(given, dict):
        raise BundleError(
            f"an objective has a name and settings, got {str(name)[:80]!r} and {str(given)[:80]!r}."
        )
    cls, settings = _objective(task, name, given)
    objective = cls(task, settings, **kept)
    if set(objective.state()) != set(kept):  # a missing number would pass for its default
        wanted = ", ".join(objective.state()) or "nothing"
        raise BundleError(
            f"the objective {name!r} keeps {wanted}, got {', '.join(map(str, kept)) or 'nothing'}."
        )
    return objective


def _objective(task: Task, name: str, given: Mapping[str, Any]) -> tuple[Any, Any]:
    """The class and the settings of an objective that can learn `task`."""
    entry = objective_for(task, name)
    cls: Any = load(entry)
    return cls, cls.__part__.settings(**entry.checked(given, where=f"objective.{name}"))


def objective_for(task: Task, name: str) -> Entry:
    """The entry of an objective; `RecipeError` where it does not learn `task`."""
    entry = lookup("objective", name)
    if task.kind not in entry.tasks:
        fitting = ", ".join(other for other, part in entries("objective").items() if task.kind in part.tasks)
        raise RecipeError(
            f"The objective {name!r} is for {' and '.join(entry.tasks)} targets; this one makes a {task.kind} task, "
            f"for which there are: {fitting}."
        )
    return entry


def build_part(kind: str, choice: str | Mapping[str, Any]) -> Any:
    """The part that a setting names, as `relu` or as {"name": "leaky_relu", "slope": 0.1}."""
    given = {"name": choice} if isinstance(choice, str) else dict(choice)
    entry = lookup(kind, given.pop("name"))
    cls: Any = load(entry)
    return cls(cls.__part__.settings(**entry.checked(given, where=f"{kind} {entry.name!r}")))
