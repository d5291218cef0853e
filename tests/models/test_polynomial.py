"""Polynomial regression against scikit-learn's expansion and ridge."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from danlu.core.errors import BundleError, RecipeError
from danlu.core.ideas import Context
from danlu.core.tasks import Task
from danlu.models.polynomial import Polynomial, PolynomialSettings, expand, num_products, products

TASK = Task("regression")


def fitted(x: np.ndarray, y: np.ndarray, **settings: object) -> Polynomial:
    model = Polynomial(PolynomialSettings(**settings), TASK, x.shape[1])  # type: ignore[arg-type]
    assert model.fit_round({"x": x, "y": y}, TASK, Context()).done
    return model


@pytest.mark.parametrize("degree", [2, 3, 5])
def test_products_are_those_of_scikit_learn(degree: int) -> None:
    x = np.random.default_rng(0).normal(size=(10, 3))
    expected = PolynomialFeatures(degree, include_bias=False).fit_transform(x)
    found = expand(x, products(np.arange(3), degree))
    assert found == pytest.approx(expected)
    assert found.shape[1] == num_products(3, 3, degree)


def test_it_is_ridge_on_scaled_products() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(200, 3))
    y = x[:, 0] ** 2 - x[:, 1] * x[:, 2] + rng.normal(size=200) * 0.1
    pipeline = make_pipeline(
        PolynomialFeatures(2, include_bias=False), StandardScaler(), Ridge(alpha=2.0)
    ).fit(x, y)
    assert fitted(x, y, strength=2.0)(x) == pytest.approx(pipeline.predict(x), rel=1e-9)


def test_it_learns_a_parabola_and_leaves_flags_alone() -> None:
    rng = np.random.default_rng(2)
    x = np.column_stack([rng.uniform(-2, 2, 300), rng.integers(0, 2, 300)])
    y = x[:, 0] ** 2 + 5 * x[:, 1]
    model = fitted(x, y)
    assert model.numbers.tolist() == [0]
    assert len(model.affine.coefficients) == 3
    assert model(x) == pytest.approx(y, abs=1e-3)


def test_no_number_columns_at_all() -> None:
    x = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    assert fitted(x, x @ [2.0, 3.0], strength=1e-9)(x) == pytest.approx(x @ [2.0, 3.0], abs=1e-6)


def test_too_many_terms() -> None:
    x = np.random.default_rng(3).normal(size=(5, 10_000))
    with pytest.raises(
        RecipeError, match=r"degree 2 on 10,000 number columns has 50,015,000 terms; at most 2,000"
    ):
        fitted(x, x[:, 0])


@pytest.mark.parametrize("degree", [1, 6])
def test_wrong_degree(degree: int) -> None:
    with pytest.raises(RecipeError, match=f"degree must lie from 2 to 5, got {degree}"):
        PolynomialSettings(degree=degree)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"numbers": np.array([1, 0])}, "not in increasing order"),
        ({"numbers": np.array([0, 7])}, "numbers runs from 0 to 7, allowed is 0 to 2"),
        ({"numbers": np.array([0])}, "coefficients has the shape"),
        ({"coefficients": np.full(9, np.nan)}, "not finite"),
    ],
)
def test_hostile_states(change: dict[str, np.ndarray], message: str) -> None:
    x = np.random.default_rng(4).normal(size=(20, 3))
    model = fitted(x, x[:, 0])
    with pytest.raises(BundleError, match=message):
        model.load(model.state() | change)


def test_a_state_with_more_terms_than_can_be() -> None:
    model = Polynomial(PolynomialSettings(degree=5), TASK, 1000)
    with pytest.raises(BundleError, match="more than 2,000"):
        model.load({"numbers": np.arange(1000), "coefficients": np.zeros(3), "intercept": np.zeros(1)})
