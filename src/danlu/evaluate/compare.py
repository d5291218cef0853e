"""Candidates side by side on the same rows: who is better, and by how much more than luck."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from danlu.core.tasks import Task
from danlu.evaluate.bootstrap import (
    MIN_UNITS,
    NUM_RESAMPLES,
    Difference,
    Interval,
    difference,
    group_codes,
    interval_of,
    num_independent,
    resamples,
)
from danlu.evaluate.metrics import Metric, default_metric, metric, metrics_for, prepare


@dataclass(frozen=True)
class Compared:
    """One candidate's score beside the best candidate's and the baseline's."""

    name: str
    score: float | None
    interval: Interval | None
    """Of the score alone; that two overlap does not make them equal, the paired differences below do."""
    to_best: Difference | None
    """This score minus the best one's; None for the best itself, and where a score is undefined."""
    to_baseline: Difference | None
    """This score minus the baseline's; None for the baseline itself, without one, and where undefined."""

    @property
    def is_within_noise_of_best(self) -> bool:
        """Whether the rows leave open which of this and the best is better; the best is as good as itself."""
        return self.score is not None and (self.to_best is None or _holds_zero(self.to_best.interval))

    @property
    def is_within_noise_of_baseline(self) -> bool | None:
        """Whether the rows leave open which of this and the baseline is better; None where not compared."""
        return None if self.to_baseline is None else _holds_zero(self.to_baseline.interval)


def compare(
    task: Task,
    observed: np.ndarray | Sequence[float],
    predictions: Mapping[str, np.ndarray],
    *,
    by: str | None = None,
    baseline: str | None = None,
    weight: np.ndarray | None = None,
    groups: np.ndarray | Sequence[object] | None = None,
    threshold: float | None = None,
    level: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> list[Compared]:
    """Candidates from best to worst by one metric, with paired bootstrap intervals of their differences.

    Every draw of rows scores all candidates, so that what is hard for all of them cancels. `predictions` maps
    a candidate's name to its values or probabilities on the same rows; `baseline` names one of them. With
    many candidates the best of them is partly lucky: its own score belongs on rows that chose nothing.
    """
    chosen = default_metric(task) if by is None else metric(by)
    metrics_for(task, [chosen.name])
    if baseline is not None and baseline not in predictions:
        raise ValueError(f"The baseline {baseline!r} is not among the candidates {sorted(predictions)}.")
    rows = {
        name: prepare(task, observed, predicted, weight=weight, threshold=threshold)
        for name, predicted in predictions.items()
    }
    scores = {name: each.score(chosen) for name, each in rows.items()}
    order = sorted(rows, key=lambda name: _rank(scores[name], chosen))
    if not order:
        return []
    weights = rows[order[0]].weight
    codes = group_codes(groups, weight)
    num_units = num_independent(weights, codes)
    draws: dict[str, np.ndarray] = {}
    if num_units >= MIN_UNITS:
        blocks = resamples(
            weights, groups=codes, num_resamples=num_resamples, seed=seed, cost=max(1.0, len(task.labels) / 2)
        )
        drawn = [[rows[name].scores(chosen, block) for name in order] for block in blocks]
        draws = {name: np.concatenate([each[i] for each in drawn]) for i, name in enumerate(order)}

    def against(name: str, other: str | None) -> Difference | None:
        mine, others = scores[name], None if other is None else scores[other]
        if name == other or other is None or mine is None or others is None or not draws:
            return None
        gap = draws[name] - draws[other]
        gap = gap[np.isfinite(gap)]
        return difference(mine - others, gap, num_units, level=level) if len(gap) else None

    return [
        Compared(
            name,
            scores[name],
            interval_of(chosen, rows[name], draws[name], num_units, level=level) if draws else None,
            against(name, order[0]),
            against(name, baseline),
        )
        for name in order
    ]


def _rank(score: float | None, metric: Metric) -> float:
    if score is None:
        return np.inf
    return -score if metric.greater_is_better else score


def _holds_zero(interval: Interval) -> bool:
    return interval[0] <= 0 <= interval[1]
