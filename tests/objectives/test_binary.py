"""Binary cross-entropy of one and of several questions, against torch and cross-entropy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from danlu.core.errors import DataError
from danlu.core.seeds import generator
from danlu.core.tasks import Task
from danlu.objectives.binary import BinaryCrossEntropy
from danlu.objectives.classification import CrossEntropy

TASK = Task("binary", ("no", "yes"))
RNG = generator(0, "binary")
LOGITS, ANSWERS = torch.as_tensor(RNG.normal(size=(40, 3))), torch.as_tensor(RNG.integers(0, 2, (40, 3)))
WEIGHT = torch.as_tensor(RNG.uniform(0, 2, 40))


def mean_of(objective, model, batch):
    (total,), (count,) = objective.sums(model, batch).values(), objective.counts(batch).values()
    return total.item() / count


def test_several_questions_are_those_of_torch():
    batch = {"x": LOGITS, "y": ANSWERS}
    expected = functional.binary_cross_entropy_with_logits(LOGITS, ANSWERS.double()).item()
    assert mean_of(BinaryCrossEntropy(TASK), lambda x: x, batch) == pytest.approx(expected, rel=1e-12)
    singles = [
        mean_of(
            BinaryCrossEntropy(TASK),
            lambda x, j=j: x[:, j],
            {"x": LOGITS, "y": ANSWERS[:, j], "weight": WEIGHT},
        )
        for j in range(3)
    ]
    weighted = mean_of(BinaryCrossEntropy(TASK), lambda x: x, batch | {"weight": WEIGHT})
    assert weighted == pytest.approx(np.mean(singles), rel=1e-12)


def test_one_question_is_the_cross_entropy_of_two_classes():
    batch = {"x": LOGITS, "y": ANSWERS[:, 0], "weight": WEIGHT}
    mine, other = BinaryCrossEntropy(TASK), CrossEntropy(TASK)
    assert mean_of(mine, lambda x: x[:, 0], batch) == pytest.approx(mean_of(other, lambda x: x[:, 0], batch))
    asked = {"x": LOGITS.numpy()}
    np.testing.assert_array_equal(
        mine.predict(lambda x: x[:, 0], asked)["probabilities"],
        other.predict(lambda x: x[:, 0], asked)["probabilities"],
    )


def test_questions_do_not_exclude_each_other():
    found = BinaryCrossEntropy(TASK).predict(lambda x: x, {"x": LOGITS.numpy()})["probabilities"]
    np.testing.assert_allclose(found, torch.sigmoid(LOGITS).numpy(), rtol=1e-12)
    assert found.sum(axis=1).max() > 1.5


def test_other_shapes_are_told():
    with pytest.raises(DataError, match=r"scores of shape \(40, 3\) for targets of shape \(40,\)"):
        BinaryCrossEntropy(TASK).sums(lambda x: x, {"x": LOGITS, "y": ANSWERS[:, 0]})
