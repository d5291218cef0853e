"""The formulas against torch's own optimizers, in fp64, where rounding cannot hide a wrong one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from danlu.updates.optimizer_formulas import FORMULAS, formula_of

Maker = Callable[[Any], torch.optim.Optimizer]
OPTIMIZERS: dict[str, Maker] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.003),
    "amsgrad": lambda p: torch.optim.Adam(p, lr=0.003, amsgrad=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.003, betas=(0.8, 0.99)),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.002),
    "centered rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.001, momentum=0.5, centered=True, eps=1e-3),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.02, lr_decay=0.01),
    "adadelta": lambda p: torch.optim.Adadelta(p, lr=0.5),
}


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("weight_decay", [0.0, 0.02])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_fifty_steps_are_torchs(name: str, weight_decay: float, fused: bool) -> None:
    parameter = torch.nn.Parameter(torch.randn(7, generator=torch.Generator().manual_seed(0)).double())
    optimizer = OPTIMIZERS[name]([{"params": [parameter], "weight_decay": weight_decay}])
    (group,) = optimizer.param_groups
    if fused and "fused" not in group:
        pytest.skip("torch has no fused form of it")
    group["fused"] = fused or None
    formula = formula_of(optimizer)
    assert formula is not None
    value: Tensor = parameter.detach().clone()
    slots = {slot: torch.zeros_like(value) for slot in formula.slots(group)}
    rng = torch.Generator().manual_seed(1)
    for step in range(50):
        gradient = torch.randn(7, generator=rng).double()
        group["lr"] *= 0.99
        parameter.grad = gradient.clone()
        optimizer.step()
        scalars = [
            torch.tensor(s, dtype=torch.float64) for s in formula.scalars(group, step + 1.0, group["lr"])
        ]
        value, slots = formula.move(group, value, gradient, slots, scalars)
    state = optimizer.state[parameter]
    torch.testing.assert_close(value, parameter.detach(), rtol=1e-11, atol=0)
    for slot, expected in slots.items():
        torch.testing.assert_close(expected, state[slot], rtol=1e-12, atol=1e-15)
    assert formula.counts_steps == ("step" in state)
    assert set(state) - {"step"} == set(slots) or not slots


def test_a_subclass_has_no_formula() -> None:
    """It may do anything in its step."""

    class Other(torch.optim.SGD):
        pass

    assert formula_of(Other([torch.nn.Parameter(torch.zeros(1))], lr=0.1)) is None
    assert torch.optim.SGD in FORMULAS
