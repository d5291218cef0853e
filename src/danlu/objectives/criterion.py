"""Losses of one's own: a torch criterion of (scores, target), or a function of (model, batch)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import nn

from danlu.core.ideas import Batch, Model, State
from danlu.core.scores import scores
from danlu.core.tasks import Task


class Criterion:
    """The mean loss that a torch criterion such as `nn.CrossEntropyLoss()` gives for (model(x), y).

    It is taken for a mean over the rows, which may be accumulated in pieces, unless it weighs or leaves out rows by
    settings of its own (`weight`, `ignore_index`) or reduces otherwise than by a mean.
    """

    task = Task("regression")

    def __init__(self, criterion: nn.Module) -> None:
        self.criterion = criterion
        weighs = getattr(criterion, "weight", None) is not None
        leaves_out = getattr(criterion, "ignore_index", -100) != -100
        self.splittable = getattr(criterion, "reduction", "") == "mean" and not weighs and not leaves_out

    def counts(self, batch: Batch) -> dict[str, float]:
        """Number of rows."""
        return {"loss": float(len(batch["y"]))}

    def sums(self, model: Model, batch: Batch) -> dict[str, Any]:
        """The mean loss times the number of rows."""
        return {"loss": self.criterion(model(batch["x"]), batch["y"]) * len(batch["y"])}

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
        """What the function gives."""
        return {"loss": self.loss(model, batch)}

    def predict(self, model: Model, batch: Batch) -> dict[str, np.ndarray]:
        """`values`: the model's scores as they are."""
        return {"values": scores(model, batch["x"])}

    def state(self) -> State:
        """Nothing."""
        return {}
