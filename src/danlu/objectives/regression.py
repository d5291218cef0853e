"""Losses of a number: squared, half-squared and absolute error, Huber's and the quantile loss.

All are computed from error = score - (target - shift) / scale (scale.py): a network learns targets of about the same
size whatever their unit is, and `predict` returns to the unit. Everything works on arrays of NumPy and of torch.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from danlu.core.errors import RecipeError
from danlu.core.ideas import Batch, State
from danlu.core.parts import Settings, part
from danlu.core.tasks import Task
from danlu.objectives.rows import RowObjective, aligned, over_targets, weighed
from danlu.objectives.scale import (
    TargetScale,
    mean_and_deviation,
    median_and_robust_deviation,
    quantile_and_spread,
)

Self = TypeVar("Self", bound="ScaledObjective")


class ScaledObjective(RowObjective):
    """A loss of the error on the scale (target - shift) / scale; (n, t) targets count with their mean loss.

    With shift 0 and scale 1 the scores are the predictions themselves.
    """

    def __init__(
        self, task: Task, settings: Settings | None = None, *, shift: Any = 0.0, scale: Any = 1.0
    ) -> None:
        super().__init__(task, settings)
        self._scale = TargetScale(shift, scale)

    @classmethod
    def fitted(
        cls: type[Self],
        task: Task,
        y: np.ndarray,
        weight: np.ndarray | None = None,
        settings: Settings | None = None,
        *,
        standardise: bool = True,
    ) -> Self:
        """The objective whose shift and scale suit the training targets, (n,) or (n, t)."""
        plain = cls(task, settings)
        return cls(task, settings, **plain.suiting(y, weight).state()) if standardise else plain

    @abstractmethod
    def error_losses(self, error: Any, weight: Any | None) -> Any:
        """Weight * loss of each error; errors are scores minus standardised targets."""

    def suiting(self, y: np.ndarray, weight: np.ndarray | None) -> TargetScale:
        """The scale on which score 0 is about the best constant, and 1 a usual error."""
        return mean_and_deviation(y, weight)

    @property
    def shift(self) -> Any:
        """What is taken off the target before it is divided by `scale`."""
        return self._scale.shift

    @property
    def scale(self) -> Any:
        """The unit of the scores, in the unit of the target."""
        return self._scale.scale

    def losses(self, scores: Any, batch: Batch) -> Any:
        """(n,) weight * loss of each row."""
        y, weight = batch["y"], self.row_weight(batch)
        error = aligned(scores, y) - self._scale.standard(y)
        if weight is not None and error.ndim == 2:
            weight = weight[:, None]
        return over_targets(self.error_losses(error, weight))

    def answers(self, scores: np.ndarray) -> dict[str, np.ndarray]:
        """`values`: (n,) or (n, t) in the unit of the target."""
        return {"values": self._scale.unit(scores)}

    def state(self) -> State:
        """Shift and scale."""
        return self._scale.state()


@part(
    "objective",
    "squared_error",
    summary="Mean of (score - target)^2, the loss of least squares.",
    source="Legendre 1805, Nouvelles methodes pour la determination des orbites des cometes",
    tasks=("regression",),
    link="identity",
)
class SquaredError(ScaledObjective):
    """error^2; the best constant is the mean."""

    def error_losses(self, error: Any, weight: Any | None) -> Any:
        """Weight * error^2."""
        return weighed(error, weight) * error


@part(
    "objective",
    "half_squared_error",
    summary="Half of the squared error: the same minimum, and a gradient that is the error itself.",
    source="Rumelhart, Hinton, Williams 1986, Nature 323",
    tasks=("regression",),
    link="identity",
)
class HalfSquaredError(ScaledObjective):
    """error^2 / 2: the 2 of the derivative cancels, so that the gradient is the error."""

    def error_losses(self, error: Any, weight: Any | None) -> Any:
        """Weight * error^2 / 2."""
        return weighed(error, weight) * error / 2


@part(
    "objective",
    "absolute_error",
    summary="Mean of |score - target|: aims at the median, and outliers pull no harder than other rows.",
    source="Koenker, Bassett 1978, Econometrica 46(1)",
    tasks=("regression",),
    link="identity",
)
class AbsoluteError(ScaledObjective):
    """|error|; the best constant is the median."""

    def error_losses(self, error: Any, weight: Any | None) -> Any:
        """Weight * |error|."""
        return weighed(abs(error), weight)

    def suiting(self, y: np.ndarray, weight: np.ndarray | None) -> TargetScale:
        """Median, and mean distance from it."""
        return quantile_and_spread(y, weight, level=0.5)


@dataclass(frozen=True)
class HuberSettings(Settings):
    """Where an error begins to count as an outlier."""

    delta: float = 1.345
    """Error from which the loss grows in proportion and no longer with the square, above 0; in robust standard
    deviations of the target. 1.345 loses 5 % of the efficiency where the errors are normal."""

    def __post_init__(self) -> None:
        if not 0 < self.delta < float("inf"):
            raise RecipeError(f"huber.delta must be above 0, got {self.delta}. The usual value is 1.345.")


@part(
    "objective",
    "huber",
    summary="Squared for small errors, absolute for large ones: precise, and calm about outliers.",
    source="Huber 1964, Annals of Mathematical Statistics 35(1)",
    settings=HuberSettings,
    tasks=("regression",),
    link="identity",
)
class Huber(ScaledObjective):
    """error^2 / 2 up to |error| = delta, then delta * (|error| - delta / 2).

    `delta` counts on the scale of the scores: in the unit of the target where shift and scale are not fitted.
    """

    def error_losses(self, error: Any, weight: Any | None) -> Any:
        """Weight * Huber's loss."""
        size = abs(error)
        held = size.clip(max=self.settings.delta)
        return weighed(held * (size - held / 2), weight)

    def suiting(self, y: np.ndarray, weight: np.ndarray | None) -> TargetScale:
        """Median, and robust standard deviation."""
        return median_and_robust_deviation(y, weight)


@dataclass(frozen=True)
class QuantileSettings(Settings):
    """Which quantile is predicted."""

    level: float = 0.5
    """Share of rows whose target should lie below the prediction, between 0 and 1: 0.5 is the median."""

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise RecipeError(f"quantile.level must lie between 0 and 1, got {self.level}, like 0.9.")


@part(
    "objective",
    "quantile",
    summary="Pinball loss: predicts the value that a chosen share of the targets stays below.",
    source="Koenker, Bassett 1978, Econometrica 46(1)",
    settings=QuantileSettings,
    tasks=("regression",),
    link="identity",
)
class Quantile(ScaledObjective):
    """level * |error| where the score is too low, (1 - level) * |error| where it is too high."""

    def error_losses(self, error: Any, weight: Any | None) -> Any:
        """Weight * pinball loss."""
        return weighed(error.clip(min=0) - self.settings.level * error, weight)

    def suiting(self, y: np.ndarray, weight: np.ndarray | None) -> TargetScale:
        """The quantile itself, and the mean distance from the median."""
        return quantile_and_spread(y, weight, level=self.settings.level)
