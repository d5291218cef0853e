"""Columns of a frame as the type that training saw, or an error that names the row that does not fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from danlu.core.errors import DataError, closest

if TYPE_CHECKING:
    import polars as pl

# Words for no and yes; compared in lower case, without blanks around them.
WORDS = {
    "false": 0.0, "no": 0.0, "n": 0.0, "f": 0.0, "0": 0.0, "off": 0.0, "否": 0.0,
    "true": 1.0, "yes": 1.0, "y": 1.0, "t": 1.0, "1": 1.0, "on": 1.0, "是": 1.0,
}  # fmt: skip
# Dates as text whose order of year, month and day cannot be mistaken.
MOMENTS = (
    "%Y-%m-%d", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M",
    "%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m", "%Y/%m/%d", "%Y/%m/%d %H:%M:%S%.f",
    "%Y/%m/%d %H:%M", "%d.%m.%Y", "%d.%m.%Y %H:%M", "%Y年%m月%d日",
)  # fmt: skip


def require(frame: pl.DataFrame, names: Sequence[str]) -> None:
    """DataError that names every column of `names` that `frame` lacks, with the closest one that it has."""
    present = set(frame.columns)
    missing = [name for name in names if name not in present]
    if missing:
        spare = sorted(present - set(names))
        listed = "; ".join(f"{name!r}{_hint(name, spare)}" for name in missing[:20])
        more = f"; and {len(missing) - 20} more" if len(missing) > 20 else ""
        what = "a column" if len(missing) == 1 else f"{len(missing)} columns"
        raise DataError(
            f"The data lack {what} that the model needs: {listed}{more}. Add or rename, then try again."
        )


def numbers(frame: pl.DataFrame, names: Sequence[str], row_numbers: np.ndarray | None = None) -> np.ndarray:
    """Number columns as (n, k) float64 in column order, NaN where a value is missing.

    Text counts as a number when all of it can be read as one. DataError names the first row that cannot be
    read, or that is infinite. Durations become seconds. `row_numbers` (n,) are the rows as a person counts
    them, for errors.
    """
    import polars as pl

    if not names:
        return np.empty((frame.height, 0))
    part = frame.select(names)
    odd = [
        name
        for name, dtype in part.schema.items()
        if not (dtype.is_numeric() and not dtype.is_decimal()) and dtype != pl.Boolean
    ]
    part = part.with_columns(_number(part[name], row_numbers) for name in odd)
    values = np.asfortranarray(part.cast(pl.Float64).to_numpy())
    infinite = np.isinf(values)
    if infinite.any():
        column = int(infinite.any(axis=0).argmax())
        row = int(infinite[:, column].argmax())
        raise DataError(
            f"Column {names[column]!r} holds an infinite number in row {_row(row, row_numbers)}. "
            "Write a missing value instead, or correct it."
        )
    return values


def booleans(frame: pl.DataFrame, names: Sequence[str], row_numbers: np.ndarray | None = None) -> np.ndarray:
    """Boolean columns as (n, k) float64 of 0, 1 and NaN; yes/no, true/false, 0/1, 是/否 are read."""
    values = np.empty((frame.height, len(names)), order="F")
    for index, name in enumerate(names):
        column = frame[name]
        values[:, index] = read = boolean(column)
        wrong = np.isnan(read) & column.is_not_null().to_numpy()
        if wrong.any() and column.dtype.is_float():
            wrong &= ~column.is_nan().fill_null(False).to_numpy()
        if wrong.any():
            raise _unreadable(column, int(wrong.argmax()), "true or false", row_numbers)
    return values


def boolean(column: pl.Series) -> np.ndarray:
    """0, 1, or NaN where the value is missing or is neither: (n,) float64."""
    import polars as pl

    if column.dtype == pl.Boolean:
        return column.cast(pl.Float64).to_numpy()
    words = texts(column).str.strip_chars().str.to_lowercase()
    return words.replace_strict(WORDS, default=None, return_dtype=pl.Float64).to_numpy()


def texts(column: pl.Series) -> pl.Series:
    """Any plain column as text, null where missing; 3 and 3.0 are both `3`: a change of type does no harm."""
    import polars as pl

    dtype = column.dtype
    if dtype == pl.String:
        return column
    if dtype.is_decimal():
        column, dtype = column.cast(pl.Float64), pl.Float64()
    if dtype.is_float():
        column = column.fill_nan(None)
        whole = (column == column.round()) & (column.abs() < 2**53)
        as_whole = column.cast(pl.Int64, strict=False).cast(pl.String)
        return as_whole.zip_with(whole.fill_null(False), column.cast(pl.String))
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        raise DataError(
            f"Column {column.name!r} holds {dtype}, not plain values. Spread it out, or set it to ignore."
        )
    return column.cast(pl.String)


def numeric_texts(column: pl.Series) -> pl.Series:
    """As `texts` for a column that held numbers in training: the texts `3`, `3.0` and ` 3` are all `3`."""
    import polars as pl

    if column.dtype != pl.String:
        return texts(column)
    read = column.str.strip_chars().cast(pl.Float64, strict=False)
    return texts(read).zip_with(read.is_not_null(), column)


def moments(
    column: pl.Series, row_numbers: np.ndarray | None = None, *, zone: str | None = None
) -> pl.Series:
    """A date/time column as Datetime in microseconds on the clock of `zone`, without a zone.

    Times that carry a zone are turned to `zone` (UTC without one). Text is read where its order of year,
    month and day is beyond doubt, as in 2024-05-31 or 2024-05-31T08:00:00Z.
    """
    import polars as pl

    dtype = column.dtype
    if isinstance(dtype, pl.Datetime):
        if dtype.time_zone is not None:
            column = column.dt.convert_time_zone(zone or "UTC").dt.replace_time_zone(None)
        return column.dt.cast_time_unit("us")
    if dtype == pl.Date:
        return column.cast(pl.Datetime("us"))
    if dtype == pl.Time:
        return (column.cast(pl.Int64) // 1000).cast(pl.Datetime("us"))
    if column.null_count() == len(column):
        return pl.Series(column.name, [None] * len(column), dtype=pl.Datetime("us"))
    if dtype not in (pl.String, pl.Categorical, pl.Enum):
        first = int(column.is_not_null().arg_max() or 0)
        raise _unreadable(column, first, "a date or time, such as 2024-05-31", row_numbers)
    text = column.cast(pl.String).str.strip_chars()
    read = pl.Series(column.name, [None] * len(column), dtype=pl.Datetime("us"))
    for pattern in MOMENTS:
        parsed = text.str.to_datetime(pattern, time_unit="us", strict=False)
        is_plausible = parsed.dt.year().is_between(1000, 2999).fill_null(False)  # 5/6/24 is no year 5
        read = read.zip_with(read.is_not_null() | ~is_plausible, moments(parsed, zone=zone))
    wrong = (read.is_null() & text.is_not_null() & (text != "")).to_numpy()
    if wrong.any():
        raise _unreadable(column, int(wrong.argmax()), "a date or time, such as 2024-05-31", row_numbers)
    return read


def _number(column: pl.Series, row_numbers: np.ndarray | None) -> pl.Series:
    import polars as pl

    dtype = column.dtype
    if dtype.is_decimal() or dtype == pl.Null:
        return column.cast(pl.Float64)
    if isinstance(dtype, pl.Duration):
        return column.dt.total_microseconds() / 1e6
    if dtype not in (pl.String, pl.Categorical, pl.Enum):
        if column.null_count() == len(column):
            return pl.Series(column.name, [None] * len(column), dtype=pl.Float64)
        raise _unreadable(column, int(column.is_not_null().arg_max() or 0), "a number", row_numbers)
    text = column.cast(pl.String).str.strip_chars()
    read = text.cast(pl.Float64, strict=False)
    wrong = (read.is_null() & text.is_not_null() & (text != "")).to_numpy()
    if wrong.any():
        raise _unreadable(column, int(wrong.argmax()), "a number", row_numbers)
    return read


def _unreadable(column: pl.Series, row: int, wanted: str, row_numbers: np.ndarray | None) -> DataError:
    value = column[row]
    shown = repr(value) if isinstance(value, str) else str(value)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return DataError(
        f"Column {column.name!r} should hold {wanted}, but row {_row(row, row_numbers)} holds {shown} "
        f"({column.dtype}). Correct the value, or leave it empty if it is missing."
    )


def _row(index: int, row_numbers: np.ndarray | None) -> int:
    return index + 1 if row_numbers is None else int(row_numbers[index])


def _hint(name: str, spare: Sequence[str]) -> str:
    near = closest(name, spare)
    return f" ({near.strip().rstrip('?')}?)" if near else ""
