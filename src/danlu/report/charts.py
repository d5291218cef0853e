"""Charts of curves and points: lines and steps, scatter, histogram, calibration with error bars."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from danlu.report.markup import Html, tag
from danlu.report.svg import (
    TOP,
    Point,
    Scale,
    axes,
    dot,
    hover,
    left_margin,
    line,
    path,
    place,
    sample,
    scale,
    svg,
    thin,
)
from danlu.report.text import count, finite, is_number, number, percent, say

WIDTH, HEIGHT = 480, 300
SMALL = (300, 190)
LAYERS = 24  # a cloud of points is drawn in this many see-through layers, so that crowded places look darker
MOST_POINTS = 1500
MOST_DOTTED = 16  # a line through so few points shows them
MOST_STEPS = 2000  # points of all lines of a chart together


@dataclass(frozen=True)
class Series:
    """One line of a chart."""

    name: str
    xs: Sequence[Any]
    ys: Sequence[Any]
    class_: str = "c0"
    is_step: bool = False
    """Each value holds back to the x before it, as average precision counts precision over recall."""


def line_chart(
    title: str,
    description: str,
    series: Sequence[Series],
    *,
    x_label: str = "",
    y_label: str = "",
    size: tuple[int, int] = (WIDTH, HEIGHT),
    log: bool = False,
    x_log: bool = False,
    unit: bool = False,
    is_share: bool = False,
    y_range: Sequence[Any] = (),
    guides: Sequence[tuple[tuple[float, float], tuple[float, float]]] = (),
    best: Any = None,
    is_whole: bool = False,
    show: Callable[[Any], str] = number,
) -> Html:
    """Lines over a shared x axis.

    `unit`: both axes run from 0 to 1. `guides`: dashed lines between two places in data values. `best`: an x
    value to mark. `log`, `x_log`: a logarithmic axis. `is_share`: y is in percent. `y_range`: values that the y
    axis must hold. `is_whole`: x is counted in whole numbers. `show`: how a y value is written when it is pointed at.
    """
    series = [_fewer(one, max(MOST_STEPS // len(series), 120)) for one in series]
    every_y = [0, 1] if unit else [*y_range, *(value for one in series for value in one.ys)]
    width, height = size
    bottom = height - (42 if x_label else 24)
    y = scale(every_y, bottom, TOP if y_label else 10, margin=0 if unit else 0.06, log=log)
    y = replace(y, is_share=is_share)
    left = left_margin(name for _, name in y.ticks())
    every_x = [0, 1] if unit else [value for one in series for value in one.xs]
    x = scale(every_x, left, width - 12, margin=0 if unit else 0.0, log=x_log, is_whole=is_whole)
    parts = [axes(x, y, x_label=x_label, y_label=y_label, x_ticks=max(4, (width - 60) // 75))]
    for start, end in guides:
        parts.append(line(Point(x(start[0]), y(start[1])), Point(x(end[0]), y(end[1])), class_="guide"))
    if is_number(best):
        parts.append(line(Point(x(best), y.start), Point(x(best), y.end), class_="guide"))
    for one in reversed(series):  # the first stays on top
        points = place(one.xs, one.ys, x, y)
        drawn = thin(_corners(points) if one.is_step else points, 0.7)
        alone = [point for point in points if point is not None]
        if 1 < len(alone) <= MOST_DOTTED:  # a few places with straight lines between: show which are known
            parts.extend(dot(point, class_=f"{one.class_} fill", radius=2.4) for point in alone)
        parts.append(path(drawn, class_=f"{one.class_} stroke"))
        if len(alone) == 1:
            parts.append(dot(alone[0], class_=f"{one.class_} fill"))
        if is_number(best):
            parts.extend(
                dot(Point(x(a), y(b)), class_=f"{one.class_} fill", radius=3.5)
                for a, b in zip(one.xs, one.ys, strict=False)
                if a == best and is_number(b)
            )
    return svg(title, description, size, parts, _bands(series, x, y, x_label, show))


def scatter(
    title: str,
    description: str,
    xs: Sequence[Any],
    ys: Sequence[Any],
    *,
    x_label: str,
    y_label: str,
    diagonal: bool = False,
    zero_line: bool = False,
    trend: bool = False,
) -> Html:
    """A cloud of points; `diagonal` draws y = x on equal axes, `trend` the median of y in ten slices of x."""
    pairs = [(a, b) for a, b in zip(xs, ys, strict=False) if is_number(a) and is_number(b)]
    both = [value for pair in pairs for value in pair]
    bottom = HEIGHT - 42
    y = scale(both if diagonal else [b for _, b in pairs], bottom, TOP, zero=zero_line)
    left = left_margin(name for _, name in y.ticks())
    x = scale(both if diagonal else [a for a, _ in pairs], left, WIDTH - 12)
    parts = [axes(x, y, x_label=x_label, y_label=y_label)]
    drawn = [Point(x(a), y(b)) for a, b in sample(pairs, MOST_POINTS)]
    parts.append(cloud(drawn, "c0"))
    if diagonal:
        parts.append(line(Point(x(y.low), y(y.low)), Point(x(y.high), y(y.high)), class_="guide strong"))
    if zero_line:
        parts.append(line(Point(x.start, y(0)), Point(x.end, y(0)), class_="guide strong"))
    if trend and len(pairs) >= 50:
        parts.append(path([Point(x(a), y(b)) for a, b in _slice_medians(pairs)], class_="c1 stroke"))
    return svg(title, description, (WIDTH, HEIGHT), parts)


def cloud(points: Sequence[Point], class_: str, *, diameter: float = 5) -> Html:
    """Many points at the cost of a few paths: each is a line of no length with round ends."""
    layers = min(LAYERS, max(1, len(points) // 8))
    paths = [
        tag(
            "path",
            d="".join(f"M{p.x:.1f} {p.y:.1f}h0" for p in points[layer::layers]),
            class_=f"{class_} stroke",
        )
        for layer in range(layers)
    ]
    return tag("g", paths, class_="cloud", stroke_width=diameter)


def histogram(
    title: str, description: str, edges: Sequence[Any], counts: Sequence[Any], *, x_label: str, y_label: str
) -> Html:
    """Bars over neighbouring ranges; a dashed line stands at 0 where 0 is among them."""
    bottom = HEIGHT - 42
    y = scale(counts, bottom, TOP, zero=True, is_whole=True)
    x = scale(edges, left_margin(name for _, name in y.ticks()), WIDTH - 12, margin=0.01)
    parts = [axes(x, y, x_label=x_label, y_label=y_label)]
    for low, high, amount in zip(edges, edges[1:], counts, strict=False):
        start, end, top = x(low), x(high), y(amount)
        tip = say(
            "{low} to {high}: {rows}", low=number(low), high=number(high), rows=count(amount, "row", "rows")
        )
        parts.append(
            tag(
                "rect",
                hover(tip),
                x=start + 0.5,
                y=top,
                width=max(end - start - 1, 0.5),
                height=bottom - top,
                class_="c0 fill soft",
            )
        )
    if x.holds(0):
        parts.append(line(Point(x(0), bottom), Point(x(0), y.end), class_="guide strong"))
    return svg(title, description, (WIDTH, HEIGHT), parts)


def calibration_chart(
    title: str, description: str, curves: Sequence[dict[str, Any]], classes: Sequence[str]
) -> Html:
    """Predicted probability against observed share, with error bars; on the dashed line the two agree."""
    bottom = HEIGHT - 42
    y = Scale(0, 1, bottom, TOP)
    x = Scale(0, 1, 40, WIDTH - 12)
    parts = [
        axes(x, y, x_label=say("predicted probability"), y_label=say("how often it came true")),
        line(Point(x(0), y(0)), Point(x(1), y(1)), class_="guide strong"),
    ]
    for curve, class_ in zip(curves, classes, strict=False):
        points = place(curve.get("predicted") or [], curve.get("observed") or [], x, y)
        parts.append(path([point for point in points if point], class_=f"{class_} stroke thin"))
        lower, upper, rows = (curve.get(key) or [] for key in ("lower", "upper", "count"))
        for index, point in enumerate(points):
            if point is None:
                continue
            low, high = _at(lower, index), _at(upper, index)
            if is_number(low) and is_number(high):
                parts.append(
                    line(Point(point.x, y(low)), Point(point.x, y(high)), class_=f"{class_} stroke whisker")
                )
            tip = say(
                "predicted {predicted}, came true {observed} of the time ({rows})",
                predicted=percent(curve["predicted"][index]),
                observed=percent(curve["observed"][index]),
                rows=count(_at(rows, index), "row", "rows"),
            )
            parts.append(dot(point, class_=f"{class_} fill", tip=tip))
    return svg(title, description, (WIDTH, HEIGHT), parts)


def bins(values: Sequence[Any], num_bins: int = 30) -> tuple[list[float], list[int]]:
    """Edges and counts of a histogram of the finite values; the outermost 0.5 % are put into the end bins."""
    known = sorted(finite(values))
    if not known:
        return [], []
    cut = len(known) // 200
    low, high = known[cut], known[-1 - cut]
    if low == high:
        low, high = low - 0.5, high + 0.5
    num_bins = max(1, min(num_bins, round(len(known) ** 0.5) + 1))
    counts = [0] * num_bins
    for value in known:
        share = (value - low) / (high - low)
        counts[min(max(int(share * num_bins), 0), num_bins - 1)] += 1
    return [low + (high - low) * edge / num_bins for edge in range(num_bins + 1)], counts


def legend(entries: Sequence[tuple[str, str]], *, least: int = 2) -> Html | None:
    """Colour and name of each series, as text that wraps on a narrow screen; none for fewer than `least`."""
    if len(entries) < least:
        return None
    items = [
        tag(
            "li",
            tag(
                "svg",
                tag("rect", width=14, height=8, y=1, rx=2, class_=f"{class_} fill"),
                width=14,
                height=10,
                aria_hidden="true",
            ),
            " ",
            name,
        )
        for class_, name in entries
    ]
    return tag("ul", items, class_="legend")


def _bands(
    series: Sequence[Series], x: Scale, y: Scale, x_label: str, show: Callable[[Any], str]
) -> Html | None:
    """Invisible columns over a chart that say each line's value there."""
    longest = max(series, key=lambda one: len(one.xs), default=None)
    if longest is None or not finite(longest.xs):
        return None
    lookups = [_lookup(one) for one in series]
    stops = sample(sorted(set(finite(longest.xs))), 48)
    pixels = [x(stop) for stop in stops]
    bands: list[Html] = []
    for index, stop in enumerate(stops):
        start = x.start if index == 0 else (pixels[index - 1] + pixels[index]) / 2
        end = x.end if index == len(stops) - 1 else (pixels[index] + pixels[index + 1]) / 2
        here = [
            (one.name, _value_at(stop, lookup, is_step=one.is_step))
            for one, lookup in zip(series, lookups, strict=True)
        ]
        values = [f"{name}: {show(value)}" for name, value in here if value is not None]
        tip = f"{x_label or 'x'} {number(stop)}\n" + "\n".join(values)
        bands.append(
            tag("rect", hover(tip), x=start, y=y.end, width=max(end - start, 0.5), height=y.start - y.end)
        )
    return tag("g", bands, class_="bands")


def _fewer(one: Series, most: int) -> Series:
    """The line with at most `most` points, more than its pixels can show."""
    pairs = sample(list(zip(one.xs, one.ys, strict=False)), most)
    return replace(one, xs=[a for a, _ in pairs], ys=[b for _, b in pairs])


def _lookup(one: Series) -> list[tuple[float, float]]:
    return sorted((a, b) for a, b in zip(one.xs, one.ys, strict=False) if is_number(a) and is_number(b))


def _value_at(stop: float, lookup: list[tuple[float, float]], *, is_step: bool) -> float | None:
    """The line's value at the last of its x that is not beyond `stop`; of steps, at the next that reaches it."""
    index = bisect.bisect_right(lookup, stop, key=lambda pair: pair[0])
    if is_step and not (index and lookup[index - 1][0] == stop):
        return lookup[index][1] if index < len(lookup) else None
    return lookup[index - 1][1] if index else None


def _corners(points: Sequence[Point | None]) -> list[Point | None]:
    """The points of a curve whose value at an x holds back to the x before it, whichever way they are listed."""
    result: list[Point | None] = []
    for before, point in zip([None, *points], points, strict=False):
        if before is not None and point is not None:
            left, right = (before, point) if before.x <= point.x else (point, before)
            result.append(Point(left.x, right.y))
        result.append(point)
    return result


def _slice_medians(pairs: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    ranked = sorted(pairs)
    slices = [ranked[len(ranked) * part // 10 : len(ranked) * (part + 1) // 10] for part in range(10)]
    return [(_median([a for a, _ in one]), _median([b for _, b in one])) for one in slices if one]


def _median(values: Sequence[float]) -> float:
    ranked = sorted(values)
    middle = len(ranked) // 2
    return ranked[middle] if len(ranked) % 2 else (ranked[middle - 1] + ranked[middle]) / 2


def _at(values: Sequence[Any], index: int) -> Any:
    return values[index] if index < len(values) else None
