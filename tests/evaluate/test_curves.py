"""Curves against scikit-learn, thinned ones against whole ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
import sklearn.metrics as sk

from danlu.core.tasks import Task
from danlu.evaluate.curves import confusion, pr_curves, residual_sample, roc_curves

BINARY = Task("binary", ("no", "yes"))
THREE = Task("multiclass", ("a", "b", "c"))


def draw(seed, num_rows, num_classes=2):
    random = np.random.default_rng(seed)
    codes = random.integers(0, num_classes, num_rows)
    raised = np.exp(random.normal(size=(num_rows, num_classes)) + 1.2 * np.eye(num_classes)[codes])
    return codes, raised / raised.sum(axis=1, keepdims=True), random.exponential(1.0, num_rows)


@pytest.mark.parametrize("is_weighted", [False, True])
def test_small_curves_equal_sklearn(is_weighted):
    codes, probabilities, weight = draw(0, 100)
    probabilities = np.round(probabilities, 1)
    weight = weight if is_weighted else None
    (roc,) = roc_curves(BINARY, codes, probabilities, weight=weight)
    fpr, tpr, _ = sk.roc_curve(codes, probabilities[:, 1], sample_weight=weight, drop_intermediate=False)
    assert roc["fpr"] == pytest.approx(fpr, abs=1e-12)
    assert roc["tpr"] == pytest.approx(tpr, abs=1e-12)
    assert roc["auc"] == pytest.approx(sk.roc_auc_score(codes, probabilities[:, 1], sample_weight=weight))
    (pr,) = pr_curves(BINARY, codes, probabilities, weight=weight)
    precision, recall, _ = sk.precision_recall_curve(codes, probabilities[:, 1], sample_weight=weight)
    upto = len(pr["recall"])
    assert pr["recall"] == pytest.approx(recall[::-1][:upto], abs=1e-12)
    assert pr["precision"] == pytest.approx(precision[::-1][:upto], abs=1e-12)
    assert pr["recall"][-1] == 1.0
    average = sk.average_precision_score(codes, probabilities[:, 1], sample_weight=weight)
    assert pr["average_precision"] == pytest.approx(average)
    assert pr["share"] == pytest.approx(np.average(codes, weights=weight))


def test_long_curves_are_thinned_without_a_visible_change():
    codes, probabilities, _ = draw(0, 20_000)
    (roc,) = roc_curves(BINARY, codes, probabilities)
    assert 100 < len(roc["fpr"]) <= 200
    assert (roc["fpr"][0], roc["tpr"][0], roc["fpr"][-1], roc["tpr"][-1]) == (0, 0, 1, 1)
    assert sk.auc(roc["fpr"], roc["tpr"]) == pytest.approx(roc["auc"], abs=5e-4)
    (pr,) = pr_curves(BINARY, codes, probabilities)
    assert len(pr["recall"]) <= 200
    assert np.trapezoid(pr["precision"], pr["recall"]) == pytest.approx(pr["average_precision"], abs=2e-3)
    assert np.diff(pr["recall"]).max() < 0.05


def test_several_classes_have_a_curve_each():
    codes, probabilities, _ = draw(0, 200, 3)
    codes[codes == 2] = 0
    assert [curve["label"] for curve in roc_curves(THREE, codes, probabilities)] == ["a", "b"]
    curves = pr_curves(THREE, codes, probabilities)
    assert [curve["label"] for curve in curves] == ["a", "b"]
    assert curves[1]["average_precision"] == pytest.approx(
        sk.average_precision_score(codes == 1, probabilities[:, 1])
    )


def test_the_positive_class_may_be_the_first():
    codes, probabilities, _ = draw(0, 200)
    (curve,) = roc_curves(Task("binary", ("no", "yes"), positive="no"), codes, probabilities)
    assert curve["label"] == "no"
    assert curve["auc"] == pytest.approx(sk.roc_auc_score(codes == 0, probabilities[:, 0]))


def test_one_class_or_no_numbers_have_no_curve():
    assert roc_curves(BINARY, [1, 1], np.full((2, 2), 0.5)) == []
    assert pr_curves(BINARY, [0, 0], np.full((2, 2), 0.5)) == []
    assert roc_curves(BINARY, [0, 1], np.full((2, 2), np.nan)) == []


def test_confusion_equals_sklearn():
    codes, probabilities, weight = draw(0, 200, 3)
    decided = probabilities.argmax(axis=1)
    plain = confusion(THREE, codes, probabilities)
    assert plain == {"labels": ["a", "b", "c"], "matrix": sk.confusion_matrix(codes, decided).tolist()}
    weighted = confusion(THREE, codes, probabilities, weight=weight)
    expected = sk.confusion_matrix(codes, decided, sample_weight=weight)
    assert np.array(weighted["matrix"]) == pytest.approx(expected)
    codes, probabilities, _ = draw(0, 50)
    strict = confusion(BINARY, codes, probabilities, threshold=0.9)
    assert strict["matrix"] == sk.confusion_matrix(codes, probabilities[:, 1] >= 0.9).tolist()


def test_residual_sample_keeps_pairs_and_is_seeded():
    observed = np.arange(5000.0)
    sample = residual_sample(observed, observed + 0.5, max_rows=100, seed=1)
    assert len(sample["observed"]) == 100
    assert sample["num_rows"] == 5000
    assert np.subtract(sample["predicted"], sample["observed"]) == pytest.approx(0.5)
    assert sample == residual_sample(observed, observed + 0.5, max_rows=100, seed=1)
    assert sample != residual_sample(observed, observed + 0.5, max_rows=100, seed=2)
    assert json.loads(json.dumps(sample)) == sample
