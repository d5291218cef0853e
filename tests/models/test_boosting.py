"""Tests of models/boosting.py: the same trees as LightGBM's own training, rounds, scales, damaged states."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pytest
from scipy.sparse import csr_matrix

from danlu.core.errors import BundleError, DataError, RecipeError
from danlu.core.ideas import Context, Step
from danlu.core.scores import class_probabilities
from danlu.core.tasks import Task
from danlu.models.boosting import Boosting, BoostingSettings
from danlu.models.trees import TreeEnsemble

REGRESSION = Task("regression")
YES_NO = Task("binary", ("no", "yes"))
MANY = Task("multiclass", tuple("abcdefgh"))
TASKS = pytest.mark.parametrize("task", [REGRESSION, YES_NO, MANY], ids=lambda task: task.kind)


def rows(seed: int, num_rows: int, task: Task) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num_rows, 6)).round(1)
    signal = np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] + 0.3 * rng.normal(size=num_rows)
    x[rng.random(x.shape) < 0.1] = -0.0
    x[rng.random(x.shape) < 0.1] = np.nan
    num_classes = len(task.labels)
    codes = np.clip((signal * num_classes / 4 + num_classes / 2).astype(int), 0, num_classes - 1)
    return x, signal if task is REGRESSION else codes


def new(task: Task, num_features: int = 6, **settings: Any) -> Boosting:
    return Boosting(BoostingSettings(**settings), task, num_features, seed=4)


def boost(
    task: Task, x: Any, y: np.ndarray, weight: np.ndarray | None = None, *, calls: int = 3, **settings: Any
) -> tuple[Boosting, Step]:
    model, step = new(task, x.shape[1], **settings), Step()
    batch = {"x": x, "y": y, "weight": weight}
    for _ in range(calls):
        step = model.fit_round(batch, task, Context())
        if step.done:
            break
    return model, step


@TASKS
@pytest.mark.parametrize("weighted", [False, True])
def test_the_trees_are_those_of_lightgbms_own_training(task: Task, weighted: bool) -> None:
    x, y = rows(0, 600, task)
    weight = np.random.default_rng(0).uniform(0.2, 3, size=600) if weighted else None
    model, step = boost(task, x, y, weight)
    mean = 0.0 if task.is_classification else np.average(y, weights=weight)
    width = 1.0 if task.is_classification else np.sqrt(np.average((y - mean) ** 2, weights=weight))
    data = lightgbm.Dataset(x, (y - mean) / width, weight=None if weight is None else weight / weight.mean())
    same = lightgbm.train(model._parameters(Context(), 600), data, 30)
    wanted = np.asarray(same.predict(x, raw_score=True)) * width + mean
    assert model.num_rounds == 30 and not step.done
    np.testing.assert_allclose(model(x), wanted, rtol=1e-12, atol=1e-12)


@TASKS
def test_going_back_equals_having_stopped_there(task: Task) -> None:
    x, y = rows(1, 300, task)
    model, _ = boost(task, x, y, calls=2)
    once, _ = boost(task, x, y, calls=1)
    twice = model(x)
    model(x)
    assert model.snapshot() == 20
    model.restore(10)
    assert model.num_rounds == 10 and np.array_equal(model(x), once(x))
    model.fit_round({"x": x, "y": y}, task, Context())
    assert model.num_rounds == 20 and np.array_equal(model(x), twice)


@TASKS
def test_a_state_comes_back_to_the_same_bits_and_goes_on(task: Task) -> None:
    x, y = rows(2, 300, task)
    whole, _ = boost(task, x, y, calls=4, bagging_fraction=0.5, rounds_per_call=7)
    half, _ = boost(task, x, y, calls=2, bagging_fraction=0.5, rounds_per_call=7)
    again = new(task, bagging_fraction=0.5, rounds_per_call=7)
    again.load(half.state())
    assert np.array_equal(again(x), half(x)) and again.num_rounds == 14
    for _ in range(2):
        again.fit_round({"x": x, "y": y}, task, Context())
    assert again.num_rounds == 28 and np.array_equal(again(x), whole(x))


def test_the_same_seed_gives_the_same_bits() -> None:
    x, y = rows(3, 400, YES_NO)
    first, second = (boost(YES_NO, x, y)[0](x) for _ in range(2))
    assert np.array_equal(first, second)
    other = Boosting(BoostingSettings(), YES_NO, 6, seed=5)
    other.fit_round({"x": x, "y": y}, YES_NO, Context())
    assert not np.array_equal(other(x), boost(YES_NO, x, y, calls=1)[0](x))


def test_validation_after_every_call_is_not_quadratic(monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[int] = []
    plain = TreeEnsemble.add_scores

    def counted(self: TreeEnsemble, x: Any, sums: np.ndarray) -> None:
        scored.append(self.num_trees)
        plain(self, x, sums)

    monkeypatch.setattr(TreeEnsemble, "add_scores", counted)
    x, y = rows(4, 300, REGRESSION)
    model = new(REGRESSION, num_leaves=4)
    for _ in range(30):
        model.fit_round({"x": x[:200], "y": y[:200]}, REGRESSION, Context())
        model(x[200:])
    assert sum(scored) == model.num_rounds == 300


@pytest.mark.parametrize(
    ("loss", "mean_loss"),
    [
        ("squared", lambda e, width: e**2),
        ("absolute", lambda e, width: abs(e)),
        ("quantile", lambda e, width: np.maximum(0.8 * e, -0.2 * e)),
        ("huber", lambda e, width: np.where(abs(e) <= width, e**2 / 2, width * (abs(e) - width / 2))),
    ],
)
def test_the_loss_is_that_of_the_training_rows(loss: Any, mean_loss: Any) -> None:
    x, y = rows(5, 500, REGRESSION)
    y = 1000 * y + 5000
    model, step = boost(REGRESSION, x, y, loss=loss, quantile=0.8, huber_delta=1.0)
    low, high = np.quantile(y, [0.25, 0.75])
    wanted = mean_loss(y - model(x), (high - low) / 1.349).mean()
    assert step.losses["loss"] == pytest.approx(wanted, rel=1e-5)
    start, _ = boost(REGRESSION, x, y, calls=1, loss=loss, quantile=0.8, rounds_per_call=1)
    assert wanted < mean_loss(y - start(x), (high - low) / 1.349).mean()


def test_losses_aim_where_they_say() -> None:
    rng = np.random.default_rng(6)
    x, y = rng.integers(3, size=(3000, 1)).astype(float), rng.exponential(size=3000) * 100
    wanted = {"squared": np.mean, "absolute": np.median, "quantile": lambda v: np.quantile(v, 0.9)}
    for loss, aim in wanted.items():
        model, _ = boost(
            REGRESSION, x, y, calls=20, loss=loss, quantile=0.9, learning_rate=0.2, bagging_fraction=1.0
        )
        for value in range(3):
            assert model(np.array([[value]]))[0] == pytest.approx(aim(y[x[:, 0] == value]), rel=0.03), loss


@pytest.mark.parametrize("loss", ["squared", "absolute", "huber", "quantile"])
@pytest.mark.parametrize(("scale", "shift"), [(1e-9, 0.0), (1e9, 0.0), (1.0, 1e9), (1e200, 0.0)])
def test_the_unit_of_the_target_does_not_matter(loss: Any, scale: float, shift: float) -> None:
    x, y = rows(7, 300, REGRESSION)
    plain, _ = boost(REGRESSION, x, y, loss=loss)
    other, _ = boost(REGRESSION, x, y * scale + shift, loss=loss)
    np.testing.assert_allclose((other(x) - shift) / scale, plain(x), atol=1e-3 * y.std())


def test_two_classes_log_loss_is_reported() -> None:
    x, y = rows(8, 400, YES_NO)
    model, step = boost(YES_NO, x, y)
    assert step.losses["loss"] == pytest.approx(
        -np.log(class_probabilities(model(x))[np.arange(400), y]).mean(), rel=1e-6
    )


def test_it_ends_after_the_rounds_that_are_set() -> None:
    x, y = rows(8, 300, YES_NO)
    model, step = boost(YES_NO, x, y, calls=9, num_rounds=15)
    assert step.done and model.num_rounds == 15
    assert model.fit_round({"x": x, "y": y}, YES_NO, Context()).done and model.num_rounds == 15


@TASKS
def test_it_ends_where_nothing_can_be_split(task: Task) -> None:
    x, y = rows(9, 12, task)
    model, step = boost(task, x, y, min_rows_per_leaf=20, bagging_fraction=1.0)
    assert step.done and model.num_rounds == 1 and (model.trees.joined().sizes == 1).all()
    got = model(x)
    if task is REGRESSION:
        np.testing.assert_allclose(got, y.mean(), rtol=1e-6)
    else:
        shares = np.bincount(y, minlength=len(task.labels)) / 12
        np.testing.assert_allclose(class_probabilities(got)[0], shares, atol=1e-6)
    again = new(task)
    again.load(model.state())
    assert np.array_equal(again(x), got)
    step = model.fit_round({"x": x, "y": y}, task, Context())
    assert step.done and model.num_rounds == 1


@TASKS
def test_one_row_and_one_class_are_enough(task: Task) -> None:
    model, step = boost(task, np.array([[1.0, np.nan]]), np.array([1]))
    assert step.done and np.isfinite(model(np.zeros((3, 2)))).all()
    for num_rows in range(2, 12):
        x, y = rows(num_rows, num_rows, task)
        model, _ = boost(task, x, y, bagging_fraction=0.2, min_rows_per_leaf=1)
        assert np.isfinite(model(x)).all()
    x, _ = rows(10, 100, task)
    model, _ = boost(task, x, np.ones(100, dtype=np.int64))
    got = model(x)
    assert np.allclose(got, 1) if task is REGRESSION else (class_probabilities(got)[:, 1] > 0.99).all()


def test_classes_that_are_not_there_get_little() -> None:
    x, y = rows(11, 200, MANY)
    y = np.where(y < 4, 2, 5)
    probabilities = class_probabilities(boost(MANY, x, y)[0](x))
    assert set(probabilities.argmax(axis=1)) == {2, 5} and probabilities[:, [0, 1, 3, 4, 6, 7]].max() < 1e-3


def test_a_matrix_is_fitted_like_its_array() -> None:
    x, y = rows(12, 300, REGRESSION)
    x = np.nan_to_num(x)
    dense, _ = boost(REGRESSION, x, y)
    sparse, _ = boost(REGRESSION, csr_matrix(x), y)
    np.testing.assert_allclose(sparse(csr_matrix(x)), dense(x), atol=1e-9)


def test_constraints_on_trees_hold() -> None:
    x, y = rows(13, 500, REGRESSION)
    model, _ = boost(REGRESSION, x, y, max_depth=2, bagging_fraction=1.0, min_rows_per_leaf=30)
    trees = model.trees.joined()
    assert trees.sizes.max() <= 7
    leaves = trees.leaves(x)
    assert min(np.bincount(leaves[:, tree] - leaves[:, tree].min()).min() for tree in range(30)) >= 30


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"num_leaves": 1},
        {"max_depth": 0},
        {"min_rows_per_leaf": 0},
        {"feature_fraction": 1.1},
        {"feature_fraction_per_split": 0.0},
        {"bagging_fraction": 0.0},
        {"l1": -1.0},
        {"l2": float("inf")},
        {"max_bin": 1},
        {"huber_delta": 0.0},
        {"quantile": 1.0},
        {"rounds_per_call": 0},
        {"num_rounds": 0},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(RecipeError, match=rf"boosting\.{name} must"):
        BoostingSettings(**wrong)


@TASKS
def test_damaged_states_are_refused(task: Task) -> None:
    x, y = rows(14, 200, task)
    model, _ = boost(task, x, y, calls=1, rounds_per_call=3)
    good, before = model.state(), model(x)
    trees = good["trees"]
    for change, says in [
        ({"base": "1"}, "base is a str, not a number"),
        ({"base": float("nan")}, "base has values that are not finite"),
        (
            {"trees": trees | {"threshold": trees["threshold"] * np.nan}},
            "threshold has values that are not finite",
        ),
        ({"trees": trees | {"values": np.repeat(trees["values"], 2, axis=1)}}, "values has the shape"),
        ({"more": 1}, "unknown entry"),
    ]:
        with pytest.raises(BundleError, match=says):
            model.load(good | change)
    assert np.array_equal(model(x), before)


def test_infinite_features_are_refused() -> None:
    with pytest.raises(DataError, match="Feature 2 of row 1 is infinite"):
        boost(REGRESSION, np.array([[0.0, np.inf]]), np.array([0.0]))
