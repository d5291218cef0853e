"""Cross-entropy over two or more classes: logits into a loss, and into probabilities."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from danlu.core.errors import DataError, RecipeError
from danlu.core.ideas import Batch, Model, State
from danlu.core.parts import Settings, part
from danlu.core.scores import class_probabilities, log_softmax
from danlu.core.tasks import Task
from danlu.objectives.class_weights import balanced_weights, check_weights, named_weights, stored_weights
from danlu.objectives.rows import Constant, RowObjective, one_column, weighed


@dataclass(frozen=True)
class CrossEntropySettings(Settings):
    """How sure of the labels it is, and how much each class counts."""

    label_smoothing: float = 0.0
    """Share of each label that is spread evenly over all classes, in [0, 1): 0.1 keeps a network from being too sure
    (arXiv:1512.00567)."""
    class_weights: Literal["balanced"] | dict[str, float] | None = None
    """How much each class counts: `balanced` gives all the same total, `{fraud: 20}` names weights of single classes.
    Probabilities are then those of data in which the classes are as frequent as their weights make them."""

    def __post_init__(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise RecipeError(
                f"cross_entropy.label_smoothing must lie in [0, 1), got {self.label_smoothing}. "
                "The usual value is 0.1."
            )
        check_weights(self.class_weights, where="cross_entropy.class_weights")


@part(
    "objective",
    "cross_entropy",
    summary="Minus the mean log-probability of the right class: logistic and softmax regression, networks.",
    source="Cox 1958, Journal of the Royal Statistical Society B 20(2); Good 1952, ibid. 14(1)",
    settings=CrossEntropySettings,
    tasks=("binary", "multiclass"),
    link="softmax",
)
class CrossEntropy(RowObjective):
    """-log softmax(logits)[label]; two classes have one logit z, which stands for the logits (0, z), or two.

    Targets are class codes (n,), probabilities of the classes (n, k), or for one logit those of class 1 (n,).
    With class weights w and smoothing e the loss is -sum_c w_c p_c log softmax_c, where p is the target mixed with
    e / k, and a row counts with its sum_c w_c target_c: of class codes that is `torch.nn.CrossEntropyLoss`.
    """

    def __init__(
        self, task: Task, settings: CrossEntropySettings | None = None, *, class_weights: Any = None
    ) -> None:
        super().__init__(task, settings)
        asked = self.settings.class_weights
        if class_weights is not None:
            class_weights = stored_weights(task, class_weights)
        elif asked == "balanced":
            raise RecipeError(
                "cross_entropy.class_weights 'balanced' is computed from training targets. "
                "Use CrossEntropy.fitted(task, y, settings=...)."
            )
        elif asked is not None:
            class_weights = named_weights(task, asked, where="cross_entropy.class_weights")
        self._class_weights = None if class_weights is None else Constant(class_weights)

    @classmethod
    def fitted(
        cls,
        task: Task,
        y: np.ndarray,
        weight: np.ndarray | None = None,
        settings: Settings | None = None,
        *,
        standardise: bool = True,
    ) -> CrossEntropy:
        """The objective with class weights from the training targets, where the settings ask for them."""
        chosen: Any = CrossEntropySettings() if settings is None else settings
        if chosen.class_weights != "balanced":
            return cls(task, chosen)
        return cls(task, chosen, class_weights=balanced_weights(task, y, weight))

    def row_weight(self, batch: Batch) -> Any | None:
        """(n,) weight of each row times the weight of its class."""
        weight = batch.get("weight")
        if self._class_weights is None:
            return weight
        y = _one_axis(batch["y"])
        of_class = self._class_weights.like(y)
        if y.ndim == 2:
            rows = y @ of_class
        elif self.task.kind == "binary":  # also right for a probability between the two codes
            rows = of_class[0] + (of_class[1] - of_class[0]) * y
        else:
            rows = of_class[_codes(y)]
        return weighed(rows, weight)

    def sums(self, model: Model, batch: Batch) -> dict[str, Any]:
        """Sum over rows of weight * loss; labels of equal weight in torch's one kernel."""
        scores: Any = model(batch["x"])
        y = batch["y"]
        is_torch = "torch" in sys.modules and not isinstance(scores, np.ndarray)
        is_plain = self._class_weights is None and not self.settings.label_smoothing and "weight" not in batch
        if is_torch and is_plain and self.task.kind == "multiclass" and y.ndim == 1 and scores.ndim == 2:
            from torch.nn import functional

            _check_shapes(self.task, scores, y)
            total = functional.cross_entropy(cast(Any, scores), y.long(), reduction="sum")
            return {self.name: total}
        return {self.name: self.losses(scores, batch).sum()}

    def losses(self, scores: Any, batch: Batch) -> Any:
        """(n,) weight * (log sum exp(logits) - logit of the label)."""
        logits, y = one_column(scores), _one_axis(batch["y"])
        _check_shapes(self.task, logits, y)
        is_torch = "torch" in sys.modules and not isinstance(logits, np.ndarray)
        smoothing = self.settings.label_smoothing
        if self._class_weights is None and not smoothing and y.ndim == 1:
            losses = _torch_losses(logits, y) if is_torch else _losses(logits, y)
        elif logits.ndim == 1:
            losses = self._of_one_logit(logits, y if y.ndim == 1 else y[:, 1], is_torch)
        elif is_torch:
            losses = self._of_tensors(logits, y)
        else:
            target = y if y.ndim == 2 else np.eye(logits.shape[1])[_codes(y)]
            target = (1 - smoothing) * target + smoothing / logits.shape[1]
            losses = -(log_softmax(logits) * target * self._weights_beside(logits)).sum(axis=1)
        return weighed(losses, batch.get("weight"))

    def answers(self, scores: np.ndarray) -> dict[str, np.ndarray]:
        """`probabilities`: (n, k), rows sum to 1."""
        return {"probabilities": class_probabilities(one_column(scores))}

    def state(self) -> State:
        """The weights of the classes, where there are any."""
        return {} if self._class_weights is None else {"class_weights": self._class_weights.values}

    def _weights_beside(self, logits: Any) -> Any:
        return 1.0 if self._class_weights is None else self._class_weights.like(logits)

    def _of_one_logit(self, logits: Any, one: Any, is_torch: bool) -> Any:
        """`one` is the probability of class 1: 0 or 1 for a label."""
        one = one.to(logits.dtype) if is_torch else one  # whole numbers times 0.9 would be float32
        one = (1 - self.settings.label_smoothing) * one + self.settings.label_smoothing / 2
        first, second = (1.0, 1.0) if self._class_weights is None else self._weights_beside(logits)
        if is_torch:
            from torch.nn import functional

            return second * one * functional.softplus(-logits) + first * (1 - one) * functional.softplus(
                logits
            )
        return second * one * np.logaddexp(0.0, -logits) + first * (1 - one) * np.logaddexp(0.0, logits)

    def _of_tensors(self, logits: Any, y: Any) -> Any:
        from torch.nn import functional

        return functional.cross_entropy(
            logits,
            y.to(logits.dtype) if y.ndim == 2 else y.long(),
            weight=None if self._class_weights is None else self._class_weights.like(logits),
            label_smoothing=self.settings.label_smoothing,
            reduction="none",
        )


def class_codes(task: Task, logits: Any, y: Any, *, objective: str) -> Any:
    """(n,) int64 class codes for losses that take labels only; probabilities of classes are refused."""
    y = _one_axis(y)
    _check_shapes(task, logits, y)
    if y.ndim == 2 or (y.dtype.is_floating_point and bool((y != y.round()).any())):
        raise DataError(
            f"The objective {objective!r} takes class codes, got probabilities of shape {tuple(y.shape)}. "
            "Use 'cross_entropy' for them."
        )
    return y.long()


def _check_shapes(task: Task, logits: Any, y: Any) -> None:
    """Refuse logits that do not fit the classes, or targets that do not fit the logits."""
    k = len(task.labels)
    if not (logits.ndim == 2 and logits.shape[1] == k) and not (logits.ndim == 1 and k == 2):
        wanted = f"(n, {k})" + (" or (n,)" if k == 2 else "")
        raise DataError(
            f"The model gives scores of shape {tuple(logits.shape)}; for {k} classes they must be {wanted}. "
            f"Let its last layer have {k} outputs{' or one' if k == 2 else ''}."
        )
    if len(y) != len(logits) or y.ndim > 2 or (y.ndim == 2 and y.shape[1] != k):
        raise DataError(
            f"Targets of {len(logits)} rows must be class codes ({len(logits)},) or probabilities "
            f"({len(logits)}, {k}), got the shape {tuple(y.shape)}."
        )


def _one_axis(y: Any) -> Any:
    """(n,) codes from (n, 1) ones; all others as they are."""
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y


def _codes(y: Any) -> Any:
    """Class codes as an index, whatever type of number they came in."""
    return y.astype(np.int64) if isinstance(y, np.ndarray) else y.long()


def _losses(logits: np.ndarray, label: np.ndarray) -> np.ndarray:
    if logits.ndim == 1:
        return np.logaddexp(0.0, logits) - logits * label
    return -np.take_along_axis(log_softmax(logits), label[:, None].astype(np.int64), axis=1)[:, 0]


def _torch_losses(logits: Any, label: Any) -> Any:
    from torch.nn import functional

    if logits.ndim == 1:
        return functional.softplus(logits) - logits * label
    return functional.cross_entropy(logits, label.long(), reduction="none")
