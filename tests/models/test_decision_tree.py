"""Tests of models/decision_tree.py: XOR, printed rules, equality with scikit-learn, damaged states."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeRegressor

from danlu.core.errors import BundleError, DataError, RecipeError
from danlu.core.ideas import Context
from danlu.core.scores import class_probabilities
from danlu.core.seeds import derive
from danlu.core.tasks import Task
from danlu.models.decision_tree import DecisionTree, DecisionTreeSettings

REGRESSION = Task("regression")
YES_NO = Task("binary", ("no", "yes"))
MANY = Task("multiclass", tuple("abcdefghijkl"))


def fitted(
    x: Any, y: np.ndarray, task: Task, weight: np.ndarray | None = None, **settings: Any
) -> DecisionTree:
    model = DecisionTree(DecisionTreeSettings(**settings), task, x.shape[1], seed=3)
    step = model.fit_round({"x": x, "y": y, "weight": weight}, task, Context(seed=3))
    assert step.done and model.num_rounds == 1
    return model


def rows(seed: int, num_rows: int, *, missing: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Features with ties, negative zeros and missing values, and a signal."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num_rows, 5)).round(1)
    signal = np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] + 0.3 * rng.normal(size=num_rows)
    x[rng.random(x.shape) < 0.1] = -0.0
    if missing:
        x[rng.random(x.shape) < 0.1] = np.nan
    return x, signal


def apply_rules(text: str, names: list[str], row: np.ndarray) -> str:
    """What the printed rules answer for a row; each line is read as a person would."""
    lines = text.splitlines()
    depth, place = 0, 0
    while True:
        line = lines[place].strip()
        if not line.startswith("if "):
            return line
        name, _, question = line.removeprefix("if ").removesuffix(":").partition(" ")
        value = row[names.index(name)]
        if question == "is not missing":
            holds = not np.isnan(value)
        elif np.isnan(value):
            holds = question.endswith("or is missing")
        else:
            holds = value <= float(question.removeprefix("<= ").removesuffix(" or is missing"))
        depth += 1
        if holds:
            place += 1
        else:
            place = lines.index("    " * (depth - 1) + "else:", place) + 1


def test_a_tree_of_depth_2_solves_xor() -> None:
    x, y = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 0])
    model = fitted(x, y, YES_NO, max_depth=2, min_rows_per_leaf=1)
    assert ((model(x) > 0) == y).all()
    text = model.rules(["a", "b"])
    assert [apply_rules(text, ["a", "b"], row).split()[0] for row in x] == ["no", "yes", "yes", "no"]
    assert text.count("if") == 3 and "<= 0.5:" in text
    assert "never" in model.rules(["a", "b"], ["never", "always"])


@pytest.mark.parametrize("missing", [False, True])
def test_rules_reproduce_predictions(missing: bool) -> None:
    x, signal = rows(0, 400, missing=missing)
    x = x.astype(np.float32).astype(np.float64)
    names = ["a", "b", "c", "d", "e"]
    model = fitted(x, signal, REGRESSION)
    text = model.rules(names)
    assert [apply_rules(text, names, row) for row in x] == [f"{value:.6g}" for value in model(x)]
    assert model.rules(names, max_depth=1).count("...") == 2


def test_iris_has_the_rules_of_the_books() -> None:
    x, y = load_iris(return_X_y=True)
    model = fitted(x, y, Task("multiclass", ("setosa", "versicolor", "virginica")), max_depth=2)
    text = model.rules(["sepal length", "sepal width", "petal length", "petal width"])
    assert text.startswith(("if petal length <= 2.45:\n    setosa", "if petal width <= 0.8:\n    setosa"))
    assert "<= 1.75 or is missing:\n        versicolor (probability 0.9" in text


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_regression_is_scikit_learns(missing: bool, weighted: bool) -> None:
    x, signal = rows(1, 800, missing=missing)
    weight = np.random.default_rng(0).uniform(0.1, 5, size=800) if weighted else None
    known = None if weight is None else weight[:500]
    model = fitted(x[:500], signal[:500], REGRESSION, weight=known)
    mean = np.average(signal[:500], weights=known)
    same = DecisionTreeRegressor(min_samples_leaf=5, random_state=derive(3, "decision_tree"))
    same.fit(x[:500], signal[:500] - mean, known)
    np.testing.assert_allclose(model(x), same.predict(x) + mean, rtol=0, atol=1e-12)


@pytest.mark.parametrize("task", [YES_NO, MANY])
def test_leaves_hold_smoothed_shares(task: Task) -> None:
    x, signal = rows(2, 600)
    num_classes = len(task.labels)
    y = np.clip((signal * 2 + num_classes / 2).astype(int), 0, num_classes - 1)
    weight = np.random.default_rng(1).uniform(0.5, 2, size=600)
    model = fitted(x, y, task, weight=weight, smoothing=2.0)
    leaf = model.trees.leaves(x)[:, 0]
    prior = (np.bincount(y, weights=weight / weight.mean(), minlength=num_classes) + 1) / (600 + num_classes)
    for one in np.unique(leaf):
        inside = leaf == one
        counts = np.bincount(y[inside], weights=weight[inside] / weight.mean(), minlength=num_classes)
        wanted = (counts + 2.0 * prior) / (counts.sum() + 2.0)
        np.testing.assert_allclose(
            class_probabilities(model(x[inside])), np.tile(wanted, (inside.sum(), 1)), rtol=1e-9
        )


def test_the_most_frequent_class_of_a_leaf_stays_the_most_probable() -> None:
    x, signal = rows(3, 500)
    y = (signal > 1.2).astype(int)
    model = fitted(x, y, YES_NO, min_rows_per_leaf=1)
    leaf = model.trees.leaves(x)[:, 0]
    for one in np.unique(leaf):
        share = y[leaf == one].mean()
        if share != 0.5:
            assert (class_probabilities(model(x[leaf == one])).argmax(axis=1) == (share > 0.5)).all()


def test_large_targets_lose_nothing() -> None:
    x, signal = rows(4, 300, missing=False)
    near, far = fitted(x, signal, REGRESSION), fitted(x, signal + 1e9, REGRESSION)
    np.testing.assert_allclose(far(x) - 1e9, near(x), atol=1e-5)


def test_a_matrix_is_fitted_like_its_array() -> None:
    x, signal = rows(5, 300, missing=False)
    x[np.abs(x) < 0.7] = 0
    dense, sparse = fitted(x, signal, REGRESSION), fitted(csr_matrix(x), signal, REGRESSION)
    np.testing.assert_allclose(sparse(csr_matrix(x)), dense(x), atol=0.5)
    assert np.array_equal(sparse(csr_matrix(x)), sparse(x))


@pytest.mark.parametrize("task", [REGRESSION, YES_NO, MANY])
def test_a_single_row_makes_a_single_leaf(task: Task) -> None:
    model = fitted(np.ones((1, 2)), np.array([7.0]) if task is REGRESSION else np.array([1]), task)
    got = model(np.array([[1.0, 1.0], [np.nan, -5.0]]))
    assert model.trees.sizes.tolist() == [1]
    assert (got == 7.0).all() if task is REGRESSION else (class_probabilities(got).argmax(axis=1) == 1).all()
    assert len(model.rules(["a", "b"]).splitlines()) == 1


def test_settings_shape_the_tree() -> None:
    x, signal = rows(6, 500)
    whole = fitted(x, signal, REGRESSION)
    assert (fitted(x, signal, REGRESSION, max_leaves=4).trees.sizes == 7).all()
    assert 3 <= fitted(x, signal, REGRESSION, pruning=0.02).trees.sizes[0] < whole.trees.sizes[0] / 3
    leaves = fitted(x, signal, REGRESSION, min_rows_per_leaf=40).trees.leaves(x)[:, 0]
    assert np.bincount(leaves).min() >= 40
    assert fitted(x, signal, REGRESSION, min_rows_per_split=501).trees.sizes.tolist() == [1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_depth": 0},
        {"max_depth": 1001},
        {"max_leaves": 1},
        {"min_rows_per_leaf": 0},
        {"min_rows_per_split": 1},
        {"pruning": -1.0},
        {"smoothing": 0.0},
        {"smoothing": float("nan")},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(RecipeError, match=rf"decision_tree\.{name} must"):
        DecisionTreeSettings(**wrong)


def test_the_same_seed_gives_the_same_bits() -> None:
    x, signal = rows(7, 400)
    assert np.array_equal(fitted(x, signal, REGRESSION)(x), fitted(x, signal, REGRESSION)(x))


@pytest.mark.parametrize("task", [REGRESSION, YES_NO, MANY])
def test_a_state_comes_back_to_the_same_bits(task: Task) -> None:
    x, signal = rows(8, 400)
    y = signal if task is REGRESSION else (signal > 0).astype(int)
    model = fitted(x, y, task)
    again = DecisionTree(model.settings, task, 5, seed=0)
    again.load(model.state())
    assert np.array_equal(again(x), model(x)) and again.rules(list("abcde")) == model.rules(list("abcde"))
    again.restore(again.snapshot())
    assert np.array_equal(again(x), model(x))


def test_damaged_states_are_refused() -> None:
    x, signal = rows(9, 300)
    model = fitted(x, (signal > 0).astype(int), YES_NO)
    good = model.state()["trees"]
    two = {name: np.concatenate([array, array]) for name, array in good.items()}
    for trees, says in [
        (two, "it has 2 trees, not one"),
        (good | {"values": good["values"] + 1}, "not probabilities between 0 and 1"),
        (good | {"values": good["values"] * 0}, "not probabilities between 0 and 1"),
        (good | {"feature": good["feature"] + 5}, "feature runs from"),
    ]:
        with pytest.raises(BundleError, match=says):
            model.load({"trees": trees})
    with pytest.raises(BundleError, match="trees is missing"):
        model.load({})


def test_infinite_features_are_refused() -> None:
    with pytest.raises(DataError, match="Feature 1 of row 2 is infinite"):
        fitted(np.array([[0.0], [np.inf]]), np.array([0.0, 1.0]), REGRESSION)
