"""Losses of a number: loss and prediction on one scale, against hand calculations, scikit-learn and torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, mean_pinball_loss, mean_squared_error
from torch.nn import functional

from danlu.core.errors import BundleError, DataError, RecipeError
from danlu.core.seeds import generator
from danlu.core.tasks import Task
from danlu.objectives.regression import (
    AbsoluteError,
    HalfSquaredError,
    Huber,
    HuberSettings,
    Quantile,
    QuantileSettings,
    SquaredError,
)

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


ALL = {
    "squared": SquaredError,
    "half": HalfSquaredError,
    "absolute": AbsoluteError,
    "huber": Huber,
    "quantile": lambda task, settings=None, **state: Quantile(task, QuantileSettings(level=0.7), **state),
}


def mean_of(objective, x, y, weight=None):
    batch = {"x": x, "y": y} | ({} if weight is None else {"weight": weight})
    (total,), (count,) = objective.sums(identity, batch).values(), objective.counts(batch).values()
    return float(total) / count


def test_the_course_by_hand():
    """Predictions 1, 2, 5 of 1, 2, 3: MSE 4/3, MAE 2/3, and half of the MSE is 2/3."""
    x, y = np.array([[1.0], [2.0], [5.0]]), np.array([1.0, 2.0, 3.0])
    assert mean_of(SquaredError(TASK), x, y) == pytest.approx(4 / 3)
    assert mean_of(AbsoluteError(TASK), x, y) == pytest.approx(2 / 3)
    assert mean_of(HalfSquaredError(TASK), x, y) == pytest.approx(2 / 3)
    assert mean_of(Huber(TASK, HuberSettings(delta=1.0)), x, y) == pytest.approx((2 - 0.5) / 3)
    assert mean_of(Quantile(TASK, QuantileSettings(level=0.9)), x, y) == pytest.approx(0.1 * 2 / 3)


def test_the_gradient_of_the_half_squared_error_is_the_error_itself():
    score = torch.tensor([[5.0]], requires_grad=True)
    for cls, slope in ((HalfSquaredError, 2.0), (SquaredError, 4.0)):
        (loss,) = cls(TASK).sums(identity, {"x": score, "y": torch.tensor([3.0])}).values()
        assert torch.autograd.grad(loss, score)[0].item() == slope


def test_each_is_what_others_compute():
    rng = generator(0, "losses")
    x, y, weight = 2 * rng.normal(size=(80, 1)), rng.normal(size=80), rng.uniform(0, 3, 80)
    for kind in (np.asarray, torch.as_tensor):
        given = kind(x), kind(y), kind(weight)
        assert mean_of(AbsoluteError(TASK), *given) == pytest.approx(
            mean_absolute_error(y, x[:, 0], sample_weight=weight), rel=1e-12
        )
        for level in (0.1, 0.5, 0.9):
            assert mean_of(Quantile(TASK, QuantileSettings(level=level)), *given) == pytest.approx(
                mean_pinball_loss(y, x[:, 0], sample_weight=weight, alpha=level), rel=1e-12
            )
        for delta in (0.3, 1.345):
            expected = functional.huber_loss(torch.as_tensor(x[:, 0]), torch.as_tensor(y), delta=delta)
            found = mean_of(Huber(TASK, HuberSettings(delta=delta)), *given[:2])
            assert found == pytest.approx(expected.item(), rel=1e-12)


def test_the_best_constant_is_mean_median_and_quantile():
    y = np.array([0.0, 1.0, 2.0, 3.0, 100.0])
    grid = np.linspace(0, 100, 1001)
    wanted = {"squared": 21.2, "half": 21.2, "absolute": 2.0, "quantile": 3.0}
    for name, best in wanted.items():
        losses = [mean_of(ALL[name](TASK), np.full((5, 1), c), y) for c in grid]
        assert grid[int(np.argmin(losses))] == pytest.approx(best)


@pytest.mark.parametrize("name", ALL)
def test_the_unit_of_the_target_changes_nothing(name):
    """In cents instead of dollars, from another zero: the same losses, and predictions in cents."""
    rng = generator(0, "unit")
    y, x = rng.gamma(2, size=50), rng.normal(size=(50, 1))
    dollars, cents = (cls_fitted(name, values) for values in (y, 100 * y + 7))
    assert mean_of(cents, x, 100 * y + 7) == pytest.approx(mean_of(dollars, x, y), rel=1e-9)
    in_cents, in_dollars = (o.predict(identity, {"x": x})["values"] for o in (cents, dollars))
    np.testing.assert_allclose(in_cents, 100 * in_dollars + 7, rtol=1e-9)


def cls_fitted(name, y):
    plain = ALL[name](TASK)
    return type(plain).fitted(TASK, y, None, plain.settings)


def test_score_zero_is_the_best_constant_once_fitted():
    y = np.array([0.0, 1.0, 2.0, 3.0, 100.0])
    zero = np.zeros((1, 1))
    found = {name: float(cls_fitted(name, y).predict(identity, {"x": zero})["values"][0]) for name in ALL}
    assert found == {"squared": 21.2, "half": 21.2, "absolute": 2.0, "huber": 2.0, "quantile": 3.0}


def test_the_robust_scale_is_the_deviation_of_normal_targets_and_survives_equal_ones():
    y = generator(0, "robust").normal(10, 3, 20_000)
    assert cls_fitted("huber", y).scale == pytest.approx(3, rel=0.03)
    assert cls_fitted("huber", np.concatenate([y, np.full(500, 1e9)])).scale == pytest.approx(3, rel=0.1)
    mostly_zero = np.array([0.0] * 8 + [5.0, 15.0])
    assert cls_fitted("huber", mostly_zero).scale == pytest.approx(2.0)
    assert cls_fitted("absolute", np.full(4, 3.0)).state() == {"shift": 3.0, "scale": 1.0}


def test_weights_count_like_repeated_rows_in_every_scale():
    rng = generator(0, "repeated")
    y, weight = rng.normal(size=31), rng.integers(1, 4, 31)
    for name in ALL:
        plain = ALL[name](TASK)
        once = type(plain).fitted(TASK, y, weight.astype(float), plain.settings).state()
        repeated = type(plain).fitted(TASK, np.repeat(y, weight), None, plain.settings).state()
        assert once == pytest.approx(repeated, rel=1e-12)


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
def test_several_columns_of_targets_count_with_their_mean(kind):
    rng = generator(0, "columns")
    y = rng.normal(size=(40, 3)) * [1.0, 10.0, 100.0] + [0.0, 5.0, -50.0]
    weight, scores = rng.uniform(0, 2, 40), rng.normal(size=(40, 3))
    for name in ALL:
        plain = ALL[name](TASK)
        objective = type(plain).fitted(TASK, y, weight, plain.settings)
        singles = [type(plain).fitted(TASK, y[:, j], weight, plain.settings) for j in range(3)]
        batch = {"x": kind(scores), "y": kind(y), "weight": kind(weight)}
        (total,) = objective.sums(lambda x: x, batch).values()
        expected = [mean_of(singles[j], scores[:, j : j + 1], y[:, j], weight) for j in range(3)]
        assert float(total) / weight.sum() == pytest.approx(np.mean(expected), rel=1e-12)
        values = objective.predict(lambda x: np.asarray(x), {"x": scores})["values"]
        for j, single in enumerate(singles):
            alone = single.predict(identity, {"x": scores[:, j : j + 1]})["values"]
            np.testing.assert_allclose(values[:, j], alone, rtol=1e-12)


def test_shapes_that_do_not_fit_are_told_and_not_spread_out():
    """(3, 1) scores beside (3,) targets are meant; (3, 2) beside (3,) are not."""
    column = np.array([[1.0], [2.0], [3.0]])
    (total,) = SquaredError(TASK).sums(lambda x: x, {"x": column, "y": np.array([1.0, 2.0, 5.0])}).values()
    assert total == 4.0
    (total,) = SquaredError(TASK).sums(lambda x: x[:, 0], {"x": column, "y": column + 1}).values()
    assert total == 3.0
    with pytest.raises(
        DataError, match=r"scores of shape \(3, 2\) for targets of shape \(3,\)\. Let its last"
    ):
        SquaredError(TASK).sums(lambda x: x, {"x": np.zeros((3, 2)), "y": np.zeros(3)})


def test_settings_that_mean_nothing_are_refused():
    for delta in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(RecipeError, match=r"huber\.delta must be above 0, got"):
            HuberSettings(delta=delta)
    for level in (0.0, 1.0, -0.1, 90.0):
        with pytest.raises(
            RecipeError, match=r"quantile\.level must lie between 0 and 1, got .*, like 0\.9\."
        ):
            QuantileSettings(level=level)


def test_a_quantile_is_that_quantile_of_rows_that_were_not_seen():
    """Targets spread the more, the larger x is: a line through (1, x) finds the 0.9 quantile along it."""
    rng = generator(0, "pinball")
    x = rng.uniform(0, 2, 20_000)
    y = 1 + 2 * x + (0.2 + x) * rng.normal(size=20_000)
    design = torch.as_tensor(np.column_stack([np.ones(20_000), x]))
    objective = Quantile.fitted(TASK, y[:10_000], None, QuantileSettings(level=0.9))
    theta = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([theta], lr=0.05)
    for _ in range(400):
        optimizer.zero_grad()
        mean = objective.sums(
            lambda rows: rows @ theta, {"x": design[:10_000], "y": torch.as_tensor(y[:10_000])}
        )
        (mean["quantile"] / 10_000).backward()
        optimizer.step()
    values = objective.predict(lambda rows: (rows @ theta.detach()).numpy(), {"x": design[10_000:]})["values"]
    below = y[10_000:] <= values
    assert below.mean() == pytest.approx(0.9, abs=0.01)
    assert below[x[10_000:] < 0.5].mean() == pytest.approx(0.9, abs=0.02)
    assert below[x[10_000:] > 1.5].mean() == pytest.approx(0.9, abs=0.02)


def test_whole_numbers_as_targets_keep_all_their_digits():
    y = torch.tensor([123_456_789_012])
    (total,) = (
        SquaredError(TASK)
        .sums(identity, {"x": torch.tensor([[123_456_789_010.0]], dtype=torch.float64), "y": y})
        .values()
    )
    assert total.item() == 4.0
