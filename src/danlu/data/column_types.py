"""The type of a column, guessed from its values and its name, with the reason in plain words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from danlu.data.dates import find_format, likeliest_format, parse, swapped
from danlu.data.text_values import YES_NO, as_number, is_yes_no, means_missing

if TYPE_CHECKING:
    import polars as pl

ColumnType = Literal["number", "category", "boolean", "datetime", "text", "identifier", "constant"]
TYPES: tuple[ColumnType, ...] = ("number", "category", "boolean", "datetime", "text", "identifier", "constant")

NEARLY_ALL = 0.95  # share of different values from which a column counts as all different
MIN_ROWS = 20  # below this, numbers that ascend and texts that all differ may be so by chance
NUM_PROBED = 2000  # values that the words of a text are counted in
# id, user_id, CustomerID, uuid, but not paid or humid
ID_NAME = re.compile(r"(?:^|[^a-zA-Z])(?:id|ids|uuid|guid|rowid|identifier)$|[a-z0-9](?:Id|ID|UUID|GUID)$|编号$|流水号$", re.ASCII)
ROW_NAME = re.compile(r"(?:index|idx|row|rownum|row_number|row_nr|no|nr|#|unnamed: \d+|column_1|序号)", re.IGNORECASE)


@dataclass(frozen=True)
class Guess:
    """A type and why."""

    type: ColumnType
    why: str
    format: str | None = None
    """How the text of dates is read."""
    is_row_number: bool = False
    """Whether it is an identifier only because it counts the rows."""


def guess(column: pl.Series, *, num_unique: int) -> Guess:
    """The type of a column of plain values with `num_unique` different ones beside null."""
    import polars as pl

    if not num_unique:
        return Guess("constant", "no value in any row")
    if num_unique == 1 and not column.null_count():
        return Guess("constant", f"the same value in every row: {_short(column[0])}")
    if column.dtype == pl.Boolean:
        return Guess("boolean", "true or false")
    if isinstance(column.dtype, pl.Datetime):
        return Guess("datetime", "dates")
    if column.dtype.is_numeric():
        return _guess_number(column, num_unique)
    return _guess_text(column, num_unique)


def first_misfit(column: pl.Series, wanted: ColumnType) -> int | None:
    """Position of the first value that a column of type `wanted` cannot hold, or None."""
    import polars as pl

    is_text = column.dtype == pl.String
    if wanted == "number":
        good = as_number(column).is_not_null() if is_text else _always(column, column.dtype.is_numeric() or column.dtype == pl.Boolean)
    elif wanted == "boolean":
        words = [word for pair in YES_NO for word in pair] + ["0", "1"]
        if is_text:
            good = column.str.to_lowercase().is_in(words)
        else:
            good = column.is_in([0, 1]) if column.dtype.is_numeric() else _always(column, column.dtype == pl.Boolean)
    elif wanted == "datetime":
        if is_text:
            form = find_format(column) or likeliest_format(column)
            good = parse(column, form).is_not_null()
        else:
            good = _always(column, isinstance(column.dtype, pl.Datetime))
    else:
        return None
    bad = column.is_not_null() & ~good
    if is_text:
        bad &= ~means_missing(column)
    return bad.arg_max() if bad.any() else None


def _guess_number(column: pl.Series, num_unique: int) -> Guess:
    if num_unique == 2 and column.min() == 0 and column.max() == 1:
        return Guess("boolean", "0 or 1")
    named = ID_NAME.search(column.name) is not None
    if column.dtype.is_integer() or (named and (column == column.floor()).all()):
        differ = num_unique / (len(column) - column.null_count())
        if named and differ >= NEARLY_ALL:
            return Guess("identifier", f"whole numbers, {_how_different(differ)}, and the name says that they identify rows")
        if named:
            why = f"whole numbers ({num_unique} different) that name things, as the column's name says, and measure nothing"
            return Guess("category", why)
        if differ == 1 and _counts_rows(column):
            return Guess("identifier", "integers, all different and ascending by one: they count the rows", is_row_number=True)
        return Guess("number", f"whole numbers, {num_unique} different")
    return Guess("number", f"numbers, {num_unique} different")


def _counts_rows(column: pl.Series) -> bool:
    """Whether whole numbers rise by one from row to row; years and short tables may do so for other reasons."""
    if column.null_count() or not (column.diff().drop_nulls() == 1).all():
        return False
    start = int(column[0])
    if ROW_NAME.fullmatch(column.name):
        return True
    is_year = 1000 <= start and start + len(column) <= 3000
    return len(column) >= MIN_ROWS and not is_year


def _guess_text(column: pl.Series, num_unique: int) -> Guess:
    given = column.drop_nulls()
    if num_unique == 2 and is_yes_no(given.unique().to_list()):
        return Guess("boolean", f"{' or '.join(sorted(given.unique().to_list()))}")
    form = find_format(column)
    if form is not None:
        other = swapped(form)
        doubt = other is not None and parse(given, other).count() == parse(given, form).count()
        order = "" if other is None else f", the {'month' if form.startswith('%m') else 'day'} first"
        order += " (it could be the other way round)" if doubt else ""
        return Guess("datetime", f"dates such as {_short(given[0])}{order}", form)
    differ, words = num_unique / len(given), _num_words(given.head(NUM_PROBED))
    what = f"{num_unique} different texts of {words:.0f} words"
    if words >= 2 and differ >= 0.5 and num_unique >= MIN_ROWS:
        return Guess("text", f"{what} on average, {_how_different(differ)}")
    if (words >= 3 and num_unique >= 1000) or (words >= 5 and num_unique >= 5 and differ >= 0.5) or (words >= 8 and num_unique >= MIN_ROWS):
        return Guess("text", f"{what} on average")
    if (differ >= NEARLY_ALL and len(given) >= MIN_ROWS) or (differ >= 0.5 and ID_NAME.search(column.name)):
        return Guess("identifier", f"short texts, {_how_different(differ)}")
    return Guess("category", f"{num_unique} different texts")


def _num_words(given: pl.Series) -> float:
    """Mean number of words; two Chinese characters count as one."""
    chinese = given.str.count_matches(r"[\u3400-\u9fff]").cast(float)
    return float((given.str.count_matches(r"[^\s\u3400-\u9fff]+") + chinese / 2).mean() or 0.0)


def _how_different(share: float) -> str:
    return "all different" if share == 1 else "nearly all different" if share >= NEARLY_ALL else "mostly different"


def _always(column: pl.Series, value: bool) -> pl.Series:
    import polars as pl

    return pl.repeat(value, len(column), eager=True)


def _short(value: object) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 40 else text[:37] + "..."
