"""How gradient-trained models are trained: duration, batches, optimizer. Everything has a default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from danlu.core.duration import parse_duration
from danlu.core.errors import RecipeError


@dataclass(frozen=True)
class TrainingSettings:
    """The `training` group of a recipe; `auto` lets the model and the number of rows decide."""

    duration: str = "auto"
    """How long at most: `60 epochs`, `2000 steps` or `30 seconds`; an epoch is one pass over the training rows."""
    batch_size: int | Literal["auto", "all"] = "auto"
    """Rows a step: 1 is stochastic descent, `all` is batch descent, anything between is mini-batch descent."""
    optimizer: Literal["auto", "exact", "sgd", "adam", "adamw"] = "auto"
    """`exact` solves linear models in one step; `auto` is exact for linear models and adamw for networks."""
    learning_rate: float | Literal["auto"] = "auto"
    """Step size of the optimizer."""
    momentum: float = 0.0
    """Momentum of sgd, in [0, 1)."""
    weight_decay: float = 0.0
    """Decoupled decay of the weights a step (adamw), or an L2 penalty (sgd)."""
    schedule: Literal["constant", "cosine"] = "constant"
    """How the learning rate changes over the duration: not at all, or down to zero along half a cosine."""
    clip_norm: float | None = None
    """Largest L2 norm of all gradients together; longer ones are scaled down to it."""
    patience: int | Literal["auto", "off"] = "auto"
    """Validations without a better score after which training stops; the best weights are restored."""

    def __post_init__(self) -> None:
        if self.duration != "auto":
            parse_duration(self.duration)
        if isinstance(self.batch_size, int) and self.batch_size < 1:
            raise RecipeError(f"training.batch_size must be at least 1, got {self.batch_size}.")
        if self.learning_rate != "auto" and not 0 < self.learning_rate < float("inf"):
            raise RecipeError(f"training.learning_rate must be above 0, got {self.learning_rate}.")
        if not 0 <= self.momentum < 1:
            raise RecipeError(f"training.momentum must lie in [0, 1), got {self.momentum}.")
        if self.momentum and self.optimizer != "sgd":
            raise RecipeError(
                f"training.momentum belongs to optimizer 'sgd', but the optimizer is {self.optimizer!r}."
            )
        if not 0 <= self.weight_decay < float("inf"):
            raise RecipeError(f"training.weight_decay must be a number from 0 on, got {self.weight_decay}.")
        if self.clip_norm is not None and not 0 < self.clip_norm < float("inf"):
            raise RecipeError(
                f"training.clip_norm must be above 0, got {self.clip_norm}. Leave it out for no limit."
            )
        if isinstance(self.patience, int) and self.patience < 1:
            raise RecipeError(f"training.patience must be at least 1, or 'off', got {self.patience}.")
