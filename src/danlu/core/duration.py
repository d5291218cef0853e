"""How long to train and how long a command may take: `3 epochs`, `2000 steps`, `10 minutes`, `60s`."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Literal

from danlu.core.errors import RecipeError

Unit = Literal["epochs", "steps", "seconds"]

_UNITS: dict[str, tuple[Unit, float]] = {
    "epoch": ("epochs", 1), "epochs": ("epochs", 1),
    "step": ("steps", 1), "steps": ("steps", 1),
    "s": ("seconds", 1), "sec": ("seconds", 1), "second": ("seconds", 1), "seconds": ("seconds", 1),
    "m": ("seconds", 60), "min": ("seconds", 60), "minute": ("seconds", 60), "minutes": ("seconds", 60),
    "h": ("seconds", 3600), "hour": ("seconds", 3600), "hours": ("seconds", 3600),
}  # fmt: skip


@dataclass(frozen=True)
class Duration:
    """A length of training in one of three units."""

    amount: float
    unit: Unit

    def __str__(self) -> str:
        return f"{self.amount:.15g} {self.unit if self.amount != 1 else self.unit[:-1]}"


def parse_duration(text: str | Duration) -> Duration:
    """Read `3 epochs`, `2000 steps`, `10 minutes`, `60s`, `1.5h`."""
    if isinstance(text, Duration):
        return text
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+(?:e[0-9]+)?)\s*([a-z]+)\s*", str(text).lower())
    if match is None or match[2] not in _UNITS:
        raise RecipeError(
            f"Cannot read {text!r} as a duration. Write a number and a unit, "
            "like '60 epochs', '2000 steps', '90s' or '10 minutes'."
        )
    unit, factor = _UNITS[match[2]]
    amount = float(match[1]) * factor
    if amount <= 0:
        raise RecipeError(f"A duration must be longer than zero, got {text!r}.")
    if unit != "seconds" and amount != int(amount):
        raise RecipeError(f"{unit} are counted in whole numbers, got {text!r}.")
    return Duration(amount, unit)


def parse_seconds(text: str | float | Duration) -> float:
    """Read a length of wall time; a bare number is seconds."""
    if isinstance(text, (int, float)):
        text = f"{text:.15g}s"
    elif isinstance(text, str) and re.fullmatch(r"\s*[0-9]*\.?[0-9]+\s*", text):
        text = f"{text}s"
    try:
        duration = parse_duration(text)
    except RecipeError:
        raise RecipeError(
            f"Cannot read {text!r} as a budget. Write wall time, like '60s' or '10 minutes'."
        ) from None
    if duration.unit != "seconds":
        raise RecipeError(f"A budget is wall time, like '60s' or '10 minutes', got '{duration}'.")
    return duration.amount


@dataclass(frozen=True)
class Deadline:
    """A moment on the monotonic clock; `None` never comes."""

    at: float | None = None

    @classmethod
    def after(cls, seconds: float | None, *, since: float | None = None) -> Deadline:
        """The moment `seconds` after `since` (default: now)."""
        return cls(None if seconds is None else (time.monotonic() if since is None else since) + seconds)

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline: infinite without one, negative when it has passed."""
        return float("inf") if self.at is None else self.at - time.monotonic()

    @property
    def has_passed(self) -> bool:
        """Whether the moment has come."""
        return self.seconds_left <= 0

    def earlier(self, other: Deadline) -> Deadline:
        """The one of the two that comes first."""
        return self if self.seconds_left <= other.seconds_left else other
