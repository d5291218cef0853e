"""Numbers and sentences as people read them: 16,281, 87.4 %, 1 min 20 s, and '–' for what is not known."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, TypeGuard

MISSING = "–"


def say(template: str, /, **values: object) -> str:
    """The report's one door for words: another language would look `template` up in its catalogue here."""
    return template.format(**values)


def pick(record: Any, *keys: str) -> Any:
    """The value under a path of keys, or None where a part of the path is absent."""
    for key in keys:
        if not isinstance(record, dict) or record.get(key) is None:
            return None
        record = record[key]
    return record


def entries(record: Any, *keys: str) -> list[dict[str, Any]]:
    """The mappings in the list under a path of keys; none where the list is absent."""
    found = pick(record, *keys)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def is_number(value: Any) -> TypeGuard[float]:
    """Whether `value` is a finite number (a boolean is not)."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def finite(values: Sequence[Any] | None) -> list[float]:
    """The finite numbers among `values`."""
    return [float(value) for value in values or () if is_number(value)]


def number(value: Any, digits: int = 4) -> str:
    """A number in about `digits` significant figures; other values as they are."""
    if value is None:
        return MISSING
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return str(value)
    if math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if float(value).is_integer() and abs(value) < 1e15:
        text = f"{int(value):,}"
    elif abs(value) >= 1e15 or abs(value) < 1e-4:
        text = scientific(value, digits - 1)
    elif abs(value) >= 10 ** (digits - 1):
        text = f"{value:,.0f}"
    else:
        decimals = digits - 1 - math.floor(math.log10(abs(value)))
        text = f"{value:,.{decimals}f}".rstrip("0").rstrip(".")
    return text.replace("-", "−")


def scientific(value: float, digits: int = 3) -> str:
    """A very large or very small number: 4.1 × 10⁹."""
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    return f"{mantissa} × 10{_superscript(int(exponent))}".replace("-", "−")


def fixed(value: Any, decimals: int) -> str:
    """A number with exactly `decimals` decimals, so that a column of them lines up."""
    if not is_number(value):
        return number(value)
    if abs(value) >= 1e9:
        return scientific(value)
    return f"{value if abs(value) >= 0.5 * 10.0**-decimals else 0:,.{decimals}f}".replace("-", "−")


def percent(value: Any, decimals: int = 1) -> str:
    """A share as a percentage: 0.8743 -> 87.4 %."""
    if not is_number(value):
        return MISSING
    text = f"{100 * value:,.{decimals}f}".replace("-", "−") if abs(value) < 1e4 else number(100 * value)
    return f"{text} %"


def between(low: str, high: str) -> str:
    """A range in words: '86.9–87.9 %', and 'to' where a minus sign would be hard to read."""
    if MISSING in (low, high):
        return MISSING
    if low.endswith(" %") and high.endswith(" %"):
        low = low[:-2]
    return f"{low} to {high}" if "−" in low + high else f"{low}–{high}"


def seconds(value: Any) -> str:
    """A length of time: 0.042 -> 42 ms, 80 -> 1 min 20 s."""
    if not is_number(value):
        return MISSING
    if value < 0 or value >= 1e9:
        return f"{number(value)} s"
    if value < 0.0995:
        return f"{1000 * value:.0f} ms"
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    large, small, units = (
        (whole // 60, whole % 60, ("min", "s"))
        if whole < 3600
        else (whole // 3600, whole % 3600 // 60, ("h", "min"))
    )
    return f"{large} {units[0]}" + (f" {small} {units[1]}" if small else "")


def moment(value: Any) -> str:
    """An ISO time as '22 November 2025, 18:06'; anything else as it is."""
    try:
        when = datetime.fromisoformat(str(value))
    except ValueError:
        return str(value)
    zone = " UTC" if when.utcoffset() == timedelta(0) else ""
    return f"{when.day} {when:%B %Y, %H:%M}{zone}"


def day(value: Any) -> str:
    """A date of the data without the time where that is midnight: '2011-01-01 00:00:00' -> '2011-01-01'."""
    return re.sub(r"^(\d{4,}-\d\d-\d\d)[ T]00:00(:00(\.0+)?)?$", r"\1", str(value))


def count(amount: Any, one: str, many: str) -> str:
    """'1 row', '16,281 rows'."""
    return f"{number(amount)} {one if amount == 1 else many}"


def label(value: Any) -> str:
    """A class label or a cell of data as text; an empty one is made visible."""
    if value is None:
        return say("(missing)")
    if isinstance(value, float):
        return number(value, 6)
    text = str(value)
    return text if text.strip() else say("(empty)")


def width(text: str) -> float:
    """Rough width of a text in ems: Chinese and Japanese characters take one, Latin ones about half of it."""
    return sum(1.0 if unicodedata.east_asian_width(letter) in "WF" else 0.56 for letter in text)


def shorten(text: str, ems: float) -> str:
    """`text` cut to about `ems` with an ellipsis; the end is what goes."""
    text = " ".join(text.split())
    if width(text) <= ems:
        return text
    kept, used = 0, 0.6
    for letter in text:
        used += width(letter)
        if used > ems:
            break
        kept += 1
    return text[:kept].rstrip() + "…"


def _superscript(value: int) -> str:
    return str(value).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
