from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from danlu.core.errors import RecipeError
from danlu.updates.optimizers import Muon, MuonSettings
from danlu.updates.parameter_groups import parameter_groups


def network(seed=0) -> Any:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 2))


def build(model, *, rate=0.01, decay=0.0, **settings) -> Any:
    return Muon(MuonSettings(**settings)).build(parameter_groups(model, weight_decay=decay), rate=rate)


def descend(model, optimizer, steps, *, rate=None):
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate or group["lr"]
        optimizer.zero_grad()
        x = torch.randn(32, 4, generator=torch.Generator().manual_seed(step))
        (model(x) - x[:, :2].sin()).square().mean().backward()
        optimizer.step()


def test_it_is_torchs_muon_on_the_hidden_matrix_and_torchs_adamw_on_the_rest():
    model, other = network(), network()
    descend(model, build(model, decay=0.1), 5)
    hidden = other[2].weight
    rest = [parameter for parameter in other.parameters() if parameter is not hidden]
    apart = [
        torch.optim.Muon([hidden], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(
            [
                {"params": [p for p in rest if p.ndim == 2], "weight_decay": 0.1},
                {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
            ],
            lr=0.01,
            betas=(0.9, 0.95),
            fused=True,
        ),
    ]
    for step in range(5):
        for optimizer in apart:
            optimizer.zero_grad()
        x = torch.randn(32, 4, generator=torch.Generator().manual_seed(step))
        (other(x) - x[:, :2].sin()).square().mean().backward()
        for optimizer in apart:
            optimizer.step()
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_step_is_nearly_orthogonal_whatever_the_gradients_spectrum():
    model = network()
    before = model[2].weight.detach().clone()
    left, right = (torch.linalg.qr(torch.randn(16, 16))[0] for _ in range(2))
    model[2].weight.grad = left @ torch.diag(torch.linspace(0.05, 1, 16)) @ right
    build(model).step()
    values = torch.linalg.svdvals(model[2].weight.detach() - before) / (0.01 * 0.2 * 4)
    assert float(values.min()) > 0.5 and float(values.max()) < 1.3  # five iterations of Newton-Schulz


def test_a_changed_rate_reaches_both():
    model = network()
    before = copy.deepcopy(model)
    descend(model, build(model), 3, rate=1e-12)
    for one, two in zip(model.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(one, two, atol=1e-9, rtol=0)


def test_its_state_dictionary_and_its_copy_go_on_to_the_same_bits():
    straight = network()
    optimizer = build(straight)
    descend(straight, optimizer, 3)
    copied, of_copied = copy.deepcopy((straight, optimizer))
    loaded = copy.deepcopy(straight)
    of_loaded = build(loaded)
    of_loaded.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for model, own in ((straight, optimizer), (copied, of_copied), (loaded, of_loaded)):
        descend(model, own, 3)
    for one, two, three in zip(straight.parameters(), copied.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(one, two) and torch.equal(one, three)


def test_a_model_without_hidden_matrices_is_refused():
    with pytest.raises(
        RecipeError, match="Muon moves the matrices between hidden layers, and this model has none"
    ):
        build(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1)))


def test_a_closure_gives_its_loss():
    model = network()
    optimizer = build(model)

    def closure():
        loss = model(torch.ones(1, 4)).square().sum()
        loss.backward()
        return loss

    before = model[2].weight.detach().clone()
    assert float(optimizer.step(closure).detach()) > 0
    assert not torch.equal(before, model[2].weight)
