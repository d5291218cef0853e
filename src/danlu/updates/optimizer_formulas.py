"""The formulas of torch's optimizers as pure functions, so that a compiler can fuse them with the gradient.

Each keeps its tensors under the names of torch's own state, and gives torch's result: what one of them writes, the
other goes on from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Group = Mapping[str, Any]
"""A param group of the torch optimizer: lr, weight_decay, ..."""
Slots = dict[str, Tensor]
"""The optimizer's tensors of one parameter, by torch's names; all have the parameter's shape."""
Move = Callable[[Group, Tensor, Tensor, Slots, list[Tensor]], tuple[Tensor, Slots]]


@dataclass(frozen=True)
class Formula:
    """How one kind of optimizer moves a parameter."""

    slots: Callable[[Group], tuple[str, ...]]
    """Names of the tensors that it keeps for each parameter; they begin at 0."""
    scalars: Callable[[Group, float, float], tuple[float, ...]]
    """The numbers of one step that change from step to step: of (group, step counted from 1, learning rate)."""
    move: Move
    """(group, parameter, gradient, slots, scalars) -> the new parameter and the new slots."""
    counts_steps: bool = True
    """Whether torch keeps a tensor `step` beside the slots."""
    refuses: tuple[str, ...] = ("differentiable", "maximize")
    """Options of the group that the formula does not cover where they are set."""


def formula_of(optimizer: torch.optim.Optimizer) -> Formula | None:
    """The formula of exactly this kind of optimizer (a subclass may do anything), or None where there is none."""
    return FORMULAS.get(type(optimizer))


def move_sgd(
    group: Group, value: Tensor, gradient: Tensor, slots: Slots, scalars: list[Tensor]
) -> tuple[Tensor, Slots]:
    """Gradient descent with momentum (Polyak 1964) in plain or Nesterov's form (Sutskever et al. 2013)."""
    (rate,) = scalars
    gradient = with_penalty(group, value, gradient)
    if not group["momentum"]:
        return value - rate * gradient, slots
    buffer = group["momentum"] * slots["momentum_buffer"] + gradient
    direction = gradient + group["momentum"] * buffer if group["nesterov"] else buffer
    return value - rate * direction, {"momentum_buffer": buffer}


def adam_scalars(group: Group, step: float, rate: float) -> tuple[float, ...]:
    """Step size, root of the second moment's correction, and the share of the weights that decay leaves."""
    first, second = group["betas"]
    left = 1 - rate * group["weight_decay"] if group.get("decoupled_weight_decay") else 1.0
    return rate / (1 - first**step), (1 - second**step) ** 0.5, left


def move_adam(
    group: Group, value: Tensor, gradient: Tensor, slots: Slots, scalars: list[Tensor]
) -> tuple[Tensor, Slots]:
    """Adam (arXiv:1412.6980), AMSGrad where asked for; AdamW (arXiv:1711.05101) decays the weights themselves."""
    (first, second), (step_size, correction, left) = group["betas"], scalars
    if group["decoupled_weight_decay"]:
        value = value * left if group["weight_decay"] else value
    else:
        gradient = with_penalty(group, value, gradient)
    mean = slots["exp_avg"] + (1 - first) * (gradient - slots["exp_avg"])
    square = second * slots["exp_avg_sq"] + (1 - second) * gradient * gradient
    new = {"exp_avg": mean, "exp_avg_sq": square}
    if group["amsgrad"]:
        square = new["max_exp_avg_sq"] = torch.maximum(slots["max_exp_avg_sq"], square)
    return value - step_size * (mean / (square.sqrt() / correction + group["eps"])), new


def move_rmsprop(
    group: Group, value: Tensor, gradient: Tensor, slots: Slots, scalars: list[Tensor]
) -> tuple[Tensor, Slots]:
    """RMSprop (Hinton's lecture 6e, 2012), centred and with momentum where asked for (Graves, arXiv:1308.0850)."""
    (rate,) = scalars
    gradient, alpha = with_penalty(group, value, gradient), group["alpha"]
    square = alpha * slots["square_avg"] + (1 - alpha) * gradient * gradient
    new, spread = {"square_avg": square}, square
    if group["centered"]:
        mean = slots["grad_avg"] + (1 - alpha) * (gradient - slots["grad_avg"])
        new["grad_avg"], spread = mean, square - mean * mean
    direction = gradient / (spread.sqrt() + group["eps"])
    if group["momentum"] > 0:
        direction = new["momentum_buffer"] = group["momentum"] * slots["momentum_buffer"] + direction
    return value - rate * direction, new


def move_adagrad(
    group: Group, value: Tensor, gradient: Tensor, slots: Slots, scalars: list[Tensor]
) -> tuple[Tensor, Slots]:
    """Adagrad (Duchi, Hazan and Singer, JMLR 12, 2011)."""
    (rate,) = scalars
    gradient = with_penalty(group, value, gradient)
    total = slots["sum"] + gradient * gradient
    return value - rate * (gradient / (total.sqrt() + group["eps"])), {"sum": total}


def move_adadelta(
    group: Group, value: Tensor, gradient: Tensor, slots: Slots, scalars: list[Tensor]
) -> tuple[Tensor, Slots]:
    """Adadelta (arXiv:1212.5701)."""
    ((rate,), rho, eps) = scalars, group["rho"], group["eps"]
    gradient = with_penalty(group, value, gradient)
    square = rho * slots["square_avg"] + (1 - rho) * gradient * gradient
    delta = (slots["acc_delta"] + eps).sqrt() / (square + eps).sqrt() * gradient
    moved = rho * slots["acc_delta"] + (1 - rho) * delta * delta
    return value - rate * delta, {"square_avg": square, "acc_delta": moved}


def with_penalty(group: Group, value: Tensor, gradient: Tensor) -> Tensor:
    """The gradient of the loss plus weight_decay / 2 * |value|^2."""
    return gradient + group["weight_decay"] * value if group["weight_decay"] else gradient


def only_rate(group: Group, step: float, rate: float) -> tuple[float, ...]:
    """The learning rate."""
    return (rate,)


ADAM = Formula(
    slots=lambda group: ("exp_avg", "exp_avg_sq") + (("max_exp_avg_sq",) if group["amsgrad"] else ()),
    scalars=adam_scalars,
    move=move_adam,
)
FORMULAS: dict[type[torch.optim.Optimizer], Formula] = {
    torch.optim.SGD: Formula(
        slots=lambda group: ("momentum_buffer",) if group["momentum"] else (),
        scalars=only_rate,
        move=move_sgd,
        counts_steps=False,
        refuses=("differentiable", "maximize", "dampening"),
    ),
    torch.optim.Adam: ADAM,
    torch.optim.AdamW: ADAM,
    torch.optim.RMSprop: Formula(
        slots=lambda group: (
            ("square_avg",)
            + (("momentum_buffer",) if group["momentum"] > 0 else ())
            + (("grad_avg",) if group["centered"] else ())
        ),
        scalars=only_rate,
        move=move_rmsprop,
    ),
    torch.optim.Adagrad: Formula(
        slots=lambda group: ("sum",),
        scalars=lambda group, step, rate: (rate / (1 + (step - 1) * group["lr_decay"]),),
        move=move_adagrad,
    ),
    torch.optim.Adadelta: Formula(
        slots=lambda group: ("square_avg", "acc_delta"), scalars=only_rate, move=move_adadelta
    ),
}
