"""Batch, mini-batch and stochastic gradient descent on the ten US houses: one table, one chart.

    python benchmarks/descent.py            prints the table and writes docs/images/descent.svg

All three minimise the mean squared error of price (on a standard scale) from area and bedrooms (on standard scales)
from the same start with the same step size, through danlu's one loop; they differ in how many rows a step looks at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from danlu.core.duration import Duration
from danlu.core.files import write_atomic
from danlu.core.ideas import Batch, Context, Objective, Step
from danlu.core.loop import fit
from danlu.core.tasks import Task
from danlu.data.batches import ShuffledRows, WholeTable
from danlu.data.builtin import load_builtin
from danlu.models.linear_module import LinearModule
from danlu.objectives.regression import SquaredError
from danlu.report.charts import Series, line_chart
from danlu.updates.gradient import GradientUpdate

EPOCHS, RATE, MINI = 40, 0.02, 4
CHART = Path(__file__).resolve().parents[1] / "docs" / "images" / "descent.svg"
STYLE = """<style>
svg { background: #fff } text { font: 12px system-ui, sans-serif; fill: #333 }
path, line, rect { fill: none; stroke: #bbb } rect { stroke: none }
.c0 { stroke: #0072b2 } .c1 { stroke: #d55e00 } .c2 { stroke: #009e73 } path.c0, path.c1, path.c2 { stroke-width: 2 }
</style>"""


@dataclass
class Descent:
    """One way of taking batches, and what its steps were like."""

    name: str
    rows_per_step: int
    seen: list[float] = field(default_factory=list[float])
    """Loss of the batch before each step."""
    gradients: list[np.ndarray] = field(default_factory=list[np.ndarray])
    whole: list[float] = field(default_factory=list[float])
    """Loss over all rows after each epoch."""


class Watched(GradientUpdate):
    """A gradient update that also notes the batch's loss and gradient."""

    def __init__(self, optimizer: torch.optim.Optimizer, way: Descent) -> None:
        super().__init__(optimizer)
        self.way = way

    def __call__(self, model: Any, objective: Objective, batches: Sequence[Batch], context: Context) -> Step:
        """One step, noted."""
        step = super().__call__(model, objective, batches, context)
        gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        self.way.seen.append(float(sum(step.losses.values())))
        self.way.gradients.append(torch.cat(gradients).numpy().copy())
        return step


def run(way: Descent, batch: dict[str, torch.Tensor]) -> Descent:
    """Descend for `EPOCHS` epochs."""
    objective, num_rows = SquaredError(Task("regression")), len(batch["y"])
    model = LinearModule(objective.task, batch["x"].shape[1], seed=0)
    update = Watched(torch.optim.SGD(model.parameters(), lr=RATE), way)
    all_rows = way.rows_per_step == num_rows
    data = WholeTable(batch) if all_rows else ShuffledRows(batch, batch_size=way.rows_per_step, seed=0)

    def validate() -> dict[str, float]:
        way.whole.append(float(objective.sums(model, batch)["squared_error"]) / num_rows)
        return {"loss": way.whole[-1]}

    until = Duration(EPOCHS, "epochs")
    with torch.no_grad():
        validate()
    fit(model, data, objective, update, context=Context(), until=until, validate=torch.no_grad()(validate))
    return way


def standard(values: np.ndarray) -> np.ndarray:
    """(x - mean) / sd of each column."""
    return (values - values.mean(axis=0)) / values.std(axis=0)


def main() -> None:
    """Print the table and write the chart."""
    frame, _ = load_builtin("danlu/houses")
    x = standard(frame.select("area", "bedrooms").to_numpy().astype(float))
    y = standard(frame["price"].to_numpy().astype(float))
    batch = {"x": torch.as_tensor(x), "y": torch.as_tensor(y)}
    exact = np.linalg.lstsq(np.column_stack([np.ones(len(y)), x]), y, rcond=None)[0]
    least = float(np.mean((np.column_stack([np.ones(len(y)), x]) @ exact - y) ** 2))
    ways = [
        run(Descent("batch", len(y)), batch),
        run(Descent("mini-batch", MINI), batch),
        run(Descent("stochastic", 1), batch),
    ]
    print(f"least possible loss {least:.4f}; {EPOCHS} epochs, step size {RATE}, {len(y)} rows\n")
    print(
        "| descent | rows a step | updates an epoch | loss at the end | variance of the step's loss | of its gradient |"
    )
    print("|---|---|---|---|---|---|")
    for way in ways:
        half = len(way.seen) // 2  # the second half: past the slope, around the minimum
        gradient = float(np.var(np.array(way.gradients[half:]), axis=0).sum())
        updates = math.ceil(len(y) / way.rows_per_step)
        noise = float(np.var(way.seen[half:]))
        cells = (
            way.name,
            way.rows_per_step,
            updates,
            f"{way.whole[-1]:.4f}",
            f"{noise:.2g}",
            f"{gradient:.2g}",
        )
        print(f"| {' | '.join(map(str, cells))} |")
    lines = [Series(way.name, range(EPOCHS + 1), way.whole, f"c{place}") for place, way in enumerate(ways)]
    words = "Mean squared error over all ten rows after each epoch, for three ways of taking batches."
    drawing = line_chart("Loss by epoch", words, lines, x_label="epoch", y_label="loss over all rows")
    opening, rest = drawing.split(">", 1)
    write_atomic(CHART, f'{opening} xmlns="http://www.w3.org/2000/svg">{STYLE}{rest}\n')


if __name__ == "__main__":
    main()
