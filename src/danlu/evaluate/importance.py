"""Permutation importance: how much worse the model gets when one column is shuffled (Breiman 2001).

It speaks of raw columns, of what this model uses, and of these rows. Columns that say the same share their
importance: shuffling one of them leaves the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from danlu.core.duration import Deadline
from danlu.core.seeds import generator
from danlu.core.tasks import Task
from danlu.evaluate.metrics import default_metric, metric, score

if TYPE_CHECKING:
    import polars as pl

Predict = Callable[["pl.DataFrame"], np.ndarray]
"""Raw rows in, (n,) values or (n, k) probabilities out."""

ROWS_AT_ONCE = 50_000
_COPIES_AT_ONCE = 16  # shuffled copies in one call: small tables are mostly the cost of calling


@dataclass(frozen=True)
class Importance:
    """What shuffling each column costs, and what that was measured on."""

    columns: list[dict[str, Any]]
    """[{column, mean, sd}], most important first: how much worse the metric gets, in its own unit.

    A mean below 0 is luck: the column is of no use. `sd` is over the repeats, None for a single one.
    """
    metric: str
    score: float | None
    """The metric with no column shuffled."""
    num_rows: int
    num_repeats: int
    """Repeats that every measured column has; fewer than asked where time ran out."""
    unmeasured: tuple[str, ...]
    """Columns that the time did not reach."""


def permutation_importance(
    predict: Predict,
    frame: pl.DataFrame,
    task: Task,
    observed: np.ndarray | Sequence[float],
    *,
    columns: Sequence[str],
    by: str | None = None,
    weight: np.ndarray | None = None,
    threshold: float | None = None,
    num_repeats: int = 5,
    max_rows: int = 5000,
    deadline: Deadline | None = None,
    seed: int = 0,
) -> Importance:
    """Shuffle each column `num_repeats` times in a seeded sample of the rows and see what the metric loses.

    The default metric is log loss or RMSE. All columns are shuffled once before any is shuffled again, so
    that a deadline leaves a rougher answer rather than part of one. Each shuffle depends on the seed, the
    column and the repeat alone.
    """
    deadline = deadline or Deadline()
    chosen = default_metric(task) if by is None else metric(by)
    observed = np.asarray(observed)
    rows = np.arange(frame.height)
    if frame.height > max_rows:
        rows = np.sort(generator(seed, "importance").choice(frame.height, size=max_rows, replace=False))
        frame, observed = frame[rows], observed[rows]
        weight = None if weight is None else np.asarray(weight)[rows]

    def value(predicted: np.ndarray) -> float | None:
        scores = score(task, observed, predicted, weight=weight, threshold=threshold, names=[chosen.name])
        return scores[chosen.name]

    whole = value(predict_in_pieces(predict, frame))
    sign = 1.0 if chosen.greater_is_better else -1.0
    losses: dict[str, list[float]] = {name: [] for name in columns}
    num_copies = max(1, min(_COPIES_AT_ONCE, ROWS_AT_ONCE // max(1, frame.height)))
    jobs = [(name, repeat) for repeat in range(num_repeats) for name in columns]
    for start in range(0, len(jobs), num_copies):
        if whole is None or deadline.has_passed:
            break
        batch = jobs[start : start + num_copies]
        predicted = predict_in_pieces(predict, _shuffled_copies(frame, batch, seed))
        for (name, _), part in zip(batch, np.split(predicted, len(batch)), strict=True):
            shuffled = value(part)
            if shuffled is not None:
                losses[name].append(sign * (whole - shuffled))
    measured = {name: each for name, each in losses.items() if each}
    table = [
        {
            "column": name,
            "mean": float(np.mean(each)),
            "sd": float(np.std(each, ddof=1)) if len(each) > 1 else None,
        }
        for name, each in measured.items()
    ]
    return Importance(
        sorted(table, key=lambda row: -row["mean"]),
        chosen.name,
        whole,
        frame.height,
        min((len(each) for each in measured.values()), default=0),
        tuple(name for name in columns if name not in measured),
    )


def predict_in_pieces(predict: Predict, frame: pl.DataFrame) -> np.ndarray:
    """`predict` of all rows, called with at most 50,000 of them at a time."""
    if frame.height <= ROWS_AT_ONCE:
        return np.asarray(predict(frame))
    starts = range(0, frame.height, ROWS_AT_ONCE)
    return np.concatenate([np.asarray(predict(frame[start : start + ROWS_AT_ONCE])) for start in starts])


def _shuffled_copies(frame: pl.DataFrame, jobs: Sequence[tuple[str, int]], seed: int) -> pl.DataFrame:
    """One copy of the frame for each (column, repeat), with that column shuffled, on top of each other."""
    import polars as pl

    copies: list[pl.DataFrame] = []
    for name, repeat in jobs:
        order = generator(seed, "shuffle", name, repeat).permutation(frame.height)
        copies.append(frame.with_columns(frame[name][order].alias(name)))
    return pl.concat(copies)
