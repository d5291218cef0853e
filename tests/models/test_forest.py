"""Tests of models/forest.py: equality with scikit-learn's forests, rounds, smoothing, damaged states."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)

from danlu.core.errors import BundleError, RecipeError
from danlu.core.ideas import Context
from danlu.core.scores import class_probabilities
from danlu.core.seeds import derive
from danlu.core.tasks import Task
from danlu.models import forest as forest_file
from danlu.models.forest import ExtraTrees, Forest, ForestSettings, RandomForest

REGRESSION = Task("regression")
YES_NO = Task("binary", ("no", "yes"))
MANY = Task("multiclass", tuple("abcdefghijkl"))
TASKS = pytest.mark.parametrize("task", [REGRESSION, YES_NO, MANY], ids=lambda task: task.kind)
KINDS = pytest.mark.parametrize("kind", [RandomForest, ExtraTrees], ids=lambda kind: kind.name)
SAME = {
    (RandomForest, False): RandomForestRegressor,
    (RandomForest, True): RandomForestClassifier,
    (ExtraTrees, False): ExtraTreesRegressor,
    (ExtraTrees, True): ExtraTreesClassifier,
}


def rows(seed: int, num_rows: int, task: Task, *, missing: bool = True) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num_rows, 6)).round(1)
    signal = np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] + 0.3 * rng.normal(size=num_rows)
    x[rng.random(x.shape) < 0.1] = -0.0
    if missing:
        x[rng.random(x.shape) < 0.1] = np.nan
    num_classes = len(task.labels)
    scale = np.clip((signal * num_classes / 4 + num_classes / 2).astype(int), 0, num_classes - 1)
    return x, signal if task is REGRESSION else scale


def grow(
    kind: type[Forest], task: Task, x: Any, y: np.ndarray, weight: np.ndarray | None = None, **settings: Any
) -> Forest:
    model = kind(ForestSettings(**({"num_trees": 25} | settings)), task, x.shape[1], seed=5)
    while not model.fit_round({"x": x, "y": y, "weight": weight}, task, Context()).done:
        pass
    return model


@KINDS
@TASKS
@pytest.mark.parametrize("weighted", [False, True])
def test_the_trees_are_scikit_learns(kind: type[Forest], task: Task, weighted: bool) -> None:
    x, y = rows(0, 500, task)
    weight = np.random.default_rng(0).integers(1, 4, size=400).astype(float) if weighted else None
    model = grow(kind, task, x[:400], y[:400], weight, min_rows_per_leaf=3, feature_fraction=0.5)
    stream = np.random.RandomState(derive(5, kind.name))
    same = SAME[kind, task.is_classification](25, min_samples_leaf=3, max_features=3, random_state=stream)
    mean = 0.0 if task.is_classification else np.average(y[:400], weights=weight)
    same.fit(x[:400], y[:400] - mean if mean else y[:400], weight)
    if not task.is_classification:
        np.testing.assert_allclose(model(x), same.predict(x) + mean, rtol=0, atol=1e-12)
        return
    shares = np.zeros((500, len(task.labels)))
    shares[:, same.classes_] = same.predict_proba(x)
    prior = (
        np.bincount(y[:400], weights=weight, minlength=len(task.labels))
        / (1 if weight is None else weight.mean())
        + 1
    )
    wanted = (25 * shares + prior / prior.sum()) / 26
    np.testing.assert_allclose(class_probabilities(model(x)), wanted, rtol=0, atol=1e-12)


@KINDS
@TASKS
def test_rounds_do_not_change_the_trees(kind: type[Forest], task: Task) -> None:
    x, y = rows(1, 200, task)
    at_once = grow(kind, task, x, y, num_trees=9, trees_per_round=9)
    model = kind(ForestSettings(num_trees=9, trees_per_round=4), task, 6, seed=5)
    batch, seen = {"x": x, "y": y}, []
    while True:
        step = model.fit_round(batch, task, Context())
        seen.append((step.signals["num_rounds"], step.done))
        model(x)
        if step.done:
            break
    assert seen == [(4, False), (8, False), (9, True)]
    assert np.array_equal(model(x), at_once(x))
    model.restore(4)
    first = grow(kind, task, x, y, num_trees=4)
    assert model.snapshot() == 4 and np.array_equal(model(x), first(x))
    model.fit_round(batch, task, Context())
    model.fit_round(batch, task, Context())
    assert np.array_equal(model(x), at_once(x))


@TASKS
def test_a_state_comes_back_to_the_same_bits_and_goes_on(task: Task) -> None:
    x, y = rows(2, 200, task)
    whole = grow(RandomForest, task, x, y, num_trees=8)
    half = grow(RandomForest, task, x, y, num_trees=4)
    again = RandomForest(ForestSettings(num_trees=8), task, 6, seed=5)
    again.load(half.state())
    assert np.array_equal(again(x), half(x))
    assert again.fit_round({"x": x, "y": y}, task, Context()).done
    assert np.array_equal(again(x), whole(x))
    again.load(RandomForest(ForestSettings(), task, 6, seed=5).state())
    assert np.isfinite(again(x)).all() and again.num_rounds == 0


def test_large_tables_have_shorter_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = rows(3, 300, REGRESSION)
    monkeypatch.setattr(forest_file, "WORK_PER_ROUND", 300 * np.log2(301) * 3 * 2)
    model = RandomForest(ForestSettings(), REGRESSION, 6, seed=0)
    assert model.fit_round({"x": x, "y": y}, REGRESSION, Context(num_threads=1)).signals["num_rounds"] == 2
    monkeypatch.setattr(forest_file, "WORK_PER_ROUND", 1)
    assert model.fit_round({"x": x, "y": y}, REGRESSION, Context(num_threads=3)).signals["num_rounds"] == 5


@KINDS
def test_the_log_loss_stays_finite(kind: type[Forest]) -> None:
    x = np.repeat([[0.0], [1.0]], 50, axis=0)
    y = np.repeat([0, 1], 50)
    model = grow(kind, YES_NO, x, y, num_trees=20)
    probabilities = class_probabilities(model(x))
    wrong = probabilities[np.arange(100), 1 - y]
    assert (wrong > 0.5 / 21 - 1e-9).all() and (wrong < 0.03).all()
    assert (
        class_probabilities(grow(kind, YES_NO, x, y, num_trees=20, smoothing=0.01)(x)).min(axis=1) < 3e-4
    ).all()


def test_classes_that_are_not_there_get_little() -> None:
    x, y = rows(4, 100, MANY)
    y = np.where(y < 6, 2, 7)
    probabilities = class_probabilities(grow(RandomForest, MANY, x, y)(x))
    assert np.isfinite(np.log(probabilities)).all() and set(probabilities.argmax(axis=1)) == {2, 7}
    only = class_probabilities(grow(RandomForest, YES_NO, x, np.ones(100, dtype=np.int64))(x))
    assert (only[:, 1] > 0.999).all() and (only[:, 0] > 0).all()


def test_matrices_are_taken() -> None:
    task = REGRESSION
    x, y = rows(5, 200, task, missing=False)
    x[np.abs(x) < 0.8] = 0
    model = grow(RandomForest, task, csr_matrix(x), y)
    assert np.array_equal(model(csr_matrix(x)), model(x))
    assert np.corrcoef(model(x), grow(RandomForest, task, x, y)(x))[0, 1] > 0.95


@KINDS
@TASKS
def test_one_row_is_enough(kind: type[Forest], task: Task) -> None:
    model = grow(kind, task, np.array([[1.0, np.nan]]), np.array([1]), num_trees=2)
    got = model(np.zeros((3, 2)))
    assert (got == 1).all() if task is REGRESSION else (class_probabilities(got).argmax(axis=1) == 1).all()


def test_the_library_for_large_regressions_gives_forests_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearnex")
    x, y = rows(6, 7000, REGRESSION, missing=False)
    x += np.random.default_rng(0).normal(size=x.shape) * 1e-9  # values that float32 cannot tell apart
    x, far, y, held_out = x[:5000], x[5000:], y[:5000], y[5000:]
    libraries: list[str] = []
    plain = forest_file.import_module

    def recorded(name: str) -> Any:
        libraries.append(name)
        return plain(name)

    monkeypatch.setattr(forest_file, "import_module", recorded)
    fast = grow(RandomForest, REGRESSION, x, y)
    assert set(libraries) == {"sklearnex.ensemble"}
    assert np.array_equal(fast(far), grow(RandomForest, REGRESSION, x, y)(far))
    monkeypatch.setitem(sys.modules, "sklearnex.ensemble", None)
    slow = grow(RandomForest, REGRESSION, x, y)
    assert libraries[-1] == "sklearn.ensemble"
    errors = [float(((model(far) - held_out) ** 2).mean()) for model in (fast, slow)]
    assert errors[0] < 1.1 * errors[1] < 0.5 * held_out.var()


def test_the_library_for_large_regressions_predicts_what_its_trees_do() -> None:
    ensemble = pytest.importorskip("sklearnex.ensemble")
    x, y = rows(7, 5000, REGRESSION, missing=False)
    x += np.random.default_rng(0).normal(size=x.shape) * 1e-9
    model = grow(RandomForest, REGRESSION, x, y, num_trees=10, feature_fraction=0.5)
    stream = np.random.RandomState(derive(5, "random_forest"))
    same = ensemble.RandomForestRegressor(
        10, min_samples_leaf=2, max_features=3, max_depth=1000, random_state=stream
    )
    same.fit(x, y - y.mean())
    np.testing.assert_allclose(model(x), same.predict(x).ravel() + y.mean(), rtol=0, atol=1e-9)


def test_missing_values_weights_and_classes_stay_with_scikit_learn() -> None:
    model = RandomForest(ForestSettings(), REGRESSION, 6, seed=0)
    x, y = rows(8, 5000, REGRESSION, missing=False)
    batch = forest_file.training_rows({"x": x, "y": y})
    assert model._library(batch) == ("sklearnex" if _has_intelex() else "sklearn")
    assert model._library(batch._replace(weight=np.arange(1.0, 5001.0))) == "sklearn"
    assert model._library(batch._replace(x=csr_matrix(x))) == "sklearn"
    assert model._library(batch.take(np.arange(4999))) == "sklearn"
    assert ExtraTrees(ForestSettings(), REGRESSION, 6, seed=0)._library(batch) == "sklearn"
    assert RandomForest(ForestSettings(), YES_NO, 6, seed=0)._library(batch) == "sklearn"
    x[17, 3] = np.nan
    assert model._library(batch) == "sklearn"


def _has_intelex() -> bool:
    try:
        import sklearnex.ensemble  # noqa: F401
    except ImportError:
        return False
    return True


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_trees": 0},
        {"max_depth": 1001},
        {"min_rows_per_leaf": 0},
        {"feature_fraction": 0.0},
        {"bagging_fraction": 1.5},
        {"smoothing": 0.0},
        {"trees_per_round": 0},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(RecipeError, match=f"The forest's {name} must"):
        ForestSettings(**wrong)


def test_fewer_rows_can_be_drawn() -> None:
    x, y = rows(9, 400, REGRESSION)
    for kind in (RandomForest, ExtraTrees):
        whole, part = (grow(kind, REGRESSION, x, y, bagging_fraction=share) for share in (1.0, 0.1))
        assert part.trees.joined().sizes.mean() < 0.3 * whole.trees.joined().sizes.mean()


@TASKS
def test_damaged_states_are_refused(task: Task) -> None:
    x, y = rows(10, 100, task)
    model = grow(RandomForest, task, x, y, num_trees=2)
    good = model.state()
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"base": np.full(good["base"].shape, np.nan)}, "base has values that are not finite"),
        ({"base": np.zeros(20)}, "base has the shape"),
        ({"trees": good["trees"] | {"feature": good["trees"]["feature"] + 6}}, "feature runs from"),
        ({"extra": 0}, "unknown entry"),
    ]
    if task.is_classification:
        wrong.append(({"base": np.zeros(good["base"].shape)}, "base does not hold the shares"))
        wrong.append(({"base": np.ones(good["base"].shape)}, "base does not hold the shares"))
        wrong.append(({"trees": good["trees"] | {"values": good["trees"]["values"] - 1}}, "values runs from"))
    for change, says in wrong:
        with pytest.raises(BundleError, match=says):
            model.load(good | change)
