"""The scale on which a network learns a number: (target - shift) / scale, and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from danlu.core.errors import BundleError
from danlu.core.ideas import State
from danlu.objectives.rows import Constant, one_column


class TargetScale:
    """Targets of about the same size whatever their unit is. One number each, or (t,) numbers for t targets."""

    def __init__(self, shift: Any = 0.0, scale: Any = 1.0) -> None:
        shifts, scales = np.asarray(shift, np.float64), np.asarray(scale, np.float64)
        fit = shifts.ndim < 2 and shifts.shape == scales.shape
        if not (fit and np.isfinite(shifts).all() and np.isfinite(scales).all() and (scales > 0).all()):
            raise BundleError(
                f"A target's shift must be finite and its scale above 0, got {shift} and {scale}."
            )
        # Plain numbers for one target: they meet arrays and tensors of any type without a copy.
        self.shift: Any = float(shifts) if shifts.ndim == 0 else shifts
        self.scale: Any = float(scales) if scales.ndim == 0 else scales
        self._constants = None if shifts.ndim == 0 else (Constant(shifts), Constant(scales))

    def standard(self, y: Any) -> Any:
        """Targets in the unit of the data -> targets that scores are compared with."""
        if hasattr(y, "is_floating_point") and not y.is_floating_point():
            y = y.double()  # whole numbers in torch would become float32
        if self._constants is None:
            return (y - self.shift) / self.scale
        shift, scale = self._constants
        return (y - shift.like(y)) / scale.like(y)

    def unit(self, scores: np.ndarray) -> np.ndarray:
        """Scores -> predictions in the unit of the data, (n,) or (n, t)."""
        return (one_column(scores) if self._constants is None else scores) * self.scale + self.shift

    def state(self) -> State:
        """Shift and scale."""
        return {"shift": self.shift, "scale": self.scale}


def mean_and_deviation(y: np.ndarray, weight: np.ndarray | None) -> TargetScale:
    """What suits a squared error: mean and standard deviation."""
    mean = np.average(y, weights=weight, axis=0)
    return TargetScale(mean, _above_zero(np.sqrt(np.average((y - mean) ** 2, weights=weight, axis=0))))


def quantile_and_spread(y: np.ndarray, weight: np.ndarray | None, *, level: float) -> TargetScale:
    """What suits an error whose best constant is a quantile: it, and the mean distance from the median."""
    distance = np.abs(y - _quantile(y, weight, 0.5))
    spread = np.average(distance, weights=weight, axis=0)
    return TargetScale(_quantile(y, weight, level), _above_zero(spread))


def median_and_robust_deviation(y: np.ndarray, weight: np.ndarray | None) -> TargetScale:
    """What suits an error that outliers must not rule: the median, and 1.4826 times the median distance from it.

    Of normal targets the latter is the standard deviation. Where more than half of the targets are equal it is 0,
    and the mean distance takes its place.
    """
    median = _quantile(y, weight, 0.5)
    distance = np.abs(y - median)
    robust = 1.4826 * _quantile(distance, weight, 0.5)
    mean = np.average(distance, weights=weight, axis=0)
    return TargetScale(median, _above_zero(np.where(robust > 0, robust, mean)))


def _quantile(y: np.ndarray, weight: np.ndarray | None, level: float) -> Any:
    return np.quantile(y, level, weights=weight, axis=0, method="inverted_cdf")


def _above_zero(scale: Any) -> Any:
    """Targets that do not vary keep their unit."""
    return np.where(scale > 0, scale, 1.0)
