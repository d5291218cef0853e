"""Ranking losses by hand, against LightGBM's gradient and on real queries, where they beat a pointwise loss."""

from __future__ import annotations

import functools
import math
from pathlib import Path

import lightgbm
import numpy as np
import pytest
import torch
from sklearn.datasets import load_svmlight_file
from torch import nn

from danlu.core.errors import DataError, RecipeError
from danlu.core.seeds import generator
from danlu.core.tasks import Task
from danlu.evaluate.ranking import ndcg
from danlu.objectives.ranking import (
    LambdaRank,
    LambdaRankSettings,
    Listwise,
    Pairwise,
    PairwiseSettings,
)
from danlu.objectives.regression import SquaredError

TASK = Task("regression")
MARGIN = PairwiseSettings(loss="margin")
ALL = {
    "logistic": Pairwise(TASK),
    "margin": Pairwise(TASK, MARGIN),
    "listwise": Listwise(TASK),
    "lambdarank": LambdaRank(TASK),
}


def loss_of(objective, scores, grades, query=None, weight=None):
    batch = {
        "x": torch.tensor(scores, dtype=torch.float64),
        "y": torch.tensor(grades),
        "query": torch.zeros(len(grades)) if query is None else torch.tensor(query),
    }
    if weight is not None:
        batch["weight"] = torch.tensor(weight)
    (total,), (count,) = objective.sums(lambda x: x, batch).values(), objective.counts(batch).values()
    return total.item() / (count or 1.0)


def test_a_pair_in_the_right_order_beyond_the_margin_costs_nothing():
    objective = Pairwise(TASK, MARGIN)
    assert loss_of(objective, [3.0, 1.9], [1, 0]) == 0
    assert loss_of(objective, [3.0, 2.5], [1, 0]) == 0.5
    assert loss_of(objective, [1.0, 3.0], [1, 0]) == 3.0
    assert loss_of(Pairwise(TASK, PairwiseSettings("margin", 0.1)), [3.0, 2.5], [1, 0]) == 0
    # three pairs: right by 2, right by 0.5, wrong by 1.5; equal grades make no pair
    assert loss_of(objective, [2.0, 0.0, 1.5, 9.0], [2, 1, 1, 2]) == pytest.approx((0 + 0.5 + 0 + 0) / 4)


def test_the_logistic_pair_by_hand():
    assert loss_of(Pairwise(TASK), [0.0, 0.0], [1, 0]) == pytest.approx(math.log(2))
    assert loss_of(Pairwise(TASK), [2.0, 0.0], [5, -3]) == pytest.approx(math.log(1 + math.exp(-2)))
    assert loss_of(Pairwise(TASK), [2.0, 0.0], [5, -3]) < loss_of(Pairwise(TASK), [1.0, 0.0], [5, -3])


def test_lists_by_hand():
    """softmax(1, 0) = (0.731, 0.269), against scores (0, 0) and (1, 0)."""
    p = math.e / (1 + math.e)
    assert loss_of(Listwise(TASK), [0.0, 0.0], [1, 0]) == pytest.approx(math.log(2))
    assert loss_of(Listwise(TASK), [1.0, 0.0], [1, 0]) == pytest.approx(
        -p * math.log(p) - (1 - p) * math.log(1 - p)
    )


def test_a_pair_counts_by_the_ndcg_that_is_at_stake():
    """Grades 2, 1, 0 in the order 1, 2, 0: gains 3 and 1 in the places 2 and 1, of discounts 0.6309 and 1."""
    best = 3 + math.log2(3) ** -1
    d = [1.0, 1 / math.log2(3), 0.5]
    pairs = {  # (difference of gains) * (difference of discounts), score of the better minus that of the other
        (2, 1): (2 * (d[0] - d[1]), 1.0 - 2.0),
        (2, 0): (3 * (d[1] - d[2]), 1.0 - 0.0),
        (1, 0): (1 * (d[0] - d[2]), 2.0 - 0.0),
    }
    expected = sum(stake / best * math.log1p(math.exp(-lead)) for stake, lead in pairs.values())
    assert loss_of(LambdaRank(TASK), [1.0, 2.0, 0.0], [2, 1, 0]) == pytest.approx(expected, rel=1e-12)
    first = [(2 * d[0], 1.0 - 2.0), (1 * d[0], 2.0)]  # pairs with the first place; the best order gains 3
    only_first = sum(stake / 3 * math.log1p(math.exp(-lead)) for stake, lead in first)
    found = loss_of(LambdaRank(TASK, LambdaRankSettings(top=1)), [1.0, 2.0, 0.0], [2, 1, 0])
    assert found == pytest.approx(only_first, rel=1e-12)
    linear = loss_of(LambdaRank(TASK, LambdaRankSettings(gain="linear")), [0.0, 0.0], [1, 0])
    assert linear == loss_of(LambdaRank(TASK), [0.0, 0.0], [1, 0])  # 2^1 - 1 = 1


@pytest.mark.parametrize("name", ALL)
def test_queries_count_alike_and_never_meet(name):
    objective = ALL[name]
    rng = generator(0, "queries")
    parts = [(rng.normal(size=n).tolist(), rng.integers(0, 3, n).tolist()) for n in (3, 9, 5)]
    assert all(len(set(grades)) > 1 for _, grades in parts)
    alone = [loss_of(objective, scores, grades) for scores, grades in parts]
    scores, grades = ([value for part in parts for value in part[i]] for i in (0, 1))
    query = [q for q, (each, _) in enumerate(parts) for _ in each]
    assert loss_of(objective, scores, grades, query) == pytest.approx(np.mean(alone), rel=1e-12)
    mixed = rng.permutation(len(query))  # rows may come in any order
    shuffled = [[each[i] for i in mixed] for each in (scores, grades, query)]
    assert loss_of(objective, *shuffled) == pytest.approx(np.mean(alone), rel=1e-12)
    weight = [{0: 1.0, 1: 0.0, 2: 3.0}[q] for q in query]
    weighted = loss_of(objective, scores, grades, query, weight)
    assert weighted == pytest.approx((alone[0] + 3 * alone[2]) / 4, rel=1e-12)


@pytest.mark.parametrize("name", ["logistic", "margin", "listwise"])
def test_a_row_of_twice_the_weight_is_two_rows(name):
    """Up to a constant: a list of more rows has more to choose from."""
    objective, grades, weight = ALL[name], [2, 0, 1, 1], [2.0, 1.0, 1.0, 2.0]
    twice = [i for i, w in enumerate(weight) for _ in range(int(w))]
    off = []
    for scores in ([0.3, -0.2, 0.9, 0.1], [2.0, 1.0, 0.0, 0.5], [-1.0, 3.0, 0.0, 0.0]):
        once = loss_of(objective, scores, grades, weight=weight)
        off.append(once - loss_of(objective, [scores[i] for i in twice], [grades[i] for i in twice]))
    constant = math.log(1.5) if name == "listwise" else 0.0
    assert off == pytest.approx([-constant] * 3, abs=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_queries_without_an_order_count_nothing(name):
    """One row alone, and for pairs equal grades as well, have nothing to teach; gradients stay finite."""
    objective, equal = ALL[name], [1, 1] if name != "listwise" else [1]
    x = torch.tensor([0.5, 1.0, 2.0, *[0.0] * len(equal)], dtype=torch.float64, requires_grad=True)
    y, query = torch.tensor([2, 1, 0, *equal]), torch.tensor([0, 0, 1, *[2] * len(equal)])
    batch = {"x": x, "y": y, "query": query}
    (total,), (count,) = objective.sums(lambda x: x, batch).values(), objective.counts(batch).values()
    assert count == 1.0
    assert total.item() == pytest.approx(loss_of(objective, [0.5, 1.0], [2, 1]))
    (gradient,) = torch.autograd.grad(total, x)
    assert torch.isfinite(gradient).all() and not gradient[2:].any()


@pytest.mark.parametrize("name", ALL)
def test_only_differences_of_scores_matter(name):
    scores, grades = [0.3, -0.2, 0.9], [2, 0, 1]
    moved = [s + 50 for s in scores]
    assert loss_of(ALL[name], scores, grades) == pytest.approx(loss_of(ALL[name], moved, grades), rel=1e-9)


def test_lambdas_are_those_of_lightgbm():
    """A leaf of its second tree holds -gradients / second derivatives, summed, at the scores of the first tree."""
    rng = generator(0, "lambdas")
    x, y = rng.normal(size=(40, 3)), rng.integers(0, 4, 40)
    options = {"objective": "lambdarank", "lambdarank_norm": False, "lambdarank_truncation_level": 40}
    options |= {"verbose": -1, "min_data_in_leaf": 1, "learning_rate": 1.0, "num_leaves": 4, "num_threads": 1}
    options |= {"lambda_l2": 0.0, "min_sum_hessian_in_leaf": 0.0, "deterministic": True}
    model = lightgbm.train(options, lightgbm.Dataset(x, y, group=[40]), 2)
    before = np.asarray(model.predict(x, num_iteration=1))
    step, leaf = np.asarray(model.predict(x)) - before, np.asarray(model.predict(x, pred_leaf=True))[:, 1]
    query = torch.zeros(40)

    def total(scores):
        batch = {"x": scores, "y": torch.as_tensor(y), "query": query}
        return LambdaRank(TASK).sums(lambda s: s, batch)["lambdarank"]

    scores = torch.tensor(before, requires_grad=True)
    first = torch.autograd.grad(total(scores), scores)[0].numpy()
    hessian = torch.autograd.functional.hessian(total, scores)
    assert isinstance(hessian, torch.Tensor)
    second = hessian.diagonal().numpy()
    assert len(np.unique(leaf)) == 4
    for each in np.unique(leaf):
        expected = -first[leaf == each].sum() / second[leaf == each].sum()
        assert step[leaf == each] == pytest.approx(expected, rel=1e-3)  # it reads its sigmoid from a table


def test_what_cannot_be_ranked_is_refused():
    with pytest.raises(
        DataError, match=r"Grades of a ranking by NDCG must lie from 0 to 31, got -1 to 2\. Use"
    ):
        loss_of(LambdaRank(TASK), [0.0, 1.0], [2, -1])
    with pytest.raises(DataError, match=r"from 0 to 31, got 0 to 40"):
        loss_of(LambdaRank(TASK), [0.0, 1.0], [0, 40])
    assert loss_of(LambdaRank(TASK, LambdaRankSettings(gain="linear")), [0.0, 1.0], [0, 40]) > 0
    with pytest.raises(DataError, match=r"scores of shape \(2, 3\) for targets of shape \(2,\)"):
        loss_of(Pairwise(TASK), [[0.0] * 3] * 2, [0, 1])


def test_settings_that_mean_nothing_are_refused():
    with pytest.raises(RecipeError, match=r"pairwise\.margin must be above 0, got 0"):
        PairwiseSettings("margin", 0.0)
    with pytest.raises(
        RecipeError, match=r"pairwise\.margin is for the margin loss, and pairwise\.loss is 'logistic'"
    ):
        PairwiseSettings(margin=2.0)
    with pytest.raises(RecipeError, match=r"lambdarank\.top must be at least 1, got 0, like 10\."):
        LambdaRankSettings(top=0)


# ------------------------------------------------------------------ real queries


@functools.cache
def queries_of(folder: Path, part: str):
    """Features, grades and query ids of LightGBM's ranking example: 201 queries to train on, 50 to test."""
    x, y = load_svmlight_file(str(folder / f"rank.{part}"), n_features=301)[:2]
    sizes = np.loadtxt(folder / f"rank.{part}.query", dtype=np.int64)
    return x.toarray(), y, np.repeat(np.arange(len(sizes)), sizes)


@pytest.fixture(scope="module")
def folder(data_dir: Path) -> Path:
    if not (data_dir / "lightgbm_rank").is_dir():
        pytest.skip(f"no ranking data: {data_dir / 'lightgbm_rank'} is not a folder")
    return data_dir / "lightgbm_rank"


def ndcg_after_training(
    folder: Path, objective, *, hidden: int, weight_decay: float, seeds: int, epochs: int
) -> list[float]:
    """NDCG@10 of the test queries after epochs of plain torch steps on batches of 20 whole queries."""
    x, y, query = queries_of(folder, "train")
    mean, deviation = x.mean(axis=0), np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
    test_x, test_y, test_query = queries_of(folder, "test")
    rows = {
        "x": torch.as_tensor((x - mean) / deviation),
        "y": torch.as_tensor(y),
        "query": torch.as_tensor(query),
    }
    asked = {"x": torch.as_tensor((test_x - mean) / deviation)}
    found = []
    for seed in range(seeds):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            layers = (
                [nn.Linear(301, hidden), nn.ReLU(), nn.Linear(hidden, 1)] if hidden else [nn.Linear(301, 1)]
            )
            net = nn.Sequential(*layers).double()
        optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=weight_decay, fused=True)
        draw = np.random.default_rng(seed)
        for _ in range(epochs):
            order = draw.permutation(201)
            for start in range(0, 201, 20):
                chosen = torch.as_tensor(np.flatnonzero(np.isin(query, order[start : start + 20])))
                batch = {name: each[chosen] for name, each in rows.items()}
                (count,), (total,) = objective.counts(batch).values(), objective.sums(net, batch).values()
                optimizer.zero_grad()
                (total / count).backward()
                optimizer.step()
        score = ndcg(test_y, objective.predict(net, asked)["values"], test_query, k=10)
        assert score is not None
        found.append(score)
    return found


def test_lambdarank_beats_a_pointwise_loss_on_real_queries(folder: Path):
    """Linear scores, two seeds; a random order has 0.58. LightGBM's lambdarank stands in the slow test below."""
    _, y, _ = queries_of(folder, "train")
    options = {"hidden": 0, "weight_decay": 0.01, "seeds": 2, "epochs": 20}
    pointwise = np.mean(ndcg_after_training(folder, SquaredError.fitted(TASK, y), **options))
    _, test_y, test_query = queries_of(folder, "test")
    chance = ndcg(test_y, np.zeros(len(test_y)), test_query, k=10)
    assert chance == pytest.approx(0.583, abs=0.001) and pointwise > 0.70
    assert np.mean(ndcg_after_training(folder, ALL["lambdarank"], **options)) > pointwise + 0.01


@pytest.mark.slow
def test_a_small_network_ranks_as_well_as_lightgbm(folder: Path):
    """32 hidden neurons beside LightGBM's lambdarank (100 rounds): NDCG@10 of 0.760 and 0.753, pointwise 0.742."""
    x, y, query = queries_of(folder, "train")
    test_x, test_y, test_query = queries_of(folder, "test")
    options = {"objective": "lambdarank", "min_data_in_leaf": 50, "verbose": -1, "num_threads": 1, "seed": 0}
    model = lightgbm.train(options, lightgbm.Dataset(x, y, group=np.bincount(query)), 100)
    theirs = ndcg(test_y, np.asarray(model.predict(test_x)), test_query, k=10) or 0.0
    assert theirs == pytest.approx(0.753, abs=0.01)
    sizes = {"hidden": 32, "weight_decay": 1.0, "seeds": 3, "epochs": 30}
    pointwise = np.mean(ndcg_after_training(folder, SquaredError.fitted(TASK, y), **sizes))
    for name in ("logistic", "margin", "listwise", "lambdarank"):
        found = np.mean(ndcg_after_training(folder, ALL[name], **sizes))
        assert found > theirs - 0.01
        assert found > pointwise + 0.005
