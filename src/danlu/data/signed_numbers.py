"""Numbers as people write them: $1,234.56   € 12   15 %   1 200,50   and whether they can be read safely."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import polars as pl

Text = TypeVar("Text", "pl.Series", "pl.Expr")

DECIMAL_COMMA = "decimal comma"
# How a form is written in a schema: `numbers with €, decimal comma`, `numbers with separators`.
SIGNED = "numbers with "
NO_SIGN = "separators"
WITH_COMMA = r"^[+-]?(?:\d+|\d{1,3}(?:\.\d{3})+)(?:,\d+)?$"  # 12   12,5   1.234,5
SIGNS = "$€£¥￥₹₩₽₺₫฿%％"
PERCENT = "%％"
# Signs around numbers that people understand and programs do not: $1,200   15 %   1 234   -5 €
DECORATED = (
    rf"^(?:[+-]?\s?[{SIGNS}]\s?[+-]?\d[\d.,'’\s]*|[+-]?\d[\d.,'’\s]*[{SIGNS}]"
    r"|[+-]?(?:\d{1,3}(?:[,'’\s]\d{3})+|\d+)(?:[.,]\d+)?)$"
)
SURE = rf"[{SIGNS}]|[.,]\d"  # without one of these, a decorated number may well be a code
MOSTLY = 0.5  # share of amounts that must bear their currency


def find_form(text: pl.Series) -> str | None:
    """How all of these texts (trimmed, none missing) write numbers; None where that can be doubted.

    One currency or percent sign at most. `$1,200` is taken as 1200; `€ 1.200` and `1,200` alone stay in doubt.
    """
    signs = text.str.extract(rf"([{SIGNS}])").drop_nulls().unique().to_list()
    if len(signs) > 1 or not len(text):
        return None
    sign = signs[0] if signs else ""
    point, comma = _form(sign), _form(sign, decimal_comma=True)
    fits = [form for form in (point, comma) if read_form(text, form).is_not_null().all()]
    if sign:
        bare = text.filter(~text.str.contains(sign, literal=True))
        if sign in PERCENT and (read_form(bare, comma).fill_null(1) != 0).any():
            return None  # 0.15 beside 15 % may mean the same
        if len(bare) > (1 - MOSTLY) * len(text):
            return None
    if len(fits) < 2:
        return fits[0] if fits else None
    if not sign:
        return None
    if sign in PERCENT:
        return None if text.str.contains(",", literal=True).any() else point
    return None if text.str.contains(r"\d\.\d").any() else point


def read_form(text: Text, form: str) -> Text:
    """Trimmed text (series or expression) in a form that `find_form` gave, as float64; null where it is not so."""
    import polars as pl

    sign = "" if form == DECIMAL_COMMA else form.removeprefix(SIGNED).removeprefix(NO_SIGN)[:1].strip(",")
    has_comma = form.endswith(DECIMAL_COMMA)
    thousands, decimal = (".", ",") if has_comma else (",", ".")
    pattern = WITH_COMMA if form == DECIMAL_COMMA else _pattern(sign, thousands, decimal)
    bare = text.str.replace_all(rf"[{SIGNS}'’\s{thousands}]", "").str.replace(decimal, ".", literal=True)
    number = bare.cast(pl.Float64, strict=False)
    fits = text.str.contains(pattern)
    if isinstance(number, pl.Series) and isinstance(fits, pl.Series):
        return number.zip_with(fits, pl.Series([None], dtype=pl.Float64))
    return pl.when(fits).then(number).name.keep()


def is_decorated(text: str) -> bool:
    """Whether a text is a number with a sign, a decimal or a separator of thousands in it."""
    return re.search(DECORATED, text) is not None and re.search(SURE, text) is not None


def _form(sign: str, *, decimal_comma: bool = False) -> str:
    return f"{SIGNED}{sign or NO_SIGN}{', ' + DECIMAL_COMMA if decimal_comma else ''}"


def _pattern(sign: str, thousands: str, decimal: str) -> str:
    group = rf"[{thousands}'’\s]"
    number = rf"(?:\d+|\d{{1,3}}(?:{group}\d{{3}})+)(?:[{decimal}]\d+)?"
    if not sign:
        return rf"^[+-]?{number}$"
    sign = re.escape(sign)
    return rf"^(?:[+-]?\s?(?:{sign}\s?)?{number}|{sign}\s?[+-]{number}|[+-]?{number}\s?{sign})$"
