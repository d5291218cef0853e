"""Naive Bayes by hand and against scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sklearn.naive_bayes as reference
from scipy.sparse import csr_matrix

from danlu.core.errors import BundleError, DataError, RecipeError
from danlu.core.ideas import Context
from danlu.core.scores import class_probabilities
from danlu.core.tasks import Task
from danlu.models.naive_bayes import BernoulliNB, CountSettings, GaussianNB, GaussianSettings, MultinomialNB

KINDS = {"gaussian": GaussianNB, "multinomial": MultinomialNB, "bernoulli": BernoulliNB}
REFERENCES = {
    "gaussian": reference.GaussianNB,
    "multinomial": reference.MultinomialNB,
    "bernoulli": reference.BernoulliNB,
}


def fitted(name: str, x: Any, y: np.ndarray, task: Task, weight: np.ndarray | None = None) -> Any:
    model = KINDS[name](GaussianSettings() if name == "gaussian" else CountSettings(), task, x.shape[1])
    assert model.fit_round({"x": x, "y": y, "weight": weight}, task, Context()).done
    return model


def test_spam_by_hand() -> None:
    # Words: win, money, meeting. Spam: "win money", "win win money"; ham: "meeting", "meeting money".
    x = np.array([[1, 1, 0], [2, 1, 0], [0, 0, 1], [0, 1, 1]], dtype=np.float64)
    y = np.array([1, 1, 0, 0])
    model = fitted("multinomial", x, y, Task("binary", ("ham", "spam")))
    # With Laplace's 1 the words' shares are (4, 3, 1) / 8 in spam and (1, 2, 3) / 6 in ham; both classes are
    # as likely.
    spam, ham = (4 / 8) * (3 / 8), (1 / 6) * (2 / 6)
    posterior = class_probabilities(model(np.array([[1.0, 1.0, 0.0]])))[0, 1]
    assert posterior == pytest.approx(spam / (spam + ham), abs=1e-12)
    assert posterior == pytest.approx(0.7714285714, abs=1e-9)


def test_yes_or_no_by_hand() -> None:
    x = np.array([[1, 0], [1, 1], [0, 1]], dtype=np.float64)
    model = fitted("bernoulli", x, np.array([1, 1, 0]), Task("binary", (0, 1)))
    # Class 1: shares (2+1)/(2+2), (1+1)/(2+2); class 0: (0+1)/(1+2), (1+1)/(1+2). A row without either
    # column:
    one, zero = (2 / 3) * (1 / 4) * (2 / 4), (1 / 3) * (2 / 3) * (1 / 3)
    assert class_probabilities(model(np.zeros((1, 2))))[0, 1] == pytest.approx(one / (one + zero), abs=1e-12)


def test_bell_curves_by_hand() -> None:
    x = np.array([[0.0], [2.0], [10.0], [14.0]])
    model = fitted("gaussian", x, np.array([0, 0, 1, 1]), Task("binary", (0, 1)))
    # Means 1 and 12, variances 1 and 4: log N(5; 12, 4) - log N(5; 1, 1)
    by_hand = (-0.5 * np.log(4) - 49 / 8) - (-16 / 2)
    assert model(np.array([[5.0]]))[0] == pytest.approx(by_hand, rel=1e-6)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("num_classes", [2, 4])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
def test_they_are_scikit_learns(name: str, num_classes: int, weighted: bool, sparse: bool) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, num_classes, 300)
    x = rng.poisson(1.0 + 0.5 * ((y[:, None] + np.arange(6)) % num_classes)).astype(np.float64)
    weight = rng.uniform(0.5, 2.0, 300) if weighted else None
    task = Task("binary" if num_classes == 2 else "multiclass", tuple(range(num_classes)))
    table = csr_matrix(x) if sparse else x
    model, expected = fitted(name, table, y, task, weight), REFERENCES[name]().fit(x, y, sample_weight=weight)
    assert class_probabilities(model(table)) == pytest.approx(expected.predict_proba(x), abs=1e-9)


def test_bell_curves_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(1000, 3)), rng.integers(0, 2, 1000)
    whole = fitted("gaussian", x, y, Task("binary", (0, 1)))
    monkeypatch.setattr("danlu.models.rows.VALUES_AT_ONCE", 1)
    assert fitted("gaussian", x, y, Task("binary", (0, 1)))(x) == pytest.approx(whole(x), rel=1e-10)


def test_negative_counts() -> None:
    with pytest.raises(DataError, match=r"multinomial_nb counts things, and a column has values below zero"):
        fitted("multinomial", np.array([[-1.0], [1.0]]), np.array([0, 1]), Task("binary", (0, 1)))


@pytest.mark.parametrize("settings", [GaussianSettings, CountSettings])
@pytest.mark.parametrize("smoothing", [0, -1.0, float("nan")])
def test_wrong_smoothing(settings: Any, smoothing: float) -> None:
    with pytest.raises(RecipeError, match="smoothing must be above 0, got"):
        settings(smoothing=smoothing)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variance": np.zeros((2, 3))}, "variance runs from 0.0"),
        ({"variance": np.ones((3, 3))}, "variance has the shape"),
        ({"mean": np.full((2, 3), np.inf)}, "mean has values that are not finite"),
        ({"log_prior": np.array([0.5, -1.0])}, "log_prior runs from"),
        ({"seen": np.array([1, 1])}, "not in increasing order"),
        ({"seen": np.array([0, 2])}, "seen runs from 0 to 2"),
        ({"seen": np.array([0.0, 1.0])}, "seen holds float64, not int64"),
        ({"seen": np.zeros(0, dtype=np.int64)}, "not in increasing order"),
    ],
)
def test_hostile_states(change: dict[str, np.ndarray], message: str) -> None:
    rng = np.random.default_rng(2)
    model = fitted("gaussian", rng.normal(size=(20, 3)), np.arange(20) % 2, Task("binary", (0, 1)))
    with pytest.raises(BundleError, match=message):
        model.load(model.state() | change)
