"""Tests of models/initialisation.py: variances that last through the depth, and units that stay equal."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from danlu.core.errors import RecipeError
from danlu.core.tasks import Task
from danlu.models.activations import activation
from danlu.models.initialisation import He, Xavier, initialisation, suited, symmetric_layers, symmetry_finding
from danlu.models.mlp import MLP, MLPSettings

DEPTH, WIDTH = 30, 256


def drawn(chosen, *shape: int, seed: int = 0) -> torch.Tensor:
    weight = torch.empty(*shape)
    initialisation(chosen)(weight, generator=torch.Generator().manual_seed(seed))
    return weight


def deep(chosen, name: str) -> list[float]:
    """The deviation of the values behind each of many layers, for inputs of deviation 1."""
    generator = torch.Generator().manual_seed(0)
    x, act, found = torch.randn(500, WIDTH, generator=generator), activation(name), list[float]()
    fill = initialisation(chosen)
    for _ in range(DEPTH):
        weight = torch.empty(WIDTH, WIDTH)
        fill(weight, generator=generator)
        x = act(x @ weight.T)
        found.append(float(x.square().mean().sqrt()))
    return found


# ---------------------------------------------------------------- variances


def test_xavier_keeps_the_variance_of_tanh_layers() -> None:
    kept = deep({"name": "xavier", "gain": 5 / 3}, "tanh")
    assert 0.9 < kept[-1] / kept[4] < 1.1
    assert deep({"name": "normal", "deviation": 0.02}, "tanh")[-1] < 1e-6  # too small: it fades
    lost = deep({"name": "normal", "deviation": 1.0}, "tanh")[-1]
    assert lost > 0.95  # too large: every unit is saturated at -1 or 1


def test_he_keeps_the_variance_of_relu_layers_and_xavier_does_not() -> None:
    he = deep("he", "relu")
    assert 0.5 < he[-1] / he[0] < 2
    xavier = deep("xavier", "relu")
    assert xavier[-1] / xavier[0] == pytest.approx(
        0.5 ** ((DEPTH - 1) / 2), rel=1.0
    )  # half of it at each layer


def test_he_knows_the_slope_of_a_leaky_relu() -> None:
    kept = deep({"name": "he", "slope": 0.1}, "leaky_relu")
    assert 0.5 < kept[-1] / kept[0] < 2


def test_orthogonal_keeps_lengths_through_any_depth() -> None:
    assert deep("orthogonal", "identity") == pytest.approx([1.0] * DEPTH, abs=0.01)


def test_auto_suits_the_activation() -> None:
    assert isinstance(suited(activation("relu")), He)
    assert isinstance(suited(activation("tanh")), Xavier)
    assert isinstance(suited(nn.Hardtanh()), Xavier)
    generator = torch.Generator().manual_seed(0)
    weight = torch.empty(400, 500)
    suited(activation({"name": "leaky_relu", "slope": 0.5}))(weight, generator=generator)
    assert float(weight.var()) == pytest.approx(2 / (1.25 * 500), rel=0.02)


@pytest.mark.parametrize(
    ("chosen", "variance"),
    [
        ("xavier", 2 / 900),
        ({"name": "xavier", "distribution": "uniform"}, 2 / 900),
        ({"name": "xavier", "gain": 2.0}, 8 / 900),
        ("he", 2 / 500),
        ({"name": "he", "distribution": "uniform"}, 2 / 500),
        ({"name": "he", "mode": "outputs"}, 2 / 400),
        ({"name": "he", "slope": 1.0}, 1 / 500),
        ({"name": "normal", "deviation": 0.3}, 0.09),
    ],
)
def test_variances_are_those_of_the_papers(chosen, variance: float) -> None:
    weight = drawn(chosen, 400, 500)
    assert float(weight.var()) == pytest.approx(variance, rel=0.02)
    assert abs(float(weight.mean())) < 4 * math.sqrt(variance / weight.numel())


def test_orthogonal_rows_stand_at_right_angles() -> None:
    rows = drawn({"name": "orthogonal", "gain": 2.0}, 30, 50)
    torch.testing.assert_close(rows @ rows.T, 4 * torch.eye(30), atol=1e-5, rtol=0)


def test_zeros_and_constant() -> None:
    assert not drawn("zeros", 4, 3).any()
    assert (drawn({"name": "constant", "value": 0.5}, 4, 3) == 0.5).all()


def test_maxout_pieces_start_as_layers_of_their_own() -> None:
    """Two pieces of 300 units have the variance of a layer of 300, not of one of 600."""
    model = MLP(MLPSettings(widths=(300,), activation="maxout"), Task("regression"), 200, seed=0)
    assert float(model.layers[0].weight.detach().var()) == pytest.approx(2 / 500, rel=0.02)  # type: ignore[operator]


# ---------------------------------------------------------------- symmetry


def trained(model: nn.Module, *, steps: int = 30) -> torch.Tensor:
    """The first layer's weights after some steps on a curve that one unit cannot follow."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 3, generator=generator)
    y = x[:, 0] * x[:, 1] + x[:, 2].abs()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(steps):
        optimizer.zero_grad()
        (model(x) - y).square().mean().backward()
        optimizer.step()
    return model.layers[0].weight.detach()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "settings",
    [
        {"initialisation": "zeros"},
        {"initialisation": "zeros", "activation": "sigmoid"},
        {"initialisation": "constant", "activation": "tanh"},
        {"initialisation": {"name": "constant", "value": -0.3}, "activation": "gelu"},
        {"initialisation": "constant", "activation": "tanh", "normalisation": "batch"},
        {"initialisation": "constant", "activation": "tanh", "normalisation": "weight"},
        {"initialisation": "constant", "activation": {"name": "maxout", "pieces": 3}},
    ],
    ids=str,
)
def test_equal_units_are_named_and_stay_equal(settings) -> None:
    model = MLP(MLPSettings(widths=(8, 4), **settings), Task("regression"), 3, seed=0)
    names = symmetric_layers(model)
    first, second = (name for name, module in model.named_modules() if name in names)
    assert first == "layers.0" and second.startswith("layers.")
    weight = trained(model)
    assert (weight == weight[0]).all()
    found = symmetry_finding(model)
    assert found is not None and found.code == "symmetric_weights" and found.evidence == {"layers": names}
    assert "layers.0" in found.message


@pytest.mark.parametrize("chosen", ["auto", "he", "xavier", "normal", "orthogonal"])
def test_random_units_are_not_named_and_differ(chosen: str) -> None:
    model = MLP(
        MLPSettings(widths=(8, 4), activation="tanh", initialisation=chosen), Task("regression"), 3, seed=0
    )
    assert symmetric_layers(model) == [] and symmetry_finding(model) is None
    weight = trained(model)
    assert torch.cdist(weight, weight).add(torch.eye(8)).min() > 1e-3


def test_a_linear_model_from_zeros_is_right() -> None:
    assert (
        symmetric_layers(MLP(MLPSettings(widths=(), initialisation="zeros"), Task("regression"), 3, seed=0))
        == []
    )


def test_different_weights_out_tell_equal_units_apart() -> None:
    model = MLP(
        MLPSettings(widths=(6,), activation="tanh", initialisation="constant"), Task("regression"), 3, seed=0
    )
    with torch.no_grad():
        model.layers[2].weight.normal_(generator=torch.Generator().manual_seed(0))  # type: ignore[operator]
    assert symmetric_layers(model) == []
    weight = trained(model)
    assert torch.cdist(weight, weight).add(torch.eye(6)).min() > 1e-3


def test_convolutions_are_seen_through_a_flattening() -> None:
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 4, 2))
    with torch.no_grad():
        model[0].weight.fill_(0.1)  # type: ignore[operator]
        model[0].bias.zero_()  # type: ignore[operator]
        assert symmetric_layers(model) == []
        # Each channel has the same four weights out, but the four differ.
        outgoing = torch.randn(2, 1, 4, generator=torch.Generator().manual_seed(0))
        model[3].weight.copy_(outgoing.expand(2, 3, 4).reshape(2, 12))  # type: ignore[operator]
    assert symmetric_layers(model) == ["0"]


def test_a_network_without_values_has_nothing_to_name() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    assert symmetric_layers(model) == []


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ("glorot", "no initialisation 'glorot'"),
        ({"name": "constant", "value": math.inf}, "constant.value must be a finite number"),
        ({"name": "normal", "deviation": 0.0}, "normal.deviation must be above 0"),
        ({"name": "xavier", "gain": -1.0}, "xavier.gain must be above 0"),
        ({"name": "he", "slope": 2.0}, "he.slope must lie in"),
        ({"name": "orthogonal", "gain": 0.0}, "orthogonal.gain must be above 0"),
    ],
)
def test_mistakes_are_named(chosen, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        initialisation(chosen)
