"""A gradient step with any torch optimizer: forward, loss, backward, clip, step (the five steps of training)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from danlu.core.duration import Duration, parse_duration
from danlu.core.errors import RecipeError
from danlu.core.ideas import Batch, Context, Objective, State, Step
from danlu.updates.settings import TrainingSettings

MAX_EPOCHS = 200  # of a fit that early stopping watches


class GradientUpdate:
    """Moves the parameters of a module against the gradient of the objective's loss."""

    chunk = 1

    def __init__(
        self, optimizer: torch.optim.Optimizer, *, schedule: Any = None, clip_norm: float | None = None
    ) -> None:
        self.optimizer, self._schedule, self._clip_norm = optimizer, schedule, clip_norm

    def __call__(
        self, model: nn.Module, objective: Objective, batches: Sequence[Batch], context: Context
    ) -> Step:
        """One step on the mean loss over `batches`; `signals` hold the gradient's norm and whether all is finite."""
        self.optimizer.zero_grad(set_to_none=True)
        counts: dict[str, float] = {}
        for batch in batches:
            for term, count in objective.counts(batch).items():
                counts[term] = counts.get(term, 0.0) + count
        losses: dict[str, torch.Tensor] = {}
        for batch in batches:
            # Rows that all weigh nothing have sums of 0 over counts of 0: a loss of 0, not NaN.
            terms = {
                term: total / (counts[term] or 1.0) for term, total in objective.sums(model, batch).items()
            }
            torch.stack(list(terms.values())).sum().backward()
            losses = {term: losses.get(term, 0.0) + loss.detach() for term, loss in terms.items()}
        parameters = [p for p in model.parameters() if p.grad is not None]
        norm = (
            nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
            if self._clip_norm is None
            else nn.utils.clip_grad_norm_(parameters, self._clip_norm)
        )
        self.optimizer.step()
        if self._schedule is not None:
            self._schedule.step()
        finite = torch.isfinite(torch.stack(list(losses.values())).sum() + norm)
        return Step(dict(losses), {"gradient_norm": norm, "finite": finite})

    @contextmanager
    def evaluating(self, model: nn.Module) -> Iterator[None]:
        """Evaluation mode: no dropout, running statistics in batch norm."""
        model.eval()
        try:
            yield
        finally:
            model.train()

    def state(self) -> State:
        """The optimizer's moments and the schedule's position."""
        schedule = {} if self._schedule is None else self._schedule.state_dict()
        return {"optimizer": self.optimizer.state_dict(), "schedule": schedule}

    def load(self, state: State) -> None:
        """Take over what `state` gave."""
        self.optimizer.load_state_dict(state["optimizer"])
        if self._schedule is not None:
            self._schedule.load_state_dict(state["schedule"])


def build_optimizer(model: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """The optimizer that the settings name over all parameters of the model."""
    name = "adamw" if settings.optimizer == "auto" else settings.optimizer
    defaults = {"sgd": 1e-2, "adam": 1e-3, "adamw": 1e-3}
    if name not in defaults:
        raise RecipeError(
            f"The optimizer {name!r} solves linear models, got {type(model).__name__}. "
            "Use 'adamw', 'adam' or 'sgd' for it."
        )
    rate = defaults[name] if settings.learning_rate == "auto" else settings.learning_rate
    parameters = list(model.parameters())
    if name == "sgd":
        return torch.optim.SGD(
            parameters, lr=rate, momentum=settings.momentum, weight_decay=settings.weight_decay
        )
    cls = torch.optim.AdamW if name == "adamw" else torch.optim.Adam
    return cls(parameters, lr=rate, weight_decay=settings.weight_decay, fused=True)


def rows_per_step(settings: TrainingSettings, num_rows: int) -> int:
    """The batch size that the settings ask for; `auto` is about a hundred steps an epoch, within 16 .. 256 rows."""
    if settings.batch_size == "all":
        return num_rows
    if settings.batch_size == "auto":
        return int(min(max(2 ** round(math.log2(max(num_rows, 1) / 100 + 1)), 16), 256, num_rows))
    if settings.batch_size > num_rows:
        raise RecipeError(
            f"training.batch_size is {settings.batch_size}, but there are only {num_rows} training rows. "
            "Use a smaller one, or 'all' for one batch of every row."
        )
    return settings.batch_size


def how_long(settings: TrainingSettings, steps_per_epoch: int, *, validated: bool) -> Duration:
    """The longest that the fit may take; early stopping may end it before."""
    if settings.duration != "auto":
        return parse_duration(settings.duration)
    # Without validation rows nothing says when to stop: about 2000 steps fit small tables without running away.
    return Duration(
        MAX_EPOCHS if validated else max(1, min(MAX_EPOCHS, round(2000 / steps_per_epoch))), "epochs"
    )


def build_schedule(settings: TrainingSettings, optimizer: Any, until: Duration, steps_per_epoch: int) -> Any:
    """The schedule of the learning rate over that time, or None for a constant one."""
    if settings.schedule == "constant":
        return None
    if until.unit == "seconds":
        raise RecipeError(
            "training.schedule 'cosine' needs a duration in epochs or steps: in seconds its end is not known."
        )
    total = int(until.amount * (steps_per_epoch if until.unit == "epochs" else 1))
    return torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * min(step / total, 1.0)))
    )
