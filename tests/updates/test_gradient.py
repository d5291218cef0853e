"""Gradient descent: worked examples, the three ways of taking batches, and agreement with exact solutions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from danlu.core.duration import Deadline, Duration
from danlu.core.errors import RecipeError
from danlu.core.ideas import Context
from danlu.core.loop import fit
from danlu.core.tasks import Task
from danlu.data.batches import ShuffledRows, WholeTable
from danlu.models.linear_module import LinearModule
from danlu.objectives.classification import CrossEntropy
from danlu.objectives.regression import SquaredError
from danlu.updates.gradient import GradientUpdate, StepParts, how_long, rows_per_step, steps_of
from danlu.updates.settings import TrainingSettings

NUMBER = Task("regression")
AREA = np.array([2104.0, 1600, 2400, 1416, 3000, 1985, 1534, 1427, 1380, 1494])
BEDROOMS = np.array([3.0, 3, 3, 2, 4, 4, 3, 3, 3, 3])
PRICE = np.array([399900.0, 329900, 369000, 232000, 539900, 299900, 314900, 198999, 212000, 242500])


def standard(x):
    return (x - x.mean(axis=0)) / x.std(axis=0)


def descend(x, y, *, epochs, batch_size=None, rate=0.1, seed=0, start=None, watch=None):
    """Fit a line by gradient descent on 1/2 MSE's twin, the MSE; returns (weights, bias, outcome)."""
    model = LinearModule(NUMBER, x.shape[1], seed=seed)
    if start is not None:
        with torch.no_grad():
            model.linear.weight.copy_(torch.as_tensor(start[:-1])[None])
            model.linear.bias.copy_(torch.as_tensor(start[-1:]))
    batch = {"x": torch.as_tensor(x), "y": torch.as_tensor(y)}
    data = WholeTable(batch) if batch_size is None else ShuffledRows(batch, batch_size=batch_size, seed=seed)
    update = GradientUpdate(torch.optim.SGD(model.parameters(), lr=rate))
    outcome = fit(
        model,
        data,
        SquaredError(NUMBER),
        update if watch is None else watch(update),
        context=Context(seed, Deadline()),
        until=Duration(epochs, "epochs"),
    )
    arrays = model.arrays()
    return arrays["weight"][0], arrays["bias"][0], outcome


class Watched:
    """Wraps an update and keeps each step's loss and gradient."""

    chunk = 1

    def __init__(self, update):
        self.update, self.losses, self.gradients = update, [], []

    def __call__(self, model, objective, batches, context):
        step = self.update(model, objective, batches, context)
        self.losses.append(float(sum(step.losses.values())))
        self.gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]).numpy().copy())
        return step

    def evaluating(self, model):
        return self.update.evaluating(model)


def test_two_features_on_a_standard_scale_reach_the_exact_solution():
    x = standard(np.column_stack([AREA, BEDROOMS]))
    weight, bias, _ = descend(x, PRICE, epochs=400, rate=0.1)
    np.testing.assert_allclose([bias, *weight], [313899.9, 94587.4740, -5391.8329], rtol=1e-6)
    exact = np.linalg.lstsq(np.column_stack([np.ones(10), x]), PRICE, rcond=None)[0]
    np.testing.assert_allclose([bias, *weight], exact, rtol=1e-6)


def test_an_unscaled_column_diverges_above_its_largest_rate_and_says_so():
    # J is half the MSE in the source (limit 5.522e-7); the MSE has twice its gradient, so half its limit.
    x = AREA[:, None]
    *_, slow = descend(x, PRICE, epochs=50, rate=0.98 * 5.522e-7 / 2)
    *_, fast = descend(x, PRICE, epochs=100_000, rate=1.05 * 5.522e-7 / 2)
    assert slow.reason == "reached 50 epochs"
    assert fast.fault == fast.reason
    assert fast.reason.startswith(
        "the term squared_error of the loss is not finite, though every module's output is"
    )
    assert fast.reason.endswith(f"at step {fast.position.step}")


def test_three_starts_end_at_one_minimum():
    x = standard(AREA[:, None])
    rng = np.random.default_rng(0)
    ends = []
    for _ in range(3):
        weight, bias, _ = descend(x, PRICE, epochs=300, start=rng.normal(size=2) * 1e5)
        ends.append(np.mean((x @ weight + bias - PRICE) ** 2))
    np.testing.assert_allclose(ends, 1423439173.38, rtol=1e-9)


def test_updates_an_epoch_and_noise_of_batch_minibatch_and_stochastic_descent():
    x, y = standard(AREA[:, None]), standard(PRICE)
    steps, loss_noise, gradient_noise = {}, {}, {}
    for name, batch_size in (("batch", None), ("mini-batch", 4), ("stochastic", 1)):
        watched: list[Watched] = []

        def watch(update, kept=watched):
            kept.append(Watched(update))
            return kept[0]

        *_, outcome = descend(x, y, epochs=200, batch_size=batch_size, rate=0.01, watch=watch)
        steps[name] = outcome.position.step / 200
        tail = len(watched[0].losses) // 2
        loss_noise[name] = np.var(watched[0].losses[tail:])
        gradient_noise[name] = np.var(np.array(watched[0].gradients[tail:]), axis=0).sum()
    assert steps == {"batch": 1, "mini-batch": math.ceil(10 / 4), "stochastic": 10}
    assert loss_noise["stochastic"] > loss_noise["mini-batch"] > loss_noise["batch"]
    assert gradient_noise["stochastic"] > gradient_noise["mini-batch"] > gradient_noise["batch"]


def test_matrix_cost_equals_loop_cost():
    x, theta = np.column_stack([np.ones(10), AREA, BEDROOMS]), np.array([1000.0, 150.0, -2000.0])
    matrix = (x @ theta - PRICE) @ (x @ theta - PRICE) / 20
    loop = (
        sum(
            (sum(t * v for t, v in zip(theta, row, strict=True)) - y) ** 2
            for row, y in zip(x, PRICE, strict=True)
        )
        / 20
    )
    assert matrix == pytest.approx(loop, rel=1e-12)
    # the same number from the objective: sum / (2 n)
    model = lambda features: features @ theta[1:] + theta[0]  # noqa: E731
    total = SquaredError(NUMBER).sums(model, {"x": x[:, 1:], "y": PRICE})["squared_error"]
    assert total / 20 == pytest.approx(matrix, rel=1e-12)


def test_the_gradient_is_the_numeric_one():
    x, y = standard(AREA[:, None]), standard(PRICE)
    objective, theta = SquaredError(NUMBER), np.array([0.3, -0.2])

    def cost(at):
        return objective.sums(lambda f: f @ at[:1] + at[1], {"x": x, "y": y})["squared_error"] / 10

    numeric = [(cost(theta + step) - cost(theta - step)) / 2e-6 for step in np.eye(2) * 1e-6]
    watched: list[Watched] = []
    descend(x, y, epochs=1, start=theta, watch=lambda update: watched.append(Watched(update)) or watched[0])
    np.testing.assert_allclose(watched[0].gradients[0], numeric, atol=1e-8)


def test_the_chain_rule_example():
    # f(x) = sin(x^3 + 5), f'(x) = cos(x^3 + 5) 3 x^2
    for at, expected in ((0.0, 0.0), (1.0, 2.880511), (2.0, 10.889361)):
        x = torch.tensor(at, dtype=torch.float64, requires_grad=True)
        torch.sin(x**3 + 5).backward()
        assert float(x.grad) == pytest.approx(math.cos(at**3 + 5) * 3 * at**2)  # type: ignore[arg-type]
        assert float(x.grad) == pytest.approx(expected, abs=1e-6)  # type: ignore[arg-type]


def test_cross_entropy_is_the_same_in_numpy_and_torch_and_by_hand():
    three, two = Task("multiclass", ("a", "b", "c")), Task("binary", (0, 1))
    logits = np.array([[1.0, 2.0, 3.0], [800.0, -800.0, 0.0]])
    by_numpy = CrossEntropy(three).sums(lambda x: x, {"x": logits, "y": np.array([2, 2])})["cross_entropy"]
    assert by_numpy == pytest.approx(0.407606 + 800, abs=1e-6)
    batch = {"x": torch.as_tensor(logits), "y": torch.tensor([2, 2])}
    assert float(CrossEntropy(three).sums(lambda x: x, batch)["cross_entropy"]) == pytest.approx(by_numpy)
    z, y, weight = np.array([-900.0, 0.0, 2.0]), np.array([1, 0, 1]), np.array([1.0, 2.0, 0.5])
    one = CrossEntropy(two).sums(lambda x: x, {"x": z, "y": y, "weight": weight})["cross_entropy"]
    assert one == pytest.approx(900 + 2 * math.log(2) + 0.5 * math.log1p(math.exp(-2)))
    tensors = {"x": torch.as_tensor(z), "y": torch.as_tensor(y), "weight": torch.as_tensor(weight)}
    assert float(CrossEntropy(two).sums(lambda x: x, tensors)["cross_entropy"]) == pytest.approx(one)


@pytest.mark.parametrize("micro_batch", [1, 16, 33, 64])
def test_an_accumulated_batch_has_the_gradient_of_the_whole_one(micro_batch):
    rng = np.random.default_rng(0)
    values = {"x": rng.normal(size=(64, 3)), "y": rng.normal(size=64), "weight": rng.uniform(0.1, 3, 64)}
    batch = {name: torch.as_tensor(value) for name, value in values.items()}

    def after(parts):
        model = LinearModule(NUMBER, 3, seed=0)
        update = GradientUpdate(torch.optim.SGD(model.parameters(), lr=0.1), parts)
        step = update(model, SquaredError(NUMBER), [batch], Context())
        return [*model.arrays()["weight"][0], float(step.losses["squared_error"])]

    accumulated = after(StepParts(micro_batch=micro_batch))
    np.testing.assert_allclose(after(StepParts()), accumulated, rtol=1e-12)


def test_batches_of_one_call_are_steps_one_after_the_other():
    rng = np.random.default_rng(0)
    batches = [
        {"x": torch.tensor(rng.normal(size=(8, 3))), "y": torch.tensor(rng.normal(size=8))} for _ in range(3)
    ]
    ends = []
    for calls in ([batches], [[batch] for batch in batches]):
        model, context = LinearModule(NUMBER, 3, seed=0), Context()
        update = GradientUpdate(torch.optim.SGD(model.parameters(), lr=0.1))
        for call in calls:
            update(model, SquaredError(NUMBER), call, context)
        ends.append(model.arrays()["weight"])
    np.testing.assert_array_equal(*ends)


@pytest.mark.parametrize("name", ["number", "classes"])
def test_rows_that_weigh_nothing_are_not_divided_by(name):
    """A batch of them was 0 / 0: the loss was NaN and the fit called diverged."""
    task = NUMBER if name == "number" else Task("binary", ("no", "yes"))
    objective = SquaredError(task) if name == "number" else CrossEntropy(task)
    model = LinearModule(task, 1, seed=0)
    batch = {
        "x": torch.ones(3, 1, dtype=torch.float64),
        "y": torch.ones(3, dtype=torch.float64),
        "weight": torch.zeros(3, dtype=torch.float64),
    }
    update = GradientUpdate(torch.optim.SGD(model.parameters(), lr=0.1))
    step = update(model, objective, [batch], Context())
    assert not step.fault and float(sum(step.losses.values())) == 0.0
    assert not any(parameter.any() for parameter in model.parameters())


def test_clipping_bounds_the_step_and_keeps_its_direction():
    x = standard(AREA[:, None])
    steps = {}
    for clip in (1e9, 1.0):
        model = LinearModule(NUMBER, 1, seed=0)
        update = GradientUpdate(torch.optim.SGD(model.parameters(), lr=1.0), StepParts(clip_norm=clip))
        step = update(
            model, SquaredError(NUMBER), [{"x": torch.as_tensor(x), "y": torch.as_tensor(PRICE)}], Context()
        )
        moved = torch.cat([p.flatten() for p in model.parameters()])
        steps[clip] = moved.detach().numpy()
        assert float(step.signals["gradient_norm"]) > 1e5  # the norm before clipping is what is shown
    assert np.linalg.norm(steps[1.0]) == pytest.approx(1.0, rel=1e-5)
    cosine = steps[1.0] @ steps[1e9] / np.linalg.norm(steps[1e9]) / np.linalg.norm(steps[1.0])
    assert cosine == pytest.approx(1.0)


def test_clipping_by_value_cuts_each_entry():
    model = LinearModule(NUMBER, 1, seed=0)
    update = GradientUpdate(torch.optim.SGD(model.parameters(), lr=1.0), StepParts(clip_value=0.5))
    x = standard(AREA[:, None])
    update(model, SquaredError(NUMBER), [{"x": torch.as_tensor(x), "y": torch.as_tensor(PRICE)}], Context())
    moved = torch.cat([p.detach().flatten() for p in model.parameters()])
    np.testing.assert_allclose(moved.abs().numpy(), [0.5, 0.5])


def test_a_broken_step_names_the_module_and_leaves_the_model_alone():
    class Root(torch.nn.Module):
        def forward(self, x):
            return torch.sqrt(x)

    first = torch.nn.Linear(2, 3)
    torch.nn.init.ones_(first.weight)
    model = torch.nn.Sequential(first, Root(), torch.nn.Linear(3, 1), torch.nn.Flatten(0))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    update = GradientUpdate(torch.optim.SGD(model.parameters(), lr=0.1))
    batch = {"x": -torch.ones(4, 2), "y": torch.zeros(4)}
    step = update(model, SquaredError(NUMBER), [batch], Context())
    assert step.fault == "the output of 1 (Root) is not finite, at step 1"
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    nan = update(
        model, SquaredError(NUMBER), [{"x": torch.full((4, 2), math.nan), "y": torch.zeros(4)}], Context()
    )
    assert nan.fault == "the batch holds values that are not finite in 'x', at step 1"


def test_settings_become_a_batch_size_and_a_duration():
    assert rows_per_step(TrainingSettings(batch_size="all"), 50) == 50
    assert rows_per_step(TrainingSettings(), 10) == 10
    assert rows_per_step(TrainingSettings(), 20_000) in (128, 256)
    with pytest.raises(RecipeError, match="is 64, but there are only 50 training rows"):
        rows_per_step(TrainingSettings(batch_size=64), 50)
    assert how_long(TrainingSettings(duration="60 epochs"), 7, validated=True) == Duration(60, "epochs")
    assert steps_of("3 epochs", 7) == 21 and steps_of(Duration(5, "steps"), 7) == 5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "must be at least 1, got 0"),
        ({"learning_rate": -1.0}, "must be above 0, got -1.0"),
        ({"warmup": "3 minutes"}, "counted in steps or epochs, got '3 minutes'"),
        ({"max_norm": 0.0}, "must be above 0, got 0.0"),
        ({"mixup": -1.0}, "must be a number from 0 on, got -1.0"),
        ({"clip_norm": 0.0}, "must be above 0"),
        ({"clip_norm": float("nan")}, "must be above 0, got nan. Leave it out for no limit"),
        ({"weight_decay": -0.1}, "must be a number from 0 on, got -0.1"),
        ({"weight_decay": float("nan")}, "must be a number from 0 on, got nan"),
        ({"duration": "soon"}, "Cannot read 'soon' as a duration"),
        ({"patience": 0}, "must be at least 1, or 'off'"),
    ],
)
def test_contradictions_are_named(settings, message):
    with pytest.raises(RecipeError, match=message):
        TrainingSettings(**settings)
