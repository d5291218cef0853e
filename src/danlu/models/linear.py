"""Linear regression: least squares, ridge, lasso, elastic net. y = b + w1 x1 + ... + wd xd."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from danlu.core.errors import RecipeError
from danlu.core.ideas import Batch, Context, Step
from danlu.core.parts import Settings, part
from danlu.core.seeds import derive
from danlu.core.tasks import Task
from danlu.models.affine import Affine, AffineEstimator
from danlu.models.least_squares import describe, least_squares, ridge
from danlu.models.native import convergence, native
from danlu.models.rows import Rows, standardised, training_rows


@dataclass(frozen=True)
class RidgeSettings(Settings):
    """How strongly the coefficients are held near zero."""

    strength: float | Literal["auto"] = "auto"
    """Weight of the sum of squared coefficients beside the sum of squared errors, above 0; scikit-learn's
    `alpha`. `auto` takes the one with the least error on rows left out of the fit."""

    def __post_init__(self) -> None:
        check_strength(self.strength)


@dataclass(frozen=True)
class LassoSettings(Settings):
    """How strongly the coefficients are held at zero."""

    strength: float | Literal["auto"] = "auto"
    """Weight of the sum of absolute coefficients beside half the mean squared error, above 0; scikit-learn's
    `alpha` for a target with a standard deviation of 1. `auto` takes the one with the least error in 5-fold
    cross-validation on the training rows."""

    def __post_init__(self) -> None:
        check_strength(self.strength)


@dataclass(frozen=True)
class ElasticNetSettings(Settings):
    """How strongly the coefficients are held at zero, and how."""

    strength: float | Literal["auto"] = "auto"
    """Weight of both penalties beside half the mean squared error, above 0; scikit-learn's `alpha` for a
    target with a standard deviation of 1. `auto` takes the one with the least error in 5-fold cross-
    validation on the training rows."""
    l1_ratio: float = 0.5
    """Share of the absolute penalty, from 0.01 to 1 (the lasso); the squared penalty has the rest."""

    def __post_init__(self) -> None:
        check_strength(self.strength)
        if not 0.01 <= self.l1_ratio <= 1:
            raise RecipeError(
                f"l1_ratio must lie in [0.01, 1], got {self.l1_ratio}. Use the model 'ridge' for 0."
            )


def check_strength(strength: float | str) -> None:
    """Refuse a strength that is not above zero."""
    if strength != "auto" and not (isinstance(strength, (int, float)) and 0 < strength < float("inf")):
        raise RecipeError(
            f"strength must be 'auto' or a number above 0, got {strength!r}. Without a penalty: 'linear'."
        )


@part(
    "model",
    "linear",
    summary="Least squares: a weighted sum of the columns, solved exactly. The first model to try.",
    source="Legendre 1805, Nouvelles methodes pour la determination des orbites des cometes",
    tasks=("regression",),
    encoding="linear",
    update="estimator",
    gradient_form=True,
)
class Linear(AffineEstimator):
    """Ordinary least squares."""

    def fit_round(self, batch: Batch, task: Task, context: Context) -> Step:
        """Solve exactly."""
        solution = least_squares(training_rows(batch), context)
        self.affine = solution.affine
        return Step(signals={"converged": float(solution.converged)}, done=True)


@part(
    "model",
    "ridge",
    summary="Least squares that holds the coefficients near zero: steadier with many or related columns.",
    source="Hoerl, Kennard 1970, Technometrics 12(1)",
    settings=RidgeSettings,
    tasks=("regression",),
    encoding="linear",
    update="estimator",
)
class Ridge(AffineEstimator):
    """Ridge regression, solved exactly."""

    def fit_round(self, batch: Batch, task: Task, context: Context) -> Step:
        """Choose the strength by leave-one-out where it is `auto`, and solve."""
        strength = None if self.settings.strength == "auto" else self.settings.strength
        solution = ridge(describe(training_rows(batch)), strength, context)
        self.affine = solution.affine
        return Step(
            signals={"strength": solution.strength, "converged": float(solution.converged)}, done=True
        )


@part(
    "model",
    "lasso",
    summary="Least squares that sets the coefficients of useless columns to zero.",
    source="Tibshirani 1996, Journal of the Royal Statistical Society B 58(1)",
    settings=LassoSettings,
    tasks=("regression",),
    encoding="linear",
    update="estimator",
    library="sklearn.linear_model",
)
class Lasso(AffineEstimator):
    """The lasso, fitted by scikit-learn's coordinate descent."""

    interruptible = False

    def fit_round(self, batch: Batch, task: Task, context: Context) -> Step:
        """Choose the strength by cross-validation where it is `auto`, and fit."""
        self.affine, signals = coordinate_descent(
            training_rows(batch), self.settings.strength, 1.0, self.seed
        )
        return Step(signals=signals, done=True)


@part(
    "model",
    "elastic_net",
    summary="Between ridge and lasso: drops useless columns and keeps groups of related ones together.",
    source="Zou, Hastie 2005, Journal of the Royal Statistical Society B 67(2)",
    settings=ElasticNetSettings,
    tasks=("regression",),
    encoding="linear",
    update="estimator",
    library="sklearn.linear_model",
)
class ElasticNet(AffineEstimator):
    """The elastic net, fitted by scikit-learn's coordinate descent."""

    interruptible = False

    def fit_round(self, batch: Batch, task: Task, context: Context) -> Step:
        """Choose the strength by cross-validation where it is `auto`, and fit."""
        strength, l1_ratio = self.settings.strength, self.settings.l1_ratio
        self.affine, signals = coordinate_descent(training_rows(batch), strength, l1_ratio, self.seed)
        return Step(signals=signals, done=True)


def coordinate_descent(
    rows: Rows, strength: float | str, l1_ratio: float, seed: int
) -> tuple[Affine, dict[str, float]]:
    """The elastic net of scikit-learn and the signals of its step; a constant target needs no columns.

    The target is standardised first: else the squared penalty, which does not grow with the target, would
    hold a target in dollars far more than one in millions.
    """
    if np.ptp(rows.y) == 0:
        return Affine(np.zeros(rows.x.shape[1]), rows.y[:1].astype(np.float64)), {"converged": 1.0}
    rows, mean, deviation = standardised(rows)
    if strength == "auto":
        from sklearn.model_selection import KFold

        folds = KFold(min(5, len(rows.y)), shuffle=True, random_state=derive(seed, "strength"))
        estimator = native("ElasticNetCV", rows.x, l1_ratio=l1_ratio, cv=folds, eps=1e-4, max_iter=5000)
    else:
        estimator = native("ElasticNet", rows.x, alpha=strength, l1_ratio=l1_ratio, max_iter=5000)
    with convergence() as ended:
        estimator.fit(rows.x, rows.y, sample_weight=rows.sample_weight)
    chosen = float(estimator.alpha_) if strength == "auto" else float(strength)
    found = Affine.of(estimator.coef_ * deviation, estimator.intercept_ * deviation + mean)
    return found, {"strength": chosen, "converged": float(ended.is_reached)}
