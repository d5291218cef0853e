"""The state of any torch optimizer as plain numbers and tensors, and back to the same bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from danlu.core.errors import BundleError
from danlu.core.ideas import State

SCRATCH = ("al",)  # LBFGS fills it anew before it reads it, and it holds None


def optimizer_state(optimizer: torch.optim.Optimizer) -> State:
    """`parameters`: what is kept of each by its number; `groups`: their numbers, as rates. All tensors are copies."""
    given = optimizer.state_dict()
    return {
        "parameters": {
            str(number): {name: _copy(value) for name, value in kept.items() if name not in SCRATCH}
            for number, kept in given["state"].items()
        },
        "groups": [{name: _copy(value) for name, value in group.items()} for group in given["param_groups"]],
    }


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: State) -> None:
    """Take over what `optimizer_state` gave of an optimizer of the same kind over the same groups.

    BundleError where groups or parameters are not the same; nothing is changed then.
    """
    own = optimizer.state_dict()["param_groups"]
    groups = state["groups"]
    given, wanted = [_shape(group) for group in groups], [_shape(group) for group in own]
    if given != wanted:
        raise BundleError(
            f"The saved state is of an optimizer with {_say(groups)}, this one has {_say(own)}. "
            "Go on with the optimizer and the model that it was saved from."
        )
    kept = {int(number): values for number, values in state["parameters"].items()}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for number, values in kept.items():
        for name, value in values.items():
            # LBFGS keeps long vectors of all parameters with the first of them.
            if isinstance(value, torch.Tensor) and value.ndim and "old_dirs" not in values:
                wanted_shape = tuple(parameters[number].shape) if number < len(parameters) else None
                if tuple(value.shape) != wanted_shape:
                    raise BundleError(
                        f"The saved state's {name} of parameter {number} has the shape {tuple(value.shape)}, "
                        f"the parameter {wanted_shape}. Go on with the model that it was saved from."
                    )
    optimizer.load_state_dict(
        {
            "state": {
                number: {name: _copy(value) for name, value in values.items()}
                for number, values in kept.items()
            },
            "param_groups": [
                {name: _like(value, before[name]) for name, value in group.items()}
                for group, before in zip(groups, own, strict=True)
            ],
        }
    )
    # Fused and compiled kernels pair moments and weights as they lie in memory, such as channels_last.
    for parameter, slots in optimizer.state.items():
        for name, value in slots.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                slots[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _copy(value: Any) -> Any:
    """The same value in memory of its own; tuples become lists, which every file knows."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    return [_copy(item) for item in value] if isinstance(value, (list, tuple)) else value


def _like(value: Any, before: Any) -> Any:
    """The value with the tuple that it had before it was written down."""
    return tuple(value) if isinstance(before, tuple) else _copy(value)


def _shape(group: Mapping[str, Any]) -> tuple[int, list[str]]:
    return len(group["params"]), sorted(group)


def _say(groups: list[dict[str, Any]]) -> str:
    return f"{len(groups)} groups of {[len(group['params']) for group in groups]} parameters"
