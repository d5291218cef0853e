"""From a task, a table and a budget to the candidates that are worth trying, and why each of them is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from danlu.core.errors import RecipeError
from danlu.core.tasks import Task
from danlu.data.preprocess import Encoding
from danlu.recipe.catalogue import lookup
from danlu.recipe.recipe import ModelChoice, Recipe

# Where the plan changes with the number of development rows, and with which settings; found on the sets of
# benchmarks/tables.py (see docs/decisions/0004-the-default-plan.md for what did not help).
TINY = 50  # rows, below which nothing but the plainest models is worth its variance
SMALL = 3_000  # rows, up to which a kernel machine and a forest cost little and err elsewhere than boosting
MIDDLE = 1_000  # rows, from which larger trees have something to find
LARGE = 10_000  # rows, from which boosting alone is best, and larger trees still

ASKED = "you asked for it"

SHALLOW = {
    "num_leaves": 8,
    "max_depth": 3,
    "min_rows_per_leaf": 10,
    "feature_fraction": 0.6,
    "num_rounds": 500,
}
MEDIUM = {"num_leaves": 31, "feature_fraction": 0.5, "num_rounds": 500}
FINE_CLASSES = {"num_leaves": 15, "feature_fraction": 0.5, "l2": 0.0}
FINE_NUMBERS = {"num_leaves": 63, "feature_fraction": 0.5, "learning_rate": 0.06}
ROBUST_NUMBERS = {**FINE_NUMBERS, "loss": "huber", "huber_delta": 0.5}


@dataclass(frozen=True)
class Candidate:
    """One model with its settings, to be fitted and scored."""

    name: str
    """Unique within the run: the model's name, with more where it stands there more than once."""
    model: str
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    why: str = ""
    length: int | None = None
    """Epochs of the loop after which the fit ends, where that was found before; None lets the fit decide."""

    @property
    def encoding(self) -> Encoding:
        """How the columns become numbers for this model."""
        return lookup("model", self.model).traits["encoding"]

    @property
    def update(self) -> str:
        """`estimator` or `gradient`."""
        return lookup("model", self.model).traits["update"]


BASELINE = Candidate("baseline", "baseline", why="what any model has to beat")


def plan(recipe: Recipe, task: Task, *, num_rows: int) -> list[Candidate]:
    """The candidates of a run, in the order in which they are tried: the baseline, then the most useful first."""
    if recipe.models:
        found = _named([choice for choice in recipe.models if choice.name != "baseline"])
    else:
        found = _for_few_rows(task) if num_rows < TINY else _for_tables(task, num_rows)
    keeping = [one for one in found if lookup("model", one.model).traits.get("keeps_rows")]
    if recipe.evaluation.keep_rows or not keeping:
        return [BASELINE, *found]
    if recipe.models:
        raise RecipeError(
            f"The model {keeping[0].model!r} stores rows of the training data, and evaluation.keep_rows is false. "
            "Choose another model, or allow it."
        )
    return [BASELINE, *(one for one in found if one not in keeping)]


def _named(choices: Sequence[ModelChoice]) -> list[Candidate]:
    names = [choice.name for choice in choices]
    numbered = [n if names.count(n) == 1 else f"{n}_{names[: i + 1].count(n)}" for i, n in enumerate(names)]
    return [
        Candidate(name, choice.name, dict(choice.settings), why=ASKED)
        for name, choice in zip(numbered, choices, strict=True)
    ]


def _linear(task: Task) -> Candidate:
    """Always there: where it is as good as the others, the columns act one by one, and that is worth knowing."""
    why = "linear: the plainest model that can be right"
    if task.kind == "regression":
        return Candidate("ridge", "ridge", why=why)
    return Candidate("logistic", "logistic", {"strength": 1.0}, why=why)


def _for_few_rows(task: Task) -> list[Candidate]:
    near = Candidate("knn", "knn", why="few rows: the most similar ones answer")
    return [_linear(task), near]


def _for_tables(task: Task, num_rows: int) -> list[Candidate]:
    is_number = task.kind == "regression"
    few_bins = {"min_rows_per_bin": 1} if num_rows < MIDDLE else {}
    shallow = Candidate(
        "boosting_shallow", "boosting", SHALLOW | few_bins, "boosting of small trees: hard to overfit"
    )
    medium = Candidate("boosting", "boosting", MEDIUM, "boosting: mostly the best on tables")
    leaf = {"num_trees": 100, "min_rows_per_leaf": 1 if is_number else 3}
    random = Candidate("extra_trees", "extra_trees", leaf, "random trees err elsewhere than boosting")
    if num_rows <= SMALL:
        svm = Candidate("svm", "svm", why="smooth boundaries from few rows")
        forest = Candidate(
            "random_forest",
            "random_forest",
            leaf | {"min_rows_per_leaf": 2 if is_number else 3},
            "a forest is strong without tuning",
        )
        return [_linear(task), shallow, *([medium] if num_rows > MIDDLE else []), svm, random, forest]
    if num_rows <= LARGE:
        return [_linear(task), medium, random, *([shallow] if is_number else [])]
    if is_number:
        robust = Candidate(
            "boosting_robust", "boosting", ROBUST_NUMBERS, "boosting that large errors pull less"
        )
        return [
            _linear(task),
            robust,
            Candidate("boosting", "boosting", FINE_NUMBERS, "boosting: mostly the best on tables"),
        ]
    return [
        _linear(task),
        Candidate("boosting", "boosting", FINE_CLASSES, "boosting: mostly the best on tables"),
        replace(
            medium,
            name="boosting_larger",
            settings={**MEDIUM, "num_rounds": 1500},
            why="boosting of larger trees",
        ),
    ]
