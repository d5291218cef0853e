"""Charts with a name on every row: dots or bars with error bars; the bar of a split; those in tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from danlu.report.markup import Html, tag
from danlu.report.svg import FONT, Point, Scale, axes, dot, hover, line, path, scale, svg, words
from danlu.report.text import count, finite, is_number, label, number, percent, say, shorten, width

WIDTH = 480
ROW_HEIGHT = 26
MINI = (92, 24)


@dataclass(frozen=True)
class Row:
    """One named value, with the ends of its error bar where they are known."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    class_: str = "c0"
    tip: str = ""


def row_chart(
    title: str,
    description: str,
    rows: Sequence[Row],
    *,
    x_label: str = "",
    bars: bool = False,
    guides: Sequence[tuple[float, str]] = (),
    show: Callable[[Any], str] = number,
    focus: tuple[float, float] | None = None,
    is_share: bool = False,
    wide: int = WIDTH,
) -> Html:
    """A dot (or a bar from 0) with its error bar on each row, its name to the left, its value to the right.

    `guides`: dashed lines and their names. `focus`: the range to show where a few rows would squeeze all
    others; what lies beyond it is an arrow at the edge. `is_share`: the axis is written in percent.
    """
    texts = [show(row.value) for row in rows]
    room_left = min(max((width(row.name) for row in rows), default=0) * FONT + 14, 0.36 * wide)
    room_right = max((width(text) for text in texts), default=0) * FONT + 14
    top = 24 if guides else 8
    bottom = top + ROW_HEIGHT * len(rows)
    ends = [end for row in rows for end in (row.value, row.low, row.high)]
    values = focus or [*ends, *(value for value, _ in guides)]
    x = replace(
        scale(values, room_left, wide - room_right, zero=bars and focus is None, margin=0.05),
        is_share=is_share,
    )
    y = Scale(0, 1, bottom, top)
    parts = [axes(x, y, x_label=x_label, y_names=[], x_ticks=max(3, wide // 110))]
    for value, name in guides:
        is_right = x(value) > (x.start + x.end) / 2
        if x.holds(value):
            parts.append(line(Point(x(value), bottom), Point(x(value), top - 4), class_="guide strong"))
        else:
            name = f"{name} →" if is_right else f"← {name}"
        anchor, shift = ("end", 4) if is_right else ("start", -4)
        parts.append(words(name, x(value) + shift, top - 9, anchor=anchor, class_="tick"))
    for index, (row, text) in enumerate(zip(rows, texts, strict=True)):
        middle = top + ROW_HEIGHT * (index + 0.5)
        parts.append(
            words(
                shorten(row.name, (room_left - 12) / FONT),
                room_left - 9,
                middle + 4,
                anchor="end",
                class_="row-name",
                tip=row.name,
            )
        )
        parts.append(words(text, wide - 2, middle + 4, anchor="end", class_="row-value"))
        parts.append(_mark(row, x, middle, bars=bars, wide=wide))
    return svg(title, description, (wide, bottom + (40 if x_label else 24)), parts)


def split_bar(title: str, description: str, parts: Sequence[tuple[str, int, str]]) -> Html:
    """A bar cut in proportion to the rows of each part: (name, rows, class)."""
    total = sum(rows for _, rows, _ in parts) or 1
    pieces: list[Html] = []
    start = 0.0
    for name, rows, class_ in parts:
        share = 1000 * (rows / total)
        tip = f"{name}: {count(rows, 'row', 'rows')} ({percent(rows / total)})"
        pieces.append(
            tag(
                "rect",
                hover(tip),
                x=start,
                y=0,
                width=max(share - 2, 0.5),
                height=26,
                class_=f"{class_} fill",
            )
        )
        start += share
    return tag(
        "svg",
        tag("title", title),
        tag("desc", description),
        pieces,
        viewBox="0 0 1000 26",
        preserveAspectRatio="none",
        role="img",
        class_="split-bar",
    )


def folds_chart(title: str, description: str, folds: int) -> Html:
    """One row for each fold of a cross-validation; the part that is held out moves along."""
    pieces = [
        tag(
            "rect",
            x=column * 1000 / folds + 1,
            y=row * 14,
            width=1000 / folds - 3,
            height=10,
            class_="c1 fill" if row == column else "c0 fill faint",
        )
        for row in range(folds)
        for column in range(folds)
    ]
    return tag(
        "svg",
        tag("title", title),
        tag("desc", description),
        pieces,
        viewBox=f"0 0 1000 {folds * 14}",
        preserveAspectRatio="none",
        role="img",
        class_="folds",
    )


def mini_histogram(edges: Sequence[Any], counts: Sequence[Any]) -> Html | None:
    """A column's distribution, small enough for a cell of a table."""
    known = [max(value, 0.0) for value in finite(counts)]
    if not known or not max(known):
        return None
    wide, high = MINI
    step, largest = wide / len(known), max(known)
    bar = max(step - 0.8, 0.4)
    bars = "".join(
        f"M{index * step:.1f} {high}v-{max(value / largest * high, 0.7):.1f}h{bar:.1f}V{high}z"
        for index, value in enumerate(known)
        if value
    )
    ends = finite(edges)
    tip = say("from {low} to {high}", low=number(ends[0]), high=number(ends[-1])) if ends else ""
    return _mini(tip, tag("path", d=bars, class_="c0 fill soft"))


def mini_shares(top: Sequence[Sequence[Any]], num_rows: int) -> Html | None:
    """The commonest values of a column as pieces of a bar; what is left over stays empty."""
    if not num_rows:
        return None
    wide, high = MINI
    pieces: list[Html] = []
    start, said = 0.0, []
    for index, (value, amount) in enumerate(top[:6]):
        share = wide * (amount / num_rows)
        said.append(f"{label(value)}: {number(amount)} ({percent(amount / num_rows)})")
        pieces.append(
            tag(
                "rect",
                x=start,
                y=6,
                width=max(share - 1, 0.5),
                height=high - 12,
                class_="c0 fill",
                opacity=max(0.9 - 0.14 * index, 0.2),
            )
        )
        start += share
    frame = tag("rect", x=0, y=6, width=wide, height=high - 12, class_="empty")
    return _mini("\n".join(said), frame, *pieces)


def interval_strip(low: Any, value: Any, high: Any, baseline: Any, show: Callable[[Any], str]) -> Html | None:
    """A score with its interval and the baseline on one line, for the first card of the report."""
    if not all(is_number(end) for end in (low, value, high)):
        return None
    x = scale([low, value, high, baseline], 6, 234, margin=0.08)
    parts = [line(Point(6, 12), Point(234, 12), class_="axis")]
    if is_number(baseline):
        parts.append(line(Point(x(baseline), 4), Point(x(baseline), 20), class_="guide strong"))
    parts.append(line(Point(x(low), 12), Point(x(high), 12), class_="c0 stroke interval"))
    parts.append(dot(Point(x(value), 12), radius=5))
    tip = say("{value}, 95 % interval {low} to {high}", value=show(value), low=show(low), high=show(high))
    if is_number(baseline):
        tip += say("; dashed: baseline {baseline}", baseline=show(baseline))
    return svg(say("Score, interval and baseline"), tip, (240, 24), parts, class_="strip")


def _mark(row: Row, x: Scale, middle: float, *, bars: bool, wide: int) -> Html:
    tip = row.tip or f"{row.name}: {number(row.value)}"
    parts: list[Html] = []
    if bars:
        ends = sorted((x(0), x(row.value)))
        parts.append(
            tag(
                "rect",
                x=ends[0],
                y=middle - 8,
                width=max(ends[1] - ends[0], 1),
                height=16,
                class_=f"{row.class_} fill soft",
            )
        )
    elif not x.holds(row.value):
        edge, way = (x.end, 1) if row.value > x.high else (x.start, -1)
        tips = [Point(edge - 7 * way, middle - 5), Point(edge, middle), Point(edge - 7 * way, middle + 5)]
        parts.append(path(tips, class_=f"{row.class_} stroke"))
    if row.low is not None and row.high is not None and x.holds(row.value):
        low, high = x(row.low), x(row.high)
        parts.append(line(Point(low, middle), Point(high, middle), class_=f"{row.class_} stroke whisker"))
        parts.extend(
            line(Point(end, middle - 5), Point(end, middle + 5), class_=f"{row.class_} stroke whisker")
            for end in (low, high)
        )
    if not bars and x.holds(row.value):
        parts.append(dot(Point(x(row.value), middle), radius=4, class_=f"{row.class_} fill"))
    target = tag("rect", x=0, y=middle - ROW_HEIGHT / 2, width=wide, height=ROW_HEIGHT, class_="target")
    return tag("g", hover(tip), target, *parts)


def _mini(tip: str, *parts: Html) -> Html:
    wide, high = MINI
    return tag(
        "svg",
        tag("g", hover(tip), tag("rect", width=wide, height=high, class_="target"), *parts),
        viewBox=f"0 0 {wide} {high}",
        width=wide,
        height=high,
        role="img",
        aria_label=tip,
        class_="mini",
    )
