"""Poisson deviance against scikit-learn and torch, its link, and the targets that it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import PoissonRegressor
from sklearn.metrics import mean_poisson_deviance

from danlu.core.errors import DataError
from danlu.core.seeds import generator
from danlu.core.tasks import Task
from danlu.objectives.poisson import Poisson

TASK = Task("regression")


def identity(x):
    return x[:, 0]


def counts_of(num_rows=300):
    rng = generator(0, "poisson")
    x = rng.normal(size=(num_rows, 2))
    return x, rng.poisson(np.exp(0.5 + x @ [0.7, -0.4])).astype(float)


def test_it_is_half_the_deviance_of_scikit_learn():
    x, y = counts_of()
    weight = generator(0, "weight").uniform(0, 2, len(y))
    batch = {"x": torch.as_tensor(x), "y": torch.as_tensor(y), "weight": torch.as_tensor(weight)}
    objective = Poisson(TASK)
    total, count = objective.sums(identity, batch)["poisson"], objective.counts(batch)["poisson"]
    expected = mean_poisson_deviance(y, np.exp(x[:, 0]), sample_weight=weight)
    assert 2 * total.item() / count == pytest.approx(expected, rel=1e-12)


def test_its_gradient_is_that_of_torch():
    x, y = (torch.as_tensor(each) for each in counts_of())
    scores = x[:, :1].clone().requires_grad_()
    (mine,) = torch.autograd.grad(Poisson(TASK).sums(identity, {"x": scores, "y": y})["poisson"], scores)
    loss = torch.nn.PoissonNLLLoss(log_input=True, reduction="sum")(scores[:, 0], y)
    (theirs,) = torch.autograd.grad(loss, scores)
    assert torch.allclose(mine, theirs, rtol=1e-12)


def test_a_right_prediction_costs_nothing_and_a_worse_one_more():
    y = torch.tensor([0.5, 1.0, 4.0], dtype=torch.float64)
    losses = [
        Poisson(TASK).sums(identity, {"x": (y.log() + off)[:, None], "y": y})["poisson"].item()
        for off in (0.0, 0.1, 0.5)
    ]
    assert losses[0] == pytest.approx(0, abs=1e-15) and 0.001 < losses[1] < losses[2]


def test_predictions_are_the_exponential_of_the_score_times_the_scale():
    x = np.array([[0.0], [1.0], [-2.0]])
    np.testing.assert_allclose(Poisson(TASK).predict(identity, {"x": x})["values"], np.exp(x[:, 0]))
    fitted = Poisson.fitted(TASK, np.array([0.0, 100.0, 200.0]))
    assert fitted.state() == {"scale": 100.0}
    np.testing.assert_allclose(fitted.predict(identity, {"x": x})["values"], 100 * np.exp(x[:, 0]))
    again = Poisson(TASK, **fitted.state())
    np.testing.assert_array_equal(
        again.predict(identity, {"x": x})["values"], fitted.predict(identity, {"x": x})["values"]
    )
    assert Poisson.fitted(TASK, np.zeros(3)).scale == 1.0
    assert Poisson.fitted(TASK, np.ones(3), standardise=False).scale == 1.0


def test_the_scale_is_a_constant_of_the_score_and_no_other_loss():
    """The gradient with a scale is that without one, at scores that differ by its logarithm, over the scale."""
    x, y = (torch.as_tensor(each) for each in counts_of())
    one = x[:, :1].clone().requires_grad_()
    shifted = (x[:, :1] + np.log(50.0)).requires_grad_()
    (mine,) = torch.autograd.grad(
        Poisson(TASK, scale=50.0).sums(identity, {"x": one, "y": y})["poisson"], one
    )
    (plain,) = torch.autograd.grad(Poisson(TASK).sums(identity, {"x": shifted, "y": y})["poisson"], shifted)
    assert torch.allclose(50 * mine, plain, rtol=1e-10)


def test_a_linear_network_finds_the_regression_of_scikit_learn():
    x, y = counts_of()
    known = PoissonRegressor(alpha=0, tol=1e-10, max_iter=1000).fit(x, y)
    objective = Poisson.fitted(TASK, y)
    theta = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    batch = {"x": torch.as_tensor(np.column_stack([x, np.ones(len(x))])), "y": torch.as_tensor(y)}
    optimizer = torch.optim.LBFGS([theta], max_iter=100, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = objective.sums(lambda rows: rows @ theta, batch)["poisson"] / len(y)
        loss.backward()
        return loss

    optimizer.step(closure)
    np.testing.assert_allclose(theta.detach().numpy()[:2], known.coef_, atol=1e-5)
    values = objective.predict(lambda rows: (rows @ theta.detach()).numpy(), batch)["values"]
    np.testing.assert_allclose(values, known.predict(x), rtol=1e-4)


def test_negative_targets_are_refused_before_training_and_before_a_step():
    told = r"'poisson' is for targets from 0 on, got -1\. Use 'squared_error' or 'huber'"
    with pytest.raises(DataError, match=told):
        Poisson.fitted(TASK, np.array([3.0, -1.0]))
    with pytest.raises(DataError, match=told):
        Poisson(TASK).counts({"y": torch.tensor([3.0, -1.0])})


def test_an_answer_beyond_all_floats_is_infinite_without_a_warning():
    assert Poisson(TASK).predict(identity, {"x": np.array([[1e4]])})["values"][0] == np.inf
