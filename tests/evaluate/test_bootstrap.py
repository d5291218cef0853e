"""Bootstrap intervals: coverage in simulations, equality with plain resampling, groups, hard cases."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from danlu.core.tasks import Task
from danlu.evaluate.bootstrap import (
    expanded_percentiles,
    group_codes,
    intervals,
    num_independent,
    paired_difference,
    resamples,
)
from danlu.evaluate.metrics import METRICS, score
from danlu.evaluate.proportion import wilson_interval

NUMBER = Task("regression")
BINARY = Task("binary", ("no", "yes"))
THREE = Task("multiclass", ("a", "b", "c"))


def draw_binary(random, num_rows):
    """Calibrated probabilities: log-odds from a normal distribution, classes drawn from them."""
    positive = 1 / (1 + np.exp(-1.5 * random.normal(size=num_rows)))
    observed = (random.random(num_rows) < positive).astype(int)
    return observed, np.column_stack([1 - positive, positive])


def covered_share(draw, task, num_rows, truth, names, num_trials=200):
    hits = dict.fromkeys(names, 0)
    for trial in range(num_trials):
        observed, predicted = draw(np.random.default_rng(trial), num_rows)
        bounds: Any = intervals(task, observed, predicted, names=names, num_resamples=200, seed=trial)
        for name in names:
            low, high = bounds[name]
            hits[name] += low <= truth[name] <= high
    return {name: count / num_trials for name, count in hits.items()}


def test_coverage_is_roughly_nominal_for_classes():
    names = ["accuracy", "roc_auc", "log_loss", "f1", "average_precision", "expected_calibration_error"]
    truth = score(BINARY, *draw_binary(np.random.default_rng(99), 300_000), names=names)
    truth["expected_calibration_error"] = 0.0  # the probabilities are right by construction
    share = covered_share(draw_binary, BINARY, 150, truth, names)
    ece = share.pop("expected_calibration_error")
    assert min(share.values()) > 0.9, share  # 0.95 - 3 standard errors of 200 trials
    assert max(share.values()) <= 0.99, share
    assert ece > 0.5  # biased upwards in small samples, which turning the draws round mends in part


def test_coverage_is_roughly_nominal_for_numbers():
    def draw(random, num_rows):
        observed = random.normal(0, 2, num_rows)
        return observed, observed + random.normal(0, 1, num_rows)

    names = ["r2", "rmse", "mae"]
    truth = {"r2": 0.75, "rmse": 1.0, "mae": (2 / np.pi) ** 0.5}
    for num_rows in (12, 200):
        share = covered_share(draw, NUMBER, num_rows, truth, names)
        assert min(share.values()) > 0.86, (num_rows, share)
        assert max(share.values()) <= 1.0


def test_groups_widen_the_interval_as_they_should():
    def draw(random, num_groups, size=10):
        return np.repeat(random.normal(size=num_groups), size) + 0.1 * random.normal(size=num_groups * size)

    truth = (1.0 + 0.01) * 1.0
    hits = {"groups": 0, "rows": 0}
    for trial in range(200):
        errors = draw(np.random.default_rng(trial), 60)
        groups = np.repeat(np.arange(60), 10)
        observed = np.zeros(600)
        for name, codes in (("groups", groups), ("rows", None)):
            bounds: Any = intervals(
                NUMBER, observed, errors, names=["mse"], groups=codes, num_resamples=200, seed=trial
            )
            low, high = bounds["mse"]
            hits[name] += low <= truth <= high
    assert hits["groups"] / 200 > 0.87
    assert hits["rows"] / 200 < 0.6  # what taking alike rows for independent ones would promise


def test_intervals_equal_plain_resampling():
    random = np.random.default_rng(0)
    observed = random.integers(0, 3, 80)
    probabilities = random.dirichlet(np.ones(3), 80)
    weight = random.exponential(1.0, 80)
    names = [metric.name for metric in METRICS if "multiclass" in metric.kinds]
    draws = {name: [] for name in names}
    for block in resamples(np.ones(80), num_resamples=60, seed=5):
        for counts in block.astype(int):
            rows = np.repeat(np.arange(80), counts)
            for name, value in score(THREE, observed[rows], probabilities[rows], weight=weight[rows]).items():
                draws[name].append(value)
    bounds = intervals(THREE, observed, probabilities, weight=weight, num_resamples=60, seed=5)
    for name in names:
        if name != "expected_calibration_error":
            expected = expanded_percentiles(np.array(draws[name]), num_independent(weight))
            assert bounds[name] == pytest.approx(expected, rel=1e-9), name


def test_draws_of_rows_and_of_groups():
    blocks = np.concatenate(list(resamples(np.ones(7), num_resamples=50, seed=1)))
    assert blocks.shape == (50, 7)
    assert (blocks.sum(axis=1) == 7).all()
    assert (blocks == np.concatenate(list(resamples(np.ones(7), num_resamples=50, seed=1)))).all()
    assert (blocks != np.concatenate(list(resamples(np.ones(7), num_resamples=50, seed=2)))).any()
    codes = group_codes(["x", None, "x", "y"])
    assert codes is not None
    assert codes.tolist() == [0, 1, 0, 2]
    grouped = np.concatenate(list(resamples(np.array([1.0, 1.0, 2.0, 1.0]), groups=codes, num_resamples=50)))
    assert (grouped[:, 2] == 2 * grouped[:, 0]).all()


def test_long_tables_get_fewer_resamples():
    assert sum(len(block) for block in resamples(np.ones(100), num_resamples=1000)) == 1000
    assert sum(len(block) for block in resamples(np.ones(1000), num_resamples=1000, cost=40)) == 400
    assert sum(len(block) for block in resamples(np.ones(1000), num_resamples=1000, cost=1e6)) == 100


def test_a_perfect_score_still_has_an_interval():
    observed = np.array([0, 1] * 50)
    perfect = np.eye(2)[observed]
    bounds = intervals(BINARY, observed, perfect)
    assert bounds["accuracy"] == pytest.approx(wilson_interval(1.0, 100))
    assert bounds["recall"] == pytest.approx(wilson_interval(1.0, 50))
    assert bounds["roc_auc"] is None
    assert bounds["f1"] is None


def test_the_naive_baseline():
    observed = np.array([0] * 80 + [1] * 20)
    bounds: Any = intervals(BINARY, observed, np.tile([0.8, 0.2], (100, 1)))
    assert bounds["roc_auc"] == (0.5, 0.5)
    assert bounds["precision"] is None  # nothing is called positive
    assert bounds["f1"] == (0.0, 0.0)
    assert bounds["accuracy"][0] < 0.8 < bounds["accuracy"][1]


def test_too_few_rows_have_no_interval():
    assert intervals(NUMBER, [1.0], np.array([2.0]))["rmse"] is None
    assert intervals(NUMBER, [], np.array([]))["rmse"] is None
    assert intervals(NUMBER, [1.0, 2.0], np.array([2.0, 2.0]), groups=["a", "a"])["rmse"] is None
    assert intervals(NUMBER, [1.0, 2.0], np.array([2.0, np.nan]))["rmse"] is None
    assert intervals(NUMBER, [1.0, 2.0], np.array([2.0, 5.0]), names=["mae"])["mae"] == (1.0, 3.0)


def test_paired_difference_sees_what_separate_intervals_do_not():
    random = np.random.default_rng(0)
    hard = random.exponential(1.0, 400)  # rows differ far more than candidates do
    first, second = hard + random.normal(0, 0.05, 400), hard + 0.03 + random.normal(0, 0.05, 400)
    found = paired_difference(first, second)
    assert found is not None
    assert found.mean == pytest.approx(-0.03, abs=0.01)
    assert found.interval[1] < 0
    assert found.p_value < 0.01
    same = paired_difference(first, first.copy())
    assert same is not None
    assert (same.mean, same.interval, same.p_value) == (0.0, (0.0, 0.0), 1.0)
    assert paired_difference(first[:1], second[:1]) is None


def test_paired_difference_false_alarms_are_rare():
    alarms = 0
    for trial in range(300):
        random = np.random.default_rng(trial)
        found = paired_difference(
            random.normal(size=60), random.normal(size=60), num_resamples=200, seed=trial
        )
        assert found is not None
        alarms += found.p_value < 0.05
    assert 2 <= alarms <= 27  # 15 expected; 3 standard errors


def test_paired_difference_ignores_rows_without_weight():
    first, second = np.array([1.0, 2.0, 3.0, 99.0]), np.array([0.0, 1.5, 2.0, 0.0])
    with_zero = paired_difference(first, second, weight=np.array([1.0, 1.0, 1.0, 0.0]))
    assert with_zero == paired_difference(first[:3], second[:3])


def test_all_metrics_of_sixteen_thousand_rows_within_a_second():
    observed, probabilities = draw_binary(np.random.default_rng(0), 16_000)
    start = time.process_time()
    intervals(BINARY, observed, probabilities, num_resamples=300)
    assert time.process_time() - start < 2.0  # 0.4 s on the machine that it was written on
