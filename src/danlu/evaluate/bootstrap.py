"""Bootstrap intervals: how far each score, or the difference of two candidates, could be luck of the rows.

The rows, or whole groups of them, are drawn again with replacement; every metric is computed on each draw
(Efron 1979). An interval holds the middle `level` of the draws, widened for few rows as the t distribution
widens the interval of a mean (Hesterberg 2015, the expanded percentile interval).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from danlu.core.seeds import generator
from danlu.core.tasks import Task
from danlu.evaluate.metrics import Metric, Rows, metrics_for, prepare
from danlu.evaluate.proportion import wilson_interval
from danlu.evaluate.quantiles import student_quantile

Interval = tuple[float, float]

NUM_RESAMPLES = 500
_CELLS_AT_ONCE = 1_000_000  # weights held at a time: 8 MB
_CELLS_IN_ALL = 16_000_000  # beyond it there are fewer resamples, not a longer wait
_FEWEST_RESAMPLES = 100
MIN_UNITS = 1.5  # rows or groups, in effect: one says nothing of how much they differ


def intervals(
    task: Task,
    observed: np.ndarray | Sequence[float],
    predicted: np.ndarray,
    *,
    weight: np.ndarray | None = None,
    threshold: float | None = None,
    names: Iterable[str] | None = None,
    groups: np.ndarray | Sequence[object] | None = None,
    level: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> dict[str, Interval | None]:
    """An interval for every metric of the task (or those in `names`) on these rows, all from the same draws.

    `groups` names for each row what it belongs to (a patient, a shop); then whole groups are drawn, since
    rows of one group are alike. None where the score itself is undefined, where most draws leave it
    undefined, where there is only one row or group, and where a score is perfect in every draw, which says
    nothing about the next rows (accuracy, and precision and recall of two classes, then have Wilson's
    interval).
    """
    rows = prepare(task, observed, predicted, weight=weight, threshold=threshold)
    codes = group_codes(groups, weight)
    chosen = metrics_for(task, names)
    num_units = num_independent(rows.weight, codes)
    if num_units < MIN_UNITS:
        return dict.fromkeys(metric.name for metric in chosen)
    draws: dict[str, list[np.ndarray]] = {metric.name: [] for metric in chosen}
    cost = max(1.0, len(task.labels) / 2)  # areas under curves take a sort for each class
    for weights in resamples(rows.weight, groups=codes, num_resamples=num_resamples, seed=seed, cost=cost):
        for metric in chosen:
            draws[metric.name].append(rows.scores(metric, weights))
    return {
        metric.name: interval_of(metric, rows, np.concatenate(draws[metric.name]), num_units, level=level)
        for metric in chosen
    }


@dataclass(frozen=True)
class Difference:
    """Mean difference of two candidates' losses on the same rows, in the unit of the loss."""

    mean: float
    """first - second: below 0 the first is better."""
    interval: Interval
    p_value: float
    """Two-sided: how often a difference this large would be luck if there were none."""


def paired_difference(
    first: np.ndarray,
    second: np.ndarray,
    *,
    weight: np.ndarray | None = None,
    groups: np.ndarray | Sequence[object] | None = None,
    level: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Difference | None:
    """Compare the losses (n,) of two candidates row by row; None with fewer than two rows or groups."""
    gap = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    codes = group_codes(groups, weight)
    if weight is None:
        weight = np.ones(len(gap))
    elif not np.all(weight):
        gap, weight = gap[weight > 0], weight[weight > 0]
    num_units = num_independent(weight, codes)
    if num_units < MIN_UNITS or not np.isfinite(gap).all():
        return None
    blocks = resamples(weight, groups=codes, num_resamples=num_resamples, seed=seed)
    draws = np.concatenate([weights @ gap / weights.sum(axis=1) for weights in blocks])
    return difference(float(weight @ gap / weight.sum()), draws, num_units, level=level)


def difference(mean: float, draws: np.ndarray, num_units: float, *, level: float = 0.95) -> Difference:
    """The interval and the p-value of a mean difference, from its value in each bootstrap draw."""
    tail = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    p_value = min(1.0, 2 * (tail + 1) / (len(draws) + 1))  # never 0: it cannot be finer than the draws
    return Difference(mean, expanded_percentiles(draws, num_units, level=level), p_value)


def resamples(
    weight: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
    cost: float = 1.0,
) -> Iterator[np.ndarray]:
    """Blocks (b, n) of weights: how often each row was drawn, times its own weight.

    `groups` are codes 0, 1, ... of the groups that are drawn whole; `cost` is the work that a cell gives
    later. Long tables get fewer resamples, never fewer than 100: their intervals are narrow and need no more.
    """
    num_rows = len(weight)
    num_units = num_rows if groups is None else int(groups.max(initial=-1)) + 1
    if num_units == 0:
        return
    left = min(num_resamples, max(_FEWEST_RESAMPLES, int(_CELLS_IN_ALL / (num_rows * cost))))
    at_once = max(1, _CELLS_AT_ONCE // num_rows)
    random = generator(seed, "bootstrap")
    while left > 0:
        block = min(at_once, left)
        drawn = random.integers(0, num_units, size=(block, num_units))
        drawn += np.arange(block)[:, None] * num_units
        counts = np.bincount(drawn.ravel(), minlength=block * num_units).reshape(block, num_units)
        yield (counts if groups is None else counts[:, groups]) * weight
        left -= block


def num_independent(weight: np.ndarray, groups: np.ndarray | None = None) -> float:
    """How many equally weighted rows, or groups, say as much as these: (sum w)^2 / sum w^2 (Kish 1965)."""
    units = weight if groups is None else np.bincount(groups, weights=weight)
    squares = float(units @ units)
    return float(units.sum()) ** 2 / squares if squares > 0 else 0.0


def group_codes(
    groups: np.ndarray | Sequence[object] | None, weight: np.ndarray | None = None
) -> np.ndarray | None:
    """Codes 0, 1, ... of the groups in order of appearance, of the rows with a weight above 0."""
    if groups is None:
        return None
    codes: dict[object, int] = {}
    kept = [True] * len(groups) if weight is None else np.asarray(weight) > 0
    return np.array(
        [codes.setdefault(group, len(codes)) for group, keep in zip(groups, kept, strict=True) if keep]
    )


def expanded_percentiles(draws: np.ndarray, num_units: float, *, level: float = 0.95) -> Interval:
    """The middle `level` of the draws, widened by Student's t and n / (n - 1) as a mean's interval is."""
    widened = student_quantile(level, num_units - 1) * (num_units / (num_units - 1)) ** 0.5
    tail = NormalDist().cdf(-widened)
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def interval_of(
    metric: Metric, rows: Rows, draws: np.ndarray, num_units: float, *, level: float = 0.95
) -> Interval | None:
    """The interval of one metric on `rows`, from its value in each draw; None as `intervals` says."""
    value = rows.score(metric)
    defined = draws[np.isfinite(draws)]
    if value is None or num_units < MIN_UNITS or 2 * len(defined) < len(draws):
        return None
    if metric.needs != "values" and value in (0.0, 1.0) and np.ptp(defined) == 0:
        return _without_variation(metric, rows, value, num_units, level)
    low, high = expanded_percentiles(defined, num_units, level=level)
    if metric.name == "expected_calibration_error":
        # A draw adds its own noise to every bin, so the draws lie above the score by about as much as the
        # score lies above the truth: turn them round (the basic bootstrap interval).
        low, high = max(0.0, 2 * value - high), max(value, 2 * value - low)
    return low, high


def _without_variation(
    metric: Metric, rows: Rows, value: float, num_units: float, level: float
) -> Interval | None:
    """What can be said of a score that is 0 or 1 in every draw."""
    labels = rows.predicted["labels"]
    if metric.name == "accuracy":
        counted = rows.weight
    elif metric.name == "precision" and labels.shape[1] == 2:
        counted = rows.weight[labels[:, 1] == 1]
    elif metric.name == "recall" and labels.shape[1] == 2:
        counted = rows.weight[rows.observed == 1]
    else:
        return (value, value) if metric.greater_is_better and value == 0 else None
    num_rows = min(num_independent(counted), num_units)
    return wilson_interval(value, num_rows, level=level) if num_rows > 0 else None
