"""Logistic and softmax regression: the logit of a class is a weighted sum of the columns.

Minimises  sum_i w_i * cross-entropy_i + strength / 2 * |W|^2  by Newton's method, each step solved by
conjugate gradients (Lin, Weng, Keerthi 2008, JMLR 9). It is scikit-learn's objective with strength = 1 / C.
Ours, because a small run need not wait for an import of two seconds, and because it comes in rounds: each
round goes on to a smaller slope, so that a deadline between two of them leaves a model that a second run
gives to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from danlu.core.errors import OutOfTime
from danlu.core.ideas import Batch, Context, Step
from danlu.core.parts import Settings, part
from danlu.core.scores import log_softmax
from danlu.core.seeds import generator
from danlu.core.tasks import Task
from danlu.models.affine import Affine, AffineEstimator
from danlu.models.classes import SMALLEST, class_weights, one_hot, stratified_folds
from danlu.models.linear import check_strength
from danlu.models.rows import Rows, training_rows

STRENGTHS = (1000.0, 100.0, 10.0, 1.0, 0.1, 0.01, 0.001)
MAX_NEWTON_STEPS = 100
MAX_INNER_STEPS = 250  # of conjugate gradients within a Newton step
TOLERANCES = (1e-3, 1e-5, 1e-8)
"""Largest slope of the mean loss after each round. scikit-learn stops at 1e-4; 1e-8 gives six digits."""
CHOICE_VALUES = 1 << 21  # numbers (values of x times classes) that the strength is chosen on
NUM_FOLDS = 3


@dataclass(frozen=True)
class LogisticSettings(Settings):
    """How strongly the coefficients are held near zero."""

    strength: float | Literal["auto"] = "auto"
    """Half the weight of the sum of squared coefficients beside the summed log loss, above 0; scikit-learn's
    1 / C. `auto` takes the one with the least log loss in cross-validation on (a sample of) the training
    rows."""

    def __post_init__(self) -> None:
        check_strength(self.strength)


@part(
    "model",
    "logistic",
    summary="Logistic and softmax regression: class probabilities from a weighted sum of the columns.",
    source="Cox 1958, Journal of the Royal Statistical Society B 20(2)",
    settings=LogisticSettings,
    tasks=("binary", "multiclass"),
    encoding="linear",
    update="estimator",
    gradient_form=True,
)
class Logistic(AffineEstimator):
    """Logits are an affine function of the columns, fitted by maximum likelihood with an L2 penalty."""

    def __init__(self, settings: LogisticSettings, task: Task, num_features: int, *, seed: int = 0) -> None:
        super().__init__(settings, task, num_features, seed=seed)
        self._num_rounds = 0
        self._strength: float | None = None if settings.strength == "auto" else float(settings.strength)

    def fit_round(self, batch: Batch, task: Task, context: Context) -> Step:
        """Go on to the slope of this round; the first one chooses the strength where it is `auto`."""
        rows = training_rows(batch)
        if self._strength is None:
            self._strength = choose_strength(rows, task, context)
        tolerance = TOLERANCES[min(self._num_rounds, len(TOLERANCES) - 1)]
        fit = minimise(rows, len(task.labels), self._strength, tolerance=tolerance, start=self.affine)
        self.affine = fit.affine
        self._num_rounds += 1
        is_last = self._num_rounds >= len(TOLERANCES)
        return Step(signals={"strength": self._strength, "converged": float(fit.converged)}, done=is_last)


class Fit(NamedTuple):
    """Where the minimisation ended."""

    affine: Affine
    converged: bool


def minimise(
    rows: Rows,
    num_classes: int,
    strength: float,
    *,
    tolerance: float = TOLERANCES[-1],
    start: Affine | None = None,
) -> Fit:
    """Coefficients with the least penalised loss; a class without rows gets a probability near `SMALLEST`."""
    seen = np.flatnonzero(class_weights(rows.y, rows.weight, num_classes))
    if len(seen) < num_classes:
        return _without_unseen(rows, seen, num_classes, strength, tolerance)
    loss = _Loss(rows, num_classes, strength)
    w, b = loss.zeros() if start is None else (start.coefficients.reshape(loss.shape), start.intercept)
    value, p = loss.value(w, b)
    converged = False
    for _ in range(MAX_NEWTON_STEPS):
        slope_w, slope_b = loss.slope(w, p)
        steepest = max(np.abs(slope_w).max(initial=0.0), np.abs(slope_b).max()) / rows.weight.sum()
        converged = bool(steepest <= tolerance)
        if converged:
            break
        move_w, move_b = loss.newton(p, slope_w, slope_b, accuracy=min(0.5, np.sqrt(steepest)))
        along = (slope_w * move_w).sum() + slope_b @ move_b
        length = 1.0
        while True:
            new_w, new_b = w + length * move_w, b + length * move_b
            new_value, new_p = loss.value(new_w, new_b)
            if new_value <= value + 1e-4 * length * along:
                break
            length /= 2
            if length < 1e-10:  # the loss cannot be told from its minimum any more
                return Fit(loss.affine(w, b), True)
        w, b, value, p = new_w, new_b, new_value, new_p
    return Fit(loss.affine(w, b), converged)


def choose_strength(rows: Rows, task: Task, context: Context) -> float:
    """The strength with the least log loss over folds of (a sample of) the rows; 1 where there are too few.

    The penalty acts like a prior, which does not depend on the number of rows, so that a sample is enough.
    """
    rng = generator(context.seed, "strength of the logistic regression")
    num_values = (rows.x.nnz if hasattr(rows.x, "nnz") else rows.x.size) * task.num_scores
    least_rows = max(1000, 20 * len(task.labels))
    size = min(len(rows.y), max(least_rows, round(len(rows.y) * CHOICE_VALUES / max(num_values, 1))))
    sample = rows.take(rng.permutation(len(rows.y))[:size])
    counts = np.bincount(sample.y, minlength=len(task.labels))
    if (counts >= NUM_FOLDS).sum() < 2:
        return 1.0
    folds = stratified_folds(sample.y, NUM_FOLDS, rng)
    starts: list[Affine | None] = [None] * NUM_FOLDS
    best, least = 1.0, np.inf
    for strength in STRENGTHS:
        total = 0.0
        for fold in range(NUM_FOLDS):
            if context.deadline.has_passed:
                raise OutOfTime(
                    "The strength of the logistic regression could not be chosen in time; name one."
                )
            fit = minimise(
                sample.take(np.flatnonzero(folds != fold)),
                len(task.labels),
                strength,
                tolerance=1e-4,
                start=starts[fold],
            )
            starts[fold] = fit.affine
            total += _log_loss(fit.affine, sample.take(np.flatnonzero(folds == fold)))
        if total < least:
            best, least = strength, total
        if total > 1.05 * least:
            break
    return best


class _Loss:
    """The penalised loss, its slope and curvature. Coefficients are (d, m), m = 1 for two classes, else k."""

    def __init__(self, rows: Rows, num_classes: int, strength: float) -> None:
        self.x, self.weight, self.strength = rows.x, rows.weight[:, None], strength
        self.is_binary = num_classes == 2
        self.target = rows.y[:, None].astype(np.float64) if self.is_binary else one_hot(rows.y, num_classes)
        self.shape = (rows.x.shape[1], self.target.shape[1])
        squares = rows.x.multiply(rows.x) if hasattr(rows.x, "nnz") else rows.x * rows.x
        self.squares_t = squares.T

    def zeros(self) -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(self.shape), np.zeros(self.shape[1])

    def value(self, w: np.ndarray, b: np.ndarray) -> tuple[float, np.ndarray]:
        """The penalised loss and the probabilities (n, m)."""
        z = self.x @ w + b
        if self.is_binary:
            losses = np.logaddexp(0.0, z) - self.target * z
            p = np.exp(-np.logaddexp(0.0, -z))
        else:
            logs = log_softmax(z)
            losses, p = -self.target * logs, np.exp(logs)
        return float((self.weight * losses).sum() + 0.5 * self.strength * (w * w).sum()), p

    def slope(self, w: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        error = self.weight * (p - self.target)
        return self.x.T @ error + self.strength * w, error.sum(axis=0)

    def newton(
        self, p: np.ndarray, slope_w: np.ndarray, slope_b: np.ndarray, *, accuracy: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Newton's step to within `accuracy`, by preconditioned conjugate gradients."""
        spread = self.weight * p * (1.0 - p)
        scale_w, scale_b = self.squares_t @ spread + self.strength, spread.sum(axis=0) + 1e-12
        w, b = self.zeros()
        left_w, left_b = -slope_w, -slope_b
        way_w, way_b = left_w / scale_w, left_b / scale_b
        size = first = (left_w * way_w).sum() + left_b @ way_b
        for _ in range(MAX_INNER_STEPS):
            bend_w, bend_b = self._curvature(p, way_w, way_b)
            bend = (way_w * bend_w).sum() + way_b @ bend_b
            if bend <= 1e-14 * size:  # flat in this direction: softmax does not change when all logits rise
                break
            length = size / bend
            w, b = w + length * way_w, b + length * way_b
            left_w, left_b = left_w - length * bend_w, left_b - length * bend_b
            next_w, next_b = left_w / scale_w, left_b / scale_b
            size, before = (left_w * next_w).sum() + left_b @ next_b, size
            if size <= accuracy**2 * first:
                break
            way_w, way_b = next_w + size / before * way_w, next_b + size / before * way_b
        return w, b

    def affine(self, w: np.ndarray, b: np.ndarray) -> Affine:
        return Affine(w[:, 0].copy(), b) if self.is_binary else Affine(w, b - b.mean())

    def _curvature(self, p: np.ndarray, w: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        z = self.x @ w + b
        z = p * (1.0 - p) * z if self.is_binary else p * (z - (p * z).sum(axis=1, keepdims=True))
        z = self.weight * z
        return self.x.T @ z + self.strength * w, z.sum(axis=0)


def _without_unseen(rows: Rows, seen: np.ndarray, num_classes: int, strength: float, tolerance: float) -> Fit:
    """The fit on the classes that have rows; the others get the logit of `SMALLEST` for every row."""
    num_features, low = rows.x.shape[1], float(np.log(SMALLEST))
    if num_classes == 2:
        return Fit(Affine(np.zeros(num_features), np.array([low if seen[0] == 0 else -low])), True)
    full = Affine(np.zeros((num_features, num_classes)), np.full(num_classes, low))
    full.intercept[seen] = 0.0
    if len(seen) == 1:
        return Fit(full, True)
    fit = minimise(rows._replace(y=np.searchsorted(seen, rows.y)), len(seen), strength, tolerance=tolerance)
    if len(seen) == 2:  # one logit z, shared out as -z / 2 and z / 2
        full.coefficients[:, seen] = np.outer(fit.affine.coefficients, [-0.5, 0.5])
        full.intercept[seen] = fit.affine.intercept[0] * np.array([-0.5, 0.5])
    else:
        full.coefficients[:, seen] = fit.affine.coefficients
        full.intercept[seen] = fit.affine.intercept
    return Fit(full, fit.converged)


def _log_loss(affine: Affine, rows: Rows) -> float:
    """Total log loss on rows that were not fitted."""
    z = affine(rows.x)
    if z.ndim == 1:
        return float(rows.weight @ (np.logaddexp(0.0, z) - rows.y * z))
    return float(-rows.weight @ log_softmax(z)[np.arange(len(rows.y)), rows.y])
