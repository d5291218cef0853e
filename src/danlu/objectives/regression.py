"""Squared error on standardised targets: the loss and the prediction of every regression."""

from __future__ import annotations

from typing import Any

import numpy as np

from danlu.core.errors import BundleError
from danlu.core.ideas import Batch, Model, State
from danlu.core.parts import part
from danlu.core.scores import scores
from danlu.core.tasks import Task


@part(
    "objective",
    "squared_error",
    summary="Mean of (score - target)^2, the loss of least squares.",
    tasks=("regression",),
)
class SquaredError:
    """Squared error of scores that live on the scale (target - shift) / scale.

    A network learns targets of mean 0 and deviation 1 whatever their unit is; `predict` returns to the unit.
    With shift 0 and scale 1 the scores are the predictions themselves.
    """

    splittable = True

    def __init__(self, task: Task, *, shift: float = 0.0, scale: float = 1.0) -> None:
        if not (np.isfinite(shift) and np.isfinite(scale) and scale > 0):
            raise BundleError(
                f"A target's shift must be finite and its scale above 0, got {shift} and {scale}."
            )
        self.task, self.shift, self.scale = task, float(shift), float(scale)

    @classmethod
    def fitted(cls, task: Task, y: np.ndarray, weight: np.ndarray | None = None) -> SquaredError:
        """The objective whose shift and scale are the mean and the standard deviation of the training targets."""
        mean = float(np.average(y, weights=weight))
        deviation = float(np.sqrt(np.average((y - mean) ** 2, weights=weight)))
        return cls(task, shift=mean, scale=deviation if deviation > 0 else 1.0)

    def counts(self, batch: Batch) -> dict[str, float]:
        """Total weight of the rows."""
        return {"squared_error": float(_weight(batch).sum())}

    def sums(self, model: Model, batch: Batch) -> dict[str, Any]:
        """Sum over rows of weight * (score - standardised target)^2."""
        error = model(batch["x"]) - (batch["y"] - self.shift) / self.scale
        return {"squared_error": (_weight(batch) * error * error).sum()}

    def predict(self, model: Model, batch: Batch) -> dict[str, np.ndarray]:
        """`values`: (n,) in the unit of the target."""
        return {"values": scores(model, batch["x"]) * self.scale + self.shift}

    def state(self) -> State:
        """Shift and scale."""
        return {"shift": self.shift, "scale": self.scale}


def _weight(batch: Batch) -> Any:
    """Row weights; ones where the batch has none. Works on arrays of NumPy and of torch alike."""
    return batch["weight"] if "weight" in batch else batch["y"] * 0 + 1
