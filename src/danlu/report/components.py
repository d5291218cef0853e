"""The pieces that a page is put together from: sections, figures, cards, tables that sort, folded parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from danlu.report.markup import Child, Html, tag
from danlu.report.text import is_number, number, say


@dataclass(frozen=True)
class Section:
    """A part of the page with its place in the navigation."""

    anchor: str
    title: str
    body: Html


@dataclass(frozen=True)
class Cell:
    """One cell of a table: what is shown, what it is sorted by, and what is said when it is pointed at."""

    shown: Child
    sort_by: Any = None
    class_: str = ""
    tip: str = ""
    attributes: dict[str, Any] = field(default_factory=dict[str, Any])


def section(anchor: str, title: str, *parts: Child, lead: Child = None) -> Section | None:
    """A section, or None where every part of it is absent."""
    kept = [part for part in parts if part]
    if not kept:
        return None
    head = [tag("h2", title), tag("p", lead, class_="lead") if lead else None]
    return Section(anchor, title, tag("section", head, kept, id=anchor))


def figure(
    title: str,
    chart: Html,
    *,
    read: Child = None,
    note: Child = None,
    key: Html | None = None,
    wide: bool = False,
) -> Html:
    """A chart with its title, a sentence on how to read it, its legend, and a note below."""
    return tag(
        "figure",
        tag("figcaption", tag("h3", title), tag("p", read, class_="read") if read else None),
        key,
        chart,
        tag("p", note, class_="note") if note else None,
        class_="panel wide" if wide else "panel",
    )


def panel(title: str, *parts: Child, read: Child = None, wide: bool = False) -> Html:
    """A framed part with a title and something other than a chart in it."""
    head = tag("figcaption", tag("h3", title), tag("p", read, class_="read") if read else None)
    return tag("figure", head, parts, class_="panel wide" if wide else "panel")


def grid(*parts: Child, class_: str = "grid-2") -> Html | None:
    """Panels side by side where the screen is wide enough."""
    kept = [part for part in _flat(parts) if part]
    return tag("div", kept, class_=class_) if kept else None


def card(name: str, value: Child, *below: Child, class_: str = "") -> Html:
    """One key figure."""
    return tag(
        "div",
        tag("p", name, class_="card-name"),
        tag("p", value, class_="card-value"),
        [
            tag("p", part, class_="card-note") if not isinstance(part, Html) else part
            for part in below
            if part
        ],
        class_=f"card {class_}".strip(),
    )


def badge(text: str, kind: str = "plain") -> Html:
    """A word in a small frame; its meaning never rests on the colour alone."""
    return tag("span", text, class_=f"badge {kind}")


def folded(summary: str, *parts: Child, is_open: bool = False) -> Html:
    """A part that opens when it is clicked, and always in print."""
    return tag("details", tag("summary", summary), parts, open=is_open)


def table(
    headers: Sequence[Child],
    rows: Sequence[Sequence[Cell | Child]],
    *,
    sortable: bool = False,
    visible: int = 0,
    class_: str = "",
    caption: str = "",
    noun: tuple[str, str] = ("row", "rows"),
) -> Html:
    """A table in a place that scrolls sideways; with `visible`, the rows after so many are folded away."""
    is_number_column = (
        [isinstance(cell, Cell) and cell.class_ == "number" for cell in rows[0]] if rows else []
    )
    head = tag(
        "thead",
        tag(
            "tr",
            [
                tag("th", header, scope="col", class_="number" if is_right else None)
                for header, is_right in zip_longest(headers, is_number_column)
            ],
        ),
    )
    shown = rows if not visible or len(rows) <= visible + 3 else rows[:visible]
    rest = rows[len(shown) :]
    kind = f"{class_} sortable" if sortable and len(rows) > 1 else class_

    def draw(part: Sequence[Sequence[Cell | Child]]) -> Html:
        body = tag("tbody", [tag("tr", [_cell(cell) for cell in row]) for row in part])
        named = tag("caption", caption, class_="hidden") if caption else None
        return tag("div", tag("table", named, head, body, class_=kind or None), class_="scroll", tabindex=0)

    if not rest:
        return draw(shown)
    more = say("Show {amount} more {noun}", amount=number(len(rest)), noun=noun[len(rest) != 1])
    return Html(draw(shown) + folded(more, draw(rest)))


def facts(pairs: Sequence[tuple[str, Child]]) -> Html | None:
    """Names and their values, one pair a line; pairs without a value are left out."""
    kept = [(name, value) for name, value in pairs if value is not None and value != ""]
    if not kept:
        return None
    return tag("dl", [[tag("dt", name), tag("dd", value)] for name, value in kept], class_="facts")


def sentences(lines: Sequence[Any] | None) -> Html | None:
    """A list of sentences; a single one is a paragraph."""
    kept = [str(text) for text in lines or () if text]
    if not kept:
        return None
    return (
        tag("p", kept[0])
        if len(kept) == 1
        else tag("ul", [tag("li", text) for text in kept], class_="sentences")
    )


def numeric(value: Any, shown: str | None = None, **more: Any) -> Cell:
    """A cell with a number, set to the right and sorted by its value."""
    return Cell(
        number(value) if shown is None else shown, value if is_number(value) else None, "number", **more
    )


def flatten(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """A nested mapping as dotted names and values: {"a": {"b": 1}} -> [("a.b", 1)]."""
    if not isinstance(value, dict):
        return [(prefix, value)]
    return [
        pair
        for key, item in value.items()
        for pair in flatten(item, f"{prefix}.{key}" if prefix else str(key))
    ]


def plain_value(value: Any) -> str:
    """A setting or a piece of evidence as short text."""
    if isinstance(value, bool):
        return say("yes") if value else say("no")
    if isinstance(value, (list, tuple)):
        shown = ", ".join(plain_value(item) for item in value[:12])
        return shown + say(" and {more} more", more=number(len(value) - 12)) if len(value) > 12 else shown
    if isinstance(value, dict):
        return ", ".join(f"{key} {plain_value(item)}" for key, item in value.items())
    return number(value)


def _cell(cell: Cell | Child) -> Html:
    if not isinstance(cell, Cell):
        return tag("td", cell)
    return tag(
        "td",
        cell.shown,
        class_=cell.class_ or None,
        data_sort=_sort_key(cell.sort_by),
        title=cell.tip or None,
        **cell.attributes,
    )


def _sort_key(value: Any) -> str | None:
    return None if value is None else f"{value:.9g}" if is_number(value) else str(value)


def _flat(parts: Child) -> list[Child]:
    if parts is None or isinstance(parts, (str, int, float)):
        return [parts]
    return [item for part in parts for item in _flat(part)]
