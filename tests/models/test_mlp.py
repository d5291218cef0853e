"""The multi-layer perceptron: worked forward passes, what it can learn that a line cannot, and its state."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from danlu.core.errors import BundleError, RecipeError
from danlu.core.scores import scores
from danlu.core.tasks import Task
from danlu.models.mlp import MLP, MLPSettings, auto_widths
from danlu.objectives.classification import CrossEntropy
from danlu.objectives.regression import SquaredError

NUMBER = Task("regression")
BINARY = Task("binary", (0, 1))


def train(model, objective, x, y, *, epochs, learning_rate=1e-3, batch_size=None, seed=0):
    """Plain steps of AdamW on the objective's loss: what is tested here is the network, not the loop."""
    x, y = torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(y)
    y = y.float() if objective.task.kind == "regression" else y
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.0)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # dropout draws from torch's own generator
        model.train()
        for _ in range(epochs):
            for rows in torch.randperm(len(x), generator=generator).split(batch_size or len(x)):
                batch = {"x": x[rows], "y": y[rows]}
                count = sum(objective.counts(batch).values())
                optimizer.zero_grad()
                (torch.stack(list(objective.sums(model, batch).values())).sum() / count).backward()
                optimizer.step()
    model.eval()


def accuracy(objective, model, x, y):
    return float((objective.predict(model, {"x": x})["probabilities"].argmax(axis=1) == y).mean())


def test_the_3_2_1_forward_pass_by_hand():
    model = MLP(MLPSettings(widths=(2,), activation="sigmoid"), NUMBER, 3, seed=0)
    w1, b1 = np.array([[0.1, 0.2, -0.3], [0.4, -0.5, 0.6]]), np.array([0.05, -0.1])
    w2, b2 = np.array([[0.7, -0.8]]), np.array([0.2])
    state = {"layers.0.weight": w1, "layers.0.bias": b1, "layers.2.weight": w2, "layers.2.bias": b2}
    model.load({name: value.astype(np.float32) for name, value in state.items()})
    x = [1.0, 2.0, 3.0]
    h1 = 1 / (1 + math.exp(-(0.1 * 1 + 0.2 * 2 - 0.3 * 3 + 0.05)))
    h2 = 1 / (1 + math.exp(-(0.4 * 1 - 0.5 * 2 + 0.6 * 3 - 0.1)))
    np.testing.assert_allclose(scores(model, np.array([x])), [0.7 * h1 - 0.8 * h2 + 0.2], rtol=1e-6)


def test_two_linear_layers_collapse_to_one():
    model = MLP(MLPSettings(widths=(5,), activation="identity"), NUMBER, 4, seed=1).double()
    first, second = (layer for layer in model.layers if isinstance(layer, nn.Linear))
    x = np.random.default_rng(0).normal(size=(20, 4))
    weight = (second.weight @ first.weight).detach().numpy()
    bias = (second.weight @ first.bias + second.bias).detach().numpy()
    np.testing.assert_allclose(scores(model, x), (x @ weight.T + bias)[:, 0], atol=1e-10)


def test_a_layer_of_900_inputs_and_1000_neurons_has_900000_weights():
    model = MLP(MLPSettings(widths=(1000,)), NUMBER, 30 * 30, seed=0)
    assert model.state()["layers.0.weight"].size == 900_000


def test_default_widths_are_decreasing_powers_of_two():
    assert auto_widths(784, 3) == (512, 256, 128)
    assert auto_widths(4, 2) == (32, 16)
    for features in (1, 3, 14, 100, 10_000):
        widths = auto_widths(features, 3)
        assert all(math.log2(width).is_integer() for width in widths)
        assert sorted(widths, reverse=True) == list(widths)
    assert MLP(MLPSettings(), Task("multiclass", tuple(range(10))), 784, seed=0).widths == (784, 512, 256, 10)


def test_xor_is_learnt():
    x, y = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])
    model, objective = (
        MLP(MLPSettings(widths=(8,), activation="tanh"), BINARY, 2, seed=0),
        CrossEntropy(BINARY),
    )
    train(model, objective, x, y, epochs=300, learning_rate=0.05)
    assert accuracy(objective, model, x, y) == 1.0


def test_circles_need_an_activation():
    rng = np.random.default_rng(0)
    angle, y = rng.uniform(0, 2 * np.pi, 400), np.arange(400) % 2
    radius = np.where(y == 1, 0.4, 1.0) + rng.normal(0, 0.05, 400)
    x = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
    objective = CrossEntropy(BINARY)
    found = {}
    for activation in ("identity", "relu"):
        model = MLP(MLPSettings(widths=(16, 8), activation=activation), BINARY, 2, seed=0)
        train(model, objective, x, y, epochs=60, batch_size=32, learning_rate=0.01)
        found[activation] = accuracy(objective, model, x, y)
    assert found["identity"] < 0.75
    assert found["relu"] == 1.0


def test_sine_is_fitted_to_a_thousandth():
    x = np.linspace(-np.pi, np.pi, 400)[:, None]
    y = np.sin(x[:, 0])
    model, objective = (
        MLP(MLPSettings(widths=(32, 32), activation="tanh"), NUMBER, 1, seed=0),
        SquaredError(NUMBER),
    )
    train(model, objective, x, y, epochs=120, batch_size=32, learning_rate=0.005)
    assert np.mean((objective.predict(model, {"x": x})["values"] - y) ** 2) < 1e-3


def test_targets_of_any_unit_are_learnt_on_a_standard_scale():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(300, 2))
    y = 3e6 + 5e5 * x[:, 0]
    objective = SquaredError.fitted(NUMBER, y)
    assert objective.shift == pytest.approx(y.mean())
    assert objective.scale == pytest.approx(y.std())
    model = MLP(MLPSettings(widths=(16,)), NUMBER, 2, seed=0)
    train(model, objective, x, y, epochs=60, batch_size=32, learning_rate=0.01)
    residual = objective.predict(model, {"x": x})["values"] - y
    assert 1 - residual.var() / y.var() > 0.99


def test_the_same_seed_gives_the_same_bits_and_another_does_not():
    x = np.random.default_rng(0).normal(size=(64, 3))
    y = x.sum(axis=1)

    def weights(seed):
        torch.rand(seed + 1)  # what others draw must not matter
        model = MLP(MLPSettings(widths=(8,), dropout=0.2), NUMBER, 3, seed=seed)
        train(model, SquaredError(NUMBER), x, y, epochs=5, batch_size=16, seed=seed)
        return np.concatenate([value.ravel() for value in model.state().values()])

    np.testing.assert_array_equal(weights(0), weights(0))
    assert not np.array_equal(weights(0), weights(1))


def test_dropout_silences_its_share_and_only_while_training():
    model = MLP(MLPSettings(widths=(4000,), dropout=0.25, activation="identity"), NUMBER, 1, seed=0)
    hidden = model.layers[:-1]
    model.train()
    output = hidden(torch.ones(1, 1))
    assert abs(float((output == 0).float().mean()) - 0.25) < 0.03
    model.eval()
    assert not (hidden(torch.ones(1, 1)) == 0).any()


@pytest.mark.parametrize("activation", [{"name": "maxout", "pieces": 3}, "softmax", "sinc", "mish"])
def test_any_activation_stands_between_the_layers(activation):
    model = MLP(MLPSettings(widths=(6, 4), activation=activation), NUMBER, 3, seed=0).eval()
    x = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    first, _, second, _, last = model.layers
    hidden = first(x)
    if activation == "softmax":
        hidden = torch.softmax(second(torch.softmax(hidden, 1)), 1)
    elif activation == "sinc":
        hidden = torch.sinc(second(torch.sinc(hidden / math.pi)) / math.pi)
    elif activation == "mish":
        hidden = nn.functional.mish(second(nn.functional.mish(hidden)))
    else:
        hidden = second(hidden.view(10, 3, 6).max(dim=1).values).view(10, 3, 4).max(dim=1).values
    torch.testing.assert_close(model(x), last(hidden)[:, 0])


def test_what_normalises_stands_between_layer_and_activation():
    made = {}
    for chosen in ("off", "batch", "layer", "group", "rms"):
        model = MLP(MLPSettings(widths=(32,), normalisation=chosen), NUMBER, 3, seed=0)
        made[chosen] = [type(layer).__name__ for layer in model.layers]
    assert made["off"] == ["Linear", "ReLU", "Linear"]
    assert {chosen: names[1] for chosen, names in made.items() if chosen != "off"} == {
        "batch": "BatchNorm", "layer": "LayerNorm", "group": "GroupNorm", "rms": "RMSNorm",
    }  # fmt: skip
    assert all(names[2] == "ReLU" for chosen, names in made.items() if chosen != "off")


@pytest.mark.parametrize("chosen", ["weight", "spectral"])
def test_a_normalised_weight_is_a_parametrised_linear_layer(chosen):
    settings = MLPSettings(widths=(5,), normalisation=chosen)
    model = MLP(settings, NUMBER, 3, seed=0)
    assert [len(layer) if isinstance(layer, nn.Sequential) else 1 for layer in model.layers] == [1, 1, 1]
    assert any("parametrizations" in name for name in model.state())
    # The same seed gives the same start, whatever else has drawn.
    torch.rand(7)
    again = MLP(settings, NUMBER, 3, seed=0)
    assert all(np.array_equal(value, again.state()[name]) for name, value in model.state().items())


def test_building_uses_up_nothing_of_torchs_generator():
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    MLP(MLPSettings(normalisation="spectral"), NUMBER, 3, seed=0)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("normalisation", ["batch", "layer", "group", "rms", "weight", "spectral"])
def test_a_curve_is_learnt_with_every_normalisation(normalisation):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(256, 2))
    y = np.sin(2 * x[:, 0]) + x[:, 1]
    model = MLP(MLPSettings(widths=(64, 32), normalisation=normalisation), NUMBER, 2, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    inputs, targets = torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(y, dtype=torch.float32)
    for _ in range(200):
        optimizer.zero_grad()
        (model(inputs) - targets).square().mean().backward()
        optimizer.step()
    residual = scores(model.eval(), x) - y
    assert 1 - residual.var() / y.var() > 0.9


@pytest.mark.parametrize("normalisation", ["off", "batch", "layer", "weight", "spectral"])
def test_state_round_trip(normalisation):
    settings = MLPSettings(widths=(4,), normalisation=normalisation)
    first, second = (MLP(settings, BINARY, 3, seed=seed) for seed in (0, 1))
    x = np.random.default_rng(0).normal(size=(5, 3))
    first(torch.ones(6, 3))  # moves running statistics and power iterations
    first.eval()
    assert not np.array_equal(scores(second, x), scores(first, x))
    second.load(first.state())
    np.testing.assert_array_equal(scores(second, x), scores(first, x))


def test_the_state_of_a_network_on_its_way_is_a_copy():
    model = MLP(MLPSettings(widths=(4,)), BINARY, 3, seed=0)
    state = model.state()
    before = state["layers.0.weight"].copy()
    with torch.no_grad():
        model.layers[0].weight.zero_()  # type: ignore[operator]
    np.testing.assert_array_equal(state["layers.0.weight"], before)


def test_hostile_states():
    settings = MLPSettings(widths=(4,), normalisation="batch")
    first, second = (MLP(settings, BINARY, 3, seed=seed) for seed in (0, 1))
    state = first.state()
    broken = {
        "missing": {name: value for name, value in state.items() if name != "layers.0.bias"},
        "shape": state | {"layers.0.weight": np.zeros((4, 2), np.float32)},
        "dtype": state | {"layers.0.weight": np.zeros((4, 3), np.int64)},
        "nan": state | {"layers.0.weight": np.full((4, 3), np.nan, np.float32)},
    }
    messages = {
        "missing": "has the weights",
        "shape": "of shape",
        "dtype": "must be torch.float32",
        "nan": "not finite",
    }
    for name, wrong in broken.items():
        with pytest.raises(BundleError, match=messages[name]):
            second.load(wrong)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dropout": 1.0}, "dropout must lie in"),
        ({"widths": (0,)}, "between 1 and 65536"),
        ({"depth": -1}, "depth must lie"),
        (
            {"activation": "step"},
            "Use 'sigmoid' or 'tanh', which are smooth steps, or the model 'perceptron'",
        ),
        ({"activation": "tanhh"}, "no activation 'tanhh'. Did you mean 'tanh'"),
        ({"activation": {"name": "softmax", "axis": 0}}, "axis must be -1 in a table"),
        ({"initialisation": "hee"}, "no initialisation 'hee'. Did you mean 'he'"),
        ({"normalisation": {"name": "group", "group": 2}}, "no setting 'group'. Did you mean 'groups'"),
    ],
)
def test_settings_that_make_no_network(settings, message):
    with pytest.raises(RecipeError, match=message):
        MLPSettings(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"normalisation": "instance"}, "Use 'layer', 'batch' or 'rms'"),
        ({"normalisation": "layer", "widths": (4, 1)}, "here over 1"),
        ({"normalisation": {"name": "group", "groups": 3}}, "cannot be dealt out evenly"),
        ({"normalisation": "weight", "initialisation": "zeros"}, "divides the weights by their length"),
        ({"normalisation": "spectral", "initialisation": "zeros"}, "divides the weights by their length"),
    ],
)
def test_normalisations_that_do_not_fit_a_table(settings, message):
    with pytest.raises(RecipeError, match=message):
        MLP(MLPSettings(**settings), NUMBER, 3, seed=0)
