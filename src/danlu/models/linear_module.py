"""Linear, logistic and softmax regression as a module that descends the gradient: y = w x + b in float64."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from danlu.core.tasks import Task


class LinearModule(nn.Module):
    """(n, d) features -> (n,) scores of a regression or of two classes, (n, k) of k classes.

    Starts from zeros: the loss is convex, so every start ends in the same place. Its `state` is that of the linear
    estimators, so that a bundle predicts from it with NumPy alone.
    """

    def __init__(self, task: Task, num_features: int, *, seed: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_features, task.num_scores, device="meta").to_empty(device="cpu").double()
        self._one_score = task.num_scores == 1
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of each row."""
        scores = self.linear(x)
        return scores[:, 0] if self._one_score else scores

    def arrays(self) -> dict[str, Any]:
        """`weight` (k, d) and `bias` (k,) as float64 arrays."""
        return {
            "weight": self.linear.weight.detach().numpy().copy(),
            "bias": self.linear.bias.detach().numpy().copy(),
        }
