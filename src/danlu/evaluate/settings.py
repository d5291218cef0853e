"""What a result is judged by and what the report shows of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from danlu.core.errors import RecipeError


@dataclass(frozen=True)
class EvaluationSettings:
    """The `evaluation` group of a recipe."""

    metric: str = "auto"
    """The score that models are chosen by, with scikit-learn's name (auto: log_loss for classes, rmse for numbers)."""
    positive: Any = None
    """Of two classes, the one that precision, recall and the threshold speak of (default: the second in order)."""
    threshold: float | Literal["auto", "f1", "balanced_accuracy", "accuracy", "matthews_corrcoef"] = "auto"
    """Probability of the positive class from which it is predicted; `auto` is 0.5, or what the costs ask for. The name
    of a metric takes the threshold at which that is highest on the choice rows."""
    cost_false_positive: float | None = None
    """Cost of predicting the positive class wrongly; with `cost_false_negative` it sets the threshold."""
    cost_false_negative: float | None = None
    """Cost of missing the positive class."""
    calibration: Literal["auto", "off", "temperature", "platt", "isotonic"] = "auto"
    """How probabilities are corrected on rows kept for it; `auto` keeps a correction only where it helps."""
    interval: float = 0.9
    """Share of new rows that a regression's prediction interval is meant to cover."""
    confidence: float = 0.95
    """Confidence of the intervals around scores."""
    bootstrap: int = 500
    """Resamples of the test rows behind those intervals."""
    groups: tuple[str, ...] = ()
    """Columns by whose values the scores are shown separately (fairness)."""
    importance: bool = True
    """Whether to measure which columns the model relies on."""
    show_rows: bool = True
    """Whether the report may show rows of the data (the worst predictions)."""
    keep_rows: bool = True
    """Whether models that store training rows (k-nearest neighbours, SVM) may be used."""

    def __post_init__(self) -> None:
        for name in ("interval", "confidence"):
            if not 0 < getattr(self, name) < 1:
                raise RecipeError(f"evaluation.{name} must lie between 0 and 1, got {getattr(self, name)}.")
        if not isinstance(self.threshold, str) and not 0 < self.threshold < 1:
            raise RecipeError(f"evaluation.threshold must lie between 0 and 1, got {self.threshold}.")
        costs = (self.cost_false_positive, self.cost_false_negative)
        if (costs[0] is None) != (costs[1] is None):
            raise RecipeError(
                "Costs come in pairs: set both evaluation.cost_false_positive and evaluation.cost_false_negative."
            )
        given = [cost for cost in costs if cost is not None]
        if given and not (all(0 <= cost < float("inf") for cost in given) and any(given)):
            raise RecipeError(f"Costs must not be negative, and one must be above 0, got {costs}.")
        if costs[0] is not None and self.threshold != "auto":
            raise RecipeError("Set either evaluation.threshold or the two costs, not both.")
        if self.bootstrap < 50:
            raise RecipeError(f"evaluation.bootstrap must be at least 50 resamples, got {self.bootstrap}.")
