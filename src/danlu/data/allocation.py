"""Dealing rows out to parts: units stay whole, every stratum is shared out in proportion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NUM_BINS = 10  # strata of a number target
ONE_BY_ONE = 5000  # units that are placed one by one; the smaller rest goes in bulk
ROWS_PER_BIN = 10  # below this, a bin could not give a row to each part


def deal(
    units: np.ndarray, strata: np.ndarray, shares: Sequence[float], *, rng: np.random.Generator
) -> np.ndarray:
    """Part of each row, 0 to len(shares) - 1, int64: close to `shares` of all rows and of each stratum.

    Rows with the same number in `units` (n,) get the same part. `shares` are positive and add up to 1. Rows
    that are alone in their unit come out exact: within one row of the share over all, and in each stratum.
    """
    units, strata = _compact(units), _compact(strata)
    sizes = np.bincount(units)
    targets = np.outer(shares, np.bincount(strata))  # rows that part p should have of stratum s
    part_of_unit = np.full(len(sizes), -1, dtype=np.int64)
    largest = np.flatnonzero(sizes > 1)
    if len(largest) > ONE_BY_ONE:
        largest = np.sort(largest[np.argsort(-sizes[largest], kind="stable")[:ONE_BY_ONE]])
    part_of_unit[largest] = _deal_large(largest, units, strata, sizes, targets, rng)
    first_row = np.full(len(sizes), len(units))
    np.minimum.at(first_row, units, np.arange(len(units)))
    for some in (np.flatnonzero((sizes > 1) & (part_of_unit < 0)), np.flatnonzero(sizes == 1)):
        if len(some):
            room = np.maximum(targets - _filled(part_of_unit[units], strata, targets.shape), 0.0)
            part_of_unit[some] = _deal_small(strata[first_row[some]], sizes[some], room, rng)
    return part_of_unit[units]


def _deal_large(
    largest: np.ndarray,
    units: np.ndarray,
    strata: np.ndarray,
    sizes: np.ndarray,
    targets: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Part of each unit: biggest first, to where the chi-square distance from `targets` grows least."""
    num_parts, num_strata = targets.shape
    rows = np.flatnonzero(np.isin(units, largest))
    rows = rows[np.argsort(units[rows], kind="stable")]
    pieces = np.split(strata[rows], np.cumsum(sizes[largest])[:-1])
    shuffled = rng.permutation(len(largest))
    biggest_first = shuffled[np.argsort(-sizes[largest][shuffled], kind="stable")]
    # One more stratum of all rows, so that parts keep their sizes too. Lists: small arrays are slow to index.
    wanted = np.column_stack([targets, targets.sum(axis=1)]).tolist()
    held = [[0.0] * (num_strata + 1) for _ in range(num_parts)]
    part_of_piece = np.empty(len(largest), dtype=np.int64)
    for index in biggest_first.tolist():
        piece = pieces[index].tolist()
        counts = {stratum: piece.count(stratum) for stratum in set(piece)} | {num_strata: len(piece)}
        growth = [
            sum(n * (2 * (has[s] - want[s]) + n) / want[s] for s, n in counts.items())
            for has, want in zip(held, wanted, strict=True)
        ]
        part = growth.index(min(growth))
        part_of_piece[index] = part
        for stratum, count in counts.items():
            held[part][stratum] += count
    return part_of_piece


def _deal_small(
    strata: np.ndarray, sizes: np.ndarray, room: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Part of each unit, so that parts get units of each stratum and size in shares as in `room` (p, s)."""
    num_parts = len(room)
    cells, cell_of_unit, left = np.unique(
        strata * (sizes.max() + 1) + sizes, return_inverse=True, return_counts=True
    )
    room = room[:, cells // (sizes.max() + 1)]
    turn = rng.permutation(len(cells))  # which cells are rounded up is up to the seed
    counts = np.zeros((num_parts, len(cells)), dtype=np.int64)
    for part in range(num_parts - 1):
        open_room = room[part:].sum(axis=0)
        wanted = np.divide(room[part] * left, open_room, out=np.zeros(len(cells)), where=open_room > 0)
        # Rounding the running sum, not each term, keeps both the part's size and each cell within one.
        rounded = np.diff(np.floor(np.cumsum(wanted[turn]) + 0.5 + 1e-9), prepend=0.0)
        counts[part, turn] = np.minimum(rounded.astype(np.int64), left[turn])
        left = left - counts[part]
    counts[-1] = left
    order = rng.permutation(len(strata))
    order = order[np.argsort(cell_of_unit[order], kind="stable")]
    part_of_unit = np.empty(len(strata), dtype=np.int64)
    part_of_unit[order] = np.repeat(np.tile(np.arange(num_parts), len(cells)), counts.T.ravel())
    return part_of_unit


def _filled(part_of_row: np.ndarray, strata: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Rows of each part and stratum so far; -1 is no part yet."""
    placed = part_of_row >= 0
    counts = np.bincount(part_of_row[placed] * shape[1] + strata[placed], minlength=shape[0] * shape[1])
    return counts.reshape(shape)


def joined(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Units of rows that hang together by `first` or by `second`, over any number of steps: (n,) int64.

    Each round carries the smallest row number through both kinds of neighbour, until nothing changes.
    """
    first, second = _compact(first), _compact(second)
    labels = np.arange(len(first))
    while True:
        before = labels
        for groups in (first, second):
            smallest = np.full(int(groups.max(initial=-1)) + 1, len(first))
            np.minimum.at(smallest, groups, labels)
            labels = smallest[groups]
        labels = labels[
            labels
        ]  # a label is a row that itself has a label: jump there, which halves long chains
        if np.array_equal(labels, before):
            return _compact(labels)


def bins(target: np.ndarray) -> np.ndarray:
    """Strata of a number target: up to ten bins of equally many rows, equal values in one: (n,) int64."""
    num_bins = min(NUM_BINS, len(target) // ROWS_PER_BIN)
    if num_bins < 2:
        return np.zeros(len(target), dtype=np.int64)
    edges = np.unique(np.quantile(target, np.arange(1, num_bins) / num_bins))
    return np.searchsorted(edges, target, side="right").astype(np.int64)


def _compact(values: np.ndarray) -> np.ndarray:
    """The same partition, numbered from 0 on without gaps; `values` (n,) are from 0 to about n."""
    present = np.bincount(values) > 0
    return (np.cumsum(present) - 1)[values]
