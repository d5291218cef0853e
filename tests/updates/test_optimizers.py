"""Each optimizer by hand on a bowl, and against what its paper says of it."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from danlu.core.errors import RecipeError
from danlu.core.ideas import Context
from danlu.core.tasks import Task
from danlu.objectives.regression import SquaredError
from danlu.updates import optimizers
from danlu.updates.gradient import GradientUpdate
from danlu.updates.optimizers import SGD, AdamW
from danlu.updates.parameter_groups import parameter_groups

BOWL = torch.tensor([1.0, 100.0], dtype=torch.float64)  # loss = (w1^2 + 100 w2^2) / 2
PARTS = {
    cls.__part__.name: cls  # type: ignore[attr-defined]
    for cls in vars(optimizers).values()
    if isinstance(cls, type) and "__part__" in vars(cls)
}


def made(name, parameters, *, rate, decay=0.0, **settings):
    cls = PARTS[name]
    part = cls(cls.__part__.settings(**settings))  # type: ignore[attr-defined]
    return part.build([{"params": parameters, "weight_decay": decay}], rate=rate)


def path(name, *, rate, steps, gradient=lambda w, step: BOWL * w, start=(1.0, 1.0), decay=0.0, **settings):
    """(steps + 1, d) weights on the way down."""
    weights = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optimizer = made(name, [weights], rate=rate, decay=decay, **settings)
    places = [weights.detach().clone()]
    for step in range(steps):
        weights.grad = gradient(weights.detach(), step)
        optimizer.step()
        places.append(weights.detach().clone())
    return torch.stack(places)


def steps_to(places, loss=1e-3):
    below = ((BOWL * places**2).sum(dim=1) / 2 <= loss).nonzero()
    return int(below[0]) if len(below) else math.inf


def test_momentum_needs_fewer_steps_than_plain_descent_on_an_ill_conditioned_bowl():
    best = path(
        "sgd", rate=2 / 101, steps=1000
    )  # no other constant rate is faster: 2 / (least + largest curvature)
    assert steps_to(path("sgd", rate=0.01, steps=1000)) == 310
    assert steps_to(best) == 271
    assert steps_to(path("momentum", rate=0.01, steps=1000)) == 71


def test_nesterov_overshoots_less_than_momentum_at_the_same_settings():
    for rate in (0.002, 0.005):
        ball, nesterov = (
            float(-path(name, rate=rate, steps=500)[:, 1].min()) for name in ("momentum", "nesterov")
        )
        assert 0 < nesterov < 0.6 * ball  # past the minimum along the steep axis


def test_adagrads_rate_only_falls():
    weights = nn.Parameter(torch.ones(2, dtype=torch.float64))
    optimizer = made("adagrad", [weights], rate=0.5)
    rates = []
    for _ in range(300):
        weights.grad = BOWL * weights.detach()
        optimizer.step()
        rates.append(0.5 / (optimizer.state[weights]["sum"].sqrt() + 1e-10))
    rates = torch.stack(rates)
    assert (rates[1:] <= rates[:-1]).all() and (rates[-1] < rates[0]).all()


def test_adadeltas_step_does_not_vanish_while_adagrads_does():
    slope = lambda w, step: torch.ones_like(w)  # noqa: E731
    sizes = {}
    for name, rate in (("adagrad", 0.1), ("adadelta", 1.0)):
        sizes[name] = path(name, rate=rate, steps=3000, gradient=slope, start=(0.0,)).diff(dim=0).abs()[:, 0]
    assert float(sizes["adagrad"][-1] / sizes["adagrad"][0]) == pytest.approx(3000**-0.5)
    assert sizes["adadelta"][-1] > sizes["adadelta"][0] > 0


def test_rmsprop_follows_a_moving_loss_that_adagrad_loses():
    target = lambda step: math.sin(2 * math.pi * step / 500)  # noqa: E731
    errors = {}
    for name in ("rmsprop", "adagrad"):
        places = path(name, rate=0.01, steps=5000, gradient=lambda w, step: w - target(step), start=(0.0,))
        errors[name] = max(abs(float(places[step + 1, 0]) - target(step)) for step in range(4000, 5000))
    assert errors["rmsprop"] < 0.03 < 0.9 < errors["adagrad"]


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_adams_first_step_is_about_its_rate_whatever_the_gradients_scale(scale):
    gradient = torch.tensor([3.0, -0.5], dtype=torch.float64) * scale
    step = path("adam", rate=0.01, steps=1, gradient=lambda w, _: gradient).diff(dim=0)[0]
    torch.testing.assert_close(step, -0.01 * gradient.sign(), rtol=1e-3, atol=0.0)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_adamw_shrinks_weights_by_rate_times_decay_whatever_the_gradients_scale(scale):
    slope = lambda w, _: torch.full_like(w, scale)  # noqa: E731
    plain = path("adamw", rate=0.01, steps=1, gradient=slope)[1]
    decayed = path("adamw", rate=0.01, steps=1, gradient=slope, decay=0.1)[1]
    torch.testing.assert_close(plain - decayed, torch.full_like(plain, 0.01 * 0.1), rtol=1e-9, atol=0.0)
    coupled = path("adam", rate=0.01, steps=1, gradient=slope, decay=0.1)[1]
    assert float((plain - coupled).abs().max()) < 1e-6  # Adam divides an L2 gradient away


def test_one_sgd_step_is_the_numeric_gradient_times_the_rate():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1), nn.Flatten(0)).double()
    batch = {"x": torch.randn(7, 3, dtype=torch.float64), "y": torch.randn(7, dtype=torch.float64)}
    objective, rate = SquaredError(Task("regression")), 0.1

    def cost():
        with torch.no_grad():
            return float(objective.sums(model, batch)["squared_error"]) / 7

    numeric = []
    for parameter in model.parameters():
        slopes = torch.zeros_like(parameter)
        for place in range(parameter.numel()):
            flat, sides = parameter.data.view(-1), []
            for change in (1e-5, -2e-5):
                flat[place] += change
                sides.append(cost())
            flat[place] += 1e-5
            slopes.view(-1)[place] = (sides[0] - sides[1]) / 2e-5
        numeric.append(slopes)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = made("sgd", list(model.parameters()), rate=rate)
    GradientUpdate(optimizer)(model, objective, [batch], Context())
    for parameter, old, slope in zip(model.parameters(), before, numeric, strict=True):
        torch.testing.assert_close(parameter - old, -rate * slope, atol=1e-6 * rate, rtol=1e-6)


@pytest.mark.parametrize("name", ["sgd", "momentum", "nesterov", "adagrad", "adam", "adamw"])
def test_torchs_fused_kernels_are_taken_and_agree_with_its_plain_ones(name):
    torch.manual_seed(0)
    start, gradients = torch.randn(50, 3), torch.randn(5, 50, 3)
    ends = []
    for form in ("fused", "plain"):
        weights = nn.Parameter(start.clone())
        optimizer = made(name, [weights], rate=0.1, decay=0.01)
        group = optimizer.param_groups[0]
        assert group["fused"]
        if form == "plain":
            group["fused"], group["foreach"] = None, False
        for gradient in gradients:
            weights.grad = gradient.clone()
            optimizer.step()
        ends.append(weights.detach())
    torch.testing.assert_close(*ends, rtol=1e-5, atol=1e-6)


def test_a_group_that_says_nothing_of_decay_has_none():
    weights = nn.Parameter(torch.ones(2))
    for cls in PARTS.values():
        groups = [
            {"params": [nn.Parameter(torch.ones(2, 2))], "hidden_matrices": True},
            {"params": [weights]},
        ]
        optimizer = cls(cls.__part__.settings()).build(groups, rate=0.1)  # type: ignore[attr-defined]
        assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0, 0.0]
        assert "weight_decay" not in groups[0]


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("momentum", {"momentum": 1.0}, r"momentum.momentum must lie in \[0, 1\), got 1.0"),
        ("nesterov", {"momentum": 0.0}, r"nesterov.momentum must lie in \(0, 1\), got 0.0"),
        ("adagrad", {"eps": 0.0}, "adagrad.eps must be above 0, got 0.0"),
        ("adadelta", {"rho": -0.1}, r"adadelta.rho must lie in \[0, 1\), got -0.1"),
        ("rmsprop", {"alpha": float("nan")}, r"rmsprop.alpha must lie in \[0, 1\), got nan"),
        ("adam", {"beta2": 1.5}, r"adam.beta2 must lie in \[0, 1\), got 1.5"),
        ("adamw", {"eps": -1.0}, "adamw.eps must be above 0, got -1.0"),
        ("muon", {"num_iterations": 0}, "muon.num_iterations must lie between 1 and 20, got 0"),
    ],
)
def test_wrong_settings_are_named(name, settings, message):
    with pytest.raises(RecipeError, match=message):
        PARTS[name].__part__.settings(**settings)  # type: ignore[attr-defined]


def test_weight_decay_leaves_smaller_weights_than_none():
    torch.manual_seed(0)
    x, y = torch.randn(64, 5), torch.randn(64)
    norms = []
    for decay in (0.0, 1.0):
        torch.manual_seed(1)
        model = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, 1), nn.Flatten(0))
        optimizer = AdamW(AdamW.__part__.settings()).build(  # type: ignore[attr-defined]
            parameter_groups(model, weight_decay=decay), rate=0.01
        )
        update = GradientUpdate(optimizer)
        for _ in range(200):
            update(model, SquaredError(Task("regression")), [{"x": x, "y": y}], Context())
        norms.append(sum(float(p.detach().norm()) for p in model.parameters() if p.ndim == 2))
    assert norms[1] < 0.7 * norms[0]


def test_a_copy_of_an_optimizer_moves_its_own_model_alone():
    model = nn.Linear(2, 1)
    optimizer = SGD(SGD.__part__.settings()).build(  # type: ignore[attr-defined]
        parameter_groups(model, weight_decay=0.0), rate=0.1
    )
    other, its = copy.deepcopy((model, optimizer))
    other.weight.grad = torch.ones_like(other.weight)
    its.step()
    assert not torch.equal(other.weight, model.weight)
    optimizer.step()
    assert model.weight.grad is None
