"""The one training loop. A new method is a new part, never a flag in here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from danlu.core.duration import Duration
from danlu.core.ideas import Context, Data, Event, Item, Objective, Position, Step, Update, Watcher

REPORT_SECONDS = (
    0.1  # watchers see a step at most this often, so that reading numbers off a device costs nothing
)


@dataclass(frozen=True)
class Outcome:
    """How a fit ended."""

    position: Position
    reason: str
    seconds: float
    fault: str = ""
    """What was no longer a finite number, where that ended the fit."""


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
    save: Callable[[], None] | None = None,
    save_every: Duration = Duration(30, "seconds"),
    watchers: Sequence[Watcher] = (),
) -> Outcome:
    """Ask `data` for batches and let `update` move `model` until something says stop.

    Stops when `until` is reached, the update is done, the deadline passes, a step is not finite, or a watcher asks
    to. `validate` scores the model on held-out rows; watchers are told of every score and may answer with a reason
    to stop. `save` keeps what a later call needs to go on from here: the state of every part, and the position,
    seconds and metrics of `context`. All this happens only between two calls of the update.
    """
    started, reported, reason, fault = time.monotonic() - context.seconds, -REPORT_SECONDS, "", ""
    items = data.items(context.position, rank=context.ranks.rank, ranks=context.ranks.number)
    tell(watchers, Event("start", context.position, context.seconds, until=until))
    while not reason:
        before, seconds_before = context.position, context.seconds
        chunk = next_chunk(items, update.chunk, before, until)
        context.after = chunk[-1].after
        step = update(model, objective, [item.batch for item in chunk], context)
        context.position, context.seconds = context.after, time.monotonic() - started
        seconds, fault = context.seconds, step.fault
        reason = context.ranks.agree(why_stop(step, context, until))
        losses: dict[str, float] = {}
        if reason or step.notable or seconds - reported >= REPORT_SECONDS:
            reported, losses = seconds, host(step.losses)
            tell(watchers, Event("step", context.position, seconds, losses, signals=host(step.signals)))
        if fault:
            break
        if validate is not None and (reason or crossed(before, context.position, validate_every)):
            with update.evaluating(model):
                context.metrics, context.scored_at = dict(validate()), context.position.step
            told = Event(
                "validation", context.position, seconds, losses or host(step.losses), context.metrics
            )
            asked = context.ranks.agree(tell(watchers, told))  # the last scores are told as well
            reason = reason or asked
        if save is not None and not reason and chunk[-1].can_save:
            is_due = crossed(before, context.position, save_every, (seconds_before, seconds))
            if context.ranks.agree("save" if is_due else ""):
                save()
    tell(watchers, Event("end", context.position, context.seconds, reason=reason))
    return Outcome(context.position, reason, context.seconds, fault)


def next_chunk(items: Iterator[Item], size: int, before: Position, until: Duration) -> list[Item]:
    """The next `size` batches, fewer where an epoch or the whole fit ends before."""
    chunk: list[Item] = []
    for item in islice(items, size):
        chunk.append(item)
        if item.after.epoch > before.epoch or is_reached(until, item.after, 0.0):
            break
    return chunk


def why_stop(step: Step, context: Context, until: Duration) -> str:
    """The reason to stop after this step, or an empty string."""
    if step.fault:
        return step.fault
    if step.done:
        return "done"
    if is_reached(until, context.position, context.seconds):
        return f"reached {until}"
    return "out of time" if context.deadline.has_passed else ""


def is_reached(until: Duration, position: Position, seconds: float) -> bool:
    """Whether a fit that stands here has taken as long as it may."""
    return {"epochs": position.epoch, "steps": position.step, "seconds": seconds}[until.unit] >= until.amount


def crossed(
    before: Position, after: Position, every: Duration, seconds: tuple[float, float] = (0.0, 0.0)
) -> bool:
    """Whether a multiple of `every` lies between two positions, or between two moments."""
    old, new = {
        "epochs": (before.epoch, after.epoch),
        "steps": (before.step, after.step),
        "seconds": seconds,
    }[every.unit]
    return new // every.amount > old // every.amount


def tell(watchers: Sequence[Watcher], event: Event) -> str:
    """Show `event` to every watcher and return the first reason to stop that one of them gives."""
    return next((reason for reason in [watcher(event) for watcher in watchers] if reason), "")


def host(values: Mapping[str, Any]) -> dict[str, float]:
    """The values as plain numbers, read off whatever device they are on."""
    return {name: float(value) for name, value in values.items()}
