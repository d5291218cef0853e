"""What single columns show: repetitions, near constants, infinite and far values, many categories, dates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from danlu.core.findings import Finding
from danlu.data.blocks import blocks
from danlu.data.dates import swapped
from danlu.data.wording import NUM_COLUMNS, NUM_ROWS, listed, percent, place_of, row_numbers

if TYPE_CHECKING:
    import polars as pl

    from danlu.data.schema import Column, Schema

NEARLY_CONSTANT = 0.99
MIN_ROWS = 10  # fewer may agree by chance
MAX_CATEGORIES = 50
FAR = 20  # interquartile ranges from the median
GAP = 5  # times as far as the farthest of the other values


def repeated_columns(frame: pl.DataFrame, schema: Schema) -> Iterator[Finding]:
    """Columns that say the same as an earlier one: equal values, or other words for the same groups."""
    if frame.height < MIN_ROWS:
        return
    first: dict[int, str] = {}
    pairs: dict[str, str] = {}
    for name, key in _signatures(frame, [column for column in schema.features if column.num_unique >= 2]):
        if key in first:
            pairs[name] = first[key]
        else:
            first[key] = name
    if pairs:
        yield Finding(
            "repeated_columns",
            "info",
            "Columns that say the same as another one: "
            f"{listed([f'{a!r} as {b!r}' for a, b in pairs.items()])}.",
            {"same_as": dict(list(pairs.items())[:50])},
            ("One of each pair is enough: columns.ignore leaves the other out.",),
            tuple(pairs),
        )


def _signatures(frame: pl.DataFrame, columns: list[Column]) -> Iterator[tuple[str, int]]:
    """Equal for columns that group the rows alike if their values are few, else for equal columns."""
    few = [column for column in columns if column.num_unique <= frame.height // 4 and column.type != "text"]
    for block, values in blocks(frame, few):
        for column, x in zip(block, values, strict=True):
            codes = np.unique(x, return_inverse=True)[1]
            first = np.empty(int(codes.max()) + 1, dtype=np.int64)
            first[codes[::-1]] = np.arange(len(codes))[::-1]
            yield column.name, hash(first[codes].tobytes())  # for each row, the first row of its group
    names = {column.name for column in few}
    many = [column for column in columns if column.name not in names]
    for block, values in blocks(frame, [column for column in many if column.type == "number"]):
        yield from ((column.name, hash(x.tobytes())) for column, x in zip(block, values, strict=True))
    for column in many:
        if column.type != "number":
            yield column.name, hash(frame[column.name].hash(seed=0).to_numpy().tobytes())


def nearly_constant(frame: pl.DataFrame, schema: Schema) -> Iterator[Finding]:
    """Columns with one value in at least 99 % of the rows."""
    import polars as pl

    rare = max((1 - NEARLY_CONSTANT) * frame.height, 0)
    names = [column.name for column in schema.features if 2 <= column.num_unique <= rare + 1]
    if not names:
        return
    most = frame.select(pl.col(name).unique_counts().max() for name in names).row(0)
    found = [
        (name, count)
        for name, count in zip(names, most, strict=True)
        if count >= NEARLY_CONSTANT * frame.height
    ]
    if found:
        shown = [f"{name!r} ({percent(count, frame.height)})" for name, count in found]
        yield Finding(
            "nearly_constant",
            "info",
            f"One value stands in nearly every row of {listed(shown)}.",
            {name: count / frame.height for name, count in found[:50]},
            columns=tuple(name for name, _ in found),
        )


def infinite_values(frame: pl.DataFrame, schema: Schema) -> Iterator[Finding]:
    """Infinite numbers among the features."""
    import polars as pl

    dtypes = dict(frame.schema)
    names = [column.name for column in schema.features if dtypes[column.name].is_float()]
    counts = frame.select(pl.col(name).is_infinite().sum() for name in names).row(0) if names else ()
    found = {name: count for name, count in zip(names, counts, strict=True) if count}
    if found:
        first = next(iter(found))
        rows = frame[first].is_infinite().fill_null(False).arg_true().to_numpy()
        yield Finding(
            "infinite_values",
            "problem",
            f"Infinite numbers stand in {listed([f'{name!r} ({count:,})' for name, count in found.items()])}; "
            f"the first is in row {rows[0] + 1:,} of {first!r}.",
            dict(list(found.items())[:50]),
            ("Write the true value, or leave the cell empty.",),
            tuple(found),
            row_numbers(rows),
        )


def far_values(frame: pl.DataFrame, schema: Schema) -> Iterator[Finding]:
    """A few values far away from all others: another unit, a slip of the keyboard, a code for missing."""
    wanted = [
        column
        for column in schema.columns
        if column.role in ("feature", "target") and column.type == "number"
    ]
    wanted = [column for column in wanted if column.num_unique > 2]
    if frame.height < MIN_ROWS:
        return
    for block, values in blocks(frame, wanted):
        if np.isfinite(values).all():
            spreads = _quartiles(values)
        else:
            spreads = [_quartiles(x[None, np.isfinite(x)])[0] for x in values]
        for column, x, (low, high) in zip(block, values, spreads, strict=True):
            if high > low:
                yield from _far(column.name, x, (low + high) / 2, high - low)


def _quartiles(values: np.ndarray) -> np.ndarray:
    """Lower and upper quartile, to the nearest value, of each row of (k, n): (k, 2)."""
    last = values.shape[1] - 1
    places = [round(0.25 * last), round(0.75 * last)]
    return np.partition(values, places, axis=1)[:, places] if last >= 0 else np.zeros((len(values), 2))


def _far(name: str, x: np.ndarray, middle: float, spread: float) -> Iterator[Finding]:
    distance = np.abs(np.where(np.isfinite(x), x, middle) - middle)
    far = np.flatnonzero(distance > FAR * spread)
    if not len(far):
        return
    others = np.delete(distance, far)
    is_code = len(far) > 1 and len(np.unique(x[far])) == 1
    if len(far) > (0.2 if is_code else 0.01) * len(x) + 1 or distance[far].min() < GAP * others.max():
        return
    rest = np.delete(x, far)
    rest = rest[np.isfinite(rest)]
    guess = (
        "Perhaps it stands for a missing value." if is_code else "Perhaps they are in another unit, or slips."
    )
    what = (
        f"{x[far[0]]:g} in {len(far):,} rows"
        if is_code
        else listed([f"{x[row]:g} in row {row + 1}" for row in far[:NUM_ROWS]], len(far))
    )
    yield Finding(
        "far_values",
        "warning",
        f"In {name!r} some values lie far from all others ({rest.min():g} to {rest.max():g}): {what}. "
        f"{guess}",
        {"num_rows": len(far), "least": float(rest.min()), "most": float(rest.max())},
        ("Correct them, or leave the cells empty.",),
        (name,),
        row_numbers(far),
    )


def many_categories(schema: Schema, num_rows: int) -> Iterator[Finding]:
    """Categories that hardly repeat."""
    columns = [
        column
        for column in schema.features
        if column.type == "category"
        and column.num_unique > MAX_CATEGORIES
        and num_rows < 20 * column.num_unique
    ]
    if columns:
        shown = [f"{place_of(schema, column)} {column.num_unique:,}" for column in columns[:NUM_COLUMNS]]
        yield Finding(
            "many_categories",
            "info",
            f"Columns with many different categories, most of them rare: {listed(shown, len(columns))}.",
            {column.name: column.num_unique for column in columns[:50]},
            ("Group them into fewer categories, or leave the column out: columns.ignore.",),
            tuple(column.name for column in columns),
        )


def dates(schema: Schema, splits_by_time: bool) -> Iterator[Finding]:
    """Dates that can be read in two ways, and dates in rows that are divided at random."""
    dates = [column for column in schema.features if column.type == "datetime"]
    for column in dates:
        other = swapped(column.format) if column.format else None
        if other and "other way round" in column.why:
            yield Finding(
                "day_or_month",
                "warning",
                f"The dates in {column.name!r} can be read in two ways; danlu took them as {column.why}.",
                {"format": column.format, "other": other},
                ("Write dates as 2024-05-31.",),
                (column.name,),
            )
    if dates and not splits_by_time and not any(column.role == "time" for column in schema.columns):
        yield Finding(
            "dates_at_random",
            "info",
            f"{listed([repr(column.name) for column in dates])} {'hold' if len(dates) > 1 else 'holds'} "
            "dates, but the rows are divided at random. If the model is to predict the future, its score "
            "would be too good.",
            remedies=(f"Divide by time: columns.time={dates[0].name}.",),
            columns=tuple(column.name for column in dates),
        )
