"""Schedules: how the learning rate changes over a run. `factor(step, total)` multiplies the base rate.

A factor is a pure function of the step (from 0 on) and the number of steps in all, so that a resumed run needs no
state. Only `reduce_on_plateau` remembers something: the validation scores that it was shown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from danlu.core.errors import RecipeError
from danlu.core.ideas import State
from danlu.core.parts import Settings, part


class Schedule(Protocol):
    """What every schedule offers."""

    def factor(self, step: int, total: int) -> float:
        """By what the base rate is multiplied at `step` of a run of `total` steps."""
        ...

    def check(self, total: int) -> None:
        """Refuse (`RecipeError`) a run too short for the schedule to do what its settings say."""
        ...


@runtime_checkable
class Observing(Protocol):
    """What a schedule offers in addition that depends on scores."""

    def observe(self, score: float, greater_is_better: bool) -> None:
        """Take note of a validation."""
        ...

    def state(self) -> State:
        """What it remembers."""
        ...

    def load(self, state: State) -> None:
        """Take over what `state` gave."""
        ...


@part("schedule", "constant", summary="The same rate from the first step to the last.")
class Constant:
    """1."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def factor(self, step: int, total: int) -> float:
        """1."""
        return 1.0

    def check(self, total: int) -> None:
        """Any length will do."""


@dataclass(frozen=True)
class StepsSettings(Settings):
    """When the rate falls, and by how much."""

    every: int | Literal["auto"] = "auto"
    """Steps from one fall to the next; `auto` is a third of the run."""
    factor: float = 0.1
    """What remains of the rate after each fall, in (0, 1)."""

    def __post_init__(self) -> None:
        if self.every != "auto" and self.every < 1:
            raise RecipeError(f"step.every must be at least 1 step, got {self.every}.")
        if not 0 < self.factor < 1:
            raise RecipeError(f"step.factor must lie in (0, 1), got {self.factor}.")


@part(
    "schedule",
    "step",
    summary="Constant stretches, each a fixed factor below the one before.",
    source="He et al. 2015, arXiv:1512.03385",
    settings=StepsSettings,
)
class Steps:
    """factor^(number of falls so far)."""

    def __init__(self, settings: StepsSettings) -> None:
        self.settings = settings

    def factor(self, step: int, total: int) -> float:
        """factor^floor(step / every)."""
        every = self.settings.every
        return self.settings.factor ** (step // (math.ceil(total / 3) if every == "auto" else every))

    def check(self, total: int) -> None:
        """The first fall must come before the end."""
        every = self.settings.every
        if every != "auto" and every >= total:
            raise RecipeError(
                f"Schedule 'step' falls every {every:,} steps, but the run has {total:,}: it would never fall. "
                "Give a smaller step.every, or take 'constant'."
            )


@dataclass(frozen=True)
class ExponentialSettings(Settings):
    """Where the rate ends."""

    final: float = 0.01
    """Share of the rate that is left at the end, in (0, 1)."""

    def __post_init__(self) -> None:
        if not 0 < self.final < 1:
            raise RecipeError(f"exponential.final must lie in (0, 1), got {self.final}.")


@part(
    "schedule",
    "exponential",
    summary="Falls by the same share at every step.",
    settings=ExponentialSettings,
)
class Exponential:
    """final^(step / total)."""

    def __init__(self, settings: ExponentialSettings) -> None:
        self.settings = settings

    def factor(self, step: int, total: int) -> float:
        """final^(step / total)."""
        return self.settings.final ** (min(step, total) / total)

    def check(self, total: int) -> None:
        """Any length will do."""


@dataclass(frozen=True)
class CosineSettings(Settings):
    """Where the rate ends."""

    floor: float = 0.0
    """Share of the rate that is left at the end, in [0, 1)."""

    def __post_init__(self) -> None:
        check_floor("cosine", self.floor)


@part(
    "schedule",
    "cosine",
    summary="Falls along half a cosine: slowly, then fast, then slowly to the floor.",
    source="Loshchilov, Hutter 2016, arXiv:1608.03983",
    settings=CosineSettings,
)
class Cosine:
    """floor + (1 - floor) * (1 + cos(pi * step / total)) / 2."""

    def __init__(self, settings: CosineSettings) -> None:
        self.settings = settings

    def factor(self, step: int, total: int) -> float:
        """From 1 to the floor."""
        return between(1.0, self.settings.floor, min(step / total, 1.0), "cosine")

    def check(self, total: int) -> None:
        """Any length will do."""


@dataclass(frozen=True)
class OneCycleSettings(Settings):
    """Start, peak and end of the cycle; the base rate is the peak."""

    rise: float = 0.3
    """Share of the run in which the rate rises, in (0, 1)."""
    start: float = 0.04
    """Share of the peak at which it starts, in (0, 1]."""
    final: float = 4e-6
    """Share of the peak at which it ends, in [0, 1]."""

    def __post_init__(self) -> None:
        if not 0 < self.rise < 1:
            raise RecipeError(f"one_cycle.rise must lie in (0, 1), got {self.rise}.")
        if not 0 < self.start <= 1:
            raise RecipeError(f"one_cycle.start must lie in (0, 1], got {self.start}.")
        if not 0 <= self.final <= 1:
            raise RecipeError(f"one_cycle.final must lie in [0, 1], got {self.final}.")


@part(
    "schedule",
    "one_cycle",
    summary="Up to a large rate and down to almost none, each along half a cosine: short runs at high rates.",
    source="Smith, Topin 2017, arXiv:1708.07120",
    settings=OneCycleSettings,
)
class OneCycle:
    """Rises over the first share of the run, falls over the rest. The momentum stays as it is."""

    def __init__(self, settings: OneCycleSettings) -> None:
        self.settings = settings

    def factor(self, step: int, total: int) -> float:
        """start -> 1 -> final; the last step has the final rate."""
        own, peak = self.settings, self.settings.rise * total - 1
        if step <= peak:
            return between(own.start, 1.0, step / peak if peak else 1.0, "cosine")
        return between(1.0, own.final, min((step - peak) / (total - 1 - peak), 1.0), "cosine")

    def check(self, total: int) -> None:
        """The rise must be a step at least."""
        if self.settings.rise * total < 2 or total * (1 - self.settings.rise) < 1:
            raise RecipeError(
                f"Schedule 'one_cycle' cannot rise and fall in {total:,} steps with a rise of "
                f"{self.settings.rise:g} of the run. Train longer, or take 'constant'."
            )


@dataclass(frozen=True)
class WarmupStableDecaySettings(Settings):
    """The three stretches."""

    warmup: float = 0.05
    """Share of the run in which the rate rises linearly, in [0, 1)."""
    decay: float = 0.2
    """Share of the run, at its end, in which the rate falls, in (0, 1]."""
    floor: float = 0.0
    """Share of the rate that is left at the end, in [0, 1)."""
    shape: Literal["linear", "sqrt", "cosine"] = "linear"
    """How it falls; `sqrt` is 1 - sqrt(share), steep first."""

    def __post_init__(self) -> None:
        if not 0 <= self.warmup < 1:
            raise RecipeError(f"warmup_stable_decay.warmup must lie in [0, 1), got {self.warmup}.")
        if not 0 < self.decay <= 1:
            raise RecipeError(f"warmup_stable_decay.decay must lie in (0, 1], got {self.decay}.")
        if self.warmup + self.decay > 1:
            raise RecipeError(
                f"warmup_stable_decay.warmup and decay are shares of one run, got {self.warmup} and "
                f"{self.decay}, which is more than all of it."
            )
        check_floor("warmup_stable_decay", self.floor)


@part(
    "schedule",
    "warmup_stable_decay",
    summary="Rises, stays, and falls only at the end: the stable stretch can be gone on with.",
    source="Hu et al. 2024, arXiv:2404.06395; Haegele et al. 2024, arXiv:2405.18392",
    settings=WarmupStableDecaySettings,
)
class WarmupStableDecay:
    """A linear rise, a constant stretch, a fall."""

    def __init__(self, settings: WarmupStableDecaySettings) -> None:
        self.settings = settings

    def factor(self, step: int, total: int) -> float:
        """nearly 0 -> 1, 1, 1 -> floor."""
        own = self.settings
        rise, fall = round(own.warmup * total), max(round(own.decay * total), 1)
        if step < rise:
            return (step + 1) / rise
        share = (step - (total - fall)) / fall
        return between(1.0, own.floor, min(max(share, 0.0), 1.0), own.shape)

    def check(self, total: int) -> None:
        """Any length will do."""


@dataclass(frozen=True)
class ReduceOnPlateauSettings(Settings):
    """What counts as no progress, and what follows."""

    factor: float = 0.1
    """What remains of the rate after each fall, in (0, 1)."""
    patience: int = 10
    """Validations without progress that are borne; the next one lowers the rate."""
    threshold: float = 1e-4
    """Share of the best score by which a score must be better to count as progress, in [0, 1)."""
    cooldown: int = 0
    """Validations after a fall in which none is counted."""
    floor: float = 0.0
    """Share of the base rate below which it does not fall, in [0, 1)."""

    def __post_init__(self) -> None:
        if not 0 < self.factor < 1:
            raise RecipeError(f"reduce_on_plateau.factor must lie in (0, 1), got {self.factor}.")
        if self.patience < 0 or self.cooldown < 0:
            raise RecipeError(
                "reduce_on_plateau.patience and cooldown count validations from 0 on, "
                f"got {self.patience} and {self.cooldown}."
            )
        if not 0 <= self.threshold < 1:
            raise RecipeError(f"reduce_on_plateau.threshold must lie in [0, 1), got {self.threshold}.")
        check_floor("reduce_on_plateau", self.floor)


@part(
    "schedule",
    "reduce_on_plateau",
    summary="Falls when the validation score has not become better for a while.",
    settings=ReduceOnPlateauSettings,
    watches_scores=True,
)
class ReduceOnPlateau:
    """Changes with `observe` alone; progress is measured against |best|, so that negative scores work."""

    def __init__(self, settings: ReduceOnPlateauSettings) -> None:
        self.settings = settings
        self._factor, self._best = 1.0, None
        self._bad = self._cooling = 0

    _best: float | None

    def factor(self, step: int, total: int) -> float:
        """What the scores so far have made of it."""
        return self._factor

    def check(self, total: int) -> None:
        """Any length will do."""

    def observe(self, score: float, greater_is_better: bool) -> None:
        """Count a validation; a score that is not a number is no progress."""
        own, loss = self.settings, -score if greater_is_better else score
        if self._best is None or loss < self._best - own.threshold * abs(self._best):
            self._best = loss if math.isfinite(loss) else self._best
            self._bad = 0 if math.isfinite(loss) else self._bad + 1
        else:
            self._bad += 1
        if self._cooling:
            self._cooling -= 1
            self._bad = 0
        if self._bad > own.patience:
            self._factor = max(self._factor * own.factor, own.floor)
            self._cooling, self._bad = own.cooldown, 0

    def state(self) -> State:
        """The factor, the best score (as a loss) and the two counts."""
        return {"factor": self._factor, "best": self._best, "bad": self._bad, "cooling": self._cooling}

    def load(self, state: State) -> None:
        """Take over what `state` gave."""
        self._factor, self._best = state["factor"], state["best"]
        self._bad, self._cooling = state["bad"], state["cooling"]


class Warmup:
    """A linear rise over the first steps, then any schedule over the rest of the run (Goyal et al. 2017).

    The rise is 1/n, 2/n, ... 1 of what the schedule begins with; arXiv:1706.02677.
    """

    def __init__(self, schedule: Schedule, num_steps: int) -> None:
        if num_steps < 0:
            raise RecipeError(f"A warm-up takes 0 steps or more, got {num_steps}.")
        self.schedule, self.num_steps = schedule, num_steps

    def factor(self, step: int, total: int) -> float:
        """The rise, then the schedule as if the run began after it."""
        rest = max(total - self.num_steps, 1)
        if step < self.num_steps:
            return (step + 1) / self.num_steps * self.schedule.factor(0, rest)
        return self.schedule.factor(step - self.num_steps, rest)

    def check(self, total: int) -> None:
        """Something must be left after the rise."""
        if self.num_steps >= total:
            raise RecipeError(
                f"The warm-up takes {self.num_steps:,} steps, but the run has {total:,}. "
                "Give a shorter warm-up or a longer duration."
            )
        self.schedule.check(total - self.num_steps)

    def observe(self, score: float, greater_is_better: bool) -> None:
        """Pass a validation on to a schedule that wants it."""
        if isinstance(self.schedule, Observing):
            self.schedule.observe(score, greater_is_better)

    def state(self) -> State:
        """The schedule's."""
        return self.schedule.state() if isinstance(self.schedule, Observing) else {}

    def load(self, state: State) -> None:
        """Take over what `state` gave."""
        if isinstance(self.schedule, Observing):
            self.schedule.load(state)


def between(start: float, end: float, share: float, shape: Literal["linear", "sqrt", "cosine"]) -> float:
    """The way from `start` to `end` at a share of it between 0 and 1."""
    passed = {"linear": share, "sqrt": math.sqrt(share), "cosine": (1 - math.cos(math.pi * share)) / 2}[shape]
    return start + (end - start) * passed


def check_floor(part: str, floor: float) -> None:
    """Refuse what is not a share below 1."""
    if not 0 <= floor < 1:
        raise RecipeError(f"{part}.floor must lie in [0, 1), got {floor}.")
