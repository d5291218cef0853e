"""Gradient boosting (Friedman 2001) by LightGBM: small trees, each fitted to the errors so far."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal, NamedTuple

import numpy as np

from danlu.core.errors import RecipeError
from danlu.core.ideas import Batch, Context, State, Step
from danlu.core.parts import Settings, part
from danlu.core.seeds import derive
from danlu.core.tasks import Task
from danlu.models.growing_trees import GrowingTrees, fingerprint
from danlu.models.lightgbm_trees import from_lightgbm
from danlu.models.rows import Rows, training_rows
from danlu.models.sklearn_trees import check_features
from danlu.models.stored import Stored
from danlu.models.trees import MAX_DEPTH, read_trees

ROWS_WORTH_THREADS = 5_000  # below it the threads of LightGBM wait for each other longer than they work
Loss = Literal["squared", "absolute", "huber", "quantile"]
OBJECTIVES = {"squared": "regression", "absolute": "regression_l1", "huber": "huber", "quantile": "quantile"}


@dataclass(frozen=True)
class BoostingSettings(Settings):
    """Size of a tree, how much each one counts, and what it may look at."""

    num_rounds: int = 1500
    """Most boosting rounds, at least 1; mostly validation rows say stop long before."""
    learning_rate: float = 0.05
    """Factor on each tree, in (0, 1]; half the rate needs about twice the rounds."""
    num_leaves: int = 31
    """Most leaves of a tree, 2 to 131072."""
    max_depth: int | None = None
    """Most questions from a root to a leaf, 1 to 1000; empty for as many as `num_leaves` allows."""
    min_rows_per_leaf: int = 20
    """Fewest training rows in a leaf, at least 1."""
    feature_fraction: float = 0.8
    """Share of the features that each tree may look at, in (0, 1]."""
    feature_fraction_per_split: float = 1.0
    """Share of these features that each split chooses from, in (0, 1]."""
    bagging_fraction: float = 0.8
    """Share of the rows, drawn without repetition, that each tree is fitted to, in (0, 1]. All rows are taken
    where there are so few that none might be drawn."""
    l1: float = 0.0
    """Penalty on the sizes of the leaves' values, in units of the gradient, 0 or more."""
    l2: float = 1.0
    """Penalty on the squares of the leaves' values, in rows for a squared loss, 0 or more."""
    min_gain: float = 0.0
    """Least gain for which a leaf is split, 0 or more."""
    path_smoothing: float = 0.0
    """Rows that pull each leaf's value to that of its parent, 0 or more."""
    max_bin: int = 255
    """Most groups that the values of a feature are sorted into before thresholds are sought, 2 to 65535."""
    min_rows_per_bin: int = 3
    """Fewest training rows in such a group, at least 1."""
    extra_trees: bool = False
    """Whether each feature offers a split only one threshold, drawn at random."""
    loss: Loss = "squared"
    """What a regression minimises: squared error aims at the mean, absolute error at the median, Huber's
    is squared for small errors and absolute for large ones, the quantile loss aims at `quantile`. Classes
    always use the log loss."""
    huber_delta: float = 1.0
    """Error from which Huber's loss is linear, in robust standard deviations of the target, above 0."""
    quantile: float = 0.5
    """Share of the rows that shall lie below the prediction of the quantile loss, in (0, 1)."""
    rounds_per_call: int = 10
    """Boosting rounds between two looks at the clock and at the validation rows, at least 1."""

    def __post_init__(self) -> None:
        ranges = {
            "num_rounds": (1, 1 << 30),
            "num_leaves": (2, 131_072),
            "max_depth": (1, MAX_DEPTH),
            "min_rows_per_leaf": (1, 1 << 30),
            "l1": (0, 1e300),
            "l2": (0, 1e300),
            "min_gain": (0, 1e300),
            "path_smoothing": (0, 1e300),
            "max_bin": (2, 65_535),
            "min_rows_per_bin": (1, 1 << 30),
            "rounds_per_call": (1, 1 << 30),
        }
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise RecipeError(f"boosting.{name} must lie between {low} and {high:g}, got {value}.")
        for name in ("learning_rate", "feature_fraction", "feature_fraction_per_split", "bagging_fraction"):
            if not 0 < getattr(self, name) <= 1:
                raise RecipeError(f"boosting.{name} must lie in (0, 1], got {getattr(self, name)}.")
        if not 0 < self.huber_delta <= 1e300:
            raise RecipeError(f"boosting.huber_delta must be above 0, got {self.huber_delta}.")
        if not 0 < self.quantile < 1:
            raise RecipeError(f"boosting.quantile must lie in (0, 1), got {self.quantile}.")


@part(
    "model",
    "boosting",
    summary="Many small trees, each mending the errors of those before it: mostly the best on tables.",
    source="Ke et al. 2017, LightGBM, NeurIPS; Friedman 2001, Annals of Statistics 29",
    settings=BoostingSettings,
    encoding="tree",
    update="estimator",
    patience=6,  # blocks of rounds_per_call rounds
    unwatched=20,  # blocks where nothing can be watched
    library="lightgbm",
)
class Boosting:
    """LightGBM round by round; the trees are a function of the data, the settings and the seed alone.

    A model that was loaded, or taken back to an earlier round, goes on by growing its first trees once more.
    A regression's target is centred and scaled, since LightGBM keeps targets and gradients in float32.
    """

    keeps_rows = False

    def __init__(self, settings: BoostingSettings, task: Task, num_features: int, *, seed: int) -> None:
        self.settings, self.task, self.num_features, self.seed = settings, task, num_features, seed
        self.trees = GrowingTrees(num_features, task.num_scores, 1)
        self.base = 0.0  # what a regression says before the first tree
        self._fit: _Fit | None = None

    @property
    def num_rounds(self) -> int:
        """Boosting rounds so far: trees, or for three classes and more the number of trees for each class."""
        return self.trees.num_trees // self.task.num_scores

    def fit_round(self, batch: Batch, task: Task, context: Context) -> Step:
        """Take the next `rounds_per_call` boosting rounds."""
        known, num_scores, is_new = self.num_rounds, task.num_scores, False
        if self._fit is None or not self._fit.is_of(batch):
            self._fit, is_new = self._start(batch, context), True
        booster, scale = self._fit.booster, self._fit.scale
        goal, has_ended = min(known + self.settings.rounds_per_call, self.settings.num_rounds), False
        while booster.num_trees() // num_scores < goal and not has_ended:
            has_ended = booster.update()  # True where no tree of the round found a split
        is_finite = True
        if booster.num_trees() // num_scores > known:
            text = booster.model_to_string(start_iteration=0 if is_new else known)
            block = from_lightgbm(text, self.num_features, num_scores)
            block.values[:] *= scale.width
            is_finite = bool(np.isfinite(block.values).all())
            if is_finite:
                self.trees = GrowingTrees(self.num_features, num_scores, 1) if is_new else self.trees
                self.trees.add(block)
                self.base = scale.centre
        (_, _, loss, _), *_ = booster.eval_train()
        signals = {"num_rounds": self.num_rounds, "finite": is_finite}
        return Step(
            {"loss": float(loss) * math.prod([scale.width] * self._loss_power)},
            signals,
            done=has_ended or self.num_rounds >= self.settings.num_rounds,
        )

    def __call__(self, x: Any) -> np.ndarray:
        """(n, d) -> (n,) values, (n,) logits of class 1, or (n, k) logits."""
        sums = self.trees.sums(x)
        return sums if self.task.kind == "multiclass" else self.base + sums[:, 0]

    def state(self) -> State:
        """The arrays of the trees, and what a regression starts from."""
        return {"trees": self.trees.joined().state(), "base": self.base}

    def load(self, state: State) -> None:
        """Take over a state after checking it."""
        stored = Stored(state, part="boosting")
        base = stored.number("base")
        trees = read_trees(
            stored.nested("trees"), num_features=self.num_features, num_outputs=self.task.num_scores, width=1
        )
        stored.end()
        self.base, self._fit = base, None
        self.trees.replace(trees)

    def snapshot(self) -> int:
        """The number of rounds so far."""
        return self.num_rounds

    def restore(self, snapshot: int) -> None:
        """Drop the rounds after a snapshot, and what is kept of the training rows."""
        self.trees.keep(snapshot * self.task.num_scores)
        self._fit = None

    @property
    def _loss_power(self) -> int:
        """How the loss grows with the unit of the target."""
        if self.task.is_classification:
            return 0
        return 2 if self.settings.loss in ("squared", "huber") else 1

    def _start(self, batch: Batch, context: Context) -> _Fit:
        """Sort the training rows into bins, and begin without any tree."""
        lightgbm, rows = import_module("lightgbm"), training_rows(batch)
        check_features(rows.x)
        scale = Scale(0.0, 1.0) if self.task.is_classification else Scale.of(rows, self.settings)
        y = (rows.y - scale.centre) / scale.width
        weight = None if rows.sample_weight is None else rows.weight / rows.weight.mean()
        parameters = self._parameters(context, len(y))
        if (1 - self.settings.bagging_fraction) ** len(y) > 1e-9:  # LightGBM draws each row on its own
            parameters |= {"bagging_freq": 0}
        booster = lightgbm.Booster(parameters, lightgbm.Dataset(rows.x, y, weight=weight, params=parameters))
        return _Fit(batch, scale, booster)

    def _parameters(self, context: Context, num_rows: int) -> dict[str, Any]:
        settings, task = self.settings, self.task
        return {
            "objective": OBJECTIVES[settings.loss] if task.kind == "regression" else task.kind,
            "num_class": task.num_scores,
            "alpha": settings.huber_delta if settings.loss == "huber" else settings.quantile,
            "learning_rate": settings.learning_rate,
            "num_leaves": settings.num_leaves,
            "max_depth": settings.max_depth or MAX_DEPTH,
            "min_data_in_leaf": settings.min_rows_per_leaf,
            "feature_fraction": settings.feature_fraction,
            "feature_fraction_bynode": settings.feature_fraction_per_split,
            "bagging_fraction": settings.bagging_fraction,
            "bagging_freq": int(settings.bagging_fraction < 1),
            "lambda_l1": settings.l1,
            "lambda_l2": settings.l2,
            "min_gain_to_split": settings.min_gain,
            "path_smooth": settings.path_smoothing,
            "max_bin": settings.max_bin,
            "min_data_in_bin": settings.min_rows_per_bin,
            "extra_trees": settings.extra_trees,
            "seed": derive(self.seed, "boosting"),
            "num_threads": context.num_threads if num_rows >= ROWS_WORTH_THREADS else 1,
            "deterministic": True,
            "force_row_wise": True,
            "feature_pre_filter": False,
            "verbosity": -1,
        }


@dataclass(frozen=True)
class Scale:
    """The target as LightGBM sees it: (y - centre) / width."""

    centre: float
    width: float

    @classmethod
    def of(cls, rows: Rows, settings: BoostingSettings) -> Scale:
        """Mean and standard deviation; median and middle half's spread where large errors count less."""
        mean = float(np.average(rows.y, weights=rows.weight))
        largest = float(np.abs(rows.y - mean).max()) or 1.0
        variance = float(np.average(((rows.y - mean) / largest) ** 2, weights=rows.weight))
        deviation = largest * math.sqrt(variance) or 1.0
        if settings.loss == "squared":
            return cls(mean, deviation)
        low, centre, high = np.quantile(rows.y, [0.25, 0.5, 0.75])
        return cls(float(centre), float(high - low) / 1.349 or deviation)  # of a normal target: its deviation


class _Fit(NamedTuple):
    """What LightGBM keeps of the training rows between two calls."""

    batch: Batch
    scale: Scale
    booster: Any

    def is_of(self, batch: Batch) -> bool:
        """Whether it was made of these rows."""
        return all(_are_same(batch.get(name), self.batch.get(name)) for name in ("x", "y", "weight"))


def _are_same(one: Any, other: Any) -> bool:
    return one is other or (one is not None and other is not None and fingerprint(one) == fingerprint(other))
