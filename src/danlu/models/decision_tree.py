"""Decision tree (Breiman et al. 1984): questions about one column at a time, printed as rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from danlu.core.errors import RecipeError
from danlu.core.ideas import Batch, Context, State, Step
from danlu.core.parts import Settings, part
from danlu.core.seeds import derive
from danlu.core.tasks import Task
from danlu.models.classes import SMALLEST
from danlu.models.rows import Rows, training_rows
from danlu.models.sklearn_trees import (
    as_float32,
    class_prior,
    class_shares,
    from_sklearn,
    stored_classes,
)
from danlu.models.stored import Stored
from danlu.models.trees import MAX_DEPTH, no_trees, read_trees


@dataclass(frozen=True)
class DecisionTreeSettings(Settings):
    """Size of the tree."""

    max_depth: int | None = None
    """Most questions from the root to a leaf, 1 to 1000; empty for as many as it takes."""
    max_leaves: int | None = None
    """Most leaves, at least 2, the most useful splits first; empty for no limit."""
    min_rows_per_leaf: int = 5
    """Fewest training rows in a leaf, at least 1."""
    min_rows_per_split: int = 2
    """Fewest training rows that a node needs to be split, at least 2."""
    pruning: float = 0.0
    """Cost of a leaf in minimal cost-complexity pruning, as a share of the root's impurity, 0 or more."""
    smoothing: float = 1.0
    """Rows with the classes' overall shares added to each leaf, above 0; no probability is then 0 or 1."""

    def __post_init__(self) -> None:
        if self.max_depth is not None and not 1 <= self.max_depth <= MAX_DEPTH:
            raise RecipeError(
                f"decision_tree.max_depth must lie between 1 and {MAX_DEPTH}, got {self.max_depth}."
            )
        if self.max_leaves is not None and self.max_leaves < 2:
            raise RecipeError(f"decision_tree.max_leaves must be at least 2, got {self.max_leaves}.")
        if self.min_rows_per_leaf < 1:
            raise RecipeError(
                f"decision_tree.min_rows_per_leaf must be at least 1, got {self.min_rows_per_leaf}."
            )
        if self.min_rows_per_split < 2:
            raise RecipeError(
                f"decision_tree.min_rows_per_split must be at least 2, got {self.min_rows_per_split}."
            )
        if not 0 <= self.pruning < float("inf"):
            raise RecipeError(f"decision_tree.pruning must be 0 or more, got {self.pruning}.")
        if not 0 < self.smoothing < float("inf"):
            raise RecipeError(f"decision_tree.smoothing must be above 0, got {self.smoothing}.")


@part(
    "model",
    "decision_tree",
    summary="Yes-or-no questions about one column at a time: less exact than many trees, but it can be read.",
    source="Breiman, Friedman, Olshen, Stone 1984, Classification and Regression Trees",
    settings=DecisionTreeSettings,
    encoding="tree",
    update="estimator",
    library="sklearn.tree",
)
class DecisionTree:
    """One tree of scikit-learn; a leaf's probabilities count `smoothing` more rows than fell into it."""

    keeps_rows = False
    interruptible = False

    def __init__(self, settings: DecisionTreeSettings, task: Task, num_features: int, *, seed: int) -> None:
        self.settings, self.task, self.num_features, self.seed = settings, task, num_features, seed
        self.trees = no_trees(num_features, task.num_scores, task.num_scores)

    @property
    def num_rounds(self) -> int:
        """1 after the fit."""
        return self.trees.num_trees

    def fit_round(self, batch: Batch, task: Task, context: Context) -> Step:
        """Grow the tree; one round is all it takes."""
        rows, settings = training_rows(batch), self.settings
        level = 0.0 if task.is_classification else float(np.average(rows.y, weights=rows.weight))
        y = (
            rows.y if task.is_classification else rows.y - level
        )  # centred: squares of large numbers cancel badly
        estimator = getattr(
            import_module("sklearn.tree"),
            "DecisionTreeClassifier" if task.is_classification else "DecisionTreeRegressor",
        )(
            max_depth=settings.max_depth or MAX_DEPTH,
            max_leaf_nodes=settings.max_leaves,
            min_samples_leaf=settings.min_rows_per_leaf,
            min_samples_split=settings.min_rows_per_split,
            ccp_alpha=settings.pruning * _impurity(rows, y, task),
            random_state=derive(self.seed, "decision_tree"),
        )
        tree = estimator.fit(as_float32(rows.x), y, rows.sample_weight).tree_
        values = (
            self._smoothed(tree, estimator.classes_, rows)
            if task.is_classification
            else tree.value[:, 0] + level
        )
        self.trees = from_sklearn([tree], [values], self.num_features, is_float32=True)
        return Step(signals={"num_leaves": len(self.trees.values)}, done=True)

    def __call__(self, x: Any) -> np.ndarray:
        """(n, d) -> (n,) means of leaves, (n,) logits of class 1, or (n, k) logarithms of probabilities."""
        values = np.zeros((x.shape[0], self.trees.num_outputs))
        self.trees.add_scores(x, values)
        if self.task.kind == "binary":
            return np.log(values[:, 0]) - np.log1p(-values[:, 0])
        return np.log(values) if self.task.is_classification else values[:, 0]

    def rules(
        self, names: Sequence[str], labels: Sequence[Any] | None = None, *, max_depth: int | None = None
    ) -> str:
        """The tree as nested if and else, with a name for each feature; `...` stands for what lies deeper.

        Classes are called by the task's labels, or by others where they are given.
        """
        words = self.task.labels if labels is None else labels
        return self.trees.rules(0, names, lambda value: self._answer(value, words), max_depth=max_depth)

    def state(self) -> State:
        """The arrays of the tree."""
        return {"trees": self.trees.state()}

    def load(self, state: State) -> None:
        """Take over a state after checking it."""
        stored = Stored(state, part="decision_tree")
        width, inner = self.task.num_scores, stored.nested("trees")
        trees = read_trees(inner, num_features=self.num_features, num_outputs=width, width=width)
        stored.end()
        if trees.num_trees != 1:
            raise stored.damaged(f"it has {trees.num_trees} trees, not one")
        if self.task.is_classification and not ((trees.values > 0).all() and (trees.values < 1).all()):
            raise stored.damaged("its leaves hold numbers that are not probabilities between 0 and 1")
        self.trees = trees

    def snapshot(self) -> int:
        """The number of rounds so far."""
        return self.num_rounds

    def restore(self, snapshot: int) -> None:
        """Go back to a snapshot."""
        self.trees = self.trees.first(snapshot)

    def _smoothed(self, tree: Any, seen: np.ndarray, rows: Rows) -> np.ndarray:
        """Probabilities of each node, (nodes, width): its rows and `smoothing` rows of the overall shares.

        With one such row and rows that weigh 1 the most frequent class of a leaf stays the most probable one.
        """
        num_classes, added = len(self.task.labels), self.settings.smoothing
        count = tree.weighted_n_node_samples[:, None] / rows.weight.mean()
        shares = class_shares(tree, seen, num_classes)
        smoothed = (count * shares + added * class_prior(rows, num_classes)) / (count + added)
        return stored_classes(np.clip(smoothed, SMALLEST, 1 - 1e-15), self.task)

    def _answer(self, value: np.ndarray, labels: Sequence[Any]) -> str:
        if not self.task.is_classification:
            return f"{value[0]:.6g}"
        shares = np.array([1 - value[0], value[0]]) if self.task.kind == "binary" else value
        return f"{labels[int(shares.argmax())]} (probability {shares.max():.2f})"


def _impurity(rows: Rows, y: np.ndarray, task: Task) -> float:
    """Impurity of the root: the variance, or Gini's 1 - sum p^2."""
    if task.is_classification:
        shares = np.bincount(y, weights=rows.weight) / rows.weight.sum()
        return float(1 - (shares**2).sum())
    return float(np.average(y**2, weights=rows.weight))
