"""What every chart stands on: scales with round ticks, axes, short paths, thinning of long lines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from danlu.report.markup import Child, Html, tag
from danlu.report.text import finite, is_number, number, scientific, width

FONT = 12  # px; charts are drawn about 1:1 on a wide screen
TOP = 30  # px above a chart whose y axis has a label


class Point(NamedTuple):
    """A place on the drawing, in px from the top left."""

    x: float
    y: float


@dataclass(frozen=True)
class Scale:
    """Data values from `low` to `high` onto pixels from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    is_share: bool = False
    """Ticks are written as percentages."""
    is_whole: bool = False
    """Ticks are whole numbers where two of them fit."""

    def __call__(self, value: float) -> float:
        """The pixel of `value`; what lies outside is drawn at the edge."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(max(value, 1e-300))
        share = (value - low) / (high - low)
        share = 0.0 if share < 0.0 else 1.0 if share > 1.0 else share
        return self.start + share * (self.end - self.start)

    def holds(self, value: float) -> bool:
        """Whether `value` lies within the scale."""
        return self.low <= value <= self.high

    def ticks(self, about: int = 5) -> list[tuple[float, str]]:
        """Round values and their labels, about so many and at least two."""
        if self.log and len(ticks := _log_ticks(self.low, self.high)) > 1:
            return ticks
        values, step = self._round_values(about, is_whole=self.is_whole)
        while len(values) < 2:
            about = 2 * max(about, 1)
            values, step = self._round_values(about, is_whole=False)
        if self.is_share:
            return [(value, f"{tick_label(100 * value, 100 * step)} %") for value in values]
        return [(value, tick_label(value, step)) for value in values]

    def _round_values(self, about: int, *, is_whole: bool) -> tuple[list[float], float]:
        step = _nice_step((self.high - self.low) / max(about, 1))
        if is_whole and not step.is_integer():
            step = max(1.0, float(math.floor(step)))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [place * step for place in range(first, last + 1)], step


def scale(
    values: Iterable[Any],
    start: float,
    end: float,
    *,
    margin: float = 0.04,
    zero: bool = False,
    log: bool = False,
    is_whole: bool = False,
) -> Scale:
    """A scale that holds all finite `values` with a little margin; with `zero`, 0 too."""
    known = [min(max(value, -1e150), 1e150) for value in finite([*values, *([0.0] if zero else [])])]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    if log:
        return Scale(low / 1.1, high * 1.1, start, end, log=True)
    if high - low <= max(1e-12 * max(abs(low), abs(high)), 1e-200):
        spread = max(abs(high) * 0.1, 1.0 if is_whole else 0.0) or 0.5
        low, high = low - spread, high + spread
    gap = (high - low) * margin
    bottom = low if zero and low == 0 else low - gap
    top = high if zero and high == 0 else high + gap
    return Scale(bottom, top, start, end, is_whole=is_whole)


def tick_label(value: float, step: float) -> str:
    """A tick as text: short, with as many decimals as the step between the ticks needs."""
    if abs(value) < step * 1e-6:
        return "0"
    largest = max(abs(value), step)
    for unit, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if largest >= unit * (10 if letter == "k" else 1):
            if largest >= 1e15:
                return scientific(value, _significant(value, step))
            return f"{_decimals(value / unit, step / unit)}{letter}"
    return scientific(value, _significant(value, step)) if largest < 1e-4 else _decimals(value, step)


def svg(title: str, description: str, size: tuple[float, float], *parts: Child, class_: str = "") -> Html:
    """A drawing of `size` (width, height) px that fits itself to its place, named for screen readers."""
    return tag(
        "svg",
        tag("title", title),
        tag("desc", description),
        *parts,
        viewBox=f"0 0 {size[0]:g} {size[1]:g}",
        width=f"{size[0]:g}",
        height=f"{size[1]:g}",
        role="img",
        class_=f"chart {class_}".strip(),
    )


def axes(
    x: Scale,
    y: Scale,
    *,
    x_label: str = "",
    y_label: str = "",
    x_ticks: int = 5,
    y_ticks: int = 5,
    y_names: Sequence[tuple[float, str]] | None = None,
    x_names: Sequence[tuple[float, str]] | None = None,
    has_grid: bool = True,
) -> Html:
    """Grid, ticks and labels of two scales; the y label stands above the axis, so that it is read level."""
    bottom, left, right = y.start, x.start, x.end
    parts: list[Html] = []
    for value, name in y.ticks(y_ticks) if y_names is None else y_names:
        at = y(value)
        if has_grid:
            parts.append(line(Point(left, at), Point(right, at), class_="grid"))
        parts.append(words(name, left - 7, at + 4, anchor="end", class_="tick"))
    for value, name in x.ticks(x_ticks) if x_names is None else x_names:
        parts.append(line(Point(x(value), bottom), Point(x(value), bottom + 4), class_="axis"))
        parts.append(words(name, x(value), bottom + 17, anchor="middle", class_="tick"))
    parts.append(line(Point(left, bottom), Point(right, bottom), class_="axis"))
    if x_label:
        parts.append(words(x_label, (left + right) / 2, bottom + 34, anchor="middle", class_="axis-label"))
    if y_label:
        parts.append(words(y_label, 2, y.end - 14, class_="axis-label"))
    return tag("g", parts)


def left_margin(names: Iterable[str], *, most: float = 160, least: float = 30) -> float:
    """Pixels that the widest of the names needs to the left of a chart."""
    return min(max([least, *(width(name) * FONT + 12 for name in names)]), most)


def line(start: Point, end: Point, **attributes: Any) -> Html:
    """A straight line."""
    return tag("line", x1=start.x, y1=start.y, x2=end.x, y2=end.y, **attributes)


def words(
    text: str, x: float, y: float, *, anchor: str | None = None, class_: str | None = None, tip: str = ""
) -> Html:
    """A line of text with its left end, middle or right end at (x, y)."""
    return tag("text", hover(tip), text, x=x, y=y, text_anchor=anchor, class_=class_)


def dot(at: Point, *, radius: float = 4, class_: str = "c0 fill", tip: str = "") -> Html:
    """A filled circle that says `tip` when it is pointed at."""
    return tag("circle", hover(tip), cx=at.x, cy=at.y, r=radius, class_=class_)


def hover(tip: str) -> Html | None:
    """What an element says when it is pointed at."""
    return tag("title", tip) if tip else None


def path(points: Iterable[Point | None], **attributes: Any) -> Html:
    """A line through points; None lifts the pen."""
    commands: list[str] = []
    is_down = False
    for point in points:
        if point is not None:
            commands.append(f"{'L' if is_down else 'M'}{point.x:.1f} {point.y:.1f}")
        is_down = point is not None
    return tag("path", d="".join(commands), **attributes)


def place(xs: Sequence[Any], ys: Sequence[Any], x: Scale, y: Scale) -> list[Point | None]:
    """Pairs of values as points of the drawing; a pair with a value that is not finite lifts the pen."""
    pairs = zip(xs, ys, strict=False)
    return [Point(x(a), y(b)) if is_number(a) and is_number(b) else None for a, b in pairs]


def thin(points: Sequence[Point | None], closest: float = 1.0) -> list[Point | None]:
    """The points without those nearer than `closest` px to the one kept before; first and last stay."""
    kept: list[Point | None] = []
    for index, point in enumerate(points):
        before = kept[-1] if kept else None
        if (
            point is None
            or before is None
            or index == len(points) - 1
            or max(abs(point.x - before.x), abs(point.y - before.y)) >= closest
        ):
            kept.append(point)
    return kept


def sample(items: Sequence[Any], most: int) -> list[Any]:
    """At most `most` of the items, evenly spread, the last one among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(place * (len(items) - 1) / (most - 1))] for place in range(most)]


def _nice_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)


def _decimals(value: float, step: float) -> str:
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if abs(step * 10**decimals - round(step * 10**decimals)) > 1e-6:  # steps of 2.5, 0.25
        decimals += 1
    return f"{value:,.{decimals}f}".replace("-", "−")


def _significant(value: float, step: float) -> int:
    """Digits that tell `value` from its neighbours one step away."""
    return max(2, math.floor(math.log10(abs(value))) - math.floor(math.log10(step)) + 2)


def _log_ticks(low: float, high: float) -> list[tuple[float, str]]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    factors = (1, 2, 5) if last - first <= 2 else (1,)
    skip = max(1, (last - first) // 6)
    values = [factor * 10.0**power for power in range(first, last + 1, skip) for factor in factors]
    return [(value, number(value, 2)) for value in values if low <= value <= high]
