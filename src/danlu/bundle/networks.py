"""The shapes of a network's weights, found before memory is taken for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


def weight_shapes(build: Callable[[], torch.nn.Module]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of each weight of the network that `build` makes; no memory is taken for it."""
    with torch.device("meta"), _WithoutDrawing():
        network = build()
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


class _WithoutDrawing(TorchFunctionMode):
    """Leaves first weights undrawn: to draw them without memory, torch would import 800 modules."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") == "normal_":
            return args[0]
        return func(*args, **(kwargs or {}))
