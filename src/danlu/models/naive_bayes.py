"""Naive Bayes: the columns are taken as independent within a class.

log p(c | x) = log p(c) + sum_j log p(x_j | c) - Z

Our own few lines of NumPy, equal to scikit-learn's, so that a small run need not wait for an import of two
seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from danlu.core.errors import DataError, RecipeError
from danlu.core.ideas import Batch, Context, State, Step
from danlu.core.parts import Settings, part
from danlu.core.scores import dense
from danlu.core.tasks import Task
from danlu.models.affine import Affine
from danlu.models.classes import class_weights, read_seen, spread
from danlu.models.rows import Rows, slices, training_rows
from danlu.models.stored import Stored


@dataclass(frozen=True)
class GaussianSettings(Settings):
    """How narrow a bell may be."""

    smoothing: float = 1e-9
    """Share of the largest variance of all columns that is added to every variance, above 0."""

    def __post_init__(self) -> None:
        if not 0 < self.smoothing < float("inf"):
            raise RecipeError(f"smoothing must be above 0, got {self.smoothing}. The usual value is 1e-9.")


@dataclass(frozen=True)
class CountSettings(Settings):
    """How surprising something new is."""

    smoothing: float = 1.0
    """Times that every column is taken to have been seen in every class beforehand, above 0 (1: Laplace)."""

    def __post_init__(self) -> None:
        if not 0 < self.smoothing < float("inf"):
            raise RecipeError(f"smoothing must be above 0, got {self.smoothing}. The usual value is 1.")


@part(
    "model",
    "gaussian_nb",
    summary="Naive Bayes for numbers: each column is a bell curve within each class. Fast, needs few rows.",
    source="Zhang 2004, The optimality of naive Bayes, FLAIRS",
    settings=GaussianSettings,
    tasks=("binary", "multiclass"),
    encoding="linear",
    update="estimator",
    calibrated=False,
)
class GaussianNB:
    """A mean and a variance for each class and column."""

    keeps_rows = False

    def __init__(self, settings: GaussianSettings, task: Task, num_features: int, *, seed: int = 0) -> None:
        self.settings, self.task, self.num_features, self.seed = settings, task, num_features, seed
        self.seen = np.arange(len(task.labels))
        self.log_prior = np.zeros(len(self.seen))
        self.mean = np.zeros((len(self.seen), num_features))
        self.variance = np.ones((len(self.seen), num_features))

    def fit_round(self, batch: Batch, task: Task, context: Context) -> Step:
        """Take weighted means and variances, class by class."""
        rows = training_rows(batch)
        totals = class_weights(rows.y, rows.weight, len(task.labels))
        self.seen = np.flatnonzero(totals)
        moments = [_mean_and_variance(rows.take(np.flatnonzero(rows.y == code))) for code in self.seen]
        largest = float(_mean_and_variance(rows._replace(weight=np.ones(len(rows.y))))[1].max(initial=0.0))
        self.mean = np.array([mean for mean, _ in moments])
        self.variance = np.array([variance for _, variance in moments]) + self.settings.smoothing * (
            largest or 1.0
        )
        self.log_prior = np.log(totals[self.seen] / totals.sum())
        return Step(done=True)

    def __call__(self, x: Any) -> np.ndarray:
        """(n, d) -> (n,) logits of class 1 or (n, k) joint log-likelihoods."""
        constant = self.log_prior - 0.5 * np.log(2.0 * np.pi * self.variance).sum(axis=1)
        joint = np.empty((x.shape[0], len(self.seen)))
        for piece in slices(x.shape[0], self.num_features):
            block = dense(x[piece])
            for i in range(len(self.seen)):
                joint[piece, i] = constant[i] - 0.5 * ((block - self.mean[i]) ** 2 / self.variance[i]).sum(
                    axis=1
                )
        return spread(joint, self.seen, self.task)

    def state(self) -> State:
        """`seen` (s,) class codes, `log_prior` (s,), `mean` and `variance` (s, d)."""
        return {"seen": self.seen, "log_prior": self.log_prior, "mean": self.mean, "variance": self.variance}

    def load(self, state: State) -> None:
        """Take over a state after checking it."""
        stored = Stored(state, part="gaussian_nb")
        seen = read_seen(stored, self.task)
        log_prior = stored.array("log_prior", (len(seen),), high=0.0)
        mean = stored.array("mean", (len(seen), self.num_features))
        variance = stored.array("variance", mean.shape, low=np.finfo(np.float64).tiny)
        stored.end()
        self.seen, self.log_prior, self.mean, self.variance = seen, log_prior, mean, variance

    def snapshot(self) -> State:
        """The state as it is now."""
        return self.state()

    def restore(self, snapshot: State) -> None:
        """Go back to a snapshot."""
        self.load(snapshot)


class CountNB:
    """What multinomial and Bernoulli naive Bayes share: log-likelihoods that are affine in the columns."""

    keeps_rows = False

    def __init__(self, settings: CountSettings, task: Task, num_features: int, *, seed: int = 0) -> None:
        self.settings, self.task, self.num_features, self.seed = settings, task, num_features, seed
        self.seen = np.arange(len(task.labels))
        self.joint = Affine(np.zeros((num_features, len(self.seen))), np.zeros(len(self.seen)))

    def __call__(self, x: Any) -> np.ndarray:
        """(n, d) -> (n,) logits of class 1 or (n, k) joint log-likelihoods."""
        return spread(self.joint(x), self.seen, self.task)

    def state(self) -> State:
        """`seen` (s,) class codes, `coefficients` (d, s), `intercept` (s,) of the joint log-likelihoods."""
        return {"seen": self.seen, **self.joint.state()}

    def load(self, state: State) -> None:
        """Take over a state after checking it."""
        stored = Stored(state, part="naive Bayes")
        seen = read_seen(stored, self.task)
        coefficients = stored.array("coefficients", (self.num_features, len(seen)))
        intercept = stored.array("intercept", (len(seen),), high=0.0)
        stored.end()
        self.seen, self.joint = seen, Affine(coefficients, intercept)

    def snapshot(self) -> State:
        """The state as it is now."""
        return self.state()

    def restore(self, snapshot: State) -> None:
        """Go back to a snapshot."""
        self.load(snapshot)


@part(
    "model",
    "multinomial_nb",
    summary="Naive Bayes for counts, such as words of a text: the classic of spam filters.",
    source="Manning, Raghavan, Schuetze 2008, Introduction to Information Retrieval, chapter 13",
    settings=CountSettings,
    tasks=("binary", "multiclass"),
    encoding="counts",
    update="estimator",
    calibrated=False,
)
class MultinomialNB(CountNB):
    """Each class draws what is counted with its own frequencies."""

    def fit_round(self, batch: Batch, task: Task, context: Context) -> Step:
        """Take the smoothed, weighted frequency of each column within each class."""
        rows = training_rows(batch)
        if rows.x.shape[1] and rows.x.min() < 0:
            raise DataError(
                "multinomial_nb counts things, and a column has values below zero. "
                "Ignore that column, or use gaussian_nb."
            )
        self.seen, totals, sums = _sums(rows, len(task.labels))
        counts = sums + self.settings.smoothing
        coefficients = np.log(counts) - np.log(counts.sum(axis=0))
        self.joint = Affine(coefficients, np.log(totals / totals.sum()))
        return Step(done=True)


@part(
    "model",
    "bernoulli_nb",
    summary="Naive Bayes for yes-or-no columns: what is absent counts as well as what is there.",
    source="Manning, Raghavan, Schuetze 2008, Introduction to Information Retrieval, chapter 13",
    settings=CountSettings,
    tasks=("binary", "multiclass"),
    encoding="binary",
    update="estimator",
    calibrated=False,
)
class BernoulliNB(CountNB):
    """Each class has a probability for each column to be above zero."""

    def fit_round(self, batch: Batch, task: Task, context: Context) -> Step:
        """Take the smoothed, weighted share of rows above zero of each column within each class."""
        rows = training_rows(batch)
        self.seen, totals, sums = _sums(rows._replace(x=_above_zero(rows.x)), len(task.labels))
        present = np.log(sums + self.settings.smoothing) - np.log(totals + 2.0 * self.settings.smoothing)
        absent = np.log1p(-np.exp(present))
        self.joint = Affine(present - absent, np.log(totals / totals.sum()) + absent.sum(axis=0))
        return Step(done=True)

    def __call__(self, x: Any) -> np.ndarray:
        """(n, d) -> (n,) logits of class 1 or (n, k) joint log-likelihoods."""
        return super().__call__(_above_zero(x))


def _mean_and_variance(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and variance of each column, in two passes over blocks."""
    num_features, total = rows.x.shape[1], rows.weight.sum()
    first, second = np.zeros(num_features), np.zeros(num_features)
    for piece in slices(len(rows.y), num_features):
        first += rows.weight[piece] @ dense(rows.x[piece])
    mean = first / total
    for piece in slices(len(rows.y), num_features):
        second += rows.weight[piece] @ (dense(rows.x[piece]) - mean) ** 2
    return mean, second / total


def _sums(rows: Rows, num_classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Classes that have rows (s,), their weight (s,), and the weighted sum of each column in each: (d, s)."""
    totals = class_weights(rows.y, rows.weight, num_classes)
    seen = np.flatnonzero(totals)
    weights = (rows.y[:, None] == seen) * rows.weight[:, None]
    return seen, totals[seen], np.asarray(rows.x.T @ weights)


def _above_zero(x: Any) -> Any:
    """1 where a value is above zero, else 0; sparse stays sparse."""
    return (x > 0).astype(np.float64)
