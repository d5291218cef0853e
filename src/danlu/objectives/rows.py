"""What objectives share whose loss is a sum over rows: weights, counts, shapes, and the way back to answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar, cast

import numpy as np

from danlu.core.errors import DataError
from danlu.core.ideas import Batch, Model, State
from danlu.core.parts import Part, Settings
from danlu.core.scores import scores
from danlu.core.tasks import Task

Self = TypeVar("Self", bound="RowObjective")


class RowWise(Protocol):
    """An objective that can say the loss of each row: what `Mixup` mixes."""

    task: Task
    splittable: bool

    def row_weights(self, batch: Batch) -> Mapping[str, Any | None]:
        """(n,) weight of each row by term; None stands for ones."""
        ...

    def row_losses(self, scores: Any, batch: Batch) -> Mapping[str, Any]:
        """(n,) weight of each row times its loss, by term."""
        ...

    def counts(self, batch: Batch) -> dict[str, float]:
        """The sum of the weights."""
        ...

    def sums(self, model: Model, batch: Batch) -> dict[str, Any]:
        """The sum of the losses."""
        ...

    def predict(self, model: Model, batch: Batch) -> dict[str, np.ndarray]:
        """Answers from scores."""
        ...

    def state(self) -> State:
        """What was fitted on training rows."""
        ...


class RowObjective(ABC):
    """An objective with one term, called like the part, which is the sum of a loss over the rows."""

    splittable = True

    def __init__(self, task: Task, settings: Any = None) -> None:
        part = part_of(self)
        self.task, self.name = task, part.name
        self.settings: Any = part.settings() if settings is None else settings

    @classmethod
    def fitted(
        cls: type[Self],
        task: Task,
        y: np.ndarray,
        weight: np.ndarray | None = None,
        settings: Settings | None = None,
        *,
        standardise: bool = True,
    ) -> Self:
        """The objective with what it takes from the training targets: a scale, weights of classes, or nothing."""
        return cls(task, settings)

    @abstractmethod
    def losses(self, scores: Any, batch: Batch) -> Any:
        """(n,) weight of each row times its loss."""

    @abstractmethod
    def answers(self, scores: np.ndarray) -> dict[str, np.ndarray]:
        """`values` or `probabilities` that scores stand for."""

    def row_weight(self, batch: Batch) -> Any | None:
        """(n,) weight of each row; None stands for ones."""
        return batch.get("weight")

    def row_weights(self, batch: Batch) -> dict[str, Any | None]:
        """`row_weight` under the name of the term."""
        return {self.name: self.row_weight(batch)}

    def row_losses(self, scores: Any, batch: Batch) -> dict[str, Any]:
        """`losses` under the name of the term."""
        return {self.name: self.losses(scores, batch)}

    def counts(self, batch: Batch) -> dict[str, float]:
        """Total weight of the rows."""
        weight = self.row_weight(batch)
        return {self.name: float(len(batch["y"]) if weight is None else weight.sum())}

    def sums(self, model: Model, batch: Batch) -> dict[str, Any]:
        """Sum over rows of weight * loss."""
        return {self.name: self.losses(model(batch["x"]), batch).sum()}

    def predict(self, model: Model, batch: Batch) -> dict[str, np.ndarray]:
        """The answers to the model's scores."""
        return self.answers(scores(model, batch["x"]))

    def state(self) -> State:
        """Nothing beside task and settings."""
        return {}


def part_of(objective: Any) -> Part:
    """What the decorator `part` hung on the class of an objective."""
    return cast(Part, type(objective).__part__)


def weighed(losses: Any, weight: Any | None) -> Any:
    """Losses times the weights of their rows."""
    return losses if weight is None else losses * weight


def over_targets(losses: Any) -> Any:
    """(n,) losses as they are; of (n, t) losses of t targets the mean of each row."""
    return losses if losses.ndim == 1 else losses.mean(-1)


def aligned(scores: Any, y: Any) -> Any:
    """Scores in the shape of the targets: (n,) or (n, t). A last axis of length 1 more or less is mended.

    Without this, (n, 1) scores minus (n,) targets are an (n, n) table of errors, and nobody says so.
    """
    if scores.ndim == y.ndim + 1 and scores.shape[-1] == 1:
        scores = scores[..., 0]
    elif scores.ndim + 1 == y.ndim and y.shape[-1] == 1:
        scores = scores[..., None]
    if tuple(scores.shape) != tuple(y.shape):
        raise DataError(
            f"The model gives scores of shape {tuple(scores.shape)} for targets of shape {tuple(y.shape)}. "
            "Let its last layer have one output for each target."
        )
    return scores


def one_column(scores: Any) -> Any:
    """(n,) scores from (n, 1) ones; all others as they are."""
    return scores[:, 0] if scores.ndim == 2 and scores.shape[1] == 1 else scores


class Constant:
    """Numbers that were fitted once and meet arrays of NumPy as well as tensors on any device."""

    def __init__(self, values: Any) -> None:
        self.values = np.asarray(values, dtype=np.float64)
        self._copies: dict[Any, Any] = {}

    def like(self, other: Any) -> Any:
        """The numbers beside `other`: copied to its device once, in its type where that is a floating one."""
        if isinstance(other, np.ndarray):
            return self.values
        import torch

        dtype = other.dtype if other.is_floating_point() else torch.float64
        key = (other.device, dtype)
        if key not in self._copies:
            self._copies[key] = torch.as_tensor(self.values.copy(), dtype=dtype, device=other.device)
        return self._copies[key]
