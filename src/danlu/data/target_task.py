"""Whether a target is a number to estimate or a class to tell, and what makes it impossible to learn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from danlu.core.errors import DataError, closest
from danlu.core.findings import Finding
from danlu.core.tasks import Task
from danlu.data.column_types import FEW
from danlu.data.text_values import NUM_ROWS, as_number, is_yes_no, means_missing

if TYPE_CHECKING:
    import polars as pl

TASKS = ("auto", "regression", "classification", "binary", "multiclass")
MAX_CODES = 30  # whole numbers in a row that may be the codes of classes
MIN_ROWS_PER_CODE = 5  # mean number of rows of each; below it, x = 1, 2, 3 ... would pass for classes
MAX_IMBALANCE = (
    3  # rows of the largest code to rows of the smallest: codes are spread evenly, scores have a middle
)
MAX_CLASSES = 1000


def choose_task(column: pl.Series, *, task: str | None = None) -> tuple[Task, Finding]:
    """The task that the target `column` stands for, and a finding that says why and how to change it.

    Text and true/false are classes, numbers with decimals are numbers. Two whole numbers are classes. More of
    them are classes where they look like codes: they leave no gap, begin with 0 or 1, and occur about equally
    often (three in a row are classes in any case); scores and counts, which have a middle and tails, are
    numbers. DataError where nothing can be learnt.
    """
    if task is not None and task not in TASKS:
        raise DataError(f"{task!r} is no task.{closest(task, TASKS)} Choose from {', '.join(TASKS)}.")
    given = _one_spelling(_given(column))
    counts = given.value_counts(name="rows")
    values, rows = counts[:, 0].sort(), counts["rows"].to_numpy()
    if len(values) == 1:
        raise DataError(
            f"The target {column.name!r} has the same value in every row ({values[0]!r}), so there is "
            "nothing to learn. Name another target, or add rows with other values."
        )
    if task in (None, "auto"):
        is_class, why = _looks_like_classes(given, values, int(rows.max()), int(rows.min()))
    else:
        is_class, why = task != "regression", "you asked for it"
    if not is_class:
        _check_numbers(column, given)
        return Task("regression"), _explain(column, "a number (regression)", why, "classification")
    labels = _labels(column, values, len(given))
    kind = "binary" if len(labels) == 2 else "multiclass"
    if task in ("binary", "multiclass") and task != kind:
        raise DataError(
            f"The target {column.name!r} has {len(labels)} classes, which is {kind}, not {task}. Leave the "
            "task out."
        )
    name = "one of two classes" if kind == "binary" else f"one of {len(labels)} classes"
    return Task(kind, labels), _explain(column, name, why, "regression" if given.dtype.is_numeric() else None)


def _given(column: pl.Series) -> pl.Series:
    """The values that are there; DataError where there are too few, or infinite ones."""
    import polars as pl

    if isinstance(column.dtype, pl.Datetime):
        raise DataError(
            f"The target {column.name!r} holds dates. Turn it into a number first, such as days from a start."
        )
    if column.dtype.is_float():
        column = column.fill_nan(None)
        endless = column.is_infinite().fill_null(False).arg_true()
        if len(endless):
            shown = ", ".join(str(row + 1) for row in endless.head(NUM_ROWS)) + (
                ", ..." if len(endless) > NUM_ROWS else ""
            )
            raise DataError(
                f"The target {column.name!r} is infinite in {len(endless):,} rows ({shown}). Correct or "
                "remove these rows."
            )
    given = column.drop_nulls()
    if not len(given):
        raise DataError(
            f"The target {column.name!r} is missing in all {len(column):,} rows. Name another target, or fill "
            "it in."
        )
    if len(given) == 1:
        raise DataError(
            f"Only one row has a value in the target {column.name!r}. A model needs at least a few rows, "
            "better hundreds."
        )
    return given


def _one_spelling(given: pl.Series) -> pl.Series:
    """Yes and no in lower case where they are spelt in several ways, as `schema.conform` has them."""
    import polars as pl

    if given.dtype != pl.String:
        return given
    spellings = given.unique().head(FEW + 1).to_list()
    return given.str.to_lowercase() if 2 < len(spellings) <= FEW and is_yes_no(spellings) else given


def _looks_like_classes(given: pl.Series, values: pl.Series, most: int, least: int) -> tuple[bool, str]:
    if not given.dtype.is_numeric():
        return True, "its values are not numbers"
    if not (values == values.floor()).all():
        return False, "it has numbers with decimals"
    low, high, num = int(values[0]), int(values[-1]), len(values)
    enough = len(given) >= MIN_ROWS_PER_CODE * num
    if num == 2 and (enough or (low, high) in ((0, 1), (-1, 1), (1, 2))):
        return True, f"it has only the values {low} and {high}"
    has_gaps, begins = high - low + 1 != num, low in (0, 1)
    if num == 3 and enough and not has_gaps and low in (-1, 0, 1):
        return True, f"it has only the values {low}, {low + 1} and {high}"
    if num > MAX_CODES:
        return False, f"it has {num:,} different whole numbers"
    span = f"{num} different whole numbers from {low} to {high}"
    if not enough:
        return False, f"it has {span} in only {len(given):,} rows"
    if has_gaps or not begins:
        return (
            False,
            f"it has {span}, which {'leave gaps' if has_gaps else f'begin with {low}'}, as scores do and "
            "codes of classes do not",
        )
    if most > MAX_IMBALANCE * least:
        return (
            False,
            f"it has {span}, of which some are far more frequent than others, as in scores and counts",
        )
    return True, f"it has {span}, all about equally frequent, as codes of classes are"


def _labels(column: pl.Series, values: pl.Series, num_rows: int) -> tuple[str | int | float | bool, ...]:
    """The classes in order; DataError where most rows would be their own class, or numbers have slips."""
    import polars as pl

    if len(values) > MAX_CLASSES or (len(values) > 20 and len(values) > num_rows / 2):
        if column.dtype == pl.String:
            _check_numbers(column, column.drop_nulls(), mostly=True)
        raise DataError(
            f"The target {column.name!r} has {len(values):,} different values in {num_rows:,} rows, too many "
            "for classes. "
            + ("Ask for --task regression." if column.dtype.is_numeric() else "Name another target.")
        )
    listed = values.to_list()
    if values.dtype.is_float() and all(float(value).is_integer() for value in listed):
        return tuple(int(value) for value in listed)
    return tuple(listed)


def _check_numbers(column: pl.Series, given: pl.Series, *, mostly: bool = False) -> None:
    """DataError that names the first values that are no numbers; with `mostly`, only where most are."""
    import polars as pl

    if column.dtype.is_numeric() or column.dtype == pl.Boolean:
        return
    is_bad = column.is_not_null() & as_number(column).is_null() & ~means_missing(column)
    odd = is_bad.arg_true()
    if not len(odd) or (mostly and len(odd) > len(given) / 2):
        return
    shown = ", ".join(f"{column[row]!r} in row {row + 1}" for row in odd.head(3))
    count = (
        f"{len(odd):,} of {len(given):,} values {'is not a number' if len(odd) == 1 else 'are not numbers'}"
    )
    raise DataError(
        f"The target {column.name!r} should hold numbers, but {count} ({shown}). Correct them, or leave them empty."
    )


def _explain(column: pl.Series, what: str, why: str, other: str | None) -> Finding:
    change = (f"Ask for --task {other} if that is wrong.",) if other else ()
    message = f"The target {column.name!r} is taken as {what}, because {why}."
    return Finding("task", "info", message, {"why": why}, change, (column.name,))
