"""What a person should know about the data before a model sees them: findings with columns and rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from danlu.core.findings import Finding
from danlu.core.tasks import Task
from danlu.data.column_findings import (
    dates,
    far_values,
    infinite_values,
    many_categories,
    nearly_constant,
    repeated_columns,
)
from danlu.data.column_types import ANY_CASE
from danlu.data.leaks import find_leaks, leaks
from danlu.data.wording import NUM_COLUMNS, count_columns, count_rows, listed, percent, place_of, row_numbers

if TYPE_CHECKING:
    import polars as pl

    from danlu.data.schema import Column, Schema

MAX_MAJORITY = 0.8
MAX_RATIO = 10  # rows of the most frequent class to rows of the rarest
MIN_ROWS = 50
MIN_ROWS_PER_CLASS = 10
MIN_ROWS_PER_FEATURE = 10
MAX_SKEW = 2


def screen(
    frame: pl.DataFrame,
    schema: Schema,
    task: Task,
    *,
    keep: Collection[str] = (),
    splits_by_time: bool = False,
) -> list[Finding]:
    """All findings about a table as `sources.read` and `schema.conform` give it, problems first.

    Columns in `keep` are used even if they leak. `leaks` names the columns to leave out. Rows are numbered as
    a person counts them: 1 is the first row of data.
    """
    leaking = find_leaks(frame, schema, task, keep=keep)
    findings = [
        *leaking,
        *_target(frame, schema, task),
        *_size(frame, schema, task),
        *_missing(frame, schema),
        *_duplicates(frame, schema, leaks(leaking)),
        *_left_out(schema),
        *repeated_columns(frame, schema),
        *nearly_constant(frame, schema),
        *infinite_values(frame, schema),
        *far_values(frame, schema),
        *many_categories(schema, frame.height),
        *dates(schema, splits_by_time),
    ]
    return sorted(findings, key=lambda finding: ("problem", "warning", "info").index(finding.severity))


def _target(frame: pl.DataFrame, schema: Schema, task: Task) -> Iterator[Finding]:
    if schema.target is None:
        return
    name, values = schema.target.name, frame[schema.target.name]
    missing = values.is_null().arg_true().to_numpy()
    if len(missing):
        yield Finding(
            "target_missing",
            "warning",
            f"{count_rows(len(missing))} {'has' if len(missing) == 1 else 'have'} no value in the target "
            f"{name!r} and cannot be used, first row {missing[0] + 1:,}.",
            {"num_rows": len(missing)},
            ("Fill the target in, or remove these rows.",),
            (name,),
            row_numbers(missing),
        )
    yield from _spelling(schema.target, values)
    if not task.is_classification:
        skew = float(values.skew() or 0.0) if values.dtype.is_numeric() else 0.0
        if skew > MAX_SKEW and (values > 0).all():
            yield Finding(
                "skewed_target",
                "info",
                f"The target {name!r} has a long tail of large values (skewness {skew:.1f}), which weigh "
                "most in squared errors.",
                {"skewness": skew},
                ("If relative errors matter more, predict the logarithm of the target.",),
                (name,),
            )
        return
    counts = _class_counts(values)
    (usual, most), (rare, least), total = counts[0], counts[-1], sum(count for _, count in counts)
    if most > MAX_MAJORITY * total or most >= MAX_RATIO * least:
        yield Finding(
            "imbalance",
            "warning",
            f"The classes of {name!r} are far from equally frequent: {usual!r} in {percent(most, total)} "
            f"of the rows, {rare!r} in {percent(least, total)}. Accuracy says little here.",
            {str(label): count for label, count in counts[:50]},
            ("Judge by balanced accuracy, PR AUC or log loss: --metric balanced_accuracy.",),
            (name,),
        )


def _spelling(target: Column, values: pl.Series) -> Iterator[Finding]:
    """Classes that differ only in upper and lower case."""
    import polars as pl

    if target.format == ANY_CASE:
        words = f"{target.why}: spellings that differ only in upper and lower case count as one."
        yield Finding("spelling", "info", f"The target {target.name!r} holds {words}", columns=(target.name,))
    if values.dtype != pl.String:
        return
    counts = values.drop_nulls().value_counts(name="rows", sort=True)
    alike: dict[str, dict[str, int]] = {}
    for label, count in counts.iter_rows():
        alike.setdefault(" ".join(label.lower().split()), {})[label] = count
    alike = {key: spellings for key, spellings in alike.items() if len(spellings) > 1}
    if alike:
        shown = [
            " and ".join(f"{label!r} ({count:,})" for label, count in spellings.items())
            for spellings in alike.values()
        ]
        yield Finding(
            "spelling",
            "warning",
            f"Classes of {target.name!r} differ only in upper and lower case or blanks, and count as "
            f"different: {listed(shown, mark='; ')}.",
            {"spellings": dict(list(alike.items())[:50])},
            ("Give each class one spelling in the data.",),
            (target.name,),
        )


def _size(frame: pl.DataFrame, schema: Schema, task: Task) -> Iterator[Finding]:
    """Too few rows at all, for a class, or for the number of features."""
    num_rows = frame.height - (schema.target.num_missing if schema.target else 0)
    num_features = len(schema.features)
    evidence: dict[str, Any] = {"num_rows": num_rows, "num_features": num_features}
    reasons: list[str] = []
    if num_rows < MIN_ROWS:
        reasons.append(f"only {count_rows(num_rows)} in all")
    if num_rows < MIN_ROWS_PER_FEATURE * num_features:
        features = "1 feature" if num_features == 1 else f"{num_features:,} features"
        reasons.append(
            f"{count_rows(num_rows)} for {features} (better at least {MIN_ROWS_PER_FEATURE} for each)"
        )
    if task.is_classification and schema.target is not None:
        rare = [
            (str(label), count)
            for label, count in _class_counts(frame[schema.target.name])
            if count < MIN_ROWS_PER_CLASS
        ]
        if rare:
            shown = [f"{label!r} ({count})" for label, count in rare]
            reasons.append(f"classes with fewer than {MIN_ROWS_PER_CLASS} rows: {listed(shown)}")
            evidence["rare_classes"] = dict(rare)
    if reasons:
        yield Finding(
            "few_rows",
            "warning",
            f"There are few rows to learn from: {'; '.join(reasons)}. Scores will be uncertain.",
            evidence,
            ("Collect more rows.", "Use fewer features, or a simple model."),
        )


def _class_counts(values: pl.Series) -> list[tuple[Any, int]]:
    """Each class with its number of rows, the most frequent first."""
    counts = values.drop_nulls().value_counts(name="rows").rows()
    return sorted(counts, key=lambda pair: (-pair[1], str(pair[0])))


def _missing(frame: pl.DataFrame, schema: Schema) -> Iterator[Finding]:
    columns = sorted(
        (column for column in schema.features if column.num_missing), key=lambda column: -column.num_missing
    )
    if not columns:
        return
    shares = {column.name: column.num_missing / schema.num_rows for column in columns}
    shown = [
        f"{place_of(schema, column)} {percent(column.num_missing, schema.num_rows)}"
        for column in columns[:NUM_COLUMNS]
    ]
    first = frame[columns[0].name].is_null().arg_true().to_numpy()
    many = shares[columns[0].name] > 0.5
    yield Finding(
        "missing_values",
        "warning" if many else "info",
        f"Values are missing in {count_columns(len(columns))}: {listed(shown, len(columns))}.",
        {"share": dict(list(shares.items())[:50]), "num_columns": len(columns)},
        ("A column that is mostly empty seldom helps: columns.ignore leaves it out.",) if many else (),
        tuple(shares),
        row_numbers(first),
    )


def _duplicates(frame: pl.DataFrame, schema: Schema, leaking: Collection[str]) -> Iterator[Finding]:
    names = [column.name for column in schema.features if column.name not in leaking]
    if not names:
        return
    hashes = frame.select(names).hash_rows(seed=0)  # 64 bits: two different rows hardly ever agree
    by_features = (~hashes.is_first_distinct()).arg_true().to_numpy()
    if not len(by_features):
        return
    whole = by_features
    if schema.target is not None:
        hashes = frame.select(hashes.alias(""), schema.target.name).hash_rows(seed=0)
        whole = (~hashes.is_first_distinct()).arg_true().to_numpy()
    conflicts = len(by_features) - len(whole)
    verb = "repeats" if len(by_features) == 1 else "repeat"
    and_target = f", {conflicts:,} of them with another target" if conflicts else ""
    yield Finding(
        "duplicates",
        "warning" if len(by_features) > 0.01 * frame.height else "info",
        f"{count_rows(len(by_features))} {verb} an earlier row in all features{and_target}, "
        f"first row {by_features[0] + 1:,}.",
        {"num_rows": len(by_features), "num_rows_with_target": len(whole), "num_other_target": conflicts},
        ("Remove them if one observation was entered twice.",),
        rows=row_numbers(by_features),
    )


def _left_out(schema: Schema) -> Iterator[Finding]:
    for kind, code, what in (
        ("identifier", "identifier", "identify rows"),
        ("constant", "constant", "say nothing"),
    ):
        columns = [column for column in schema.columns if column.type == kind and column.role == "ignore"]
        if columns:
            shown = [f"{place_of(schema, column)}: {column.why}" for column in columns[:NUM_COLUMNS]]
            yield Finding(
                code,
                "info",
                f"Left out because they {what}: {listed(shown, len(columns), '; ')}.",
                remedies=("To use such a column all the same: columns.keep.",)
                if kind == "identifier"
                else (),
                columns=tuple(column.name for column in columns),
            )
