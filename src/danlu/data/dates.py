"""Dates in text: the format is found from the values, and read the same way ever after."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from danlu.data.text_values import means_missing

if TYPE_CHECKING:
    import polars as pl

DAYS = (
    "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%m-%d-%Y", "%d-%m-%Y",
    "%m/%d/%y", "%d/%m/%y", "%d.%m.%y", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y",
    "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%Y年%m月%d日",
)  # fmt: skip
TIMES = (
    "",
    " %H:%M",
    " %H:%M:%S%.f",
    "T%H:%M",
    "T%H:%M:%S%.f",
    " %I:%M %p",
    " %I:%M:%S %p",
    "T%H:%M:%S%.f%#z",
    " %H:%M:%S%.f%#z",
)
FORMATS = (*(day + time for time in TIMES for day in DAYS), "%Y-%m", "%Y/%m", "%Y年%m月", "%b %Y", "%B %Y")
NEARLY_ALL = 0.98  # share of values that must be dates
NUM_PROBED = 100  # values that the formats are tried on first


def find_format(text: pl.Series) -> str | None:
    """The format that nearly all values have (words for missing aside), or None where they are no dates.

    Where day and month could be swapped, the order that makes the dates rise or fall is taken, else the month
    first.
    """
    given = text.drop_nulls()
    given = given.filter(~means_missing(given))
    probe = given.gather_every(max(len(given) // NUM_PROBED, 1)).head(NUM_PROBED)
    shapes = {_shape(value) for value in probe.to_list()}
    if not shapes & _ALL_SHAPES:
        return None
    likely = [form for form in FORMATS if shapes & _shapes(form)]
    fitting = [form for form in likely if _share(probe, form) >= NEARLY_ALL]
    fitting = [form for form in fitting if _share(given, form) >= NEARLY_ALL]
    if len(fitting) > 1:  # of two readings of the same text, the one that is in order
        fitting = [form for form in fitting if _is_in_order(parse(given, form))] or fitting
    return fitting[0] if fitting else None


def looks_like_date(text: str) -> bool:
    """Whether a text has the shape of some date, whatever its digits."""
    return _shape(text) in _ALL_SHAPES


def likeliest_format(text: pl.Series) -> str:
    """The format that the largest share of values has."""
    return max(FORMATS, key=lambda form: parse(text, form).count())


def parse(text: pl.Series, form: str) -> pl.Series:
    """Dates in microseconds without a zone (UTC where the text names one); null for what is no date."""
    import polars as pl

    moments = text.str.strip_chars().str.to_datetime(form, time_unit="us", strict=False)
    if isinstance(moments.dtype, pl.Datetime) and moments.dtype.time_zone:
        moments = moments.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    year = moments.dt.year()
    return pl.select(pl.when(year.is_between(1000, 2999)).then(moments).alias(text.name)).to_series()


def swapped(form: str) -> str | None:
    """The same format with day and month exchanged, or None where nobody would mix them up."""
    for first, other in (("%m/%d/", "%d/%m/"), ("%m-%d-", "%d-%m-")):
        for one, two in ((first, other), (other, first)):
            if form.startswith(one):
                return form.replace(one, two)
    return None


def _shape(text: str) -> str:
    """Digits as 0 and letters as a, one for each run: `2011-01-22 8:05 PM` becomes `0-0-0 0:0 a`."""
    return re.sub(r"[A-Za-z]+", "a", re.sub(r"\d+", "0", text))


def _shapes(form: str) -> set[str]:
    """The shapes that dates of a format can have: a fraction of a second may be absent, a zone may be Z."""
    plain = {re.sub(r"%[bBp]", "a", re.sub(r"%[YymdHMSI]", "0", form)).replace("T", "a")}
    for mark, forms in (("%.f", ("", ".0")), ("%#z", ("a", "+0:0", "-0:0", "+0", "-0"))):
        plain = {shape.replace(mark, one) for shape in plain for one in forms}
    return plain


def _is_in_order(moments: pl.Series) -> bool:
    return moments.is_sorted() or moments.is_sorted(descending=True)


def _share(text: pl.Series, form: str) -> float:
    good = parse(text, form).is_not_null()
    if "%y" in form:  # 1.2.3 is no date
        good &= text.str.contains(r"\D\d\d(?:\D|$)")
    return float(good.sum()) / len(text)


_ALL_SHAPES = frozenset(shape for form in FORMATS for shape in _shapes(form))
