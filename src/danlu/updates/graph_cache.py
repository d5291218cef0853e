"""Graphs that this process has compiled, for later fits of the same step: another fold, the same network again.

A graph takes its tensors as arguments, so that it serves every model that is built alike. Two models are alike where
their modules are of the same classes with the same plain attributes and the same shapes; one that holds anything
else (a tensor that is no buffer, an object of a class that is not danlu's) is like no other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Mapping
from types import BuiltinFunctionType, FunctionType
from typing import Any

import torch
from torch import Tensor, nn

from danlu.updates.step_graph import Graph, Plan

MOST = 64  # graphs that are kept; the oldest go first
_GRAPHS: dict[Hashable, Graph] = {}
PLAIN = (type(None), bool, int, float, str, bytes, torch.dtype, torch.device, type)


class Unlike(Exception):
    """Something of which nothing can be said but that it is itself."""


def key_of(plan: Plan) -> Hashable | None:
    """What a plan's graph depends on beside the layout of the batch; None where that cannot be said."""
    parts = {field.name: getattr(plan, field.name) for field in dataclasses.fields(plan)}
    try:
        return (torch.get_num_threads(), *((name, likeness(value)) for name, value in parts.items()))
    except Unlike:
        return None


def cached(key: Hashable | None, layout: Hashable, compile_: Callable[[], Graph]) -> Graph:
    """The graph of this step for batches of this layout, compiled now unless it was before."""
    if key is None:
        return compile_()
    place = (key, layout)
    if place not in _GRAPHS:
        graph = compile_()
        if graph.constants:  # a teacher's weights, for one: they are values, and not in the key
            return graph
        _GRAPHS[place] = graph
        for oldest in list(_GRAPHS)[:-MOST]:
            del _GRAPHS[oldest]
    return _GRAPHS[place]


def likeness(value: Any) -> Hashable:
    """Equal for things that a graph cannot tell apart; `Unlike` for what may differ unseen."""
    if isinstance(value, PLAIN):
        return (type(value), value)
    if isinstance(value, (tuple, list)):
        return (type(value), tuple(likeness(item) for item in value))
    if isinstance(value, (set, frozenset)):
        return (type(value), frozenset(likeness(item) for item in value))
    if isinstance(value, Mapping):
        return (type(value), tuple((likeness(key), likeness(item)) for key, item in value.items()))
    if isinstance(value, nn.Module):
        return of_module(value)
    if isinstance(value, BuiltinFunctionType) or (
        isinstance(value, FunctionType) and value.__closure__ is None and not value.__defaults__
    ):
        return (type(value), value)
    if type(value).__module__.startswith("danlu.") and hasattr(value, "__dict__"):
        return (type(value), likeness(vars(value)))
    raise Unlike


def of_module(module: nn.Module) -> Hashable:
    """A module by its class, its attributes, its tensors' shapes, and its children."""
    tensors = [
        (name, None if tensor is None else of_tensor(tensor))
        for held in (module._parameters, module._buffers)
        for name, tensor in held.items()
    ]
    own = {
        name: value
        for name, value in vars(module).items()
        if name not in ("_parameters", "_buffers", "_modules")
    }
    children = [
        (name, None if child is None else of_module(child)) for name, child in module._modules.items()
    ]
    return (type(module), tuple(tensors), likeness(own), tuple(children))


def of_tensor(tensor: Tensor) -> Hashable:
    """A tensor without its values."""
    return (tensor.shape, tensor.stride(), tensor.dtype, tensor.device, tensor.requires_grad)
