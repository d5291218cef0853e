"""One round of an estimator that fits itself: here where it is short or can be stopped, else in a child."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from danlu.core.errors import OutOfTime
from danlu.core.ideas import Batch, Context, Objective, State, Step
from danlu.core.seeds import generator
from danlu.core.tasks import Task
from danlu.models.classes import stratified_folds
from danlu.updates.child import fit_in_child

SMALL = 50_000  # values of x up to which a fit is not timed first, if the rows are few as well:
FEW_ROWS = 2_000  # a kernel machine takes half a minute for 25,000 rows of two columns
SHORT = 1.0  # seconds for which a person who presses Ctrl-C, or a deadline, can wait
TELLING = 0.2  # seconds of a timed fit from which its duration says something
FIRST_ROWS = 128


class EstimatorUpdate:
    """Calls `fit_round` on the whole table; the model's `interruptible` says whether that can be cut short.

    A fit inside a native library cannot. It is timed on samples of the rows first. One that takes longer than
    a second runs in a child process, which is ended at the deadline or at Ctrl-C; one that would not end
    before the deadline is not begun (`OutOfTime`).
    """

    chunk = 1

    def __call__(self, model: Any, objective: Objective, batches: Sequence[Batch], context: Context) -> Step:
        """One round on the one batch that holds all rows."""
        (batch,) = batches
        num_rows, num_features = batch["x"].shape
        is_small = num_rows <= FEW_ROWS and num_rows * num_features <= SMALL
        if is_small or getattr(model, "interruptible", True):
            return model.fit_round(batch, objective.task, context)
        seconds = expected_seconds(model, batch, objective.task, context)
        if seconds <= min(SHORT, context.deadline.seconds_left):
            return model.fit_round(batch, objective.task, context)
        if seconds > context.deadline.seconds_left:
            raise OutOfTime(
                f"{type(model).__name__} would take about {seconds:.0f} s on {len(batch['y']):,} rows, and "
                f"{max(context.deadline.seconds_left, 0):.0f} s are left. "
                "Give a larger budget, or choose another model."
            )
        return fit_in_child(model, batch, objective.task, context)

    @contextmanager
    def evaluating(self, model: Any) -> Iterator[None]:
        """An estimator can be scored at any time."""
        yield

    def state(self) -> State:
        """Nothing beside the model's own state."""
        return {}

    def load(self, state: State) -> None:
        """Nothing to take over."""


def expected_seconds(model: Any, batch: Batch, task: Task, context: Context) -> float:
    """How long the fit will take, by a power of the rows through the times of two samples."""
    num_rows = len(batch["y"])
    size = max(min(FIRST_ROWS, num_rows // 4), 1)
    _seconds(model, batch, task, context, size)  # the first call loads the library
    half = _seconds(model, batch, task, context, size)
    while True:
        size *= 2
        full = _seconds(model, batch, task, context, size)
        if full >= TELLING or 4 * size > num_rows:
            break
        half = full
    power = min(
        max(math.log2(full / half), 1.0), 2.2
    )  # SVMs of 5,000 to 20,000 rows were measured at 1.8 to 2.2
    return full * (num_rows / size) ** power


def _seconds(model: Any, batch: Batch, task: Task, context: Context, num_rows: int) -> float:
    """Seconds that a new model of the same kind takes on about `num_rows` rows, with every class's share."""
    rng = generator(context.seed, "sample for timing", num_rows)
    y = batch["y"] if task.is_classification else np.zeros(len(batch["y"]), dtype=np.int64)
    rows = np.flatnonzero(stratified_folds(y, max(len(y) // num_rows, 1), rng) == 0)
    sample = {name: value[rows] for name, value in batch.items() if value is not None}
    copy = type(model)(model.settings, task, model.num_features, seed=model.seed)
    started = time.perf_counter()
    copy.fit_round(sample, task, Context(seed=context.seed, num_threads=context.num_threads))
    return max(time.perf_counter() - started, 1e-6)
