"""Focal loss: cross-entropy that turns away from rows which are already right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from danlu.core.errors import RecipeError
from danlu.core.ideas import Batch
from danlu.core.parts import Settings, part
from danlu.core.scores import class_probabilities
from danlu.core.tasks import Task
from danlu.objectives.classification import class_codes
from danlu.objectives.rows import RowObjective, one_column, weighed


@dataclass(frozen=True)
class FocalSettings(Settings):
    """How fast easy rows lose their say, and how much the positive class counts."""

    gamma: float = 2.0
    """Power of (1 - probability of the right class), 0 or more; 0 is cross-entropy."""
    alpha: float | None = None
    """Weight of the positive class, between 0 and 1; the other class has 1 - alpha. Only for two classes; empty weighs
    all alike."""

    def __post_init__(self) -> None:
        if not 0 <= self.gamma < float("inf"):
            raise RecipeError(f"focal.gamma must not be negative, got {self.gamma}. The usual value is 2.")
        if self.alpha is not None and not 0 < self.alpha < 1:
            raise RecipeError(f"focal.alpha must lie between 0 and 1, got {self.alpha}, like 0.25.")


@part(
    "objective",
    "focal",
    summary="For rare classes among many easy rows: rows that are already right hardly count.",
    source="Lin, Goyal, Girshick, He, Dollar 2017, arXiv:1708.02002",
    settings=FocalSettings,
    tasks=("binary", "multiclass"),
    link="softmax",
)
class Focal(RowObjective):
    """-alpha (1 - p)^gamma log p, where p is the probability of the right class.

    Its minimum is not where the probabilities are right: they come out too close to one another. Calibrate them.
    """

    def __init__(self, task: Task, settings: FocalSettings | None = None) -> None:
        super().__init__(task, settings)
        if self.settings.alpha is not None and task.kind != "binary":
            raise RecipeError(
                f"focal.alpha is the weight of the positive one of two classes, and there are {len(task.labels)}. "
                "Leave it out, or use cross_entropy.class_weights."
            )

    def losses(self, scores: Any, batch: Batch) -> Any:
        """(n,) weight * loss of each row."""
        logits = one_column(scores)
        label = class_codes(self.task, logits, batch["y"], objective=self.name)
        if logits.ndim == 1:
            margin = torch.where(label == 1, logits, -logits)
            log_p, log_rest = functional.logsigmoid(margin), functional.logsigmoid(-margin)
        else:
            right = functional.one_hot(label, logits.shape[1]).bool()
            total = logits.logsumexp(1)
            log_p = logits[right] - total
            log_rest = logits.masked_fill(right, -torch.inf).logsumexp(1) - total
        # (1 - p)^gamma by its logarithm: near p = 1 the power itself has no usable gradient.
        losses = -torch.exp(self.settings.gamma * log_rest) * log_p
        if self.settings.alpha is not None:
            is_positive = label == self.task.positive_code
            alpha = self.settings.alpha
            losses = torch.where(is_positive, alpha * losses, (1 - alpha) * losses)
        return weighed(losses, self.row_weight(batch))

    def answers(self, scores: np.ndarray) -> dict[str, np.ndarray]:
        """`probabilities`: (n, k), rows sum to 1."""
        return {"probabilities": class_probabilities(one_column(scores))}
