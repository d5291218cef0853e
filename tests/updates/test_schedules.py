"""Each schedule beside torch's own, step by step."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from danlu.core.errors import RecipeError
from danlu.core.parts import Settings
from danlu.updates import schedules
from danlu.updates.schedules import (
    Constant,
    Cosine,
    CosineSettings,
    Exponential,
    ExponentialSettings,
    OneCycle,
    OneCycleSettings,
    ReduceOnPlateau,
    ReduceOnPlateauSettings,
    Steps,
    StepsSettings,
    Warmup,
    WarmupStableDecay,
    WarmupStableDecaySettings,
)

BASE, TOTAL = 0.3, 97


def torchs(make, total=TOTAL):
    """The rates that torch's schedule gives at each step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        schedule = make(optimizer)
        rates = []
        for _ in range(total):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
    return rates


def ours(schedule, total=TOTAL):
    return [BASE * schedule.factor(step, total) for step in range(total)]


def warm(optimizer, num_steps):
    return lr_scheduler.LinearLR(optimizer, start_factor=1 / num_steps, total_iters=num_steps - 1)


CASES = {
    "constant": (Constant(Settings()), lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
    "step": (Steps(StepsSettings(every=10, factor=0.5)), lambda o: lr_scheduler.StepLR(o, 10, gamma=0.5)),
    "step auto": (Steps(StepsSettings()), lambda o: lr_scheduler.StepLR(o, 33, gamma=0.1)),
    "exponential": (
        Exponential(ExponentialSettings(final=0.02)),
        lambda o: lr_scheduler.ExponentialLR(o, gamma=0.02 ** (1 / TOTAL)),
    ),
    "cosine": (
        Cosine(CosineSettings(floor=0.1)),
        lambda o: lr_scheduler.CosineAnnealingLR(o, TOTAL, eta_min=0.1 * BASE),
    ),
    "one cycle": (
        OneCycle(OneCycleSettings()),
        lambda o: lr_scheduler.OneCycleLR(o, max_lr=BASE, total_steps=TOTAL + 1, cycle_momentum=False),
    ),
    "warm-up, stable, decay": (
        WarmupStableDecay(WarmupStableDecaySettings(warmup=0.1, decay=0.2, floor=0.05)),
        lambda o: lr_scheduler.SequentialLR(
            o,
            [
                warm(o, 10),
                lr_scheduler.ConstantLR(o, factor=1.0),
                lr_scheduler.LinearLR(o, start_factor=1.0, end_factor=0.05, total_iters=19),
            ],
            milestones=[10, TOTAL - 19],
        ),
    ),
    "warm-up, then cosine": (
        Warmup(Cosine(CosineSettings()), 7),
        lambda o: lr_scheduler.SequentialLR(
            o, [warm(o, 7), lr_scheduler.CosineAnnealingLR(o, TOTAL - 7)], milestones=[7]
        ),
    ),
    "warm-up, then step": (
        Warmup(Steps(StepsSettings(every=20)), 5),
        lambda o: lr_scheduler.SequentialLR(o, [warm(o, 5), lr_scheduler.StepLR(o, 20)], milestones=[5]),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_it_gives_torchs_rates_at_every_step(name):
    schedule, make = CASES[name]
    # torch's one-cycle refuses a step after its last, so it is given one more than ours.
    total = TOTAL + 1 if name == "one cycle" else TOTAL
    expected = torchs(make)
    given = [BASE * schedule.factor(step, total) for step in range(TOTAL)]
    np.testing.assert_allclose(given, expected, rtol=1e-9, atol=1e-12)


def test_the_ends_of_each_schedule():
    assert OneCycle(OneCycleSettings()).factor(0, 100) == pytest.approx(0.04)
    assert max(ours(OneCycle(OneCycleSettings()), 100)) == pytest.approx(BASE)
    assert OneCycle(OneCycleSettings()).factor(99, 100) == pytest.approx(4e-6)
    assert Cosine(CosineSettings(floor=0.2)).factor(100, 100) == pytest.approx(0.2)
    assert Exponential(ExponentialSettings(final=0.5)).factor(500, 100) == pytest.approx(0.5)
    for shape, half in (("linear", 0.5), ("sqrt", 1 - math.sqrt(0.5)), ("cosine", 0.5)):
        schedule = WarmupStableDecay(WarmupStableDecaySettings(warmup=0.0, decay=0.5, shape=shape))  # type: ignore[arg-type]
        assert schedule.factor(0, 100) == schedule.factor(50, 100) == 1.0
        assert schedule.factor(75, 100) == pytest.approx(half)
        assert schedule.factor(100, 100) == 0.0


def test_warmup_rises_to_what_the_schedule_begins_with():
    schedule = Warmup(Constant(Settings()), 4)
    assert [schedule.factor(step, 10) for step in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert Warmup(Constant(Settings()), 0).factor(0, 10) == 1.0


@pytest.mark.parametrize("mode", ["min", "max"])
def test_reduce_on_plateau_falls_when_torchs_does_and_goes_on_from_its_state(mode):
    scores = np.random.default_rng(0).normal(size=80).cumsum() * 0.2 + 10
    scores[40:60] = scores[39]
    own = ReduceOnPlateauSettings(factor=0.5, patience=3, cooldown=2, floor=0.01)
    schedule = Warmup(ReduceOnPlateau(own), 5)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=BASE)
    theirs = lr_scheduler.ReduceLROnPlateau(
        optimizer, mode, factor=0.5, patience=3, cooldown=2, min_lr=0.01 * BASE
    )
    falls = 0
    for score in scores:
        before = schedule.factor(50, 100)
        state = schedule.state()
        schedule = Warmup(ReduceOnPlateau(own), 5)
        schedule.load(state)
        schedule.observe(float(score), mode == "max")
        theirs.step(float(score))
        falls += schedule.factor(50, 100) < before
        assert BASE * schedule.factor(50, 100) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
    assert falls > 3


def test_a_score_that_is_not_a_number_is_no_progress():
    schedule = ReduceOnPlateau(ReduceOnPlateauSettings(patience=1))
    for score in (float("nan"), float("nan")):
        schedule.observe(score, False)
    assert schedule.factor(0, 10) == pytest.approx(0.1)
    assert schedule.state()["best"] is None


def test_observing_is_of_no_consequence_to_a_pure_schedule():
    schedule = Warmup(Cosine(CosineSettings()), 2)
    before = ours(schedule)
    schedule.observe(1.0, True)
    schedule.load(schedule.state())
    assert ours(schedule) == before and schedule.state() == {}


def test_runs_too_short_for_a_schedule_are_refused_before_they_begin():
    for schedule in (Steps(StepsSettings(every=50)), OneCycle(OneCycleSettings()), Cosine(CosineSettings())):
        schedule.check(100)
        Warmup(schedule, 40).check(100)
    with pytest.raises(RecipeError, match="falls every 50 steps, but the run has 50: it would never fall"):
        Steps(StepsSettings(every=50)).check(50)
    with pytest.raises(RecipeError, match="falls every 50 steps, but the run has 40"):
        Warmup(Steps(StepsSettings(every=50)), 60).check(100)
    with pytest.raises(RecipeError, match="The warm-up takes 100 steps, but the run has 100"):
        Warmup(Constant(Settings()), 100).check(100)
    with pytest.raises(RecipeError, match="cannot rise and fall in 6 steps with a rise of 0.3"):
        OneCycle(OneCycleSettings()).check(6)


@pytest.mark.parametrize(
    ("settings", "given", "message"),
    [
        ("StepsSettings", {"every": 0}, "step.every must be at least 1 step, got 0"),
        ("StepsSettings", {"factor": 1.0}, r"step.factor must lie in \(0, 1\), got 1.0"),
        ("ExponentialSettings", {"final": 0.0}, r"exponential.final must lie in \(0, 1\)"),
        ("CosineSettings", {"floor": 1.0}, r"cosine.floor must lie in \[0, 1\), got 1.0"),
        ("OneCycleSettings", {"rise": 1.0}, r"one_cycle.rise must lie in \(0, 1\)"),
        ("OneCycleSettings", {"start": 0.0}, r"one_cycle.start must lie in \(0, 1\]"),
        ("OneCycleSettings", {"final": 2.0}, r"one_cycle.final must lie in \[0, 1\]"),
        ("WarmupStableDecaySettings", {"warmup": 0.9}, "0.9 and 0.2, which is more than all of it"),
        ("WarmupStableDecaySettings", {"decay": 0.0}, r"warmup_stable_decay.decay must lie in \(0, 1\]"),
        ("ReduceOnPlateauSettings", {"factor": 1.0}, r"reduce_on_plateau.factor must lie in \(0, 1\)"),
        ("ReduceOnPlateauSettings", {"patience": -1}, "count validations from 0 on, got -1 and 0"),
        ("ReduceOnPlateauSettings", {"threshold": 1.0}, r"reduce_on_plateau.threshold must lie in \[0, 1\)"),
    ],
)
def test_wrong_settings_are_named(settings, given, message):
    with pytest.raises(RecipeError, match=message):
        getattr(schedules, settings)(**given)
    with pytest.raises(RecipeError, match="0 steps or more, got -1"):
        Warmup(Constant(Settings()), -1)
