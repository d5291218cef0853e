"""Facts about each column for people: missing values, range, commonest values, histogram."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import polars as pl

    from danlu.data.schema import Column, Schema

MAX_COLUMNS = 300  # with facts of their values; the rest are only counted
NUM_BINS = 20


def column_facts(frame: pl.DataFrame, schema: Schema) -> list[dict[str, Any]]:
    """One dictionary a column, with plain JSON values."""
    return [
        _facts(frame, column, with_values=place < MAX_COLUMNS) for place, column in enumerate(schema.columns)
    ]


def _facts(frame: pl.DataFrame, column: Column, *, with_values: bool) -> dict[str, Any]:
    facts: dict[str, Any] = {
        name: getattr(column, name) for name in ("name", "type", "role", "num_missing", "num_unique", "why")
    }
    if not with_values or column.name not in frame.columns:
        return facts
    series = frame[column.name]
    if column.type == "number" and series.dtype.is_numeric():
        return facts | _numbers(series.drop_nulls().to_numpy().astype(np.float64))
    if column.type in ("category", "boolean", "constant") or column.role == "target":
        return facts | {"top": _commonest(series)}
    if column.type == "datetime" and series.dtype.is_temporal() and series.drop_nulls().len():
        return facts | {"min": str(series.min()), "max": str(series.max())}
    return facts


def _numbers(values: np.ndarray) -> dict[str, Any]:
    values = values[np.isfinite(values)]
    if not len(values):
        return {}
    counts, edges = np.histogram(values, bins=NUM_BINS)
    return {
        "mean": float(values.mean()),
        "sd": float(values.std()),
        "min": float(values.min()),
        "max": float(values.max()),
        "median": float(np.median(values)),
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }


def _commonest(series: pl.Series) -> list[list[Any]]:
    import polars as pl

    counts = series.drop_nulls().value_counts(sort=True, name="rows").head(10)
    values = (
        counts[:, 0].cast(pl.String)
        if series.dtype not in (pl.Boolean,) and not series.dtype.is_numeric()
        else counts[:, 0]
    )
    return [[value, count] for value, count in zip(values.to_list(), counts["rows"].to_list(), strict=True)]
