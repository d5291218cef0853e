"""Between danlu and scikit-learn: tables as its trees want them, and what they hold as a `TreeEnsemble`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from danlu.core.errors import DataError
from danlu.core.tasks import Task
from danlu.models.rows import Rows
from danlu.models.trees import TreeEnsemble, float32_threshold, from_nodes, infinity


def check_features(x: Any) -> None:
    """Refuse a table without columns, infinite values, and missing values in a sparse matrix."""
    if x.shape[1] == 0:
        raise DataError(
            "There is no feature column left to learn from. Give at least one that is not ignored."
        )
    is_sparse = hasattr(x, "indptr")
    values = x.data if is_sparse else x
    if np.isinf(values).any():
        row, column = (int(found[0]) for found in np.nonzero(np.isinf(x.toarray() if is_sparse else x)))
        raise infinity(row, column)
    if is_sparse and np.isnan(values).any():
        raise DataError("Trees take missing values in dense tables only. Fill the missing values in first.")


def as_float32(x: Any) -> Any:
    """A checked table as scikit-learn's trees take it: (n, d) float32, or CSR with 32-bit indices."""
    check_features(x)
    values = x.data if hasattr(x, "indptr") else x
    if np.abs(values).max(initial=0.0, where=~np.isnan(values)) > np.finfo(np.float32).max:
        raise DataError(
            "A feature holds values above 3.4e38, more than these trees can take. "
            "Divide the column by a power of ten."
        )
    if not hasattr(x, "indptr"):
        return x.astype(np.float32)
    table = x.astype(np.float32)
    table.indices, table.indptr = table.indices.astype(np.int32), table.indptr.astype(np.int32)
    return table


def from_sklearn(
    trees: Sequence[Any], values: Sequence[np.ndarray], num_features: int, *, is_float32: bool
) -> TreeEnsemble:
    """scikit-learn's `tree_` objects with `values` (nodes, width) for each.

    `is_float32` says that the library rounds rows to float32 before it compares them.
    """
    starts = np.cumsum([0, *(tree.node_count for tree in trees)])
    threshold = np.concatenate([tree.threshold for tree in trees])
    return from_nodes(
        feature=np.concatenate([tree.feature for tree in trees]),
        threshold=float32_threshold(threshold) if is_float32 else threshold,
        left=np.concatenate([tree.children_left + start for tree, start in zip(trees, starts, strict=False)]),
        right=np.concatenate(
            [tree.children_right + start for tree, start in zip(trees, starts, strict=False)]
        ),
        missing_left=np.concatenate([tree.missing_go_to_left for tree in trees]),
        values=np.concatenate(values),
        roots=starts[:-1],
        num_features=num_features,
        num_outputs=values[0].shape[1],
    )


def class_shares(tree: Any, seen: np.ndarray, num_classes: int) -> np.ndarray:
    """Shares of all k classes in each node of a `tree_` that knows only the classes `seen`: (nodes, k)."""
    shares = np.zeros((tree.node_count, num_classes))
    shares[:, seen] = np.clip(tree.value[:, 0, :], 0.0, 1.0)  # sums of weights are rounded
    return shares


def class_prior(rows: Rows, num_classes: int) -> np.ndarray:
    """Shares of the classes, each counted once more than it is there so that none is zero (Laplace): (k,)."""
    counts = np.bincount(rows.y, weights=rows.weight / rows.weight.mean(), minlength=num_classes)
    return (counts + 1) / (counts.sum() + num_classes)


def stored_classes(values: np.ndarray, task: Task) -> np.ndarray:
    """Of (m, k) probabilities those that have to be kept: class 1 of two, all of more."""
    return values[:, 1:] if task.kind == "binary" else values
