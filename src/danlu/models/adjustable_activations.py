"""Activations with settings of their own: leaky ReLU, ELU, GELU, softmax, maxout. activations.py has the others."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from danlu.core.errors import RecipeError
from danlu.core.parts import Settings, part


@dataclass(frozen=True)
class LeakyReLUSettings(Settings):
    """How much leaks."""

    slope: float = 0.1
    """Slope below 0, from 0 (ReLU) to 1 (identity); torch's default is 0.01."""

    def __post_init__(self) -> None:
        if not 0 <= self.slope <= 1:
            raise RecipeError(f"leaky_relu.slope must lie in [0, 1], got {self.slope}.")


@part(
    "activation",
    "leaky_relu",
    summary="Hidden layers whose ReLU units die: below 0 a small signal is left.",
    source="Maas, Hannun, Ng 2013, ICML Workshop on Deep Learning for Audio",
    settings=LeakyReLUSettings,
    formula="max(slope · x, x)",
    range="(−∞, ∞)",
    first_choice_for=["hidden layers with dead units"],
    start="he",
    is_elementwise=True,
    is_trainable=True,
)
class LeakyReLU(nn.LeakyReLU):
    """max(slope x, x), each value by itself."""

    def __init__(self, settings: LeakyReLUSettings) -> None:
        super().__init__(settings.slope)


@dataclass(frozen=True)
class ELUSettings(Settings):
    """How far it goes below 0."""

    alpha: float = 1.0
    """Minus the value that it approaches far below 0; above 0."""

    def __post_init__(self) -> None:
        if not 0 < self.alpha < math.inf:
            raise RecipeError(f"elu.alpha must be above 0, got {self.alpha}.")


@part(
    "activation",
    "elu",
    summary="Hidden layers without normalisation: its means stay near 0, and no unit dies.",
    source="Clevert, Unterthiner, Hochreiter 2015 (arXiv:1511.07289)",
    settings=ELUSettings,
    formula="x for x ≥ 0, else α (e^x − 1)",
    range="(−α, ∞)",
    first_choice_for=[],
    start="he",
    is_elementwise=True,
    is_trainable=True,
)
class ELU(nn.ELU):
    """x from 0 on, alpha (e^x - 1) below, each value by itself."""

    def __init__(self, settings: ELUSettings) -> None:
        super().__init__(settings.alpha)


@dataclass(frozen=True)
class GELUSettings(Settings):
    """Which of its two forms."""

    approximate: Literal["none", "tanh"] = "none"
    """`none`: by the error function; `tanh`: the approximation that GPT-2 and others were trained with."""


@part(
    "activation",
    "gelu",
    summary="Hidden layers of Transformers: x weighted by the normal distribution's share below it.",
    source="Hendrycks, Gimpel 2016 (arXiv:1606.08415)",
    settings=GELUSettings,
    formula="x · Φ(x)",
    range="[−0.170, ∞)",
    first_choice_for=["hidden layers of a Transformer"],
    start="he",
    is_elementwise=True,
    is_trainable=True,
)
class GELU(nn.GELU):
    """x times the normal distribution function of x, each value by itself."""

    def __init__(self, settings: GELUSettings) -> None:
        super().__init__(settings.approximate)


@dataclass(frozen=True)
class SoftmaxSettings(Settings):
    """Along which axis it sums to 1."""

    axis: int = -1
    """The axis of the classes: -1 for tables and sequences, 1 for images (n, channels, height, width)."""


@part(
    "activation",
    "softmax",
    summary="Output that is a probability of each of several classes, and attention weights.",
    source="Bridle 1990, Neurocomputing, NATO ASI Series F68",
    settings=SoftmaxSettings,
    formula="e^(xᵢ) / Σⱼ e^(xⱼ)",
    range="(0, 1), sum 1",
    first_choice_for=["output for several classes"],
    start="xavier",
    is_elementwise=False,
    is_trainable=True,
)
class Softmax(nn.Softmax):
    """Positive values that sum to 1 along an axis."""

    def __init__(self, settings: SoftmaxSettings) -> None:
        super().__init__(settings.axis)
        self.axis = settings.axis


@dataclass(frozen=True)
class MaxoutSettings(Settings):
    """How many linear pieces a unit has, and where they lie."""

    pieces: int = 2
    """Affine maps of which each unit takes the largest, 2 to 64: so many times the weights of a plain unit."""
    axis: int = -1
    """The axis of the units: -1 for tables and sequences, 1 for images (n, channels, height, width)."""

    def __post_init__(self) -> None:
        if not 2 <= self.pieces <= 64:
            raise RecipeError(f"maxout.pieces must lie between 2 and 64, got {self.pieces}.")


@part(
    "activation",
    "maxout",
    summary="Hidden layers with dropout: each unit learns its own bent line, at so many times the weights.",
    source="Goodfellow, Warde-Farley, Mirza, Courville, Bengio 2013 (arXiv:1302.4389)",
    settings=MaxoutSettings,
    formula="max over k of (wₖ · x + bₖ)",
    range="(−∞, ∞)",
    first_choice_for=[],
    # For two pieces with normal values z1, z2 of deviation s, the mean square of max(z1, z2) is s^2: Xavier's scale
    # keeps it, He's would double it.
    start="xavier",
    is_elementwise=False,
    is_trainable=True,
)
class Maxout(nn.Module):
    """(..., pieces x width) affine values -> (..., width), the largest of each unit's pieces.

    The layer before it holds the affine maps: first the first piece of every unit, then the second of every unit.
    """

    def __init__(self, settings: MaxoutSettings) -> None:
        super().__init__()
        self.pieces, self.axis = settings.pieces, settings.axis

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The axis of the units becomes `pieces` times shorter (`RecipeError` where it cannot)."""
        if x.shape[self.axis] % self.pieces:
            raise RecipeError(
                f"maxout takes the largest of {self.pieces} pieces, but {x.shape[self.axis]} values are no multiple "
                f"of it. Let the layer before give {self.pieces} x as many values as units."
            )
        axis = self.axis % x.ndim
        return x.unflatten(axis, (self.pieces, -1)).amax(axis)

    def extra_repr(self) -> str:
        """What stands in its printed form."""
        return f"pieces={self.pieces}"
