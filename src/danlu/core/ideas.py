"""The five ideas that every method is made of: data, model, objective, update, watcher.

    data  -- batches -->  update  -- moves -->  model
                            |  asks
                            v
                        objective: loss = sum of weight * sum / count, term by term;  prediction afterwards
    every step and every validation is an event that the watchers see

A linear regression, a boosted ensemble and a network differ in the parts, never in the loop (core/loop.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np

from danlu.core.duration import Deadline, Duration
from danlu.core.tasks import Task

Array: TypeAlias = Any
"""A NumPy array, a SciPy CSR matrix or a torch tensor: the loop never looks inside."""
Batch: TypeAlias = Mapping[str, Any]
"""Named arrays of equal length; a nested mapping is a second stream or view of the rows."""
State: TypeAlias = dict[str, Any]
"""Strings, numbers, arrays and nested states: what becomes safetensors and JSON, never pickled objects."""


class Position(NamedTuple):
    """How far the loop has come. `row` counts rows of this epoch over all ranks; `step` counts batches in all."""

    epoch: int = 0
    row: int = 0
    step: int = 0


class Item(NamedTuple):
    """One batch and where the loop stands after it."""

    batch: Batch
    after: Position
    can_save: bool = True
    """False where the data cannot go on from here after a restart, such as in the middle of a rollout."""


class Ranks:
    """The processes that train one model together; this one is a process alone."""

    rank: int = 0
    number: int = 1

    def agree(self, reason: str) -> str:
        """What rank 0 says, on every rank."""
        return reason

    def total(self, counts: dict[str, float]) -> dict[str, float]:
        """The sum of `counts` over the ranks, on every rank."""
        return counts


@dataclass
class Context:
    """What an update may know beside its batches."""

    seed: int = 0
    deadline: Deadline = field(default_factory=Deadline)
    """The moment at which the best model so far is taken."""
    position: Position = field(default_factory=Position)
    """Where the loop stands; the loop keeps it current. A resumed fit begins further on than at (0, 0, 0)."""
    after: Position = field(default_factory=Position)
    """Where the loop will stand after this call of the update."""
    seconds: float = 0.0
    """Wall seconds that this fit has taken, those before a resume included; the loop keeps them current."""
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    """The latest scores on validation rows; the loop keeps them current."""
    scored_at: int = 0
    """The step at which these were taken; 0 before the first."""
    metric: str = ""
    """The score among them that chooses."""
    num_threads: int = 1
    ranks: Ranks = field(default_factory=lambda: Ranks())
    """The processes that train this model together."""


@dataclass
class Step:
    """What one call of an update did. Values may still lie on a device; the loop reads them when it reports."""

    losses: dict[str, Any] = field(default_factory=dict[str, Any])
    """Mean of each term of the loss over the batches of this call."""
    signals: dict[str, Any] = field(default_factory=dict[str, Any])
    """Cheap facts for diagnosis, such as the gradient's norm."""
    done: bool = False
    """The model cannot get better by going on: solved exactly, converged, or a single fit that has ended."""
    notable: bool = False
    """Whether the watchers should see this step's signals, however short it is since they saw the last."""
    fault: str = ""
    """What was no longer a finite number, in words; the model is as it was before this call."""


@dataclass(frozen=True)
class Event:
    """What a watcher sees. All values are plain numbers on the host."""

    kind: Literal["start", "step", "validation", "end"]
    position: Position
    seconds: float
    """Wall seconds since the loop began."""
    losses: Mapping[str, float] = field(default_factory=dict[str, float])
    metrics: Mapping[str, float] = field(default_factory=dict[str, float])
    """Scores on validation rows, in a `validation` event."""
    signals: Mapping[str, float] = field(default_factory=dict[str, float])
    reason: str = ""
    """Why the loop stopped, in the `end` event."""
    until: Duration | None = None
    """How long the loop runs at most, in the `start` event."""


class Data(Protocol):
    """Yields batches until the loop stops asking; the order is a pure function of (seed, epoch, position)."""

    def items(self, start: Position, *, rank: int = 0, ranks: int = 1) -> Iterator[Item]:
        """Batches from `start` on, without end."""
        ...

    def state(self) -> State:
        """What, besides a position, is needed to go on with the same batches."""
        ...

    def load(self, state: State) -> None:
        """Take over what `state` gave."""
        ...


class Model(Protocol):
    """A `torch.nn.Module` or an estimator: features in, link-space scores out.

    Scores are (n,) values for a regression, (n,) logits of class 1 for two classes, (n, k) logits for k classes.
    """

    def __call__(self, x: Array, /) -> Array: ...


class Estimator(Model, Protocol):
    """A model that fits itself in one or more rounds, keeps only arrays, and scores rows with NumPy in float64."""

    def fit_round(self, batch: Batch, task: Task, context: Context) -> Step:
        """Take one round on all the training rows; `Step.done` ends the fit."""
        ...

    def state(self) -> State:
        """The fitted model as numbers and arrays."""
        ...

    def load(self, state: State) -> None:
        """Take over what `state` gave after checking every shape and range (`BundleError`)."""
        ...


class Objective(Protocol):
    """Turns scores into a loss while training and into a prediction afterwards, so that the two cannot disagree."""

    task: Task
    splittable: bool
    """Whether the loss of a batch is the sum over its rows, so that it may be accumulated in pieces."""

    def counts(self, batch: Batch) -> dict[str, float]:
        """The weight behind each term of the loss, known before the forward pass."""
        ...

    def sums(self, model: Model, batch: Batch) -> dict[str, Any]:
        """The sum over the batch of each term; the loss is the sum of `sums / counts`."""
        ...

    def predict(self, model: Model, batch: Batch) -> dict[str, np.ndarray]:
        """`values` (n,) for a regression, `probabilities` (n, k) for classes."""
        ...


class Update(Protocol):
    """Moves the parameters: a gradient step, an exact solve, a boosting round, the only round of a plain `fit`."""

    chunk: int
    """Batches that one call takes."""

    def __call__(
        self, model: Any, objective: Objective, batches: Sequence[Batch], context: Context
    ) -> Step: ...

    def evaluating(self, model: Any) -> AbstractContextManager[None]:
        """Within it the model is ready to be scored: evaluation mode, averaged weights where there are any."""
        ...

    def state(self) -> State:
        """What must be kept to go on exactly: moments, counters, averages."""
        ...

    def load(self, state: State) -> None:
        """Take over what `state` gave."""
        ...


class Watcher(Protocol):
    """Looks on and may ask to stop at a validation; never changes the model."""

    def __call__(self, event: Event) -> str | None:
        """A reason to stop, or None."""
        ...
