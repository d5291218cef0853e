"""danlu's own fits of the benchmark's jobs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from engine_tasks import Job, Lap, Stopwatch, scores_of

from danlu.core.ideas import Event, Item, Position, State, Watcher
from danlu.data.batches import ShuffledRows
from danlu.run.module import fit_module
from danlu.watch.pace import Pace
from danlu.watch.progress import Progress
from danlu.watch.store import RunStore

OBJECTIVES = {"classes": "cross_entropy", "number": "squared_error"}


def danlu(job: Job) -> Lap:
    """As it comes: it chooses how to run the step, where the fit is long enough for that to pay."""
    return descend(job, engine={})


def compiled(job: Job) -> Lap:
    """Compiled by hand, however short the fit is: what a long one ends up with; compiling is before the clock."""
    return descend(job, engine={"execution": "compiled"})


def unwatched(job: Job) -> Lap:
    """Nobody looks on."""
    return descend(job, engine={"signals": 0.0})


def watched(job: Job) -> Lap:
    """Signals as they come, and the watchers of `danlu.train`: run store, pace, progress."""
    with tempfile.TemporaryDirectory() as folder, RunStore(Path(folder) / "events.sqlite") as store:
        progress = Progress(enabled=True).watcher("model")
        return descend(job, engine={}, watchers=(store.watcher("model"), Pace(), progress))


def descend(job: Job, *, engine: dict[str, Any], watchers: Sequence[Watcher] = ()) -> Lap:
    """`fit_module()`."""
    clock = Stopwatch(job)
    torch.manual_seed(job.seed)
    model = job.build()
    rows = {"x": job.x.to(job.device), "y": job.y.to(job.device)}
    fit_module(
        model,
        Timed(ShuffledRows(rows, batch_size=job.batch_size, seed=job.seed), job.warm, clock),
        OBJECTIVES[job.kind],
        training={
            "duration": f"{job.warm + job.steps} steps",
            "optimizer": job.optimizer,
            "learning_rate": job.rate,
            "weight_decay": 0.01 if job.optimizer == "adamw" else 0.0,
            "precision": job.precision,
        },
        engine={"device": job.device, "threads": job.num_threads, **engine},
        seed=job.seed,
        watchers=[*watchers, Ending(clock)],
    )
    return clock.lap(scores_of(model, job))


def least_squares(job: Job) -> Lap:
    """The exact solution, through the same function."""
    clock = Stopwatch(job)
    model = job.build()
    training = {"optimizer": "exact", "batch_size": "all"}
    fit_module(model, (job.x, job.y), "squared_error", training=training, engine={"device": job.device})
    clock.tick()
    return clock.lap(scores_of(model, job))


class Timed:
    """Rows that start the clock when the loop asks for the batch after the last warm one.

    The loop takes the batches of a call at once: where `warm` lies inside a call, the clock starts that much early.
    """

    def __init__(self, rows: ShuffledRows, warm: int, clock: Stopwatch) -> None:
        self._rows, self._warm, self._clock = rows, warm, clock
        self.num_batches = rows.num_batches

    def items(self, start: Position, *, rank: int = 0, ranks: int = 1) -> Iterator[Item]:
        """The same batches."""
        for number, item in enumerate(self._rows.items(start, rank=rank, ranks=ranks)):
            if self._warm and number == self._warm:
                self._clock.start()
            yield item

    def state(self) -> State:
        """The rows' own."""
        return self._rows.state()

    def load(self, state: State) -> None:
        """Take over what `state` gave."""
        self._rows.load(state)


class Ending:
    """Stops the clock when the loop has ended."""

    def __init__(self, clock: Stopwatch) -> None:
        self._clock = clock

    def __call__(self, event: Event) -> None:
        """Look at an event."""
        if event.kind == "end":
            self._clock.stop()
