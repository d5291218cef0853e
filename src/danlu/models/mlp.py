"""MLP: layers of x -> activation(W x + b), the feed-forward network for tables (Rumelhart et al. 1986)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from torch import nn

from danlu.core.errors import BundleError, RecipeError
from danlu.core.parts import Settings, part
from danlu.core.seeds import derive
from danlu.core.tasks import Task
from danlu.models.activations import activation, inputs_per_unit
from danlu.models.initialisation import initialisation, initialise, suited
from danlu.models.normalisation import normalisation


@dataclass(frozen=True)
class MLPSettings(Settings):
    """Shape of the network."""

    widths: tuple[int, ...] | Literal["auto"] = "auto"
    """Neurons of each hidden layer; `auto` takes `depth` decreasing powers of two that suit the number of features."""
    depth: int = 2
    """Number of hidden layers where `widths` is auto."""
    activation: Annotated[str | dict[str, Any], "activation"] = "relu"
    """What makes it non-linear (`danlu activations`); `identity` collapses all layers to one."""
    initialisation: Literal["auto"] | Annotated[str | dict[str, Any], "initialisation"] = "auto"
    """Where the weights start; `auto` takes He for ReLU and its relatives, Xavier for the others. Biases start at 0."""
    normalisation: Literal["off"] | Annotated[str | dict[str, Any], "normalisation"] = "off"
    """What keeps each hidden layer's sums, or its weights, on one scale; it stands before the activation."""
    dropout: float = 0.0
    """Share of hidden neurons that are silenced at random while training, in [0, 1)."""

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise RecipeError(f"mlp.dropout must lie in [0, 1), got {self.dropout}.")
        if self.widths != "auto" and (
            not all(0 < width <= 65_536 for width in self.widths) or len(self.widths) > 100
        ):
            raise RecipeError(
                f"mlp.widths must be at most 100 numbers between 1 and 65536, got {list(self.widths)}."
            )
        if not 0 <= self.depth <= 100:
            raise RecipeError(f"mlp.depth must lie between 0 and 100, got {self.depth}.")
        chosen: Any = activation(self.activation)
        if not chosen.__part__.traits.get("is_trainable", True):
            raise RecipeError(
                f"mlp.activation {chosen.__part__.name!r} has the derivative 0 everywhere, so that no gradient reaches "
                "the weights before it. Use 'sigmoid' or 'tanh', which are smooth steps, or the model 'perceptron', "
                "which learns with a step by a rule of its own."
            )
        if getattr(chosen, "axis", -1) not in (-1, 1):
            raise RecipeError(f"mlp.activation.axis must be -1 in a table, got {self.activation}.")
        if self.initialisation != "auto":
            initialisation(self.initialisation)
        if self.normalisation != "off":
            normalisation(self.normalisation)


@part(
    "model",
    "mlp",
    summary="Multi-layer perceptron: smooth non-linear relations, many rows; wants scaled columns.",
    source="Rumelhart, Hinton, Williams 1986, Nature 323",
    settings=MLPSettings,
    encoding="linear",
    update="gradient",
    library="torch",
)
class MLP(nn.Module):
    """(n, d) features -> (n,) or (n, k) scores, through hidden layers of decreasing width."""

    def __init__(self, settings: MLPSettings, task: Task, num_features: int, *, seed: int) -> None:
        super().__init__()
        self.settings, self.num_features = settings, num_features
        hidden = auto_widths(num_features, settings.depth) if settings.widths == "auto" else settings.widths
        self.widths = (num_features, *hidden, task.num_scores)
        with torch.random.fork_rng(devices=[]):  # torch's own start of a layer draws, and is not used
            self.layers = self._build(torch.Generator().manual_seed(derive(seed, "mlp", "init")))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of each row: (n,) where there is one, else (n, k)."""
        scores = self.layers(x)
        return scores[:, 0] if self.widths[-1] == 1 else scores

    def state(self) -> dict[str, Any]:
        """Weights by the names that torch gives them."""
        return {name: tensor.detach().cpu().numpy().copy() for name, tensor in self.state_dict().items()}

    def load(self, state: Mapping[str, Any]) -> None:
        """Take over weights after checking their names, shapes and values."""
        own = self.state_dict()
        if set(state) != set(own):
            raise BundleError(
                f"A network of widths {self.widths} has the weights {sorted(own)}, got {sorted(state)}."
            )
        tensors: dict[str, torch.Tensor] = {}
        for name, tensor in own.items():
            array = np.asarray(state[name])
            if array.shape != tuple(tensor.shape) or torch.as_tensor(array).dtype != tensor.dtype:
                raise BundleError(
                    f"Weight {name} must be {tensor.dtype} of shape {tuple(tensor.shape)}, "
                    f"got {array.dtype} {array.shape}."
                )
            if not np.isfinite(array).all():
                raise BundleError(f"Weight {name} holds values that are not finite.")
            tensors[name] = torch.as_tensor(array)
        self.load_state_dict(tensors)
        self.eval()

    def _build(self, generator: torch.Generator) -> nn.Sequential:
        """Linear, normalisation, activation and dropout for each hidden layer, then a linear layer."""
        settings = self.settings
        act = activation(settings.activation)
        pieces = inputs_per_unit(act)
        fill = suited(act) if settings.initialisation == "auto" else initialisation(settings.initialisation)
        layers: list[nn.Module] = []
        for fan_in, fan_out in zip(self.widths[:-2], self.widths[1:-1], strict=True):
            linear = nn.Linear(fan_in, pieces * fan_out)
            initialise(linear, fill, generator=generator, pieces=pieces)
            is_plain = settings.normalisation == "off"
            layers += [linear] if is_plain else normalisation(settings.normalisation).around(linear)
            layers += [activation(settings.activation)]
            layers += [nn.Dropout(settings.dropout)] if settings.dropout else []
        last = nn.Linear(self.widths[-2], self.widths[-1])
        initialise(last, fill, generator=generator)
        return nn.Sequential(*layers, last)


def auto_widths(num_features: int, depth: int) -> tuple[int, ...]:
    """`depth` decreasing powers of two; the first is about twice the number of features, in 32 .. 512."""
    first = 2 ** min(max(math.ceil(math.log2(max(num_features, 1) * 2)), 5), 9)
    return tuple(max(first >> layer, 8) for layer in range(depth))
