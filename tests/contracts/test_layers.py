"""What every activation, initialisation and normalisation promises; a new one is found here by itself."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from danlu.bundle.networks import weight_shapes
from danlu.core.errors import RecipeError
from danlu.core.tasks import Task
from danlu.models.activations import inputs_per_unit
from danlu.models.mlp import MLP, MLPSettings
from danlu.models.normalisation import comparison
from danlu.recipe import catalogue
from danlu.recipe.settings import check

ACTIVATIONS = catalogue.entries("activation")
INITIALISATIONS = catalogue.entries("initialisation")
NORMALISATIONS = catalogue.entries("normalisation")
KINDS = {"activation": ACTIVATIONS, "initialisation": INITIALISATIONS, "normalisation": NORMALISATIONS}
PARTS = [pytest.param(kind, name, id=f"{kind}-{name}") for kind, parts in KINDS.items() for name in parts]
every_activation = pytest.mark.parametrize("name", ACTIVATIONS)
every_initialisation = pytest.mark.parametrize("name", INITIALISATIONS)
every_normalisation = pytest.mark.parametrize("name", NORMALISATIONS)

# f and f' at -2, -1, 0, 1, 2, worked by hand; None where f has a kink, or was not worked.
WORKED = {
    "sigmoid": ([0.119203, 0.268941, 0.5, 0.731059, 0.880797], [0.104994, 0.196612, 0.25, 0.196612, 0.104994]),
    "tanh": ([-0.964028, -0.761594, 0, 0.761594, 0.964028], [0.070651, 0.419974, 1, 0.419974, 0.070651]),
    "relu": ([0, 0, 0, 1, 2], [0, 0, None, 1, 1]),
    "leaky_relu": ([-0.2, -0.1, 0, 1, 2], [0.1, 0.1, None, 1, 1]),
    "elu": ([-0.864665, -0.632121, 0, 1, 2], [0.135335, 0.367879, 1, 1, 1]),
    "softplus": ([0.126928, 0.313262, 0.693147, 1.313262, 2.126928], [0.119203, 0.268941, 0.5, 0.731059, 0.880797]),
    "softsign": ([-0.666667, -0.5, 0, 0.5, 0.666667], [0.111111, 0.25, 1, 0.25, 0.111111]),
    "log_sigmoid": ([-2.126928, -1.313262, -0.693147, -0.313262, -0.126928],
                    [0.880797, 0.731059, 0.5, 0.268941, 0.119203]),
    "swish": ([-0.238406, -0.268941, 0, 0.731059, 1.761594], [-0.090784, 0.072329, 0.5, 0.927671, 1.090784]),
    "mish": ([-0.252501, -0.303401, 0, 0.865098, 1.943959], [None, None, 0.6, None, None]),
    "sinc": ([0.454649, 0.841471, 1, 0.841471, 0.454649], [0.435398, 0.301169, 0, -0.301169, -0.435398]),
    "gelu": ([-0.045500, -0.158655, 0, 0.841345, 1.954500], [None, None, 0.5, None, None]),
    "step": ([0, 0, 1, 1, 1], [0, 0, 0, 0, 0]),
    "identity": ([-2, -1, 0, 1, 2], [1, 1, 1, 1, 1]),
}  # fmt: skip


def made(kind: str, name: str) -> Any:
    """The part with its defaults."""
    cls: Any = catalogue.load(KINDS[kind][name])
    return cls(cls.__part__.settings())


def convolution(*, seed: int = 0) -> nn.Conv2d:
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Conv2d(3, 16, 3).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(generator=generator)
    return layer


def around(name: str, layer: Any) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(*made("normalisation", name).around(layer)).double()


def pictures(num_rows: int = 4, *, seed: int = 1) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_rows, 3, 6, 5, generator=generator, dtype=torch.float64) * 3 + 2


# ---------------------------------------------------------------- all of them


def test_every_part_of_the_issue_is_there() -> None:
    """`entries` must not come out short without anyone noticing: then the tests below would test nothing."""
    asked = {
        "activation": "sigmoid tanh relu leaky_relu elu maxout softmax step softplus softsign log_sigmoid swish sinc "
        "mish gelu identity",
        "initialisation": "zeros constant normal xavier he orthogonal",
        "normalisation": "batch layer instance group weight spectral rms",
    }
    for kind, names in asked.items():
        assert set(names.split()) <= set(KINDS[kind])


@pytest.mark.parametrize(("kind", "name"), PARTS)
def test_it_says_what_it_is_and_what_can_be_set(kind: str, name: str) -> None:
    entry = KINDS[kind][name]
    assert entry.summary.endswith(".") and len(entry.source) > 10
    for field in entry.settings:
        assert field.doc, f"{name}.{field.name} says nothing"
        assert check(field.default, field.type, where=field.name) == field.default


# ---------------------------------------------------------------- activations


@every_activation
def test_its_derivative_is_the_numeric_one(name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(7, 6, generator=generator, dtype=torch.float64) * 2
    x = torch.where(x.abs() < 1e-2, 0.5, x)  # kinks lie at 0
    assert torch.autograd.gradcheck(
        made("activation", name), x.requires_grad_(), eps=1e-6, atol=1e-6, rtol=1e-6
    )
    if name in ("sinc", "tanh", "sigmoid", "mish", "swish", "gelu", "softplus", "log_sigmoid", "identity"):
        zero = torch.zeros(4, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(made("activation", name), zero, eps=1e-6, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", WORKED)
def test_it_gives_the_worked_figures(name: str) -> None:
    x = torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    y = made("activation", name)(x)
    y.sum().backward()
    assert x.grad is not None
    values, slopes = WORKED[name]
    assert y.tolist() == pytest.approx(values, abs=5e-7)
    for found, worked in zip(x.grad.tolist(), slopes, strict=True):
        assert worked is None or found == pytest.approx(worked, abs=5e-7)


def test_softmax_and_maxout_give_the_worked_figures() -> None:
    x = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    assert made("activation", "softmax")(x).tolist() == pytest.approx(
        [0.090031, 0.244728, 0.665241], abs=5e-7
    )
    assert made("activation", "maxout")(torch.tensor([1.0, -3.0, -1.0, 5.0])).tolist() == [1.0, 5.0]


@every_activation
def test_its_outputs_have_the_shape_and_the_dtype_of_its_inputs(name: str) -> None:
    act = made("activation", name)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        for shape in ((4, 6), (2, 3, 6)):
            found = act(torch.ones(shape, dtype=dtype))
            assert found.dtype == dtype
            assert tuple(found.shape) == (*shape[:-1], shape[-1] // inputs_per_unit(act))


@every_activation
def test_its_traits_are_true(name: str) -> None:
    traits = ACTIVATIONS[name].traits
    act = made("activation", name)
    x = torch.linspace(-30, 30, 6001, dtype=torch.float64).view(-1, 1).repeat(1, 6)
    x = x + 5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = act(x.requires_grad_())
    low, high = _ends(traits["range"])
    smallest, largest = float(y.detach().min()), float(y.detach().max())
    if traits["range"][0] == "[":  # an end that is reached, given with three decimals
        assert smallest == pytest.approx(low, abs=6e-4)
    assert smallest >= low - 6e-4 and largest <= high + 1e-12
    assert largest > 25 if high == math.inf else largest == pytest.approx(high, abs=0.05)
    y.square().sum().backward()
    assert x.grad is not None
    assert bool(x.grad.any()) == traits["is_trainable"]
    if traits["is_elementwise"]:
        torch.testing.assert_close(act(x[:5, :2]), y[:5, :2])
    else:
        assert y.shape != x.shape or not torch.equal(act(x[:5, :2]), y[:5, :2])


def _ends(text: str) -> tuple[float, float]:
    """The numbers of a range such as "[−0.278, ∞)" or "(0, 1), sum 1"; α is 1 by default."""
    low, high = text.replace(", sum 1", "").strip("[](){}").split(", ")
    low, high = (end.replace("−", "-").replace("∞", "inf").replace("α", "1") for end in (low, high))
    return float(low), float(high)


@every_activation
def test_a_network_with_it_is_the_same_after_saving(name: str) -> None:
    if not ACTIVATIONS[name].traits["is_trainable"]:
        with pytest.raises(RecipeError, match="derivative 0 everywhere"):
            MLPSettings(activation=name)
        return
    _assert_saved(MLPSettings(widths=(6, 4), activation=name))


# ---------------------------------------------------------------- initialisations


@every_initialisation
@pytest.mark.parametrize("shape", [(7, 5), (5, 7), (4, 3, 2), (6, 3, 2, 2), (1, 1)], ids=str)
def test_it_fills_any_weight_from_its_generator_alone(name: str, shape: tuple[int, ...]) -> None:
    fill, weights = made("initialisation", name), list[torch.Tensor]()
    for seed in (0, 0, 1):
        torch.rand(seed + 1)  # what others draw must not matter
        weight = torch.full(shape, torch.nan)
        fill(weight, generator=torch.Generator().manual_seed(seed))
        assert weight.shape == shape and torch.isfinite(weight).all()
        weights.append(weight)
    assert torch.equal(weights[0], weights[1])
    breaks_symmetry = INITIALISATIONS[name].traits["breaks_symmetry"]
    if np.prod(shape) > 1:  # one orthogonal number is 1 or -1
        assert torch.equal(weights[0], weights[2]) != breaks_symmetry
        assert (len(weights[0].unique(dim=0)) == shape[0]) == breaks_symmetry


@every_initialisation
def test_a_network_from_it_is_the_same_after_saving(name: str) -> None:
    _assert_saved(MLPSettings(widths=(6, 4), initialisation=name))


# ---------------------------------------------------------------- normalisations


@every_normalisation
def test_its_gradients_are_the_numeric_ones(name: str) -> None:
    """For the inputs and for every parameter, the convolution's own among them."""
    model = around(name, convolution()).train()
    if name == "spectral":
        model(pictures())
        model.eval()  # while training, every forward pass moves the power iteration on
    names, parameters = zip(
        *((n, p.detach().requires_grad_()) for n, p in model.named_parameters()), strict=True
    )
    assert len(names) == len(list(model.parameters())) >= 2

    def forward(x: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        return functional_call(model, dict(zip(names, values, strict=True)), (x,)).tanh()

    x = pictures(2).requires_grad_()
    assert torch.autograd.gradcheck(forward, (x, *parameters), eps=1e-6, atol=1e-6, rtol=1e-6, fast_mode=True)


@every_normalisation
def test_what_it_averages_over_is_what_its_table_says(name: str) -> None:
    """By the values that share a mean and a scale: those that one result depends on."""
    traits = NORMALISATIONS[name].traits
    model = around(name, nn.Conv2d(3, 32, 1)).train()
    generator = torch.Generator().manual_seed(0)
    if traits["normalises"] == "weights":
        layer: Any = model[0]
        *_, source = layer.parametrizations.weight.parameters()
        layer.weight[0, 0, 0, 0].backward()
        reached = source.grad[:, :, 0, 0] != 0
        assert len(model) == 1 and bool(reached[0].all())
        assert traits["averages_over"] == [
            "whole weight matrix" if bool(reached.all()) else "weights of a unit"
        ]
        assert bool(reached[1:].all()) == bool(reached[1:].any())
        return
    x = torch.randn(4, 32, 5, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    model[1](x)[0, 0, 0, 0].backward()
    assert x.grad is not None
    rows, channels = (x.grad != 0)[:, 0, 0, 0].tolist(), (x.grad != 0)[0, :, 0, 0].tolist()
    found = {
        "N": all(rows[1:]),
        "C": all(channels[1:]),
        "C/G": all(channels[1:16]) and not any(channels[16:]),
        "H": bool((x.grad != 0)[0, 0, 1:, 0].all()),
        "W": bool((x.grad != 0)[0, 0, 0, 1:].all()),
    }
    assert [axis for axis, is_reached in found.items() if is_reached] == traits["averages_over"]
    assert any(rows[1:]) == found["N"] and any(channels[1:]) == (found["C"] or found["C/G"])


@every_normalisation
def test_it_depends_on_the_batch_where_its_table_says_so(name: str) -> None:
    model = around(name, convolution()).train()
    if name == "spectral":
        model.eval()
    one, other = pictures(), pictures()
    other[1:] += 5
    same = torch.allclose(model(one)[0], model(other)[0], atol=1e-9)
    assert same != NORMALISATIONS[name].traits["depends_on_batch"]


@every_normalisation
def test_predictions_are_the_same_for_any_batch_and_after_saving(name: str) -> None:
    model = around(name, convolution()).train()
    model(pictures())
    model.eval()
    x = pictures(5, seed=2)
    torch.testing.assert_close(model(x)[:2], model(x[:2]))
    again = around(name, convolution(seed=9))
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.eval()(x), model(x))


@every_normalisation
def test_a_table_of_rows_is_taken_and_saved_or_refused(name: str) -> None:
    if NORMALISATIONS[name].traits["averages_over"] == ["H", "W"]:  # a table has no places
        with pytest.raises(RecipeError, match="a table"):
            MLP(MLPSettings(normalisation=name), Task("regression"), 5, seed=0)
        return
    _assert_saved(MLPSettings(widths=(8, 4), normalisation=name))


def test_the_comparison_of_the_catalogue_is_that_of_the_code() -> None:
    from danlu.models.normalisation import NORMALISATION_TABLE

    own = {name: entry.traits for name, entry in NORMALISATIONS.items() if entry.target.startswith("danlu.")}
    assert sorted(comparison(own)) == sorted(NORMALISATION_TABLE)


def _assert_saved(settings: MLPSettings) -> None:
    """A network answers to the bit as before after its state went through arrays into another one."""
    task = Task("multiclass", ("a", "b", "c"))
    first, second = (MLP(settings, task, 5, seed=seed) for seed in (0, 1))
    x = torch.randn(9, 5, generator=torch.Generator().manual_seed(0))
    first.train()(x)
    state = first.state()
    assert weight_shapes(lambda: MLP(settings, task, 5, seed=0)) == {
        name: a.shape for name, a in state.items()
    }
    second.load(state)
    assert torch.equal(second(x), first.eval()(x))
    assert torch.isfinite(second(x)).all()
