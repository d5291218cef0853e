"""The metrics by name, and the scores of a set of predictions.

Predictions are (n,) values for a regression and (n, k) probabilities for classes, for two classes as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from danlu.core.errors import UserError, closest
from danlu.core.tasks import Kind, Task
from danlu.evaluate import formulas
from danlu.evaluate.formulas import Formula

Need = Literal["values", "probabilities", "labels"]


@dataclass(frozen=True)
class Metric:
    """One way to say how good predictions are."""

    name: str
    kinds: tuple[Kind, ...]
    """The tasks that it is for."""
    greater_is_better: bool
    needs: Need
    """What `function` takes as predictions; `labels` are the decisions that follow from probabilities."""
    function: Formula
    """(observed, predicted, weight) -> scores, in the shapes of evaluate/formulas.py."""
    description: str
    aliases: tuple[str, ...] = ()

    def better(self, score: float | None, than: float | None) -> bool:
        """Whether one score beats another; a defined score beats an undefined one."""
        if score is None or than is None:
            return score is not None and than is None
        return score > than if self.greater_is_better else score < than


def score(
    task: Task,
    observed: np.ndarray | Sequence[float],
    predicted: np.ndarray,
    *,
    weight: np.ndarray | None = None,
    threshold: float | None = None,
    names: Iterable[str] | None = None,
) -> dict[str, float | None]:
    """Every metric of the task on these rows, or those in `names`.

    `observed` holds values or class codes, `weight` one weight a row (default 1; rows of weight 0 do not
    count). With two classes a row is decided positive where the positive class has at least `threshold`;
    without one, and for several classes, the likeliest class is decided. A score is None where these rows
    leave it undefined (ROC AUC with one class, R2 of a constant target, MAPE with an observed zero) or where
    a prediction is not finite.
    """
    rows = prepare(task, observed, predicted, weight=weight, threshold=threshold)
    return {metric.name: rows.score(metric) for metric in metrics_for(task, names)}


def metric(name: str) -> Metric:
    """The metric called `name`, by danlu's name or by scikit-learn's."""
    found = _BY_NAME.get(name) or _BY_NAME.get(name.lower().removeprefix("neg_"))
    if found is None:
        names = ", ".join(each.name for each in METRICS)
        raise UserError(f"There is no metric {name!r}.{closest(name, _BY_NAME)} The metrics are: {names}.")
    return found


def default_metric(task: Task) -> Metric:
    """The metric to choose by when none is named: log loss for classes, RMSE for a number."""
    return metric("log_loss" if task.is_classification else "rmse")


def metrics_for(task: Task, names: Iterable[str] | None = None) -> list[Metric]:
    """The metrics of a task, all or those in `names`; a name that belongs to another task is refused."""
    if names is None:
        return [each for each in METRICS if task.kind in each.kinds]
    chosen = [metric(name) for name in names]
    for each in chosen:
        if task.kind not in each.kinds:
            fitting = ", ".join(other.name for other in METRICS if task.kind in other.kinds)
            raise UserError(
                f"The metric {each.name!r} is for {' and '.join(each.kinds)} targets, "
                f"and this one is {task.kind}. Use one of: {fitting}."
            )
    return chosen


def row_losses(task: Task, observed: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """(n,) loss of each row: squared error for a number, -ln(probability of the observed class) for classes.

    Their weighted mean is `mse` and `log_loss`. NaN where a prediction is not finite.
    """
    if not task.is_classification:
        with np.errstate(over="ignore", invalid="ignore"):
            return (np.asarray(observed, np.float64) - np.asarray(predicted, np.float64)) ** 2
    return formulas.surprise(np.asarray(observed, np.int64), np.asarray(predicted, np.float64))


def decide(task: Task, probabilities: np.ndarray, threshold: float | None = None) -> np.ndarray:
    """(n,) class codes: the likeliest class, or the positive one where it has at least `threshold`."""
    if threshold is None:
        return probabilities.argmax(axis=1)
    if task.kind != "binary":
        raise UserError(f"A decision threshold is for two classes, and this target has {len(task.labels)}.")
    positive = task.positive_code
    return np.where(probabilities[:, positive] >= threshold, positive, 1 - positive)


@dataclass(frozen=True)
class Rows:
    """Rows that are ready to be scored: checked, without weightless rows, the positive class as class 1."""

    observed: np.ndarray
    predicted: dict[Need, np.ndarray]
    """Empty where a prediction is not finite."""
    weight: np.ndarray
    """(n,) float64, all above 0."""

    def score(self, metric: Metric) -> float | None:
        """The metric on these rows, None where it is undefined."""
        value = float(self.scores(metric, self.weight[None, :])[0])
        return value if np.isfinite(value) else None

    def scores(self, metric: Metric, weight: np.ndarray) -> np.ndarray:
        """(b,) scores, one for each weighting (b, n) of the rows; NaN where undefined."""
        if not self.predicted or not len(self.observed):
            return np.full(len(weight), np.nan)
        with np.errstate(over="ignore", invalid="ignore"):  # errors beyond 1e154 have no finite square
            return metric.function(self.observed, self.predicted[metric.needs], weight)


def prepare(
    task: Task,
    observed: np.ndarray | Sequence[float],
    predicted: np.ndarray,
    *,
    weight: np.ndarray | None = None,
    threshold: float | None = None,
) -> Rows:
    """Check observed values, predictions and weights, and put them into the shapes that the formulas take."""
    observed = np.asarray(observed, np.int64 if task.is_classification else np.float64)
    predicted = np.asarray(predicted, np.float64)
    shape = (len(observed), len(task.labels)) if task.is_classification else (len(observed),)
    if predicted.shape != shape:
        raise ValueError(f"Predictions of a {task.kind} target are of shape {shape}, got {predicted.shape}.")
    weight = np.ones(len(observed)) if weight is None else np.asarray(weight, np.float64)
    if weight.shape != observed.shape or not np.isfinite(weight).all() or (weight < 0).any():
        raise UserError("Sample weights must be one finite number of at least 0 for each row.")
    if not weight.all():
        kept = weight > 0
        observed, predicted, weight = observed[kept], predicted[kept], weight[kept]
    is_finite = bool(np.isfinite(predicted).all())
    if not task.is_classification:
        if not np.isfinite(observed).all():
            raise ValueError("Observed values must be finite to be scored; leave the other rows out.")
        return Rows(observed, {"values": predicted} if is_finite else {}, weight)
    _check_classes(observed, predicted if is_finite else None, len(task.labels))
    if not is_finite:
        return Rows(observed, {}, weight)
    labels = formulas.one_hot(decide(task, predicted, threshold), len(task.labels))
    if task.kind == "binary" and task.positive_code == 0:
        observed, predicted, labels = 1 - observed, predicted[:, ::-1], labels[:, ::-1]
    return Rows(observed, {"probabilities": predicted, "labels": labels}, weight)


def _check_classes(observed: np.ndarray, probabilities: np.ndarray | None, num_classes: int) -> None:
    if len(observed) and not (observed.min() >= 0 and observed.max() < num_classes):
        raise ValueError(f"Class codes must lie between 0 and {num_classes - 1}, got up to {observed.max()}.")
    if probabilities is None or not len(probabilities):
        return
    if probabilities.min() < 0 or np.abs(probabilities.sum(axis=1) - 1).max() > 1e-5:
        raise ValueError("Probabilities must be at least 0 and sum to 1 in each row; got other scores.")


_NUMBER: tuple[Kind, ...] = ("regression",)
_CLASSES: tuple[Kind, ...] = ("binary", "multiclass")

METRICS: tuple[Metric, ...] = (
    Metric(
        "r2", _NUMBER, True, "values", formulas.r2,
        "share of the target's variance that is explained; 0 is always saying the mean", ("r2_score",),
    ),
    Metric(
        "rmse", _NUMBER, False, "values", formulas.root_mean_squared_error,
        "root of the mean squared error, in the target's unit", ("root_mean_squared_error",),
    ),
    Metric(
        "mse", _NUMBER, False, "values", formulas.mean_squared_error,
        "mean squared error, in the square of the target's unit", ("mean_squared_error",),
    ),
    Metric(
        "mae", _NUMBER, False, "values", formulas.mean_absolute_error,
        "mean absolute error, in the target's unit", ("mean_absolute_error",),
    ),
    Metric(
        "median_absolute_error", _NUMBER, False, "values", formulas.median_absolute_error,
        "half of the rows are off by less than this, in the target's unit",
    ),
    Metric(
        "mape", _NUMBER, False, "values", formulas.mean_absolute_percentage_error,
        "mean absolute error as a share of the observed value: 0.1 is 10 %",
        ("mean_absolute_percentage_error",),
    ),
    Metric(
        "accuracy", _CLASSES, True, "labels", formulas.accuracy,
        "share of rows whose class is right", ("accuracy_score",),
    ),
    Metric(
        "balanced_accuracy", _CLASSES, True, "labels", formulas.balanced_accuracy,
        "accuracy averaged over the classes, so that a rare one counts as much", ("balanced_accuracy_score",),
    ),
    Metric(
        "roc_auc", _CLASSES, True, "probabilities", formulas.roc_auc,
        "chance that a positive row scores above a negative one; mean over the classes for several",
        ("roc_auc_score", "roc_auc_ovr", "auc"),
    ),
    Metric(
        "average_precision", _CLASSES, True, "probabilities", formulas.average_precision,
        "area under the precision-recall curve; mean over the classes for several",
        ("average_precision_score", "pr_auc"),
    ),
    Metric(
        "f1", _CLASSES, True, "labels", formulas.f1,
        "harmonic mean of precision and recall; mean over the classes for several", ("f1_score", "f1_macro"),
    ),
    Metric(
        "precision", _CLASSES, True, "labels", formulas.precision,
        "of the rows called positive, the share that are; mean over the classes for several",
        ("precision_score", "precision_macro"),
    ),
    Metric(
        "recall", _CLASSES, True, "labels", formulas.recall,
        "of the positive rows, the share that are found; mean over the classes for several",
        ("recall_score", "recall_macro"),
    ),
    Metric(
        "log_loss", _CLASSES, False, "probabilities", formulas.log_loss,
        "mean -ln(probability of the observed class): sure and wrong costs most", ("cross_entropy",),
    ),
    Metric(
        "brier_score", _CLASSES, False, "probabilities", formulas.brier_score,
        "mean squared distance of the probabilities from the observed class", ("brier_score_loss", "brier"),
    ),
    Metric(
        "matthews_corrcoef", _CLASSES, True, "labels", formulas.matthews_corrcoef,
        "correlation of observed and decided classes; 0 is guessing", ("mcc",),
    ),
    Metric(
        "expected_calibration_error", _CLASSES, False, "probabilities", formulas.expected_calibration_error,
        "mean gap between a predicted probability and how often it comes true", ("ece",),
    ),
)  # fmt: skip

_BY_NAME = {name: each for each in METRICS for name in (each.name, *each.aliases)}
