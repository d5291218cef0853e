"""Split-conformal prediction intervals for a number: as wide as the asked share of new rows needs.

If calibration rows and new rows are exchangeable, the interval covers a new row with a probability of at
least `level`, whatever the model (Vovk, Gammerman and Shafer 2005; Lei et al. 2018). The calibration rows
must have neither trained nor chosen the model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from danlu.core.errors import BundleError, UserError
from danlu.evaluate.proportion import wilson_interval


@dataclass(frozen=True)
class PredictionInterval:
    """How far below and above a prediction the interval reaches; infinite where there were too few rows."""

    level: float
    """Share of new rows that it is meant to cover."""
    below: float
    """In the target's unit, or in units of `scale` where `is_scaled`."""
    above: float
    num_rows: int
    """Calibration rows behind it."""
    is_scaled: bool = False
    is_asymmetric: bool = False

    def apply(self, values: np.ndarray, scale: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(lower, upper), each (n,), around `values`; `scale` (n,) if and only if it was fitted with one."""
        if self.is_scaled != (scale is not None):
            raise ValueError(f"This interval was fitted {'with' if self.is_scaled else 'without'} a scale.")
        values = np.asarray(values, np.float64)
        size = np.ones(len(values)) if scale is None else _checked_scale(scale, len(values))
        return values - self.below * size, values + self.above * size

    @property
    def is_finite(self) -> bool:
        """Whether there were rows enough for an interval that says anything."""
        return math.isfinite(self.below) and math.isfinite(self.above)

    @property
    def sentence(self) -> str:
        """What the interval promises, or why it promises nothing, for a person."""
        if not self.is_finite:
            return (
                f"No prediction interval: one for {self.level:.0%} of new rows takes at least "
                f"{fewest_rows(self.level, asymmetric=self.is_asymmetric)} rows that neither trained nor "
                f"chose the model, and there were {self.num_rows}. Use more data, or a lower "
                "evaluation.interval."
            )
        return (
            f"The prediction intervals are made to cover {self.level:.0%} of new rows; they come from the "
            f"errors on {self.num_rows:,} rows that neither trained nor chose the model."
        )

    def state(self) -> dict[str, Any]:
        """The interval as plain JSON values; an infinite reach is None."""
        return {
            "level": self.level,
            "below": self.below if math.isfinite(self.below) else None,
            "above": self.above if math.isfinite(self.above) else None,
            "num_rows": self.num_rows,
            "is_scaled": self.is_scaled,
            "is_asymmetric": self.is_asymmetric,
        }

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> PredictionInterval:
        """What `state` wrote, checked; `BundleError` for anything else."""
        if set(state) != {"level", "below", "above", "num_rows", "is_scaled", "is_asymmetric"}:
            raise BundleError(f"The prediction interval has the wrong entries: {sorted(map(str, state))}.")
        level, num_rows = state["level"], state["num_rows"]
        flags = [state["is_scaled"], state["is_asymmetric"]]
        reach = [math.inf if state[side] is None else state[side] for side in ("below", "above")]
        is_valid = (
            isinstance(level, float)
            and 0 < level < 1
            and type(num_rows) is int
            and num_rows >= 0
            and all(type(flag) is bool for flag in flags)
            and all(type(side) in (int, float) and not math.isnan(side) for side in reach)
        )
        if not is_valid:
            raise BundleError(f"The prediction interval has values out of range: {state}.")
        return cls(level, float(reach[0]), float(reach[1]), num_rows, *flags)


def fit_interval(
    observed: np.ndarray | Sequence[float],
    predicted: np.ndarray,
    *,
    level: float = 0.9,
    scale: np.ndarray | None = None,
    asymmetric: bool = False,
) -> PredictionInterval:
    """The interval that the errors on calibration rows ask for.

    The reach is the k-th smallest |observed - predicted|, k = ceil((n + 1) level); with k > n it is infinite.
    `scale` (n,) above 0 is how large an error is expected to be in each row: errors are divided by it, and
    the interval gets wider where more error is expected. `asymmetric` reaches below and above by what each
    side needs, (1 - level) / 2 of the rows beyond each, for errors that are skewed; it needs twice the rows.
    """
    if not 0 < level < 1:
        raise UserError(f"The share of rows to cover must lie between 0 and 1, got {level}.")
    error = np.asarray(observed, np.float64) - np.asarray(predicted, np.float64)
    if not np.isfinite(error).all():
        raise ValueError("A prediction interval needs finite observed and predicted values.")
    if scale is not None:
        error = error / _checked_scale(scale, len(error))
    if asymmetric:
        tail = (1 - level) / 2
        below, above = _reach(-error, 1 - tail), _reach(error, 1 - tail)
    else:
        below = above = _reach(np.abs(error), level)
    return PredictionInterval(float(level), below, above, len(error), scale is not None, asymmetric)


def fewest_rows(level: float, *, asymmetric: bool = False) -> int:
    """Calibration rows from which on the interval is finite: 9 for 90 %, 19 for 95 %."""
    share = 1 - (1 - level) / 2 if asymmetric else level
    num_rows = max(1, math.floor(share / (1 - share)) - 1)
    while _rank(num_rows, share) > num_rows:
        num_rows += 1
    return num_rows


def coverage(
    observed: np.ndarray | Sequence[float],
    lower: np.ndarray,
    upper: np.ndarray,
    *,
    asked: float,
    level: float = 0.95,
) -> dict[str, Any]:
    """{asked, covered, covered_interval, mean_width, num_rows}: the share of rows inside their intervals.

    `covered_interval` is Wilson's; `mean_width` is in the target's unit, None where intervals are infinite.
    """
    observed = np.asarray(observed, np.float64)
    num_rows = len(observed)
    if num_rows == 0:
        return {"asked": asked, "covered": None, "covered_interval": None, "mean_width": None, "num_rows": 0}
    covered = float(((lower <= observed) & (observed <= upper)).mean())
    width = upper - lower
    return {
        "asked": asked,
        "covered": covered,
        "covered_interval": wilson_interval(covered, num_rows, level=level),
        "mean_width": float(width.mean()) if np.isfinite(width).all() else None,
        "num_rows": num_rows,
    }


def _reach(error: np.ndarray, share: float) -> float:
    rank = _rank(len(error), share)
    return math.inf if rank > len(error) else float(np.partition(error, rank - 1)[rank - 1])


def _rank(num_rows: int, share: float) -> int:
    # 1e-9 keeps (9 + 1) * 0.9 = 9.000000000000002 at 9.
    return max(1, math.ceil((num_rows + 1) * share - 1e-9))


def _checked_scale(scale: np.ndarray, num_rows: int) -> np.ndarray:
    scale = np.asarray(scale, np.float64)
    if scale.shape != (num_rows,) or not np.isfinite(scale).all() or (scale <= 0).any():
        raise ValueError("The scale of an interval must be one finite number above 0 for each row.")
    return scale
