"""Charts of coloured cells: the confusion matrix, and the decision map with its points, border and margin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from danlu.report.markup import Html, tag
from danlu.report.svg import FONT, TOP, Point, Scale, axes, hover, left_margin, path, sample, svg, words
from danlu.report.text import finite, is_number, label, number, percent, say, shorten, width

WIDTH = 480
LEVELS = 8  # shades of a colour on a map
MOST_NAMED = 12  # classes whose cells carry numbers
MOST_LABELLED = 25  # classes whose names stand beside the matrix
MOST_POINTS = 600


def confusion_map(
    title: str, description: str, labels: Sequence[Any], matrix: Sequence[Sequence[Any]]
) -> Html:
    """Rows are what was observed, columns what was predicted; the darker, the larger the share of its row."""
    size = len(labels)
    names = [label(value) for value in labels]
    room = min(max(width(name) for name in names) * FONT + 12, 120) if size <= MOST_LABELLED else 14
    cell = min((WIDTH - room - 8) / size, max(330 / size, 64))
    room += (WIDTH - room - 8 - cell * size) / 2  # in the middle
    top = 44
    parts = [
        words(say("predicted"), room + cell * size / 2, 14, anchor="middle", class_="axis-label"),
        words(
            say("observed"),
            room,
            30 if size > MOST_LABELLED else 14,
            anchor=None if size > MOST_LABELLED else "end",
            class_="axis-label",
        ),
    ]
    if size <= MOST_LABELLED:
        parts.extend(_class_names(names, room, top, cell))
    frame = tag("rect", x=room, y=top, width=cell * size, height=cell * size, class_="empty")
    parts.append(frame)
    for row, counts in enumerate(matrix):
        total = sum(amount for amount in counts if is_number(amount)) or 1
        for column, amount in enumerate(counts):
            if is_number(amount) and (amount or size <= MOST_NAMED):
                corner = Point(room + column * cell, top + row * cell)
                tip = say(
                    "observed {row}, predicted {column}: {amount} ({share} of the observed {row})",
                    row=names[row],
                    column=names[column],
                    amount=number(amount),
                    share=percent(amount / total),
                )
                is_right = row == column
                parts.append(
                    _cell(
                        corner, cell, amount, amount / total, tip, is_right=is_right, named=size <= MOST_NAMED
                    )
                )
    return svg(title, description, (WIDTH, top + cell * size + 8), parts)


def boundary_map(
    title: str,
    description: str,
    boundary: dict[str, Any],
    *,
    task: str,
    labels: Sequence[Any],
    positive: Any = None,
) -> Html:
    """What a model of two columns says at each place of their plane, with the rows as points.

    `value[i][j]` belongs to `y_grid[i]` and `x_grid[j]`. Two classes: the probability of the `positive` one
    (the second, where None is given), which is called from `border` on; `distance`, where there is one, is a
    machine's signed distance from its own border, whose margin stands at -1 and 1. Several classes: the class
    code. Regression: the predicted number.
    """
    xs, ys, grid = boundary["x_grid"], boundary["y_grid"], boundary["value"]
    known = [value for row in grid for value in row if is_number(value)]
    bottom = 400 - 42
    y = Scale(min(ys), max(ys), bottom, TOP)
    x = Scale(min(xs), max(xs), left_margin(name for _, name in y.ticks()), WIDTH - 12)
    if task == "multiclass":
        shades = [
            [f"c{int(value) % 8} fill shade4" if is_number(value) else "" for value in row] for row in grid
        ]
        contours: list[list[Point | None]] = []
    elif task == "binary":
        border, code = border_of(boundary), _codes(labels).get(str(positive), 1)
        shades = [[_two_sided(value, border, code) for value in row] for row in grid]
        contours = [_contour(grid, xs, ys, border, x, y)]
        contours += [_contour(boundary["distance"], xs, ys, level, x, y) for level in margin_levels(boundary)]
    else:
        low, high = (min(known), max(known)) if known else (0.0, 1.0)
        span = (high - low) or 1.0
        shades = [
            [f"c0 fill shade{_level((value - low) / span)}" if is_number(value) else "" for value in row]
            for row in grid
        ]
        contours = []
    parts: list[Html] = [_cells(shades, xs, ys, x, y)]
    for place, contour in enumerate(contours):
        parts.append(path(contour, class_="guide" if place else "border"))
    names = [str(boundary.get(key) or "") for key in ("x", "y")]
    parts.append(axes(x, y, x_label=names[0], y_label=names[1], has_grid=False))
    points = boundary.get("points") or {}
    marks = (
        _marks(points, x, y, labels)
        if task in ("binary", "multiclass")
        else _valued_marks(points, x, y, known)
    )
    return svg(title, description, (WIDTH, 400), parts, marks)


def border_of(boundary: dict[str, Any]) -> float:
    """The probability from which on the positive class is called."""
    border = boundary.get("border")
    return float(border) if is_number(border) and 0 < border < 1 else 0.5


def margin_levels(boundary: dict[str, Any]) -> list[float]:
    """Those ends of a machine's margin, -1 and 1, that cross the plane."""
    distances = [value for value, _ in _judged(boundary)]
    return [level for level in (-1.0, 1.0) if distances and min(distances) < level <= max(distances)]


def disagreement(boundary: dict[str, Any]) -> float:
    """Share of the plane where the side of a machine's own border is not the side that the probability calls."""
    border, places = border_of(boundary), _judged(boundary)
    differs = sum((distance >= 0) != (value >= border) for distance, value in places)
    return differs / len(places) if places else 0.0


def value_key(boundary: dict[str, Any]) -> Html | None:
    """The shades of a map of numbers, from its lowest to its highest."""
    known = [value for row in boundary["value"] for value in row if is_number(value)]
    if not known:
        return None
    shades = [
        tag("rect", x=18 * level, width=18, height=10, class_=f"c0 fill shade{level}")
        for level in range(LEVELS)
    ]
    drawn = tag("svg", tag("g", shades, class_="cells"), width=18 * LEVELS, height=10, aria_hidden="true")
    return tag("ul", tag("li", number(min(known)), " ", drawn, " ", number(max(known))), class_="legend")


def _judged(boundary: dict[str, Any]) -> list[tuple[float, float]]:
    """The distance and the value of every place of the plane; none where the distances do not fit it."""
    distances = boundary.get("distance")
    if not is_plane(boundary | {"value": distances}):
        return []
    return [
        (distance, value)
        for ours, theirs in zip(distances or [], boundary["value"], strict=True)
        for distance, value in zip(ours, theirs, strict=True)
        if is_number(distance) and is_number(value)
    ]


def is_plane(boundary: dict[str, Any]) -> bool:
    """Whether there are two growing grids and a row of values for every place of the second."""
    xs, ys, grid = (boundary.get(key) for key in ("x_grid", "y_grid", "value"))
    if not all(isinstance(one, list) for one in (xs, ys, grid)) or not isinstance(grid, list):
        return False
    are_growing = all(
        len(axis) > 1 and len(finite(axis)) == len(axis) and all(a < b for a, b in pairwise(axis))
        for axis in (xs or [], ys or [])
    )
    rows = [row for row in grid if isinstance(row, list) and len(row) == len(xs or [])]
    return are_growing and len(rows) == len(grid) == len(ys or [])


def marker(at: Point, kind: int, **attributes: Any) -> Html:
    """A point whose shape, not only its colour, says its class: circle, square, triangle, diamond."""
    r = 3.6
    if kind % 4 == 0:
        return tag("circle", cx=at.x, cy=at.y, r=r, **attributes)
    shapes = {
        1: f"M{at.x - r:.1f} {at.y - r:.1f}h{2 * r}v{2 * r}h{-2 * r}z",
        2: f"M{at.x:.1f} {at.y - r - 1:.1f}l{r + 1} {2 * r + 1}h{-2 * r - 2}z",
        3: f"M{at.x:.1f} {at.y - r - 1:.1f}l{r + 1} {r + 1}l{-r - 1} {r + 1}l{-r - 1} {-r - 1}z",
    }
    return tag("path", d=shapes[kind % 4], **attributes)


def _class_names(names: Sequence[str], room: float, top: float, cell: float) -> list[Html]:
    parts: list[Html] = []
    fits = all(width(name) * FONT <= cell for name in names)
    for index, name in enumerate(names):
        middle = (index + 0.5) * cell
        parts.append(
            words(
                shorten(name, (room - 10) / FONT),
                room - 6,
                top + middle + 4,
                anchor="end",
                class_="row-name",
                tip=name,
            )
        )
        across = shorten(name, max(cell / FONT, 1.3)) if fits or len(names) <= 3 else str(index + 1)
        parts.append(words(across, room + middle, top - 8, anchor="middle", class_="row-name", tip=name))
    return parts


def _cell(
    at: Point, size: float, amount: Any, share: float, tip: str, *, is_right: bool, named: bool
) -> Html:
    class_ = "c0" if is_right else "c1"
    gap = 1 if size > 12 else 0
    parts = [
        tag(
            "rect",
            x=at.x + gap,
            y=at.y + gap,
            width=size - 2 * gap,
            height=size - 2 * gap,
            class_=f"{class_} fill",
            fill_opacity=max(0.9 * math.sqrt(share), 0.04),
        )
    ]
    if named:
        dark = " on-colour" if 0.9 * math.sqrt(share) > 0.6 else ""
        middle = at.x + size / 2
        shift = -2 if size >= 44 else 4
        parts.append(
            words(number(amount), middle, at.y + size / 2 + shift, anchor="middle", class_=f"cell{dark}")
        )
        if size >= 44:
            parts.append(
                words(
                    percent(share, 0 if size < 70 else 1),
                    middle,
                    at.y + size / 2 + 14,
                    anchor="middle",
                    class_=f"cell small{dark}",
                )
            )
    return tag("g", hover(tip), parts)


def _two_sided(value: Any, border: float, code: int) -> str:
    """The class that is called, the darker the farther the probability is from the border."""
    if not is_number(value):
        return ""
    is_called = value >= border
    lean = (value - border) / (1 - border) if is_called else (border - value) / border
    return f"c{(code if is_called else 1 - code) % 8} fill shade{_level(lean)}"


def _level(share: float) -> int:
    return int(min(max(share, 0.0) * LEVELS, LEVELS - 1))


def _cells(shades: list[list[str]], xs: Sequence[float], ys: Sequence[float], x: Scale, y: Scale) -> Html:
    """One path for each shade; neighbours in a row that share it are drawn as one rectangle."""
    x_edges, y_edges = _edges(xs, x), _edges(ys, y)
    pieces: dict[str, list[str]] = {}
    for row, line_of in enumerate(shades):
        top, bottom = sorted((y_edges[row], y_edges[row + 1]))
        start = 0
        for column in range(1, len(line_of) + 1):
            if column == len(line_of) or line_of[column] != line_of[start]:
                left, right = x_edges[start], x_edges[column]
                pieces.setdefault(line_of[start], []).append(
                    f"M{left:.1f} {top:.1f}H{right:.1f}V{bottom:.1f}H{left:.1f}z"
                )
                start = column
    drawn = [tag("path", d="".join(parts), class_=shade) for shade, parts in pieces.items() if shade]
    return tag("g", drawn, class_="cells")


def _edges(grid: Sequence[float], to: Scale) -> list[float]:
    middles = [(a + b) / 2 for a, b in pairwise(grid)]
    return [to(value) for value in [grid[0], *middles, grid[-1]]]


def _contour(
    grid: Sequence[Sequence[Any]], xs: Sequence[float], ys: Sequence[float], level: float, x: Scale, y: Scale
) -> list[Point | None]:
    """Where the values cross `level`: a short line or two in each square of the grid (marching squares)."""
    result: list[Point | None] = []
    for i in range(len(ys) - 1):
        for j in range(len(xs) - 1):
            corners = [(i, j), (i, j + 1), (i + 1, j + 1), (i + 1, j)]
            values = [grid[a][b] for a, b in corners]
            if not all(is_number(value) for value in values):
                continue
            crossings: list[Point] = []
            for side in range(4):
                (a, b), (c, d) = corners[side], corners[(side + 1) % 4]
                first, second = values[side] - level, values[(side + 1) % 4] - level
                if (first < 0) != (second < 0):
                    share = first / (first - second)
                    crossings.append(
                        Point(x(xs[b] + share * (xs[d] - xs[b])), y(ys[a] + share * (ys[c] - ys[a])))
                    )
            for start, end in zip(crossings[::2], crossings[1::2], strict=False):
                result += [start, end, None]
    return result


def _marks(points: dict[str, Any], x: Scale, y: Scale, labels: Sequence[Any]) -> Html | None:
    xs, ys, names = (points.get(key) or [] for key in ("x", "y", "label"))
    codes = _codes(labels)
    rows = [
        (a, b, codes.get(str(c), 0))
        for a, b, c in zip(xs, ys, names, strict=False)
        if is_number(a) and is_number(b)
    ]
    drawn = [
        marker(Point(x(a), y(b)), code, class_=f"c{code % 8} fill point")
        for a, b, code in sample(rows, MOST_POINTS)
    ]
    return tag("g", drawn) if drawn else None


def _valued_marks(points: dict[str, Any], x: Scale, y: Scale, known: Sequence[float]) -> Html | None:
    """Rows whose colour is their observed value, on the map's own shades."""
    xs, ys, values = (points.get(key) or [] for key in ("x", "y", "label"))
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    span = (high - low) or 1.0
    drawn: list[Html] = []
    rows = [row for row in zip(xs, ys, values, strict=False) if is_number(row[0]) and is_number(row[1])]
    for a, b, value in sample(rows, MOST_POINTS):
        at = Point(x(a), y(b))
        drawn.append(marker(at, 0, class_="point-back"))
        if is_number(value):
            drawn.append(marker(at, 0, class_=f"c0 fill shade{_level((value - low) / span)}"))
    return tag("g", drawn) if drawn else None


def _codes(labels: Sequence[Any]) -> dict[str, int]:
    return {str(name): code for code, name in enumerate(labels)}
