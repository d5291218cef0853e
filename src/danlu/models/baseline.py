"""The naive baseline: the mean of the target, or the share of each class. Every score is compared with it."""

from __future__ import annotations

from typing import Any

import numpy as np

from danlu.core.ideas import Batch, Context, State, Step
from danlu.core.parts import Settings, part
from danlu.core.tasks import Task
from danlu.models.classes import class_weights, link_scores, log_shares
from danlu.models.rows import training_rows
from danlu.models.stored import Stored


@part(
    "model",
    "baseline",
    summary="The same answer for every row: the mean, or the share of each class. What any model must beat.",
    source="https://scikit-learn.org/stable/modules/model_evaluation.html#dummy-estimators",
    encoding="linear",
    update="estimator",
)
class Baseline:
    """Knows nothing of the features."""

    keeps_rows = False

    def __init__(self, settings: Settings, task: Task, num_features: int, *, seed: int = 0) -> None:
        self.settings, self.task, self.num_features, self.seed = settings, task, num_features, seed
        self.values = np.zeros(max(len(task.labels), 1))  # the mean (1,), or log shares of the classes (k,)

    def fit_round(self, batch: Batch, task: Task, context: Context) -> Step:
        """Take the weighted mean, or the weighted share of each class."""
        rows = training_rows({**batch, "x": batch["y"][:, None]})  # it needs no columns
        if task.is_classification:
            shares = class_weights(rows.y, rows.weight, len(task.labels)) / rows.weight.sum()
            self.values = log_shares(shares)
        else:
            self.values = np.average(rows.y, weights=rows.weight, keepdims=True)
        return Step(done=True)

    def __call__(self, x: Any) -> np.ndarray:
        """(n, d) -> (n,) means, (n,) logits of class 1, or (n, k) log shares."""
        values = np.tile(self.values, (x.shape[0], 1))
        return link_scores(values, self.task) if self.task.is_classification else values[:, 0]

    def state(self) -> State:
        """The values that every row gets."""
        return {"values": self.values}

    def load(self, state: State) -> None:
        """Take over a state after checking it."""
        stored = Stored(state, part="baseline")
        values = stored.array("values", self.values.shape, high=0.0 if self.task.is_classification else None)
        stored.end()
        self.values = values

    def snapshot(self) -> State:
        """The state as it is now."""
        return self.state()

    def restore(self, snapshot: State) -> None:
        """Go back to a snapshot."""
        self.load(snapshot)
