"""Metrics against scikit-learn and hand calculations, and what is said where a score is undefined."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.core.errors import UserError
from danlu.core.tasks import Task
from danlu.evaluate.metrics import METRICS, decide, default_metric, metric, metrics_for, row_losses, score

NUMBER = Task("regression")
BINARY = Task("binary", ("no", "yes"))
THREE = Task("multiclass", ("a", "b", "c"))
CLOSE: dict[str, Any] = {"rel": 1e-12, "abs": 1e-12}


def draw_numbers(seed, num_rows=300):
    random = np.random.default_rng(seed)
    observed = random.normal(50, 10, num_rows)
    return observed, observed + random.normal(0, 4, num_rows), random.exponential(1.0, num_rows)


def draw_classes(seed, num_classes, num_rows=300):
    """Rounded probabilities, so that there are ties; weights with zeros among them."""
    random = np.random.default_rng(seed)
    observed = random.integers(0, num_classes, num_rows)
    scores = random.normal(0, 1, (num_rows, num_classes)) + 1.5 * (
        observed[:, None] == np.arange(num_classes)
    )
    probabilities = np.round(np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True), 2)
    probabilities[:, 0] = 1 - probabilities[:, 1:].sum(axis=1)
    weight = random.exponential(1.0, num_rows) * (random.random(num_rows) > 0.1)
    return observed, np.clip(probabilities, 0, 1), weight


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("is_weighted", [False, True])
def test_regression_equals_sklearn(seed, is_weighted):
    observed, predicted, weight = draw_numbers(seed)
    weight = weight if is_weighted else None
    expected = {
        "r2": sk.r2_score(observed, predicted, sample_weight=weight),
        "rmse": sk.root_mean_squared_error(observed, predicted, sample_weight=weight),
        "mse": sk.mean_squared_error(observed, predicted, sample_weight=weight),
        "mae": sk.mean_absolute_error(observed, predicted, sample_weight=weight),
        "median_absolute_error": sk.median_absolute_error(observed, predicted, sample_weight=weight),
        "mape": sk.mean_absolute_percentage_error(observed, predicted, sample_weight=weight),
    }
    assert score(NUMBER, observed, predicted, weight=weight) == pytest.approx(expected, **CLOSE)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("is_weighted", [False, True])
def test_binary_equals_sklearn(seed, is_weighted):
    observed, probabilities, weight = draw_classes(seed, 2)
    weight = weight if is_weighted else None
    positive, decided = probabilities[:, 1], probabilities.argmax(axis=1)
    expected = {
        "accuracy": sk.accuracy_score(observed, decided, sample_weight=weight),
        "balanced_accuracy": sk.balanced_accuracy_score(observed, decided, sample_weight=weight),
        "roc_auc": sk.roc_auc_score(observed, positive, sample_weight=weight),
        "average_precision": sk.average_precision_score(observed, positive, sample_weight=weight),
        "f1": sk.f1_score(observed, decided, sample_weight=weight),
        "precision": sk.precision_score(observed, decided, sample_weight=weight),
        "recall": sk.recall_score(observed, decided, sample_weight=weight),
        "log_loss": sk.log_loss(observed, probabilities, sample_weight=weight),
        "brier_score": sk.brier_score_loss(observed, positive, sample_weight=weight),
        "matthews_corrcoef": sk.matthews_corrcoef(observed, decided, sample_weight=weight),
    }
    scores = score(BINARY, observed, probabilities, weight=weight, names=expected)
    assert scores == pytest.approx(expected, **CLOSE)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("is_weighted", [False, True])
def test_multiclass_equals_sklearn(seed, is_weighted):
    observed, probabilities, weight = draw_classes(seed, 3)
    weight = weight if is_weighted else None
    decided = probabilities.argmax(axis=1)
    expected = {
        "accuracy": sk.accuracy_score(observed, decided, sample_weight=weight),
        "balanced_accuracy": sk.balanced_accuracy_score(observed, decided, sample_weight=weight),
        "roc_auc": sk.roc_auc_score(observed, probabilities, multi_class="ovr", sample_weight=weight),
        "average_precision": sk.average_precision_score(observed, probabilities, sample_weight=weight),
        "f1": sk.f1_score(observed, decided, average="macro", sample_weight=weight),
        "precision": sk.precision_score(observed, decided, average="macro", sample_weight=weight),
        "recall": sk.recall_score(observed, decided, average="macro", sample_weight=weight),
        "log_loss": sk.log_loss(observed, probabilities, sample_weight=weight),
        "brier_score": sk.brier_score_loss(observed, probabilities, sample_weight=weight),
        "matthews_corrcoef": sk.matthews_corrcoef(observed, decided, sample_weight=weight),
    }
    scores = score(THREE, observed, probabilities, weight=weight, names=expected)
    assert scores == pytest.approx(expected, **CLOSE)


@settings(max_examples=40)
@given(st.data())
def test_few_rows_equal_sklearn_where_it_defines_a_score(data):
    num_rows = data.draw(st.integers(2, 12))
    observed = np.array(data.draw(st.lists(st.integers(0, 1), min_size=num_rows, max_size=num_rows)))
    levels = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
    positive = np.array(data.draw(st.lists(levels, min_size=num_rows, max_size=num_rows)))
    probabilities = np.column_stack([1 - positive, positive])
    scores = score(BINARY, observed, probabilities)
    decided = probabilities.argmax(axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # sklearn warns where it fills in a number for an undefined score
        assert scores["accuracy"] == pytest.approx(sk.accuracy_score(observed, decided))
        assert scores["precision"] == pytest.approx(sk.precision_score(observed, decided))
        assert scores["log_loss"] == pytest.approx(sk.log_loss(observed, probabilities, labels=[0, 1]))
        if observed.min() == observed.max():
            assert scores["roc_auc"] is None
            assert scores["matthews_corrcoef"] is None
        else:
            assert scores["roc_auc"] == pytest.approx(sk.roc_auc_score(observed, positive))
            assert scores["average_precision"] == pytest.approx(
                sk.average_precision_score(observed, positive)
            )
            assert scores["matthews_corrcoef"] == pytest.approx(sk.matthews_corrcoef(observed, decided))
            assert scores["f1"] == pytest.approx(sk.f1_score(observed, decided))
            assert scores["recall"] == pytest.approx(sk.recall_score(observed, decided))


def test_integer_weights_are_repeated_rows():
    observed, probabilities, _ = draw_classes(7, 3, num_rows=60)
    counts = np.random.default_rng(0).integers(0, 4, 60)
    repeated = np.repeat(np.arange(60), counts)
    weighted = score(THREE, observed, probabilities, weight=counts.astype(float))
    assert weighted == pytest.approx(score(THREE, observed[repeated], probabilities[repeated]), **CLOSE)
    observed, predicted, _ = draw_numbers(7, num_rows=60)
    weighted = score(NUMBER, observed, predicted, weight=counts.astype(float))
    assert weighted == pytest.approx(score(NUMBER, observed[repeated], predicted[repeated]), **CLOSE)


def test_calibration_error_by_hand():
    # Bins of 1/15: confidences 0.9 and 0.91 share (13/15, 14/15], 0.6 lies in (8/15, 9/15].
    probabilities = np.array([[0.1, 0.9], [0.09, 0.91], [0.6, 0.4]])
    expected = (abs((1 - 0.9) + (0 - 0.91)) + abs(1 - 0.6)) / 3
    assert score(BINARY, [1, 0, 0], probabilities)["expected_calibration_error"] == pytest.approx(expected)


def test_calibration_error_of_true_probabilities_is_small():
    random = np.random.default_rng(0)
    positive = random.random(50_000)
    observed = (random.random(50_000) < positive).astype(int)
    right = np.column_stack([1 - positive, positive])
    wrong = np.column_stack([1 - positive**3, positive**3])
    of_right: Any = score(BINARY, observed, right)
    of_wrong: Any = score(BINARY, observed, wrong)
    assert of_right["expected_calibration_error"] < 0.012
    assert of_wrong["expected_calibration_error"] > 0.1


def test_first_label_as_positive_class():
    observed, probabilities, weight = draw_classes(1, 2)
    swapped = score(Task("binary", ("no", "yes"), positive="no"), observed, probabilities, weight=weight)
    expected = score(BINARY, 1 - observed, probabilities[:, ::-1], weight=weight)
    # Ties of 0.5 go to the first label, whichever is the positive one.
    decided = probabilities.argmax(axis=1)
    expected |= score(BINARY, 1 - observed, np.eye(2)[1 - decided], weight=weight, names=["f1", "precision"])
    compared = ["roc_auc", "average_precision", "log_loss", "brier_score", "f1", "precision"]
    assert {n: swapped[n] for n in compared} == pytest.approx({n: expected[n] for n in compared}, **CLOSE)


def test_threshold_decides_and_probabilities_do_not_move():
    observed, probabilities, _ = draw_classes(2, 2)
    strict = score(BINARY, observed, probabilities, threshold=0.8)
    decided = (probabilities[:, 1] >= 0.8).astype(int)
    assert strict["recall"] == pytest.approx(sk.recall_score(observed, decided))
    assert strict["precision"] == pytest.approx(sk.precision_score(observed, decided))
    assert strict["log_loss"] == score(BINARY, observed, probabilities)["log_loss"]
    no_first = Task("binary", ("no", "yes"), positive="no")
    assert decide(no_first, np.array([[0.7, 0.3], [0.9, 0.1]]), 0.8).tolist() == [1, 0]
    with pytest.raises(UserError, match="two classes, and this target has 3"):
        decide(THREE, np.eye(3), 0.5)


def test_undefined_scores_are_none():
    one_class = score(BINARY, [0, 0, 0], np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2]]))
    assert one_class["roc_auc"] is None
    assert one_class["average_precision"] is None
    assert one_class["recall"] is None
    assert one_class["matthews_corrcoef"] is None
    assert one_class["precision"] == 0.0
    assert one_class["accuracy"] == pytest.approx(2 / 3)
    constant = score(NUMBER, [0.1, 0.1, 0.1], np.array([0.1, 0.2, 0.3]))
    assert constant["r2"] is None
    assert constant["mae"] == pytest.approx(0.1)
    assert score(NUMBER, [0.0, 1.0], np.array([0.5, 1.0]))["mape"] is None
    assert score(NUMBER, [0.0, 1.0], np.array([0.5, 1.1]), weight=np.array([0.0, 2.0]))[
        "mape"
    ] == pytest.approx(0.1)
    assert score(NUMBER, [3.0], np.array([2.0]))["r2"] is None
    assert set(score(NUMBER, [], np.array([])).values()) == {None}


def test_a_class_without_rows_is_left_out_of_the_mean():
    probabilities = np.array([[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.6, 0.3, 0.1], [0.2, 0.7, 0.1]])
    scores = score(THREE, [0, 1, 1, 1], probabilities)
    assert scores["roc_auc"] == pytest.approx((1.0 + 1.0) / 2)  # of classes 0 and 1 against the rest
    assert scores["balanced_accuracy"] == pytest.approx((1 + 2 / 3) / 2)


def test_predictions_that_are_not_finite_have_no_score():
    assert set(score(NUMBER, [1.0, 2.0], np.array([1.0, np.nan])).values()) == {None}
    assert set(score(BINARY, [0, 1], np.array([[np.nan, np.nan], [0.5, 0.5]])).values()) == {None}
    huge = score(NUMBER, [1.0, 2.0], np.array([1e200, 0.0]))
    assert huge["rmse"] is None
    assert huge["mae"] == pytest.approx(5e199)


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match=r"shape \(2, 2\), got \(2,\)"):
        score(BINARY, [0, 1], np.array([0.2, 0.8]))
    with pytest.raises(ValueError, match="sum to 1"):
        score(BINARY, [0, 1], np.array([[-1.0, 1.0], [0.5, 0.5]]))
    with pytest.raises(ValueError, match="between 0 and 1, got up to 2"):
        score(BINARY, [0, 2], np.array([[0.5, 0.5], [0.5, 0.5]]))
    with pytest.raises(UserError, match="at least 0 for each row"):
        score(NUMBER, [1.0, 2.0], np.array([1.0, 2.0]), weight=np.array([1.0, -1.0]))
    with pytest.raises(ValueError, match="Observed values must be finite"):
        score(NUMBER, [1.0, np.nan], np.array([1.0, 2.0]))


def test_names_and_aliases():
    assert metric("roc_auc").name == "roc_auc"
    assert metric("neg_root_mean_squared_error").name == "rmse"
    assert metric("MCC").name == "matthews_corrcoef"
    with pytest.raises(UserError, match=r"no metric 'acuracy'\. Did you mean 'accuracy'"):
        metric("acuracy")
    with pytest.raises(
        UserError, match=r"'r2' is for regression targets, and this one is binary\. Use one of: acc"
    ):
        metrics_for(BINARY, ["r2"])
    assert default_metric(BINARY).name == "log_loss"
    assert default_metric(NUMBER).name == "rmse"
    assert all(each.description for each in METRICS)


def test_better_knows_the_direction_and_undefined_scores():
    assert metric("accuracy").better(0.9, 0.8)
    assert metric("log_loss").better(0.1, 0.2)
    assert metric("log_loss").better(0.1, None)
    assert not metric("log_loss").better(None, 0.1)
    assert not metric("log_loss").better(None, None)


def test_row_losses_average_to_the_metric():
    observed, predicted, _ = draw_numbers(0)
    assert row_losses(NUMBER, observed, predicted).mean() == pytest.approx(
        score(NUMBER, observed, predicted)["mse"]
    )
    codes, probabilities, _ = draw_classes(0, 3)
    losses = row_losses(THREE, codes, probabilities)
    assert losses.mean() == pytest.approx(score(THREE, codes, probabilities)["log_loss"])


def test_scoring_imports_neither_scipy_nor_sklearn():
    code = """
import sys, numpy as np
from danlu.core.tasks import Task
from danlu.evaluate import bootstrap, calibration, compare, conformal, curves, effects, ensemble, groups
from danlu.evaluate import importance, metrics, threshold, worst
task, observed, predicted = Task("regression"), [1.0, 2.0, 3.0], np.array([1.0, 3.0, 3.0])
metrics.score(task, observed, predicted)
bootstrap.intervals(task, observed, predicted)
found = {"scipy", "sklearn", "torch", "polars", "lightgbm"} & set(sys.modules)
assert not found, found
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
