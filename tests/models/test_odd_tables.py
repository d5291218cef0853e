"""Every linear, neighbour, Bayes and support vector model on odd tables, and its state there and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from danlu.core.errors import BundleError, DataError
from danlu.core.ideas import Context
from danlu.core.tasks import Task
from danlu.models.baseline import Baseline
from danlu.models.linear import ElasticNet, Lasso, Linear, Ridge
from danlu.models.logistic import Logistic
from danlu.models.naive_bayes import BernoulliNB, GaussianNB, MultinomialNB
from danlu.models.neighbors import NearestNeighbors
from danlu.models.perceptron import Perceptron
from danlu.models.polynomial import Polynomial
from danlu.models.svm import SVM, LinearSVM

KINDS: list[Any] = [
    Baseline, Linear, Ridge, Lasso, ElasticNet, Polynomial, Logistic, Perceptron, NearestNeighbors,
    GaussianNB, MultinomialNB, BernoulliNB, SVM, LinearSVM,
]  # fmt: skip
TASKS = {
    "regression": Task("regression"),
    "binary": Task("binary", ("no", "yes")),
    "multiclass": Task("multiclass", ("a", "b", "c")),
}
PAIRS = [
    pytest.param(kind, TASKS[name], id=f"{kind.__part__.name}-{name}")
    for kind in KINDS
    for name in kind.__part__.tasks
]


def fitted(kind: Any, task: Task, x: Any, y: np.ndarray, weight: np.ndarray | None = None) -> Any:
    model = kind(kind.__part__.settings(), task, x.shape[1], seed=3)
    batch = {"x": x, "y": y.astype(np.int64) if task.is_classification else y.astype(np.float64)}
    for _ in range(1000):
        if model.fit_round(batch if weight is None else batch | {"weight": weight}, task, Context()).done:
            return model
    raise AssertionError("it is never done")


def table(task: Task, num_rows: int = 60, num_features: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.arange(num_rows) % (len(task.labels) or 7)
    return rng.poisson(1.0 + y[:, None] * np.ones(num_features)).astype(np.float64), y


def check(model: Any, x: Any) -> np.ndarray:
    """Finite float64 scores of the right shape, the same after a state has gone there and back."""
    scores, task = model(x), model.task
    assert scores.dtype == np.float64
    assert scores.shape == (x.shape[0],) + ((len(task.labels),) if task.kind == "multiclass" else ())
    assert np.isfinite(scores).all()
    again = type(model)(model.settings, task, model.num_features, seed=9)
    again.load(model.state())
    assert np.array_equal(again(x), scores)
    model.restore(model.snapshot())
    assert np.array_equal(model(x), scores)
    assert model(x[:0]).shape == (0, *scores.shape[1:])
    return scores


@pytest.mark.parametrize(("kind", "task"), PAIRS)
def test_an_ordinary_table(kind: Any, task: Task) -> None:
    x, y = table(task)
    model = fitted(kind, task, x, y)
    alone = np.concatenate([model(x[i : i + 1]) for i in range(60)])
    assert check(model, x) == pytest.approx(alone, rel=1e-9)


@pytest.mark.parametrize(("kind", "task"), PAIRS)
def test_sparse_rows_give_what_dense_rows_give(kind: Any, task: Task) -> None:
    x, y = table(task)
    dense, sparse = fitted(kind, task, x, y), fitted(kind, task, csr_matrix(x), y)
    scores = check(sparse, csr_matrix(x))
    if kind not in (Perceptron, LinearSVM):  # whose solvers go another way on sparse rows
        assert scores == pytest.approx(dense(x), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(("kind", "task"), PAIRS)
def test_one_row(kind: Any, task: Task) -> None:
    x, y = table(task)
    scores = check(fitted(kind, task, x[:1], y[:1]), x)
    if task.kind == "regression":
        assert scores == pytest.approx(np.full(60, float(y[0])))
    elif task.kind == "binary":
        assert (scores < 0).all()
    else:
        assert (scores.argmax(axis=1) == y[0]).all()


@pytest.mark.parametrize(("kind", "task"), PAIRS)
def test_two_rows(kind: Any, task: Task) -> None:
    x, y = table(task)
    check(fitted(kind, task, x[:2], y[:2]), x)


@pytest.mark.parametrize(("kind", "task"), PAIRS)
def test_one_column(kind: Any, task: Task) -> None:
    x, y = table(task, num_features=1)
    check(fitted(kind, task, x, y), x)


@pytest.mark.parametrize(("kind", "task"), PAIRS)
def test_no_column(kind: Any, task: Task) -> None:
    _, y = table(task)
    if kind is Baseline:
        check(fitted(kind, task, np.zeros((60, 0)), y), np.zeros((5, 0)))
    else:
        with pytest.raises(DataError, match="There is no column to learn from"):
            fitted(kind, task, np.zeros((60, 0)), y)


@pytest.mark.parametrize(("kind", "task"), PAIRS)
def test_constant_columns(kind: Any, task: Task) -> None:
    _, y = table(task)
    x = np.tile([0.0, 1.0, 1e6 / 3], (60, 1))
    scores = check(fitted(kind, task, x, y), x)
    assert scores == pytest.approx(np.broadcast_to(scores[:1], scores.shape))


@pytest.mark.parametrize(("kind", "task"), PAIRS)
def test_repeated_columns(kind: Any, task: Task) -> None:
    x, y = table(task)
    check(fitted(kind, task, np.tile(x, (1, 3)), y), np.tile(x, (1, 3)))


@pytest.mark.parametrize(("kind", "task"), PAIRS)
def test_fewer_rows_than_columns(kind: Any, task: Task) -> None:
    x, y = table(task, num_rows=12, num_features=40)
    check(fitted(kind, task, x, y), x)


@pytest.mark.parametrize(("kind", "task"), [pair for pair in PAIRS if pair.values[0] is not Polynomial])
def test_ten_thousand_columns(kind: Any, task: Task) -> None:
    x, y = table(task, num_rows=9, num_features=10_000)
    check(fitted(kind, task, x, y), x)


@pytest.mark.parametrize(("kind", "task"), PAIRS)
def test_one_answer_for_all_rows(kind: Any, task: Task) -> None:
    x, _ = table(task)
    scores = check(fitted(kind, task, x, np.ones(60)), x)
    if task.kind == "regression":
        assert scores == pytest.approx(np.ones(60))
    else:
        assert ((scores > 0) if task.kind == "binary" else (scores.argmax(axis=1) == 1)).all()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "multiclass" in kind.__part__.tasks])
def test_a_class_that_has_no_rows(kind: Any) -> None:
    x, y = table(TASKS["multiclass"])
    seen = y != 1
    scores = check(fitted(kind, TASKS["multiclass"], x[seen], y[seen]), x)
    assert (scores.argmax(axis=1) != 1).all()


@pytest.mark.parametrize(("kind", "task"), PAIRS)
def test_rows_of_weight_zero_are_as_if_absent(kind: Any, task: Task) -> None:
    x, y = table(task)
    weight = np.where(np.arange(60) < 40, 1.0, 0.0)
    assert fitted(kind, task, x, y, weight)(x) == pytest.approx(
        fitted(kind, task, x[:40], y[:40])(x), rel=1e-9, abs=1e-9
    )


@pytest.mark.parametrize(("kind", "task"), PAIRS)
def test_weights_are_not_ignored(kind: Any, task: Task) -> None:
    x, y = table(task)
    weight = np.where(y == 0, 20.0, 1.0)
    assert not np.allclose(fitted(kind, task, x, y, weight)(x), fitted(kind, task, x, y)(x), rtol=1e-3)


@pytest.mark.parametrize(("kind", "task"), PAIRS)
def test_damaged_states_are_refused(kind: Any, task: Task) -> None:
    """Each array of the state in turn: another shape, another type, a value that is no number, or absent."""
    x, y = table(task)
    model = fitted(kind, task, x, y)
    state, before = model.state(), model(x)
    arrays = {name: value for name, value in state.items() if isinstance(value, np.ndarray)}
    assert arrays
    for name, value in arrays.items():
        bad: list[Any] = [value[..., None], value.astype(np.float32), value.astype(str), value.tolist(), None]
        if value.size:
            bad.append(np.concatenate([value, value]))
        if value.dtype == np.float64 and value.size:
            bad += [np.full_like(value, np.nan), np.full_like(value, np.inf)]
        for wrong in bad:
            with pytest.raises(BundleError, match="damaged"):
                model.load(state | {name: wrong})
        with pytest.raises(BundleError, match=f"{name} is missing"):
            model.load({key: item for key, item in state.items() if key != name})
    with pytest.raises(BundleError, match="unknown entry 'spare'"):
        model.load(state | {"spare": 1.0})
    assert np.array_equal(model(x), before)  # a refused state changes nothing
