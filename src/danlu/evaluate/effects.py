"""Partial dependence and decision boundaries: what the model says as columns change (Friedman 2001).

Partial dependence sets one column to a value in every row of a sample and takes the mean prediction. Where
columns go together it also asks about rows that do not exist; it shows the model, not causes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from danlu.core.duration import Deadline
from danlu.core.seeds import generator
from danlu.core.tasks import Task
from danlu.evaluate.importance import Predict, predict_in_pieces

if TYPE_CHECKING:
    import polars as pl

GRID_SIZE = 20
SAMPLE_ROWS = 200
BOUNDARY_SIZE = 60
BOUNDARY_POINTS = 400


def partial_dependence(
    predict: Predict,
    frame: pl.DataFrame,
    task: Task,
    *,
    columns: Sequence[tuple[str, str]],
    grid_size: int = GRID_SIZE,
    sample_rows: int = SAMPLE_ROWS,
    deadline: Deadline | None = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """[{column, type, grid, value, label}] for each (name, type) in `columns`, as long as the time lasts.

    A `number` is moved over its 5 % to 95 % quantiles, a `category` or `boolean` over its commonest values.
    `value` is the mean over a seeded sample of rows of the prediction, or of the probability of `label`: the
    positive class of two, or one entry for each of several.
    """
    import polars as pl

    deadline = deadline or Deadline()
    sample = frame
    if frame.height > sample_rows:
        rows = generator(seed, "partial dependence").choice(frame.height, size=sample_rows, replace=False)
        sample = frame[np.sort(rows)]
    entries: list[dict[str, Any]] = []
    for name, kind in columns:
        if deadline.has_passed:
            break
        grid = (
            _number_grid(frame[name], grid_size)
            if kind == "number"
            else _common_values(frame[name], grid_size)
        )
        if len(grid) < 2 or not sample.height:
            continue
        moved = pl.concat(
            [sample.with_columns(grid[[i] * sample.height].alias(name)) for i in range(len(grid))]
        )
        predicted = predict_in_pieces(predict, moved)
        means = predicted.reshape(len(grid), sample.height, -1).mean(axis=1)  # (grid, values or classes)
        entry = {"column": name, "type": kind, "grid": grid.to_list()}
        for label, code in _shown(task):
            entries.append(entry | {"value": means[:, code].tolist(), "label": label})
    return entries


def decision_boundary(
    predict: Predict,
    frame: pl.DataFrame,
    task: Task,
    observed: np.ndarray | Sequence[float],
    *,
    x: str,
    y: str,
    grid_size: int = BOUNDARY_SIZE,
    max_points: int = BOUNDARY_POINTS,
    seed: int = 0,
) -> dict[str, Any]:
    """{x, y, x_grid, y_grid, value, points}: the prediction over the plane of the model's only two columns.

    `value[i][j]` at (x_grid[j], y_grid[i]) is the predicted number, the probability of the positive class of
    two, or the code of the likeliest of several; where `predict` gives one score a row it is that score, such
    as an SVM's distance. `points` are {x, y, label} of at most `max_points` rows (0 for none), with labels of
    classes.
    """
    import polars as pl

    x_grid, y_grid = _span(frame[x], grid_size), _span(frame[y], grid_size)
    plane = pl.DataFrame({x: np.tile(x_grid, len(y_grid)), y: np.repeat(y_grid, len(x_grid))})
    predicted = predict_in_pieces(predict, plane)
    if predicted.ndim == 2:
        predicted = predicted[:, task.positive_code] if task.kind == "binary" else predicted.argmax(axis=1)
    truth = np.asarray(observed)
    rows = np.flatnonzero((frame[x].is_not_null() & frame[y].is_not_null()).to_numpy())
    if len(rows) > max_points:
        rows = np.sort(generator(seed, "boundary").choice(rows, size=max_points, replace=False))
    labels = [task.labels[code] for code in truth[rows]] if task.is_classification else truth[rows].tolist()
    return {
        "x": x,
        "y": y,
        "x_grid": x_grid.tolist(),
        "y_grid": y_grid.tolist(),
        "value": predicted.reshape(len(y_grid), len(x_grid)).tolist(),
        "points": {"x": frame[x][rows].to_list(), "y": frame[y][rows].to_list(), "label": labels},
    }


def _shown(task: Task) -> list[tuple[Any, int]]:
    if task.kind == "regression":
        return [(None, 0)]
    if task.kind == "binary":
        return [(task.positive, task.positive_code)]
    return [(label, code) for code, label in enumerate(task.labels)]


def _number_grid(column: pl.Series, size: int) -> pl.Series:
    """Rising values between the 5 % and 95 % quantiles, of the column's own type."""
    known = _finite(column)
    if not len(known):
        return column.clear()
    grid = np.unique(np.quantile(known, np.linspace(0.05, 0.95, size)))
    if len(grid) < 5:  # nearly all rows have a few values: show the range of all there are
        values = np.unique(known)
        grid = values[np.unique(np.linspace(0, len(values) - 1, size).round().astype(int))]
    if column.dtype.is_integer():
        grid = np.unique(np.round(grid))
    import polars as pl

    return pl.Series(column.name, grid).cast(column.dtype)


def _common_values(column: pl.Series, size: int) -> pl.Series:
    """The commonest values, most rows first, then in order of their text; without the missing one."""
    import polars as pl

    counts = column.drop_nulls().value_counts(name="count of rows")
    order = counts.sort(
        pl.col("count of rows"), pl.col(column.name).cast(pl.String), descending=[True, False]
    )
    return order[column.name].head(size)


def _span(column: pl.Series, size: int) -> np.ndarray:
    """Equal steps over the column's range and a twentieth beyond it on each side."""
    known = _finite(column)
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    margin = (high - low) / 20 or max(abs(low) / 20, 0.5)
    return np.linspace(low - margin, high + margin, size)


def _finite(column: pl.Series) -> np.ndarray:
    known = column.drop_nulls().to_numpy().astype(np.float64)
    return known[np.isfinite(known)]
