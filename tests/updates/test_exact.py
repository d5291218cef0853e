from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression, Ridge
from torch import nn

from danlu.core.errors import RecipeError
from danlu.core.ideas import Context, Ranks
from danlu.core.tasks import Task
from danlu.models.linear_module import LinearModule
from danlu.objectives.classification import CrossEntropy
from danlu.objectives.regression import SquaredError
from danlu.updates.exact import LeastSquares, LeastSquaresSettings

NUMBER = Task("regression")


def rows(*, num_rows=50, dtype=torch.float64):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(num_rows, 3)) * [1, 100, 0.01] + [0, 50, 3]
    y = 1e6 + x @ np.array([2.0, -0.3, 40.0]) + rng.normal(size=num_rows)
    values = {"x": x, "y": y, "weight": rng.uniform(0, 3, num_rows).round(1)}
    return {name: torch.as_tensor(value, dtype=dtype) for name, value in values.items()}


def linear(*more, bias=True, dtype=torch.float64) -> Any:
    return nn.Sequential(nn.Linear(3, 1, bias=bias), *more, nn.Flatten(0)).to(dtype)


def test_it_solves_in_one_step_with_row_weights_whatever_the_objectives_scale():
    batch = rows()
    x, y, weight = (batch[name].numpy() for name in ("x", "y", "weight"))
    reference = LinearRegression().fit(x, y, sample_weight=weight)
    for model in (LinearModule(NUMBER, 3, seed=0), linear()):
        objective = SquaredError.fitted(NUMBER, y, weight)
        step = LeastSquares()(model, objective, [batch], Context())
        assert step.done and not step.fault
        np.testing.assert_allclose(
            objective.predict(model, {"x": batch["x"]})["values"], reference.predict(x), rtol=1e-12
        )
        found = model.linear if isinstance(model, LinearModule) else model[0]
        np.testing.assert_allclose(
            found.weight.detach().numpy()[0] * objective.scale, reference.coef_, rtol=1e-8
        )
        assert step.losses["squared_error"] * objective.scale**2 == pytest.approx(
            np.average((reference.predict(x) - y) ** 2, weights=weight), rel=1e-8
        )


def test_pieces_are_the_one_big_batch_and_the_start_does_not_matter():
    batch, ends = rows(), []
    for batches in (
        [batch],
        [{name: value[part] for name, value in batch.items()} for part in (slice(9), slice(9, 50))],
    ):
        model = linear()
        LeastSquares(chunk=len(batches))(model, SquaredError(NUMBER), batches, Context())
        ends.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    torch.testing.assert_close(*ends, rtol=1e-9, atol=0.0)


@pytest.mark.parametrize("bias", [True, False])
def test_a_penalty_makes_it_ridge(bias):
    batch = rows()
    del batch["weight"]
    model = linear(bias=bias)
    LeastSquares(LeastSquaresSettings(l2=0.4))(model, SquaredError(NUMBER), [batch], Context())
    # mean squared error + l2 / 2 |w|^2 = (squared error + n l2 / 2 |w|^2) / n
    reference = Ridge(alpha=50 * 0.4 / 2, fit_intercept=bias, tol=1e-12).fit(
        batch["x"].numpy(), batch["y"].numpy()
    )
    np.testing.assert_allclose(model[0].weight.detach().numpy()[0], reference.coef_, rtol=1e-7)


def test_without_a_bias_the_line_goes_through_the_origin():
    batch = rows()
    model = linear(bias=False)
    LeastSquares()(model, SquaredError(NUMBER), [batch], Context())
    reference = LinearRegression(fit_intercept=False).fit(
        batch["x"].numpy(), batch["y"].numpy(), sample_weight=batch["weight"].numpy()
    )
    np.testing.assert_allclose(model[0].weight.detach().numpy()[0], reference.coef_, rtol=1e-8)


class Targets:
    """Half squared errors of several targets at once."""

    task, splittable = NUMBER, True

    def counts(self, batch):
        return {"half": float(len(batch["y"]))}

    def sums(self, model, batch):
        return {"half": ((model(batch["x"]) - batch["y"]) ** 2).sum() / 2}


def test_several_targets_in_float32_behind_fixed_layers():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 2, 3, generator=generator)
    y = torch.randn(40, 2, generator=generator)
    model: Any = nn.Sequential(nn.Flatten(), nn.Tanh(), nn.Linear(6, 2))
    LeastSquares()(model, Targets(), [{"x": x, "y": y}], Context())  # type: ignore[arg-type]
    reference = LinearRegression().fit(x.flatten(1).tanh().double().numpy(), y.double().numpy())
    np.testing.assert_allclose(model[2].weight.detach().numpy(), reference.coef_, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model[2].bias.detach().numpy(), reference.intercept_, rtol=1e-4, atol=1e-5)


def test_frozen_layers_are_features():
    torch.manual_seed(0)
    model: Any = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 1), nn.Flatten(0)).double()
    for parameter in model[0].parameters():
        parameter.requires_grad_(False)
    batch = rows()
    LeastSquares()(model, SquaredError(NUMBER), [batch], Context())
    features = model[1](model[0](batch["x"])).detach().numpy()
    reference = LinearRegression().fit(features, batch["y"].numpy(), sample_weight=batch["weight"].numpy())
    np.testing.assert_allclose(model(batch["x"]).detach().numpy(), reference.predict(features), rtol=1e-9)


@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1), nn.Flatten(0)).double(),
        linear(nn.ReLU()),
        linear(nn.Sigmoid()),
        nn.Sequential(nn.Flatten()),
    ],
    ids=["two layers", "relu", "sigmoid", "nothing to train"],
)
def test_a_model_that_is_not_linear_is_refused_and_stays_as_it_was(model):
    before = [parameter.detach().clone() for parameter in model.parameters()]
    message = (
        "LeastSquares can only solve a linear model, got Sequential. "
        "Use update='adamw' or 'lbfgs' for this model."
    )
    batch = rows()
    batch = batch if before else batch | {"y": batch["x"]}
    with pytest.raises(RecipeError) as caught:
        LeastSquares()(model, Targets() if not before else SquaredError(NUMBER), [batch], Context())  # type: ignore[arg-type]
    assert str(caught.value) == message
    for parameter, old in zip(model.parameters(), before, strict=True):
        assert torch.equal(parameter, old)


class Huber(Targets):
    def sums(self, model, batch):
        return {"half": nn.functional.huber_loss(model(batch["x"]), batch["y"], reduction="sum", delta=100.0)}


class Absolute(Targets):
    def sums(self, model, batch):
        return {"half": (model(batch["x"]) - batch["y"]).abs().sum()}


@pytest.mark.parametrize(
    ("objective", "name"),
    [(Huber(), "Huber"), (Absolute(), "Absolute"), (CrossEntropy(Task("binary", (0, 1))), "CrossEntropy")],
)
def test_a_loss_that_is_not_a_square_is_refused(objective, name):
    batch = {"x": rows()["x"], "y": torch.arange(50.0, dtype=torch.float64) % 2}
    with pytest.raises(RecipeError, match=f"can only solve squared errors, got {name}. Use update='adamw'"):
        LeastSquares()(linear(), objective, [batch], Context())


def test_dropout_several_processes_and_wrong_settings_are_refused():
    batch = rows()
    with pytest.raises(RecipeError, match="LeastSquares needs the same loss at every look, but 0"):
        LeastSquares()(nn.Sequential(nn.Dropout(0.5), linear()), SquaredError(NUMBER), [batch], Context())
    ranks = Ranks()
    ranks.number = 4
    with pytest.raises(RecipeError, match="LeastSquares runs in one process, and there are 4"):
        LeastSquares()(linear(), SquaredError(NUMBER), [batch], Context(ranks=ranks))
    with pytest.raises(RecipeError, match="exact.l2 must be a number from 0 on"):
        LeastSquaresSettings(l2=-1.0)
    with pytest.raises(ValueError, match="no training row with a weight above zero"):
        LeastSquares()(linear(), SquaredError(NUMBER), [batch | {"weight": batch["weight"] * 0}], Context())
