"""Scores of a trained model on rows whose answer is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from danlu.bundle.predictor import Predictor
from danlu.core.errors import DataError, closest
from danlu.core.files import plain
from danlu.data.target import target_values
from danlu.evaluate.bootstrap import intervals
from danlu.evaluate.groups import group_scores
from danlu.evaluate.metrics import score


def evaluate(predictor: Predictor, source: Any, *, groups: Sequence[str] = (), seed: int = 0) -> dict[str, Any]:
    """Metrics with intervals, and by group where asked; rows without a target are left out and counted."""
    from danlu.data.sources import read

    frame = read(source).frame
    task, target = predictor.task, predictor.target
    for name in (target, *groups):
        if name not in frame.columns:
            raise DataError(f"The data have no column {name!r}, which scoring needs.{closest(name, frame.columns)}")
    known, observed = target_values(frame[target], task)
    if not len(known):
        raise DataError(f"Every value of {target!r} is missing, so there is nothing to score against.")
    rows = frame[known]
    answers = predictor.predict_frame(rows).main
    cut = predictor.threshold
    parts = [
        group_scores(task, observed, answers, rows[name].to_list(), column=name, threshold=cut, seed=seed) for name in groups
    ]
    return plain(
        {
            "target": target,
            "task": task.kind,
            "rows": len(rows),
            "left_out": len(frame) - len(rows),
            "metrics": score(task, observed, answers, threshold=cut),
            "intervals": intervals(task, observed, answers, threshold=cut, seed=seed),
            "groups": [row for part in parts for row in part["groups"]],
            "gaps": [row for part in parts for row in part["gaps"]],
        }
    )
