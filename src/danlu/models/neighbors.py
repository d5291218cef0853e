"""k-nearest neighbours: a row is answered by the training rows that are most like it, which the model keeps.

Neighbours are found by a matrix product in NumPy, or by SciPy's k-d tree where there are many rows and few
columns (as fast as scikit-learn-intelex and three times as fast as scikit-learn on 16,000 rows and 14
columns). Which one depends on the training rows alone, and equally distant rows go by their number: a row
gets the same answer alone and among others.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from danlu.core.errors import RecipeError
from danlu.core.ideas import Batch, Context, State, Step
from danlu.core.parts import Settings, part
from danlu.core.scores import dense
from danlu.core.tasks import Task
from danlu.models.classes import link_scores, log_shares
from danlu.models.rows import VALUES_AT_ONCE, training_rows
from danlu.models.stored import Stored, store_table

TREE_ROWS, TREE_COLUMNS = 5000, 16  # from how many rows and up to how many columns a tree is faster


@dataclass(frozen=True)
class NeighborSettings(Settings):
    """Which rows answer, and with what say."""

    k: int = 15
    """How many rows answer, at least 1; all of them where there are fewer."""
    weights: Literal["uniform", "distance"] = "uniform"
    """Whether they have an equal say, or one over their distance."""
    metric: Literal["euclidean", "manhattan"] = "euclidean"
    """Distance between rows: the root of summed squared differences, or summed absolute differences."""

    def __post_init__(self) -> None:
        if self.k < 1:
            raise RecipeError(f"k must be at least 1, got {self.k}. Usual values are 5 to 30.")


@part(
    "model",
    "knn",
    summary="k-nearest neighbours: the answer of the most similar rows. For few columns; keeps the rows.",
    source="Cover, Hart 1967, IEEE Transactions on Information Theory 13(1)",
    settings=NeighborSettings,
    encoding="linear",
    update="estimator",
    calibrated=False,
    keeps_rows=True,
)
class NearestNeighbors:
    """The training rows; the nearest of them are averaged or vote. A row's weight multiplies its say."""

    keeps_rows = True

    def __init__(self, settings: NeighborSettings, task: Task, num_features: int, *, seed: int = 0) -> None:
        self.settings, self.task, self.num_features, self.seed = settings, task, num_features, seed
        self.target = np.zeros(1, dtype=np.int64 if task.is_classification else np.float64)
        self.weight = np.ones(1)
        self.search = Search(np.zeros((1, num_features)), settings.metric)

    def fit_round(self, batch: Batch, task: Task, context: Context) -> Step:
        """Keep the rows."""
        rows = training_rows(batch)
        if hasattr(rows.x, "toarray") and self.settings.metric == "manhattan":
            raise RecipeError(
                "knn knows only metric='euclidean' for columns made from text, got 'manhattan'."
            )
        x = rows.x.tocsr() if hasattr(rows.x, "toarray") else np.array(rows.x, dtype=np.float64)
        self.search = Search(x, self.settings.metric)
        self.target, self.weight = rows.y.astype(self.target.dtype), rows.weight
        return Step(done=True)

    def __call__(self, x: Any) -> np.ndarray:
        """(n, d) -> (n,) weighted means, (n,) logits of class 1 or (n, k) log shares of the votes."""
        num_rows, num_classes = x.shape[0], max(len(self.task.labels), 1)
        answers = np.empty((num_rows, num_classes))
        step = max(VALUES_AT_ONCE // len(self.target), 1)
        for start in range(0, num_rows, step):
            index, distance = self.search.nearest(
                x[start : start + step], min(self.settings.k, len(self.target))
            )
            say = self.say(index, distance)
            if self.task.is_classification:
                cell = np.arange(len(index))[:, None] * num_classes + self.target[index]
                votes = np.bincount(cell.ravel(), weights=say.ravel(), minlength=len(index) * num_classes)
                answers[start : start + step] = votes.reshape(len(index), num_classes)
            else:
                answers[start : start + step, 0] = (say * self.target[index]).sum(axis=1)
        return link_scores(log_shares(answers), self.task) if self.task.is_classification else answers[:, 0]

    def say(self, index: np.ndarray, distance: np.ndarray) -> np.ndarray:
        """Share of each neighbour in the answer, (n, k). Where some are at distance 0, only they count."""
        say = self.weight[index]
        if self.settings.weights == "distance":
            same = distance == 0
            say = say * np.where(same.any(axis=1, keepdims=True), same, 1.0 / np.where(same, 1.0, distance))
        return say / say.sum(axis=1, keepdims=True)

    def state(self) -> State:
        """`rows` (n, d) or CSR, `target` (n,), `weight` (n,)."""
        return {"rows": store_table(self.search.rows), "target": self.target, "weight": self.weight}

    def load(self, state: State) -> None:
        """Take over a state after checking it."""
        stored = Stored(state, part="knn")
        rows = stored.table("rows", self.num_features)
        if rows.shape[0] == 0:
            raise stored.damaged("it holds no rows")
        high = len(self.task.labels) - 1 if self.task.is_classification else None
        low = 0 if self.task.is_classification else None
        target = stored.array("target", (rows.shape[0],), dtype=self.target.dtype, low=low, high=high)
        weight = stored.array("weight", (rows.shape[0],), low=np.finfo(np.float64).tiny)
        stored.end()
        if hasattr(rows, "toarray") and self.settings.metric == "manhattan":
            raise stored.damaged("its rows are sparse, which the metric 'manhattan' does not know")
        self.search, self.target, self.weight = Search(rows, self.settings.metric), target, weight

    def snapshot(self) -> State:
        """The state as it is now."""
        return self.state()

    def restore(self, snapshot: State) -> None:
        """Go back to a snapshot."""
        self.load(snapshot)


class Search:
    """Finds the stored rows that are nearest to others."""

    def __init__(self, rows: Any, metric: str) -> None:
        self.rows, self.metric = rows, metric
        self.is_sparse = hasattr(rows, "toarray")
        self.uses_tree = not self.is_sparse and rows.shape[0] >= TREE_ROWS and rows.shape[1] <= TREE_COLUMNS

    def nearest(self, x: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers and distances of the k nearest rows, nearest first: (n, k) each."""
        if self.uses_tree:
            distance, index = self.tree.query(
                dense(x), k=np.arange(1, k + 1), p=1 if self.metric == "manhattan" else 2
            )
            return index, distance
        if self.metric == "manhattan":
            from scipy.spatial.distance import cdist

            far = cdist(dense(x), self.rows, "cityblock")
            return self.smallest(far, k, margin=np.zeros(len(far)), exact=lambda row, other: far[row, other])
        size = _squares(x)
        far = np.asarray(dense((x * -2.0) @ self.rows.T), dtype=np.float64)
        far += self.squares  # squared distances less the squared length of the row itself
        if self.is_sparse:  # the product of two sparse rows does not depend on the rows around them
            index, square = self.smallest(
                far, k, margin=np.zeros(len(far)), exact=lambda row, other: far[row, other] + size[row]
            )
        else:  # rounding depends on the shape of the product: it only proposes, exact differences decide
            margin = 1e-10 * (size + self.squares.max())
            index, square = self.smallest(
                far, k, margin=margin, exact=lambda row, other: _between(x, row, self.rows, other)
            )
        return index, np.sqrt(np.maximum(square, 0.0))

    @staticmethod
    def smallest(far: np.ndarray, k: int, *, margin: np.ndarray, exact: Any) -> tuple[np.ndarray, np.ndarray]:
        """Columns and exact values of the k smallest of each row, equal ones by column: (n, k) each."""
        limit = np.partition(far, k - 1, axis=1)[:, k - 1] + margin
        row, other = np.divmod(np.flatnonzero((far <= limit[:, None]).ravel()), far.shape[1])
        value = exact(row, other)
        order = np.lexsort((other, value, row))
        first = np.searchsorted(row, np.arange(len(far)))
        order = order[first[:, None] + np.arange(k)]
        return other[order], value[order]

    @cached_property
    def squares(self) -> np.ndarray:
        """Squared length of each stored row, (n,)."""
        return _squares(self.rows)

    @cached_property
    def tree(self) -> Any:
        """The k-d tree of the stored rows."""
        from scipy.spatial import KDTree

        return KDTree(self.rows)


def _squares(x: Any) -> np.ndarray:
    if hasattr(x, "toarray"):
        return np.asarray(x.multiply(x).sum(axis=1), dtype=np.float64).reshape(-1)
    return (x * x).sum(axis=1)


def _between(x: np.ndarray, row: np.ndarray, rows: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Squared distance of each pair of rows, in pieces of bounded memory."""
    value = np.empty(len(row))
    step = max(VALUES_AT_ONCE // max(x.shape[1], 1), 1)
    for start in range(0, len(row), step):
        part = slice(start, start + step)
        value[part] = ((x[row[part]] - rows[other[part]]) ** 2).sum(axis=1)
    return value
