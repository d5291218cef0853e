"""Weights of classes, so that a rare one can count as much as a common one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from danlu.core.errors import BundleError, RecipeError, closest
from danlu.core.tasks import Task


def balanced_weights(task: Task, y: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """(k,) weights that make all classes weigh the same: n / (k * n of the class), as scikit-learn's `balanced`.

    `y` holds class codes (n,) or probabilities (n, k). A class that no row has gets the weight 1.
    """
    k = len(task.labels)
    weight = np.ones(len(y)) if weight is None else weight
    total = weight @ y if y.ndim == 2 else np.bincount(y.astype(np.int64), weight, minlength=k)
    return np.where(total > 0, total.sum() / (k * np.where(total > 0, total, 1.0)), 1.0)


def named_weights(task: Task, given: Mapping[str, float], *, where: str) -> np.ndarray:
    """(k,) weights from a mapping of labels, as texts, to weights; classes that it does not name keep 1."""
    codes = {str(label): code for code, label in enumerate(task.labels)}
    weights = np.ones(len(codes))
    for label, weight in given.items():
        if label not in codes:
            raise RecipeError(
                f"{where} names the class {label!r}, which is not there.{closest(label, codes)} "
                f"Classes: {', '.join(list(codes)[:20])}."
            )
        weights[codes[label]] = weight
    return weights


def check_weights(given: Mapping[str, float] | str | None, *, where: str) -> None:
    """Refuse what can weigh nothing."""
    if isinstance(given, Mapping) and not all(0 <= weight < float("inf") for weight in given.values()):
        raise RecipeError(f"{where} must be numbers of at least 0, got {dict(given)}.")


def stored_weights(task: Task, values: np.ndarray) -> np.ndarray:
    """(k,) weights of a state, checked."""
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (len(task.labels),) or not np.isfinite(array).all() or array.min() < 0:
        raise BundleError(f"Weights of {len(task.labels)} classes must be as many numbers of at least 0.")
    return array
