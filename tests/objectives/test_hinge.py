"""Hinge loss of two and of several classes against scikit-learn and hand calculations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import hinge_loss

from danlu.core.errors import DataError
from danlu.core.seeds import generator
from danlu.core.tasks import Task
from danlu.objectives.hinge import Hinge

TWO = Task("binary", ("no", "yes"))
THREE = Task("multiclass", ("a", "b", "c"))


def model(x):
    return x[:, 0] if x.shape[1] == 1 else x


def loss_of(task, x, y):
    return Hinge(task).sums(model, {"x": torch.tensor(x), "y": torch.tensor(y)})["hinge"].item()


def test_margins_by_hand():
    assert loss_of(TWO, [[2.0]], [1]) == 0 == loss_of(TWO, [[-1.0]], [0])
    assert loss_of(TWO, [[0.25]], [1]) == 0.75
    assert loss_of(TWO, [[2.0]], [0]) == 3
    assert loss_of(THREE, [[3.0, 1.5, -9.0]], [0]) == 0
    assert loss_of(THREE, [[3.0, 2.5, -9.0]], [0]) == 0.5
    assert loss_of(THREE, [[3.0, 2.5, -9.0]], [2]) == 13


@pytest.mark.parametrize("task", [TWO, THREE], ids=["two", "three"])
def test_the_mean_is_that_of_scikit_learn(task):
    rng = generator(0, "hinge", task.kind)
    x, y = rng.normal(size=(60, task.num_scores)), rng.integers(0, len(task.labels), 60)
    weight = rng.uniform(0, 2, 60)
    batch = {"x": torch.as_tensor(x), "y": torch.as_tensor(y), "weight": torch.as_tensor(weight)}
    expected = hinge_loss(y, model(x), sample_weight=weight, labels=range(len(task.labels)))
    total, count = Hinge(task).sums(model, batch)["hinge"], Hinge(task).counts(batch)["hinge"]
    assert total.item() / count == pytest.approx(expected, rel=1e-12)


def test_two_columns_of_margins_are_two_classes_too():
    x = [[0.2, 0.9], [3.0, 1.0]]
    assert loss_of(TWO, x, [1, 0]) == pytest.approx(0.3)


def test_answers_decide_as_the_margins_do():
    x = generator(0, "answers").normal(size=(50, 3))
    found = Hinge(THREE).predict(model, {"x": x})["probabilities"]
    np.testing.assert_array_equal(found.argmax(axis=1), x.argmax(axis=1))
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    single = Hinge(TWO).predict(model, {"x": x[:, :1]})["probabilities"]
    np.testing.assert_array_equal(single[:, 1] > 0.5, x[:, 0] > 0)


def test_probabilities_as_targets_are_refused():
    with pytest.raises(
        DataError, match=r"objective 'hinge' takes class codes, got probabilities of shape \(1, 3\)"
    ):
        loss_of(THREE, [[1.0, 2.0, 3.0]], [[0.2, 0.3, 0.5]])
