"""Coverage of prediction intervals in simulations, the quantile by hand, too few rows, tampered states."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy.stats import binom

from danlu.core.errors import BundleError, UserError
from danlu.evaluate.conformal import PredictionInterval, coverage, fewest_rows, fit_interval
from danlu.evaluate.proportion import wilson_interval


def draw(random, num_rows):
    """Skewed errors whose size depends on the row."""
    scale = 0.5 + random.random(num_rows) * 3
    return random.normal(10, 3, num_rows), scale, (random.exponential(1.0, num_rows) - 0.5) * scale


@pytest.mark.parametrize("level", [0.8, 0.9])
@pytest.mark.parametrize("kind", ["absolute", "scaled", "asymmetric"])
def test_coverage_is_what_was_asked(level, kind):
    # One new row for each fit: the promise is about the mean over fits, not about one lucky calibration set.
    hits, trials = 0, 1500
    for trial in range(trials):
        random = np.random.default_rng(trial)
        predicted, scale, error = draw(random, 61)
        observed = predicted + error
        known = scale if kind == "scaled" else None
        interval = fit_interval(
            observed[:60],
            predicted[:60],
            level=level,
            scale=None if known is None else known[:60],
            asymmetric=kind == "asymmetric",
        )
        lower, upper = interval.apply(predicted[60:], None if known is None else known[60:])
        hits += int(lower[0] <= observed[60] <= upper[0])
    expected = level + 2 / 61  # at least the level, at most 1 / (n + 1) more on each side
    assert binom.ppf(0.001, trials, level) <= hits <= binom.ppf(0.999, trials, expected)


def test_finite_sample_quantile_by_hand():
    errors = np.arange(1.0, 20.0)  # 19 errors: ceil(20 * 0.9) = the 18th
    interval = fit_interval(errors, np.zeros(19), level=0.9)
    assert (interval.below, interval.above, interval.num_rows) == (18.0, 18.0, 19)
    lower, upper = interval.apply(np.array([100.0]))
    assert (lower[0], upper[0]) == (82.0, 118.0)
    assert fit_interval(errors, np.zeros(19), level=0.95).above == 19.0


def test_asymmetric_reaches_where_the_errors_are():
    errors = np.concatenate([np.zeros(50), np.arange(1.0, 51.0)])
    interval = fit_interval(errors, np.zeros(100), level=0.8, asymmetric=True)
    assert interval.below == 0.0
    assert interval.above == errors[math.ceil(101 * 0.9) - 1]


def test_too_few_rows_give_an_infinite_interval_and_say_so():
    assert fewest_rows(0.9) == 9
    assert fewest_rows(0.95) == 19
    assert fewest_rows(0.9, asymmetric=True) == 19
    for level, asymmetric in ((0.9, False), (0.95, False), (0.9, True), (0.5, False), (0.99, True)):
        enough = fewest_rows(level, asymmetric=asymmetric)
        values = np.arange(float(enough))
        assert fit_interval(values, values * 0, level=level, asymmetric=asymmetric).is_finite
        short = fit_interval(values[1:], values[1:] * 0, level=level, asymmetric=asymmetric)
        assert not short.is_finite
        assert f"at least {enough} rows" in short.sentence
        assert f"there were {enough - 1}" in short.sentence
    lower, upper = fit_interval([], np.array([])).apply(np.array([1.0]))
    assert (lower[0], upper[0]) == (-math.inf, math.inf)


def test_coverage_of_rows():
    lower, upper = np.array([0.0, 0.0, 0.0, 0.0]), np.array([1.0, 1.0, 1.0, 3.0])
    found = coverage([0.5, 1.0, 2.0, 0.0], lower, upper, asked=0.9)
    assert found == {
        "asked": 0.9,
        "covered": 0.75,
        "covered_interval": wilson_interval(0.75, 4),
        "mean_width": 1.5,
        "num_rows": 4,
    }
    assert coverage([1.0], np.array([-math.inf]), np.array([math.inf]), asked=0.9)["mean_width"] is None
    assert coverage([], np.array([]), np.array([]), asked=0.9)["covered"] is None


def test_wrong_input_is_refused():
    with pytest.raises(UserError, match="between 0 and 1, got 90"):
        fit_interval([1.0], np.array([1.0]), level=90)
    with pytest.raises(ValueError, match="finite observed"):
        fit_interval([np.nan], np.array([1.0]))
    with pytest.raises(ValueError, match="above 0 for each row"):
        fit_interval([1.0], np.array([1.0]), scale=np.array([0.0]))
    with pytest.raises(ValueError, match="fitted without a scale"):
        fit_interval([1.0], np.array([1.0])).apply(np.array([1.0]), np.array([1.0]))


def test_states_come_back_through_json():
    for interval in (fit_interval(np.arange(30.0), np.zeros(30)), fit_interval([1.0], np.array([0.0]))):
        text = json.dumps(interval.state(), allow_nan=False)
        assert PredictionInterval.from_state(json.loads(text)) == interval


GOOD = {"level": 0.9, "below": 1.0, "above": 2.0, "num_rows": 30, "is_scaled": False, "is_asymmetric": False}


@pytest.mark.parametrize(
    "change",
    [
        {"level": 1.5}, {"level": "0.9"}, {"below": math.nan}, {"above": "wide"}, {"above": True},
        {"num_rows": -1}, {"num_rows": 2.5}, {"is_scaled": 1}, {"extra": 0},
    ],
)  # fmt: skip
def test_tampered_states_are_refused(change):
    assert PredictionInterval.from_state(GOOD).above == 2.0
    with pytest.raises(BundleError):
        PredictionInterval.from_state(GOOD | change)
