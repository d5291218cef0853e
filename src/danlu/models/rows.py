"""The training rows of a batch: features, target and weights, and how to walk over them in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from danlu.core.errors import DataError
from danlu.core.ideas import Batch

VALUES_AT_ONCE = 1 << 22  # 32 MiB of float64


class Rows(NamedTuple):
    """Rows that count: those of weight zero are left out."""

    x: Any
    """(n, d) float64 array or SciPy CSR matrix."""
    y: np.ndarray
    """(n,) float64 values or int64 class codes."""
    weight: np.ndarray
    """(n,) float64, all above zero."""

    def take(self, index: np.ndarray) -> Rows:
        """The rows that `index` (row numbers or a mask) names."""
        return Rows(self.x[index], self.y[index], self.weight[index])

    @property
    def sample_weight(self) -> np.ndarray | None:
        """The weights for a library, None where all rows weigh 1."""
        return None if np.all(self.weight == 1.0) else self.weight


def training_rows(batch: Batch) -> Rows:
    """The rows of a batch `{"x", "y"[, "weight"]}` whose weight is above zero."""
    y = np.asarray(batch["y"])
    given = batch.get("weight")
    weight = np.ones(len(y)) if given is None else np.asarray(given, dtype=np.float64)
    if not np.isfinite(weight).all() or weight.min(initial=0.0) < 0:
        raise DataError(
            "Weights of rows must be finite numbers that are not negative. Correct the weight column."
        )
    rows = Rows(batch["x"], y, weight)
    if len(y) and weight.min() == 0:
        rows = rows.take(np.flatnonzero(weight > 0))
    if rows.x.shape[1] == 0:
        raise DataError(
            "There is no column to learn from. Give the model at least one that varies from row to row."
        )
    if len(rows.y) == 0:
        raise DataError("There is no training row with a weight above zero. Give the model at least one.")
    return rows


def standardised(rows: Rows) -> tuple[Rows, float, float]:
    """The rows with a target of mean 0 and standard deviation 1, and the mean and deviation that it had."""
    mean = float(np.average(rows.y, weights=rows.weight))
    deviation = float(np.sqrt(np.average((rows.y - mean) ** 2, weights=rows.weight))) or 1.0
    return rows._replace(y=(rows.y - mean) / deviation), mean, deviation


def slices(num_rows: int, width: int) -> Iterator[slice]:
    """Slices of rows that hold about `VALUES_AT_ONCE` numbers at `width` numbers a row."""
    step = max(VALUES_AT_ONCE // max(width, 1), 256)
    for start in range(0, num_rows, step):
        yield slice(start, min(start + step, num_rows))
