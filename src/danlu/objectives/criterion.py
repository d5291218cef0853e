"""Losses of one's own: a torch criterion of (scores, target), or a function of (model, batch)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from danlu.core.errors import RecipeError
from danlu.core.ideas import Batch, Model, State
from danlu.core.scores import scores
from danlu.core.tasks import Task


class Criterion:
    """The mean loss that a torch criterion such as `nn.CrossEntropyLoss()` gives for (model(x), y).

    It is taken for a mean over the rows, which may be accumulated in pieces. Of torch's cross-entropies the count is
    the weight of the labels that are not left out (`weight`, `ignore_index`); another criterion with weights of its
    own, or one that does not reduce by a mean, is not taken apart.
    """

    task = Task("regression")

    def __init__(self, criterion: nn.Module) -> None:
        self.criterion = criterion
        self._is_cross_entropy = isinstance(criterion, (nn.CrossEntropyLoss, nn.NLLLoss))
        weighs = getattr(criterion, "weight", None) is not None and not self._is_cross_entropy
        self.splittable = getattr(criterion, "reduction", "") == "mean" and not weighs

    def counts(self, batch: Batch) -> dict[str, float]:
        """Number of rows, or the weight of the labels that count."""
        return {"loss": self._count(batch["y"])}

    def sums(self, model: Model, batch: Batch) -> dict[str, Any]:
        """The mean loss times the count; 0 where every label is left out."""
        output, count = model(batch["x"]), self._count(batch["y"])
        return {"loss": self.criterion(output, batch["y"]) * count if count else output.sum() * 0.0}

    def _count(self, y: Any) -> float:
        if not self._is_cross_entropy or y.is_floating_point():  # probabilities: none is left out
            return float(len(y))
        counted = y[y != self.criterion.ignore_index]
        weight: Any = self.criterion.weight
        return float(counted.numel() if weight is None else weight[counted].sum())

    def predict(self, model: Model, batch: Batch) -> dict[str, np.ndarray]:
        """`values`: the model's scores as they are."""
        return {"values": scores(model, batch["x"])}

    def state(self) -> State:
        """Nothing."""
        return {}


class LossFunction:
    """`loss(model, batch)`, one number for the whole batch; it cannot be taken apart, and so not accumulated."""

    task = Task("regression")
    splittable = False

    def __init__(self, loss: Callable[[Any, Batch], Any]) -> None:
        self.loss = loss

    def counts(self, batch: Batch) -> dict[str, float]:
        """One: the function gives a mean already."""
        return {"loss": 1.0}

    def sums(self, model: Model, batch: Batch) -> dict[str, Any]:
        """What the function gives; `RecipeError` where that is no number with a gradient."""
        loss = self.loss(model, batch)
        is_number = isinstance(loss, torch.Tensor) and loss.ndim == 0
        if not is_number or (torch.is_grad_enabled() and not loss.requires_grad):
            is_tensor = isinstance(loss, torch.Tensor)
            told = f"{loss.dtype} of shape {tuple(loss.shape)}" if is_tensor else type(loss).__name__
            raise RecipeError(
                "The loss must be one number that depends on the model's weights, as a tensor of torch, got "
                f"{told}{' without a gradient' if is_number else ''}. "
                "Take the mean over the rows, and leave out .item() and .detach()."
            )
        return {"loss": loss}

    def predict(self, model: Model, batch: Batch) -> dict[str, np.ndarray]:
        """`values`: the model's scores as they are."""
        return {"values": scores(model, batch["x"])}

    def state(self) -> State:
        """Nothing."""
        return {}
