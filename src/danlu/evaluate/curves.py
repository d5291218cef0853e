"""The curves and tables that a report draws: ROC, precision-recall, confusion, residuals, as plain JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from danlu.core.seeds import generator
from danlu.core.tasks import Task
from danlu.evaluate import formulas
from danlu.evaluate.formulas import Formula
from danlu.evaluate.metrics import decide, prepare

MAX_POINTS = 200


def roc_curves(
    task: Task,
    observed: np.ndarray | Sequence[int],
    probabilities: np.ndarray,
    *,
    weight: np.ndarray | None = None,
    max_points: int = MAX_POINTS,
) -> list[dict[str, Any]]:
    """[{label, fpr, tpr, auc}]: for the positive class, or for each of several classes against the rest.

    The area is that of all rows, also where the curve is thinned. Classes without rows have no curve.
    """
    curves: list[dict[str, Any]] = []
    for label, is_class, score, weights in _one_against_rest(task, observed, probabilities, weight):
        if is_class.all() or not is_class.any():
            continue
        hits, alarms = _cumulative_counts(is_class, score, weights)
        tpr, fpr = hits / hits[-1], alarms / alarms[-1]
        kept = _thin(fpr, tpr, max_points)
        area = _area(formulas.roc_auc, is_class, score, weights)
        curves.append({"label": label, "fpr": fpr[kept].tolist(), "tpr": tpr[kept].tolist(), "auc": area})
    return curves


def pr_curves(
    task: Task,
    observed: np.ndarray | Sequence[int],
    probabilities: np.ndarray,
    *,
    weight: np.ndarray | None = None,
    max_points: int = MAX_POINTS,
) -> list[dict[str, Any]]:
    """[{label, recall, precision, average_precision, share}], recall rising; `share` is what guessing gets.

    The curve starts at recall 0 with precision 1, as in scikit-learn.
    """
    curves: list[dict[str, Any]] = []
    for label, is_class, score, weights in _one_against_rest(task, observed, probabilities, weight):
        if not is_class.any():
            continue
        hits, alarms = _cumulative_counts(is_class, score, weights)
        recall = hits / hits[-1]
        precision = np.concatenate([[1.0], hits[1:] / (hits[1:] + alarms[1:])])
        last = int(np.searchsorted(recall, recall[-1]))  # beyond full recall precision only falls
        recall, precision = recall[: last + 1], precision[: last + 1]
        kept = _thin(recall, precision, max_points)
        curves.append(
            {
                "label": label,
                "recall": recall[kept].tolist(),
                "precision": precision[kept].tolist(),
                "average_precision": _area(formulas.average_precision, is_class, score, weights),
                "share": float(weights[is_class].sum() / weights.sum()),
            }
        )
    return curves


def confusion(
    task: Task,
    observed: np.ndarray | Sequence[int],
    probabilities: np.ndarray,
    *,
    weight: np.ndarray | None = None,
    threshold: float | None = None,
) -> dict[str, Any]:
    """{labels, matrix}: rows of the matrix are observed classes, columns decided ones; counts, or weights."""
    num_classes = len(task.labels)
    cell = np.asarray(observed, np.int64) * num_classes + decide(task, np.asarray(probabilities), threshold)
    matrix = np.bincount(cell, weights=weight, minlength=num_classes**2).reshape(num_classes, num_classes)
    return {"labels": list(task.labels), "matrix": matrix.tolist()}


def residual_sample(
    observed: np.ndarray | Sequence[float], predicted: np.ndarray, *, max_rows: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """{observed, predicted, num_rows}: a seeded sample in the rows' order; `num_rows` is of how many."""
    observed, predicted = np.asarray(observed, np.float64), np.asarray(predicted, np.float64)
    rows = np.arange(len(observed))
    if len(rows) > max_rows:
        rows = np.sort(generator(seed, "residuals").choice(len(rows), size=max_rows, replace=False))
    return {
        "observed": observed[rows].tolist(),
        "predicted": predicted[rows].tolist(),
        "num_rows": len(observed),
    }


def _area(function: Formula, is_class: np.ndarray, score: np.ndarray, weight: np.ndarray) -> float:
    scores = np.column_stack([-score, score])  # only how they rank matters
    return float(function(is_class.astype(np.int64), scores, weight[None, :])[0])


def _one_against_rest(
    task: Task,
    observed: np.ndarray | Sequence[int],
    probabilities: np.ndarray,
    weight: np.ndarray | None,
) -> list[tuple[Any, np.ndarray, np.ndarray, np.ndarray]]:
    """(label, is of this class, its probability, weight) for each class that has a curve."""
    rows = prepare(task, observed, probabilities, weight=weight)
    if not rows.predicted:
        return []
    scores = rows.predicted["probabilities"]
    if task.kind == "binary":
        return [(task.positive, rows.observed == 1, scores[:, 1], rows.weight)]
    return [
        (label, rows.observed == code, scores[:, code], rows.weight) for code, label in enumerate(task.labels)
    ]


def _cumulative_counts(
    is_class: np.ndarray, score: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Weight of hits and of false alarms as the threshold falls past each score, from none to all rows."""
    order = np.argsort(-score, kind="stable")
    last_of_ties = np.append(np.flatnonzero(np.diff(score[order])), len(order) - 1)
    hits = np.cumsum((weight * is_class)[order])[last_of_ties]
    alarms = np.cumsum((weight * ~is_class)[order])[last_of_ties]
    return np.concatenate([[0.0], hits]), np.concatenate([[0.0], alarms])


def _thin(x: np.ndarray, y: np.ndarray, max_points: int) -> np.ndarray:
    """At most `max_points` indices, first and last among them, at equal steps along the curve."""
    if len(x) <= max_points:
        return np.arange(len(x))
    length = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    steps = np.linspace(0.0, length[-1], max_points)
    return np.unique(np.append(np.searchsorted(length, steps[:-1]), len(x) - 1))
