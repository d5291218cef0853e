"""The learning curve of a fit and early stopping on it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from danlu.core.ideas import Event


@dataclass
class History:
    """Keeps losses and validation scores by step, so that the report can draw them."""

    metric: str
    epochs: list[int] = field(default_factory=list[int])
    steps: list[int] = field(default_factory=list[int])
    training: list[float | None] = field(default_factory=list[float | None])
    validation: list[float] = field(default_factory=list[float])
    seconds: list[float] = field(default_factory=list[float])

    def __call__(self, event: Event) -> None:
        """Record a validation."""
        if event.kind == "validation" and self.metric in event.metrics:
            self.epochs.append(event.position.epoch)
            self.steps.append(event.position.step)
            self.training.append(event.metrics.get(f"train_{self.metric}"))
            self.validation.append(event.metrics[self.metric])
            self.seconds.append(event.seconds)

    def as_curve(self, *, unit: str, rounds: int, best: int, of: int) -> dict[str, Any] | None:
        """The curve as the report draws it; None where nothing was validated.

        An epoch of the loop is `rounds` of `unit`; `of` is how many fits there were, of which this is the first.
        """
        if len(self.validation) < 2:
            return None
        return {
            "step": [epoch * rounds for epoch in self.epochs],
            "train": self.training if any(value is not None for value in self.training) else [],
            "validation": self.validation,
            "unit": unit,
            "metric": self.metric,
            "best": best * rounds,
            "fold": f"first of {of} folds" if of > 1 else None,
        }


@dataclass
class EarlyStopping:
    """Asks to stop after `patience` validations in a row without a better score."""

    metric: str
    patience: int
    greater_is_better: bool
    min_gain: float = 1e-4
    """Least gain that counts, as a share of the first score: separable classes improve a little for ever."""
    best: float | None = None
    least: float = 0.0
    waited: int = 0

    def __call__(self, event: Event) -> str | None:
        """A reason to stop once the score has not got better for too long."""
        score = event.metrics.get(self.metric) if event.kind == "validation" else None
        if score is None:
            return None
        if self.best is None and math.isfinite(score):
            self.best, self.least = score, self.min_gain * abs(score)
            return None
        gain = 0.0 if self.best is None else (score - self.best) * (1 if self.greater_is_better else -1)
        if gain > self.least:
            self.best, self.waited = score, 0
            return None
        self.waited += 1
        return (
            f"no better {self.metric} in {self.patience} validations"
            if self.waited >= self.patience
            else None
        )
