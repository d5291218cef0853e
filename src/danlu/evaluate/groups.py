"""Scores by group (fairness slices): whether the model serves every group alike, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from danlu.core.tasks import Task
from danlu.evaluate.bootstrap import intervals, num_independent
from danlu.evaluate.metrics import Rows, prepare, score
from danlu.evaluate.proportion import difference_interval, wilson_interval

FEWEST_ROWS = 30  # below it a group's scores are too uncertain to compare
MAX_GROUPS = 20
OTHERS = "(others)"

_RATES = ("selection_rate", "true_positive_rate", "false_positive_rate")


def group_scores(
    task: Task,
    observed: np.ndarray | Sequence[float],
    predicted: np.ndarray,
    values: Sequence[Any] | np.ndarray,
    *,
    column: str,
    weight: np.ndarray | None = None,
    threshold: float | None = None,
    names: Iterable[str] | None = None,
    fewest_rows: int = FEWEST_ROWS,
    level: float = 0.95,
    num_resamples: int = 200,
    seed: int = 0,
) -> dict[str, list[dict[str, Any]]]:
    """{groups, gaps}: every metric for the rows of each value in `column`, and how far the groups differ.

    groups: [{column, value, num_rows, is_small, metrics, intervals}], most rows first; beyond 20 values the
    smallest groups are put together as "(others)". Two classes also have `selection_rate` (share called
    positive), `true_positive_rate` and `false_positive_rate`. `is_small` marks fewer than 30 rows.

    gaps: [{column, metric, gap, interval, highest, lowest}] for those three rates, between the groups with
    the highest and the lowest, among groups with at least 30 rows behind the rate: demographic parity
    (selection rate), equal opportunity (true positives) and equalised odds (both others), as in Hardt, Price
    and Srebro 2016. The interval is that of two groups picked in advance; of many groups the two extremes
    differ somewhat by chance alone.
    """
    observed, predicted = np.asarray(observed), np.asarray(predicted)
    names = None if names is None else list(names)
    members = _members(values)
    groups: list[dict[str, Any]] = []
    rates: dict[str, list[tuple[Any, float, float]]] = {name: [] for name in _RATES}
    for value, rows in members:
        weights = None if weight is None else np.asarray(weight)[rows]
        part = (task, observed[rows], predicted[rows])
        metrics: dict[str, float | None] = score(*part, weight=weights, threshold=threshold, names=names)
        bounds: dict[str, Any] = dict(
            intervals(
                *part,
                weight=weights,
                threshold=threshold,
                names=names,
                level=level,
                num_resamples=num_resamples,
                seed=seed,
            )
        )
        is_small = len(rows) < fewest_rows
        if task.kind == "binary":
            prepared = prepare(*part, weight=weights, threshold=threshold)
            for name, (share, num_rows) in _rates(prepared).items():
                metrics[name] = share
                bounds[name] = None if share is None else wilson_interval(share, num_rows, level=level)
                if share is not None and num_rows >= fewest_rows:
                    rates[name].append((value, share, num_rows))
        groups.append(
            {
                "column": column,
                "value": value,
                "num_rows": len(rows),
                "is_small": is_small,
                "metrics": metrics,
                "intervals": bounds,
            }
        )
    gaps = [_gap(column, name, shares, level) for name, shares in rates.items() if len(shares) > 1]
    return {"groups": groups, "gaps": gaps}


def _members(values: Sequence[Any] | np.ndarray) -> list[tuple[Any, np.ndarray]]:
    """(value, its rows), most rows first, then in order of appearance; a missing value is None."""
    listed = values.tolist() if isinstance(values, np.ndarray) else list(values)
    rows: dict[Any, list[int]] = {}
    for row, value in enumerate(listed):
        rows.setdefault(value if value == value else None, []).append(row)
    ordered = sorted(rows.items(), key=lambda item: -len(item[1]))
    if len(ordered) > MAX_GROUPS:
        rest = sorted(row for _, members in ordered[MAX_GROUPS - 1 :] for row in members)
        ordered = [*ordered[: MAX_GROUPS - 1], (OTHERS, rest)]
    return [(value, np.array(members)) for value, members in ordered]


def _rates(rows: Rows) -> dict[str, tuple[float | None, float]]:
    """Share called positive of all, of positive and of negative rows, each with its effective rows."""
    if not rows.predicted:
        return dict.fromkeys(_RATES, (None, 0.0))
    called = rows.predicted["labels"][:, 1]
    counted = (np.ones(len(called), bool), rows.observed == 1, rows.observed == 0)
    rates: dict[str, tuple[float | None, float]] = {}
    for name, mask in zip(_RATES, counted, strict=True):
        weight = rows.weight[mask]
        share = float(weight @ called[mask] / weight.sum()) if len(weight) else None
        rates[name] = (share, num_independent(weight))
    return rates


def _gap(column: str, name: str, shares: list[tuple[Any, float, float]], level: float) -> dict[str, Any]:
    highest = max(shares, key=lambda item: item[1])
    lowest = min(shares, key=lambda item: item[1])
    low, high = difference_interval(highest[1], highest[2], lowest[1], lowest[2], level=level)
    return {
        "column": column,
        "metric": name,
        "gap": highest[1] - lowest[1],
        "interval": (low, high),
        "highest": highest[0],
        "lowest": lowest[0],
    }
