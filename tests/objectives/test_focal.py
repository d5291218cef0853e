"""Focal loss against the formula of the paper, cross-entropy, and numbers beyond which powers break."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from danlu.core.errors import DataError, RecipeError
from danlu.core.seeds import generator
from danlu.core.tasks import Task
from danlu.objectives.classification import CrossEntropy
from danlu.objectives.focal import Focal, FocalSettings

TWO = Task("binary", ("no", "yes"))
FIRST_IS_POSITIVE = Task("binary", ("no", "yes"), positive="no")
THREE = Task("multiclass", ("a", "b", "c"))
TASKS = pytest.mark.parametrize("task", [TWO, THREE], ids=["two", "three"])


def batch_of(task, num_rows=40):
    rng = generator(0, "focal", task.kind)
    x, y = 2 * rng.normal(size=(num_rows, task.num_scores)), rng.integers(0, len(task.labels), num_rows)
    return {
        "x": torch.as_tensor(x),
        "y": torch.as_tensor(y),
        "weight": torch.as_tensor(rng.uniform(0, 2, num_rows)),
    }


def model(x):
    return x[:, 0] if x.shape[1] == 1 else x


@TASKS
@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
def test_it_is_the_formula_of_the_paper(task, gamma):
    batch = batch_of(task)
    p = CrossEntropy(task).predict(model, batch)["probabilities"]
    p = p[np.arange(len(p)), batch["y"].numpy()]
    expected = (batch["weight"].numpy() * -((1 - p) ** gamma) * np.log(p)).sum()
    objective = Focal(task, FocalSettings(gamma=gamma))
    assert objective.sums(model, batch)["focal"].item() == pytest.approx(expected, rel=1e-10)
    assert objective.counts(batch)["focal"] == pytest.approx(batch["weight"].sum().item())


@TASKS
def test_without_gamma_it_is_cross_entropy(task):
    batch = batch_of(task)
    found = Focal(task, FocalSettings(gamma=0.0)).sums(model, batch)["focal"].item()
    assert found == pytest.approx(CrossEntropy(task).sums(model, batch)["cross_entropy"].item(), rel=1e-12)


@pytest.mark.parametrize("task", [TWO, FIRST_IS_POSITIVE], ids=["second", "first"])
def test_alpha_weighs_the_positive_class_whichever_it_is(task):
    batch = batch_of(TWO)
    is_positive = batch["y"] == task.positive_code
    plain = Focal(task)
    parts = [
        plain.sums(model, {k: v[chosen] for k, v in batch.items()})["focal"].item()
        for chosen in (is_positive, ~is_positive)
    ]
    found = Focal(task, FocalSettings(alpha=0.1)).sums(model, batch)["focal"].item()
    assert found == pytest.approx(0.1 * parts[0] + 0.9 * parts[1], rel=1e-12)


def test_easy_rows_count_less_than_hard_ones():
    """The paper's example: with gamma 2, a row of p = 0.9 counts 100 times less than in cross-entropy."""
    batch = {"x": torch.tensor([[np.log(9.0)]]), "y": torch.tensor([1])}
    plain, focal = (o.sums(model, batch) for o in (CrossEntropy(TWO), Focal(TWO)))
    assert plain["cross_entropy"].item() / focal["focal"].item() == pytest.approx(100)


@TASKS
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_rows_that_are_far_off_have_finite_losses_and_gradients(task, gamma):
    x = torch.tensor([[300.0, -300.0, 0.0], [-300.0, 300.0, 0.0]], dtype=torch.float64)[:, : task.num_scores]
    x.requires_grad_()
    for code in (0, 1):
        batch = {"x": x, "y": torch.tensor([code, code])}
        total = Focal(task, FocalSettings(gamma=gamma)).sums(model, batch)["focal"]
        assert torch.isfinite(total) and torch.isfinite(torch.autograd.grad(total, x)[0]).all()


def test_settings_and_targets_that_mean_nothing_are_refused():
    with pytest.raises(RecipeError, match=r"focal\.gamma must not be negative, got -1\.0\."):
        FocalSettings(gamma=-1.0)
    with pytest.raises(RecipeError, match=r"focal\.alpha must lie between 0 and 1, got 1\.0"):
        FocalSettings(alpha=1.0)
    with pytest.raises(
        RecipeError, match=r"focal\.alpha is .* one of two classes, and there are 3\. Leave it out"
    ):
        Focal(THREE, FocalSettings(alpha=0.25))
    for y in (torch.full((40, 3), 1 / 3), torch.full((40,), 0.5)):
        with pytest.raises(
            DataError, match=r"objective 'focal' takes class codes, got probabilities .* 'cross_entropy'"
        ):
            Focal(THREE).sums(model, batch_of(THREE) | {"y": y})
