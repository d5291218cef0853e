"""The rows that a model gets most wrong, with their values: where to look for wrong labels."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from danlu.core.tasks import Task
from danlu.evaluate import formulas
from danlu.evaluate.metrics import decide

if TYPE_CHECKING:
    import polars as pl


def worst_rows(
    task: Task,
    observed: np.ndarray | Sequence[float],
    predicted: np.ndarray,
    *,
    frame: pl.DataFrame | None = None,
    row_numbers: Sequence[int] | np.ndarray | None = None,
    threshold: float | None = None,
    num_rows: int = 10,
) -> list[dict[str, Any]]:
    """[{row, observed, predicted, loss, values}], the largest loss first, as plain JSON values.

    `loss` is |observed - predicted| for a number, in the target's unit, and -ln(probability of the observed
    class) for classes. `row` is the number that a person sees (default: 1 for the first of these rows);
    `values` are the row's columns in `frame`, and are left out without one. Rows without a finite loss come
    first.
    """
    observed = np.asarray(observed, np.int64 if task.is_classification else np.float64)
    predicted = np.asarray(predicted, np.float64)
    if task.is_classification:
        losses = formulas.surprise(observed, predicted)
        decided = decide(task, predicted, threshold)
    else:
        losses, decided = np.abs(residuals(observed, predicted)), predicted
    severity = np.where(np.isfinite(losses), losses, np.inf)
    order = np.argsort(-severity, kind="stable")[:num_rows]
    rows: list[dict[str, Any]] = []
    for i in order.tolist():
        row: dict[str, Any] = {
            "row": i + 1 if row_numbers is None else int(row_numbers[i]),
            "observed": task.labels[observed[i]] if task.is_classification else _plain(float(observed[i])),
            "predicted": task.labels[decided[i]] if task.is_classification else _plain(float(decided[i])),
            "loss": _plain(float(losses[i])),
        }
        if task.is_classification:
            row["probability"] = _plain(float(predicted[i, observed[i]]))
        if frame is not None:
            row["values"] = {name: _plain(value) for name, value in frame.row(i, named=True).items()}
        rows.append(row)
    return rows


def residuals(observed: np.ndarray | Sequence[float], predicted: np.ndarray) -> np.ndarray:
    """(n,) observed minus predicted: above 0 where the model says too little."""
    with np.errstate(invalid="ignore"):  # inf - inf
        return np.asarray(observed, np.float64) - np.asarray(predicted, np.float64)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
