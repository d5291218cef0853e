"""The naive baseline by hand."""

from __future__ import annotations

import numpy as np
import pytest

from danlu.core.errors import BundleError
from danlu.core.ideas import Context
from danlu.core.parts import Settings
from danlu.core.scores import class_probabilities
from danlu.core.tasks import Task
from danlu.models.baseline import Baseline


def fitted(task: Task, y: np.ndarray, weight: np.ndarray | None = None) -> Baseline:
    model = Baseline(Settings(), task, 2)
    assert model.fit_round({"x": np.zeros((len(y), 2)), "y": y, "weight": weight}, task, Context()).done
    return model


def test_mean_of_a_regression() -> None:
    y = np.array([1.0, 2.0, 6.0])
    assert fitted(Task("regression"), y)(np.ones((4, 2))).tolist() == [3.0] * 4
    assert fitted(Task("regression"), y, np.array([1.0, 1.0, 0.0]))(np.ones((1, 2))).tolist() == [1.5]


@pytest.mark.parametrize("labels", [("no", "yes"), ("a", "b", "c")])
def test_shares_of_classes(labels: tuple[str, ...]) -> None:
    task = Task("binary" if len(labels) == 2 else "multiclass", labels)
    model = fitted(task, np.array([0, 0, 0, 1]))
    shares = class_probabilities(model(np.ones((5, 2))))
    assert shares == pytest.approx(np.tile([0.75, 0.25, 0.0][: len(labels)], (5, 1)), abs=1e-11)
    weighted = fitted(task, np.array([0, 0, 0, 1]), np.array([1.0, 0.0, 0.0, 3.0]))
    assert class_probabilities(weighted(np.ones((1, 2))))[0, 1] == pytest.approx(0.75)


def test_positive_log_shares_are_refused() -> None:
    model = Baseline(Settings(), Task("binary", (0, 1)), 2)
    with pytest.raises(BundleError, match=r"values runs from 0.0 to 3.0, allowed is any to 0.0"):
        model.load({"values": np.array([0.0, 3.0])})
