"""What each metric is called, how it is written, which way is better and what it means, for people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from danlu.report.text import MISSING, between, fixed, is_number, number, percent, pick, say, scientific


@dataclass(frozen=True)
class Metric:
    """How one metric is shown."""

    title: str
    meaning: str
    greater_is_better: bool | None = True
    """None: neither way is better."""
    form: str = "score"
    """`percent`; `score`: three decimals; `amount`: in the target's unit."""


_METRICS = {
    "accuracy": Metric("Accuracy", "share of rows whose class is predicted right", form="percent"),
    "balanced_accuracy": Metric(
        "Balanced accuracy",
        "accuracy averaged over the classes, so that a rare class counts as much as a common one",
        form="percent",
    ),
    "precision": Metric(
        "Precision", "of the rows that the model calls positive, the share that are", form="percent"
    ),
    "recall": Metric("Recall", "of the positive rows, the share that the model finds", form="percent"),
    "f1": Metric("F1", "harmonic mean of precision and recall: high only when both are"),
    "roc_auc": Metric(
        "ROC AUC", "chance that a positive row gets a higher score than a negative one; 0.5 is guessing"
    ),
    "average_precision": Metric(
        "PR AUC", "area under the precision-recall curve; guessing gets the positive share"
    ),
    "log_loss": Metric(
        "Log loss",
        "how surprised the predicted probabilities are by the truth; sure and wrong costs most",
        False,
    ),
    "brier_score": Metric("Brier score", "mean squared distance between probability and truth", False),
    "expected_calibration_error": Metric(
        "Calibration error", "average gap between a predicted probability and how often it comes true", False
    ),
    "matthews_corrcoef": Metric(
        "Matthews correlation", "correlation between truth and prediction; 0 is guessing"
    ),
    "selection_rate": Metric(
        "Selection rate", "share of rows that the model calls positive", None, form="percent"
    ),
    "true_positive_rate": Metric(
        "True positive rate", "of the positive rows, the share that the model finds", form="percent"
    ),
    "false_positive_rate": Metric(
        "False positive rate",
        "of the other rows, the share that the model calls positive by mistake",
        False,
        form="percent",
    ),
    "top_k_accuracy": Metric(
        "Top-k accuracy", "share of rows whose class is among the k likeliest", form="percent"
    ),
    "r2": Metric(
        "R²",
        "share of the target's variation that the model explains; 0 is as good as always saying the mean",
    ),
    "rmse": Metric(
        "RMSE",
        "root of the mean squared error: like the mean absolute error, but large misses weigh more",
        False,
        "amount",
    ),
    "mse": Metric("MSE", "mean squared error", False, "amount"),
    "mae": Metric(
        "Mean absolute error", "how far a prediction is off on average, in the target's unit", False, "amount"
    ),
    "median_absolute_error": Metric(
        "Median absolute error", "half of the rows are off by less than this", False, "amount"
    ),
    "mape": Metric("MAPE", "mean absolute error as a percentage of the observed value", False, "percent"),
    "max_error": Metric("Largest error", "the worst miss", False, "amount"),
}

_ALIASES = {
    "brier": "brier_score",
    "brier_score_loss": "brier_score",
    "pr_auc": "average_precision",
    "mcc": "matthews_corrcoef",
    "ece": "expected_calibration_error",
    "mean_squared_error": "mse",
    "root_mean_squared_error": "rmse",
    "mean_absolute_error": "mae",
    "mean_absolute_percentage_error": "mape",
    "r2_score": "r2",
}

_AVERAGES = {
    "_macro": "mean over the classes",
    "_weighted": "mean over the classes, weighted by their rows",
    "_micro": "over all rows together",
    "_ovr": "each class against the rest",
    "_ovo": "each pair of classes",
}


# Names that are no words of their own; not after an option or within quotes, where they may be a column's.
_RAW = re.compile(
    r"(?<![\w=.'`-])(?<!--metric )(r2|rmse|mse|mae|mape|ece|mcc|"
    + "|".join(sorted((name for name in [*_METRICS, *_ALIASES] if "_" in name), key=len, reverse=True))
    + r")(_macro|_weighted|_micro|_ovr|_ovo)?(?![\w='`])"
)
_COUNTED = re.compile(r"(?<![\w.,'-])\d{4,}(?= (?:different|rows?|columns?|values?|texts?|words?)\b)")


def readable(sentence: Any) -> str:
    """A sentence of the record as the page writes it: log_loss -> log loss, 90% -> 90 %, 5160 rows -> 5,160 rows.

    The unit of the log loss, nats, is left out: the loss is shown without it everywhere else.
    """
    text = _RAW.sub(lambda match: inline(match[0]), str(sentence))
    text = re.sub(r"(?<=\d)%(?!\w)", " %", re.sub(r"(?<=\d) nats\b", "", text))
    return _COUNTED.sub(lambda match: f"{int(match[0]):,}", text)


def inline(name: str) -> str:
    """The metric's name within a sentence: log_loss -> log loss, rmse -> RMSE."""
    name = title(name)
    is_name = name[:2].isupper() or name.startswith(("R²", "F1", "Brier", "Matthews"))
    return name if is_name else name[:1].lower() + name[1:]


def metric_of(name: str) -> Metric:
    """How to show the metric called `name`; an unknown one keeps its name."""
    for ending, meaning in _AVERAGES.items():
        base = metric_of(name.removesuffix(ending)) if name.endswith(ending) else None
        if base is not None:
            title = f"{base.title} ({ending[1:]})"
            return Metric(title, f"{base.meaning} ({say(meaning)})", base.greater_is_better, base.form)
    known = _METRICS.get(_ALIASES.get(name, name))
    if known is None:
        return Metric(name.removeprefix("neg_").replace("_", " ").capitalize(), "", None)
    return Metric(say(known.title), say(known.meaning), known.greater_is_better, known.form)


def title(name: str) -> str:
    """The metric's name for people: roc_auc -> ROC AUC."""
    return metric_of(name).title


def show(name: str, value: Any) -> str:
    """The metric's value for people: accuracy 0.8743 -> 87.4 %."""
    form = metric_of(name).form
    if form == "percent":
        return percent(value)
    if form == "amount":
        return number(value) if not is_number(value) or abs(value) < 1e7 else scientific(value)
    return fixed(value, 3)


def show_interval(name: str, interval: Any) -> str:
    """An interval of the metric's values for people: 86.9–87.9 %."""
    if not is_interval(interval):
        return MISSING
    return between(show(name, interval[0]), show(name, interval[1]))


def is_interval(value: Any) -> TypeGuard[Sequence[float]]:
    """Whether `value` is a pair of finite numbers."""
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(is_number(bound) for bound in value)


def greater_is_better(name: str, record: dict[str, Any]) -> bool | None:
    """Which way is better: by the record for its own metric, by the catalogue for others, None if unknown."""
    if name == record.get("metric") and record.get("greater_is_better") is not None:
        return bool(record["greater_is_better"])
    return metric_of(name).greater_is_better


def headline_metric(record: dict[str, Any]) -> str | None:
    """The metric that says most to a newcomer: accuracy or mean absolute error, else what was chosen by."""
    scores = unseen(record)[1]
    wanted = (
        ["mae", "mean_absolute_error", "rmse", "r2"] if record.get("task") == "regression" else ["accuracy"]
    )
    names = [
        name for name in [*wanted, record.get("metric"), *scores] if name and is_number(scores.get(name))
    ]
    return names[0] if names else None


def is_imbalanced(record: dict[str, Any]) -> bool:
    """Whether the run found classes so far from equally frequent that accuracy alone flatters."""
    found = record.get("findings") or []
    return any(isinstance(one, dict) and one.get("code") == "imbalance" for one in found)


def unseen(record: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The part that the report speaks of and its scores: `test`, or `validation` where there is none."""
    test = pick(record, "metrics", "test")
    return ("test", test) if test else ("validation", pick(record, "metrics", "validation") or {})


def ordered(names: Iterable[str], record: dict[str, Any]) -> list[str]:
    """Metric names without repeats: the one that was chosen by first, then in the catalogue's order."""
    order = {name: place for place, name in enumerate(_METRICS)}
    unique = sorted(dict.fromkeys(names), key=lambda name: order.get(_ALIASES.get(name, name), len(order)))
    return sorted(unique, key=lambda name: name != record.get("metric"))
