from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from danlu.core.errors import RecipeError
from danlu.core.tasks import Task
from danlu.objectives.classification import CrossEntropy
from danlu.objectives.regression import SquaredError
from danlu.updates import optimizers
from danlu.updates.optimizer_state import optimizer_state
from danlu.updates.parameter_groups import parameter_groups
from danlu.updates.rate_range import loss_of, rate_range, suggest

PARTS = {
    cls.__part__.name: cls  # type: ignore[attr-defined]
    for cls in vars(optimizers).values()
    if isinstance(cls, type) and "__part__" in vars(cls)
}


def batches(x, y, count, *, seed):
    generator = torch.Generator().manual_seed(seed)
    places = [torch.randperm(len(x), generator=generator)[:32] for _ in range(count)]
    return [{"x": x[place], "y": y[place]} for place in places]


def line():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(400, 8, generator=generator)
    y = x @ torch.linspace(-1, 1, 8) + 0.5 * torch.randn(400, generator=generator)
    return x, y, SquaredError(Task("regression")), lambda: nn.Sequential(nn.Linear(8, 1), nn.Flatten(0))


def digits():
    x, y = load_digits(return_X_y=True)
    x, y = torch.as_tensor(x / 16).float(), torch.as_tensor(y)
    objective = CrossEntropy(Task("multiclass", tuple(range(10))))
    return x, y, objective, lambda: nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def sine():
    x = torch.linspace(-3, 3, 512)[:, None]
    middle = [nn.Tanh(), nn.Linear(32, 32), nn.Tanh()]
    make = lambda: nn.Sequential(nn.Linear(1, 32), *copy.deepcopy(middle), nn.Linear(32, 1), nn.Flatten(0))  # noqa: E731
    return x, torch.sin(2 * x[:, 0]), SquaredError(Task("regression")), make


def built(make, name, rate=1e-3, *, seed=1) -> tuple[Any, Any]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = make()
    part = PARTS[name](PARTS[name].__part__.settings())  # type: ignore[attr-defined]
    return model, part.build(parameter_groups(model, weight_decay=0.0), rate=rate)


def trained(problem, name, rate, *, num_steps=120):
    """Loss over all rows after so many steps at a constant rate; infinite where it diverged."""
    x, y, objective, make = problem
    model, optimizer = built(make, name, rate)
    for batch in batches(x, y, num_steps, seed=5):
        optimizer.zero_grad()
        loss_of(model, objective, batch).backward()
        optimizer.step()
    with torch.no_grad():
        return float(np.nan_to_num(float(loss_of(model, objective, {"x": x, "y": y})), nan=np.inf))


@pytest.mark.parametrize(
    ("make_problem", "name"), [(line, "sgd"), (digits, "momentum"), (digits, "adamw"), (sine, "adamw")]
)
def test_its_suggestion_gains_nearly_what_the_best_constant_rate_gains(make_problem, name):
    problem = make_problem()
    x, y, objective, make = problem
    found = rate_range(*built(make, name, seed=2), objective, batches(x, y, 100, seed=3))
    assert found.diverged or found.rates[-1] == pytest.approx(10.0)
    assert len(found.rates) == len(found.losses) and found.suggestion < found.rates[-1]
    start = trained(problem, name, 1e-12, num_steps=1)
    best = min(trained(problem, name, 10.0**power) for power in np.arange(-3, 0.1, 0.5))
    gained = (start - trained(problem, name, found.suggestion)) / (start - best)
    assert gained > 0.9
    if name == "adamw":  # a tenth of it or ten times it are worse
        assert trained(problem, name, found.suggestion) < trained(problem, name, found.suggestion / 10)
        assert trained(problem, name, found.suggestion) < trained(problem, name, found.suggestion * 10)


@pytest.mark.parametrize("name", ["adamw", "muon", "momentum"])
def test_model_optimizer_and_random_numbers_stay_as_they_are_to_the_bit(name):
    x, y, objective, _ = digits()
    middle = [nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 32), nn.ReLU()]
    model, optimizer = built(lambda: nn.Sequential(nn.Linear(64, 32), *middle, nn.Linear(32, 10)), name)
    rows = batches(x, y, 30, seed=0)
    loss_of(model, objective, rows[0]).backward()
    optimizer.step()
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    slopes = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    state, random = optimizer_state(optimizer), torch.get_rng_state()
    one = rate_range(model, optimizer, objective, rows, num_steps=30)
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    for parameter, slope in zip(model.parameters(), slopes, strict=True):
        assert parameter.grad is not None and torch.equal(parameter.grad, slope)
    after = optimizer_state(optimizer)
    assert state["groups"] == after["groups"]
    for number, values in state["parameters"].items():
        assert all(torch.equal(value, after["parameters"][number][key]) for key, value in values.items())
    torch.manual_seed(99)
    assert (
        rate_range(model, optimizer, objective, rows, num_steps=30) == one
    )  # and it depends on its seed alone
    assert rate_range(model, optimizer, objective, rows, num_steps=30, seed=1) != one


def test_rates_grow_by_one_factor_and_groups_keep_their_ratio():
    x, y, objective, make = line()
    model, optimizer = built(make, "sgd")
    optimizer.param_groups[1]["lr"] = optimizer.param_groups[0]["lr"] / 2
    seen = []

    def before_step(copied):
        assert copied is not model and all(p.grad is not None for p in copied.parameters())
        seen.append(float(copied[0].bias.grad))

    found = rate_range(
        model,
        optimizer,
        objective,
        batches(x, y, 3, seed=0),
        num_steps=40,
        lowest=1e-4,
        highest=1e-2,
        before_step=before_step,
    )
    np.testing.assert_allclose(found.rates, np.geomspace(1e-4, 1e-2, 40))
    assert len(seen) == 40 and not found.diverged


def test_a_loss_that_never_falls_is_refused():
    x, y, objective, _ = line()
    model: Any = nn.Sequential(nn.Linear(8, 1), nn.ReLU(), nn.Flatten(0))
    with torch.no_grad():
        model[0].bias.fill_(-1000.0)  # a dead unit
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(RecipeError, match="The loss fell at no rate between 1e-07 and 1e"):
        rate_range(model, optimizer, objective, batches(x, y, 5, seed=0))
    with pytest.raises(RecipeError, match="got 1 batches and 5 steps from 1e-07 to 10"):
        rate_range(model, optimizer, objective, batches(x, y, 1, seed=0), num_steps=5)
    x = x * float("nan")
    with pytest.raises(RecipeError, match="not a finite number before the first step"):
        rate_range(model, optimizer, objective, batches(x, y, 5, seed=0))


def test_the_suggestion_is_a_third_of_the_rate_with_the_least_loss():
    assert suggest([0.1, 0.3, 0.9, 2.7], np.array([1.0, 0.5, 0.2, 5.0])) == pytest.approx(0.3)
