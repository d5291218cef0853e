"""What a person should know about the data before a model sees them: findings with columns, rows and remedies."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from danlu.core.findings import Finding
from danlu.core.tasks import Task
from danlu.data.blocks import blocks
from danlu.data.dates import swapped
from danlu.data.leaks import find_leaks
from danlu.data.leaks import leaks as leaks
from danlu.data.target import target_values
from danlu.data.units import equal_rows

if TYPE_CHECKING:
    import polars as pl

    from danlu.data.schema import Column, Schema

NUM_ROWS = 5  # rows named in a finding
NUM_COLUMNS = 8  # columns named in a message; all of them stand in the finding
NEARLY_CONSTANT = 0.99
MAX_MAJORITY = 0.8
MAX_RATIO = 10  # rows of the most frequent class to rows of the rarest
MIN_ROWS = 50
MIN_ROWS_PER_CLASS = 10
MIN_ROWS_PER_FEATURE = 10
MAX_CATEGORIES = 50
FAR = 20  # interquartile ranges from the median
GAP = 5  # times as far as the farthest of the other values
MAX_SKEW = 2


def screen(
    frame: pl.DataFrame, schema: Schema, task: Task, *, keep: Collection[str] = (), splits_by_time: bool = False
) -> list[Finding]:
    """All findings about a table as `sources.read` and `schema.conform` give it, problems first.

    Columns in `keep` are used even if they leak. `leaks` names the columns to leave out. Rows are numbered as a
    person counts them: 1 is the first row of data.
    """
    known, y = (np.zeros(0, np.int64), np.zeros(0)) if schema.target is None else target_values(frame[schema.target.name], task)
    leaking = find_leaks(frame, schema, task, keep=keep)
    findings = [
        *leaking,
        *_target(frame, schema, task, known, y),
        *_size(schema, task, y),
        *_missing(frame, schema),
        *_duplicates(frame, schema, leaks(leaking)),
        *_left_out(schema),
        *_repeated_columns(frame, schema),
        *_nearly_constant(frame, schema),
        *_infinite(frame, schema),
        *_far_values(frame, schema),
        *_many_categories(schema, frame.height),
        *_dates(schema, splits_by_time),
    ]
    return sorted(findings, key=lambda finding: ("problem", "warning", "info").index(finding.severity))


def _target(frame: pl.DataFrame, schema: Schema, task: Task, known: np.ndarray, y: np.ndarray) -> Iterator[Finding]:
    if schema.target is None:
        return
    name = schema.target.name
    if len(known) < frame.height:
        missing = np.setdiff1d(np.arange(frame.height), known, assume_unique=True)
        yield Finding(
            "target_missing",
            "warning",
            f"{_rows(len(missing))} {'has' if len(missing) == 1 else 'have'} no value in the target {name!r} and cannot be used, first row {missing[0] + 1}.",
            {"num_rows": len(missing)},
            ("Fill the target in, or remove these rows.",),
            (name,),
            _numbers(missing),
        )
    if task.is_classification:
        counts = np.bincount(y, minlength=len(task.labels))
        largest, rarest = int(counts.argmax()), int(counts.argmin())
        if counts[largest] > MAX_MAJORITY * len(y) or counts[largest] >= MAX_RATIO * counts[rarest]:
            yield Finding(
                "imbalance",
                "warning",
                f"The classes of {name!r} are far from equally frequent: {task.labels[largest]!r} in "
                f"{_share(counts[largest], len(y))} of the rows, {task.labels[rarest]!r} in {_share(counts[rarest], len(y))}. "
                "Accuracy says little here.",
                {str(label): int(count) for label, count in zip(task.labels[:50], counts[:50], strict=True)},
                ("Judge by balanced accuracy, PR AUC or log loss: --metric balanced_accuracy.",),
                (name,),
            )
        return
    skew = _skewness(y)
    if skew > MAX_SKEW and y.min() > 0:
        yield Finding(
            "skewed_target",
            "info",
            f"The target {name!r} has a long tail of large values (skewness {skew:.1f}), which weigh most in squared errors.",
            {"skewness": skew},
            ("If relative errors matter more, predict the logarithm of the target.",),
            (name,),
        )


def _size(schema: Schema, task: Task, y: np.ndarray) -> Iterator[Finding]:
    """Too few rows at all, for a class, or for the number of features."""
    num_features = len(schema.features)
    reasons, evidence = [], {"num_rows": len(y), "num_features": num_features}
    if len(y) < MIN_ROWS:
        reasons.append(f"only {_rows(len(y))} in all")
    if len(y) < MIN_ROWS_PER_FEATURE * num_features:
        reasons.append(f"{_rows(len(y))} for {num_features:,} {'feature' if num_features == 1 else 'features'} (better at least {MIN_ROWS_PER_FEATURE} a feature)")
    if task.is_classification:
        counts = np.bincount(y, minlength=len(task.labels))
        rare = {str(task.labels[code]): int(counts[code]) for code in np.flatnonzero(counts < MIN_ROWS_PER_CLASS)}
        if rare:
            shown = [f"{label!r} ({count})" for label, count in rare.items()]
            reasons.append(f"classes with fewer than {MIN_ROWS_PER_CLASS} rows: {_list(shown)}")
            evidence |= {"rare_classes": rare}
    if reasons:
        yield Finding(
            "few_rows",
            "warning",
            f"There are few rows to learn from: {'; '.join(reasons)}. Scores will be uncertain.",
            evidence,
            ("Collect more rows.", "Use fewer features, or a simple model."),
        )


def _missing(frame: pl.DataFrame, schema: Schema) -> Iterator[Finding]:
    columns = sorted((column for column in schema.features if column.num_missing), key=lambda column: -column.num_missing)
    if not columns:
        return
    shares = {column.name: column.num_missing / schema.num_rows for column in columns}
    shown = [f"{_place(schema, column)} {_share(column.num_missing, schema.num_rows)}" for column in columns[:NUM_COLUMNS]]
    first = frame[columns[0].name].is_null().arg_true().to_numpy()
    many = shares[columns[0].name] > 0.5
    yield Finding(
        "missing_values",
        "warning" if many else "info",
        f"Values are missing in {_columns(len(columns))}: {_list(shown, len(columns))}.",
        {"share": dict(list(shares.items())[:50]), "num_columns": len(columns)},
        ("A column that is mostly empty seldom helps: columns.ignore leaves it out.",) if many else (),
        tuple(shares),
        _numbers(first),
    )


def _duplicates(frame: pl.DataFrame, schema: Schema, leaking: Collection[str]) -> Iterator[Finding]:
    names = [column.name for column in schema.features if column.name not in leaking]
    if not names:
        return
    by_features = _repeats(equal_rows(frame, names))
    whole = by_features
    if schema.target is not None:
        whole = _repeats(equal_rows(frame, [*names, schema.target.name]))
    if not len(by_features):
        return
    conflicts = len(by_features) - len(whole)
    and_target = f", {conflicts:,} of them with another target" if conflicts else ""
    yield Finding(
        "duplicates",
        "warning" if len(by_features) > 0.01 * frame.height else "info",
        f"{_rows(len(by_features))} {'repeats' if len(by_features) == 1 else 'repeat'} an earlier row in all features"
        f"{and_target}, first row {by_features[0] + 1}.",
        {"num_rows": len(by_features), "num_rows_with_target": len(whole), "num_other_target": conflicts},
        ("Remove them if one observation was entered twice.",),
        rows=_numbers(by_features),
    )


def _left_out(schema: Schema) -> Iterator[Finding]:
    for kind, code, what in (
        ("identifier", "identifier", "identify rows"),
        ("constant", "constant", "say nothing"),
    ):
        columns = [column for column in schema.columns if column.type == kind and column.role == "ignore"]
        if columns:
            shown = [f"{_place(schema, column)}: {column.why}" for column in columns[:NUM_COLUMNS]]
            yield Finding(
                code,
                "info",
                f"Left out because they {what}: {_list(shown, len(columns), '; ')}.",
                remedies=("To use such a column all the same: columns.keep.",) if kind == "identifier" else (),
                columns=tuple(column.name for column in columns),
            )


def _repeated_columns(frame: pl.DataFrame, schema: Schema) -> Iterator[Finding]:
    """Columns that say the same as an earlier one: equal values, or other words for the same groups of rows."""
    if frame.height < MIN_ROWS_PER_FEATURE:
        return
    first: dict[int, Column] = {}
    pairs: dict[str, str] = {}
    for column in schema.features:
        if column.num_unique < 2:
            continue
        key = hash(_signature(frame[column.name], column))
        if key in first:
            pairs[column.name] = first[key].name
        else:
            first[key] = column
    if pairs:
        yield Finding(
            "repeated_columns",
            "info",
            f"Columns that say the same as another one: {_list([f'{a!r} as {b!r}' for a, b in pairs.items()])}.",
            {"same_as": dict(list(pairs.items())[:50])},
            ("One of each pair is enough: columns.ignore leaves the other out.",),
            tuple(pairs),
        )


def _signature(values: pl.Series, column: Column) -> bytes:
    """Equal for columns that group the rows alike (few values), or that have equal values (many)."""
    if column.num_unique > len(values) // 4 and values.dtype.is_numeric():
        return values.to_numpy().astype(np.float64).tobytes()  # null becomes NaN
    codes = values.rank("dense").fill_null(0).to_numpy().astype(np.int64)
    first = np.empty(int(codes.max()) + 1, dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    groups = first[codes]  # the first row of the same group
    same = values.cast(str).fill_null("").str.join("\x1f")[0].encode() if column.num_unique > len(values) // 4 else b""
    return groups.tobytes() + same


def _nearly_constant(frame: pl.DataFrame, schema: Schema) -> Iterator[Finding]:
    import polars as pl

    rare = max((1 - NEARLY_CONSTANT) * frame.height, 0)
    names = [column.name for column in schema.features if 2 <= column.num_unique <= rare + 1]
    if not names:
        return
    most = frame.select(pl.col(name).unique_counts().max() for name in names).row(0)
    found = [(name, count) for name, count in zip(names, most, strict=True) if count >= NEARLY_CONSTANT * frame.height]
    if found:
        shown = [f"{name!r} ({_share(count, frame.height)})" for name, count in found]
        yield Finding(
            "nearly_constant",
            "info",
            f"One value stands in nearly every row of {_list(shown)}.",
            {name: count / frame.height for name, count in found[:50]},
            columns=tuple(name for name, _ in found),
        )


def _infinite(frame: pl.DataFrame, schema: Schema) -> Iterator[Finding]:
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
            f"Infinite numbers stand in {_list([f'{name!r} ({count})' for name, count in found.items()])}; "
            f"the first is in row {rows[0] + 1} of {first!r}.",
            dict(list(found.items())[:50]),
            ("Write the true value, or leave the cell empty.",),
            tuple(found),
            _numbers(rows),
        )


def _far_values(frame: pl.DataFrame, schema: Schema) -> Iterator[Finding]:
    """A few values far away from all others: another unit, a slip of the keyboard, a code for missing."""
    wanted = [column for column in schema.columns if column.role in ("feature", "target") and column.type == "number"]
    wanted = [column for column in wanted if column.num_unique > 2]
    if frame.height < MIN_ROWS_PER_FEATURE:
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
    guess = "Perhaps it stands for a missing value." if is_code else "Perhaps they are in another unit, or slips."
    what = f"{x[far[0]]:g} in {len(far)} rows" if is_code else _list([f"{x[row]:g} in row {row + 1}" for row in far[:NUM_ROWS]], len(far))
    yield Finding(
        "far_values",
        "warning",
        f"In {name!r} some values lie far from all others ({rest.min():g} to {rest.max():g}): {what}. {guess}",
        {"num_rows": len(far), "least": float(rest.min()), "most": float(rest.max())},
        ("Correct them, or leave the cells empty.",),
        (name,),
        _numbers(far),
    )


def _many_categories(schema: Schema, num_rows: int) -> Iterator[Finding]:
    columns = [
        column
        for column in schema.features
        if column.type == "category" and column.num_unique > MAX_CATEGORIES and num_rows < 20 * column.num_unique
    ]
    if columns:
        shown = [f"{_place(schema, column)} {column.num_unique:,}" for column in columns[:NUM_COLUMNS]]
        yield Finding(
            "many_categories",
            "info",
            f"Columns with many different categories, most of them rare: {_list(shown, len(columns))}.",
            {column.name: column.num_unique for column in columns[:50]},
            ("Group them into fewer categories, or leave the column out: columns.ignore.",),
            tuple(column.name for column in columns),
        )


def _dates(schema: Schema, splits_by_time: bool) -> Iterator[Finding]:
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
            f"{_list([repr(column.name) for column in dates])} {'hold' if len(dates) > 1 else 'holds'} dates, but the rows are divided at random. If the model "
            "is to predict the future, its score would be too good.",
            remedies=(f"Divide by time: columns.time={dates[0].name}.",),
            columns=tuple(column.name for column in dates),
        )


def _repeats(classes: np.ndarray) -> np.ndarray:
    """Positions of the rows that are equal to an earlier one; classes are numbered by first appearance."""
    first = np.zeros(len(classes), dtype=bool)
    first[np.unique(classes, return_index=True)[1]] = True
    return np.flatnonzero(~first)


def _skewness(values: np.ndarray) -> float:
    spread = float(values.std())
    return float((((values - values.mean()) / spread) ** 3).mean()) if spread else 0.0


def _numbers(positions: np.ndarray) -> tuple[int, ...]:
    return tuple(int(row) + 1 for row in positions[:NUM_ROWS])


def _place(schema: Schema, column: Column) -> str:
    return f"{column.name!r} (column {schema.columns.index(column) + 1})"


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def _columns(count: int) -> str:
    return "1 column" if count == 1 else f"{count:,} columns"


def _share(count: int, total: int) -> str:
    return f"{100 * count / total:.3g} %"


def _list(parts: Sequence[str], total: int | None = None, mark: str = ", ") -> str:
    total = len(parts) if total is None else total
    shown = parts[:NUM_COLUMNS]
    return mark.join(shown) + (f" and {total - len(shown)} more" if total > len(shown) else "")
