"""Which correction is chosen and when none is, and the bins of a reliability diagram."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from danlu.core.errors import UserError
from danlu.core.tasks import Task
from danlu.evaluate.calibration import fit_calibrator, reliability
from danlu.evaluate.metrics import score
from danlu.evaluate.proportion import wilson_interval

BINARY = Task("binary", ("no", "yes"))
THREE = Task("multiclass", ("a", "b", "c"))


def softmax(logits):
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def draw(seed, num_rows, num_classes, temperature=1.0):
    """Codes drawn from softmax(logits); the model says softmax(logits / temperature)."""
    random = np.random.default_rng(seed)
    logits = 1.5 * random.normal(size=(num_rows, num_classes))
    codes = (softmax(logits).cumsum(axis=1) < random.random((num_rows, 1))).sum(axis=1)
    return softmax(logits / temperature), codes


@pytest.mark.parametrize("num_classes", [2, 3])
def test_temperature_is_found_and_helps_on_new_rows(num_classes):
    # A model that is twice too sure: its logits must be halved, which is the temperature 2.
    probabilities, codes = draw(0, 3000, num_classes, temperature=0.5)
    calibrator = fit_calibrator(probabilities, codes)
    assert calibrator.method == "temperature"
    assert calibrator.parameters["temperature"][0] == pytest.approx(2.0, abs=0.2)
    assert "temperature" in calibrator.sentence
    new, new_codes = draw(1, 3000, num_classes, temperature=0.5)
    task = BINARY if num_classes == 2 else THREE
    before: Any = score(task, new_codes, new)
    after: Any = score(task, new_codes, calibrator.apply(new))
    assert after["log_loss"] < before["log_loss"] - 0.05
    assert after["expected_calibration_error"] < before["expected_calibration_error"] / 2
    assert after["accuracy"] == before["accuracy"]


def test_right_probabilities_are_rarely_touched():
    chosen = [fit_calibrator(*draw(seed, 400, 2), seed=seed).method for seed in range(40)]
    assert chosen.count("none") >= 36


def test_isotonic_where_no_temperature_mends_it():
    random = np.random.default_rng(0)
    truth = random.random(4000)
    codes = (random.random(4000) < truth).astype(int)
    positive = 0.4 + 0.2 * truth**3  # a rising curve that no power of the odds straightens
    calibrator = fit_calibrator(np.column_stack([1 - positive, positive]), codes)
    assert calibrator.method == "isotonic"
    assert calibrator.losses["isotonic"] < calibrator.losses["temperature"] - 0.01
    assert "isotonic" in calibrator.sentence


def test_few_rows_are_left_alone():
    probabilities, codes = draw(0, 49, 2, temperature=0.3)
    calibrator = fit_calibrator(probabilities, codes)
    assert calibrator.method == "none"
    assert "49 rows" in calibrator.sentence
    assert (calibrator.apply(probabilities) == probabilities).all()
    few_of_one = np.array([1] * 5 + [0] * 195)
    assert fit_calibrator(draw(0, 200, 2)[0], few_of_one, method="isotonic").method == "none"


def test_named_methods():
    probabilities, codes = draw(0, 500, 2)
    for method in ("temperature", "platt", "isotonic"):
        assert fit_calibrator(probabilities, codes, method=method).method == method
    assert fit_calibrator(probabilities, codes, method="off").method == "none"
    with pytest.raises(UserError, match=r"no calibration 'plat'\. Did you mean 'platt'"):
        fit_calibrator(probabilities, codes, method="plat")


def test_same_seed_same_choice_and_weights_count():
    probabilities, codes = draw(3, 600, 2, temperature=0.5)
    first, second = fit_calibrator(probabilities, codes, seed=4), fit_calibrator(probabilities, codes, seed=4)
    assert first.losses == second.losses
    weight = np.where(np.arange(600) < 300, 1.0, 0.0)
    weighted = fit_calibrator(probabilities, codes, weight=weight, method="temperature")
    alone = fit_calibrator(probabilities[:300], codes[:300], method="temperature")
    assert weighted.parameters["temperature"][0] == pytest.approx(
        alone.parameters["temperature"][0], rel=1e-6
    )


def test_reliability_by_hand():
    positive = np.array([0.1, 0.1, 0.1, 0.1, 0.9, 0.9, 0.9, 0.9])
    codes = np.array([0, 0, 0, 1, 1, 1, 1, 0])
    (curve,) = reliability(BINARY, codes, np.column_stack([1 - positive, positive]), num_bins=2)
    assert curve["label"] == "yes"
    assert curve["predicted"] == pytest.approx([0.1, 0.9])
    assert curve["observed"] == pytest.approx([0.25, 0.75])
    assert curve["count"] == [4, 4]
    assert (curve["lower"][0], curve["upper"][0]) == pytest.approx(wilson_interval(0.25, 4))


def test_reliability_of_several_classes_and_equal_probabilities():
    probabilities, codes = draw(0, 1000, 3)
    curves = reliability(THREE, codes, probabilities)
    assert [curve["label"] for curve in curves] == ["a", "b", "c"]
    for curve in curves:
        assert sum(curve["count"]) == 1000
        assert 98 <= min(curve["count"]) <= max(curve["count"]) <= 102
        inside = [
            lo <= p <= hi
            for lo, p, hi in zip(curve["lower"], curve["predicted"], curve["upper"], strict=True)
        ]
        assert sum(inside) >= 8
    (constant,) = reliability(BINARY, [0, 1, 1, 1], np.full((4, 2), 0.5))
    assert constant["count"] == [4]
    assert reliability(BINARY, [], np.empty((0, 2))) == []


def test_few_errors_are_too_few_to_correct_by():
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, 2000)
    right = np.where(rng.random(2000) < 0.01, 1 - codes, codes)  # about 20 wrong decisions
    probabilities = np.full((2000, 2), 0.4)
    probabilities[np.arange(2000), right] = 0.6  # far too shy, and yet
    assert fit_calibrator(probabilities, codes).method == "none"
    assert "a correction that can be trusted takes 50" in fit_calibrator(probabilities, codes).sentence
    assert fit_calibrator(probabilities, codes, method="temperature").method == "temperature"
