from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from danlu.core.errors import BundleError
from danlu.core.states import put_together, take_apart
from danlu.updates.optimizer_state import load_optimizer_state, optimizer_state
from danlu.updates.optimizers import Adam, AdamSettings


def lbfgs(model):
    return torch.optim.LBFGS(model.parameters(), max_iter=3, history_size=4, line_search_fn="strong_wolfe")


def search(model, optimizer, calls):
    x = torch.linspace(-1, 1, 20, dtype=torch.float64)[:, None]

    def look():
        optimizer.zero_grad()
        loss = (model(x) - x.sin()).square().mean()
        loss.backward()
        return loss

    for _ in range(calls):
        optimizer.step(look)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)).double()


def test_the_lists_of_lbfgs_go_through_json_and_arrays_to_the_same_bits():
    straight, model = network(), network()
    own = lbfgs(straight)
    search(straight, own, 6)
    optimizer = lbfgs(model)
    search(model, optimizer, 3)
    arrays: dict[str, torch.Tensor] = {}
    text = json.dumps(take_apart(optimizer_state(optimizer), place="o", arrays=arrays, strict=False))
    assert sum("old_dirs" in name for name in arrays) == 4
    again = lbfgs(model)
    load_optimizer_state(again, put_together(json.loads(text), arrays=arrays))
    search(model, again, 3)
    for one, two in zip(straight.parameters(), model.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_state_is_a_copy_and_stays_one_after_loading():
    weights = nn.Parameter(torch.ones(2))
    optimizer = Adam(AdamSettings()).build([{"params": [weights]}], rate=0.1)
    weights.grad = torch.ones(2)
    optimizer.step()
    state = optimizer_state(optimizer)
    load_optimizer_state(optimizer, state)
    optimizer.step()
    assert float(state["parameters"]["0"]["step"]) == 1.0
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)
    assert state["groups"][0]["betas"] == [0.9, 0.999]


def test_the_state_of_another_model_is_refused_and_nothing_changes():
    def adam(*shapes):
        weights = [nn.Parameter(torch.ones(shape)) for shape in shapes]
        optimizer = Adam(AdamSettings()).build([{"params": weights}], rate=0.1)
        for weight in weights:
            weight.grad = torch.ones_like(weight)
        optimizer.step()
        return optimizer

    optimizer = adam((2,), (3,))
    before = optimizer_state(optimizer)
    with pytest.raises(
        BundleError, match=r"with 1 groups of \[1\] parameters, this one has 1 groups of \[2\]"
    ):
        load_optimizer_state(optimizer, optimizer_state(adam((2,))))
    with pytest.raises(
        BundleError, match=r"exp_avg of parameter 1 has the shape \(4,\), the parameter \(3,\)"
    ):
        load_optimizer_state(optimizer, optimizer_state(adam((2,), (4,))))
    after = optimizer_state(optimizer)
    assert before["groups"] == after["groups"]
    for number, values in before["parameters"].items():
        assert all(torch.equal(value, after["parameters"][number][name]) for name, value in values.items())
