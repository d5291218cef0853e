"""Normalisations of a layer's weights, weight and spectral: the layer computes its weight from other parameters."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils import parametrize

from danlu.core.errors import RecipeError
from danlu.core.parts import Settings, part
from danlu.models.layers import Layer, units


@part(
    "normalisation",
    "weight",
    summary="Length and direction of each unit's weights apart: faster descent from any start, any batch.",
    source="Salimans, Kingma 2016 (arXiv:1602.07868)",
    normalises="weights",
    averages_over=["weights of a unit"],
    depends_on_batch=False,
    belongs="recurrent and generative networks, reinforcement learning",
    remark="w = g v / ‖v‖: faster, and the start matters less",
    first_choice_for=["reinforcement learning"],
)
class Weight:
    """w = g v / ||v||: each unit's length g is a parameter of its own."""

    def __init__(self, settings: Settings) -> None:
        pass

    def around(self, layer: Layer) -> list[nn.Module]:
        """The layer, whose weight is computed from `original0` (units,) lengths and `original1` directions."""
        units(layer)
        _need_lengths("weight", layer.weight)
        parametrize.register_parametrization(layer, "weight", _LengthAndDirection(), unsafe=True)
        return [layer]


class _LengthAndDirection(nn.Module):
    """(g, v) -> g v / ||v||. Torch's own asks 800 modules for the norm of weights on the meta device."""

    def forward(self, length: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
        """The weight."""
        shape = (-1, *[1] * (direction.ndim - 1))
        return direction * (length / direction.flatten(1).norm(dim=1)).view(shape)

    def right_inverse(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The lengths (units,) and the directions that give `weight`."""
        length = weight.new_empty(len(weight)) if weight.is_meta else weight.flatten(1).norm(dim=1)
        return length, weight


@dataclass(frozen=True)
class SpectralSettings(Settings):
    """How exactly the norm is known."""

    power_iterations: int = 1
    """Steps of the power iteration at each forward pass while training, 1 to 100."""

    def __post_init__(self) -> None:
        if not 1 <= self.power_iterations <= 100:
            raise RecipeError(
                f"spectral.power_iterations must lie between 1 and 100, got {self.power_iterations}."
            )


@part(
    "normalisation",
    "spectral",
    summary="The largest singular value of each weight is 1: discriminators of generative adversarial networks.",
    source="Miyato, Kataoka, Koyama, Yoshida 2018 (arXiv:1802.05957)",
    settings=SpectralSettings,
    normalises="weights",
    averages_over=["whole weight matrix"],
    depends_on_batch=False,
    belongs="discriminators of GANs",
    remark="no layer stretches a difference: Lipschitz constant 1",
    first_choice_for=["discriminators of GANs"],
)
class Spectral:
    """The weight divided by its largest singular value, which a power iteration follows."""

    def __init__(self, settings: SpectralSettings) -> None:
        self._settings = settings

    def around(self, layer: Layer) -> list[nn.Module]:
        """The layer, whose weight is computed from `original` and the iteration's vectors `left` and `right`."""
        units(layer)
        _need_lengths("spectral", layer.weight.reshape(1, -1))
        norm = SpectralNorm(layer.weight, power_iterations=self._settings.power_iterations)
        parametrize.register_parametrization(layer, "weight", norm, unsafe=True)
        return [layer]


class SpectralNorm(nn.Module):
    """w -> w / s with the largest singular value s of w as a matrix (outputs, all else).

    As torch's own, but it starts from the longest row in place of random numbers, so that it needs no generator,
    and takes neither memory nor imports on the meta device.
    """

    left: torch.Tensor
    right: torch.Tensor

    def __init__(self, weight: torch.Tensor, *, power_iterations: int) -> None:
        super().__init__()
        self.power_iterations = power_iterations
        matrix = weight.detach().flatten(1)
        self.register_buffer("left", matrix.new_empty(len(matrix)))
        self.register_buffer("right", matrix.new_empty(matrix.shape[1]))
        if not matrix.is_meta:
            self.right.copy_(nn.functional.normalize(matrix[matrix.norm(dim=1).argmax()], dim=0))
            self._iterate(matrix, 15)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The weight of spectral norm 1; while training the vectors move on."""
        matrix = weight.flatten(1)
        if self.training:
            self._iterate(matrix.detach(), self.power_iterations)
        # Clones: a second pass before the step backward must not change what the first one remembers.
        return weight / torch.dot(self.left.clone(), matrix @ self.right.clone())

    def right_inverse(self, weight: torch.Tensor) -> torch.Tensor:
        """What `weight` is computed from where it is set."""
        return weight

    def _iterate(self, matrix: torch.Tensor, steps: int) -> None:
        with torch.no_grad():
            for _ in range(steps):
                self.left.copy_(nn.functional.normalize(matrix @ self.right, dim=0))
                self.right.copy_(nn.functional.normalize(matrix.T @ self.left, dim=0))


def _need_lengths(name: str, weight: torch.Tensor) -> None:
    if not weight.is_meta and not bool(weight.flatten(1).any(dim=1).all()):
        raise RecipeError(
            f"Normalisation {name!r} divides the weights by their length, but some start at 0. "
            "Use a random initialisation, such as 'auto'."
        )
