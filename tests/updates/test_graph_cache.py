"""Which steps share a graph: those that no graph could tell apart, and no others."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from danlu.core.tasks import Task
from danlu.objectives.classification import CrossEntropy
from danlu.updates.graph_cache import Unlike, cached, likeness
from danlu.updates.step_graph import Graph


class Scaled(nn.Module):
    def __init__(self, scale: Any) -> None:
        super().__init__()
        self.scale, self.layer = scale, nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) * self.scale


def test_models_that_are_built_alike_are_alike_whatever_their_weights() -> None:
    assert likeness(Scaled(2.0)) == likeness(Scaled(2.0))
    assert likeness(nn.Sequential(nn.Linear(3, 4), nn.ReLU())) == likeness(
        nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Scaled(2.0), Scaled(3.0)),
        (Scaled(1), Scaled(True)),
        (nn.Linear(3, 4), nn.Linear(4, 3)),
        (nn.Dropout(0.1), nn.Dropout(0.2)),
        (nn.Linear(3, 4), nn.Linear(3, 4).double()),
        (nn.Linear(3, 4), nn.Linear(3, 4).requires_grad_(False)),
        (nn.Linear(3, 4), nn.Linear(3, 4).eval()),
        (nn.Sequential(nn.ReLU()), nn.Sequential(nn.Tanh())),
        (CrossEntropy(Task("binary", (0, 1))), CrossEntropy(Task("multiclass", (0, 1, 2)))),
    ],
)
def test_what_a_graph_can_tell_apart_is_not_alike(one: Any, other: Any) -> None:
    assert likeness(one) != likeness(other)


@pytest.mark.parametrize("hidden", [torch.ones(2), object(), lambda x, k=2: k * x])
def test_what_may_differ_unseen_is_like_nothing(hidden: Any) -> None:
    with pytest.raises(Unlike):
        likeness(Scaled(hidden))


def test_a_graph_is_compiled_once_unless_it_holds_values() -> None:
    made: list[Graph] = []

    def compile_(constants: tuple[torch.Tensor, ...] = ()) -> Graph:
        made.append(Graph(lambda tensors: (), ("loss",), (), constants))
        return made[-1]

    key = ("test", object())
    assert cached(key, "small", compile_) is cached(key, "small", compile_)
    assert cached(key, "large", compile_) is not made[0] and len(made) == 2
    teacher = ("teacher", object())
    for _ in range(2):
        cached(teacher, "small", lambda: compile_((torch.ones(1),)))
    cached(None, "small", compile_)
    assert len(made) == 5
