"""Averages of the weights along the path of training: what is validated and kept in place of the last step's.

Parameters that train and buffers of floating point (batch norm's statistics) are averaged, other buffers copied.
Averages of half-precision weights are kept in float32: a step of 0.001 of the way would be lost in 8 bits.
"""

# pyright: reportPrivateImportUsage=false
# The `_foreach` functions have no public name; torch's optimizers and swa_utils are built on them.

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from danlu.core.errors import BundleError, RecipeError
from danlu.core.ideas import Position, State
from danlu.core.parts import Settings, part


@dataclass(frozen=True)
class EMASettings(Settings):
    """How far back the average reaches."""

    decay: float = 0.999
    """Share of the average that is kept a step, in (0, 1): it reaches back about 1 / (1 - decay) steps."""
    warmup: bool = True
    """Whether the decay begins low, (1 + t) / (10 + t) after t steps, so that the start is forgotten soon."""

    def __post_init__(self) -> None:
        if not 0 < self.decay < 1:
            raise RecipeError(f"ema.decay must lie in (0, 1), got {self.decay}.")


@part(
    "average",
    "ema",
    summary="Exponential moving average of the weights over the last steps: steadier scores at every moment.",
    source="Polyak, Juditsky 1992, SIAM J. Control and Optimization 30; Tarvainen, Valpola 2017, arXiv:1703.01780",
    settings=EMASettings,
)
class EMA:
    """average <- decay * average + (1 - decay) * weights after every step."""

    def __init__(self, settings: EMASettings) -> None:
        self.settings = settings
        self._average: dict[str, torch.Tensor] = {}
        self._num_steps = 0

    def start(self, model: nn.Module, *, num_epochs: float | None = None) -> None:
        """Begin at the model's weights; how long the run is does not matter."""
        self._average, self._num_steps = copies(model), 0

    def update(self, model: nn.Module, position: Position) -> None:
        """Take in the weights after a step."""
        steps, decay = self._num_steps, self.settings.decay
        self._num_steps += 1
        move(
            self._average,
            model,
            1 - (min(decay, (1 + steps) / (10 + steps)) if self.settings.warmup else decay),
        )

    @contextmanager
    def swapped(self, model: nn.Module) -> Iterator[None]:
        """Within it the model has the averaged weights; after it its own again, to the bit."""
        with exchanged(model, self._average):
            yield

    def state(self) -> State:
        """The average by the names of the weights, and the number of steps."""
        return {
            "average": {name: value.clone() for name, value in self._average.items()},
            "steps": self._num_steps,
        }

    def load(self, state: State) -> None:
        """Take over what `state` gave, after `start`."""
        self._average = taken_over(self._average, state["average"])
        self._num_steps = state["steps"]


@dataclass(frozen=True)
class SWASettings(Settings):
    """When averaging begins."""

    start: float = 0.75
    """Share of the run after which the weights at the end of each epoch are averaged, in [0, 1)."""

    def __post_init__(self) -> None:
        if not 0 <= self.start < 1:
            raise RecipeError(f"swa.start must lie in [0, 1), got {self.start}.")


@part(
    "average",
    "swa",
    summary="Plain mean of the weights at the ends of the last epochs: wider minima, for constant or high rates.",
    source="Izmailov et al. 2018, arXiv:1803.05407",
    settings=SWASettings,
)
class SWA:
    """The mean over the ends of epochs e >= start * epochs; before the first of them the weights themselves."""

    def __init__(self, settings: SWASettings) -> None:
        self.settings = settings
        self._average: dict[str, torch.Tensor] = {}
        self._count, self._epoch, self._first = 0, 0, 1

    def start(self, model: nn.Module, *, num_epochs: float | None = None) -> None:
        """Make room; `num_epochs` is the length of the run. RecipeError where no epoch would be averaged."""
        if num_epochs is None:
            raise RecipeError(
                "Average 'swa' begins after a share of the run, and the end of a run in seconds is not known. "
                "Give the duration in epochs or steps, or take 'ema'."
            )
        # The rounding lets 0.75 * 4 be 3 whatever its last bit is.
        self._first = max(int(-(-round(self.settings.start * num_epochs, 9) // 1)), 1)
        if self._first > num_epochs:
            raise RecipeError(
                f"Average 'swa' takes the weights at the end of epochs from the {self._first}. on, but the run has "
                f"{num_epochs:g} epochs. Train longer, let swa.start be smaller, or take 'ema'."
            )
        self._average, self._count, self._epoch = copies(model), 0, 0

    def update(self, model: nn.Module, position: Position) -> None:
        """Take in the weights after a step that ended an epoch late enough."""
        if position.epoch > self._epoch:
            self._epoch = position.epoch
            if position.epoch >= self._first:
                self._count += 1
                move(self._average, model, 1 / self._count)

    @contextmanager
    def swapped(self, model: nn.Module) -> Iterator[None]:
        """Within it the model has the averaged weights, once there are some; after it its own again, to the bit."""
        with exchanged(model, self._average if self._count else {}):
            yield

    def state(self) -> State:
        """The average by the names of the weights, how many are in it, and the last epoch that was seen."""
        average = {name: value.clone() for name, value in self._average.items()}
        return {"average": average, "count": self._count, "epoch": self._epoch}

    def load(self, state: State) -> None:
        """Take over what `state` gave, after `start`."""
        self._average = taken_over(self._average, state["average"])
        self._count, self._epoch = state["count"], state["epoch"]


def averaged(model: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors of the model that an average speaks of: what trains, and every buffer."""
    trained = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    return trained | {name: buffer.detach() for name, buffer in model.named_buffers()}


def copies(model: nn.Module) -> dict[str, torch.Tensor]:
    """Copies of them, half precision as float32."""
    return {
        name: value.float() if value.dtype in (torch.bfloat16, torch.float16) else value.clone()
        for name, value in averaged(model).items()
    }


def move(average: dict[str, torch.Tensor], model: nn.Module, share: float) -> None:
    """Move the average by a share of the way to the model's weights; whole numbers are copied."""
    current = averaged(model)
    floating = [name for name, value in average.items() if value.is_floating_point()]
    with torch.no_grad():
        if floating:
            own = [average[name] for name in floating]
            torch._foreach_lerp_(own, [current[name].to(average[name].dtype) for name in floating], share)
        for name in average.keys() - set(floating):
            average[name].copy_(current[name])


@contextmanager
def exchanged(model: nn.Module, values: dict[str, torch.Tensor]) -> Iterator[None]:
    """Within it the model's tensors hold `values`; copied in place, so that whoever holds a tensor keeps it."""
    current = averaged(model)
    before = {name: current[name].clone() for name in values}
    try:
        for name, value in values.items():
            current[name].copy_(value)
        yield
    finally:
        for name, value in before.items():
            current[name].copy_(value)


def taken_over(own: dict[str, torch.Tensor], given: State) -> dict[str, torch.Tensor]:
    """Copies of the given tensors on the devices of our own; BundleError where they are of another model."""
    shapes = {name: (tuple(value.shape), value.dtype) for name, value in own.items()}
    if shapes != {name: (tuple(value.shape), value.dtype) for name, value in given.items()}:
        raise BundleError(
            f"The saved average is of {len(given)} tensors, the model's {len(own)} have other names or shapes. "
            "Go on with the model that it was saved from."
        )
    return {name: given[name].to(value.device, copy=True) for name, value in own.items()}
