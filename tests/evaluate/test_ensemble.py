"""Ensembles against exact solutions, and when a single candidate is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from danlu.core.tasks import Task
from danlu.evaluate.ensemble import select
from danlu.evaluate.metrics import score

NUMBER = Task("regression")
BINARY = Task("binary", ("no", "yes"))


def draw_numbers(seed, num_rows=2000):
    """Three models with independent errors of sd 1, 1 and 2: the best weights are 4/9, 4/9 and 1/9."""
    random = np.random.default_rng(seed)
    observed = random.normal(0, 3, num_rows)
    noise = random.normal(size=(3, num_rows)) * np.array([[1.0], [1.0], [2.0]])
    return observed, {name: observed + error for name, error in zip("abc", noise, strict=True)}


def draw_classes(seed, num_rows=3000):
    """Two models that each see one half of the log-odds, and one that sees nothing."""
    random = np.random.default_rng(seed)
    first, second = random.normal(size=(2, num_rows)) * 2
    codes = (random.random(num_rows) < 1 / (1 + np.exp(-first - second))).astype(int)

    def classes(logit):
        positive = 1 / (1 + np.exp(-logit))
        return np.column_stack([1 - positive, positive])

    noise = random.normal(size=num_rows)
    return codes, {"first": classes(first), "second": classes(second), "noise": classes(noise)}


def combine(predictions, weights):
    """The weighted mean that an ensemble answers."""
    return np.sum([weight * predictions[name] for name, weight in weights.items()], axis=0)


def test_greedy_comes_near_the_best_weights():
    observed, predictions = draw_numbers(0)
    weights = select(predictions, observed, "squared_error")
    assert sum(weights.values()) == pytest.approx(1.0)
    assert [weights[name] for name in "abc"] == pytest.approx([4 / 9, 4 / 9, 1 / 9], abs=0.06)
    new, new_predictions = draw_numbers(1)
    alone: Any = [score(NUMBER, new, each)["mse"] for each in new_predictions.values()]
    together: Any = score(NUMBER, new, combine(new_predictions, weights))
    assert together["mse"] < 0.55 * min(alone)


def test_classes_gain_from_two_views_and_leave_the_noise_out():
    codes, predictions = draw_classes(0)
    weights = select(predictions, codes, "log_loss")
    assert set(weights) == {"first", "second"}
    assert weights["first"] == pytest.approx(0.5, abs=0.1)
    new_codes, new = draw_classes(1)
    together: Any = score(BINARY, new_codes, combine(new, weights))
    alone: Any = [score(BINARY, new_codes, each)["log_loss"] for each in new.values()]
    assert together["log_loss"] < min(alone) - 0.02


def test_a_single_candidate_is_kept_where_the_gain_is_small():
    observed, predictions = draw_numbers(0)
    clones = {"best": predictions["a"], "clone": predictions["a"], "bad": predictions["c"] * 5}
    assert select(clones, observed, "squared_error") == {"best": 1.0}
    assert select(predictions, observed, "squared_error", min_gain=0.9).keys() <= {"a", "b"}
    assert len(select(predictions, observed, "squared_error", min_gain=0.9)) == 1


def test_order_of_candidates_does_not_matter_and_the_seed_does_all():
    observed, predictions = draw_numbers(2, num_rows=100)
    backwards = dict(reversed(predictions.items()))
    assert select(predictions, observed, "squared_error") == select(backwards, observed, "squared_error")
    some = [select(predictions, observed, "absolute_error", seed=seed) for seed in (1, 1, 2)]
    assert some[0] == some[1]
    assert some[0] != some[2]


def test_row_weights_choose():
    observed = np.zeros(100)
    left, right = np.where(np.arange(100) < 50, 0.1, 5.0), np.where(np.arange(100) < 50, 5.0, 0.1)
    weight = np.where(np.arange(100) < 50, 1.0, 0.0)
    assert select({"left": left, "right": right}, observed, "squared_error", weight=weight) == {"left": 1.0}


def test_predictions_that_are_not_finite_are_left_out():
    observed, predictions = draw_numbers(0, num_rows=50)
    assert "broken" not in select(predictions | {"broken": np.full(50, np.nan)}, observed, "squared_error")
    with pytest.raises(ValueError, match="at least one candidate with finite predictions"):
        select({"broken": np.full(50, np.nan)}, observed, "squared_error")
