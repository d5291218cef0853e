"""Random forest (Breiman 2001) and extra trees (Geurts et al. 2006): the mean of many deep, varied trees."""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

import numpy as np

from danlu.core.errors import RecipeError
from danlu.core.ideas import Batch, Context, State, Step
from danlu.core.parts import Settings, part
from danlu.core.seeds import derive
from danlu.core.tasks import Task
from danlu.models.growing_trees import GrowingTrees
from danlu.models.rows import Rows, training_rows
from danlu.models.sklearn_trees import (
    as_float32,
    check_features,
    class_prior,
    class_shares,
    from_sklearn,
    stored_classes,
)
from danlu.models.stored import Stored
from danlu.models.trees import MAX_DEPTH, TreeEnsemble, read_trees

INTELEX_FROM = 5_000  # rows; scikit-learn-intelex grows a tree there in a third of the time
ROWS_WORTH_THREADS = 50_000  # rows times trees; below it joblib waits longer for its threads than they work
WORK_PER_ROUND = 2e7  # rows * log2(rows) * features tried at a split: about a second of a thread


@dataclass(frozen=True)
class ForestSettings(Settings):
    """Number and size of the trees."""

    num_trees: int = 200
    """Trees in all, 1 to 100000; more are never worse, only slower."""
    max_depth: int | None = None
    """Most questions from a root to a leaf, 1 to 1000; empty for as many as it takes."""
    min_rows_per_leaf: int = 2
    """Fewest training rows in a leaf, at least 1."""
    feature_fraction: float | Literal["auto"] = "auto"
    """Share of the features that each split chooses from, in (0, 1]; auto: the root of their number for
    classes, half of them for a regression."""
    bagging_fraction: float = 1.0
    """Rows drawn for each tree, with repetition, as a share of all, in (0, 1]; at 1 extra trees
    take each row once."""
    smoothing: float = 1.0
    """Trees that vote as the classes' shares of all rows, above 0, so that no probability is 0 or 1."""
    trees_per_round: int = 50
    """Most trees that one round grows, at least 1; fewer where the table is so large that they take long."""

    def __post_init__(self) -> None:
        if not 1 <= self.num_trees <= 100_000:
            raise RecipeError(f"The forest's num_trees must lie between 1 and 100000, got {self.num_trees}.")
        if self.max_depth is not None and not 1 <= self.max_depth <= MAX_DEPTH:
            raise RecipeError(
                f"The forest's max_depth must lie between 1 and {MAX_DEPTH}, got {self.max_depth}."
            )
        if self.min_rows_per_leaf < 1:
            raise RecipeError(
                f"The forest's min_rows_per_leaf must be at least 1, got {self.min_rows_per_leaf}."
            )
        if self.feature_fraction != "auto" and not 0 < self.feature_fraction <= 1:
            raise RecipeError(
                f"The forest's feature_fraction must lie in (0, 1], got {self.feature_fraction}."
            )
        if not 0 < self.bagging_fraction <= 1:
            raise RecipeError(
                f"The forest's bagging_fraction must lie in (0, 1], got {self.bagging_fraction}."
            )
        if not 0 < self.smoothing < float("inf"):
            raise RecipeError(f"The forest's smoothing must be above 0, got {self.smoothing}.")
        if self.trees_per_round < 1:
            raise RecipeError(f"The forest's trees_per_round must be at least 1, got {self.trees_per_round}.")


class Forest:
    """The mean of many trees.

    The probability of a class is (sum of its shares in the leaves reached + s p) / (T + s), with T trees, p
    its share of all training rows and s the setting `smoothing`: the overall shares vote like s trees. The
    leaves alone would give 0 to a class that no tree has seen nearby, and so an infinite log loss.
    """

    keeps_rows = False
    name: Literal["random_forest", "extra_trees"]

    def __init__(self, settings: ForestSettings, task: Task, num_features: int, *, seed: int) -> None:
        self.settings, self.task, self.num_features, self.seed = settings, task, num_features, seed
        self.trees = GrowingTrees(num_features, task.num_scores, task.num_scores)
        self.base = np.full(task.num_scores, 1 / len(task.labels) if task.labels else 0.0)  # mean or shares

    @property
    def num_rounds(self) -> int:
        """Number of trees so far."""
        return self.trees.num_trees

    def fit_round(self, batch: Batch, task: Task, context: Context) -> Step:
        """Grow the next trees; they depend on the seed and on how many there are, not on time."""
        rows = training_rows(batch)
        if task.is_classification:
            self.base = stored_classes(class_prior(rows, len(task.labels))[None, :], task)[0]
        else:
            self.base = np.average(rows.y, weights=rows.weight, keepdims=True)
        work = len(rows.y) * math.log2(len(rows.y) + 1) * self._max_features
        fitting = max(context.num_threads, int(WORK_PER_ROUND * context.num_threads / work))
        num_trees = min(fitting, self.settings.trees_per_round, self.settings.num_trees - self.num_rounds)
        if num_trees > 0:
            self.trees.add(self._grow(rows, num_trees, context))
        return Step(signals={"num_rounds": self.num_rounds}, done=self.num_rounds >= self.settings.num_trees)

    def __call__(self, x: Any) -> np.ndarray:
        """(n, d) -> (n,) means, (n,) logits of class 1, or (n, k) logarithms of probabilities."""
        sums, num_trees = self.trees.sums(x), self.num_rounds
        if not self.task.is_classification:
            return self.base[0] + sums[:, 0] / max(num_trees, 1)
        smoothing = self.settings.smoothing
        votes = sums + smoothing * self.base
        if self.task.kind == "binary":
            return np.log(votes[:, 0]) - np.log(num_trees - sums[:, 0] + smoothing * (1 - self.base[0]))
        return np.log(votes / (num_trees + smoothing))

    def state(self) -> State:
        """The arrays of the trees, and the mean or the shares of the classes."""
        return {"trees": self.trees.joined().state(), "base": self.base}

    def load(self, state: State) -> None:
        """Take over a state after checking it."""
        stored, width = Stored(state, part=self.name), self.task.num_scores
        base = stored.array("base", (width,))
        trees = read_trees(
            stored.nested("trees"), num_features=self.num_features, num_outputs=width, width=width
        )
        stored.end()
        if self.task.is_classification:
            if not (base > 0).all() or base.sum() > 1 + 1e-9 or (self.task.kind == "binary" and base[0] >= 1):
                raise stored.damaged("base does not hold the shares of the classes")
            stored.within("values", trees.values, 0.0, 1.0)
        self.base = base
        self.trees.replace(trees)

    def snapshot(self) -> int:
        """The number of trees so far."""
        return self.num_rounds

    def restore(self, snapshot: int) -> None:
        """Drop the trees that were grown after a snapshot."""
        self.trees.keep(snapshot)

    def _grow(self, rows: Rows, num_trees: int, context: Context) -> TreeEnsemble:
        settings, library = self.settings, self._library(rows)
        draws_all = settings.bagging_fraction == 1
        drawn = None if draws_all else max(1, round(settings.bagging_fraction * len(rows.y)))
        kind = "RandomForest" if self.name == "random_forest" else "ExtraTrees"
        kind += "Classifier" if self.task.is_classification else "Regressor"
        forest = getattr(import_module(f"{library}.ensemble"), kind)(
            n_estimators=num_trees,
            max_depth=settings.max_depth or MAX_DEPTH,
            min_samples_leaf=settings.min_rows_per_leaf,
            max_features=self._max_features,
            bootstrap=self.name == "random_forest" or not draws_all,
            max_samples=drawn,
            n_jobs=context.num_threads if num_trees * len(rows.y) >= ROWS_WORTH_THREADS else 1,
            random_state=self._stream(),
        )
        is_float32 = library == "sklearn"  # the other one compares in float64
        y = rows.y if self.task.is_classification else rows.y - self.base[0]
        forest.fit(as_float32(rows.x) if is_float32 else rows.x, y, rows.sample_weight)
        trees = [estimator.tree_ for estimator in forest.estimators_]
        if self.task.is_classification:
            seen, num_classes = forest.classes_, len(self.task.labels)
            values = [stored_classes(class_shares(tree, seen, num_classes), self.task) for tree in trees]
        else:
            values = [tree.value[:, 0] for tree in trees]
        return from_sklearn(trees, values, self.num_features, is_float32=is_float32)

    @property
    def _max_features(self) -> int:
        """Features that a split chooses from."""
        share = self.settings.feature_fraction
        if share == "auto":
            share = 1 / math.sqrt(max(self.num_features, 1)) if self.task.is_classification else 0.5
        return max(1, int(share * self.num_features + 1e-9))

    def _stream(self) -> np.random.RandomState:
        """Random numbers for the next trees: the one that each tree so far took is skipped."""
        stream = np.random.RandomState(derive(self.seed, self.name))
        stream.randint(np.iinfo(np.int32).max, size=self.num_rounds)
        return stream

    def _library(self, rows: Rows) -> Literal["sklearn", "sklearnex"]:
        """Which library grows the trees.

        scikit-learn-intelex takes dense tables without missing values and weights. Its classifiers and its
        extra trees were measured to be worse: on adult a log loss of .312 against .299.
        """
        check_features(rows.x)
        if self.name != "random_forest" or self.task.is_classification or len(rows.y) < INTELEX_FROM:
            return "sklearn"
        if rows.sample_weight is not None or hasattr(rows.x, "indptr") or np.isnan(rows.x).any():
            return "sklearn"
        try:
            import_module("sklearnex.ensemble")
        except ImportError:  # not made for this machine's processor
            return "sklearn"
        return "sklearnex"


@part(
    "model",
    "random_forest",
    summary="The mean of many deep trees, each on its own draw of the rows: strong without tuning.",
    source="Breiman 2001, Machine Learning 45",
    settings=ForestSettings,
    encoding="tree",
    update="estimator",
    library="sklearn.ensemble",
)
class RandomForest(Forest):
    """Trees on rows drawn with repetition, each split the best one among some of the features."""

    name = "random_forest"


@part(
    "model",
    "extra_trees",
    summary="As a random forest, but with thresholds drawn at random: smoother, and faster to grow.",
    source="Geurts, Ernst, Wehenkel 2006, Machine Learning 63",
    settings=ForestSettings,
    encoding="tree",
    update="estimator",
    library="sklearn.ensemble",
)
class ExtraTrees(Forest):
    """Trees on all rows, each split the best one among thresholds drawn at random."""

    name = "extra_trees"
