"""Cross-entropy over two or more classes: logits into a loss, and into probabilities."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from danlu.core.ideas import Batch, Model, State
from danlu.core.parts import part
from danlu.core.scores import class_probabilities, log_softmax, scores
from danlu.core.tasks import Task


@part(
    "objective",
    "cross_entropy",
    summary="Minus the mean log-probability of the right class: logistic and softmax regression, networks.",
    tasks=("binary", "multiclass"),
)
class CrossEntropy:
    """-log softmax(logits)[label]; two classes have one logit z, which stands for the logits (0, z)."""

    splittable = True

    def __init__(self, task: Task) -> None:
        self.task = task

    def counts(self, batch: Batch) -> dict[str, float]:
        """Total weight of the rows."""
        return {
            "cross_entropy": float(batch["weight"].sum()) if "weight" in batch else float(len(batch["y"]))
        }

    def sums(self, model: Model, batch: Batch) -> dict[str, Any]:
        """Sum over rows of weight * (log sum exp(logits) - logit of the label)."""
        logits, label = model(batch["x"]), batch["y"]
        losses = (
            _torch_losses(logits, label)
            if "torch" in sys.modules and not isinstance(logits, np.ndarray)
            else _losses(logits, label)
        )
        return {"cross_entropy": (losses * batch["weight"] if "weight" in batch else losses).sum()}

    def predict(self, model: Model, batch: Batch) -> dict[str, np.ndarray]:
        """`probabilities`: (n, k), rows sum to 1."""
        return {"probabilities": class_probabilities(scores(model, batch["x"]))}

    def state(self) -> State:
        """Nothing beside the task."""
        return {}


def _losses(logits: np.ndarray, label: np.ndarray) -> np.ndarray:
    if logits.ndim == 1:
        return np.logaddexp(0.0, logits) - logits * label
    return -np.take_along_axis(log_softmax(logits), label[:, None].astype(np.int64), axis=1)[:, 0]


def _torch_losses(logits: Any, label: Any) -> Any:
    from torch.nn import functional

    if logits.ndim == 1:
        return functional.softplus(logits) - logits * label
    return functional.cross_entropy(logits, label.long(), reduction="none")
