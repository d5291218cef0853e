"""The type of a column, guessed from its values and its name, with the reason in plain words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from danlu.data.dates import find_format, likeliest_format, looks_like_date, parse, swapped
from danlu.data.signed_numbers import is_decorated
from danlu.data.text_values import YES_NO, as_number, is_yes_no, means_missing

if TYPE_CHECKING:
    import polars as pl

ColumnType = Literal["number", "category", "boolean", "datetime", "text", "identifier", "constant"]
TYPES: tuple[ColumnType, ...] = get_args(ColumnType)

NEARLY_ALL = 0.95  # share of different values from which a column counts as all different
MIN_ROWS = 20  # below this, numbers that ascend and texts that all differ may be so by chance
NUM_PROBED = 2000  # values that the words of a text are counted in
FEW = 100  # different texts that are looked at one by one
# id, user_id, CustomerID, uuid, but not paid or humid
ID_NAME = re.compile(
    r"(?:^|[^a-zA-Z])(?:id|ids|uuid|guid|rowid|identifier)$|[a-z0-9](?:Id|ID|UUID|GUID)$|编号$|流水号$",
    re.ASCII,
)
ANY_CASE = "any case"  # format of yes and no in several spellings
CHINESE = re.compile(r"[\u3400-\u9fff]")
ROW_NAME = re.compile(
    r"(?:index|idx|row|rownum|row_number|row_nr|no|nr|#|unnamed: \d+|column_1|序号)", re.IGNORECASE
)


@dataclass(frozen=True)
class Guess:
    """A type and why."""

    type: ColumnType
    why: str
    format: str | None = None
    """How the text of dates is read, or `ANY_CASE`."""
    is_row_number: bool = False
    """Whether it is an identifier only because it counts the rows."""


def guess(column: pl.Series, *, num_unique: int, texts: Sequence[str] | None = None) -> Guess:
    """The type of a column of plain values with `num_unique` different ones beside null.

    `texts` are the different values of a column of text, where they are no more than `FEW`.
    """
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
    return _guess_text(column, num_unique, texts)


def first_misfit(column: pl.Series, wanted: ColumnType) -> int | None:
    """Position of the first value that a column of type `wanted` cannot hold, or None."""
    import polars as pl

    is_text = column.dtype == pl.String
    is_number, is_truth = column.dtype.is_numeric(), column.dtype == pl.Boolean
    if wanted == "number":
        good = as_number(column).is_not_null() if is_text else _always(column, is_number or is_truth)
    elif wanted == "boolean" and is_text:
        good = column.str.to_lowercase().is_in([*(word for pair in YES_NO for word in pair), "0", "1"])
    elif wanted == "boolean":
        good = ((column == 0) | (column == 1)) if is_number else _always(column, is_truth)
    elif wanted == "datetime" and is_text:
        good = parse(column, find_format(column) or likeliest_format(column)).is_not_null()
    elif wanted == "datetime":
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
            return Guess(
                "identifier",
                f"whole numbers, {_how_different(differ)}, and the name says that they identify rows",
            )
        if named:
            why = f"whole numbers ({num_unique:,} different) that name things, as the column's name says"
            return Guess("category", why)
        if differ == 1 and _counts_rows(column):
            return Guess(
                "identifier",
                "integers, all different and ascending by one: they count the rows",
                is_row_number=True,
            )
        return Guess("number", f"whole numbers, {num_unique:,} different")
    return Guess("number", f"numbers, {num_unique:,} different")


def _counts_rows(column: pl.Series) -> bool:
    """Whether whole numbers rise by one from row to row, other than years or a handful of values."""
    if column.null_count() or not (column.diff().drop_nulls() == 1).all():
        return False
    start = int(column[0])
    if ROW_NAME.fullmatch(column.name):
        return True
    is_year = start >= 1000 and start + len(column) <= 3000
    return len(column) >= MIN_ROWS and not is_year


def _guess_text(column: pl.Series, num_unique: int, texts: Sequence[str] | None) -> Guess:
    if texts is not None and is_yes_no(texts):
        words = sorted({text.lower() for text in texts})
        if len(texts) == 2:
            return Guess("boolean", " or ".join(texts))
        return Guess("boolean", f"{' or '.join(words)}, in {len(texts)} spellings", ANY_CASE)
    if texts is None or any(map(looks_like_date, texts)):
        form = find_format(column)
        if form is not None:
            return _dates(column, form)
    probe = column.drop_nulls().head(NUM_PROBED).to_list() if texts is None else texts
    words = sum(map(_num_words, probe)) / len(probe)
    differ = num_unique / (len(column) - column.null_count())
    if sum(map(is_decorated, probe)) > 0.5 * len(probe):
        return Guess("category", f"{num_unique:,} different texts, most of them numbers with signs")
    what = f"{num_unique:,} different texts of {words:.0f} words on average"
    if words >= 2 and differ >= 0.5 and num_unique >= MIN_ROWS:
        return Guess("text", f"{what}, {_how_different(differ)}")
    if (words >= 3 and num_unique >= 1000) or (words >= 8 and num_unique >= MIN_ROWS):
        return Guess("text", what)
    if words >= 5 and num_unique >= 5 and differ >= 0.5:
        return Guess("text", what)
    if (differ >= NEARLY_ALL and num_unique >= MIN_ROWS) or (differ >= 0.5 and ID_NAME.search(column.name)):
        return Guess("identifier", f"short texts, {_how_different(differ)}")
    return Guess("category", f"{num_unique:,} different texts")


def _dates(column: pl.Series, form: str) -> Guess:
    other = swapped(form)
    doubt = other is not None and parse(column, other).count() == parse(column, form).count()
    order = "" if other is None else f", the {'month' if form.startswith('%m') else 'day'} first"
    order += " (it could be the other way round)" if doubt else ""
    example = column.filter(parse(column, form).is_not_null())[0]
    return Guess("datetime", f"dates such as {_short(example)}{order}", form)


def _num_words(text: str) -> float:
    """Words between blanks; two Chinese characters count as one."""
    chinese = len(CHINESE.findall(text))
    return len(CHINESE.sub(" ", text).split()) + chinese / 2 if chinese else len(text.split())


def _how_different(share: float) -> str:
    if share == 1:
        return "all different"
    return "nearly all different" if share >= NEARLY_ALL else "mostly different"


def _always(column: pl.Series, value: bool) -> pl.Series:
    import polars as pl

    return pl.repeat(value, len(column), eager=True)


def _short(value: object) -> str:
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= 40 else text[:37] + "..."
