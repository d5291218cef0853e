"""Squared error: loss and prediction on one scale, against hand calculations and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_squared_error

from danlu.core.errors import BundleError
from danlu.core.seeds import generator
from danlu.core.tasks import Task
from danlu.objectives.regression import SquaredError

TASK = Task("regression")
Y = np.array([1.0, 2.0, 3.0, 6.0])


def identity(x):
    return x[:, 0]


def test_the_loss_by_hand():
    batch = {"x": np.array([[1.0], [1.0], [4.0], [6.0]]), "y": Y}
    objective = SquaredError(TASK)
    assert objective.counts(batch) == {"squared_error": 4.0}
    assert objective.sums(identity, batch) == {"squared_error": 0.0 + 1 + 1 + 0}


def test_the_weighted_mean_is_that_of_scikit_learn():
    rng = generator(0, "squared error")
    x, y, weight = rng.normal(size=(50, 1)), rng.normal(size=50), rng.uniform(0, 3, 50)
    expected = mean_squared_error(y, x[:, 0], sample_weight=weight)
    for kind in (np.asarray, torch.as_tensor):
        batch = {"x": kind(x), "y": kind(y), "weight": kind(weight)}
        objective = SquaredError(TASK)
        mean = objective.sums(identity, batch)["squared_error"] / objective.counts(batch)["squared_error"]
        assert float(mean) == pytest.approx(expected, rel=1e-12)


def test_scores_live_on_the_standard_scale_and_predictions_in_the_unit():
    objective = SquaredError.fitted(TASK, Y)
    assert (objective.shift, objective.scale) == (3.0, pytest.approx(np.sqrt(3.5)))
    perfect = ((Y - objective.shift) / objective.scale)[:, None]
    assert objective.sums(identity, {"x": perfect, "y": Y})["squared_error"] == pytest.approx(0, abs=1e-30)
    np.testing.assert_allclose(objective.predict(identity, {"x": perfect})["values"], Y)


def test_the_scale_follows_the_weights_and_is_never_zero():
    weight = np.array([1.0, 0.0, 0.0, 1.0])
    objective = SquaredError.fitted(TASK, Y, weight)
    assert (objective.shift, objective.scale) == (3.5, 2.5)
    assert SquaredError.fitted(TASK, np.full(3, 7.0)).state() == {"shift": 7.0, "scale": 1.0}


def test_a_state_makes_an_equal_objective():
    objective = SquaredError.fitted(TASK, Y)
    again = SquaredError(TASK, **objective.state())
    x = np.linspace(-2, 2, 5)[:, None]
    np.testing.assert_array_equal(
        objective.predict(identity, {"x": x})["values"], again.predict(identity, {"x": x})["values"]
    )


@pytest.mark.parametrize(("shift", "scale"), [(np.nan, 1.0), (0.0, 0.0), (0.0, -1.0), (0.0, np.inf)])
def test_a_scale_that_cannot_be_is_refused(shift, scale):
    with pytest.raises(BundleError, match=r"shift must be finite and its scale above 0, got"):
        SquaredError(TASK, shift=shift, scale=scale)
