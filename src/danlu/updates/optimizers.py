"""Optimizers: how a gradient becomes a step. Each is a part that builds one of torch's, in its fastest exact form.

`build(groups, rate=...)` takes the groups of `parameter_groups`. Fused kernels (one pass over a tensor for the whole
step) are taken where torch has them: sgd, momentum, nesterov, adagrad, adam, adamw on CPU and CUDA. The others take
the `foreach` form, one call for all tensors. Weight decay stands in the groups: decoupled from the gradient in adamw
and muon (the weights shrink by rate * decay a step), an L2 gradient decay * weight in the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from danlu.core.errors import RecipeError
from danlu.core.parts import Settings, part
from danlu.updates.muon import MuonWithAdamW

Groups = Sequence[dict[str, Any]]
"""torch's parameter groups: `params`, `weight_decay` (none where it is left out), `name`."""


@part(
    "optimizer",
    "sgd",
    summary="Stochastic gradient descent: a step against the gradient, nothing remembered.",
    source="Robbins, Monro 1951, Annals of Mathematical Statistics 22",
    default_rate=1e-2,
    decay="coupled",
)
class SGD:
    """w <- w - rate * g."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def build(self, groups: Groups, *, rate: float) -> torch.optim.Optimizer:
        """torch's SGD without momentum."""
        return torch.optim.SGD(with_decay(groups), lr=rate, **fastest(groups))


@dataclass(frozen=True)
class MomentumSettings(Settings):
    """How long the past keeps pushing."""

    momentum: float = 0.9
    """Share of the last step's velocity that is kept, in [0, 1): 0.9 averages over about ten steps."""

    def __post_init__(self) -> None:
        check_share("momentum", "momentum", self.momentum)


@part(
    "optimizer",
    "momentum",
    summary="Heavy ball: the steps gather speed where gradients agree and cancel where they swing.",
    source="Polyak 1964, USSR Computational Mathematics 4",
    settings=MomentumSettings,
    default_rate=1e-2,
    decay="coupled",
)
class Momentum:
    """v <- momentum * v + g;  w <- w - rate * v."""

    def __init__(self, settings: MomentumSettings) -> None:
        self.settings = settings

    def build(self, groups: Groups, *, rate: float) -> torch.optim.Optimizer:
        """torch's SGD with momentum."""
        momentum = self.settings.momentum
        return torch.optim.SGD(with_decay(groups), lr=rate, momentum=momentum, **fastest(groups))


@dataclass(frozen=True)
class NesterovSettings(Settings):
    """How long the past keeps pushing."""

    momentum: float = 0.9
    """Share of the last step's velocity that is kept, in (0, 1)."""

    def __post_init__(self) -> None:
        check_share("nesterov", "momentum", self.momentum, above_zero=True)


@part(
    "optimizer",
    "nesterov",
    summary="Momentum that looks ahead to where it is going, and so brakes before the bottom.",
    source="Nesterov 1983, Soviet Mathematics Doklady 27; Sutskever et al. 2013, ICML",
    settings=NesterovSettings,
    default_rate=1e-2,
    decay="coupled",
)
class Nesterov:
    """v <- momentum * v + g;  w <- w - rate * (g + momentum * v)."""

    def __init__(self, settings: NesterovSettings) -> None:
        self.settings = settings

    def build(self, groups: Groups, *, rate: float) -> torch.optim.Optimizer:
        """torch's SGD with Nesterov's momentum."""
        momentum = self.settings.momentum
        return torch.optim.SGD(
            with_decay(groups), lr=rate, momentum=momentum, nesterov=True, **fastest(groups)
        )


@dataclass(frozen=True)
class AdagradSettings(Settings):
    """What is added where divisions could go wrong."""

    eps: float = 1e-10
    """Added to the root of the summed squares."""

    def __post_init__(self) -> None:
        check_positive("adagrad", "eps", self.eps)


@part(
    "optimizer",
    "adagrad",
    summary="A rate for each weight that only falls, as its squared gradients add up; for rare features.",
    source="Duchi, Hazan, Singer 2011, JMLR 12",
    settings=AdagradSettings,
    default_rate=1e-2,
    decay="coupled",
)
class Adagrad:
    """s <- s + g^2;  w <- w - rate * g / (sqrt(s) + eps)."""

    def __init__(self, settings: AdagradSettings) -> None:
        self.settings = settings

    def build(self, groups: Groups, *, rate: float) -> torch.optim.Optimizer:
        """torch's Adagrad."""
        form = fastest(groups, devices=("cpu",))
        return torch.optim.Adagrad(with_decay(groups), lr=rate, eps=self.settings.eps, **form)


@dataclass(frozen=True)
class AdadeltaSettings(Settings):
    """The constants of the paper."""

    rho: float = 0.95
    """Share of the running averages that is kept a step, in [0, 1)."""
    eps: float = 1e-6
    """Under both roots: it starts the first steps, and keeps them from dying out."""

    def __post_init__(self) -> None:
        check_share("adadelta", "rho", self.rho)
        check_positive("adadelta", "eps", self.eps)


@part(
    "optimizer",
    "adadelta",
    summary="Adagrad over a window, in the units of the weights: needs no rate, and its steps do not vanish.",
    source="Zeiler 2012, arXiv:1212.5701",
    settings=AdadeltaSettings,
    default_rate=1.0,
    decay="coupled",
)
class Adadelta:
    """A step is g * RMS(recent steps) / RMS(recent gradients), times the rate."""

    def __init__(self, settings: AdadeltaSettings) -> None:
        self.settings = settings

    def build(self, groups: Groups, *, rate: float) -> torch.optim.Optimizer:
        """torch's Adadelta."""
        rho, eps = self.settings.rho, self.settings.eps
        return torch.optim.Adadelta(with_decay(groups), lr=rate, rho=rho, eps=eps, foreach=True)


@dataclass(frozen=True)
class RMSpropSettings(Settings):
    """The constants of the lecture."""

    alpha: float = 0.9
    """Share of the running average of squared gradients that is kept a step, in [0, 1)."""
    eps: float = 1e-8
    """Added to the root."""
    momentum: float = 0.0
    """Share of the last step's velocity that is kept, in [0, 1)."""
    centered: bool = False
    """Whether to divide by the deviation of the gradients instead of their size (Graves 2013)."""

    def __post_init__(self) -> None:
        check_share("rmsprop", "alpha", self.alpha)
        check_share("rmsprop", "momentum", self.momentum)
        check_positive("rmsprop", "eps", self.eps)


@part(
    "optimizer",
    "rmsprop",
    summary="Divides each gradient by the size of its recent ones: follows a loss that keeps moving.",
    source="Tieleman, Hinton 2012, Neural Networks for Machine Learning, lecture 6e",
    settings=RMSpropSettings,
    default_rate=1e-3,
    decay="coupled",
)
class RMSprop:
    """s <- alpha * s + (1 - alpha) * g^2;  w <- w - rate * g / (sqrt(s) + eps)."""

    def __init__(self, settings: RMSpropSettings) -> None:
        self.settings = settings

    def build(self, groups: Groups, *, rate: float) -> torch.optim.Optimizer:
        """torch's RMSprop."""
        own = self.settings
        return torch.optim.RMSprop(
            with_decay(groups),
            lr=rate,
            alpha=own.alpha,
            eps=own.eps,
            momentum=own.momentum,
            centered=own.centered,
            foreach=True,
        )


@dataclass(frozen=True)
class AdamSettings(Settings):
    """The constants of the paper."""

    beta1: float = 0.9
    """Share of the running mean of gradients that is kept a step, in [0, 1)."""
    beta2: float = 0.999
    """Share of the running mean of squared gradients that is kept a step, in [0, 1)."""
    eps: float = 1e-8
    """Added to the root."""

    def __post_init__(self) -> None:
        check_share("adam", "beta1", self.beta1)
        check_share("adam", "beta2", self.beta2)
        check_positive("adam", "eps", self.eps)


@part(
    "optimizer",
    "adam",
    summary="Momentum and a rate for each weight, both corrected for their start: fast with little tuning.",
    source="Kingma, Ba 2014, arXiv:1412.6980",
    settings=AdamSettings,
    default_rate=1e-3,
    decay="coupled",
)
class Adam:
    """w <- w - rate * mean(g) / (sqrt(mean(g^2)) + eps), both means running ones."""

    def __init__(self, settings: AdamSettings) -> None:
        self.settings = settings

    def build(self, groups: Groups, *, rate: float) -> torch.optim.Optimizer:
        """torch's Adam."""
        betas = (self.settings.beta1, self.settings.beta2)
        eps = self.settings.eps
        return torch.optim.Adam(with_decay(groups), lr=rate, betas=betas, eps=eps, **fastest(groups))


@dataclass(frozen=True)
class AdamWSettings(Settings):
    """The constants of the paper."""

    beta1: float = 0.9
    """Share of the running mean of gradients that is kept a step, in [0, 1)."""
    beta2: float = 0.999
    """Share of the running mean of squared gradients that is kept a step, in [0, 1); 0.95 for language models."""
    eps: float = 1e-8
    """Added to the root."""

    def __post_init__(self) -> None:
        check_share("adamw", "beta1", self.beta1)
        check_share("adamw", "beta2", self.beta2)
        check_positive("adamw", "eps", self.eps)


@part(
    "optimizer",
    "adamw",
    summary="Adam whose weight decay does not depend on the gradients: the usual choice for networks.",
    source="Loshchilov, Hutter 2017, arXiv:1711.05101",
    settings=AdamWSettings,
    default_rate=1e-3,
    decay="decoupled",
)
class AdamW:
    """Adam's step after w <- w * (1 - rate * decay)."""

    def __init__(self, settings: AdamWSettings) -> None:
        self.settings = settings

    def build(self, groups: Groups, *, rate: float) -> torch.optim.Optimizer:
        """torch's AdamW."""
        betas = (self.settings.beta1, self.settings.beta2)
        eps = self.settings.eps
        return torch.optim.AdamW(with_decay(groups), lr=rate, betas=betas, eps=eps, **fastest(groups))


@dataclass(frozen=True)
class MuonSettings(Settings):
    """The constants of Muon for the matrices, and of AdamW for the rest."""

    momentum: float = 0.95
    """Share of the running mean of a matrix's gradients that is kept a step, in (0, 1)."""
    num_iterations: int = 5
    """Newton-Schulz iterations that make the step nearly orthogonal."""
    beta1: float = 0.9
    """AdamW's share of the running mean of gradients, in [0, 1)."""
    beta2: float = 0.95
    """AdamW's share of the running mean of squared gradients, in [0, 1)."""
    eps: float = 1e-8
    """AdamW's: added to the root."""

    def __post_init__(self) -> None:
        check_share("muon", "momentum", self.momentum, above_zero=True)
        check_share("muon", "beta1", self.beta1)
        check_share("muon", "beta2", self.beta2)
        check_positive("muon", "eps", self.eps)
        if not 1 <= self.num_iterations <= 20:
            raise RecipeError(f"muon.num_iterations must lie between 1 and 20, got {self.num_iterations}.")


@part(
    "optimizer",
    "muon",
    summary="Orthogonal steps for the hidden matrices, AdamW for all else: fewest steps for Transformers and MLPs.",
    source="Jordan et al. 2024, kellerjordan.github.io/posts/muon; Liu et al. 2025, arXiv:2502.16982",
    settings=MuonSettings,
    default_rate=1e-3,
    decay="decoupled",
    by_role=True,
)
class Muon:
    """Each hidden matrix moves along the orthogonal matrix nearest to its momentum.

    The step is scaled to the size of AdamW's (0.2 * sqrt(longer side), arXiv:2502.16982), so that one rate and one
    decay serve both kinds of parameters.
    """

    def __init__(self, settings: MuonSettings) -> None:
        self.settings = settings

    def build(self, groups: Groups, *, rate: float) -> torch.optim.Optimizer:
        """torch's Muon over the groups with `hidden_matrices` set, AdamW over the others, as one optimizer."""
        own = self.settings
        return MuonWithAdamW(
            with_decay(groups),
            rate=rate,
            momentum=own.momentum,
            num_iterations=own.num_iterations,
            betas=(own.beta1, own.beta2),
            eps=own.eps,
            form=fastest([group for group in groups if not group.get("hidden_matrices")]),
        )


def with_decay(groups: Groups) -> list[dict[str, Any]]:
    """Copies of the groups; one that says nothing of decay has none, whatever torch's own default is."""
    return [{"weight_decay": 0.0, **group, "params": list(group["params"])} for group in groups]


def fastest(groups: Groups, *, devices: tuple[str, ...] = ("cpu", "cuda")) -> dict[str, Any]:
    """The argument that asks for torch's fused kernel where all parameters can take it, else for `foreach`."""
    parameters = [parameter for group in groups for parameter in group["params"]]
    can_fuse = all(p.device.type in devices and torch.is_floating_point(p) for p in parameters)
    return {"fused": True} if can_fuse else {"foreach": True}


def check_share(part: str, name: str, value: float, *, above_zero: bool = False) -> None:
    """Refuse what is not a share below 1."""
    if not 0 <= value < 1 or (above_zero and value == 0):
        raise RecipeError(f"{part}.{name} must lie in {'(' if above_zero else '['}0, 1), got {value}.")


def check_positive(part: str, name: str, value: float) -> None:
    """Refuse what is not a finite number above 0."""
    if not 0 < value < float("inf"):
        raise RecipeError(f"{part}.{name} must be above 0, got {value}.")
