"""Hinge loss: the margin of support vector machines, for two classes and for several."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.nn import functional

from danlu.core.ideas import Batch
from danlu.core.parts import part
from danlu.core.scores import class_probabilities
from danlu.objectives.classification import class_codes
from danlu.objectives.rows import RowObjective, one_column, weighed


@part(
    "objective",
    "hinge",
    summary="The margin of support vector machines: rows far enough on the right side count nothing.",
    source="Cortes, Vapnik 1995, Machine Learning 20; Crammer, Singer 2001, JMLR 2",
    tasks=("binary", "multiclass"),
    link="softmax",
)
class Hinge(RowObjective):
    """max(0, 1 - margin): score of the right class minus the best other one; of one score z it is z or -z.

    `predict` gives sigmoid or softmax of the scores. They rank rows and decide as the margins do, but nothing in this
    loss makes them frequencies: calibrate them before they are read as probabilities.
    """

    def losses(self, scores: Any, batch: Batch) -> Any:
        """(n,) weight * loss of each row."""
        margins = one_column(scores)
        label = class_codes(self.task, margins, batch["y"], objective=self.name)
        if margins.ndim == 1:
            margin = torch.where(label == 1, margins, -margins)
        else:
            right = functional.one_hot(label, margins.shape[1]).bool()
            margin = margins[right] - margins.masked_fill(right, -torch.inf).amax(1)
        return weighed((1 - margin).clip(min=0), self.row_weight(batch))

    def answers(self, scores: np.ndarray) -> dict[str, np.ndarray]:
        """`probabilities`: (n, k), rows sum to 1; they are not calibrated."""
        return {"probabilities": class_probabilities(one_column(scores))}
