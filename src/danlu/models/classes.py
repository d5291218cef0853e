"""Classes: shares, folds that keep them, and scores for classes that the training rows do not show."""

from __future__ import annotations

import numpy as np

from danlu.core.tasks import Task
from danlu.models.stored import Stored

SMALLEST = 1e-12
"""The least probability that a share of training rows stands for, so that its logarithm is a number."""


def class_weights(y: np.ndarray, weight: np.ndarray, num_classes: int) -> np.ndarray:
    """Total weight of the rows of each class: (k,)."""
    return np.bincount(y, weights=weight, minlength=num_classes)


def one_hot(y: np.ndarray, num_classes: int) -> np.ndarray:
    """(n,) class codes -> (n, k) of zeros and ones."""
    return (y[:, None] == np.arange(num_classes)).astype(np.float64)


def log_shares(shares: np.ndarray) -> np.ndarray:
    """Logarithms of probabilities, none of them below that of `SMALLEST`."""
    return np.log(np.maximum(shares, SMALLEST))


def link_scores(logits: np.ndarray, task: Task) -> np.ndarray:
    """One score a class -> the task's scores: the difference for two classes, themselves for more."""
    return logits[:, 1] - logits[:, 0] if task.kind == "binary" else logits


def spread(scores: np.ndarray, seen: np.ndarray, task: Task) -> np.ndarray:
    """Scores of the classes in the training rows -> scores of all classes of the task.

    `scores` are (n, s) for the s classes `seen`, or (n,) logits of the second one where s = 2. Classes that
    no training row shows get the probability `SMALLEST`. With all classes seen the scores come back
    unchanged.
    """
    num_classes = len(task.labels)
    if len(seen) == num_classes and scores.ndim == (1 if task.kind == "binary" else 2):
        return scores
    logits = np.column_stack([np.zeros(len(scores)), scores]) if scores.ndim == 1 else scores
    shifted = logits - logits.max(axis=1, keepdims=True)
    full = np.full((len(logits), num_classes), np.log(SMALLEST))
    full[:, seen] = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return link_scores(full, task)


def read_seen(stored: Stored, task: Task) -> np.ndarray:
    """The checked list of class codes that were in the training rows."""
    seen = stored.array("seen", (None,), dtype=np.int64, low=0, high=len(task.labels) - 1)
    if len(seen) == 0 or np.any(np.diff(seen) <= 0):
        raise stored.damaged("the classes that it has seen are not in increasing order")
    return seen


def stratified_folds(y: np.ndarray, num_folds: int, rng: np.random.Generator) -> np.ndarray:
    """A fold for each row, (n,) in range(num_folds), with every class spread as evenly as it can be."""
    folds = np.empty(len(y), dtype=np.int64)
    shuffled = rng.permutation(len(y))
    folds[shuffled[np.argsort(y[shuffled], kind="stable")]] = np.arange(len(y)) % num_folds
    return folds
