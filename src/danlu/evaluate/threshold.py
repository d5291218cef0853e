"""From which probability on a row is called positive: by what the two mistakes cost, or by a metric.

The rows must be ones that neither trained the model nor test it (those of choice or calibration).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from danlu.core.errors import UserError, closest
from danlu.core.seeds import generator
from danlu.core.tasks import Task
from danlu.evaluate import formulas
from danlu.evaluate.formulas import Formula
from danlu.evaluate.metrics import metric, prepare

NUM_FOLDS = 5


@dataclass(frozen=True)
class Threshold:
    """A decision threshold, what it was chosen by and what it is worth on the rows that chose it."""

    value: float
    """A row is called positive where the positive class has at least this probability."""
    cost: tuple[float, float] | None
    """(of a false positive, of a false negative) where it was chosen by cost."""
    metric: str | None
    before: float
    """Cost per row, or the metric, at the threshold 0.5."""
    after: float
    num_rows: int
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        """The threshold as plain JSON values."""
        return {
            "value": self.value,
            "cost": None if self.cost is None else list(self.cost),
            "metric": self.metric,
            "before": self.before,
            "after": self.after,
            "num_rows": self.num_rows,
            "sentence": self.sentence,
        }


def threshold_by_cost(
    task: Task,
    observed: np.ndarray | Sequence[int],
    probabilities: np.ndarray,
    *,
    false_positive: float,
    false_negative: float,
    weight: np.ndarray | None = None,
    seed: int = 0,
) -> Threshold:
    """The threshold at which mistakes cost least on rows like these.

    Where probabilities are right, false_positive / (false_positive + false_negative) is best (Elkan 2001). It
    is kept unless the cheapest threshold of four fifths of the rows is cheaper on the last fifth, in turn, by
    more than two standard errors: the cheapest threshold of a few rows is mostly luck.
    """
    if not (false_positive >= 0 and false_negative >= 0 and 0 < false_positive + false_negative < np.inf):
        raise UserError(
            "The costs of a false positive and of a false negative must be at least 0, and one above 0, "
            f"got {false_positive:g} and {false_negative:g}."
        )
    positive, is_positive, weight = _binary_rows(task, observed, probabilities, weight)

    def losses(threshold: float | np.ndarray) -> np.ndarray:
        decided = positive >= threshold
        return false_positive * (decided & ~is_positive) + false_negative * (~decided & is_positive)

    def cost(threshold: float) -> float:
        return float(weight @ losses(threshold) / weight.sum())

    def cheapest(rows: np.ndarray) -> float:
        candidates, hits, alarms = _candidates(positive[rows], is_positive[rows], weight[rows])
        missed = weight[rows & is_positive].sum() - hits
        costs = false_positive * alarms + false_negative * missed
        return float(candidates[np.argmin(costs)]) if len(candidates) else theory

    # Both ends are no threshold at all: a cost of 0 on one side means "always" or "never".
    theory = float(np.clip(false_positive / (false_positive + false_negative), 1e-6, 1 - 1e-6))
    folds = generator(seed, "threshold").permutation(len(positive)) % NUM_FOLDS
    held_out = np.select(
        [folds == fold for fold in range(NUM_FOLDS)], [cheapest(folds != fold) for fold in range(NUM_FOLDS)]
    )
    gain = losses(theory) - losses(held_out)
    mean = float(weight @ gain / weight.sum())
    error = float(np.sqrt(weight**2 @ (gain - mean) ** 2) / weight.sum())
    value, note = theory, "as the costs ask for where probabilities are right"
    if mean > 2 * error:
        value = cheapest(np.ones(len(positive), bool))
        note = f"cheaper on these rows than {theory:.3g}, which the costs alone ask for"
    before, after = cost(0.5), cost(value)
    sentence = (
        f"A row is called {task.positive!r} from a probability of {value:.3g} on, {note}: a false alarm "
        f"costs {false_positive:g}, a missed {task.positive!r} {false_negative:g}. On the {len(positive):,} "
        f"rows kept for this choice mistakes cost {after:.4g} a row, against {before:.4g} at 0.5."
    )
    return Threshold(value, (false_positive, false_negative), None, before, after, len(positive), sentence)


def threshold_by_metric(
    task: Task,
    observed: np.ndarray | Sequence[int],
    probabilities: np.ndarray,
    by: str = "f1",
    *,
    weight: np.ndarray | None = None,
) -> Threshold:
    """The threshold at which a metric is highest on these rows; of equals the one nearest to 0.5."""
    name = metric(by).name
    if name not in _METRICS:
        raise UserError(
            f"A threshold cannot be chosen by {name!r}: it does not depend on it, or is best where every "
            f"row or none is called positive.{closest(name, _METRICS)} Use costs, or one of: "
            f"{', '.join(_METRICS)}."
        )
    positive, is_positive, weight = _binary_rows(task, observed, probabilities, weight)
    candidates, hits, alarms = _candidates(positive, is_positive, weight)
    at_half = positive >= 0.5
    candidates = np.append(candidates, 0.5)
    hits = np.append(hits, weight[at_half & is_positive].sum())
    alarms = np.append(alarms, weight[at_half & ~is_positive].sum())
    num_positive, num_negative = weight[is_positive].sum(), weight[~is_positive].sum()
    scores = _METRICS[name](
        np.column_stack([num_negative - alarms, hits]),
        np.broadcast_to([num_negative, num_positive], (len(hits), 2)),
        np.column_stack([num_negative - alarms + num_positive - hits, hits + alarms]),
    )
    if np.isnan(scores).all():
        raise UserError(f"These {len(positive)} rows leave {name} undefined, so no threshold can be chosen.")
    highest = np.flatnonzero(scores >= np.nanmax(scores) - 1e-12)
    best = highest[np.argmin(np.abs(candidates[highest] - 0.5))]
    value, before, after = float(candidates[best]), float(scores[-1]), float(scores[best])
    sentence = (
        f"A row is called {task.positive!r} from a probability of {value:.3g} on: there {name} is highest on "
        f"the {len(positive):,} rows kept for this choice, {after:.3f} against {before:.3f} at 0.5."
    )
    return Threshold(value, None, name, before, after, len(positive), sentence)


_METRICS: dict[str, Formula] = {
    "f1": formulas.f1_of,
    "balanced_accuracy": formulas.balanced_accuracy_of,
    "accuracy": formulas.accuracy_of,
    "matthews_corrcoef": formulas.matthews_corrcoef_of,
}


def _binary_rows(
    task: Task, observed: np.ndarray | Sequence[int], probabilities: np.ndarray, weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if task.kind != "binary":
        raise UserError(f"A decision threshold is for two classes, and this target is {task.kind}.")
    rows = prepare(task, observed, probabilities, weight=weight)
    if not rows.predicted or not len(rows.observed):
        raise UserError("A decision threshold needs rows with finite probabilities, and there are none.")
    return rows.predicted["probabilities"][:, 1], rows.observed == 1, rows.weight


def _candidates(
    positive: np.ndarray, is_positive: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thresholds midway between neighbouring probabilities, and the weight of hits and false alarms there."""
    levels, place = np.unique(positive, return_inverse=True)
    hits = np.bincount(place, weights=weight * is_positive)[::-1].cumsum()[::-1]
    alarms = np.bincount(place, weights=weight * ~is_positive)[::-1].cumsum()[::-1]
    lower = np.concatenate([[0.0], levels[:-1]])
    middle = (lower + levels) / 2
    middle = np.where(middle > lower, middle, levels)  # neighbouring floats have no middle
    usable = (middle > 0) & (middle < 1)
    return middle[usable], hits[usable], alarms[usable]
