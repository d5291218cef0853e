"""Networks that apply softmax or sigmoid before a loss that does."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from danlu.core.tasks import Task
from danlu.objectives.classification import CrossEntropy
from danlu.objectives.links import double_softmax


class Nested(nn.Module):
    def __init__(self, last):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(4, 8), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(8, 3), last)


@pytest.mark.parametrize(
    ("last", "function"),
    [(nn.Softmax(1), "softmax"), (nn.Sigmoid(), "sigmoid"), (nn.LogSigmoid(), "sigmoid")],
)
def test_a_second_softmax_or_sigmoid_is_named(last, function):
    for model in (nn.Sequential(nn.Linear(4, 3), last), Nested(last), last):
        told = double_softmax(model)
        assert told is not None
        assert told.startswith(
            f"The network's last module is {type(last).__name__}, and the loss applies {function} to the output itself"
        )
        assert "Leave it out at the output, so that the network gives logits" in told


def test_a_second_logarithm_of_softmax_only_costs_time():
    told = double_softmax(nn.Sequential(nn.Linear(4, 3), nn.LogSoftmax(1)))
    assert told is not None and "LogSoftmax" in told and "twice gives the same" in told
    task = Task("multiclass", ("a", "b", "c"))
    batch = {
        "x": torch.randn(5, 3, generator=torch.Generator().manual_seed(0)),
        "y": torch.tensor([0, 1, 2, 1, 0]),
    }
    once, twice = (
        CrossEntropy(task).sums(f, batch)["cross_entropy"].item() for f in (nn.Identity(), nn.LogSoftmax(1))
    )
    assert once == pytest.approx(twice, rel=1e-6)


def test_what_is_named_is_a_fault_indeed():
    """However sure the network is, after a second softmax the right class costs at least 0.55 (three classes)."""
    task = Task("multiclass", ("a", "b", "c"))
    batch = {"x": torch.tensor([[50.0, 0.0, 0.0]]), "y": torch.tensor([0])}
    once, twice = (
        CrossEntropy(task).sums(f, batch)["cross_entropy"].item() for f in (nn.Identity(), nn.Softmax(1))
    )
    assert once == pytest.approx(0, abs=1e-6) and twice == pytest.approx(0.5514, abs=1e-4)


def test_networks_that_give_logits_pass():
    for model in (
        nn.Linear(4, 3),
        nn.Sequential(nn.Sigmoid(), nn.Linear(4, 3)),
        Nested(nn.Identity()),
        lambda x: x,
        nn.Sequential(nn.Linear(4, 3), nn.ReLU()),
    ):
        assert double_softmax(model) is None
