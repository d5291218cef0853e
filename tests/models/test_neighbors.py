"""Nearest neighbours against scikit-learn, with ties that have one answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from danlu.core.errors import BundleError, RecipeError
from danlu.core.ideas import Context
from danlu.core.scores import class_probabilities
from danlu.core.tasks import Task
from danlu.models import neighbors
from danlu.models.neighbors import NearestNeighbors, NeighborSettings

REGRESSION, BINARY = Task("regression"), Task("binary", (0, 1))


def fitted(
    x: Any, y: np.ndarray, task: Task, weight: np.ndarray | None = None, **settings: Any
) -> NearestNeighbors:
    model = NearestNeighbors(NeighborSettings(**settings), task, x.shape[1])
    assert model.fit_round({"x": x, "y": y, "weight": weight}, task, Context()).done
    return model


@pytest.fixture(params=["product", "tree"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways of finding neighbours."""
    monkeypatch.setattr(neighbors, "TREE_ROWS", 10 if request.param == "tree" else 10**9)
    return request.param


@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize("metric", ["euclidean", "manhattan"])
@pytest.mark.parametrize("num_classes", [0, 2, 4])
def test_it_is_scikit_learns(way: str, weights: str, metric: str, num_classes: int) -> None:
    rng = np.random.default_rng(0)
    x, new = rng.normal(size=(400, 4)), rng.normal(size=(100, 4))
    new[0] = x[0]  # at distance zero
    if num_classes == 0:
        y = rng.normal(size=400)
        model = fitted(x, y, REGRESSION, k=7, weights=weights, metric=metric)
        expected = KNeighborsRegressor(7, weights=weights, metric=metric).fit(x, y)
        assert model(new) == pytest.approx(expected.predict(new), abs=1e-9)
    else:
        y = rng.integers(0, num_classes, 400)
        task = BINARY if num_classes == 2 else Task("multiclass", tuple(range(num_classes)))
        model = fitted(x, y, task, k=7, weights=weights, metric=metric)
        expected = KNeighborsClassifier(7, weights=weights, metric=metric).fit(x, y)
        assert class_probabilities(model(new)) == pytest.approx(expected.predict_proba(new), abs=1e-9)
    assert model.search.uses_tree == (way == "tree")


def test_sparse_rows() -> None:
    rng = np.random.default_rng(1)
    x = np.where(rng.uniform(size=(200, 50)) < 0.2, rng.normal(size=(200, 50)), 0.0)
    y = rng.normal(size=200)
    dense, sparse = fitted(x, y, REGRESSION, k=5), fitted(csr_matrix(x), y, REGRESSION, k=5)
    assert sparse(csr_matrix(x[:20] + 0.01)) == pytest.approx(dense(x[:20] + 0.01), rel=1e-9)
    again = NearestNeighbors(NeighborSettings(k=5), REGRESSION, 50)
    again.load(sparse.state())
    assert np.array_equal(again(csr_matrix(x[:20])), sparse(csr_matrix(x[:20])))


def test_one_neighbour_knows_its_training_rows(way: str) -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(300, 3)), rng.integers(0, 2, 300)
    assert ((fitted(x, y, BINARY, k=1)(x) > 0) == y).all()


def test_a_row_has_the_same_answer_alone_and_among_others(way: str) -> None:
    rng = np.random.default_rng(3)
    x = rng.integers(0, 3, size=(500, 6)).astype(np.float64) / 3.0  # many rows equally far away
    y = rng.normal(size=500)
    model = fitted(x, y, REGRESSION, k=7)
    together = model(x)
    alone = np.concatenate([model(x[i : i + 1]) for i in range(500)])
    assert np.array_equal(together, alone)


def test_of_equally_distant_rows_the_first_ones_count() -> None:
    x, y = np.zeros((6, 2)), np.array([1.0, 2.0, 3.0, 100.0, 100.0, 100.0])
    assert fitted(x, y, REGRESSION, k=3)(np.ones((1, 2)))[0] == pytest.approx(2.0)


def test_small_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(300, 3)), rng.normal(size=300)
    whole = fitted(x, y, REGRESSION)(x)
    monkeypatch.setattr(neighbors, "VALUES_AT_ONCE", 1000)
    assert np.array_equal(fitted(x, y, REGRESSION)(x), whole)


def test_more_neighbours_than_rows_are_all_rows() -> None:
    x, y = np.arange(4.0)[:, None], np.array([1.0, 2.0, 3.0, 6.0])
    assert fitted(x, y, REGRESSION, k=10**6)(x) == pytest.approx(np.full(4, 3.0))


def test_weights_multiply_the_say() -> None:
    x, y = np.array([[0.0], [1.0], [2.0]]), np.array([0.0, 10.0, 20.0])
    model = fitted(x, y, REGRESSION, np.array([3.0, 1.0, 0.0]), k=2)
    assert model(np.array([[0.4]]))[0] == pytest.approx(2.5)
    assert len(model.target) == 2  # a row without weight is not kept


def test_the_rows_are_a_copy() -> None:
    x = np.zeros((3, 1))
    model = fitted(x, np.array([1.0, 2.0, 3.0]), REGRESSION, k=1)
    x[:] = 99.0
    assert model.state()["rows"].tolist() == [[0.0]] * 3
    assert model.keeps_rows


def test_wrong_settings() -> None:
    with pytest.raises(RecipeError, match=r"k must be at least 1, got 0. Usual values are 5 to 30"):
        NeighborSettings(k=0)
    with pytest.raises(RecipeError, match="knows only metric='euclidean' for columns made from text"):
        fitted(csr_matrix(np.eye(3)), np.arange(3.0), REGRESSION, metric="manhattan")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": np.zeros((3, 7))}, r"rows has the shape \(3, 7\), not \(any, 2\)"),
        ({"rows": np.zeros((0, 2))}, "holds no rows"),
        ({"rows": np.full((3, 2), np.nan)}, "not finite"),
        ({"rows": np.zeros((3, 2), dtype=np.float32)}, "rows holds float32, not float64"),
        ({"target": np.array([0, 1, 2])}, "target runs from 0 to 2, allowed is 0 to 1"),
        ({"target": np.array([0, 1])}, "target has the shape"),
        ({"target": np.array([0.0, 1.0, 0.0])}, "target holds float64, not int64"),
        ({"weight": np.array([1.0, -1.0, 1.0])}, "weight runs from -1.0"),
        ({"extra": 1}, "unknown entry 'extra'"),
    ],
)
def test_hostile_states(change: dict[str, Any], message: str) -> None:
    model = fitted(np.random.default_rng(5).normal(size=(3, 2)), np.array([0, 1, 0]), BINARY)
    with pytest.raises(BundleError, match=message):
        model.load(model.state() | change)
