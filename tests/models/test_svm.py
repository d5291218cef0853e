"""Support vector machines against scikit-learn: the decisions are its own, the probabilities sensible."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sklearn.svm as reference
from scipy.sparse import csr_matrix
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, make_circles
from sklearn.metrics import log_loss

from danlu.core.errors import BundleError, RecipeError
from danlu.core.ideas import Context
from danlu.core.scores import class_probabilities
from danlu.core.tasks import Task
from danlu.models import native
from danlu.models.svm import SVM, LinearSVM, LinearSVMSettings, SVMSettings

REGRESSION = Task("regression")


def classes(num_classes: int) -> tuple[np.ndarray, np.ndarray, Task]:
    x, y = (load_breast_cancer if num_classes == 2 else load_iris)(return_X_y=True)
    task = Task("binary" if num_classes == 2 else "multiclass", tuple(range(num_classes)))
    return (x - x.mean(axis=0)) / x.std(axis=0), y.astype(np.int64), task


def fitted(x: Any, y: np.ndarray, task: Task, weight: np.ndarray | None = None, **settings: Any) -> SVM:
    model = SVM(SVMSettings(**settings), task, x.shape[1])
    assert model.fit_round({"x": x, "y": y, "weight": weight}, task, Context()).done
    return model


def fitted_lines(
    x: Any, y: np.ndarray, task: Task, weight: np.ndarray | None = None, **settings: Any
) -> LinearSVM:
    model = LinearSVM(LinearSVMSettings(**settings), task, x.shape[1])
    assert model.fit_round({"x": x, "y": y, "weight": weight}, task, Context()).signals["converged"] == 1.0
    return model


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("kernel", ["rbf", "linear", "poly", "sigmoid"])
@pytest.mark.parametrize("sparse", [False, True])
def test_decisions_are_scikit_learns(num_classes: int, kernel: str, sparse: bool) -> None:
    x, y, task = classes(num_classes)
    weight = np.random.default_rng(0).uniform(0.5, 2.0, len(y))
    table = csr_matrix(x) if sparse else x
    model = fitted(table, y, task, weight, kernel=kernel, c=2.0, coef0=0.5)
    expected = reference.SVC(C=2.0, kernel=kernel, coef0=0.5).fit(table, y, weight)
    assert model.decision(table) == pytest.approx(expected.decision_function(table), abs=1e-9)


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_values_are_scikit_learns(kernel: str) -> None:
    x, y = load_diabetes(return_X_y=True)
    x = x / x.std(axis=0)
    expected = reference.SVR(C=2.0, kernel=kernel, epsilon=0.2).fit(x, (y - y.mean()) / y.std())
    model = fitted(x, y, REGRESSION, kernel=kernel, c=2.0, epsilon=0.2)
    assert model(x) == pytest.approx(expected.predict(x) * y.std() + y.mean(), abs=1e-9)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_lines_are_scikit_learns(num_classes: int) -> None:
    x, y, task = classes(num_classes)
    for table in (x, csr_matrix(x)):
        model = fitted_lines(table, y, task, c=0.5)
        expected = reference.LinearSVC(C=0.5, max_iter=10_000).fit(table, y)
        assert model.decision(table) == pytest.approx(expected.decision_function(table), abs=1e-3)


def test_line_of_a_regression() -> None:
    x = np.random.default_rng(1).normal(size=(200, 3))
    y = 1000 + 300 * x[:, 0]
    y[0] = 1e6  # one wild value hardly moves it
    model = fitted_lines(x, y, REGRESSION, epsilon=0.0, c=10.0)
    assert model(x[1:]) == pytest.approx(y[1:], abs=20)


@pytest.mark.parametrize(("name", "num_classes"), [("SVC", 2), ("SVC", 3), ("SVR", 0)])
def test_both_libraries_agree(monkeypatch: pytest.MonkeyPatch, name: str, num_classes: int) -> None:
    pytest.importorskip("sklearnex")
    x, y, task = (*load_diabetes(return_X_y=True), REGRESSION) if num_classes == 0 else classes(num_classes)
    x = x / x.std(axis=0)
    plain = fitted(x, y, task)
    monkeypatch.setitem(native.CHOICES, name, native.Choice("svm", intelex_from=1))
    assert type(native.native(name, x)).__module__.startswith("sklearnex")
    fast = fitted(x, y, task)
    assert not np.array_equal(fast.decision(x), plain.decision(x))  # it is another solver
    assert fast.decision(x) == pytest.approx(plain.decision(x), abs=5e-3)
    if num_classes:
        assert (
            np.mean(class_probabilities(fast(x)).argmax(1) == class_probabilities(plain(x)).argmax(1)) > 0.99
        )


def test_separable_classes_and_the_edges_of_the_street() -> None:
    x = np.array([[-2.0, 0.0], [-1.0, 1.0], [1.0, 1.0], [3.0, -1.0]])
    y = np.array([0, 0, 1, 1])
    model = fitted(x, y, Task("binary", (0, 1)), kernel="linear", c=1e3)
    assert ((model(x) > 0) == y).all()
    assert model.decision(x)[1:3] == pytest.approx([-1.0, 1.0], abs=1e-2)


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("fit", [fitted, fitted_lines])
def test_probabilities_are_sensible(fit: Any, num_classes: int) -> None:
    x, y, task = classes(num_classes)
    order = np.random.default_rng(2).permutation(len(y))
    train, test = order[: len(y) // 2], order[len(y) // 2 :]
    model = fit(x[train], y[train], task)
    assert log_loss(y[test], class_probabilities(model(x[test]))) < (0.2 if num_classes == 2 else 0.25)


def test_probabilities_of_pure_noise_are_shares() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(300, 5)), (rng.uniform(size=300) < 0.3).astype(np.int64)
    probability = class_probabilities(fitted(x, y, Task("binary", (0, 1)))(rng.normal(size=(300, 5))))[:, 1]
    assert probability.mean() == pytest.approx(0.3, abs=0.08)


def test_circles() -> None:
    x, y = make_circles(200, noise=0.05, factor=0.4, random_state=0)
    task = Task("binary", (0, 1))
    assert ((fitted(x, y, task)(x) > 0) == y).mean() == 1.0
    assert ((fitted(x, y, task, kernel="linear")(x) > 0) == y).mean() < 0.75


def test_weights_of_lines() -> None:
    x, y, task = classes(2)
    weight = (np.arange(len(y)) % 3 > 0).astype(np.float64)
    kept = weight > 0
    assert fitted_lines(x, y, task, weight)(x) == pytest.approx(fitted_lines(x[kept], y[kept], task)(x))
    assert fitted_lines(x, y, task, 1.0 + weight).decision(x) != pytest.approx(
        fitted_lines(x, y, task).decision(x)
    )


def test_gamma_is_scikit_learns_scale() -> None:
    x, y, task = classes(2)
    for table in (x * 3, csr_matrix(x * 3)):
        assert fitted(table, y, task).machine.gamma == pytest.approx(1 / (30 * (x * 3).var()))
    assert fitted(x, y, task, gamma=0.25).machine.gamma == 0.25


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"c": 0}, "c must be above 0, got 0"),
        ({"epsilon": -1.0}, "epsilon must not be negative, got -1.0"),
        ({"gamma": 0.0}, "gamma must be 'scale' or above 0, got 0.0"),
        ({"degree": 11}, "degree must lie from 1 to 10, got 11"),
    ],
)
def test_wrong_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        SVMSettings(**settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gamma": -1.0}, "gamma runs from -1.0"),
        ({"gamma": float("nan")}, "gamma has values that are not finite"),
        ({"slope": 0.0}, "slope runs from 0.0"),
        ({"offset": "x"}, "offset is a str, not a number"),
        ({"dual": np.zeros((1, 3))}, "dual has the shape"),
        ({"intercept": np.zeros(2)}, "intercept has the shape"),
        ({"num_support": np.array([1, 1, 1])}, "support vectors are not those that the classes count"),
        ({"num_support": np.array([-1, 1, 1])}, "num_support runs from -1"),
        ({"num_support": np.array([2**62, 2**62, 1])}, "num_support runs from 1 to"),
        ({"seen": np.array([0, 1])}, "dual has the shape"),
        ({"rows": {"values": np.zeros(1)}}, "offsets is missing"),
    ],
)
def test_hostile_states(change: dict[str, Any], message: str) -> None:
    x, y, task = classes(3)
    model = fitted(x, y, task)
    with pytest.raises(BundleError, match=message):
        model.load(model.state() | change)
