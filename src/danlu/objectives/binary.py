"""Binary cross-entropy: one or several independent yes-or-no targets a row."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch.nn import functional

from danlu.core.ideas import Batch
from danlu.core.parts import part
from danlu.core.scores import class_probabilities, sigmoid
from danlu.objectives.rows import RowObjective, aligned, one_column, over_targets, weighed


@part(
    "objective",
    "binary_cross_entropy",
    summary="For one or several yes-or-no questions a row that do not exclude each other, such as tags.",
    source="Cox 1958, Journal of the Royal Statistical Society B 20(2)",
    tasks=("binary",),
    link="sigmoid",
)
class BinaryCrossEntropy(RowObjective):
    """-y log sigmoid(z) - (1 - y) log sigmoid(-z); of (n, t) targets and logits the mean over the t questions.

    Targets are 0 and 1 or probabilities between them. With (n,) logits this is the cross-entropy of two classes.
    """

    def losses(self, scores: Any, batch: Batch) -> Any:
        """(n,) weight * loss of each row."""
        logits = aligned(scores, batch["y"])
        target = batch["y"].to(logits.dtype)
        losses = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
        return weighed(over_targets(losses), self.row_weight(batch))

    def answers(self, scores: np.ndarray) -> dict[str, np.ndarray]:
        """`probabilities`: (n, 2) of no and yes for one question, (n, t) of yes for t questions."""
        logits = one_column(scores)
        return {"probabilities": class_probabilities(logits) if logits.ndim == 1 else sigmoid(logits)}
