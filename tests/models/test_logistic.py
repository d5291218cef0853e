"""Logistic and softmax regression against scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.linear_model import LogisticRegression

from danlu.core.duration import Deadline
from danlu.core.errors import OutOfTime, RecipeError
from danlu.core.ideas import Context, Step
from danlu.core.scores import class_probabilities
from danlu.core.tasks import Task
from danlu.models.logistic import Logistic, LogisticSettings, minimise
from danlu.models.rows import Rows


def data(num_classes: int) -> tuple[np.ndarray, np.ndarray, Task]:
    x, y = (load_breast_cancer if num_classes == 2 else load_iris)(return_X_y=True)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    labels = tuple(range(num_classes))
    return x, y.astype(np.int64), Task("binary" if num_classes == 2 else "multiclass", labels)


def fit(model: Logistic, batch: dict[str, Any], context: Context | None = None) -> Step:
    step = Step()
    while not step.done:
        step = model.fit_round(batch, model.task, context or Context())
    return step


@pytest.mark.parametrize("num_classes", [2, 3])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_scikit_learns(num_classes: int, sparse: bool, weighted: bool) -> None:
    x, y, task = data(num_classes)
    weight = np.random.default_rng(0).uniform(0.5, 2.0, len(y)) if weighted else None
    expected = LogisticRegression(C=0.5, solver="newton-cholesky", tol=1e-10).fit(x, y, weight)
    model = Logistic(LogisticSettings(strength=2.0), task, x.shape[1])
    step = fit(model, {"x": csr_matrix(x) if sparse else x, "y": y, "weight": weight})
    assert step.signals == {"strength": 2.0, "converged": 1.0}
    assert class_probabilities(model(x)) == pytest.approx(expected.predict_proba(x), abs=1e-6)
    assert model.affine.coefficients.T.ravel() == pytest.approx(expected.coef_.ravel(), abs=1e-5)


def test_two_gaussians() -> None:
    rng = np.random.default_rng(1)
    y = np.repeat([0, 1], 200)
    x = rng.normal(size=(400, 2)) + np.where(y, 2.0, -2.0)[:, None]
    model = Logistic(LogisticSettings(), Task("binary", ("a", "b")), 2)
    fit(model, {"x": x, "y": y})
    assert ((model(x) > 0) == y).mean() >= 0.95


def test_the_chosen_strength_is_good_on_fresh_rows() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(2200, 40))
    y = (x[:, 0] + rng.logistic(size=2200) > 0).astype(np.int64)
    task, batch = Task("binary", (0, 1)), {"x": x[:200], "y": y[:200]}

    def loss(strength: Any) -> float:
        model = Logistic(LogisticSettings(strength=strength), task, 40)
        fit(model, batch)
        z = model(x[200:])
        return float(np.mean(np.logaddexp(0, z) - y[200:] * z))

    each = {strength: loss(strength) for strength in (1000.0, 100.0, 10.0, 1.0, 0.1, 0.01)}
    assert loss("auto") <= sorted(each.values())[1]
    assert max(each.values()) > 1.1 * loss("auto")


def test_separable_classes_stay_finite() -> None:
    x = np.array([[-2.0], [-1.0], [1.0], [2.0]])
    model = Logistic(LogisticSettings(strength=1e-9), Task("binary", (0, 1)), 1)
    fit(model, {"x": x, "y": np.array([0, 0, 1, 1])})
    assert np.isfinite(model(x)).all()
    assert np.abs(model(x)).min() > 5


def test_many_classes_in_text_like_columns() -> None:
    rng = np.random.default_rng(3)
    y = np.arange(600) % 30
    words = rng.integers(0, 2000, size=(600, 8))
    words[:, 0] = y  # one word gives the class away
    x = csr_matrix((np.ones(4800), (np.repeat(np.arange(600), 8), words.ravel())), shape=(600, 2000))
    model = Logistic(LogisticSettings(), Task("multiclass", tuple(range(30))), 2000)
    fit(model, {"x": x, "y": y})
    assert (model(x).argmax(axis=1) == y).mean() > 0.99


def test_rounds_end_at_smaller_and_smaller_slopes() -> None:
    x, y, task = data(2)
    model, context = Logistic(LogisticSettings(strength=1.0), task, 30), Context()
    done, slopes = [], []
    for _ in range(3):
        done.append(model.fit_round({"x": x, "y": y}, task, context).done)
        error = class_probabilities(model(x))[:, 1] - y
        slopes.append(np.abs(x.T @ error + model.affine.coefficients).max() / len(y))
    assert done == [False, False, True]
    assert slopes[0] <= 1e-3 and slopes[1] <= 1e-5 and slopes[2] <= 1e-8


def test_a_start_does_not_change_the_end() -> None:
    x, y, _ = data(3)
    rows = Rows(x, y, np.ones(len(y)))
    cold = minimise(rows, 3, 1.0)
    warm = minimise(rows, 3, 1.0, start=minimise(rows, 3, 100.0).affine)
    assert warm.affine(x) == pytest.approx(cold.affine(x), abs=1e-5)


def test_choosing_a_strength_ends_at_the_deadline() -> None:
    x, y, task = data(2)
    with pytest.raises(OutOfTime, match="strength of the logistic regression could not be chosen in time"):
        Logistic(LogisticSettings(), task, 30).fit_round(
            {"x": x, "y": y}, task, Context(deadline=Deadline.after(-1))
        )


def test_too_few_rows_to_choose_take_the_usual_strength() -> None:
    task = Task("binary", (0, 1))
    step = Logistic(LogisticSettings(), task, 1).fit_round(
        {"x": np.eye(2)[:, :1], "y": np.arange(2)}, task, Context()
    )
    assert step.signals["strength"] == 1.0


def test_wrong_strength() -> None:
    with pytest.raises(RecipeError, match=r"strength must be 'auto' or a number above 0, got 0"):
        LogisticSettings(strength=0)
