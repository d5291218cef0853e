"""Folds, and scores of classes that the training rows do not show."""

from __future__ import annotations

import numpy as np
import pytest

from danlu.core.scores import class_probabilities
from danlu.core.tasks import Task
from danlu.models.classes import SMALLEST, class_weights, spread, stratified_folds

BINARY, FOUR = Task("binary", ("a", "b")), Task("multiclass", ("a", "b", "c", "d"))


def test_weights_of_classes() -> None:
    assert class_weights(np.array([0, 2, 2]), np.array([1.0, 2.0, 3.0]), 4).tolist() == [1.0, 0.0, 5.0, 0.0]


def test_scores_of_all_classes_stay_as_they_are() -> None:
    z = np.array([0.5, -2.0])
    assert spread(z, np.array([0, 1]), BINARY) is z
    logits = np.arange(8.0).reshape(2, 4)
    assert spread(logits, np.arange(4), FOUR) is logits


def test_unseen_classes_are_next_to_impossible() -> None:
    logits = np.array([[1000.0, 999.0], [-5000.0, -5001.0]])
    p = class_probabilities(spread(logits, np.array([1, 3]), FOUR))
    assert p[:, [1, 3]] == pytest.approx(np.tile([0.731059, 0.268941], (2, 1)), abs=1e-6)
    assert p[:, [0, 2]] == pytest.approx(np.full((2, 2), SMALLEST), rel=1e-6)
    one_logit = class_probabilities(spread(np.array([0.0]), np.array([1, 3]), FOUR))
    assert one_logit[0] == pytest.approx([SMALLEST, 0.5, SMALLEST, 0.5], rel=1e-6)


@pytest.mark.parametrize("only", [0, 1])
def test_a_single_class(only: int) -> None:
    p = class_probabilities(spread(np.zeros((3, 1)), np.array([only]), BINARY))
    assert p[:, only] == pytest.approx(np.ones(3))
    assert p[:, 1 - only] == pytest.approx(np.full(3, SMALLEST), rel=1e-6)


def test_two_columns_for_two_classes_are_one_logit() -> None:
    assert spread(np.array([[1.0, 4.0]]), np.array([0, 1]), BINARY) == pytest.approx([3.0])


def test_folds_hold_even_shares_of_each_class() -> None:
    y = np.repeat([0, 1, 2], [40, 7, 3])
    folds = stratified_folds(y, 4, np.random.default_rng(0))
    table = np.array([[np.sum((folds == fold) & (y == code)) for code in range(3)] for fold in range(4)])
    assert table.sum() == 50
    assert (table.max(axis=0) - table.min(axis=0)).max() <= 1
    assert not np.array_equal(folds, stratified_folds(y, 4, np.random.default_rng(1)))
