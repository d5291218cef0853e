"""Cuts in time: the past trains, the future tests, and rows of one moment are never torn apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from danlu.core.errors import DataError


def cut(moments: np.ndarray, places: Sequence[float], *, column: str) -> list[np.ndarray]:
    """Positions of the rows before, between and after `places`, oldest first; no part is empty.

    `moments` (n,) are ranks in time, equal for rows of one moment. `places` are rising shares of the rows;
    each cut goes to the change of moment that lies nearest to its place. DataError where there are too few
    moments.
    """
    order = np.argsort(moments, kind="stable")
    changes = np.flatnonzero(np.diff(moments[order])) + 1  # a cut before row i is possible
    if len(changes) < len(places):
        raise DataError(
            f"A split by time into {len(places) + 1} parts needs at least {len(places) + 1} different times, "
            f"but column {column!r} has {len(changes) + 1}. Choose split.method='random' or another time "
            "column."
        )
    chosen: list[int] = []
    end = len(changes)
    for number in reversed(range(len(places))):  # from the newest, leaving enough changes for the older cuts
        candidates = changes[number:end]
        nearest = int(np.argmin(np.abs(candidates - places[number] * len(moments))))
        end = number + nearest
        chosen.append(int(changes[end]))
    return [np.sort(piece) for piece in np.split(order, chosen[::-1])]


def forward_folds(moments: np.ndarray, num_folds: int, *, column: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """(fit rows, held rows) of each fold: every block of time but the oldest is foretold from all before it.

    With fewer moments than blocks there are as many folds as the moments allow.
    """
    num_folds = min(num_folds, len(np.unique(moments)) - 1)
    blocks = cut(moments, [i / (num_folds + 1) for i in range(1, num_folds + 1)], column=column)
    return [(np.sort(np.concatenate(blocks[:i])), blocks[i]) for i in range(1, num_folds + 1)]
