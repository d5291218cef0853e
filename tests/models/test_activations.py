"""Tests of models/activations.py: what the contract tests of all activations cannot know."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from danlu.core.errors import RecipeError
from danlu.models.activations import ACTIVATIONS, activation, inputs_per_unit


def values(chosen, xs):
    return activation(chosen)(torch.tensor(xs, dtype=torch.float64)).tolist()


def derivative(chosen, xs):
    x = torch.tensor(xs, dtype=torch.float64, requires_grad=True)
    activation(chosen)(x).sum().backward()
    assert x.grad is not None
    return x.grad.tolist()


def test_the_leaky_slope_is_a_tenth_unless_it_is_set() -> None:
    assert values("leaky_relu", [-2.0, 2.0]) == [-0.2, 2.0]
    assert values({"name": "leaky_relu", "slope": 0.01}, [-2.0, 2.0]) == [-0.02, 2.0]
    assert derivative({"name": "leaky_relu", "slope": 0.25}, [-3.0, 3.0]) == [0.25, 1.0]


def test_elu_goes_down_to_minus_alpha() -> None:
    assert values({"name": "elu", "alpha": 2.0}, [-1.0, -800.0, 3.0]) == pytest.approx(
        [2 * math.expm1(-1), -2.0, 3.0]
    )


def test_maxout_is_the_largest_of_affine_maps() -> None:
    draw = np.random.default_rng(0)
    x, weights, biases = draw.normal(size=(7, 5)), draw.normal(size=(3, 4, 5)), draw.normal(size=(3, 4))
    layer = torch.nn.Linear(5, 12, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.as_tensor(weights.reshape(12, 5)))
        layer.bias.copy_(torch.as_tensor(biases.reshape(12)))
    maxout = activation({"name": "maxout", "pieces": 3})
    found = maxout(layer(torch.as_tensor(x))).detach().numpy()
    by_hand = np.stack([x @ weights[piece].T + biases[piece] for piece in range(3)]).max(axis=0)
    np.testing.assert_allclose(found, by_hand, rtol=1e-13)
    assert inputs_per_unit(maxout) == 3 and inputs_per_unit(activation("relu")) == 1


def test_maxout_over_the_channels_of_images() -> None:
    x = torch.randn(2, 6, 4, 4, generator=torch.Generator().manual_seed(0))
    found = activation({"name": "maxout", "axis": 1})(x)
    assert torch.equal(found, torch.maximum(x[:, :3], x[:, 3:]))
    with pytest.raises(RecipeError, match="largest of 4 pieces, but 6 values are no multiple"):
        activation({"name": "maxout", "pieces": 4, "axis": 1})(x)


def test_softmax_sums_to_one_along_its_axis() -> None:
    x = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(activation({"name": "softmax", "axis": 1})(x).sum(dim=1), torch.ones(4, 5))


def test_softmax_of_large_values_stays_finite() -> None:
    assert values("softmax", [1000.0, 0.0]) == [1.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sinc_and_its_derivative_keep_their_digits_around_0(dtype: torch.dtype) -> None:
    xs = [0.0, 1e-30, 1e-8, 1e-4, 1e-2, 0.2499999, 0.25, 0.2500001, 1.0, math.pi, 40.0]
    x = torch.tensor([*xs, *(-x for x in xs)], dtype=dtype, requires_grad=True)
    y = activation("sinc")(x)
    (slope,) = torch.autograd.grad(y.sum(), x)
    # By the series in exact fractions: 60 digits, so that nothing cancels.
    from fractions import Fraction

    for at, value, gradient in zip(x.tolist(), y.tolist(), slope.tolist(), strict=True):
        exact, exact_slope, term = Fraction(0), Fraction(0), Fraction(1)
        point = Fraction(at)
        for n in range(90):  # term = (-1)^n x^(2n) / (2n + 1)!
            exact += term
            exact_slope += 2 * n * term / point if at else 0
            term *= -point * point / ((2 * n + 2) * (2 * n + 3))
        tolerance = 4 * torch.finfo(dtype).eps
        assert value == pytest.approx(float(exact), abs=tolerance)
        assert gradient == pytest.approx(float(exact_slope), abs=8 * tolerance, rel=8 * tolerance)


def test_sinc_has_a_second_derivative_at_0() -> None:
    x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(activation("sinc")(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert first.item() == 0.0
    assert second.item() == pytest.approx(-1 / 3, abs=1e-15)


def test_softplus_is_exact_where_torch_by_default_is_not() -> None:
    xs = [-800.0, -5.0, 19.0, 21.0, 30.0, 39.0, 41.0, 800.0]
    exact = torch.logaddexp(torch.tensor(xs, dtype=torch.float64), torch.zeros(8, dtype=torch.float64))
    np.testing.assert_allclose(values("softplus", xs), exact.numpy(), rtol=1e-15)
    assert torch.isfinite(activation("softplus")(torch.tensor(xs))).all()


def test_the_step_has_the_derivative_0_at_its_jump_too() -> None:
    assert values("step", [-1.0, -0.0, 0.0, 1.0]) == [0.0, 1.0, 1.0, 1.0]
    assert derivative("step", [-1.0, 0.0, 1.0]) == [0.0, 0.0, 0.0]
    assert math.isnan(values("step", [math.nan])[0])  # a broken value is not hidden


def test_gelu_has_its_two_forms() -> None:
    exact, approximate = (
        values({"name": "gelu", "approximate": form}, [1.0])[0] for form in ("none", "tanh")
    )
    assert exact == pytest.approx(0.5 * (1 + math.erf(1 / math.sqrt(2))), abs=1e-15)
    inner = math.sqrt(2 / math.pi) * (1 + 0.044715)
    assert approximate == pytest.approx(0.5 * (1 + math.tanh(inner)), abs=1e-15)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_extreme_values_stay_finite_or_grow_as_the_formula_does(name: str) -> None:
    x = torch.tensor([-1e4, -100.0, 100.0, 1e4], requires_grad=True)
    y = activation(name)(x)
    y.sum().backward()
    assert torch.isfinite(y).all()
    assert x.grad is not None and torch.isfinite(x.grad).all()


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ("rellu", "no activation 'rellu'. Did you mean 'relu'"),
        ({"name": "leaky_relu", "slop": 1}, "'leaky_relu' has no setting 'slop'. Did you mean 'slope'"),
        ({"name": "relu", "slope": 1}, "no setting 'slope'. Known settings: none."),
        ({"slope": 1}, 'a name or a mapping with "name"'),
        ({"name": "leaky_relu", "slope": 1.5}, "leaky_relu.slope must lie in"),
        ({"name": "elu", "alpha": 0.0}, "elu.alpha must be above 0"),
        ({"name": "maxout", "pieces": 1}, "maxout.pieces must lie between 2 and 64"),
    ],
)
def test_mistakes_are_named(chosen, message) -> None:
    with pytest.raises(RecipeError) as caught:
        activation(chosen)
    assert message in str(caught.value)
