"""Tests of models/named.py: third parties' parts are found by their entry points."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass

import pytest
from torch import nn

from danlu.core.errors import RecipeError
from danlu.core.parts import Settings, part
from danlu.core.tasks import Task
from danlu.models.activations import ACTIVATIONS, activation
from danlu.models.mlp import MLP, MLPSettings
from danlu.models.named import parts_among


@dataclass(frozen=True)
class HardTanhSettings(Settings):
    limit: float = 1.0


@part("activation", "hard_tanh", summary="A test's.", settings=HardTanhSettings)
class HardTanh(nn.Hardtanh):
    def __init__(self, settings: HardTanhSettings) -> None:
        super().__init__(-settings.limit, settings.limit)


class Point:
    name, value = "hard_tanh", "elsewhere:HardTanh"

    @staticmethod
    def load() -> type:
        return HardTanh


def test_a_third_partys_activation_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecipeError, match="no activation 'hard_tanh'"):
        activation("hard_tanh")
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda *, group, name: [Point] if name == Point.name else []
    )
    found = activation({"name": "hard_tanh", "limit": 2.0})
    assert isinstance(found, HardTanh) and found.max_val == 2.0
    model = MLP(MLPSettings(activation="hard_tanh"), Task("regression"), 3, seed=0)
    assert isinstance(model.layers[1], HardTanh)


def test_parts_come_in_the_order_of_the_file_and_of_one_kind() -> None:
    found = parts_among(
        {"one": HardTanh, "other": ACTIVATIONS["relu"], "no": 3, "base": nn.ReLU}, "activation"
    )
    assert list(found) == ["hard_tanh", "relu"]
    assert parts_among({"one": HardTanh}, "model") == {}
