"""Signals for diagnosis: gradient norm and update ratio by layer, dead units, saturation, the first broken module.

They are taken from a forward and a backward pass of their own, with copies of the buffers, so that they change
nothing; how often is bounded by the share of the time that they may take.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from danlu.core.ideas import Batch, Objective

BOUNDED = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "softsign": (-1.0, 1.0)}
FIRST_SECONDS = 0.3  # before the first look: shorter fits are over before anybody could act on it
SATURATED = 0.01  # an activation this near to its bound, as a share of its range, has next to no gradient


class Probe:
    """Looks into a model every now and then; `share` is the part of the wall time that it may take."""

    def __init__(self, *, share: float) -> None:
        self._share = share
        self._started = time.perf_counter()
        self._spent = 0.0
        self._before: dict[str, torch.Tensor] = {}

    def is_due(self) -> bool:
        """Whether another look, as dear as those before it, keeps within the share."""
        elapsed = time.perf_counter() - self._started
        return elapsed > FIRST_SECONDS and self._spent <= self._share * elapsed

    def look(self, model: nn.Module, objective: Objective, batch: Batch) -> dict[str, Any]:
        """Signals of the model as it is, on this batch: `gradient/LAYER`, `dead/LAYER`, `saturated/LAYER`."""
        began = time.perf_counter()
        weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
        buffers = {name: b.clone() for name, b in model.named_buffers()}
        signals: dict[str, Any] = {}
        with torch.random.fork_rng(), _watched(model, signals), with_buffers(model, buffers):
            counts = objective.counts(batch)
            terms = [total / (counts[term] or 1.0) for term, total in objective.sums(model, batch).items()]
            loss = torch.stack(terms).sum()
            gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
        for name, gradient in zip(weights, gradients, strict=True):
            if gradient is not None:
                signals[f"gradient/{name}"] = gradient.norm()
        norms = [value for name, value in signals.items() if name.startswith("gradient/")]
        signals["gradient_norm"] = torch.stack(norms).norm() if norms else 0.0
        self._before = {name: weight.detach().clone() for name, weight in weights.items()}
        self._spent += time.perf_counter() - began
        return signals

    def compare(self, model: nn.Module, num_steps: int) -> dict[str, Any]:
        """`update/LAYER`: norm of a step's change over the norm of the weights, after `num_steps` since the look."""
        began = time.perf_counter()
        weights = dict(model.named_parameters())
        signals = {
            f"update/{name}": (weights[name].detach() - before).norm() / (num_steps * before.norm())
            for name, before in self._before.items()
            if before.any()  # a bias that still is zero has no norm to compare with
        }
        self._before = {}
        self._spent += time.perf_counter() - began
        return signals


@contextmanager
def with_buffers(model: nn.Module, buffers: dict[str, torch.Tensor]) -> Iterator[None]:
    """The model works on `buffers` and gets its own back afterwards."""
    own = dict(model.named_buffers())
    owners = {name: model.get_submodule(name.rpartition(".")[0]) for name in own}
    try:
        for name, copy in buffers.items():
            owners[name]._buffers[name.rpartition(".")[2]] = copy
        yield
    finally:
        for name, buffer in own.items():
            owners[name]._buffers[name.rpartition(".")[2]] = buffer


@contextmanager
def _watched(model: nn.Module, signals: dict[str, Any]) -> Iterator[None]:
    """Within it each activation's share of dead units, or of saturated values, is put into `signals`."""

    def on(name: str, kind: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if not isinstance(output, torch.Tensor) or output.ndim < 2 or len(output) < 2:
                return
            values = output.detach()
            if kind in BOUNDED:
                low, high = BOUNDED[kind]
                edge = SATURATED * (high - low)
                signals[f"saturated/{name}"] = ((values < low + edge) | (values > high - edge)).float().mean()
            else:  # a unit is a column of (n, d), a channel of (n, c, ...), a feature of (n, time, d)
                unit = 2 if values.ndim == 3 else 1
                others = [axis for axis in range(values.ndim) if axis != unit]
                signals[f"dead/{name}"] = (values == 0).float().amin(dim=others).mean()

        return hook

    handles = [
        module.register_forward_hook(on(name, kind))
        for name, module in model.named_modules()
        if (kind := activation_kind(module)) is not None
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def activation_kind(module: nn.Module) -> str | None:
    """`relu`, `sigmoid`, ...: the name of an activation whose units can die or saturate; None for other modules."""
    part = getattr(type(module), "__part__", None)
    name = (part.name if part is not None else type(module).__name__).lower()
    return name if name in BOUNDED or name in ("relu", "relu6", "maxout") else None


def first_fault(model: nn.Module, objective: Objective, batch: Batch) -> str:
    """Where the first number that is not finite appears, in words; empty where all are finite.

    Looks at the weights, then at each module's output in the order of the forward pass, then at the gradients.
    """
    for name, weight in model.named_parameters():
        if not torch.isfinite(weight).all():
            return f"the weights {name} are no longer finite"
    found: list[str] = []

    def hook(name: str, module: nn.Module) -> Callable[..., None]:
        def look(module_: nn.Module, inputs: Any, output: Any) -> None:
            broken = isinstance(output, torch.Tensor) and not torch.isfinite(output).all()
            if broken and not found:
                found.append(f"the output of {name or 'the model'} ({type(module).__name__}) is not finite")

        return look

    buffers = {name: b.clone() for name, b in model.named_buffers()}
    leaves = [(name, module) for name, module in model.named_modules() if not list(module.children())]
    handles = [module.register_forward_hook(hook(name, module)) for name, module in leaves]
    try:
        with torch.random.fork_rng(), with_buffers(model, buffers):
            broken = [name for name, value in batch.items() if _is_broken(value)]
            if broken:
                return f"the batch holds values that are not finite in {broken[0]!r}"
            terms = objective.sums(model, batch)
            if found:
                return found[0]
            bad = [term for term, total in terms.items() if not torch.isfinite(total)]
            if bad:
                return f"the term {bad[0]} of the loss is not finite, though every module's output is"
            weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
            loss = torch.stack(list(terms.values())).sum()
            gradients = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
            for name, gradient in reversed(list(zip(weights, gradients, strict=True))):
                if gradient is not None and not torch.isfinite(gradient).all():
                    return f"the gradient of {name} is not finite, though the loss is"
    finally:
        for handle in handles:
            handle.remove()
    return ""


def _is_broken(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point() and not torch.isfinite(value).all()
