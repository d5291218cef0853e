"""The perceptron learns AND and OR, and not XOR."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.datasets import load_iris

from danlu.core.errors import BundleError, RecipeError
from danlu.core.ideas import Context
from danlu.core.tasks import Task
from danlu.models.perceptron import Perceptron, PerceptronSettings

TASK = Task("binary", (0, 1))
CORNERS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


def fit(model: Perceptron, x: Any, y: np.ndarray, weight: np.ndarray | None = None) -> int:
    """Rounds until it says that it is done."""
    for rounds in range(1, 1000):
        if model.fit_round({"x": x, "y": y, "weight": weight}, model.task, Context()).done:
            return rounds
    raise AssertionError("it never ends")


@pytest.mark.parametrize(("name", "y"), [("AND", [0, 0, 0, 1]), ("OR", [0, 1, 1, 1])])
def test_it_learns_and_and_or(name: str, y: list[int]) -> None:
    for x in (CORNERS, csr_matrix(CORNERS)):  # scikit-learn moves the constant more slowly for sparse rows
        model = Perceptron(PerceptronSettings(epochs=500), TASK, 2)
        assert fit(model, x, np.array(y)) < (20 if x is CORNERS else 500), name
        assert (model(x) > 0).astype(int).tolist() == y


def test_it_never_learns_xor() -> None:
    model = Perceptron(PerceptronSettings(epochs=200), TASK, 2)
    assert fit(model, CORNERS, np.array([0, 1, 1, 0])) == 200
    assert ((model(CORNERS) > 0) == [0, 1, 1, 0]).mean() <= 0.75


def test_three_classes() -> None:
    x, y = load_iris(return_X_y=True)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    model = Perceptron(PerceptronSettings(), Task("multiclass", (0, 1, 2)), 4)
    fit(model, x, y)
    assert (model(x).argmax(axis=1) == y).mean() > 0.85


def test_going_on_from_a_state_is_going_on() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 3)), rng.integers(0, 2, 50)
    one, two = Perceptron(PerceptronSettings(), TASK, 3), Perceptron(PerceptronSettings(), TASK, 3)
    batch = {"x": x, "y": y}
    one.fit_round(batch, TASK, Context())
    two.load(one.state())
    one.fit_round(batch, TASK, Context())
    two.fit_round(batch, TASK, Context())
    assert one(x).tobytes() == two(x).tobytes()


def test_a_snapshot_is_not_moved_by_later_rounds() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(50, 3)), rng.integers(0, 2, 50)
    model = Perceptron(PerceptronSettings(), TASK, 3)
    model.fit_round({"x": x, "y": y}, TASK, Context())
    before, kept = model(x), model.snapshot()
    model.fit_round({"x": x, "y": y}, TASK, Context())
    assert not np.array_equal(model(x), before)
    model.restore(kept)
    assert np.array_equal(model(x), before)


def test_weights_count() -> None:
    x = np.array([[1.0], [1.0]])
    model = Perceptron(PerceptronSettings(epochs=5), TASK, 1)
    fit(model, x, np.array([0, 1]), np.array([1.0, 100.0]))
    assert model(x)[0] > 0


def test_wrong_settings_and_states() -> None:
    with pytest.raises(RecipeError, match="epochs must be at least 1, got 0"):
        PerceptronSettings(epochs=0)
    model = Perceptron(PerceptronSettings(), TASK, 2)
    with pytest.raises(BundleError, match=r"epoch runs from -1.0"):
        model.load(model.state() | {"epoch": -1})
    with pytest.raises(BundleError, match="coefficients has the shape"):
        model.load(model.state() | {"coefficients": np.zeros(3)})
