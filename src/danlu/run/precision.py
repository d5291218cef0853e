"""What bf16 costs: the same weights, scored as computed in fp32 and in bf16 on the same validation rows."""

from __future__ import annotations

from typing import Any

import torch

from danlu.bundle.predictor import answer
from danlu.core.findings import Finding
from danlu.core.ideas import Batch, Objective
from danlu.core.tasks import Task
from danlu.evaluate.bootstrap import intervals
from danlu.evaluate.metrics import Metric, score


def precision_finding(
    model: torch.nn.Module, objective: Objective, validation: Batch, task: Task, metric: Metric
) -> Finding:
    """The metric and its 95 % interval both ways, for a network that was trained in bf16."""
    device = next(model.parameters()).device.type
    found: dict[str, Any] = {}
    for name in ("fp32", "bf16"):
        with torch.autocast(device, dtype=torch.bfloat16, enabled=name == "bf16"):
            answers = answer(objective, model, validation["x"])
        given = {"weight": validation.get("weight"), "names": [metric.name]}
        found[name] = {
            "score": score(task, validation["y"], answers, **given)[metric.name],
            "interval": intervals(task, validation["y"], answers, num_resamples=500, **given)[metric.name],
        }
    told = ", ".join(f"{_told(**one)} computed in {name}" for name, one in found.items())
    return Finding(
        "bf16",
        "info",
        f"Trained in bf16. {metric.name} of the trained weights on {len(validation['y']):,} validation rows: {told}. "
        "Predictions are computed in fp32.",
        found,
    )


def _told(score: float | None, interval: Any) -> str:
    value = "undefined" if score is None else f"{score:.4g}"
    return value if interval is None else f"{value} ({interval[0]:.4g} to {interval[1]:.4g})"
