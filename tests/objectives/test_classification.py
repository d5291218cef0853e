"""Cross-entropy of two and of more classes, against hand calculations, scikit-learn and torch."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from danlu.core.seeds import generator
from danlu.core.tasks import Task
from danlu.objectives.classification import CrossEntropy

TWO = Task("binary", ("no", "yes"))
THREE = Task("multiclass", ("a", "b", "c"))


def logits_of(task):
    return (lambda x: x[:, 0]) if task is TWO else (lambda x: x)


def test_a_coin_and_a_die_by_hand():
    coin = CrossEntropy(TWO).sums(logits_of(TWO), {"x": np.zeros((3, 1)), "y": np.array([0, 1, 1])})
    assert coin["cross_entropy"] == pytest.approx(3 * math.log(2))
    sure = CrossEntropy(TWO).sums(logits_of(TWO), {"x": np.array([[math.log(9)]]), "y": np.array([1])})
    assert sure["cross_entropy"] == pytest.approx(-math.log(0.9))
    die = CrossEntropy(THREE).sums(logits_of(THREE), {"x": np.zeros((1, 3)), "y": np.array([2])})
    assert die["cross_entropy"] == pytest.approx(math.log(3))


@pytest.mark.parametrize("task", [TWO, THREE], ids=["two", "three"])
def test_loss_and_prediction_agree(task):
    """The weighted mean loss is scikit-learn's log loss of the predicted probabilities."""
    rng = generator(0, "cross entropy", task.kind)
    x, y = 3 * rng.normal(size=(60, task.num_scores)), rng.integers(0, len(task.labels), 60)
    weight = rng.uniform(0, 3, 60)
    objective = CrossEntropy(task)
    probabilities = objective.predict(logits_of(task), {"x": x})["probabilities"]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    expected = log_loss(y, probabilities, sample_weight=weight, labels=range(len(task.labels)))
    for kind in (np.asarray, torch.as_tensor):
        batch = {"x": kind(x), "y": kind(y), "weight": kind(weight)}
        (total,) = objective.sums(logits_of(task), batch).values()
        (count,) = objective.counts(batch).values()
        assert float(total) / count == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("task", [TWO, THREE], ids=["two", "three"])
def test_extreme_logits_stay_finite(task):
    x = np.array([[1000.0, -1000.0, 0.0], [-1000.0, 1000.0, 0.0]])[:, : task.num_scores]
    batch = {"x": x, "y": np.array([0, 1])}
    (total,) = CrossEntropy(task).sums(logits_of(task), batch).values()
    assert total == pytest.approx(2000 if task is TWO else 0)
    assert np.isfinite(CrossEntropy(task).predict(logits_of(task), batch)["probabilities"]).all()


def test_rows_count_once_without_weights():
    assert CrossEntropy(TWO).counts({"y": np.zeros(7)}) == {"cross_entropy": 7.0}
    assert CrossEntropy(TWO).state() == {}
