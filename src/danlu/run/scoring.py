"""Scores of a trained model on rows whose answer is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from danlu.bundle.predictor import Predictor
from danlu.core.errors import DataError, closest
from danlu.core.files import plain
from danlu.data.target import target_values
from danlu.evaluate.bootstrap import intervals
from danlu.evaluate.groups import group_scores
from danlu.evaluate.metrics import score


def evaluate(
    predictor: Predictor, source: Any, *, groups: Sequence[str] = (), seed: int = 0
) -> dict[str, Any]:
    """Metrics with intervals, and by group where asked; rows without a target are left out and counted.

    Rows are weighed where the model was trained with a weight column. Rows that the model was trained on flatter it.
    """
    from danlu.data.schema import conform
    from danlu.data.sources import read

    frame, _ = conform(read(source).frame, predictor.schema)
    task, target = predictor.task, predictor.target
    for name in (target, *groups):
        if name not in frame.columns:
            raise DataError(
                f"The data have no column {name!r}, which scoring needs.{closest(name, frame.columns)}"
            )
    known, observed = target_values(frame[target], task)
    if not len(known):
        raise DataError(f"Every value of {target!r} is missing, so there is nothing to score against.")
    rows = frame[known]
    weighing = next((column.name for column in predictor.schema.columns if column.role == "weight"), None)
    if weighing is not None and weighing not in frame.columns:
        raise DataError(
            f"The model weighs rows by {weighing!r}, and the data have no such column."
            f"{closest(weighing, frame.columns)}"
        )
    weight = None if weighing is None else rows[weighing].to_numpy().astype(np.float64)
    answers = predictor.predict_frame(rows).main
    cut = predictor.threshold
    parts = [
        group_scores(
            task,
            observed,
            answers,
            rows[name].to_list(),
            column=name,
            weight=weight,
            threshold=cut,
            seed=seed,
        )
        for name in groups
    ]
    return plain(
        {
            "target": target,
            "task": task.kind,
            "rows": len(rows),
            "left_out": len(frame) - len(rows),
            "metrics": score(task, observed, answers, weight=weight, threshold=cut),
            "intervals": intervals(task, observed, answers, weight=weight, threshold=cut, seed=seed),
            "groups": [row for part in parts for row in part["groups"]],
            "gaps": [row for part in parts for row in part["gaps"]],
        }
    )
