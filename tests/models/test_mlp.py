"""The multi-layer perceptron: worked forward passes, what it can learn that a line cannot, and its state."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from danlu.core.duration import Deadline, Duration
from danlu.core.errors import BundleError, RecipeError
from danlu.core.ideas import Context
from danlu.core.loop import fit
from danlu.core.scores import scores
from danlu.core.tasks import Task
from danlu.data.batches import ShuffledRows, WholeTable
from danlu.models.mlp import MLP, MLPSettings, auto_widths
from danlu.objectives.classification import CrossEntropy
from danlu.objectives.regression import SquaredError
from danlu.updates.gradient import GradientUpdate, build_optimizer
from danlu.updates.settings import TrainingSettings

NUMBER = Task("regression")
BINARY = Task("binary", (0, 1))


def train(model, objective, x, y, *, epochs, batch_size=None, seed=0, **training):
    settings = TrainingSettings(**training)
    dtype = next(model.parameters()).dtype
    target = torch.as_tensor(y).to(dtype) if objective.task.kind == "regression" else torch.as_tensor(y)
    batch = {"x": torch.as_tensor(x).to(dtype), "y": target}
    data = WholeTable(batch) if batch_size is None else ShuffledRows(batch, batch_size=batch_size, seed=seed)
    update = GradientUpdate(build_optimizer(model, settings), clip_norm=settings.clip_norm)
    return fit(
        model, data, objective, update, context=Context(seed, Deadline()), until=Duration(epochs, "epochs")
    )


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
    first, second = (layer for layer in model.layers if isinstance(layer, torch.nn.Linear))
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


def test_batch_norm_brings_each_unit_to_mean_0_and_deviation_1():
    model = MLP(MLPSettings(widths=(6,), batch_norm=True, activation="identity"), NUMBER, 3, seed=0).train()
    output = model.layers[:2](
        torch.randn(500, 3, generator=torch.Generator().manual_seed(0)) * 7 + 2
    ).detach()
    assert float(output.mean(dim=0).abs().max()) < 1e-5
    assert float((output.std(dim=0, correction=0) - 1).abs().max()) < 1e-3


def test_state_round_trip_and_hostile_states():
    settings = MLPSettings(widths=(4,), batch_norm=True)
    first, second = (MLP(settings, BINARY, 3, seed=seed) for seed in (0, 1))
    x = np.random.default_rng(0).normal(size=(5, 3))
    second.load(first.state())
    np.testing.assert_array_equal(scores(second, x), scores(first, x))
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
    ],
)
def test_settings_that_make_no_network(settings, message):
    with pytest.raises(RecipeError, match=message):
        MLPSettings(**settings)
