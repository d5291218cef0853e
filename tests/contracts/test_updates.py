"""What every optimizer, schedule, average and update of the catalogue promises; a new one is found here by itself."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import nn

from danlu.core.ideas import Context, Position
from danlu.core.states import put_together, take_apart
from danlu.core.tasks import Task
from danlu.objectives.regression import SquaredError
from danlu.recipe import catalogue
from danlu.updates.optimizer_state import load_optimizer_state, optimizer_state
from danlu.updates.parameter_groups import parameter_groups

OPTIMIZERS = sorted(catalogue.entries("optimizer"))
SCHEDULES = sorted(catalogue.entries("schedule"))
AVERAGES = sorted(catalogue.entries("average"))
NUMBER = Task("regression")


def built(kind: str, name: str) -> Any:
    cls: Any = catalogue.load(catalogue.lookup(kind, name))
    return cls(cls.__part__.settings())


def network(dtype: torch.dtype) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        middle = [nn.LayerNorm(12), nn.Tanh(), nn.Linear(12, 12), nn.Tanh()]
        return nn.Sequential(nn.Linear(3, 12), *middle, nn.Linear(12, 1), nn.Flatten(0)).to(dtype)


def rows(step: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    x = torch.randn(32, 3, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
    return {"x": x.to(dtype), "y": (x[:, 0] * x[:, 1]).sin().to(dtype)}


def loss(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    return SquaredError(NUMBER).sums(model, batch)["squared_error"] / len(batch["y"])


def descend(model: nn.Module, optimizer: torch.optim.Optimizer, first: int, last: int) -> None:
    for step in range(first, last):
        for group in optimizer.param_groups:
            group["lr"] *= 0.999  # a schedule's changes of the rate are part of what is kept
        optimizer.zero_grad()
        loss(model, rows(step, next(model.parameters()).dtype)).backward()
        optimizer.step()


def made(name: str, model: nn.Module) -> torch.optim.Optimizer:
    rate = catalogue.lookup("optimizer", name).traits["default_rate"]
    return built("optimizer", name).build(parameter_groups(model, weight_decay=0.01), rate=rate)


def through_a_file(state: dict[str, Any]) -> Any:
    """The state after JSON and bare arrays, as a checkpoint holds it."""
    arrays: dict[str, Any] = {}
    text = json.dumps(take_apart(state, place="state", arrays=arrays, strict=False))
    copies = {name: torch.from_numpy(value.detach().numpy().copy()) for name, value in arrays.items()}
    return put_together(json.loads(text), arrays=copies)


def test_the_catalogue_has_the_parts_of_the_engine() -> None:
    assert {
        "sgd", "momentum", "nesterov", "adagrad", "adadelta", "rmsprop", "adam", "adamw", "muon"
    } <= set(OPTIMIZERS)  # fmt: skip
    assert {
        "constant", "step", "exponential", "cosine", "one_cycle", "warmup_stable_decay", "reduce_on_plateau"
    } <= set(SCHEDULES)  # fmt: skip
    assert {"ema", "swa"} <= set(AVERAGES)
    assert {"lbfgs", "exact", "expectation_maximisation"} <= set(catalogue.entries("update"))


@pytest.mark.parametrize("kind", ["optimizer", "schedule", "average", "update"])
def test_every_part_says_what_it_is_for_and_documents_its_settings(kind: str) -> None:
    for entry in catalogue.entries(kind).values():
        assert len(entry.summary) > 20 and entry.summary.endswith(".")
        assert entry.source or entry.name in ("constant", "exponential", "reduce_on_plateau"), entry.name
        assert all(field.doc for field in entry.settings), entry.name
        built(kind, entry.name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_learns_and_goes_on_from_a_file_to_the_same_bits(name: str, dtype: torch.dtype) -> None:
    straight = network(dtype)
    before = float(loss(straight, rows(0, dtype)).detach())
    descend(straight, made(name, straight), 0, 40)
    assert float(loss(straight, rows(0, dtype)).detach()) < before

    model = network(dtype)
    optimizer = made(name, model)
    descend(model, optimizer, 0, 23)
    resumed = network(dtype)
    resumed.load_state_dict(through_a_file(dict(model.state_dict())))
    again = made(name, resumed)
    load_optimizer_state(again, through_a_file(optimizer_state(optimizer)))
    descend(resumed, again, 23, 40)
    for one, two in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_frozen_parameter_stays_where_it_is(name: str) -> None:
    model = network(torch.float32)
    model[0].requires_grad_(False)
    frozen = [parameter.detach().clone() for parameter in model[0].parameters()]
    descend(model, made(name, model), 0, 3)
    assert all(torch.equal(one, two) for one, two in zip(model[0].parameters(), frozen, strict=True))


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_is_a_pure_function_between_0_and_1(name: str) -> None:
    one, two = built("schedule", name), built("schedule", name)
    for total in (10, 1000):
        one.check(total)
        forward = [one.factor(step, total) for step in range(total)]
        backward = [two.factor(step, total) for step in reversed(range(total))]
        assert forward == backward[::-1]
        assert all(0 <= factor <= 1 + 1e-12 for factor in forward) and max(forward) > 0.9


@pytest.mark.parametrize("name", AVERAGES)
def test_an_average_goes_on_from_a_file_to_the_same_bits_and_gives_the_weights_back(name: str) -> None:
    model = network(torch.float32)
    optimizer = made("adamw", model)
    straight = built("average", name)
    straight.start(model, num_epochs=10)
    resumed = straight
    for step in range(40):
        descend(model, optimizer, step, step + 1)
        position = Position((step + 1) // 4, (step + 1) % 4, step + 1)
        for average in {straight, resumed}:
            average.update(model, position)
        if step == 34:
            resumed = built("average", name)
            resumed.start(model, num_epochs=10)
            resumed.load(through_a_file(straight.state()))
    own = [parameter.detach().clone() for parameter in model.parameters()]
    seen = []
    for average in (straight, resumed):
        with average.swapped(model):
            seen.append([parameter.detach().clone() for parameter in model.parameters()])
        assert all(torch.equal(one, two) for one, two in zip(model.parameters(), own, strict=True))
    assert resumed is not straight
    assert all(torch.equal(one, two) for one, two in zip(*seen, strict=True))
    assert not any(torch.equal(one, two) for one, two in zip(seen[0], own, strict=True))


def test_lbfgs_goes_on_from_a_file_to_the_same_bits() -> None:
    ends = []
    for interrupted in (False, True):
        model, update = network(torch.float64), built("update", "lbfgs")
        for call in range(4):
            if interrupted and call == 2:
                state = through_a_file(update.state())
                update = built("update", "lbfgs")
                update.load(state)
            update(model, SquaredError(NUMBER), [rows(0, torch.float64)], Context())
        ends.append([parameter.detach() for parameter in model.parameters()])
    assert all(torch.equal(one, two) for one, two in zip(*ends, strict=True))
