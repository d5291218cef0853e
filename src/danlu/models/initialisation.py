"""The weights that a network starts from, and the warning for starts that leave all units of a layer the same."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Protocol

import torch
from torch import nn

from danlu.core.errors import RecipeError
from danlu.core.findings import Finding
from danlu.core.parts import Settings, part
from danlu.models.layers import Layer
from danlu.models.named import named, parts_among


class Initialisation(Protocol):
    """Fills a weight in place."""

    def __call__(self, weight: torch.Tensor, *, generator: torch.Generator) -> None:
        """`weight`: (outputs, inputs, ...) as torch's linear layers and convolutions keep it."""
        ...


def initialisation(chosen: str | Mapping[str, Any]) -> Initialisation:
    """The initialisation that `chosen` names: `he`, or {"name": "normal", "deviation": 0.02}."""
    return named("initialisation", chosen, INITIALISATIONS)


def initialise(layer: Layer, fill: Initialisation, *, generator: torch.Generator, pieces: int = 1) -> None:
    """Fill the weight of a layer, and its bias with 0.

    With `pieces` the weight is that of as many layers one below the other, as maxout wants them, and each is filled
    by itself. What lies on torch's meta device has no values and stays as it is.
    """
    if layer.weight.is_meta:
        return
    with torch.no_grad():
        for piece in layer.weight.chunk(pieces):
            fill(piece, generator=generator)
        if layer.bias is not None:
            layer.bias.zero_()


def suited(activation: nn.Module) -> Initialisation:
    """What keeps the variance of the layers before `activation`: He where it rectifies, Xavier otherwise."""
    part: Any = getattr(activation, "__part__", None)
    start = "xavier" if part is None else part.traits.get("start", "xavier")
    if start == "he":
        slope: Any = getattr(activation, "negative_slope", 0.0)
        return He(HeSettings(slope=slope))
    return initialisation(start)


# ---------------------------------------------------------------- symmetry


def symmetric_layers(model: nn.Module) -> list[str]:
    """The hidden layers of a feed-forward network whose units would stay equal for ever: their modules' names.

    Units with the same weights in and the same weights out give the same values and get the same gradients
    (Goodfellow, Bengio, Courville 2016, Deep Learning, 8.4). Weights out are those of the next linear layer or
    convolution in the order of registration. Where only those in are equal, the first step tells the units apart.
    """
    layers = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, Layer) and not module.weight.is_meta
    ]
    return [
        name
        for (name, layer), (_, following) in pairwise(layers)
        if len(layer.weight) > 1 and _units_in_equal(layer) and _units_out_equal(layer, following)
    ]


def symmetry_finding(model: nn.Module) -> Finding | None:
    """A warning that names the symmetric layers of a fresh model, or None where there are none."""
    names = symmetric_layers(model)
    if not names:
        return None
    return Finding(
        "symmetric_weights",
        "warning",
        f"All units of {', '.join(names)} start from the same weights. Nothing but chance, such as dropout's, can "
        "tell them apart: they stay equal, and such a layer does no more than a single unit.",
        {"layers": names},
        ("start from random weights: initialisation auto, he, xavier, normal or orthogonal",),
    )


def _units_in_equal(layer: Layer) -> bool:
    has_equal_biases = layer.bias is None or bool((layer.bias == layer.bias[0]).all())
    return has_equal_biases and bool((layer.weight == layer.weight[:1]).all())


def _units_out_equal(layer: Layer, following: Layer) -> bool:
    """Whether the next layer treats all units alike; after flattening, each of them has many columns there."""
    num_units, num_columns = len(layer.weight), following.weight.shape[1]
    groups = num_units if num_columns % num_units == 0 else num_columns
    columns = following.weight.reshape(len(following.weight), groups, -1)
    return bool((columns == columns[:, :1]).all())


# ---------------------------------------------------------------- the parts


@part(
    "initialisation",
    "zeros",
    summary="All 0: right for a single linear layer; in hidden layers all units stay the same.",
    source="Goodfellow, Bengio, Courville 2016, Deep Learning, 8.4",
    breaks_symmetry=False,
)
class Zeros:
    """Every weight 0."""

    def __init__(self, settings: Settings) -> None:
        pass

    def __call__(self, weight: torch.Tensor, *, generator: torch.Generator) -> None:
        """Fill it in place."""
        nn.init.zeros_(weight)


@dataclass(frozen=True)
class ConstantSettings(Settings):
    """The one value."""

    value: float = 0.1
    """What every weight starts from."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise RecipeError(f"constant.value must be a finite number, got {self.value}.")


@part(
    "initialisation",
    "constant",
    summary="All the same number, to show why it does not work: all units of a hidden layer stay the same.",
    source="Goodfellow, Bengio, Courville 2016, Deep Learning, 8.4",
    settings=ConstantSettings,
    breaks_symmetry=False,
)
class Constant:
    """Every weight the same."""

    def __init__(self, settings: ConstantSettings) -> None:
        self._value = settings.value

    def __call__(self, weight: torch.Tensor, *, generator: torch.Generator) -> None:
        """Fill it in place."""
        nn.init.constant_(weight, self._value)


@dataclass(frozen=True)
class NormalSettings(Settings):
    """How wide."""

    deviation: float = 0.02
    """Standard deviation of the weights, above 0; their mean is 0. BERT and GPT-2 start with 0.02."""

    def __post_init__(self) -> None:
        if not 0 < self.deviation < math.inf:
            raise RecipeError(f"normal.deviation must be above 0, got {self.deviation}.")


@part(
    "initialisation",
    "normal",
    summary="Normal values of one deviation for every layer, whatever its width: Transformers.",
    source="Radford, Wu, Child, Luan, Amodei, Sutskever 2019, GPT-2",
    settings=NormalSettings,
    breaks_symmetry=True,
)
class Normal:
    """Normal values around 0."""

    def __init__(self, settings: NormalSettings) -> None:
        self._deviation = settings.deviation

    def __call__(self, weight: torch.Tensor, *, generator: torch.Generator) -> None:
        """Fill it in place."""
        nn.init.normal_(weight, std=self._deviation, generator=generator)


@dataclass(frozen=True)
class XavierSettings(Settings):
    """Shape and scale of the draw."""

    distribution: Literal["normal", "uniform"] = "normal"
    """Of the weights; both have the same variance."""
    gain: float = 1.0
    """Factor of the deviation, above 0; 5/3 makes up for what tanh takes away."""

    def __post_init__(self) -> None:
        if not 0 < self.gain < math.inf:
            raise RecipeError(f"xavier.gain must be above 0, got {self.gain}.")


@part(
    "initialisation",
    "xavier",
    summary="Variance 2 / (inputs + outputs): layers before tanh, sigmoid or nothing.",
    source="Glorot, Bengio 2010, AISTATS",
    settings=XavierSettings,
    breaks_symmetry=True,
)
class Xavier:
    """Variance gain^2 2 / (fan in + fan out)."""

    def __init__(self, settings: XavierSettings) -> None:
        self._settings = settings

    def __call__(self, weight: torch.Tensor, *, generator: torch.Generator) -> None:
        """Fill it in place."""
        is_normal = self._settings.distribution == "normal"
        draw = nn.init.xavier_normal_ if is_normal else nn.init.xavier_uniform_
        draw(weight, gain=self._settings.gain, generator=generator)


@dataclass(frozen=True)
class HeSettings(Settings):
    """Shape and scale of the draw."""

    distribution: Literal["normal", "uniform"] = "normal"
    """Of the weights; both have the same variance."""
    mode: Literal["inputs", "outputs"] = "inputs"
    """`inputs` keeps the variance of the values on the way forward, `outputs` that of the gradients on the way back."""
    slope: float = 0.0
    """Slope of the following activation below 0, in [0, 1]: 0 for ReLU."""

    def __post_init__(self) -> None:
        if not 0 <= self.slope <= 1:
            raise RecipeError(f"he.slope must lie in [0, 1], got {self.slope}.")


@part(
    "initialisation",
    "he",
    summary="Variance 2 / inputs: layers before ReLU and its relatives, which silence half of what comes.",
    source="He, Zhang, Ren, Sun 2015 (arXiv:1502.01852)",
    settings=HeSettings,
    breaks_symmetry=True,
)
class He:
    """Variance 2 / ((1 + slope^2) fan)."""

    def __init__(self, settings: HeSettings) -> None:
        self._settings = settings

    def __call__(self, weight: torch.Tensor, *, generator: torch.Generator) -> None:
        """Fill it in place."""
        settings = self._settings
        draw = nn.init.kaiming_normal_ if settings.distribution == "normal" else nn.init.kaiming_uniform_
        mode = "fan_in" if settings.mode == "inputs" else "fan_out"
        draw(weight, a=settings.slope, mode=mode, nonlinearity="leaky_relu", generator=generator)


@dataclass(frozen=True)
class OrthogonalSettings(Settings):
    """The scale."""

    gain: float = 1.0
    """Length of each row (or column, where there are fewer), above 0; the root of 2 suits ReLU."""

    def __post_init__(self) -> None:
        if not 0 < self.gain < math.inf:
            raise RecipeError(f"orthogonal.gain must be above 0, got {self.gain}.")


@part(
    "initialisation",
    "orthogonal",
    summary="Rows at right angles: very deep and recurrent networks, whose values neither grow nor fade.",
    source="Saxe, McClelland, Ganguli 2013 (arXiv:1312.6120)",
    settings=OrthogonalSettings,
    breaks_symmetry=True,
)
class Orthogonal:
    """A random matrix with orthonormal rows or columns, times the gain."""

    def __init__(self, settings: OrthogonalSettings) -> None:
        self._gain = settings.gain

    def __call__(self, weight: torch.Tensor, *, generator: torch.Generator) -> None:
        """Fill it in place."""
        nn.init.orthogonal_(weight, gain=self._gain, generator=generator)


INITIALISATIONS = parts_among(globals(), "initialisation")
"""Our own initialisations by name."""
