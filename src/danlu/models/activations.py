"""Activations: what makes a network more than one linear map. `activation("relu")` gives the module.

Each keeps torch's own fast kernel where there is one. Traits: `formula` and `range` for people; `first_choice_for`
says where to take it unless something speaks against it; `start` is the initialisation that keeps the variance of
its layers (initialisation.py); `is_elementwise`: each output depends on one input; `is_trainable`: its derivative
tells a gradient step where to go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from danlu.core.parts import Settings, part
from danlu.models import adjustable_activations
from danlu.models.named import named, parts_among


def activation(chosen: str | Mapping[str, Any]) -> nn.Module:
    """The activation that `chosen` names: `relu`, or {"name": "leaky_relu", "slope": 0.2}."""
    return named("activation", chosen, ACTIVATIONS)


def inputs_per_unit(module: nn.Module) -> int:
    """Values that the layer before must give for each value of the activation: 1 but for maxout."""
    return getattr(module, "pieces", 1)


@part(
    "activation",
    "sigmoid",
    summary="Output that is a probability of yes or no, and gates; dated in hidden layers, where its gradient fades.",
    source="Rumelhart, Hinton, Williams 1986, Nature 323",
    formula="1 / (1 + e^(−x))",
    range="(0, 1)",
    first_choice_for=["output for two classes"],
    start="xavier",
    is_elementwise=True,
    is_trainable=True,
)
class Sigmoid(nn.Sigmoid):
    """1 / (1 + e^-x), each value by itself."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()


@part(
    "activation",
    "tanh",
    summary="Recurrent networks and outputs in (−1, 1); has mean 0, but is dated in hidden layers like the sigmoid.",
    source="LeCun, Bottou, Orr, Mueller 1998, Efficient BackProp",
    formula="(e^x − e^(−x)) / (e^x + e^(−x))",
    range="(−1, 1)",
    first_choice_for=[],
    start="xavier",
    is_elementwise=True,
    is_trainable=True,
)
class Tanh(nn.Tanh):
    """The hyperbolic tangent, each value by itself."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()


@part(
    "activation",
    "relu",
    summary="Hidden layers, first of all: cheap, and its gradient does not fade; units that are always below 0 die.",
    source="Nair, Hinton 2010, ICML; Glorot, Bordes, Bengio 2011, AISTATS",
    formula="max(0, x)",
    range="[0, ∞)",
    first_choice_for=["hidden layers"],
    start="he",
    is_elementwise=True,
    is_trainable=True,
)
class ReLU(nn.ReLU):
    """max(0, x), each value by itself."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()


@part(
    "activation",
    "step",
    summary="The perceptron's yes or no; its derivative is 0, so no gradient step can train what stands before it.",
    source="McCulloch, Pitts 1943, Bulletin of Mathematical Biophysics 5",
    formula="1 for x ≥ 0, else 0",
    range="{0, 1}",
    first_choice_for=[],
    start="xavier",
    is_elementwise=True,
    is_trainable=False,
)
class Step(nn.Module):
    """1 from 0 on, 0 below; the derivative is 0 everywhere, at the jump too."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        return _Jump.apply(x)  # pyright: ignore[reportReturnType]  # apply is typed as any tuple


class _Jump(torch.autograd.Function):
    """Torch's comparisons and torch.heaviside have no derivative at all; this has the right one, 0."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return torch.where(x.isnan(), x, (x >= 0).to(x.dtype))  # a broken value stays visible

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return torch.zeros_like(gradient)


@part(
    "activation",
    "softplus",
    summary="Outputs that must be above 0, such as a rate or a deviation; a smooth ReLU.",
    source="Dugas, Bengio, Belisle, Nadeau, Garcia 2001, NIPS 13",
    formula="ln(1 + e^x)",
    range="(0, ∞)",
    first_choice_for=["output above 0"],
    start="xavier",
    is_elementwise=True,
    is_trainable=True,
)
class Softplus(nn.Softplus):
    """ln(1 + e^x), each value by itself."""

    def __init__(self, settings: Settings) -> None:
        # Torch gives x itself from the threshold on: at its default of 20 that is off by 2e-9, at 40 by less than
        # fp64 can hold, and e^40 is still far from fp32's largest number.
        super().__init__(threshold=40.0)


@part(
    "activation",
    "softsign",
    summary="Hidden layers in place of tanh: reaches its ends more slowly, so that units do not saturate as soon.",
    source="Bergstra, Desjardins, Lamblin, Bengio 2009, Universite de Montreal 1337",
    formula="x / (1 + |x|)",
    range="(−1, 1)",
    first_choice_for=[],
    start="xavier",
    is_elementwise=True,
    is_trainable=True,
)
class Softsign(nn.Softsign):
    """x / (1 + |x|), each value by itself."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()


@part(
    "activation",
    "log_sigmoid",
    summary="Inside losses: the log-probability of yes, exact where the probability itself rounds to 0.",
    source="Mikolov, Sutskever, Chen, Corrado, Dean 2013 (arXiv:1310.4546)",
    formula="−ln(1 + e^(−x))",
    range="(−∞, 0)",
    first_choice_for=[],
    start="xavier",
    is_elementwise=True,
    is_trainable=True,
)
class LogSigmoid(nn.LogSigmoid):
    """The logarithm of the sigmoid, each value by itself."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()


@part(
    "activation",
    "swish",
    summary="Hidden layers of deep networks: a smooth ReLU that lets a little through below 0; also called SiLU.",
    source="Ramachandran, Zoph, Le 2017 (arXiv:1710.05941); Elfwing, Uchibe, Doya 2017 (arXiv:1702.03118)",
    formula="x / (1 + e^(−x))",
    range="[−0.278, ∞)",
    first_choice_for=[],
    start="he",
    is_elementwise=True,
    is_trainable=True,
)
class Swish(nn.SiLU):
    """x times its sigmoid, each value by itself."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()


@part(
    "activation",
    "sinc",
    summary="Signals and other periodic relations; its gradient changes sign again and again, so hard to train.",
    source="Woodward, Davies 1952, Proceedings of the IEE 99(58)",
    formula="sin(x) / x, and 1 at 0",
    range="[−0.217, 1]",
    first_choice_for=[],
    start="xavier",
    is_elementwise=True,
    is_trainable=True,
)
class Sinc(nn.Module):
    """sin(x) / x, each value by itself; exact at 0 and smooth around it."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        # The derivative cos(x)/x - sin(x)/x^2 loses all its digits near 0 (torch.sinc's is off by 1e-3 at 1e-4 in
        # fp32), so the Taylor series stands in there; within 1/4 its first term left out is below 1e-17.
        is_near = x.abs() < 0.25
        away = torch.where(is_near, 1.0, x)
        square = torch.where(is_near, x, 0.0).square()
        near = torch.ones_like(x)
        for odd in (11, 9, 7, 5, 3):
            near = 1 - near * square / (odd * (odd - 1))
        return torch.where(is_near, near, away.sin() / away)


@part(
    "activation",
    "mish",
    summary="Hidden layers of deep image networks: as smooth as Swish, a little dearer.",
    source="Misra 2019 (arXiv:1908.08681)",
    formula="x · tanh(ln(1 + e^x))",
    range="[−0.309, ∞)",
    first_choice_for=[],
    start="he",
    is_elementwise=True,
    is_trainable=True,
)
class Mish(nn.Mish):
    """x times the tanh of its softplus, each value by itself."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()


@part(
    "activation",
    "identity",
    summary="Output that is a number; between layers it collapses them to a single linear one.",
    source="Widrow, Hoff 1960, IRE WESCON Convention Record 4",
    formula="x",
    range="(−∞, ∞)",
    first_choice_for=["output for a number"],
    start="xavier",
    is_elementwise=True,
    is_trainable=True,
)
class Identity(nn.Identity):
    """x as it is."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()


ACTIVATIONS = parts_among({**globals(), **vars(adjustable_activations)}, "activation")
"""Our own activations by name."""
