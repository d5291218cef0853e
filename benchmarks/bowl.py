"""Every optimizer on an ill-conditioned bowl: one table, one chart of four panels.

    python benchmarks/bowl.py            prints the table and writes docs/images/bowl.svg

The bowl is (w1^2 + 100 w2^2) / 2 from the start (1, 1), in float64, with danlu's own optimizer parts. The numbers that
docs/optimizers.md rests on are tests in tests/updates/test_optimizers.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from danlu.core.files import write_atomic
from danlu.recipe import catalogue
from danlu.report.markup import Html, tag
from danlu.report.svg import Point, Scale, axes, left_margin, path, place, scale, svg, thin, words

CURVATURE = torch.tensor([1.0, 100.0], dtype=torch.float64)
ENOUGH = 1e-3  # loss at which a way has arrived
CHART = Path(__file__).resolve().parents[1] / "docs" / "images" / "bowl.svg"
WIDTH, HEIGHT, GAP = 460, 330, 20
STYLE = """<style>
svg { background: #fff } text { font: 12px system-ui, sans-serif; fill: #333 }
.head { font-weight: 600; font-size: 13px }
path, line { fill: none; stroke: #ccc } .axis { stroke: #888 } .contour { stroke: #e4e4e4 }
.c0 { stroke: #0072b2 } .c1 { stroke: #d55e00 } .c2 { stroke: #009e73 } .c3 { stroke: #777 }
path.c0, path.c1, path.c2, path.c3 { stroke-width: 1.8 } path.c3 { stroke-dasharray: 4 3 }
text.c0 { fill: #0072b2; stroke: none } text.c1 { fill: #d55e00; stroke: none }
text.c2 { fill: #007a58; stroke: none } text.c3 { fill: #666; stroke: none }
</style>"""
# For plain descent the best constant rate, 2 / (1 + 100); for the others the best of 1, 2, 5 times powers of ten at
# which they do not leave the bowl first.
RATES = {
    "sgd": 2 / 101,
    "momentum": 0.005,
    "nesterov": 0.005,
    "adagrad": 0.5,
    "adadelta": 0.2,
    "rmsprop": 0.005,
    "adam": 0.1,
    "adamw": 0.1,
}

Gradient = Callable[[torch.Tensor, int], torch.Tensor]


@dataclass(frozen=True)
class Line:
    """One line of a panel."""

    name: str
    xs: Sequence[float]
    ys: Sequence[float]
    class_: str


def slope_of_bowl(weights: torch.Tensor, step: int) -> torch.Tensor:
    """Gradient of the bowl."""
    return CURVATURE * weights


def descend(
    name: str,
    rate: float,
    num_steps: int,
    *,
    gradient: Gradient = slope_of_bowl,
    start: Sequence[float] = (1.0, 1.0),
) -> torch.Tensor:
    """(num_steps + 1, d) weights on the way down, with the part's default settings."""
    cls: Any = catalogue.load(catalogue.lookup("optimizer", name))
    weights = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optimizer = cls(cls.__part__.settings()).build([{"params": [weights]}], rate=rate)
    places = [weights.detach().clone()]
    for step in range(num_steps):
        weights.grad = gradient(weights.detach(), step)
        optimizer.step()
        places.append(weights.detach().clone())
    return torch.stack(places)


def losses(places: torch.Tensor) -> torch.Tensor:
    """Height of the bowl at each place."""
    return (CURVATURE * places**2).sum(dim=1) / 2


def steps_needed(places: torch.Tensor) -> int | None:
    """The first step from which on the loss stays below `ENOUGH`, or None."""
    above = (losses(places) > ENOUGH).nonzero()
    last = int(above[-1]) if len(above) else -1
    return last + 1 if last + 1 < len(places) else None


def panel(
    title: str,
    lines: Sequence[Line],
    *,
    x: Scale,
    y: Scale,
    x_label: str,
    y_label: str,
    behind: Sequence[Html] = (),
) -> Html:
    """Lines with their names above them, in their colours."""
    parts: list[Html] = [axes(x, y, x_label=x_label, y_label=y_label), *behind]
    parts += [path(thin(place(line.xs, line.ys, x, y), 0.7), class_=line.class_) for line in reversed(lines)]
    at = x.start
    for line in lines:
        parts.append(words(line.name, at, 34, class_=line.class_))
        at += 7.6 * len(line.name) + 18
    return tag("g", words(title, 2, 16, class_="head"), parts)


def scales(lines: Sequence[Line], *, log: bool = False) -> tuple[Scale, Scale]:
    """Axes that hold the lines."""
    y = scale([value for line in lines for value in line.ys], HEIGHT - 44, 66, log=log)
    left = left_margin(name for _, name in y.ticks())
    return scale([value for line in lines for value in line.xs], left, WIDTH - 12, margin=0.0), y


def paths_on_the_bowl() -> Html:
    """Plain descent, momentum and Nesterov's from above, over lines of equal height."""
    x, y = Scale(-0.5, 1.1, 40, WIDTH - 12), Scale(-1.1, 1.1, HEIGHT - 44, 66)
    turns = [2 * math.pi * turn / 100 for turn in range(101)]
    contours = [
        path(
            [
                Point(x(a), y(b)) if x.holds(a) and y.holds(b) else None
                for a, b in ((radius * math.cos(t), radius / 10 * math.sin(t)) for t in turns)
            ],
            class_="contour",
        )
        for radius in (0.5, 1, 2, 4, 8)
    ]
    lines = []
    for index, name in enumerate(("sgd", "momentum", "nesterov")):
        places = descend(name, 0.005, 150)
        lines.append(Line(name, places[:, 0].tolist(), places[:, 1].tolist(), f"c{index}"))
    return panel(
        "Paths at the rate 0.005", lines, x=x, y=y, x_label="w1 (flat)", y_label="w2 (steep)", behind=contours
    )


def losses_by_step() -> Html:
    """The same three, at rates that suit them."""
    lines = []
    for index, name in enumerate(("sgd", "momentum", "nesterov")):
        values = losses(descend(name, RATES[name], 320)).clamp(min=1e-8).tolist()
        lines.append(Line(name, range(321), values, f"c{index}"))
    x, y = scales(lines, log=True)
    lines.append(Line("arrived", [0, 320], [ENOUGH, ENOUGH], "c3"))
    return panel("Loss at the best rate of each", lines, x=x, y=y, x_label="step", y_label="loss")


def sizes_of_steps() -> Html:
    """Adagrad and Adadelta on a constant slope: one dies out, the other does not."""
    lines = []
    for index, (name, rate) in enumerate((("adagrad", 0.1), ("adadelta", 1.0))):
        places = descend(name, rate, 1000, gradient=lambda w, _: torch.ones_like(w), start=(0.0,))
        lines.append(Line(name, range(1, 1001), places.diff(dim=0).abs()[:, 0].tolist(), f"c{index}"))
    x, y = scales(lines, log=True)
    return panel(
        "Size of a step on a slope of 1: the effective rate",
        lines,
        x=x,
        y=y,
        x_label="step",
        y_label="step size",
    )


def a_moving_loss() -> Html:
    """RMSprop and Adagrad after a minimum that swings."""
    num_steps = 1500
    goal = [math.sin(2 * math.pi * step / 500) for step in range(num_steps)]
    lines = []
    for index, name in enumerate(("rmsprop", "adagrad")):
        places = descend(name, 0.01, num_steps, gradient=lambda w, step: w - goal[step], start=(0.0,))
        lines.append(Line(name, range(num_steps), places[1:, 0].tolist(), f"c{index}"))
    lines.append(Line("minimum", range(num_steps), goal, "c3"))
    x, y = scales(lines)
    return panel("A minimum that moves, at the rate 0.01", lines, x=x, y=y, x_label="step", y_label="weight")


def main() -> None:
    """Print the table and write the chart."""
    print("| optimizer | rate | steps to a loss of 0.001 | furthest past the minimum along w2 |")
    print("|---|---|---|---|")
    for name, rate in RATES.items():
        places = descend(name, rate, 3000)
        needed = steps_needed(places)
        beyond = max(0.0, float(-places[:, 1].min()))
        print(f"| {name} | {rate:.3g} | {'more than 3000' if needed is None else needed} | {beyond:.2f} |")
    panels = [paths_on_the_bowl(), losses_by_step(), sizes_of_steps(), a_moving_loss()]
    placed = [
        tag("g", one, transform=f"translate({(WIDTH + GAP) * (place % 2)} {(HEIGHT + GAP) * (place // 2)})")
        for place, one in enumerate(panels)
    ]
    drawing = svg(
        "Optimizers on a bowl",
        "Four panels: paths on an ill-conditioned bowl, loss by step, sizes of steps on a constant slope, a minimum "
        "that moves.",
        (2 * WIDTH + GAP, 2 * HEIGHT + GAP),
        placed,
    )
    opening, rest = drawing.split(">", 1)
    write_atomic(CHART, f'{opening} xmlns="http://www.w3.org/2000/svg">{STYLE}{rest}\n')


if __name__ == "__main__":
    main()
