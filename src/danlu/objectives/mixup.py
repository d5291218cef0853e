"""Mixup: training on rows that lie between two rows, with the loss of both labels (arXiv:1710.09412)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from danlu.core.errors import DataError, RecipeError
from danlu.core.ideas import Batch, Model, State
from danlu.objectives.rows import RowWise


class Mixup:
    """share * loss(target) + (1 - share) * loss(partner's target) of share * x + (1 - share) * partner's x.

    A batch may carry `other`, a batch with the `x` and `y` of each row's partner, and `share`, (n,) numbers in [0, 1];
    without them the loss is that of `base`. Floating-point inputs are mixed themselves. Whole numbers are taken for
    tokens: what is mixed is their embedding, in the first `nn.Embedding` of the model that is given them (Guo, Mao,
    Zhang 2019, arXiv:1905.08941). An objective that knows only queries or lists cannot be mixed.

    Source: Zhang, Cisse, Dauphin, Lopez-Paz 2018, arXiv:1710.09412. The batch makes the partners and the shares, so
    that both are a function of the seed and the position.
    """

    def __init__(self, base: RowWise) -> None:
        if not base.splittable or not hasattr(base, "row_losses"):
            raise RecipeError(
                f"Mixup mixes the losses of two rows; {type(base).__name__} has no loss of single rows. "
                "Train it without mixup."
            )
        self.base, self.task, self.splittable = base, base.task, base.splittable

    def counts(self, batch: Batch) -> dict[str, float]:
        """The sum of share * weight + (1 - share) * partner's weight."""
        if "other" not in batch:
            return self.base.counts(batch)
        share, other = _partners(batch)
        mine, theirs = self.base.row_weights(batch), self.base.row_weights(other)
        return {
            term: float(len(share))
            if mine[term] is None and theirs[term] is None
            else float((share * _or_one(mine[term]) + (1 - share) * _or_one(theirs[term])).sum())
            for term in mine
        }

    def sums(self, model: Model, batch: Batch) -> dict[str, Any]:
        """The sum of the mixed losses over the batch."""
        if "other" not in batch:
            return self.base.sums(model, batch)
        share, other = _partners(batch)
        scores = _mixed_scores(model, batch["x"], other["x"], share)
        mine, theirs = self.base.row_losses(scores, batch), self.base.row_losses(scores, other)
        return {term: (share * mine[term] + (1 - share) * theirs[term]).sum() for term in mine}

    def predict(self, model: Model, batch: Batch) -> dict[str, np.ndarray]:
        """The base's prediction: nothing is mixed."""
        return self.base.predict(model, batch)

    def state(self) -> State:
        """The base's state."""
        return self.base.state()


def _partners(batch: Batch) -> tuple[torch.Tensor, Batch]:
    """The shares and the partners' batch, checked against the rows."""
    share, other, x = batch.get("share"), batch["other"], batch["x"]
    if not isinstance(other, Mapping) or share is None or share.ndim != 1 or len(share) != len(x):
        came = "none" if share is None else f"the shape {tuple(share.shape)}"
        raise DataError(
            f"A batch for mixup needs `other`, a batch of partners, and `share`, one number for each of its {len(x)} "
            f"rows; got {type(other).__name__} and {came}."
        )
    if other["x"].shape != x.shape:
        raise DataError(
            f"Rows and their partners must have one shape, got {tuple(x.shape)} and {tuple(other['x'].shape)}. "
            "Pad them to one length."
        )
    return share, other


def _mixed_scores(model: Any, x: torch.Tensor, other: torch.Tensor, share: torch.Tensor) -> Any:
    if x.is_floating_point():
        return model(_mix(x, other, share))
    with _mixed_embedding(model, x, other, share) as mixed:
        scores = model(x)
    if not mixed:
        raise DataError(
            f"Whole numbers cannot be mixed, and {type(model).__name__} gives them to no nn.Embedding in their shape "
            f"{tuple(x.shape)}. Give it floating-point inputs, or train it without mixup."
        )
    return scores


@contextmanager
def _mixed_embedding(
    model: Any, x: torch.Tensor, other: torch.Tensor, share: torch.Tensor
) -> Iterator[list[nn.Embedding]]:
    """Within it the first embedding that is given tokens in the shape of `x` gives those of both rows, mixed."""
    mixed: list[nn.Embedding] = []

    def mix(embedding: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor | None:
        if mixed or inputs[0].shape != x.shape:  # positions, or a second look at the tokens
            return None
        mixed.append(embedding)
        return _mix(
            output, embedding.forward(other), share
        )  # `forward` itself: no hooks, this one least of all

    embeddings = [part for part in model.modules() if isinstance(part, nn.Embedding)]
    hooks = [embedding.register_forward_hook(mix) for embedding in embeddings]
    try:
        yield mixed
    finally:
        for hook in hooks:
            hook.remove()


def _mix(one: torch.Tensor, other: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    part = share.to(one.dtype).reshape(-1, *[1] * (one.ndim - 1))
    return part * one + (1 - part) * other


def _or_one(weight: Any | None) -> Any:
    return 1.0 if weight is None else weight
