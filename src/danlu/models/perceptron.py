"""The perceptron: a line that moves towards each row that it gets wrong. Learns AND and OR, but never XOR."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from danlu.core.errors import RecipeError
from danlu.core.ideas import Batch, Context, State, Step
from danlu.core.parts import Settings, part
from danlu.core.seeds import generator
from danlu.core.tasks import Task
from danlu.models.affine import Affine
from danlu.models.classes import read_seen, spread
from danlu.models.native import native
from danlu.models.rows import training_rows
from danlu.models.stored import Stored


@dataclass(frozen=True)
class PerceptronSettings(Settings):
    """How long it tries."""

    epochs: int = 50
    """Most passes over the rows; a pass without a mistake ends the fit before."""

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise RecipeError(f"epochs must be at least 1, got {self.epochs}.")


@part(
    "model",
    "perceptron",
    summary="The first learning machine: finds a line between two classes if there is one. For study.",
    source="Rosenblatt 1958, Psychological Review 65(6)",
    settings=PerceptronSettings,
    tasks=("binary", "multiclass"),
    encoding="linear",
    update="estimator",
    calibrated=False,
    patience=10,
    unwatched=30,
    library="sklearn.linear_model",
)
class Perceptron:
    """Distances from a line, or from one line a class, which scikit-learn's Perceptron moves."""

    keeps_rows = False

    def __init__(self, settings: PerceptronSettings, task: Task, num_features: int, *, seed: int = 0) -> None:
        self.settings, self.task, self.num_features, self.seed = settings, task, num_features, seed
        self.epoch = 0
        self.seen = np.arange(len(task.labels))
        self.lines = Affine.zeros(num_features, task.num_scores)

    def fit_round(self, batch: Batch, task: Task, context: Context) -> Step:
        """One pass over the rows in a new order; done when the next pass would not move a line."""
        rows = training_rows(batch)
        seen = np.unique(rows.y)
        if self.epoch == 0:
            self.seen, self.lines = seen, Affine.zeros(self.num_features, _num_lines(len(seen)))
        self.epoch += 1
        if len(seen) == 1:
            return Step(done=True)
        rows = rows.take(generator(self.seed, "perceptron", self.epoch).permutation(len(rows.y)))
        estimator = native("Perceptron", rows.x, max_iter=1, tol=None, shuffle=False)
        estimator.fit(
            rows.x,
            rows.y,
            coef_init=np.atleast_2d(self.lines.coefficients.T).copy(),
            intercept_init=self.lines.intercept.copy(),
            sample_weight=rows.sample_weight,
        )
        self.lines = Affine.of(estimator.coef_, estimator.intercept_)
        wrong = _wrong(self.lines(rows.x), np.searchsorted(seen, rows.y))
        signals = {"mistake_share": float(np.average(wrong, weights=rows.weight))}
        return Step(signals=signals, done=not wrong.any() or self.epoch >= self.settings.epochs)

    def __call__(self, x: Any) -> np.ndarray:
        """(n, d) -> (n,) distances from the line, above 0 for class 1, or (n, k) from each class's line."""
        if len(self.seen) == 1:
            return spread(np.zeros((x.shape[0], 1)), self.seen, self.task)
        return spread(self.lines(x), self.seen, self.task)

    def state(self) -> State:
        """`seen` (s,) class codes, `coefficients` (d,) or (d, s), `intercept` (1,) or (s,), `epoch`."""
        return {"seen": self.seen, "epoch": self.epoch, **self.lines.state()}

    def load(self, state: State) -> None:
        """Take over a state after checking it."""
        stored = Stored(state, part="perceptron")
        seen = read_seen(stored, self.task)
        lines = Affine.read(stored, self.num_features, _num_lines(len(seen)))
        epoch = int(stored.number("epoch", low=0, high=2**53))
        stored.end()
        self.seen, self.lines, self.epoch = seen, lines, epoch

    def snapshot(self) -> State:
        """The state as it is now."""
        return self.state()

    def restore(self, snapshot: State) -> None:
        """Go back to a snapshot."""
        self.load(snapshot)


def _num_lines(num_seen: int) -> int:
    return num_seen if num_seen > 2 else 1


def _wrong(distance: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Rows that move a line, being on its wrong side or on it: (n,) or (n, s) distances -> (n,) booleans."""
    if distance.ndim == 1:
        return np.asarray(np.where(codes == 1, distance, -distance) <= 0)
    own = codes[:, None] == np.arange(distance.shape[1])
    return np.any(np.where(own, distance, -distance) <= 0, axis=1)
