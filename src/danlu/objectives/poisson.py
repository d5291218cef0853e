"""Poisson deviance of counts and rates: exp(score) is the expected number."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from danlu.core.errors import DataError
from danlu.core.ideas import Batch, State
from danlu.core.parts import Settings, part
from danlu.core.tasks import Task
from danlu.objectives.rows import RowObjective, aligned, one_column, over_targets, weighed
from danlu.objectives.scale import TargetScale


@part(
    "objective",
    "poisson",
    summary="For counts and other targets from 0 on: predicts exp(score), so that effects multiply.",
    source="McCullagh, Nelder 1989, Generalized Linear Models",
    tasks=("regression",),
    link="log",
)
class Poisson(RowObjective):
    """Half the Poisson deviance on y = target / scale: exp(score) - y score + y log y - y, 0 where it is right.

    `predict` gives scale * exp(score). A scale is no change of the loss but a constant log(scale) that the score need
    not learn: fitted as the mean of the targets, score 0 is the best constant. Nothing is shifted.
    """

    def __init__(self, task: Task, settings: Settings | None = None, *, scale: Any = 1.0) -> None:
        super().__init__(task, settings)
        self._scale = TargetScale(np.zeros_like(scale, dtype=np.float64), scale)

    @classmethod
    def fitted(
        cls,
        task: Task,
        y: np.ndarray,
        weight: np.ndarray | None = None,
        settings: Settings | None = None,
        *,
        standardise: bool = True,
    ) -> Poisson:
        """The objective whose scale is the mean of the training targets, which must not be negative."""
        _refuse_negative(y)
        if not standardise:
            return cls(task, settings)
        mean = np.average(y, weights=weight, axis=0)
        return cls(task, settings, scale=np.where(mean > 0, mean, 1.0))

    @property
    def scale(self) -> Any:
        """The prediction of score 0."""
        return self._scale.scale

    def counts(self, batch: Batch) -> dict[str, float]:
        """Total weight of the rows; a negative target is an error, found before the forward pass."""
        _refuse_negative(batch["y"])
        return super().counts(batch)

    def losses(self, scores: Any, batch: Batch) -> Any:
        """(n,) weight * half the deviance of each row."""
        y = self._scale.standard(batch["y"])
        scores = aligned(scores, y)
        return weighed(
            over_targets(scores.exp() - y * scores + torch.xlogy(y, y) - y), self.row_weight(batch)
        )

    def answers(self, scores: np.ndarray) -> dict[str, np.ndarray]:
        """`values`: (n,) or (n, t) expected numbers."""
        with np.errstate(
            over="ignore"
        ):  # what is too large for a float is told as an answer that is not finite
            return {"values": self._scale.unit(np.exp(one_column(scores)))}

    def state(self) -> State:
        """The scale."""
        return {"scale": self.scale}


def _refuse_negative(y: Any) -> None:
    if len(y) and float(y.min()) < 0:
        raise DataError(
            f"The objective 'poisson' is for targets from 0 on, got {float(y.min()):g}. "
            "Use 'squared_error' or 'huber' for this target."
        )
