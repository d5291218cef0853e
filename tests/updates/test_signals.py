"""Signals are what a hand calculation gives, and looking changes not one bit."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import nn

from danlu.core.ideas import Context
from danlu.core.states import take_apart
from danlu.core.tasks import Task
from danlu.objectives.classification import CrossEntropy
from danlu.objectives.criterion import Criterion, LossFunction
from danlu.objectives.regression import SquaredError
from danlu.recipe.build import build_part
from danlu.run.module import fit_module
from danlu.updates.gradient import GradientUpdate, StepParts
from danlu.updates.signals import Probe, first_fault

SQUARED = Criterion(nn.MSELoss())


def rows(number=40, width=6, classes=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(number, width, generator=generator)
    y = x.sum(1) if classes is None else torch.randint(classes, (number,), generator=generator)
    return {"x": x, "y": y}


def network(*layers: nn.Module) -> Any:
    """The layers, in order; their weights are what torch's generator gives them at seed 0 (see `seeded`)."""
    return nn.Sequential(*layers)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def line(*weights: float) -> Any:
    model: Any = nn.Sequential(nn.Linear(len(weights), 1), nn.Flatten(0))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([weights]))
        model[0].bias.zero_()
    return model


def look(model: Any, batch: Any, objective: Any = SQUARED) -> dict[str, float]:
    return {name: float(value) for name, value in Probe(share=1.0).look(model, objective, batch).items()}


class Eager(Probe):
    """Looks at every step."""

    def is_due(self):
        return True


class TestNorms:
    def test_the_gradient_of_a_line_by_hand(self):
        """One row x = (3, 4), y = 0, weights (1, 1): d(7^2)/dw = 2 * 7 * x, of norm 70; d/db = 14."""
        found = look(line(1.0, 1.0), {"x": torch.tensor([[3.0, 4.0]]), "y": torch.tensor([0.0])})
        assert found["gradient/0.weight"] == pytest.approx(70)
        assert found["gradient/0.bias"] == pytest.approx(14)
        assert found["gradient_norm"] == pytest.approx(math.hypot(70, 14))

    @pytest.mark.parametrize("weighted", [False, True])
    def test_gradients_are_those_of_backward(self, weighted):
        model, batch = network(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)), rows(classes=3)
        if weighted:
            batch["weight"] = torch.linspace(0, 2, 40)
        objective = CrossEntropy(Task("multiclass", (0, 1, 2)))
        found = look(model, batch, objective)
        each = nn.functional.cross_entropy(model(batch["x"]), batch["y"], reduction="none")
        weight = batch.get("weight", torch.ones(40))
        ((weight * each).sum() / weight.sum()).backward()
        by_hand = {
            f"gradient/{name}": float(p.grad.norm())
            for name, p in model.named_parameters()
            if p.grad is not None
        }
        for name, value in by_hand.items():
            assert found[name] == pytest.approx(value, rel=1e-5)
        assert found["gradient_norm"] == pytest.approx(
            math.sqrt(sum(v**2 for v in by_hand.values())), rel=1e-5
        )
        assert len(by_hand) == 4

    def test_frozen_and_unused_weights_have_none(self):
        model = network(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 1), nn.Flatten(0))
        model[0].weight.requires_grad_(False)
        model.register_parameter("spare", nn.Parameter(torch.ones(3)))
        found = look(model, rows())
        assert {name for name in found if name.startswith("gradient/")} == {
            "gradient/0.bias", "gradient/2.weight", "gradient/2.bias",
        }  # fmt: skip

    def test_the_update_ratio_of_sgd_is_rate_times_gradient_over_weights(self):
        model, rate = network(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1), nn.Flatten(0)), 0.01
        norms = {name: float(p.detach().norm()) for name, p in model.named_parameters()}
        update = GradientUpdate(
            torch.optim.SGD(model.parameters(), lr=rate), StepParts(probe=Eager(share=1.0))
        )
        step = update(model, SQUARED, [rows()], Context())
        assert step.notable and step.signals["learning_rate"] == rate
        for name, norm in norms.items():
            expected = rate * float(step.signals[f"gradient/{name}"]) / norm
            assert float(step.signals[f"update/{name}"]) == pytest.approx(expected, rel=1e-4)

    def test_the_update_ratio_of_several_steps_is_that_of_one(self):
        """A constant gradient of 1 a weight: 4 steps of 0.1 move |w| = 2 by 0.4, each of them by a twentieth."""
        model = line(2.0)
        model[0].bias.requires_grad_(False)
        slope = LossFunction(lambda model, batch: model(batch["x"]).mean())
        probe = Eager(share=1.0)
        optimizer = torch.optim.SGD([model[0].weight], lr=0.1)
        update = GradientUpdate(optimizer, StepParts(probe=probe, chunk=4))
        step = update(model, slope, [{"x": torch.ones(2, 1), "y": torch.zeros(2)}] * 4, Context())
        assert float(step.signals["update/0.weight"]) == pytest.approx(0.05)

    def test_a_deep_stack_of_sigmoids_loses_its_gradient(self):
        """H10: the first of 20 sigmoid layers gets next to none of it, that of ReLU layers far more."""
        shares: dict[type, float] = {}
        for kind in (nn.Sigmoid, nn.ReLU):
            torch.manual_seed(0)
            layers: list[Any] = [each for _ in range(20) for each in (nn.Linear(16, 16), kind())]
            for layer in layers[::2]:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            found = look(nn.Sequential(nn.Linear(6, 16), *layers, nn.Linear(16, 1), nn.Flatten(0)), rows())
            shares[kind] = found["gradient/0.weight"] / found["gradient/41.weight"]
        assert shares[nn.Sigmoid] < 1e-6 < 1e-3 < shares[nn.ReLU]


class TestUnits:
    def test_a_relu_of_hugely_negative_bias_is_dead_and_a_leaky_one_is_not(self):
        """F22."""
        model = network(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 1), nn.Flatten(0))
        with torch.no_grad():
            model[0].bias.fill_(-1e4)
        found = look(model, rows())
        assert found["dead/1"] == 1.0
        assert found["gradient/0.weight"] == 0.0  # no update ever again
        model[1] = build_part("activation", {"name": "leaky_relu", "slope": 0.1})
        found = look(model, rows())
        assert found.get("dead/1", 0.0) == 0.0 and found["gradient/0.weight"] > 0

    def test_the_share_is_counted_by_unit(self):
        """Three of ten units never fire; the others fire for some row at least."""
        model = network(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 1), nn.Flatten(0))
        with torch.no_grad():
            model[0].bias[:3] = -1e4
        assert look(model, rows(200))["dead/1"] == pytest.approx(0.3)

    @pytest.mark.parametrize("shape", [(8, 4, 5, 5), (8, 5, 4)])
    def test_units_are_channels_of_images_and_features_of_sequences(self, shape):
        class Shift(nn.Module):
            def forward(self, x):
                wide = torch.zeros(4)
                wide[0] = -1e4
                return x + (wide[:, None, None] if x.ndim == 4 else wide)

        model = nn.Sequential(Shift(), nn.ReLU(), nn.Flatten(), nn.Linear(100, 1), nn.Flatten(0))
        x = torch.randn(shape if len(shape) == 4 else (8, 25, 4), generator=torch.Generator().manual_seed(0))
        assert look(model, {"x": x, "y": torch.zeros(8)})["dead/1"] == pytest.approx(0.25)

    @pytest.mark.parametrize(
        "kind",
        [
            nn.Sigmoid(),
            nn.Tanh(),
            nn.Softsign(),
            build_part("activation", "sigmoid"),
            build_part("activation", "tanh"),
        ],
    )
    def test_big_weights_saturate_and_small_ones_do_not(self, kind):
        model = network(nn.Linear(6, 10), kind, nn.Linear(10, 1), nn.Flatten(0))
        with torch.no_grad():
            model[0].weight.mul_(1e-3)
            model[0].bias.zero_()
        assert look(model, rows())["saturated/1"] == 0.0
        with torch.no_grad():
            model[0].weight.mul_(1e9)
        assert look(model, rows())["saturated/1"] == 1.0

    def test_saturation_counts_values_within_a_hundredth_of_the_range(self):
        """sigmoid(4.6) = 0.99005 is within it, sigmoid(4.5) = 0.98901 is not; nor are their mirrors."""
        model: Any = network(nn.Sigmoid(), nn.Flatten(0))
        model.register_parameter("w", nn.Parameter(torch.ones(1)))
        objective = LossFunction(lambda model, batch: model(batch["x"]).mean() * model.w.sum())
        x = torch.tensor([[4.6], [4.5], [-4.6], [-4.5]])
        assert look(model, {"x": x, "y": torch.zeros(4)}, objective)["saturated/0"] == pytest.approx(0.5)

    def test_one_row_alone_says_nothing_about_units(self):
        model = network(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 1), nn.Flatten(0))
        assert not [name for name in look(model, rows(1)) if name.startswith("dead/")]


class TestUntouched:
    def test_a_look_leaves_weights_buffers_gradients_and_random_numbers(self):
        last = nn.utils.parametrizations.spectral_norm(nn.Linear(8, 1))
        model = network(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), last, nn.Flatten(0))
        model.train()
        SQUARED.sums(model, rows())["loss"].backward()
        before = copy.deepcopy(model.state_dict())
        gradients = {name: copy.deepcopy(p.grad) for name, p in model.named_parameters()}
        buffers = {name: id(buffer) for name, buffer in model.named_buffers()}
        random = torch.get_rng_state()
        assert look(model, rows())["gradient_norm"] > 0
        after = model.state_dict()
        assert all(torch.equal(after[name], value) for name, value in before.items())
        assert all(torch.equal(p.grad, gradients[name]) for name, p in model.named_parameters())  # type: ignore[arg-type]
        assert buffers == {name: id(buffer) for name, buffer in model.named_buffers()}
        assert torch.equal(torch.get_rng_state(), random) and model.training
        assert not any(module._forward_hooks for module in model.modules())

    def test_a_look_that_fails_leaves_the_model_too(self):
        model = network(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 1))
        buffers = {name: id(buffer) for name, buffer in model.named_buffers()}

        def fails(model, batch):
            model(batch["x"])
            raise KeyError("the loss's own")

        with pytest.raises(KeyError):
            look(model, rows(), LossFunction(fails))
        assert buffers == {name: id(buffer) for name, buffer in model.named_buffers()}
        assert int(model[1].num_batches_tracked) == 0
        assert not any(module._forward_hooks for module in model.modules())

    def test_looking_at_every_step_changes_no_bit(self, monkeypatch):
        looks = []
        monkeypatch.setattr(Probe, "is_due", lambda self: looks.append(1) is None)
        ends = []
        for share in (0.0, 1.0):
            torch.manual_seed(1)
            model = network(
                nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3)
            )
            fitted = fit_module(
                model,
                rows(100, classes=3),
                "cross_entropy",
                training={
                    "duration": "30 steps",
                    "batch_size": 16,
                    "mixup": 0.2,
                    "noise": 0.1,
                    "average": "ema",
                },
                engine={"signals": share},
                seed=3,
            )
            moments: dict[str, Any] = {}
            take_apart(fitted.update.state(), place="", arrays=moments, strict=False)
            ends.append((dict(fitted.model.state_dict()), moments, fitted.pace["signals"]))
        assert len(looks) == 30
        (plain, moments, seen_none), (looked, other_moments, seen) = ends
        assert all(torch.equal(plain[name], looked[name]) for name in plain)
        assert len(moments) > 8 and moments.keys() == other_moments.keys()
        assert all(torch.equal(moments[name], other_moments[name]) for name in moments)
        assert set(seen_none) == set() and {"gradient", "update", "dead", "gradient_norm"} <= set(seen)
        assert seen["gradient"]["0.weight"]["seen"] == 30

    def test_looks_keep_to_their_share_of_the_time(self, monkeypatch):
        now = [0.0]
        monkeypatch.setattr("danlu.updates.signals.time.perf_counter", lambda: now[0])
        probe, model, batch = Probe(share=0.01), line(1.0, 1.0), rows(4, 2)

        class Slow(Criterion):
            def sums(self, model, batch):
                now[0] += 0.1  # seconds of a look
                return super().sums(model, batch)

        assert not probe.is_due()  # a short fit is over before anybody could act on it
        looked = 0
        while now[0] < 100:
            if probe.is_due():
                probe.look(model, Slow(nn.MSELoss()), batch)
                looked += 1
            now[0] += 0.01
        assert 8 <= looked <= 11  # 1 s of 100 s, and the one that was under way

    def test_a_look_takes_no_more_rows_than_are_computed_at_once(self):
        seen = []

        class Watched(SquaredError):
            def sums(self, model, batch):
                seen.append(len(batch["y"]))
                return super().sums(model, batch)

        model = line(*[1.0] * 6)
        parts = StepParts(probe=Eager(share=1.0), micro_batch=8)
        GradientUpdate(torch.optim.SGD(model.parameters(), lr=0.1), parts)(
            model, Watched(Task("regression")), [rows(40)], Context()
        )
        assert seen == [8] * 6  # one look, five pieces


class Named(nn.Module):
    """Modules with names, one of which can be made to break."""

    def __init__(self):
        super().__init__()
        self.body = nn.Linear(6, 8)
        self.power = Power()
        self.head = nn.Linear(8, 1)

    def forward(self, x):
        return self.head(self.power(self.body(x))).flatten()


class Power(nn.Module):
    """x ** `degree`, which overflows or has no gradient as the degree asks."""

    degree = 1.0

    def forward(self, x):
        return torch.sqrt(0 * x) if self.degree == 0.5 else x.abs() ** self.degree


class TestFirstFault:
    @pytest.fixture
    def model(self) -> Any:
        return Named()

    def test_nothing_is_wrong(self, model):
        assert first_fault(model, SQUARED, rows()) == ""

    def test_the_batch(self, model):
        batch = rows()
        batch["x"][3, 2] = math.nan
        assert first_fault(model, SQUARED, batch) == "the batch holds values that are not finite in 'x'"
        batch = rows()
        batch["y"][3] = math.inf
        assert first_fault(model, SQUARED, batch) == "the batch holds values that are not finite in 'y'"

    def test_the_weights(self, model):
        with torch.no_grad():
            model.head.weight[0, 3] = math.inf
        assert first_fault(model, SQUARED, rows()) == "the weights head.weight are no longer finite"

    def test_the_first_module_in_the_order_of_the_forward_pass(self, model):
        model.power.degree = 200.0
        with torch.no_grad():
            model.body.weight.mul_(1e3)
        assert first_fault(model, SQUARED, rows()) == "the output of power (Power) is not finite"

    def test_a_term_of_the_loss(self, model):
        bad = LossFunction(lambda model, batch: model(batch["x"]).sum() * math.inf)
        expected = "the term loss of the loss is not finite, though every module's output is"
        assert first_fault(model, bad, rows()) == expected

    def test_a_gradient(self, model):
        model.power.degree = 0.5  # sqrt(0): the value is 0, its slope infinite
        assert (
            first_fault(model, SQUARED, rows())
            == "the gradient of body.bias is not finite, though the loss is"
        )

    def test_looking_for_it_leaves_the_model(self):
        model = network(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 1))
        before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
        first_fault(model, SQUARED, {"x": rows()["x"], "y": rows()["y"][:, None]})
        assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
        assert torch.equal(torch.get_rng_state(), random)
        assert all(p.grad is None for p in model.parameters())

    def test_a_step_says_it_with_its_number(self, model):
        model.power.degree = 200.0
        with torch.no_grad():
            model.body.weight.mul_(1e3)
        before = copy.deepcopy(model.state_dict())
        update = GradientUpdate(torch.optim.SGD(model.parameters(), lr=0.1))
        step = update(model, SQUARED, [rows()], Context())
        assert step.fault == "the output of power (Power) is not finite, at step 1"
        assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())

    def test_dropout_drops_what_it_dropped(self):
        """A value that only one mask lets through is found again: the step is seeded anew."""

        class Rare(nn.Module):
            def forward(self, x):
                return torch.where(torch.rand(()) < 0.3, torch.inf, 1.0) * x

        model = nn.Sequential(nn.Linear(6, 1), Rare(), nn.Flatten(0))
        update = GradientUpdate(torch.optim.SGD(model.parameters(), lr=1e-3))
        faults = [update(model, SQUARED, [rows()], Context(seed=seed)).fault for seed in range(20)]
        assert {"", "the output of 1 (Rare) is not finite, at step 1"} == set(faults)
