"""Measured on the registered parts themselves: curves of activations, and what normalisations do to a seeded batch."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from danlu.models.activations import ACTIVATIONS, activation
from danlu.models.initialisation import initialisation, initialise
from danlu.models.normalisation import NORMALISATIONS, normalisation

LOW, HIGH, POINTS = -4.0, 4.0, 161
NUM_ROWS, NUM_CHANNELS = 8, 32

# An activation that looks at several values is drawn for one of them, the others held.
PROBES: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], str]] = {
    "softmax": (
        lambda x: torch.stack([x, torch.zeros_like(x), torch.ones_like(x)], dim=-1),
        "Drawn: the first of three classes, the scores of the others being 0 and 1.",
    ),
    "maxout": (
        lambda x: torch.stack([x, -0.5 * x - 1], dim=-1),
        "Drawn: a unit with the two pieces x and −0.5 x − 1.",
    ),
}


@dataclass(frozen=True)
class Curve:
    """An activation and its derivative; None between two points where one of them jumps."""

    xs: list[float]
    ys: list[float | None]
    slopes: list[float | None]
    note: str
    """What is drawn where the activation takes more than one value."""


@dataclass(frozen=True)
class Moments:
    """Mean and variance of each group of values that shares them."""

    means: list[float]
    variances: list[float]


@dataclass(frozen=True)
class Effect:
    """What a normalisation did to the values behind a convolution of seeded weights and images."""

    name: str
    before: Moments
    after: Moments
    whole_before: tuple[float, float]
    """Mean and variance of all values together."""
    whole_after: tuple[float, float]
    edges: list[float]
    """Ends of the bins of the two histograms."""
    shares_before: list[float]
    shares_after: list[float]
    reached: list[list[bool]]
    """(rows, channels): the values that the first result depends on, by its derivative."""
    lengths: tuple[list[float], list[float]]
    """Length of each unit's weights, before and after."""
    largest_singular: tuple[float, float]
    """Of the weight as a matrix, before and after."""


def curve(name: str) -> Curve:
    """One of our activations over [-4, 4] with its derivative, by automatic differentiation."""
    x = torch.linspace(LOW, HIGH, POINTS, dtype=torch.float64)
    ys, slopes = values_at(name, x.tolist())
    _, note = PROBES.get(name, (None, ""))
    return Curve(x.tolist(), _lifted(ys), _lifted(slopes), note)


def values_at(name: str, xs: list[float]) -> tuple[list[float], list[float]]:
    """The activation and its derivative at some places; of several values that it takes, the first one moves."""
    x = torch.tensor(xs, dtype=torch.float64, requires_grad=True)
    probe, _ = PROBES.get(name, (None, ""))
    y = activation(name)(x) if probe is None else activation(name)(probe(x))[..., 0]
    (slope,) = torch.autograd.grad(y.sum(), x)
    return y.tolist(), slope.tolist()


def curves() -> dict[str, Curve]:
    """All of our activations."""
    return {name: curve(name) for name in ACTIVATIONS}


def effects(*, seed: int = 0) -> list[Effect]:
    """What each of our normalisations does to the same layer and the same batch."""
    generator = torch.Generator().manual_seed(seed)
    layer, images = _layer(generator), _images(generator)
    return [_effect(name, layer, images) for name in NORMALISATIONS]


def _effect(name: str, layer: nn.Conv2d, images: torch.Tensor) -> Effect:
    traits: dict[str, Any] = NORMALISATIONS[name].__part__.traits  # type: ignore[attr-defined]
    weight = layer.weight.detach().clone()
    before = layer(images).detach()
    first, *rest = normalisation(name).around(deepcopy(layer))
    behind = nn.Sequential(*rest).double().train()
    with torch.no_grad():
        came = first.train()(images)
        after = behind(came)
        new_weight: Any = first.weight
    num_groups = getattr(rest[0], "num_groups", 1) if rest else 1
    axes = traits["averages_over"] if traits["normalises"] == "values" else []
    low, high = min(before.min().item(), after.min().item()), max(before.max().item(), after.max().item())
    edges = torch.linspace(low, high, 41, dtype=torch.float64)
    return Effect(
        name,
        _moments(before, axes, num_groups),
        _moments(after, axes, num_groups),
        _whole(before),
        _whole(after),
        edges.tolist(),
        _shares(before, edges),
        _shares(after, edges),
        _reached(behind, came),
        (_lengths(weight), _lengths(new_weight)),
        (_largest_singular(weight), _largest_singular(new_weight)),
    )


def _layer(generator: torch.Generator) -> nn.Conv2d:
    """A convolution as a network starts with it, but with a bias of its own for each channel."""
    layer = nn.Conv2d(3, NUM_CHANNELS, 3).double()
    initialise(layer, initialisation("he"), generator=generator)
    if layer.bias is not None:
        nn.init.normal_(layer.bias, generator=generator)
    return layer


def _images(generator: torch.Generator) -> torch.Tensor:
    """(rows, 3, 8, 8) pictures, each with a brightness and a contrast of its own."""
    noise = torch.randn(NUM_ROWS, 3, 8, 8, generator=generator, dtype=torch.float64)
    contrast = torch.rand(NUM_ROWS, 1, 1, 1, generator=generator, dtype=torch.float64) + 0.5
    brightness = torch.randn(NUM_ROWS, 1, 1, 1, generator=generator, dtype=torch.float64)
    return noise * contrast + brightness


def _moments(values: torch.Tensor, axes: list[str], num_groups: int) -> Moments:
    """Over the axes that share a mean; over all of them where none is named. `values`: (n, c, h, w)."""
    grouped = values.unflatten(1, (num_groups, -1))  # (n, groups, channels of a group, h, w)
    places = {"N": (0,), "C": (1, 2), "C/G": (2,), "H": (3,), "W": (4,)}
    over = [place for axis in axes or ("N", "C", "H", "W") for place in places[axis]]
    variance, mean = torch.var_mean(grouped, dim=over, correction=0)
    return Moments(mean.flatten().tolist(), variance.flatten().tolist())


def _whole(values: torch.Tensor) -> tuple[float, float]:
    return values.mean().item(), values.var(correction=0).item()


def _shares(values: torch.Tensor, edges: torch.Tensor) -> list[float]:
    counts = torch.histogram(values.flatten(), edges).hist
    return (counts / values.numel()).tolist()


def _reached(behind: nn.Module, values: torch.Tensor) -> list[list[bool]]:
    leaf = values.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(behind(leaf)[0, 0, 0, 0], leaf)
    return (gradient != 0).flatten(2).any(dim=2).tolist()


def _lengths(weight: torch.Tensor) -> list[float]:
    return weight.flatten(1).norm(dim=1).tolist()


def _largest_singular(weight: torch.Tensor) -> float:
    return torch.linalg.matrix_norm(weight.flatten(1), ord=2).item()


def _lifted(values: list[float]) -> list[float | None]:
    """The values with a None in place of the first after a jump, which no slope of an activation explains."""
    step = (HIGH - LOW) / (POINTS - 1)
    jumps = {i for i in range(1, len(values)) if abs(values[i] - values[i - 1]) > 5 * step}
    return [None if i in jumps or not math.isfinite(value) else value for i, value in enumerate(values)]
