"""MLP: layers of x -> activation(W x + b), the feed-forward network for tables (Rumelhart et al. 1986)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from danlu.core.errors import BundleError, RecipeError
from danlu.core.parts import Settings, part
from danlu.core.seeds import derive
from danlu.core.tasks import Task

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "identity": nn.Identity,
}


@dataclass(frozen=True)
class MLPSettings(Settings):
    """Shape of the network."""

    widths: tuple[int, ...] | Literal["auto"] = "auto"
    """Neurons of each hidden layer; `auto` takes `depth` decreasing powers of two that suit the number of features."""
    depth: int = 2
    """Number of hidden layers where `widths` is auto."""
    activation: Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid", "identity"] = "relu"
    """What makes it non-linear; `identity` collapses all layers to one."""
    dropout: float = 0.0
    """Share of hidden neurons that are silenced at random while training, in [0, 1)."""
    batch_norm: bool = False
    """Whether each hidden layer's sums are brought to mean 0 and deviation 1 over the batch (arXiv:1502.03167)."""

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
        layers: list[nn.Module] = []
        with torch.random.fork_rng(
            devices=[]
        ):  # torch's own start is not used, and must not use up its generator
            for fan_in, fan_out in zip(self.widths[:-2], self.widths[1:-1], strict=True):
                layers += [nn.Linear(fan_in, fan_out)]
                layers += [BatchNorm(fan_out)] if settings.batch_norm else []
                layers += [ACTIVATIONS[settings.activation]()]
                if settings.dropout:
                    layers += [Dropout(settings.dropout, seed=derive(seed, "dropout", len(layers)))]
            self.layers = nn.Sequential(*layers, nn.Linear(self.widths[-2], self.widths[-1]))
        self._initialise(torch.Generator().manual_seed(derive(seed, "mlp", "init")))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of each row: (n,) where there is one, else (n, k)."""
        scores = self.layers(x)
        return scores[:, 0] if self.widths[-1] == 1 else scores

    def state(self) -> dict[str, Any]:
        """Weights by the names that torch gives them."""
        return {name: tensor.detach().numpy().copy() for name, tensor in self.state_dict().items()}

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

    def _initialise(self, generator: torch.Generator) -> None:
        """He for the rectifying activations, Xavier for the others; biases 0."""
        rectifies = self.settings.activation in ("relu", "leaky_relu", "elu", "gelu", "silu")
        for layer in self.layers:
            if isinstance(layer, nn.Linear) and not layer.weight.is_meta:
                if rectifies:
                    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu", generator=generator)
                else:
                    nn.init.xavier_normal_(layer.weight, generator=generator)
                nn.init.zeros_(layer.bias)


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation that takes a batch of one row, which has no deviation, by the running statistics."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        if len(input) > 1 or not self.training:
            return super().forward(input)
        return nn.functional.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
        )


class Dropout(nn.Module):
    """Silences each value with probability p while training and scales the rest by 1/(1-p) (Srivastava et al. 2014).

    It draws from its own generator, so that other parts of a run cannot change what it draws.
    """

    def __init__(self, p: float, *, seed: int) -> None:
        super().__init__()
        self.p = p
        self._generator = torch.Generator().manual_seed(seed)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape; unchanged in evaluation mode."""
        if not self.training:
            return x
        kept = torch.empty_like(x).uniform_(generator=self._generator) >= self.p
        return x * kept / (1 - self.p)


def auto_widths(num_features: int, depth: int) -> tuple[int, ...]:
    """`depth` decreasing powers of two; the first is about twice the number of features, in 32 .. 512."""
    first = 2 ** min(max(math.ceil(math.log2(max(num_features, 1) * 2)), 5), 9)
    return tuple(max(first >> layer, 8) for layer in range(depth))
