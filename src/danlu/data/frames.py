"""Tables that are in memory already (Polars, pandas, Arrow, lists) as a Polars frame of plain columns."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from numbers import Real
from typing import TYPE_CHECKING, Any

from danlu.core.errors import DataError
from danlu.core.findings import Finding

if TYPE_CHECKING:
    import polars as pl

FORMATS = "a polars, pandas or Arrow table, a dict of lists, or a list of dicts"


def from_memory(table: Any) -> tuple[pl.DataFrame, str]:
    """The table as a Polars frame, and what it was: polars, pandas, arrow, dict or rows; else a DataError."""
    import polars as pl

    if isinstance(table, pl.DataFrame):
        return table, "polars"
    if isinstance(table, pl.LazyFrame):
        return table.collect(), "polars"
    package = type(table).__module__.partition(".")[0]
    if package == "pandas" and hasattr(table, "columns"):
        return _from_pandas(table), "pandas"
    if isinstance(table, Mapping):
        return _from_lists(table), "dict"
    if isinstance(table, (list, tuple)) and table and all(isinstance(row, Mapping) for row in table):
        return pl.DataFrame(list(table), infer_schema_length=None, strict=False), "rows"
    if hasattr(table, "__arrow_c_stream__") or package == "pyarrow":
        _refuse_double([str(name) for name in getattr(table, "column_names", [])])
        frame = pl.from_arrow(table)
        if isinstance(frame, pl.DataFrame):
            return frame, "arrow"
    raise DataError(f"A table was expected, got {type(table).__name__}. Give a file name, {FORMATS}.")


def plain(frame: pl.DataFrame) -> tuple[pl.DataFrame, tuple[Finding, ...]]:
    """`frame` with the types that danlu knows: Int64, Float64, Boolean, String, Datetime; NaN becomes null.

    Columns of lists, objects and bytes are left out, which a finding says. Times with a zone are turned to
    UTC, durations and times of day into seconds.
    """
    import polars as pl

    columns: list[pl.Expr] = []  # those that change
    left_out: dict[str, str] = {}
    for name, dtype in frame.schema.items():
        column = pl.col(name)
        if dtype in (pl.Float32, pl.Float64) or dtype.is_decimal():
            columns.append(column.cast(pl.Float64).fill_nan(None))
        elif dtype.is_integer():
            values = frame[name]
            fits = values.cast(pl.Int64, strict=False).null_count() == values.null_count()
            columns.append(column.cast(pl.Int64 if fits else pl.String))
        elif dtype in (pl.Categorical, pl.Enum, pl.Null):
            columns.append(column.cast(pl.String))
        elif dtype == pl.Date:
            columns.append(column.cast(pl.Datetime("us")))
        elif isinstance(dtype, pl.Datetime):
            moment = (
                column.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if dtype.time_zone else column
            )
            columns.append(moment.dt.cast_time_unit("us"))
        elif isinstance(dtype, pl.Duration):
            columns.append(column.dt.total_microseconds() / 1e6)
        elif dtype == pl.Time:
            columns.append(column.cast(pl.Int64) / 1e9)
        elif dtype not in (pl.String, pl.Boolean):
            left_out[name] = str(dtype)
    notes = ()
    if left_out:
        listed = ", ".join(f"{name!r} ({dtype})" for name, dtype in list(left_out.items())[:5])
        message = f"Columns without plain values are left out: {listed}."
        advice = ("Spread lists and objects out into columns of their own.",)
        notes = (Finding("nested_columns", "warning", message, dict(left_out), advice, tuple(left_out)),)
    return frame.drop(left_out).with_columns(columns), notes


def fingerprint(frame: pl.DataFrame) -> str:
    """SHA-256 over names, types and values of a frame of plain columns; the same on every machine."""
    import polars as pl

    digest = hashlib.sha256()
    for name, dtype in frame.schema.items():
        column = frame[name].rechunk()
        column = column.cast(pl.Int64) if isinstance(dtype, pl.Datetime) else column
        digest.update(f"\x1e{name}\x1f{dtype}\x1f{len(column)}\x1f{column.null_count()}\x1f".encode())
        if column.null_count():
            digest.update(column.is_null().to_numpy().tobytes())
            column = column.fill_null("" if dtype == pl.String else False if dtype == pl.Boolean else 0)
        if dtype == pl.String:
            digest.update(column.str.len_bytes().to_numpy().astype("<u4").tobytes())
            digest.update("".join(column.to_list()).encode())
        else:
            values = column.to_numpy()
            digest.update(values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()


def _from_pandas(table: Any) -> pl.DataFrame:
    """Column by column; a named index becomes columns too."""
    import polars as pl

    if any(name is not None for name in table.index.names):
        table = table.reset_index()
    names = [str(name) for name in table.columns]
    _refuse_double(names)
    columns: list[pl.Series] = []
    for place, name in enumerate(names):
        column = table.iloc[:, place]
        if column.dtype == object:
            pairs = zip(column.tolist(), column.isna().tolist(), strict=True)
            columns.append(_series(name, [None if is_missing else value for value, is_missing in pairs]))
        else:
            columns.append(pl.Series(pl.from_pandas(column)).alias(name))
    return pl.DataFrame(columns)


def _from_lists(table: Mapping[Any, Any]) -> pl.DataFrame:
    import polars as pl

    columns: list[pl.Series] = []
    for key, values in table.items():
        name = str(key)
        if isinstance(values, (str, bytes)) or not hasattr(values, "__len__"):
            raise DataError(
                f"Column {name!r} should be a list of values, got {type(values).__name__}. Give {FORMATS}."
            )
        columns.append(
            _series(name, list(values)) if isinstance(values, (list, tuple)) else pl.Series(name, values)
        )
        if len(columns[-1]) != len(columns[0]):
            raise DataError(
                f"All columns need the same number of values: {columns[0].name!r} has {len(columns[0])}, "
                f"{name!r} has {len(columns[-1])}. Write None where a value is missing."
            )
    _refuse_double([column.name for column in columns])
    return pl.DataFrame(columns)


def _series(name: str, values: list[Any]) -> pl.Series:
    """Values of one type as that type, whole and broken numbers as numbers, a mixture as text."""
    import polars as pl

    kinds = {type(value) for value in values if value is not None}
    if len(kinds) <= 1 or all(issubclass(kind, Real) and kind is not bool for kind in kinds):
        with suppress(
            TypeError, OverflowError, pl.exceptions.PolarsError
        ):  # such as whole numbers beyond 64 bits
            return pl.Series(name, values, strict=False)
    return pl.Series(name, [None if value is None else str(value) for value in values], dtype=pl.String)


def _refuse_double(names: Sequence[str]) -> None:
    double = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if double:
        listed = ", ".join(map(repr, double[:5]))
        raise DataError(
            f"The table uses a column name more than once: {listed}. Give every column its own name."
        )
