"""Charts of coloured cells: the confusion matrix, and the decision boundary with its points and margin."""

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
    title: str, description: str, boundary: dict[str, Any], *, task: str, labels: Sequence[Any]
) -> Html:
    """What a model of two columns says at each place of their plane, with the rows as points.

    `value[i][j]` belongs to `y_grid[i]` and `x_grid[j]`. Two classes: the probability of class 1, or, where
    values leave [0, 1] or a margin is asked for, a score whose border is 0 and whose margin is -1 and 1.
    Several classes: the class code. Regression: the predicted number.
    """
    xs, ys, grid = boundary["x_grid"], boundary["y_grid"], boundary["value"]
    known = [value for row in grid for value in row if is_number(value)]
    bottom = 400 - 42
    y = Scale(min(ys), max(ys), bottom, TOP)
    x = Scale(min(xs), max(xs), left_margin(name for _, name in y.ticks()), WIDTH - 12)
    is_score = bool(boundary.get("margin")) or (bool(known) and (min(known) < 0 or max(known) > 1))
    if task == "multiclass":
        shades = [
            [f"c{int(value) % 8} fill shade4" if is_number(value) else "" for value in row] for row in grid
        ]
        contours: list[tuple[float, str]] = []
    elif task == "binary":
        shades = [[_two_sided(value, is_score=is_score) for value in row] for row in grid]
        contours = [(0.0 if is_score else 0.5, "border")]
        contours += [(-1.0, "guide"), (1.0, "guide")] if boundary.get("margin") else []
    else:
        low, high = (min(known), max(known)) if known else (0.0, 1.0)
        span = (high - low) or 1.0
        shades = [
            [f"c0 fill shade{_level((value - low) / span)}" if is_number(value) else "" for value in row]
            for row in grid
        ]
        contours = []
    parts: list[Html] = [_cells(shades, xs, ys, x, y)]
    for level, class_ in contours:
        parts.append(path(_contour(grid, xs, ys, level, x, y), class_=class_))
    parts.append(axes(x, y, x_label=str(boundary.get("x") or ""), y_label=str(boundary.get("y") or "")))
    return svg(title, description, (WIDTH, 400), parts, _marks(boundary.get("points") or {}, x, y, labels))


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


def _two_sided(value: Any, *, is_score: bool) -> str:
    if not is_number(value):
        return ""
    lean = math.tanh(value / 2) if is_score else 2 * value - 1
    return f"c{1 if lean > 0 else 0} fill shade{_level(abs(lean))}"


def _level(share: float) -> int:
    return min(int(share * LEVELS), LEVELS - 1)


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
    codes = {str(name): code for code, name in enumerate(labels)}
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
