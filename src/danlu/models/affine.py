"""x W + b: what every linear model comes down to once it is fitted."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from danlu.core.ideas import Batch, Context, State, Step
from danlu.core.tasks import Task
from danlu.models.stored import Stored


@dataclass(frozen=True)
class Affine:
    """Scores that are a weighted sum of the features plus a constant."""

    coefficients: np.ndarray
    """(d,) for one score a row, (d, k) for k scores."""
    intercept: np.ndarray
    """(1,) or (k,)."""

    def __call__(self, x: Any) -> np.ndarray:
        """(n, d) array or CSR matrix -> (n,) or (n, k)."""
        return np.asarray(x @ self.coefficients, dtype=np.float64) + self.intercept

    def state(self) -> State:
        """The two arrays."""
        return {"coefficients": self.coefficients, "intercept": self.intercept}

    @classmethod
    def zeros(cls, num_features: int, num_scores: int) -> Affine:
        """The scores 0 for every row."""
        shape = (num_features,) if num_scores == 1 else (num_features, num_scores)
        return cls(np.zeros(shape), np.zeros(num_scores))

    @classmethod
    def of(cls, coefficients: Any, intercept: Any) -> Affine:
        """From what a library gives: (d,), (1, d) or (k, d) coefficients, a number or (k,) intercepts."""
        matrix = np.atleast_2d(np.asarray(coefficients, dtype=np.float64))
        weights = matrix[0] if len(matrix) == 1 else np.ascontiguousarray(matrix.T)
        return cls(weights.copy(), np.array(intercept, dtype=np.float64).reshape(-1))

    @classmethod
    def read(cls, stored: Stored, num_features: int, num_scores: int) -> Affine:
        """The checked arrays of a state."""
        shape = (num_features,) if num_scores == 1 else (num_features, num_scores)
        return cls(stored.array("coefficients", shape), stored.array("intercept", (num_scores,)))


class AffineEstimator(ABC):
    """What the models share whose scores are the task's scores as they are; each adds how it is fitted."""

    keeps_rows = False

    def __init__(self, settings: Any, task: Task, num_features: int, *, seed: int = 0) -> None:
        self.settings, self.task, self.num_features, self.seed = settings, task, num_features, seed
        self.affine = Affine.zeros(num_features, task.num_scores)

    @abstractmethod
    def fit_round(self, batch: Batch, task: Task, context: Context) -> Step:
        """Find the coefficients."""

    def __call__(self, x: Any) -> np.ndarray:
        """(n, d) -> (n,) values or logits of class 1, (n, k) logits."""
        return self.affine(x)

    def state(self) -> State:
        """`coefficients` (d,) or (d, k) and `intercept` (1,) or (k,)."""
        return self.affine.state()

    def load(self, state: State) -> None:
        """Take over a state after checking it."""
        stored = Stored(state, part=type(self).__name__.lower())
        affine = Affine.read(stored, self.num_features, self.task.num_scores)
        stored.end()
        self.affine = affine

    def snapshot(self) -> State:
        """The state as it is now."""
        return self.state()

    def restore(self, snapshot: State) -> None:
        """Go back to a snapshot."""
        self.load(snapshot)
