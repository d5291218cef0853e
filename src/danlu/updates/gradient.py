"""A gradient step with any torch optimizer: forward, loss, backward, clip, step (the five steps of training)."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import nn

from danlu.core.duration import Duration, parse_duration
from danlu.core.errors import RecipeError
from danlu.core.ideas import Batch, Context, Objective, Position, State, Step
from danlu.updates.compiled import CompiledSteps
from danlu.updates.optimizer_state import load_optimizer_state, optimizer_state
from danlu.updates.parallel import Parallel, is_slice, local, num_rows
from danlu.updates.parameter_groups import weights
from danlu.updates.penalties import add_l2_gradient, limit_row_norms, shrink_to_zero
from danlu.updates.schedules import Observing, Schedule
from danlu.updates.settings import TrainingSettings
from danlu.updates.signals import Probe, first_fault

MAX_EPOCHS = 200  # of a fit that early stopping watches
CHECKED_STEPS = 16  # on a GPU a loss is read this often: reading one makes the processor wait for the device


class Average(Protocol):
    """Averaged weights beside the model's own."""

    def start(self, model: nn.Module, *, num_epochs: float | None = None) -> None: ...
    def update(self, model: nn.Module, position: Position) -> None: ...
    def swapped(self, model: nn.Module) -> AbstractContextManager[None]: ...
    def state(self) -> State: ...
    def load(self, state: State) -> None: ...


@dataclass
class StepParts:
    """What a gradient step is made of beside the optimizer; everything may be left out."""

    schedule: Schedule | None = None
    total_steps: int = 1
    """Steps of the whole fit, by which a schedule measures."""
    greater_is_better: bool = False
    """Of the validation score, for a schedule that follows it."""
    clip_norm: float | None = None
    clip_value: float | None = None
    l1: float = 0.0
    l2: float = 0.0
    max_norm: float | None = None
    average: Average | None = None
    micro_batch: int | None = None
    """Rows that are computed at once."""
    precision: str = "fp32"
    probe: Probe | None = None
    compiled: CompiledSteps | None = None
    """The step as one compiled graph; batches that it has no graph for are taken eagerly."""
    chunk: int = 1
    """Batches a call."""
    channels_last: bool = False
    """Whether images lie in memory channel by channel for each pixel, as the kernels of the model then do."""
    parallel: Parallel | None = None
    """How the model is spread over several ranks, where there are several."""
    spare: Batch | None = None
    """One row, for a rank that has none at the end of an epoch: it passes through the model and counts nothing."""


class GradientUpdate:
    """Moves the parameters of a module against the gradient of the objective's loss."""

    def __init__(self, optimizer: torch.optim.Optimizer, parts: StepParts | None = None) -> None:
        self.optimizer, self.parts = optimizer, parts or StepParts()
        self.chunk = self.parts.chunk
        self._bases = [float(group["lr"]) for group in optimizer.param_groups]
        self._parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self._on_cpu = all(p.device.type == "cpu" for p in self._parameters)
        self._seen_at = 0
        self._matrices: list[nn.Parameter] | None = None
        self._follows = isinstance(self.parts.schedule, Observing)
        self._is_plain = self.parts.precision == "fp32" and self.parts.parallel is None

    def __call__(
        self, model: nn.Module, objective: Objective, batches: Sequence[Batch], context: Context
    ) -> Step:
        """One step on each batch; `signals` hold the learning rate and, every now and then, those of each layer."""
        parts = self.parts
        if self._follows:
            self._follow(context)
        looks = parts.probe is not None and context.ranks.rank == 0 and parts.probe.is_due()
        signals: dict[str, Any] = {}
        if parts.channels_last:
            batches = [with_channels_last(batch) for batch in batches]
        if looks:
            assert parts.probe is not None
            seed_step(context, 0)
            signals |= parts.probe.look(model, objective, self._at_once(batches[0]))
        step = self._steps(model, objective, batches, context)
        if looks and not step.fault:
            assert parts.probe is not None
            signals |= parts.probe.compare(model, len(batches))
        step.signals |= signals
        step.notable = looks
        return step

    def _at_once(self, batch: Batch) -> Batch:
        """As many rows of a batch as may be computed at once, for a look: all of them could be too many to hold."""
        most = self.parts.micro_batch
        return batch if most is None else split_rows(batch, math.ceil(num_rows(batch) / most))[0]

    def _steps(
        self, model: nn.Module, objective: Objective, batches: Sequence[Batch], context: Context
    ) -> Step:
        compiled = self.parts.compiled
        if compiled is not None and all(compiled.takes(batch) for batch in batches):
            return self._in_one_graph(compiled, model, objective, batches, context, 0)
        steps: list[Step] = []
        for number, batch in enumerate(batches):
            if compiled is not None and compiled.takes(batch):
                steps.append(self._in_one_graph(compiled, model, objective, [batch], context, number))
            else:
                steps.append(self._step(model, objective, batch, context, number))
            if steps[-1].fault:
                return steps[-1]
        return steps[0] if len(steps) == 1 else _mean(steps)

    def _step(
        self, model: nn.Module, objective: Objective, batch: Batch, context: Context, number: int
    ) -> Step:
        parts, parameters = self.parts, self._parameters
        seed_step(context, number)
        rate = self._set_rate(context.position.step + number)
        for parameter in parameters:
            parameter.grad = None
        losses = self._backward(model, objective, batch, context)
        signals: dict[str, Any] = {"learning_rate": rate}
        if parts.l2:
            add_l2_gradient(self._decayed(model), parts.l2)
        if parts.clip_value is not None:
            nn.utils.clip_grad_value_(parameters, parts.clip_value)
        if parts.clip_norm is not None:
            norm: Any = nn.utils.clip_grad_norm_(parameters, parts.clip_norm)
            signals["gradient_norm"] = norm.full_tensor() if is_slice(norm) else norm
        if self._on_cpu or (context.position.step + number) % CHECKED_STEPS == 0:
            watched = (
                losses.values() if parts.clip_norm is None else [*losses.values(), signals["gradient_norm"]]
            )
            if not all(math.isfinite(float(value)) for value in watched):
                return Step(losses, signals, fault=self._fault(model, objective, batch, context, number))
        self.optimizer.step()
        if parts.l1:
            shrink_to_zero([local(weight) for weight in self._decayed(model)], rate * parts.l1)
        if parts.max_norm is not None:
            limit_row_norms([local(weight) for weight in self._decayed(model)], parts.max_norm)
        if parts.average is not None:
            parts.average.update(model, context.after)
        return Step(losses, signals)

    def _backward(
        self, model: nn.Module, objective: Objective, batch: Batch, context: Context
    ) -> dict[str, Any]:
        """Gradients of the mean loss over the rows of all ranks; the loss itself, by term."""
        ranks, parts = context.ranks, self.parts
        counts = objective.counts(batch)
        pieces = [batch]
        if parts.micro_batch is not None or ranks.number > 1:
            everywhere = ranks.total({**counts, "rows": float(num_rows(batch))})
            most = math.ceil(everywhere.pop("rows") / ranks.number)
            counts = everywhere
            pieces = split_rows(batch, math.ceil(most / (parts.micro_batch or most or 1)) or 1)
        forward = model if parts.parallel is None else parts.parallel.forward
        losses: dict[str, Any] = {}
        for number, piece in enumerate(pieces):
            if self._is_plain:
                sums = objective.sums(model, piece)
                backward(sums, counts, 1)
            else:
                is_spare = parts.spare is not None and not num_rows(piece)
                with self._autocast(model), _synchronised(forward, number == len(pieces) - 1):
                    sums = objective.sums(forward, parts.spare if is_spare and parts.spare else piece)
                    # Wrappers for several ranks take the mean of the ranks' gradients; their sum is what is wanted.
                    backward(sums, counts, 0 if is_spare else ranks.number)
                if is_spare:
                    sums = {term: torch.zeros_like(total) for term, total in sums.items()}
            for term, total in sums.items():
                # On the CPU a number costs less to read than to compute with as a tensor.
                loss = (total.item() if self._on_cpu else total.detach()) / (counts[term] or 1.0)
                losses[term] = losses[term] + loss if term in losses else loss
        if ranks.number > 1:
            losses = {
                t: torch.tensor(v, dtype=torch.float64)
                for t, v in ranks.total({t: float(v) for t, v in losses.items()}).items()
            }
        return losses

    def _in_one_graph(
        self,
        compiled: CompiledSteps,
        model: nn.Module,
        objective: Objective,
        batches: Sequence[Batch],
        context: Context,
        number: int,
    ) -> Step:
        first = context.position.step + number
        seed_step(context, number)
        rates = [[base * self._factor(first + n) for base in self._bases] for n in range(len(batches))]
        losses, norm, finite = compiled(batches, rates=rates)
        signals = {"learning_rate": rates[-1][0], "gradient_norm": norm}
        if not bool(finite):  # the model is as it was before the broken step
            what = next(filter(None, (first_fault(model, objective, batch) for batch in batches)), "")
            where = (
                f"at step {first + 1}"
                if len(batches) == 1
                else f"in steps {first + 1} to {first + len(batches)}"
            )
            return Step(losses, signals, fault=f"{what or 'the loss is no longer a finite number'}, {where}")
        return Step(losses, signals)

    def _fault(
        self, model: nn.Module, objective: Objective, batch: Batch, context: Context, number: int
    ) -> str:
        seed_step(context, number)  # dropout drops what it dropped
        parallel = self.parts.parallel
        if parallel is None:
            what = first_fault(model, objective, batch)
        else:  # the first rank that finds something says it
            own = batch if num_rows(batch) or self.parts.spare is None else self.parts.spare
            what = context.ranks.agree(parallel.first_fault(objective, own))
        what = what or "the loss is no longer a finite number"
        return f"{what}, at step {context.position.step + number + 1}"

    def _follow(self, context: Context) -> None:
        """Show a new validation score to a schedule that follows it."""
        schedule: Any = self.parts.schedule
        score = context.metrics.get(context.metric)
        if context.scored_at != self._seen_at and score is not None:
            schedule.observe(score, self.parts.greater_is_better)
        self._seen_at = context.scored_at

    def _factor(self, step: int) -> float:
        schedule = self.parts.schedule
        return 1.0 if schedule is None else schedule.factor(step, self.parts.total_steps)

    def _set_rate(self, step: int) -> float:
        """Set the learning rate of this step; returns that of the first group."""
        if self.parts.schedule is not None:
            factor = self._factor(step)
            for group, base in zip(self.optimizer.param_groups, self._bases, strict=True):
                group["lr"] = base * factor
        return self.optimizer.param_groups[0]["lr"]

    def _decayed(self, model: nn.Module) -> list[nn.Parameter]:
        """The weight matrices, which penalties speak of."""
        if self._matrices is None:
            self._matrices = weights(model)
        return self._matrices

    @contextmanager
    def _autocast(self, model: nn.Module) -> Iterator[None]:
        """Matrix products in the asked precision; what the model gives to the loss is float32 again."""
        if self.parts.precision == "fp32":
            yield
            return
        handle = model.register_forward_hook(_in_fp32)
        try:
            with torch.autocast(self._parameters[0].device.type, dtype=torch.bfloat16):
                yield
        finally:
            handle.remove()

    @contextmanager
    def evaluating(self, model: nn.Module) -> Iterator[None]:
        """Evaluation mode: no dropout, running statistics in batch norm; averaged weights where there are any."""
        average, parallel = self.parts.average, self.parts.parallel
        with nullcontext() if average is None else average.swapped(model):
            training = [module for module in model.modules() if module.training]  # some may be frozen
            model.eval()
            try:
                with nullcontext() if parallel is None else parallel.whole():
                    yield
            finally:
                for module in training:
                    module.training = True

    def state(self) -> State:
        """The optimizer's moments, what the schedule has seen, and the averages."""
        parts = self.parts
        state: State = {"optimizer": optimizer_state(self.optimizer)}
        if isinstance(parts.schedule, Observing):
            state["schedule"], state["seen_at"] = parts.schedule.state(), self._seen_at
        if parts.average is not None:
            state["average"] = parts.average.state()
        return state

    def load(self, state: State) -> None:
        """Take over what `state` gave."""
        load_optimizer_state(self.optimizer, state["optimizer"])
        if isinstance(self.parts.schedule, Observing):
            self.parts.schedule.load(state["schedule"])
            self._seen_at = state["seen_at"]
        if self.parts.average is not None:
            self.parts.average.load(state["average"])


def seed_step(context: Context, number: int) -> None:
    """Seed torch's generators for a step from (seed, step, rank), so that a resumed run draws what it would have."""
    step = context.position.step + number
    seed = (context.seed * 0x9E3779B97F4A7C15 + step * 0xBF58476D1CE4E5B9 + context.ranks.rank) & (2**63 - 1)
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed(seed)


def with_channels_last(batch: Batch) -> Batch:
    """The batch with its images (n, c, h, w) in the layout of channels_last; everything else as it is."""
    return {
        name: value.contiguous(memory_format=torch.channels_last)
        if isinstance(value, torch.Tensor) and value.ndim == 4
        else value
        for name, value in batch.items()
    }


def split_rows(batch: Batch, num_pieces: int) -> list[Batch]:
    """The rows of a batch in pieces of nearly equal length, nested mappings too."""
    rows = num_rows(batch)
    edges = [rows * n // num_pieces for n in range(num_pieces + 1)]
    return [_rows(batch, low, high) for low, high in pairwise(edges)]


def first_rows(batch: Batch, number: int) -> Batch:
    """So many rows of a batch, from its start."""
    return _rows(batch, 0, number)


def _rows(batch: Batch, low: int, high: int) -> Batch:
    return {
        name: _rows(value, low, high) if isinstance(value, Mapping) else value[low:high]
        for name, value in batch.items()
    }


def backward(sums: Mapping[str, torch.Tensor], counts: Mapping[str, float], times: int) -> None:
    """Gradients of `times` * the sum of sums / counts; rows that all weigh nothing give 0, not NaN.

    The divisors go in as the gradients to begin with, which saves the division and its own backward.
    """
    scales = [total.new_tensor(times / (counts[term] or 1.0)) for term, total in sums.items()]
    torch.autograd.backward(list(sums.values()), scales)


def _in_fp32(module: nn.Module, inputs: Any, output: Any) -> Any:
    if isinstance(output, torch.Tensor):
        return output.float()
    if isinstance(output, Mapping):
        made: Any = copy.copy(output)  # of its own class, as Hugging Face's outputs are
        for name, value in output.items():
            made[name] = _in_fp32(module, inputs, value)
        return made
    if isinstance(output, (list, tuple)):
        values = [_in_fp32(module, inputs, value) for value in output]
        return type(output)(*values) if hasattr(output, "_fields") else type(output)(values)
    return output


def _synchronised(forward: Any, is_last: bool) -> AbstractContextManager[Any]:
    """Ranks exchange gradients after the last piece only."""
    if hasattr(forward, "set_requires_gradient_sync"):
        forward.set_requires_gradient_sync(is_last)
        return nullcontext()
    return nullcontext() if is_last or not hasattr(forward, "no_sync") else forward.no_sync()


def _mean(steps: Sequence[Step]) -> Step:
    losses = {term: sum(step.losses[term] for step in steps) / len(steps) for term in steps[0].losses}
    return Step(losses, dict(steps[-1].signals))


def rows_per_step(settings: TrainingSettings, num_rows: int) -> int:
    """The batch size that the settings ask for; `auto` is about a hundred steps an epoch, within 16 .. 256 rows."""
    if settings.batch_size == "all":
        return num_rows
    if settings.batch_size == "auto":
        return int(min(max(2 ** round(math.log2(max(num_rows, 1) / 100 + 1)), 16), 256, num_rows))
    if settings.batch_size > num_rows:
        raise RecipeError(
            f"training.batch_size is {settings.batch_size}, but there are only {num_rows} training rows. "
            "Use a smaller one, or 'all' for one batch of every row."
        )
    return settings.batch_size


def how_long(settings: TrainingSettings, steps_per_epoch: int, *, validated: bool) -> Duration:
    """The longest that the fit may take; early stopping may end it before."""
    if settings.duration != "auto":
        return parse_duration(settings.duration)
    # Without validation rows nothing says when to stop: about 2000 steps fit small tables without running away.
    return Duration(
        MAX_EPOCHS if validated else max(1, min(MAX_EPOCHS, round(2000 / steps_per_epoch))), "epochs"
    )


def steps_of(text: str | Duration, steps_per_epoch: int) -> int:
    """A duration in epochs or steps as a number of steps."""
    duration = parse_duration(text) if isinstance(text, str) else text
    return int(duration.amount * (steps_per_epoch if duration.unit == "epochs" else 1))
