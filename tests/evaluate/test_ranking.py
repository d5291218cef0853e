"""NDCG against scikit-learn, LightGBM and hand calculations."""

from __future__ import annotations

import itertools
import math

import lightgbm
import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from danlu.core.errors import DataError
from danlu.core.seeds import generator
from danlu.evaluate.ranking import ndcg, ndcg_of_queries


def test_three_rows_by_hand():
    """Grades 3, 0, 2 in this order: gains 7, 0, 3 in places of discount 1, 0.63, 0.5; best is 7, 3, 0."""
    observed, predicted, query = np.array([0, 3, 2]), np.array([0.5, 0.9, 0.1]), np.zeros(3)
    best = 7 + 3 / math.log2(3)
    assert ndcg(observed, predicted, query) == pytest.approx((7 + 3 / 2) / best)
    assert ndcg(observed, predicted, query, k=2) == pytest.approx(7 / best)
    assert ndcg(observed, predicted, query, gain="linear") == pytest.approx(
        (3 + 2 / 2) / (3 + 2 / math.log2(3))
    )
    assert ndcg(observed, observed, query) == 1.0
    assert ndcg(observed, -predicted, query, k=1) == pytest.approx(3 / 7)


@pytest.mark.parametrize("k", [None, 1, 3, 10, 100])
@pytest.mark.parametrize("tied", [False, True], ids=["", "ties"])
def test_it_is_that_of_scikit_learn(k, tied):
    rng = generator(0, "ndcg")
    sizes = rng.integers(2, 12, 30)
    query = np.repeat(rng.permutation(30) * 3, sizes)
    observed, predicted = rng.integers(0, 5, sizes.sum()), rng.normal(size=sizes.sum())
    if tied:
        predicted = np.round(predicted)
    queries, found = ndcg_of_queries(observed, predicted, query, k=k)
    assert queries.tolist() == sorted(set(query.tolist()))
    for gain in ("exponential", "linear"):
        _, found = ndcg_of_queries(observed, predicted, query, k=k, gain=gain)
        gains = 2.0**observed - 1 if gain == "exponential" else observed.astype(float)
        expected = [ndcg_score([gains[query == q]], [predicted[query == q]], k=k) for q in queries]
        has_gain = np.array([gains[query == q].any() for q in queries])
        np.testing.assert_allclose(found[has_gain], np.array(expected)[has_gain], rtol=1e-12)
        assert np.isnan(found[~has_gain]).all()
        assert ndcg(observed, predicted, query, k=k, gain=gain, without_gain=0.0) == pytest.approx(
            np.mean(expected)
        )


def test_it_is_that_of_lightgbm():
    rng = generator(0, "lightgbm")
    sizes = rng.integers(1, 10, 40)
    query, total = np.repeat(np.arange(40), sizes), sizes.sum()
    x, observed = (
        rng.normal(size=(total, 3)),
        rng.integers(0, 4, total) * (np.repeat(rng.random(40), sizes) > 0.2),
    )
    assert any(not observed[query == q].any() for q in range(40))  # which it counts as 1
    options = {
        "objective": "lambdarank",
        "metric": "ndcg",
        "eval_at": [1, 5],
        "verbose": -1,
        "num_threads": 1,
    }
    data = lightgbm.Dataset(x, observed, group=sizes)
    history: dict = {}
    model = lightgbm.train(
        options | {"min_data_in_leaf": 1, "num_leaves": 40},
        data,
        20,
        valid_sets=[data],
        callbacks=[lightgbm.record_evaluation(history)],
    )
    predicted = np.asarray(model.predict(x))
    assert all(
        len(set(predicted[query == q])) == sizes[q] for q in range(40)
    )  # it breaks ties by order of rows
    (scores,) = history.values()
    for k in (1, 5):
        found = ndcg(observed, predicted, query, k=k, without_gain=1.0)
        assert found == pytest.approx(scores[f"ndcg@{k}"][-1], rel=1e-12)


def test_a_constant_score_is_a_random_order_on_average():
    observed = np.array([3, 1, 0, 2])
    orders = np.array(list(itertools.permutations(range(4))))  # all 24, each as a query of its own
    mean = ndcg(np.tile(observed, 24), orders.reshape(-1), np.repeat(np.arange(24), 4))
    assert ndcg(observed, np.full(4, 7.0), np.zeros(4)) == pytest.approx(mean, rel=1e-12)


def test_queries_without_any_gain_are_left_out_or_counted_as_told():
    observed, predicted, query = (
        np.array([0, 0, 1, 0]),
        np.array([1.0, 2.0, 1.0, 2.0]),
        np.array([0, 0, 1, 1]),
    )
    one = 1 / math.log2(3)
    assert ndcg(observed, predicted, query) == pytest.approx(one)
    assert ndcg(observed, predicted, query, without_gain=1.0) == pytest.approx((1 + one) / 2)
    assert ndcg(observed, predicted, query, without_gain=0.0) == pytest.approx(one / 2)
    assert ndcg(observed[:2], predicted[:2], query[:2]) is None
    assert ndcg(observed[:0], predicted[:0], query[:0]) is None


def test_what_cannot_be_scored_is_told():
    with pytest.raises(
        DataError, match=r"a grade, a score and a query for each row, got the shapes \(2,\), \(3,\)"
    ):
        ndcg(np.zeros(2), np.zeros(3), np.zeros(2))
    with pytest.raises(DataError, match=r"at least 1; got k = 0"):
        ndcg(np.zeros(2), np.zeros(2), np.zeros(2), k=0)
    with pytest.raises(DataError, match=r"must lie from 0 to 1023 for exponential gains, got -1 to 2"):
        ndcg(np.array([2, -1]), np.zeros(2), np.zeros(2))
    with pytest.raises(DataError, match=r"NDCG needs finite scores"):
        ndcg(np.ones(2), np.array([1.0, np.nan]), np.zeros(2))
