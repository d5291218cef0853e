"""Platt scaling: from distances to a boundary to logits, with the help of rows that were not fitted on.

p = sigmoid(slope * distance + offset) for two classes (Platt 1999); for more, softmax(slope * distances),
which keeps the likeliest class (Guo et al. 2017, arXiv:1706.04599).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from danlu.core.ideas import State
from danlu.core.scores import softmax
from danlu.models.classes import one_hot, stratified_folds
from danlu.models.logistic import minimise
from danlu.models.rows import Rows
from danlu.models.stored import Stored

MAX_ROWS = 2000  # distances of a fit to a sample are near enough to those of the whole
NUM_FOLDS = 3
LEAST_SLOPE, MOST_SLOPE = 1e-3, 1e3


@dataclass(frozen=True)
class Scale:
    """slope * distance + offset."""

    slope: float = 1.0
    offset: float = 0.0

    def __call__(self, distance: np.ndarray) -> np.ndarray:
        """Distances -> scores of the same shape."""
        return self.slope * distance + self.offset

    def state(self) -> State:
        """The two numbers."""
        return {"slope": self.slope, "offset": self.offset}

    @classmethod
    def read(cls, stored: Stored) -> Scale:
        """The checked numbers of a state."""
        return cls(stored.number("slope", low=np.finfo(np.float64).tiny), stored.number("offset"))


def fit_scale(
    decide: Callable[[Rows, Any], np.ndarray], rows: Rows, num_classes: int, rng: np.random.Generator
) -> Scale:
    """The scale that suits distances of held-out rows, by 3-fold cross-validation on at most 2,000 rows.

    `decide(fitted, x)` gives the distances (n,) or (n, k) of a machine fitted on the first rows; classes are
    coded from 0 to `num_classes` - 1, all of them with rows. The scale is left at 1 where a class has a
    single row.
    """
    num_parts = -(-len(rows.y) // MAX_ROWS)
    sample = rows.take(np.flatnonzero(stratified_folds(rows.y, num_parts, rng) == 0))
    if np.bincount(sample.y, minlength=num_classes).min() < 2:
        return Scale()
    folds = stratified_folds(sample.y, NUM_FOLDS, rng)
    order = np.argsort(folds, kind="stable")
    held = [np.flatnonzero(folds == fold) for fold in range(NUM_FOLDS)]
    distance = np.concatenate(
        [decide(sample.take(np.flatnonzero(folds != i)), sample.x[held[i]]) for i in range(NUM_FOLDS)]
    )
    y, weight = sample.y[order], sample.weight[order]
    if num_classes == 2:
        affine = minimise(Rows(distance[:, None], y, weight), 2, 1.0).affine
        return Scale(
            float(np.clip(affine.coefficients[0], LEAST_SLOPE, MOST_SLOPE)), float(affine.intercept[0])
        )
    return Scale(_temperature(distance, one_hot(y, num_classes), weight))


def _temperature(distance: np.ndarray, target: np.ndarray, weight: np.ndarray) -> float:
    """The slope with the least log loss, by bisection: the derivative of a convex function only rises."""
    low, high = np.log(LEAST_SLOPE), np.log(MOST_SLOPE)
    for _ in range(60):
        middle = (low + high) / 2
        error = softmax(np.exp(middle) * distance) - target
        if (
            weight @ (error * distance).sum(axis=1) + np.exp(middle) > 0
        ):  # the last term: a slope of 0 is likelier
            high = middle
        else:
            low = middle
    return float(np.exp((low + high) / 2))
