from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from danlu.core.errors import BundleError, RecipeError
from danlu.core.ideas import Position
from danlu.updates.averages import EMA, SWA, EMASettings, SWASettings


def network(dtype=torch.float32) -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1)).to(dtype)


def train(model, steps, *, after=lambda model, step: None):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
    for step in range(steps):
        x = torch.randn(16, 3, generator=torch.Generator().manual_seed(step)).to(model[0].weight.dtype)
        optimizer.zero_grad()
        (model(x)[:, 0] - x[:, 0]).square().mean().backward()
        optimizer.step()
        after(model, step + 1)


def bits(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ema_is_torchs_to_the_bit_with_the_statistics_of_batch_norm(dtype):
    model = network(dtype)
    average = EMA(EMASettings(decay=0.9, warmup=False))
    average.start(model)
    theirs = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    theirs.update_parameters(model)  # the first call copies

    def after(model, step):
        average.update(model, Position(0, 0, step))
        theirs.update_parameters(model)

    train(model, 20, after=after)
    own = bits(model)
    with average.swapped(model):
        for name, value in theirs.module.state_dict().items():
            if value.is_floating_point():
                assert torch.equal(model.state_dict()[name], value), name
                assert name.endswith("num_batches_tracked") or not torch.equal(own[name], value)
        assert int(model[1].num_batches_tracked) == 20  # a count is copied
    assert same(bits(model), own)


def test_ema_forgets_its_start_soon_while_warming_up():
    weights = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(weights.weight)
    average = EMA(EMASettings(decay=0.999))
    average.start(weights)
    nn.init.ones_(weights.weight)
    expected = 0.0
    for step in range(50):
        average.update(weights, Position(0, 0, step + 1))
        decay = min(0.999, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay)
    with average.swapped(weights):
        assert float(weights.weight.detach()) == pytest.approx(expected, rel=1e-5)
    assert expected > 0.99


def test_swa_is_the_mean_over_the_ends_of_the_last_epochs():
    model = network(torch.float64)
    average = SWA(SWASettings(start=0.5))
    average.start(model, num_epochs=6)
    theirs = AveragedModel(model, use_buffers=True)
    taken = []

    def after(model, step):
        average.update(model, Position(step // 4, step % 4, step))
        if step % 4 == 0 and step // 4 >= 3:
            theirs.update_parameters(model)
            taken.append(step)

    before = {}

    def watch(model, step):
        after(model, step)
        if step == 11:
            with average.swapped(model):
                before["weights"] = bits(model)
            before["own"] = bits(model)

    train(model, 24, after=watch)
    assert taken == [12, 16, 20, 24]
    assert same(before["weights"], before["own"])  # nothing to average yet: the weights themselves
    with average.swapped(model):
        for name, value in theirs.module.state_dict().items():
            if value.is_floating_point():
                torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_it_goes_on_from_its_state_to_the_same_bits(kind):
    def new(model):
        average = EMA(EMASettings(decay=0.95)) if kind == "ema" else SWA(SWASettings(start=0.2))
        average.start(model, num_epochs=5)
        return average

    model = network()
    straight = new(model)
    other = {"average": straight}

    def after(model, step):
        position = Position(step // 4, step % 4, step)
        straight.update(model, position)
        if step == 10:
            state = straight.state()
            again = new(model)
            again.load(state)
            other["average"] = again
        elif step > 10:
            other["average"].update(model, position)

    train(model, 20, after=after)
    one, two = straight.state(), other["average"].state()
    assert other["average"] is not straight
    assert same(one.pop("average"), two.pop("average")) and one == two


def test_an_error_within_leaves_the_models_own_weights():
    model = network()
    average = EMA(EMASettings())
    average.start(model)
    train(model, 3, after=lambda model, step: average.update(model, Position()))
    own = bits(model)
    seen = {}

    def score():
        with average.swapped(model):
            seen.update(bits(model))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        score()
    assert not same(seen, own)
    assert same(bits(model), own)


def test_half_precision_weights_are_averaged_in_float32_and_frozen_ones_not_at_all():
    model: Any = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)).to(torch.bfloat16)
    nn.init.ones_(model[0].weight)
    model[1].weight.requires_grad_(False)
    average = EMA(EMASettings(decay=0.999, warmup=False))
    average.start(model)
    nn.init.zeros_(model[0].weight)
    for _ in range(100):
        average.update(model, Position())
    kept = average.state()["average"]
    assert list(kept) == ["0.weight"]
    assert float(kept["0.weight"]) == pytest.approx(0.999**100, rel=1e-4)  # in bfloat16 it would still be 1


def test_a_state_is_a_copy_and_one_of_another_model_is_refused():
    model = network()
    average = EMA(EMASettings())
    average.start(model)
    state = average.state()
    train(model, 2, after=lambda model, step: average.update(model, Position()))
    assert not same(state["average"], average.state()["average"])
    other = EMA(EMASettings())
    other.start(nn.Linear(3, 1))
    with pytest.raises(BundleError, match="is of 9 tensors, the model's 2 have other names or shapes"):
        other.load(state)


def test_swa_of_a_run_without_the_end_of_an_epoch_is_refused():
    model, average = network(), SWA(SWASettings(start=0.9))
    with pytest.raises(RecipeError, match="the end of a run in seconds is not known"):
        average.start(model)
    with pytest.raises(RecipeError, match=r"from the 3\. on, but the run has 2.5 epochs"):
        average.start(model, num_epochs=2.5)
    average.start(model, num_epochs=math.nextafter(1.0, 2.0))
    with pytest.raises(RecipeError, match=r"ema.decay must lie in \(0, 1\), got 1.0"):
        EMASettings(decay=1.0)
    with pytest.raises(RecipeError, match=r"swa.start must lie in \[0, 1\), got 1.0"):
        SWASettings(start=1.0)
