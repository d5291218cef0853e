"""Candidates side by side: order, paired noise, baselines, undefined scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from danlu.core.errors import UserError
from danlu.core.tasks import Task
from danlu.evaluate.bootstrap import intervals, paired_difference
from danlu.evaluate.compare import compare
from danlu.evaluate.metrics import row_losses, score

NUMBER = Task("regression")
BINARY = Task("binary", ("no", "yes"))


def draw_candidates(seed, num_rows):
    """A target, a good and an equally good model, a slightly worse one, the mean."""
    random = np.random.default_rng(seed)
    observed = random.normal(0, 3, num_rows)
    shared = random.normal(0, 1, num_rows)  # what no model knows
    predictions = {
        "good": observed + shared + 0.1 * random.normal(size=num_rows),
        "twin": observed + shared + 0.1 * random.normal(size=num_rows),
        "worse": observed + 1.08 * shared,
        "mean": np.full(num_rows, observed.mean()),
    }
    return observed, predictions


def test_order_noise_and_baseline():
    observed, predictions = draw_candidates(0, 400)
    compared: Any = compare(NUMBER, observed, predictions, baseline="mean")
    by_name = {each.name: each for each in compared}
    assert {compared[0].name, compared[1].name} == {"good", "twin"}
    assert [each.name for each in compared[2:]] == ["worse", "mean"]
    assert compared[0].to_best is None
    assert compared[0].is_within_noise_of_best
    assert compared[1].is_within_noise_of_best
    assert not by_name["worse"].is_within_noise_of_best
    # The intervals of the scores alone overlap: only the pairing shows the difference.
    assert by_name["worse"].interval[0] < compared[0].interval[1]
    assert by_name["worse"].to_best.mean == pytest.approx(by_name["worse"].score - compared[0].score)
    assert by_name["good"].is_within_noise_of_baseline is False
    assert by_name["good"].to_baseline.interval[1] < 0
    assert by_name["mean"].to_baseline is None
    assert by_name["mean"].is_within_noise_of_baseline is None


def test_agrees_with_the_tests_of_one():
    observed, predictions = draw_candidates(1, 200)
    compared: Any = compare(NUMBER, observed, predictions, by="mse", seed=3)
    assert (
        compared[0].interval
        == intervals(NUMBER, observed, predictions[compared[0].name], names=["mse"], seed=3)["mse"]
    )
    last, best = compared[-1].name, compared[0].name
    alone: Any = paired_difference(
        row_losses(NUMBER, observed, predictions[last]),
        row_losses(NUMBER, observed, predictions[best]),
        seed=3,
    )
    assert compared[-1].to_best.interval == pytest.approx(alone.interval)
    assert compared[-1].to_best.p_value == alone.p_value


def test_metrics_that_grow_and_a_naive_model():
    random = np.random.default_rng(0)
    codes = random.integers(0, 2, 300)
    positive = np.clip(0.5 + 0.2 * (2 * codes - 1) + 0.2 * random.normal(size=300), 0.01, 0.99)
    predictions = {
        "useful": np.column_stack([1 - positive, positive]),
        "coin": np.column_stack([1 - positive, positive])[random.permutation(300)],
        "prior": np.full((300, 2), 0.5),
    }
    compared: Any = compare(
        BINARY, codes, predictions, by="roc_auc", baseline="prior", groups=np.arange(300) // 2
    )
    assert compared[0].name == "useful"
    assert compared[0].score == score(BINARY, codes, predictions["useful"])["roc_auc"]
    assert compared[0].to_baseline.interval[0] > 0
    coin = next(each for each in compared if each.name == "coin")
    assert coin.is_within_noise_of_baseline
    assert not coin.is_within_noise_of_best


def test_undefined_scores_come_last():
    observed, predictions = draw_candidates(0, 50)
    compared: Any = compare(NUMBER, observed, predictions | {"broken": np.full(50, np.nan)})
    assert compared[-1].name == "broken"
    assert compared[-1].score is None
    assert compared[-1].interval is None
    assert not compared[-1].is_within_noise_of_best


def test_one_row_leaves_everything_open():
    compared: Any = compare(NUMBER, [1.0], {"a": np.array([1.0]), "b": np.array([5.0])})
    assert [each.name for each in compared] == ["a", "b"]
    assert compared[1].interval is None
    assert compared[1].is_within_noise_of_best


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="'x' is not among the candidates"):
        compare(NUMBER, [1.0], {"a": np.array([1.0])}, baseline="x")
    with pytest.raises(UserError, match="for binary and multiclass targets, and this one is regression"):
        compare(NUMBER, [1.0], {"a": np.array([1.0])}, by="accuracy")
    assert compare(NUMBER, [1.0], {}) == []
