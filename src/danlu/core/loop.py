"""The one training loop. A new method is a new part, never a flag in here."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from danlu.core.duration import Duration
from danlu.core.ideas import Context, Data, Event, Objective, Position, Step, Update, Watcher

REPORT_SECONDS = (
    0.1  # watchers see a step at most this often, so that reading numbers off a device costs nothing
)


@dataclass(frozen=True)
class Outcome:
    """How a fit ended."""

    position: Position
    reason: str
    seconds: float


def fit(
    model: Any,
    data: Data,
    objective: Objective,
    update: Update,
    *,
    context: Context,
    until: Duration,
    validate: Callable[[], Mapping[str, float]] | None = None,
    validate_every: Duration = Duration(1, "epochs"),
    watchers: Sequence[Watcher] = (),
) -> Outcome:
    """Ask `data` for batches and let `update` move `model` until something says stop.

    Stops when `until` is reached, the update is done, the deadline passes, a step is not finite, or a watcher asks
    to. `validate` scores the model on held-out rows; watchers are told of every score and may answer with a reason
    to stop. Stopping happens only between two calls of the update.
    """
    started, reported, reason = time.monotonic(), 0.0, ""
    items = data.items(context.position)
    tell(watchers, Event("start", context.position, 0.0))
    while not reason:
        before = context.position
        chunk = list(islice(items, update.chunk))
        step = update(model, objective, [item.batch for item in chunk], context)
        context.position = chunk[-1].after
        seconds = time.monotonic() - started
        reason = why_stop(step, context, until, seconds)
        if reason or seconds - reported >= REPORT_SECONDS:
            reported = seconds
            tell(
                watchers,
                Event(
                    "step", context.position, seconds, losses=host(step.losses), signals=host(step.signals)
                ),
            )
        if validate is not None and (reason or crossed(before, context.position, validate_every)):
            with update.evaluating(model):
                metrics = dict(validate())
            asked = tell(watchers, Event("validation", context.position, seconds, host(step.losses), metrics))
            reason = reason or asked
    seconds = time.monotonic() - started
    tell(watchers, Event("end", context.position, seconds, reason=reason))
    return Outcome(context.position, reason, seconds)


def why_stop(step: Step, context: Context, until: Duration, seconds: float) -> str:
    """The reason to stop after this step, or an empty string."""
    epoch, _, count = context.position
    if not step.signals.get("finite", True):
        return f"the loss is no longer a finite number at step {count}"
    if step.done:
        return "done"
    if {"epochs": epoch, "steps": count, "seconds": seconds}[until.unit] >= until.amount:
        return f"reached {until}"
    return "out of time" if context.deadline.has_passed else ""


def crossed(before: Position, after: Position, every: Duration) -> bool:
    """Whether a multiple of `every` lies between two positions."""
    old, new = (before.epoch, after.epoch) if every.unit == "epochs" else (before.step, after.step)
    return new // every.amount > old // every.amount


def tell(watchers: Sequence[Watcher], event: Event) -> str:
    """Show `event` to every watcher and return the first reason to stop that one of them gives."""
    return next((reason for reason in [watcher(event) for watcher in watchers] if reason), "")


def host(values: Mapping[str, Any]) -> dict[str, float]:
    """The values as plain numbers, read off whatever device they are on."""
    return {name: float(value) for name, value in values.items()}
