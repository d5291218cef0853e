"""How the steps of a fit are run: eager or compiled, threads, layout. Timed on copies where a fit is long enough.

A choice is remembered per model, batch, optimizer and machine in $XDG_CACHE_HOME/danlu/execution.json, and written
into the run's plan.lock: a resumed or repeated run obeys that and measures nothing, since two ways of running differ
in the last bits.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from danlu.core.errors import RecipeError, UserError
from danlu.core.files import write_json
from danlu.core.ideas import Batch, Context, Objective, Position
from danlu.core.runtime import environment
from danlu.updates.compiled import CannotCompile, CompiledSteps, compile_steps
from danlu.updates.gradient import GradientUpdate, StepParts, with_channels_last
from danlu.updates.settings import EngineSettings

LONG_SECONDS = 5.0  # a fit of less is run as the rules of thumb say
COLD_COMPILE = 120.0  # seconds that a fit has to last before a first compilation, of 15 to 30 s, is tried
WARM_COMPILE = 20.0  # the same where this step was compiled on this machine before: 2 to 5 s
TIMED_SECONDS = 0.25  # of one way of running, after its first steps
GAIN = 1.1  # another way must be this much faster than the plain one to be chosen
CALL = 16  # steps between two looks of the loop, where they are compiled
STEP_SECONDS = 100e-6  # the least that any step takes
SLOW_RATE = 2e10  # operations a second of a slow machine
REUSED = 100  # times that a kernel or a recurrent weight is used for one row, at least
TINY_STEP = 50e6  # floating-point operations of a step below which a second thread costs more than it brings


@dataclass(frozen=True)
class Execution:
    """One way of running the steps."""

    execution: Literal["eager", "compiled"] = "eager"
    threads: int = 1
    layout: Literal["contiguous", "channels_last"] = "contiguous"
    steps_per_call: int = 1
    why: str = "a short fit: not timed"

    def __str__(self) -> str:
        threads = f"{self.threads} thread{'s' if self.threads > 1 else ''}"
        return f"{self.execution}, {self.layout.replace('_', ' ')}, {threads}"


def plain_execution(
    model: nn.Module,
    parts: StepParts,
    engine: EngineSettings,
    examples: Callable[[int], list[Batch]],
    context: Context,
) -> Execution:
    """What the settings name, and rules of thumb for the rest; `RecipeError` where they cannot be obeyed."""
    compiled = engine.execution == "compiled"
    if compiled and (blocked := why_not_compiled(model, parts, context)):
        raise RecipeError(f"engine.execution 'compiled' does not go with {blocked}. Use 'eager'.")
    # Compiled kernels of images are slower than eager ones in the contiguous layout (0.8x), and faster in this (2x).
    images = compiled and engine.layout == "auto" and has_images(model)
    return Execution(
        "compiled" if compiled else "eager",
        engine.threads if isinstance(engine.threads, int) else rule_of_threads(model, examples, context),
        "channels_last" if images or engine.layout == "channels_last" else "contiguous",
        steps_per_call(engine, compiled=compiled),
        Execution.why if engine.execution == "auto" else "as the recipe says",
    )


def is_short(model: nn.Module, total_steps: int | None, examples: Callable[[int], list[Batch]]) -> bool:
    """Whether a fit is surely over before timing it could pay; the same answer on every machine."""
    if total_steps is None:
        return False
    return total_steps * (STEP_SECONDS + operations(model, examples) / SLOW_RATE) < LONG_SECONDS


def choose_execution(
    model: nn.Module,
    objective: Objective,
    optimizer: Callable[[nn.Module], torch.optim.Optimizer],
    parts: StepParts,
    engine: EngineSettings,
    plain: Execution,
    *,
    examples: Callable[[int], list[Batch]],
    total_steps: int | None,
    seconds_at_most: float = float("inf"),
    context: Context,
) -> Execution:
    """The fastest way of running that the settings leave open, `plain` unless another one is clearly faster."""
    left = min(context.deadline.seconds_left, seconds_at_most)
    may_compile = engine.execution == "auto" and not why_not_compiled(model, parts, context)
    ways = [plain]
    if engine.threads == "auto" and plain.threads != (all_threads := max(context.num_threads, 1)):
        ways.append(replace(plain, threads=all_threads))
    if engine.layout == "auto" and plain.layout == "contiguous" and has_images(model):
        ways += [replace(way, layout="channels_last") for way in ways]
    on_cpu = all(p.device.type == "cpu" for p in model.parameters())
    if (len(ways) == 1 and not may_compile) or not on_cpu or left < LONG_SECONDS:
        return plain
    batches = examples(8)

    def seconds(way: Execution) -> float:
        return seconds_per_step(model, objective, optimizer, parts, way, batches, context)

    first = seconds(plain)
    expected = min(left, float("inf") if total_steps is None else total_steps * first)
    if expected < LONG_SECONDS:
        return plain
    is_long = expected >= COLD_COMPILE
    memory = Memory(model, optimizer(model), parts, engine, batches[0], context, is_long=is_long)
    if (known := memory.read()) is not None:
        return known
    if may_compile and not is_long and expected >= WARM_COMPILE:
        known = Memory(model, optimizer(model), parts, engine, batches[0], context, is_long=True).read()
        if known is not None and known.execution == "compiled":
            return known
    times = {plain: first} | {way: seconds(way) for way in ways[1:]}
    best = min(times, key=lambda way: times[way])
    best = best if times[plain] > GAIN * times[best] else plain
    if may_compile and is_long:
        layout = "channels_last" if engine.layout == "auto" and has_images(model) else best.layout
        calls = steps_per_call(engine, compiled=True)
        compiled = replace(best, execution="compiled", layout=layout, steps_per_call=calls)
        with suppress(CannotCompile):
            times[compiled] = seconds(compiled)
            best = compiled if times[best] > GAIN * times[compiled] else best
    told = ", ".join(f"{way} {1e3 * took:.3g} ms" for way, took in times.items())
    chosen = replace(best, why=f"the fastest of: {told} a step")
    memory.write(chosen)
    return chosen


def seconds_per_step(
    model: nn.Module,
    objective: Objective,
    optimizer: Callable[[nn.Module], torch.optim.Optimizer],
    parts: StepParts,
    way: Execution,
    batches: Sequence[Batch],
    context: Context,
) -> float:
    """Wall seconds of one real step on a copy of the model; the random streams are left as they are."""
    trial = copy.deepcopy(model).train()
    parts = replace(
        parts, probe=None, average=copy.deepcopy(parts.average), channels_last=way.layout == "channels_last"
    )
    apply_layout(trial, way)
    built = optimizer(trial)
    own = Context(seed=context.seed, position=Position(), num_threads=way.threads)
    with with_threads(way.threads), torch.random.fork_rng():
        if way.execution == "compiled":
            parts.compiled = compiled_steps(trial, objective, built, parts, batches)
        update = GradientUpdate(built, parts)
        update(trial, objective, batches[:2], own)  # the first steps make room for gradients and moments
        started, steps = time.perf_counter(), 0
        while time.perf_counter() - started < TIMED_SECONDS:
            update(trial, objective, batches, own)
            steps += len(batches)
        return (time.perf_counter() - started) / steps


@contextmanager
def with_threads(number: int) -> Iterator[None]:
    """Within it torch computes with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def compiled_steps(
    model: nn.Module,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    parts: StepParts,
    batches: Sequence[Batch],
) -> CompiledSteps:
    """The step compiled for every layout among `batches`, for the threads as they are set now.

    `CannotCompile` says why not.
    """
    return compile_steps(
        model,
        objective,
        optimizer,
        example_batches=[with_channels_last(batch) for batch in batches] if parts.channels_last else batches,
        clip_norm=parts.clip_norm,
        clip_value=parts.clip_value,
        precision="bf16" if parts.precision == "bf16" else "fp32",
    )


def why_not_compiled(model: nn.Module, parts: StepParts, context: Context) -> str:
    """What of the settings a compiled step does not do; empty where it does all of them."""
    reasons = {
        "training.average": parts.average is not None,
        "training.l1": bool(parts.l1),
        "training.l2": bool(parts.l2),
        "training.max_norm": parts.max_norm is not None,
        "engine.micro_batch": parts.micro_batch is not None,
        "several processes": context.ranks.number > 1,
        "a device other than the CPU": any(p.device.type != "cpu" for p in model.parameters()),
    }
    return next((name for name, holds in reasons.items() if holds), "")


def apply_layout(model: nn.Module, way: Execution) -> None:
    """Give the kernels of convolutions the layout that was chosen; their outputs follow."""
    if way.layout == "channels_last":
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def steps_per_call(engine: EngineSettings, *, compiled: bool) -> int:
    """Steps between two looks of the loop."""
    if isinstance(engine.steps_per_call, int):
        return engine.steps_per_call
    return CALL if compiled else 1


def rule_of_threads(model: nn.Module, examples: Callable[[int], list[Batch]], context: Context) -> int:
    """One thread for a tiny step, all for others."""
    return 1 if operations(model, examples) < TINY_STEP else max(context.num_threads, 1)


def operations(model: nn.Module, examples: Callable[[int], list[Batch]]) -> float:
    """About how many floating-point operations a step takes: 6 a row and weight, more where weights are used again."""
    first: Any = examples(1)[0]
    while isinstance(first, Mapping):
        first = next(iter(first.values()))
    again = any(isinstance(module, (nn.modules.conv._ConvNd, nn.RNNBase)) for module in model.modules())
    return 6 * len(first) * sum(p.numel() for p in model.parameters()) * (REUSED if again else 1)


def has_images(model: nn.Module) -> bool:
    """Whether the layout of images matters."""
    return any(isinstance(module, nn.Conv2d) for module in model.modules())


class Memory:
    """What was found to be fastest for such a step on this machine."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        parts: StepParts,
        engine: EngineSettings,
        batch: Batch,
        context: Context,
        *,
        is_long: bool,
    ) -> None:
        facts = {
            "model": str(model),
            "parameters": [(name, list(p.shape), str(p.dtype)) for name, p in model.named_parameters()],
            "optimizer": type(optimizer).__name__,
            "precision": parts.precision,
            "batch": {name: str(getattr(value, "shape", "")) for name, value in batch.items()},
            "blocked": why_not_compiled(model, parts, context),
            "ranks": context.ranks.number,
            "threads": context.num_threads,
            "open": [engine.execution, engine.threads, engine.layout, engine.steps_per_call],
            "is_long": is_long,
            "machine": environment(),
        }
        self._key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]
        folder = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        self._file = Path(folder) / "danlu" / "execution.json"

    def read(self) -> Execution | None:
        """The choice that was made before, if there is one."""
        try:
            return Execution(**json.loads(self._file.read_text(encoding="utf-8"))[self._key])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, chosen: Execution) -> None:
        """Remember a choice; a folder that cannot be written to is no reason to stop."""
        try:
            known = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            known = {}
        kept = known if isinstance(known, dict) else {}
        with suppress(UserError):
            write_json(self._file, kept | {self._key: asdict(chosen)})
