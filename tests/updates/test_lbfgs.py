from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.linear_model import LogisticRegression
from torch import nn

from danlu.core.duration import Duration
from danlu.core.errors import RecipeError
from danlu.core.ideas import Context, Ranks, Step
from danlu.core.loop import fit
from danlu.core.tasks import Task
from danlu.data.batches import WholeTable
from danlu.models.linear_module import LinearModule
from danlu.objectives.classification import CrossEntropy
from danlu.objectives.regression import SquaredError
from danlu.updates.lbfgs import LBFGSSettings, LBFGSUpdate

NUMBER = Task("regression")


def standard(x):
    return (x - x.mean(axis=0)) / x.std(axis=0)


def pieces(batch, *ends):
    starts = (0, *ends)
    return [
        {name: value[start:end] for name, value in batch.items()}
        for start, end in zip(starts, (*ends, None), strict=True)
    ]


def cancer():
    x, y = load_breast_cancer(return_X_y=True)
    return {"x": torch.as_tensor(standard(x)), "y": torch.as_tensor(y)}, Task("binary", (0, 1))


def network(*more, dtype=torch.float64):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Linear(2, 8), *more, nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1)]
        return nn.Sequential(*layers, nn.Flatten(0)).to(dtype)


def waves(dtype=torch.float64):
    x = torch.rand(60, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 4 - 2
    return {"x": x.to(dtype), "y": (torch.sin(x[:, 0]) * x[:, 1]).to(dtype)}


@pytest.mark.parametrize("num_pieces", [1, 3])
def test_it_reaches_the_coefficients_of_logistic_regression(num_pieces):
    batch, task = cancer()
    num_rows = len(batch["y"])
    model = LinearModule(task, 30, seed=0)
    batches = [batch] if num_pieces == 1 else pieces(batch, 100, 350)
    update = LBFGSUpdate(LBFGSSettings(l2=1 / num_rows), chunk=num_pieces)
    losses, step = [], Step()
    for _ in range(50):
        step = update(model, CrossEntropy(task), batches, Context())
        losses.append(sum(float(loss) for loss in step.losses.values()))
        if step.done:
            break
    assert step.done and not step.fault and len(losses) < 10
    reference = LogisticRegression(C=1.0, tol=1e-12, max_iter=10_000).fit(
        batch["x"].numpy(), batch["y"].numpy()
    )
    found = model.arrays()
    np.testing.assert_allclose(found["weight"], reference.coef_, atol=1e-5)
    np.testing.assert_allclose(found["bias"], reference.intercept_, atol=1e-5)
    assert losses == sorted(losses, reverse=True) and float(step.signals["gradient_norm"]) < 1e-7


def test_three_classes_and_row_weights_through_the_one_loop():
    x, y = load_iris(return_X_y=True)
    weight = np.random.default_rng(0).integers(1, 4, len(y)).astype(float)
    task = Task("multiclass", (0, 1, 2))
    model = LinearModule(task, 4, seed=0)
    batch = {
        name: torch.as_tensor(value) for name, value in {"x": standard(x), "y": y, "weight": weight}.items()
    }
    outcome = fit(
        model,
        WholeTable(batch),
        CrossEntropy(task),
        LBFGSUpdate(LBFGSSettings(l2=1 / weight.sum())),
        context=Context(),
        until=Duration(100, "epochs"),
    )
    assert outcome.reason == "done"
    reference = LogisticRegression(C=1.0, tol=1e-12, max_iter=10_000).fit(
        standard(x), y, sample_weight=weight
    )
    np.testing.assert_allclose(model.arrays()["weight"], reference.coef_, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_goes_on_from_the_middle_to_the_same_bits(dtype):
    batch, objective = waves(dtype), SquaredError(NUMBER)
    settings = LBFGSSettings(iterations=3, history=4)
    straight, own = network(dtype=dtype), LBFGSUpdate(settings)
    resumed, update = network(dtype=dtype), LBFGSUpdate(settings)
    losses = []
    for call in range(8):
        step = own(straight, objective, [batch], Context())
        update(resumed, objective, [batch], Context())
        losses.append(float(step.losses["squared_error"]))
        if call in (0, 3):
            state, resumed = copy.deepcopy(update.state()), copy.deepcopy(resumed)
            update = LBFGSUpdate(settings)
            update.load(state)
            assert update.state() is state  # before the first call it has nothing else
    assert losses[-1] < 0.1 * losses[0]
    for one, two in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, two)
    assert own.state()["rows"] == update.state()["rows"]


def test_batches_in_pieces_are_the_one_big_batch():
    objective, batch = SquaredError(NUMBER), waves()
    ends = []
    for batches in ([batch], pieces(batch, 7, 20, 59)):
        model = network()
        LBFGSUpdate(LBFGSSettings(iterations=5))(model, objective, batches, Context())
        ends.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    torch.testing.assert_close(*ends, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.Dropout(0.5), r"LBFGS needs the same loss at every look, but 1 \(Dropout\) silences"),
        (nn.BatchNorm1d(8), r"looks at many weights .* 1 \(BatchNorm1d\) would keep statistics"),
        (nn.RReLU(), "two looks at the same rows gave"),
    ],
)
def test_dropout_batch_norm_and_whatever_is_random_are_refused(layer, message):
    model = network(layer)
    with pytest.raises(RecipeError, match=message):
        LBFGSUpdate()(model, SquaredError(NUMBER), [waves()], Context())
    model.eval()
    assert not LBFGSUpdate()(model, SquaredError(NUMBER), [waves()], Context()).fault


class Mixed:
    """Mixes rows at random inside the objective."""

    task, splittable = NUMBER, True

    def counts(self, batch):
        return {"squared_error": float(len(batch["y"]))}

    def sums(self, model, batch):
        order, share = torch.randperm(len(batch["y"])), 0.7
        x = share * batch["x"] + (1 - share) * batch["x"][order]
        y = share * batch["y"] + (1 - share) * batch["y"][order]
        return {"squared_error": (model(x) - y).square().sum()}


def test_mixup_is_refused_within_the_objective_and_within_the_rows():
    random = torch.get_rng_state()
    with pytest.raises(RecipeError, match="two looks at the same rows gave .* Leave out mixup, noise"):
        LBFGSUpdate()(network(), Mixed(), [waves()], Context())  # type: ignore[arg-type]
    assert torch.equal(random, torch.get_rng_state())
    batch, model, update = waves(), network(), LBFGSUpdate()
    update(model, SquaredError(NUMBER), [batch], Context())
    order = torch.randperm(60)
    shuffled = {name: value[order] for name, value in batch.items()}
    update(model, SquaredError(NUMBER), [shuffled], Context())  # the same rows in another order
    mixed = {name: 0.7 * value + 0.3 * value[order] ** 2 for name, value in batch.items()}
    with pytest.raises(
        RecipeError, match="needs the same rows at every step, and these are others than before"
    ):
        update(model, SquaredError(NUMBER), [mixed], Context())


def test_a_loss_that_is_not_finite_is_a_fault_and_leaves_the_model_as_it_was():
    batch = waves()
    batch["y"][3] = float("inf")
    model = network()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    step = LBFGSUpdate()(model, SquaredError(NUMBER), [batch], Context())
    assert step.fault == "the loss or a weight is no longer finite in the search of LBFGS" and not step.done
    for parameter, old in zip(model.parameters(), before, strict=True):
        assert torch.equal(parameter, old)


def test_several_processes_and_losses_that_cannot_be_summed_are_refused():
    ranks = Ranks()
    ranks.number = 2
    with pytest.raises(RecipeError, match="LBFGS runs in one process, and there are 2"):
        LBFGSUpdate()(network(), SquaredError(NUMBER), [waves()], Context(ranks=ranks))
    objective = SquaredError(NUMBER)
    objective.splittable = False
    with pytest.raises(RecipeError, match="that of SquaredError cannot be summed over 2 batches"):
        LBFGSUpdate(chunk=2)(network(), objective, pieces(waves(), 30), Context())
    for wrong in ({"iterations": 0}, {"gradient_tolerance": -1.0}, {"l2": float("nan")}):
        with pytest.raises(RecipeError, match="lbfgs"):
            LBFGSSettings(**wrong)  # type: ignore[arg-type]


def test_it_is_scored_in_evaluation_mode_and_stays_in_the_mode_it_had():
    model = network()
    for mode in (True, False):
        model.train(mode)
        with LBFGSUpdate().evaluating(model):
            assert not model.training
        assert model.training is mode
