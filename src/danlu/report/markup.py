"""HTML that is escaped unless it says that it is HTML already: no value from the data can become code."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Any, TypeAlias

# What HTML forbids even when escaped: control characters, lone surrogates, non-characters.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_VOID = frozenset({"br", "col", "hr", "img", "input", "meta", "wbr"})
_EMPTY_SVG = frozenset({"rect", "line", "path", "circle", "polyline", "polygon"})


class Html(str):
    """Text that is HTML already; every other string is escaped when it goes into a tag."""

    __slots__ = ()


Child: TypeAlias = "Html | str | int | float | Iterable[Child] | None"


def escape(value: object) -> Html:
    """`value` as text that is safe between tags and within quotes."""
    if isinstance(value, Html):
        return value
    text = html.escape(_FORBIDDEN.sub("\ufffd", str(value)), quote=False)
    # Attributes stand in double quotes, so that single ones may stay as they are.
    return Html(text.replace('"', "&quot;"))


def join(children: Child, separator: str = "") -> Html:
    """The children one after the other, each escaped unless it is HTML; None is left out."""
    return Html(separator.join(_pieces(children)))


def tag(name: str, /, *children: Child, **attributes: Any) -> Html:
    """One element: `tag("td", value, class_="number")`; `_` in an attribute's name is written as `-`.

    An attribute that is None or False is left out, and True stands without a value.
    """
    opened = "".join([name, *[_attribute(key, value) for key, value in attributes.items()]])
    if name in _VOID:
        return Html(f"<{opened}>")
    inner = join(children)
    if not inner and name in _EMPTY_SVG:
        return Html(f"<{opened}/>")
    return Html(f"<{opened}>{inner}</{name}>")


def rich(template: str, /, **values: Child) -> Html:
    """As `text.say`, with values that may be HTML: all but `Html` values is escaped, the template too."""
    return Html(escape(template).format(**{key: join(value) for key, value in values.items()}))


def _pieces(child: Child) -> list[str]:
    if child is None:
        return []
    if isinstance(child, (str, int, float)):
        return [escape(child)]
    return [piece for item in child for piece in _pieces(item)]


def _attribute(key: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    key = key.rstrip("_").replace("_", "-")
    if value is True:
        return f" {key}"
    if isinstance(value, float):
        value = f"{value:.2f}".rstrip("0").rstrip(".")
    return f' {key}="{escape(value)}"'
