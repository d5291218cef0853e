"""Several targets at once: one objective for each, one network for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from danlu.core.errors import DataError, RecipeError, closest
from danlu.core.ideas import Batch, Model, Objective, State
from danlu.core.scores import scores


class Several:
    """The weighted sum of the losses of several targets; each term has the name of its target.

    `batch["y"]` is a mapping from target to its targets, and so may `batch["weight"]` be: a row whose price is not
    known weighs 0 there. The model gives a mapping or a list of scores in the order of the objectives, or one
    (n, total) array whose columns are theirs in that order, as many as each task has scores.

        Several({"price": SquaredError(number), "sold": CrossEntropy(yes_no)}, weights={"sold": 0.5})

    Source: Caruana 1997, Multitask learning, Machine Learning 28.
    """

    def __init__(
        self, objectives: Mapping[str, Objective], *, weights: Mapping[str, float] | None = None
    ) -> None:
        if not objectives:
            raise RecipeError("Several needs an objective for each target, got none.")
        self.objectives = dict(objectives)
        self.weights = dict.fromkeys(self.objectives, 1.0) | dict(weights or {})
        for name, weight in self.weights.items():
            if name not in self.objectives:
                raise RecipeError(
                    f"Several has a weight for {name!r}, which is no target.{closest(name, self.objectives)} "
                    f"Targets: {', '.join(self.objectives)}."
                )
            if not 0 <= weight < float("inf"):
                raise RecipeError(f"The weight of the target {name!r} must be at least 0, got {weight}.")
        self.task = next(iter(self.objectives.values())).task
        """The task of the first target, by which a fit is judged where nothing else is said."""
        self.splittable = all(objective.splittable for objective in self.objectives.values())

    def counts(self, batch: Batch) -> dict[str, float]:
        """The weight behind each target."""
        return {
            name: _only(objective.counts(_part(batch, name)), name)
            for name, objective in self.objectives.items()
        }

    def sums(self, model: Model, batch: Batch) -> dict[str, Any]:
        """The sum of each target's loss times the weight of the target; one forward pass serves all."""
        found = self._divide(model(batch["x"]))
        return {
            name: self.weights[name]
            * _only(objective.sums(lambda x, name=name: found[name], _part(batch, name)), name)
            for name, objective in self.objectives.items()
        }

    def row_weights(self, batch: Batch) -> dict[str, Any | None]:
        """(n,) weight of each row by target; None stands for ones."""
        return {name: _only(o.row_weights(_part(batch, name)), name) for name, o in self._row_wise().items()}

    def row_losses(self, scores: Any, batch: Batch) -> dict[str, Any]:
        """(n,) weighted loss of each row by target."""
        found = self._divide(scores)
        return {
            name: self.weights[name] * _only(o.row_losses(found[name], _part(batch, name)), name)
            for name, o in self._row_wise().items()
        }

    def predict(self, model: Model, batch: Batch) -> dict[str, Any]:
        """Each target's own answer under its name."""
        found = _join_outputs(model, batch["x"], self)
        return {
            name: objective.predict(lambda x, name=name: found[name], batch)
            for name, objective in self.objectives.items()
        }

    def state(self) -> State:
        """The states of the objectives by target."""
        objectives: dict[str, Any] = {**self.objectives}
        return {name: objective.state() for name, objective in objectives.items()}

    def _row_wise(self) -> dict[str, Any]:
        for name, objective in self.objectives.items():
            if not hasattr(objective, "row_losses"):
                raise RecipeError(
                    f"The objective of the target {name!r} has no loss of single rows, which mixing rows needs."
                )
        return self.objectives

    def _divide(self, output: Any) -> dict[str, Any]:
        """The model's output as scores by target."""
        names = list(self.objectives)
        if isinstance(output, Mapping):
            missing = [name for name in names if name not in output]
            if missing:
                raise DataError(
                    f"The model gives scores for {', '.join(map(str, output))}; {missing[0]!r} is missing."
                )
            return {name: output[name] for name in names}
        if isinstance(output, Sequence):
            if len(output) != len(names):
                raise DataError(
                    f"The model gives {len(output)} scores for {len(names)} targets ({', '.join(names)})."
                )
            return dict(zip(names, output, strict=True))
        widths = [objective.task.num_scores for objective in self.objectives.values()]
        if output.ndim != 2 or output.shape[1] != sum(widths):
            raise DataError(
                f"The model gives scores of shape {tuple(output.shape)}; the targets {', '.join(names)} need "
                f"{' + '.join(map(str, widths))} columns. Let the model give a mapping from target to scores."
            )
        ends = np.cumsum(widths)
        return {
            name: output[:, end - 1] if width == 1 else output[:, end - width : end]
            for name, width, end in zip(names, widths, ends.tolist(), strict=True)
        }


def _part(batch: Batch, name: str) -> dict[str, Any]:
    """The batch as the objective of one target sees it."""
    y = batch["y"]
    if not isinstance(y, Mapping) or name not in y:
        came = ", ".join(map(str, y)) if isinstance(y, Mapping) else type(y).__name__
        raise DataError(
            f"Several targets need y as a mapping from target to values; {name!r} is missing, got {came}."
        )
    part = dict(batch) | {"y": y[name]}
    weight = batch.get("weight")
    if isinstance(weight, Mapping):
        del part["weight"]
        part |= {"weight": weight[name]} if name in weight else {}
    return part


def _only(terms: Mapping[str, Any], name: str) -> Any:
    """The value of the single term of an objective."""
    if len(terms) != 1:
        raise RecipeError(
            f"The objective of the target {name!r} has {len(terms)} terms ({', '.join(terms)}); give it one."
        )
    return next(iter(terms.values()))


def _join_outputs(model: Any, x: Any, several: Several) -> dict[str, np.ndarray]:
    """Scores of all rows by target, as NumPy arrays; rows are scored in pieces as for one target."""
    widths: dict[str, int] = {}

    def columns(output: Any) -> list[Any]:
        found = several._divide(output)
        for name, each in found.items():
            widths[name] = 0 if each.ndim == 1 else each.shape[1]
        return [each[:, None] if each.ndim == 1 else each for each in found.values()]

    joined = scores(_joined(model, columns), x)
    ends = np.cumsum([width or 1 for width in widths.values()]).tolist()
    return {
        name: joined[:, end - 1] if width == 0 else joined[:, end - width : end]
        for (name, width), end in zip(widths.items(), ends, strict=True)
    }


def _joined(model: Any, columns: Callable[[Any], list[Any]]) -> Any:
    """The model with one (n, total) output: a module where it is one, so that it is scored as any module."""
    if isinstance(model, nn.Module):
        return _Joined(model, columns)
    return lambda x: np.concatenate([np.asarray(each) for each in columns(model(x))], axis=1)


class _Joined(nn.Module):
    """A network whose outputs stand side by side."""

    def __init__(self, model: nn.Module, columns: Callable[[Any], list[Any]]) -> None:
        super().__init__()
        self.model, self.columns, self.training = model, columns, model.training

    def forward(self, x: Any) -> torch.Tensor:
        """(n, total) scores."""
        return torch.cat(self.columns(self.model(x)), dim=1)
