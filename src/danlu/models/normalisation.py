"""Normalisations of a layer's values: batch, layer, instance, group, RMS; weight_normalisation.py has the others.

`normalisation("batch").around(layer)` gives the modules that take the layer's place: the layer and a normalisation
behind it, or the layer with its weight recomputed from other parameters. A layer is `nn.Linear` over (n, units) rows
or a convolution over (n, channels, ...) images; "units" means both here.

Traits: `normalises` says what; `averages_over` are the axes of (N, C, H, W) whose values share a mean and a variance
(C/G: the channels of a group), or what of a weight shares a norm; `depends_on_batch`: while training, the result of
a row depends on the others; `belongs` and `remark` are the comparison's words, `first_choice_for` the advice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import torch
from torch import nn

from danlu.core.errors import RecipeError
from danlu.core.parts import Settings, part
from danlu.models import weight_normalisation
from danlu.models.layers import Layer, units
from danlu.models.named import named, parts_among
from danlu.models.weight_normalisation import SpectralNorm


class Normalisation(Protocol):
    """Puts itself around a layer."""

    def around(self, layer: Layer) -> list[nn.Module]:
        """The modules that take the place of `layer`, which is among them (`RecipeError` where it does not fit)."""
        ...


class Row(NamedTuple):
    """One line of the comparison."""

    method: str
    normalises: str
    averages_over: str
    depends_on_batch: bool
    belongs: str
    remark: str
    first_choice_for: str


def normalisation(chosen: str | Mapping[str, Any]) -> Normalisation:
    """The normalisation that `chosen` names: `layer`, or {"name": "group", "groups": 4}."""
    return named("normalisation", chosen, NORMALISATIONS)


def unsplittable_layers(model: nn.Module) -> list[str]:
    """Modules for which a batch in pieces is not the batch, so that it cannot be accumulated: their names.

    Batch normalisation takes its mean over the rows at hand; spectral normalisation takes a step of its power
    iteration at each forward pass.
    """
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, SpectralNorm)
    return [
        name.partition(".parametrizations")[0]
        for name, module in model.named_modules()
        if isinstance(module, kinds)
    ]


def comparison(traits_by_name: Mapping[str, Mapping[str, Any]]) -> tuple[Row, ...]:
    """The comparison's rows from the parts' traits, as the parts or the catalogue give them."""
    return tuple(
        Row(
            name,
            traits["normalises"],
            ", ".join(traits["averages_over"]),
            traits["depends_on_batch"],
            traits["belongs"],
            traits["remark"],
            ", ".join(traits["first_choice_for"]),
        )
        for name, traits in traits_by_name.items()
    )


# ---------------------------------------------------------------- of values


@dataclass(frozen=True)
class EpsilonSettings(Settings):
    """What keeps the division safe."""

    epsilon: float = 1e-5
    """Added to the variance before its root is taken, above 0."""

    def __post_init__(self) -> None:
        _check_epsilon(self.epsilon)


@dataclass(frozen=True)
class BatchSettings(EpsilonSettings):
    """How fast the statistics for later follow."""

    momentum: float = 0.1
    """Share of each batch in the running mean and variance that predictions use, in (0, 1]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.momentum <= 1:
            raise RecipeError(f"batch.momentum must lie in (0, 1], got {self.momentum}.")


@part(
    "normalisation",
    "batch",
    summary="Each unit over the rows of the batch: convolutions with large batches.",
    source="Ioffe, Szegedy 2015 (arXiv:1502.03167)",
    settings=BatchSettings,
    normalises="values",
    averages_over=["N", "H", "W"],
    depends_on_batch=True,
    belongs="convolutions, large batches",
    remark="less covariate shift, faster; noisy for small batches, unfit for recurrent networks",
    first_choice_for=["convolutions with large batches"],
)
class Batch:
    """Mean 0 and variance 1 of each unit over rows and places; predictions use the running mean and variance."""

    def __init__(self, settings: BatchSettings) -> None:
        self._settings = settings

    def around(self, layer: Layer) -> list[nn.Module]:
        """The layer and a batch normalisation."""
        num_units, num_axes = units(layer)
        cls = (BatchNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[num_axes]
        return [layer, cls(num_units, eps=self._settings.epsilon, momentum=self._settings.momentum)]


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation of rows that takes a batch of one, which has no deviation, by the running statistics."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        if len(input) > 1 or not self.training:
            return super().forward(input)
        return nn.functional.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


@part(
    "normalisation",
    "layer",
    summary="Each row over all its units: Transformers, recurrent networks, tables.",
    source="Ba, Kiros, Hinton 2016 (arXiv:1607.06450)",
    settings=EpsilonSettings,
    normalises="values",
    averages_over=["C", "H", "W"],
    depends_on_batch=False,
    belongs="Transformers, recurrent networks",
    remark="the same for any batch, and while training and predicting",
    first_choice_for=["Transformers", "recurrent networks"],
)
class LayerWise:
    """Mean 0 and variance 1 of each row over all its units and places."""

    def __init__(self, settings: EpsilonSettings) -> None:
        self._settings = settings

    def around(self, layer: Layer) -> list[nn.Module]:
        """The layer and a layer normalisation; behind a convolution torch calls it group norm with one group."""
        num_units, num_axes = units(layer)
        if num_axes:
            return [layer, nn.GroupNorm(1, num_units, eps=self._settings.epsilon)]
        _need_units("layer", num_units)
        return [layer, nn.LayerNorm(num_units, eps=self._settings.epsilon)]


@part(
    "normalisation",
    "instance",
    summary="Each channel of each image by itself: style transfer and image generation; not for tables.",
    source="Ulyanov, Vedaldi, Lempitsky 2016 (arXiv:1607.08022)",
    settings=EpsilonSettings,
    normalises="values",
    averages_over=["H", "W"],
    depends_on_batch=False,
    belongs="style transfer, image generation",
    remark="takes each image's own contrast away",
    first_choice_for=["style transfer"],
)
class Instance:
    """Mean 0 and variance 1 of each channel of each row over its places."""

    def __init__(self, settings: EpsilonSettings) -> None:
        self._settings = settings

    def around(self, layer: Layer) -> list[nn.Module]:
        """The layer and an instance normalisation."""
        num_units, num_axes = units(layer)
        if not num_axes:
            raise RecipeError(
                "Instance normalisation averages over the places of a channel, but in a table each unit is a single "
                "number a row, which minus its own mean is always 0. Use 'layer', 'batch' or 'rms'."
            )
        cls = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)[num_axes - 1]
        return [layer, cls(num_units, eps=self._settings.epsilon, affine=True)]


@dataclass(frozen=True)
class GroupSettings(EpsilonSettings):
    """How many groups."""

    groups: int | Literal["auto"] = "auto"
    """Groups of units, which must divide them; `auto` makes groups of at least 16 units, at most 32 groups."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.groups != "auto" and self.groups < 1:
            raise RecipeError(f"group.groups must be 1 or more, or auto, got {self.groups}.")


@part(
    "normalisation",
    "group",
    summary="Each row over groups of its units: convolutions with small batches.",
    source="Wu, He 2018 (arXiv:1803.08494)",
    settings=GroupSettings,
    normalises="values",
    averages_over=["C/G", "H", "W"],
    depends_on_batch=False,
    belongs="convolutions, small batches",
    remark="one group is layer normalisation, a group for each channel instance normalisation",
    first_choice_for=["convolutions with small batches"],
)
class Group:
    """Mean 0 and variance 1 of each group of units of each row."""

    def __init__(self, settings: GroupSettings) -> None:
        self._settings = settings

    def around(self, layer: Layer) -> list[nn.Module]:
        """The layer and a group normalisation."""
        num_units, num_axes = units(layer)
        groups = self._settings.groups
        if groups == "auto":
            # 16 units a group and 32 groups are the paper's two best settings (its table 3).
            most = max(min(num_units // 16, 32), 1)
            groups = max(number for number in range(1, most + 1) if num_units % number == 0)
        if num_units % groups:
            fitting = [number for number in range(1, num_units + 1) if num_units % number == 0]
            nearest = min(fitting, key=lambda number: abs(number - groups))
            raise RecipeError(
                f"group.groups is {groups}, but {num_units} units cannot be dealt out evenly to so many. "
                f"Use {nearest}, or 'auto'."
            )
        if not num_axes:
            _need_units("group", num_units // groups)
        return [layer, nn.GroupNorm(groups, num_units, eps=self._settings.epsilon)]


@part(
    "normalisation",
    "rms",
    summary="Each row divided by the root of its mean square: large language models; no mean, so cheaper.",
    source="Zhang, Sennrich 2019 (arXiv:1910.07467)",
    settings=EpsilonSettings,
    normalises="values",
    averages_over=["C", "H", "W"],
    depends_on_batch=False,
    belongs="large language models",
    remark="scales and does not shift: mean square 1, mean as it comes",
    first_choice_for=["large language models"],
)
class RMS:
    """Mean square 1 of each row over all its units and places."""

    def __init__(self, settings: EpsilonSettings) -> None:
        self._settings = settings

    def around(self, layer: Layer) -> list[nn.Module]:
        """The layer and an RMS normalisation."""
        num_units, num_axes = units(layer)
        if num_axes:
            return [layer, ImageRMSNorm(num_units, num_axes=num_axes, epsilon=self._settings.epsilon)]
        _need_units("rms", num_units)
        return [layer, nn.RMSNorm(num_units, eps=self._settings.epsilon)]


class ImageRMSNorm(nn.Module):
    """(n, channels, ...) divided by the root of each row's mean square, times a factor for each channel."""

    def __init__(self, num_channels: int, *, num_axes: int, epsilon: float) -> None:
        super().__init__()
        self.epsilon = epsilon
        self.weight = nn.Parameter(torch.ones(num_channels, *[1] * num_axes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        return nn.functional.rms_norm(x, x.shape[1:], eps=self.epsilon) * self.weight


# ---------------------------------------------------------------- shared


def _need_units(name: str, num_units: int) -> None:
    if num_units < 2:
        raise RecipeError(
            f"Normalisation {name!r} averages over units of a row, but here over {num_units}: at most its sign would "
            "be left. Use wider layers, fewer groups, or 'batch'."
        )


def _check_epsilon(epsilon: float) -> None:
    if not 0 < epsilon < math.inf:
        raise RecipeError(f"The normalisation's epsilon must be above 0, got {epsilon}.")


NORMALISATIONS = parts_among({**globals(), **vars(weight_normalisation)}, "normalisation")
"""Our own normalisations by name."""

NORMALISATION_TABLE = comparison({name: cls.__part__.traits for name, cls in NORMALISATIONS.items()})  # type: ignore[attr-defined]
"""What each averages over, whether it depends on the batch, and where it belongs, from the parts' traits."""
