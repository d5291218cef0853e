"""Tree models of every kind as arrays: checked when read, scored in float64 with NumPy, printed as rules.

A tree is stored breadth first, the two children of a node side by side: the j-th inner node of a tree
(from 0) has the nodes 2j + 1 and 2j + 2 of that tree as its children. Children are therefore never written
down, and a cycle, a shared child or a child out of range cannot be expressed; what is left to check is
that every child comes after its parent. A row goes left where `x[feature] <= threshold`; a missing value
goes where the node sends it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from danlu.core.errors import DataError
from danlu.core.ideas import State
from danlu.core.scores import dense
from danlu.models.stored import Stored

MAX_TREES = 100_000
MAX_NODES = 1 << 28
MAX_DEPTH = 1_000
"""Longest way from a root to a leaf; trees are grown no deeper, so that scoring a row is bounded."""

LARGEST = float(np.finfo(np.float64).max)
PAIRS_AT_ONCE = 1 << 14  # (row, tree) pairs that walk down together, so that they stay in the cache
NODES_AT_ONCE = 1 << 18  # of a block of trees that is checked
CELLS_AT_ONCE = 1 << 17  # values of x in a block of rows: 1 MiB


class Nodes(NamedTuple):
    """One tree, node by node, breadth first; `m` nodes."""

    feature: np.ndarray
    """(m,) the column that is compared; -1 at a leaf."""
    threshold: np.ndarray
    """(m,) values up to it go left; 0 at a leaf."""
    left: np.ndarray
    """(m,) number of the left child; 0 at a leaf."""
    right: np.ndarray
    """(m,) number of the right child; 0 at a leaf."""
    missing_left: np.ndarray
    """(m,) whether a missing value goes left."""
    leaf: np.ndarray
    """(m,) row of the ensemble's `values`; -1 at an inner node."""


@dataclass(frozen=True, eq=False)
class TreeEnsemble:
    """T trees with N nodes, of which I are inner ones and L are leaves.

    With `values` as wide as `num_outputs`, each tree adds its leaf's row to all outputs; with one column,
    tree t adds its leaf's value to output t modulo `num_outputs`.
    """

    num_features: int
    num_outputs: int
    sizes: np.ndarray
    """(T,) int32 number of nodes of each tree."""
    is_leaf: np.ndarray
    """(N,) bool."""
    feature: np.ndarray
    """(I,) int32 column of each inner node, in the order of the nodes."""
    threshold: np.ndarray
    """(I,) float64."""
    missing_left: np.ndarray
    """(I,) bool."""
    values: np.ndarray
    """(L, width) float64, in the order of the nodes."""

    @property
    def num_trees(self) -> int:
        """T."""
        return len(self.sizes)

    def add_scores(self, x: Any, sums: np.ndarray) -> None:
        """Add to `sums` (n, num_outputs) what each tree says of each row of `x`: (n, d) array or CSR matrix.

        Trees are added one by one, so that sums over pieces of the trees have the same bits as sums over all.
        """
        if x.shape[1] != self.num_features:
            raise DataError(
                f"The trees were grown on {self.num_features} features, but the rows have {x.shape[1]}."
            )
        width = self.values.shape[1]
        for rows, values in self._row_blocks(x):
            num_trees = max(PAIRS_AT_ONCE // max(len(values), 1), 1)
            for first in range(0, self.num_trees, num_trees):
                leaves = self._leaves(values, slice(first, first + num_trees))
                for tree, leaf in enumerate(leaves, start=first):
                    if width == 1:
                        sums[rows, tree % self.num_outputs] += self.values[:, 0].take(leaf)
                    else:
                        sums[rows] += self.values.take(leaf, axis=0)

    def leaves(self, x: Any) -> np.ndarray:
        """The leaf that each row of `x` reaches in each tree, as a row of `values`: (n, T)."""
        blocks = [self._leaves(values, slice(None)) for _, values in self._row_blocks(x)]
        return np.concatenate(blocks, axis=1).T if blocks else np.empty((0, self.num_trees), dtype=np.intp)

    def tree(self, index: int) -> Nodes:
        """The nodes of one tree."""
        nodes = slice(self._starts[index], self._starts[index + 1])
        inner, code = ~self.is_leaf[nodes], self._codes[nodes]
        feature, threshold = np.full(inner.shape, -1), np.zeros(inner.shape)
        left, missing_left = np.zeros(inner.shape, dtype=np.intp), np.zeros(inner.shape, dtype=bool)
        feature[inner], threshold[inner] = self.feature[code[inner]], self.threshold[code[inner]]
        left[inner], missing_left[inner] = 2 * np.arange(inner.sum()) + 1, self.missing_left[code[inner]]
        return Nodes(
            feature, threshold, left, np.where(inner, left + 1, 0), missing_left, np.where(inner, -1, ~code)
        )

    def rules(
        self,
        index: int,
        names: Sequence[str],
        answer: Callable[[np.ndarray], str],
        *,
        max_depth: int | None = None,
    ) -> str:
        """One tree as nested if and else; `answer` puts a leaf's row of `values` into words."""
        nodes, lines = self.tree(index), list[str]()
        waiting = [(0, 0, "")]  # node, depth, line to print before it
        while waiting:
            node, depth, line = waiting.pop()
            lines += [line] if line else []
            pad = "    " * depth
            if nodes.leaf[node] >= 0:
                lines.append(f"{pad}{answer(self.values[nodes.leaf[node]])}")
            elif max_depth is not None and depth >= max_depth:
                lines.append(f"{pad}...")
            else:
                question = _question(nodes.threshold[node], nodes.missing_left[node])
                lines.append(f"{pad}if {names[nodes.feature[node]]} {question}:")
                waiting += [(nodes.right[node], depth + 1, f"{pad}else:"), (nodes.left[node], depth + 1, "")]
        return "\n".join(lines)

    def first(self, num_trees: int) -> TreeEnsemble:
        """The first `num_trees` trees."""
        nodes = self._starts[num_trees]
        inner = int(np.count_nonzero(~self.is_leaf[:nodes]))
        return TreeEnsemble(
            self.num_features,
            self.num_outputs,
            self.sizes[:num_trees],
            self.is_leaf[:nodes],
            self.feature[:inner],
            self.threshold[:inner],
            self.missing_left[:inner],
            self.values[: nodes - inner],
        )

    def state(self) -> State:
        """The arrays."""
        return {name: np.ascontiguousarray(getattr(self, name)) for name in ARRAYS}

    @cached_property
    def _starts(self) -> np.ndarray:
        """(T + 1,) first node of each tree, and N."""
        return np.concatenate([[0], np.cumsum(self.sizes, dtype=np.intp)])

    @cached_property
    def _codes(self) -> np.ndarray:
        """(N,) an inner node's place among the inner nodes, or ~place of a leaf among the leaves."""
        return np.where(self.is_leaf, -np.cumsum(self.is_leaf), np.cumsum(~self.is_leaf) - 1)

    @cached_property
    def _roots(self) -> np.ndarray:
        """(T,) codes of the roots."""
        return self._codes[self._starts[:-1]]

    @cached_property
    def _children(self) -> np.ndarray:
        """(2I,) codes of the children: 2i is the left one of inner node i, 2i + 1 the right one."""
        return np.delete(self._codes, self._starts[:-1])

    @cached_property
    def _used(self) -> tuple[np.ndarray, np.ndarray]:
        """(u,) the columns that any node compares, and (I,) the place of each node's column among them."""
        used, place = np.unique(self.feature, return_inverse=True)
        return used, place.astype(np.intp)

    def _row_blocks(self, x: Any) -> Iterator[tuple[slice, np.ndarray]]:
        """Slices of rows and their values in the columns that are used: (r, u) float64, C order."""
        used, _ = self._used
        step = min(max(CELLS_AT_ONCE // max(len(used), 1), 256), PAIRS_AT_ONCE // 4)
        for start in range(0, x.shape[0], step):
            rows = slice(start, min(start + step, x.shape[0]))
            block = x[rows] if len(used) == self.num_features else x[rows][:, used]
            values = np.ascontiguousarray(dense(block), dtype=np.float64)
            if np.isinf(values).any():
                row, column = (int(found[0]) for found in np.nonzero(np.isinf(values)))
                raise infinity(rows.start + row, int(used[column]))
            yield rows, values

    def _leaves(self, values: np.ndarray, trees: slice) -> np.ndarray:
        """Leaf reached by each row of `values` (r, u) in each of the trees: (t, r).

        All pairs of a tree and a row go down one level at a time; pairs that have reached a leaf drop out.
        """
        flat, num_rows, (_, feature) = values.ravel(), len(values), self._used
        roots = self._roots[trees]
        has_missing = bool(np.isnan(flat).any())
        leaves = ~np.repeat(roots, num_rows)  # (t * r,); right already where the tree is a single leaf
        pairs = np.flatnonzero(leaves < 0)  # on their way
        node = ~leaves.take(pairs)
        origin = (pairs % max(num_rows, 1)) * values.shape[1]  # where the pair's row begins in `flat`
        while len(pairs):
            cells = feature.take(node)
            cells += origin
            cells = flat.take(cells)
            is_right = cells > self.threshold.take(node)
            if has_missing:
                is_right |= np.isnan(cells) & ~self.missing_left.take(node)
            node *= 2
            node += is_right
            node = self._children.take(node)
            on = np.flatnonzero(node >= 0)
            leaves[pairs] = ~node
            pairs, node, origin = pairs.take(on), node.take(on), origin.take(on)
        return leaves.reshape(len(roots), num_rows)


ARRAYS = ("sizes", "is_leaf", "feature", "threshold", "missing_left", "values")


def join(pieces: Sequence[TreeEnsemble]) -> TreeEnsemble:
    """The trees of all pieces, one after the other."""
    one = pieces[0]
    arrays = {name: np.concatenate([getattr(piece, name) for piece in pieces]) for name in ARRAYS}
    return TreeEnsemble(one.num_features, one.num_outputs, **arrays)


def no_trees(num_features: int, num_outputs: int, width: int) -> TreeEnsemble:
    """An ensemble without any tree."""
    none, flags = np.empty(0, np.int32), np.empty(0, np.bool_)
    return TreeEnsemble(
        num_features, num_outputs, none, flags, none, np.empty(0), flags, np.empty((0, width))
    )


def from_nodes(
    *,
    feature: np.ndarray,
    threshold: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    missing_left: np.ndarray,
    values: np.ndarray,
    roots: np.ndarray,
    num_features: int,
    num_outputs: int,
) -> TreeEnsemble:
    """Trees that a library grew, from tables of N nodes in any order.

    `left` and `right` are rows of the tables; `feature` is below 0 at a leaf, whose row of `values`
    (N, width) counts; `roots` (T,) names the trees' first nodes.
    """
    tree, nodes = np.arange(len(roots)), np.asarray(roots)
    levels, trees = [nodes], [tree]
    while len(nodes):
        inner = feature[nodes] >= 0
        nodes, tree = nodes[inner], np.repeat(tree[inner], 2)
        nodes = np.column_stack([left[nodes], right[nodes]]).ravel()
        levels.append(nodes)
        trees.append(tree)
    by_tree = np.argsort(np.concatenate(trees), kind="stable")
    order = np.concatenate(levels)[by_tree]
    is_leaf = feature[order] < 0
    inner, leaves = order[~is_leaf], order[is_leaf]
    return TreeEnsemble(
        num_features,
        num_outputs,
        np.bincount(np.concatenate(trees), minlength=len(roots)).astype(np.int32),
        is_leaf,
        feature[inner].astype(np.int32),
        threshold[inner].astype(np.float64),
        missing_left[inner].astype(np.bool_),
        np.ascontiguousarray(values[leaves], dtype=np.float64),
    )


def read_trees(stored: Stored, *, num_features: int, num_outputs: int, width: int) -> TreeEnsemble:
    """Stored arrays as an ensemble, once all that scoring relies on is checked (`BundleError`)."""
    sizes = stored.array("sizes", (None,), dtype=np.int32, low=1)
    is_leaf = stored.array("is_leaf", (None,), dtype=np.bool_)
    num_trees, num_nodes = len(sizes), len(is_leaf)
    if num_trees > MAX_TREES or num_nodes > MAX_NODES:
        raise stored.damaged(
            f"it has {num_trees} trees with {num_nodes} nodes, allowed are {MAX_TREES} with {MAX_NODES}"
        )
    if sizes.sum(dtype=np.int64) != num_nodes:
        raise stored.damaged(f"its trees have {sizes.sum(dtype=np.int64)} nodes, but is_leaf has {num_nodes}")
    num_inner = num_nodes - int(np.count_nonzero(is_leaf))
    feature = stored.array("feature", (num_inner,), dtype=np.int32, low=0, high=num_features - 1)
    threshold = stored.array("threshold", (num_inner,))
    missing_left = stored.array("missing_left", (num_inner,), dtype=np.bool_)
    values = stored.array("values", (num_nodes - num_inner, width))
    stored.end()
    if width < num_outputs and num_trees % num_outputs:
        raise stored.damaged(f"its {num_trees} trees cannot be dealt out evenly to {num_outputs} outputs")
    _check_shape(stored, sizes, is_leaf)
    return TreeEnsemble(num_features, num_outputs, sizes, is_leaf, feature, threshold, missing_left, values)


def _check_shape(stored: Stored, sizes: np.ndarray, is_leaf: np.ndarray) -> None:
    """Every tree has exactly its nodes, each child comes after its parent, and no leaf lies too deep."""
    starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    edges = np.searchsorted(starts, np.arange(0, starts[-1], NODES_AT_ONCE)).tolist()
    for first, last in pairwise(dict.fromkeys([*edges, len(sizes)])):
        _check_block(stored, sizes[first:last], is_leaf[starts[first] : starts[last]], first)


def _check_block(stored: Stored, sizes: np.ndarray, is_leaf: np.ndarray, number: int) -> None:
    """The same for some of the trees, of which the first has a `number`: it takes five times their memory."""
    starts = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    before = np.concatenate([[0], np.cumsum(~is_leaf)])  # inner nodes before each node, over all trees
    num_inner = np.diff(before[starts])
    if bad := np.flatnonzero(sizes != 2 * num_inner + 1).tolist():
        raise stored.damaged(
            f"tree {number + bad[0]} has {sizes[bad[0]]} nodes, but its {num_inner[bad[0]]} inner nodes make "
            f"{2 * num_inner[bad[0]] + 1}"
        )
    tree = np.repeat(np.arange(len(sizes)), num_inner)
    inner = np.flatnonzero(~is_leaf)
    left_child = starts[tree] + 2 * (before[inner] - before[starts[tree]]) + 1
    if bad := np.flatnonzero(left_child <= inner).tolist():
        raise stored.damaged(f"in tree {number + tree[bad[0]]} a node does not come before its children")
    roots, first = starts[:-1], np.zeros(len(sizes), np.int64)
    last = first + 1  # the nodes from `first` up to `last` of each tree are one level
    for _ in range(MAX_DEPTH + 1):
        first, last = (2 * (before[roots + end] - before[roots]) + 1 for end in (first, last))
        deeper = last > first
        roots, first, last = roots[deeper], first[deeper], last[deeper]
        if not len(roots):
            return
    raise stored.damaged(f"one of its trees is deeper than {MAX_DEPTH} levels")


def infinity(row: int, column: int) -> DataError:
    """The error for an infinite value; row and column count from 0."""
    return DataError(
        f"Feature {column + 1} of row {row + 1} is infinite. Put a number there, or a missing value."
    )


def float32_threshold(threshold: np.ndarray) -> np.ndarray:
    """The float64 t with `x <= t` exactly where `float32(x) <= threshold`, for every float64 x.

    scikit-learn's trees compare rows that were rounded to float32 with float64 thresholds. Where a split
    parts the missing values from all others its threshold is infinite; here it is the largest number.
    """
    threshold = np.clip(threshold, -LARGEST, LARGEST)
    below = _float32_below(threshold)
    with np.errstate(over="ignore"):
        above = np.nextafter(below, np.float32(np.inf)).astype(np.float64)
        middle = (below + above) / 2  # exact: they are neighbours in float32
        rounds_down = middle.astype(np.float32) == below
    exact = np.where(rounds_down, middle, np.nextafter(middle, -np.inf))
    return np.where(np.abs(threshold) == LARGEST, threshold, exact)


def _question(threshold: float, missing_left: bool) -> str:
    if threshold == LARGEST and not missing_left:
        return "is not missing"
    return f"<= {shown(float(threshold))}{' or is missing' if missing_left else ''}"


def shown(threshold: float) -> str:
    """A threshold in as few digits as part the same numbers; float32 ones if `float32_threshold` made it."""
    below = _float32_below(np.array([threshold]))
    is_float32 = float32_threshold(below.astype(np.float64))[0] == threshold
    low = float(below[0]) if is_float32 else threshold
    above = float(np.nextafter(below[0], np.float32(np.inf)))
    end = above if is_float32 else math.nextafter(threshold, math.inf)
    for digits in range(1, 17):
        near = float(f"{threshold:.{digits}g}")
        if low <= near < end:
            return f"{near + 0.0:.{max(digits, 15)}g}"  # + 0.0 turns -0 into 0
    return repr(threshold)


def _float32_below(value: np.ndarray) -> np.ndarray:
    """The largest float32 that is not above each float64 value."""
    with np.errstate(over="ignore"):
        near = value.astype(np.float32)
    return np.where(near > value, np.nextafter(near, np.float32(-np.inf)), near)
