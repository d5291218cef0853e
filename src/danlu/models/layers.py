"""The layers that initialisations fill and normalisations go around: linear ones and convolutions."""

from __future__ import annotations

from typing import TypeAlias

from torch import nn

from danlu.core.errors import RecipeError

Layer: TypeAlias = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
"""Its weight is (outputs, inputs, ...)."""


def units(layer: nn.Module) -> tuple[int, int]:
    """Units of a layer and axes of places behind them: (outputs, 0) of a linear layer, (channels, 2) of a Conv2d."""
    if isinstance(layer, nn.Linear):
        return layer.out_features, 0
    for num_axes, cls in enumerate((nn.Conv1d, nn.Conv2d, nn.Conv3d), start=1):
        if isinstance(layer, cls):
            return layer.out_channels, num_axes
    raise RecipeError(
        f"A normalisation goes around a linear layer or a convolution, got {type(layer).__name__}."
    )
