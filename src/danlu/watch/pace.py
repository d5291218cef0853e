"""What a fit took, for the run's record: steps, epochs, rate of learning, seconds, rows a second, signals, cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from danlu.core.errors import RecipeError
from danlu.core.ideas import Event, Position

MOST_POINTS = 500  # of a curve in the record, however long the fit was


def cost(seconds: float, *, num_devices: int = 1, price_per_hour: float | None = None) -> dict[str, Any]:
    """Device-hours, and what they cost at the user's price for an hour of one device (None: no price, no cost).

    >>> cost(2 * 3600, num_devices=4, price_per_hour=2.5)
    {'num_devices': 4, 'device_hours': 8.0, 'price_per_hour': 2.5, 'cost': 20.0}
    """
    if price_per_hour is not None and not (0 <= price_per_hour < math.inf):
        raise RecipeError(f"The price of a device's hour is a number from 0 on, got {price_per_hour!r}.")
    hours = seconds * num_devices / 3600
    return {
        "num_devices": num_devices,
        "device_hours": hours,
        "price_per_hour": price_per_hour,
        "cost": None if price_per_hour is None else hours * price_per_hour,
    }


class Pace:
    """Watches one fit and says how it went; `rows_per_epoch` is how many rows an epoch of it has.

    The loop shows a step ten times a second, so the learning rate is known at those steps, and where an epoch ended
    between two of them its second is interpolated between theirs; at validations both are exact. A fit that was
    resumed counts the seconds, steps and epochs before it as well; of the rest it knows what it saw.
    """

    def __init__(self, *, rows_per_epoch: int | None = None) -> None:
        self._rows_per_epoch = rows_per_epoch
        self._at, self._seconds = Position(), 0.0
        self._start, self._start_seconds = Position(), 0.0
        self._resumed_at: list[int] = []
        self._reason: str | None = None
        self._rate = Curve()
        self._edges = Curve()
        self._signals: dict[str, Summary] = {}

    def __call__(self, event: Event) -> None:
        """Take in an event."""
        if event.kind == "start":
            self._start, self._start_seconds = event.position, event.seconds
            if event.position.step > 0:
                self._resumed_at.append(event.position.step)
        elif event.position.epoch > self._at.epoch:
            self._cross(event)
        self._at, self._seconds = event.position, event.seconds
        if event.kind == "end":
            self._reason = event.reason
        for name, value in event.signals.items():
            if name == "learning_rate":
                self._rate.add(event.position.step, value)
            else:
                self._signals.setdefault(name, Summary()).add(value)

    def as_dict(self) -> dict[str, Any]:
        """The facts as plain JSON values, bounded in size.

        `signals` is {signal: {layer: {first, last, least, most, mean, seen, not_finite}}}, where a signal of the whole
        model has the layer "". `epoch_ends` says when each epoch ended, in seconds since the start; it and
        `learning_rate` are thinned where they are long.
        """
        epochs, steps = self._progress(self._at), self._at.step - self._start.step
        seconds = self._seconds - self._start_seconds
        epochs_here = epochs - self._progress(self._start)
        rows = None if self._rows_per_epoch is None else round(epochs_here * self._rows_per_epoch)
        return {
            "steps": self._at.step,
            "epochs": self._at.epoch,
            "rows_into_next_epoch": self._at.row,
            "seconds": self._seconds,
            "stop_reason": self._reason,
            "resumed_at_steps": self._resumed_at,
            "steps_per_second": steps / seconds if steps and seconds > 0 else None,
            "rows_per_second": rows / seconds if rows and seconds > 0 else None,
            "seconds_per_epoch": seconds / epochs_here if epochs_here > 0 else None,
            "epoch_ends": self._edges.as_dict("epoch", "seconds"),
            "learning_rate": self._rate.as_dict("step", "value"),
            "signals": self._by_layer(),
        }

    def _cross(self, event: Event) -> None:
        """One or more epochs have ended since the last event: when."""
        before, after = self._progress(self._at), self._progress(event.position)
        for epoch in range(self._at.epoch + 1, event.position.epoch + 1):
            share = (epoch - before) / (after - before)
            self._edges.add(epoch, self._seconds + share * (event.seconds - self._seconds))

    def _progress(self, position: Position) -> float:
        """Epochs as a fraction; whole ones where it is not known how many rows an epoch has."""
        within = position.row / self._rows_per_epoch if self._rows_per_epoch else 0.0
        return position.epoch + min(within, 1.0)

    def _by_layer(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for name, summary in self._signals.items():
            signal, _, layer = name.partition("/")
            found.setdefault(signal, {})[layer] = summary.as_dict()
        return found


class Curve:
    """Points of a curve, about `MOST_POINTS` at most: flat stretches keep their ends, long curves every n-th point."""

    def __init__(self) -> None:
        self._points: list[tuple[int, float]] = []
        self._last: tuple[int, float] | None = None
        self._every, self._count = 1, 0

    def add(self, x: int, y: float) -> None:
        """Take in the next point."""
        self._last = (x, y)
        if len(self._points) > 1 and self._points[-1][1] == self._points[-2][1] == y:
            self._points[-1] = (x, y)
            return
        if self._count % self._every == 0:
            if len(self._points) >= MOST_POINTS:
                self._points, self._every = self._points[::2], self._every * 2
            self._points.append((x, y))
        self._count += 1

    def as_dict(self, x: str, y: str) -> dict[str, list[Any]]:
        """The points under these names, the last one always among them."""
        last = [self._last] if self._last is not None and self._last not in self._points[-1:] else []
        points = self._points + last
        return {x: [point[0] for point in points], y: [point[1] for point in points]}


@dataclass
class Summary:
    """First, last, least, most and mean of a signal."""

    first: float | None = None
    last: float | None = None
    least: float = math.inf
    most: float = -math.inf
    total: float = 0.0
    seen: int = 0
    not_finite: int = 0

    def add(self, value: float) -> None:
        """Take in the next value."""
        self.seen += 1
        if not math.isfinite(value):
            self.not_finite += 1
            return
        self.first = value if self.first is None else self.first
        self.last, self.total = value, self.total + value
        self.least, self.most = min(self.least, value), max(self.most, value)

    def as_dict(self) -> dict[str, float | int | None]:
        """The summary as plain JSON values; of the finite values, where there are any."""
        finite = self.seen - self.not_finite
        return {
            "first": self.first,
            "last": self.last,
            "least": self.least if finite else None,
            "most": self.most if finite else None,
            "mean": self.total / finite if finite else None,
            "seen": self.seen,
            "not_finite": self.not_finite,
        }
