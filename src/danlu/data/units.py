"""Which rows hang together when rows are divided: equal rows, groups, moments in time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from danlu.core.errors import DataError, RecipeError, closest
from danlu.core.findings import Finding
from danlu.data.allocation import joined

if TYPE_CHECKING:
    import polars as pl

    from danlu.data.schema import Schema

NAMED_ROWS = 20  # how many rows a finding names


@dataclass(frozen=True)
class Units:
    """What the division of rows goes by; all arrays are (n,) int64."""

    of_row: np.ndarray
    """Rows with the same number stay on one side."""
    duplicates: np.ndarray
    """Rows with the same number have equal features."""
    groups: np.ndarray | None
    """Number of the row's group, when rows are divided by group."""
    moments: np.ndarray | None
    """Rank in time from 0 on, -1 for a row without time, when rows are divided by time."""
    keeps_duplicates: bool
    row_numbers: np.ndarray
    findings: list[Finding] = field(default_factory=list[Finding])


def find_units(
    frame: pl.DataFrame,
    schema: Schema,
    *,
    group: str | None,
    time: str | None,
    keep_duplicates: bool | None,
    row_numbers: np.ndarray,
) -> Units:
    """Units of `frame` for a division by `group`, by `time` or at random.

    `keep_duplicates` None keeps equal rows together unless most rows repeat another one.
    """
    findings: list[Finding] = []
    duplicates = equal_rows(frame, [column.name for column in schema.columns if column.role == "feature"])
    num_distinct = int(duplicates.max(initial=-1)) + 1
    keeps = 2 * num_distinct > frame.height if keep_duplicates is None else keep_duplicates
    if keep_duplicates is None and not keeps and time is None:
        findings.append(
            Finding(
                "duplicates_apart",
                "info",
                f"Only {num_distinct:,} of {frame.height:,} rows differ in their features, so equal rows "
                "are taken for repeated observations and may lie on both sides of the split.",
                {"num_distinct": num_distinct, "num_rows": frame.height},
                ("split.keep_duplicates_together=true",),
            )
        )
    groups = None if group is None else _groups(frame, group, row_numbers, findings)
    moments = None if time is None else _moments(frame, time, row_numbers, findings)
    of_row = duplicates if keeps and time is None else np.arange(frame.height)
    if groups is not None:
        of_row = joined(groups, of_row) if keeps else groups
    return Units(of_row, duplicates, groups, moments, keeps, row_numbers, findings)


def equal_rows(frame: pl.DataFrame, columns: list[str]) -> np.ndarray:
    """Number of the row's class of equal rows, from 0 on in order of first appearance: (n,) int64."""
    if not columns:
        return np.arange(frame.height)
    # Two different rows with one 64-bit hash would merely stay together.
    hashes = frame.select(columns).hash_rows(seed=0).to_numpy()
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


def named_column(frame: pl.DataFrame, schema: Schema, name: str | None, role: str) -> str | None:
    """The column that the setting `split.<role>` names, or else the one with that role."""
    if name is None:
        with_role = [column.name for column in schema.columns if column.role == role]
        if len(with_role) > 1:
            raise RecipeError(f"Only one column can be the {role}, got {', '.join(map(repr, with_role))}.")
        return with_role[0] if with_role else None
    if name not in frame.columns:
        raise RecipeError(
            f"split.{role} names column {name!r}, which the data lack.{closest(name, frame.columns)}"
        )
    return name


def _groups(frame: pl.DataFrame, name: str, row_numbers: np.ndarray, findings: list[Finding]) -> np.ndarray:
    column = frame[name]
    codes = column.rank("dense").fill_null(0).to_numpy().astype(np.int64)
    without = np.flatnonzero(column.is_null().to_numpy())
    codes[without] = codes.max(initial=0) + 1 + np.arange(len(without))
    if len(without):
        findings.append(
            _about_rows(without, row_numbers, name, "rows_without_group", "each stands as a group of its own")
        )
    return codes


def _moments(frame: pl.DataFrame, name: str, row_numbers: np.ndarray, findings: list[Finding]) -> np.ndarray:
    from danlu.data import casts

    column = frame[name]
    column = column if column.dtype.is_numeric() else casts.moments(column, row_numbers)
    if column.dtype.is_float():
        column = column.fill_nan(None)
    ranks = column.rank("dense").fill_null(0).to_numpy().astype(np.int64) - 1
    without = np.flatnonzero(ranks < 0)
    if len(without) == len(ranks):
        raise DataError(
            f"Column {name!r} holds no time at all, so it cannot order the rows. Name another one."
        )
    if len(without):
        message = "they are only learnt from, unless they came in the test file"
        findings.append(_about_rows(without, row_numbers, name, "rows_without_time", message))
    return ranks


def _about_rows(rows: np.ndarray, row_numbers: np.ndarray, column: str, code: str, what: str) -> Finding:
    numbers = tuple(int(number) for number in row_numbers[rows[:NAMED_ROWS]])
    listed = ", ".join(str(number) for number in numbers) + (", ..." if len(rows) > NAMED_ROWS else "")
    message = f"{len(rows):,} rows have no {column!r} (row {listed}); {what}."
    return Finding(code, "warning", message, {"num_rows": len(rows)}, (), (column,), numbers)
