"""How steps are run: as told, by rules of thumb where a fit is short, timed where it is long, and never timed twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import danlu
from danlu.core.duration import Deadline
from danlu.run import execution
from danlu.run.descent import Decisions
from danlu.run.execution import Execution
from danlu.run.module import fit_module

SHORT = {"duration": "20 steps", "batch_size": 16}
LONG = {"duration": "10000000 steps", "batch_size": 16}


class Clock:
    """Stands for `seconds_per_step`: seconds by way of running, and what was timed."""

    def __init__(self, **seconds: float) -> None:
        self.seconds, self.timed = seconds, []

    def __call__(
        self, model: Any, objective: Any, optimizer: Any, parts: Any, way: Execution, *given: Any
    ) -> float:
        name = f"{way.execution}_{way.threads}" + ("_last" if way.layout == "channels_last" else "")
        self.timed.append(name)
        return self.seconds[name]


def rows(number: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(number, 6, generator=torch.Generator().manual_seed(0))
    return x, (x[:, 0] > 0).long()


def network(*more: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), *more, nn.Linear(8, 2))


def images() -> tuple[nn.Module, tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
    return model, (torch.randn(64, 1, 8, 8), torch.randint(2, (64,)))


def weights(model: nn.Module) -> list[torch.Tensor]:
    return [value.clone() for value in model.state_dict().values()]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A memory of one's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "danlu" / "execution.json"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch):
    """Puts another clock in; without arguments any look at it fails."""

    def use(**seconds: float) -> Clock:
        made = Clock(**seconds)
        monkeypatch.setattr(execution, "seconds_per_step", made)
        monkeypatch.setattr("danlu.run.module.num_threads", lambda: 2)
        return made

    return use


def decide(
    training: dict[str, Any], engine: dict[str, Any], *, model: Any = None, data: Any = None, **more: Any
) -> dict[str, Any]:
    """What is decided for a fit that ends before its first step is done."""
    taken: dict[str, Any] = {}

    class Enough(Exception):
        pass

    def stop(event: Any) -> None:
        raise Enough

    with pytest.raises(Enough):
        fit_module(
            model or network(), data or rows(), "cross_entropy", training=training, engine=engine,
            watchers=[stop], decisions=Decisions(taken), **more,
        )  # fmt: skip
    return taken


class TestShort:
    @pytest.mark.parametrize("training", [SHORT, {"duration": "3 epochs", "batch_size": 16}])
    def test_a_short_fit_is_plain_and_decides_nothing(self, clock, cache, training):
        watch = clock()
        assert decide(training, {}) == {} and watch.timed == [] and not cache.exists()

    def test_its_lock_holds_no_entry(self, clock, runs_dir):
        clock()
        run = danlu.train(model=network(), data=rows(), objective="cross_entropy", training=SHORT)
        assert json.loads((run.folder / "plan.lock").read_text())["decisions"] == {"model": {}}
        assert run.record["decisions"] == {}

    def test_whether_it_is_short_does_not_depend_on_the_machine(self):
        """Steps and operations alone: 100 microseconds a step, and 20 billion operations a second."""
        examples = lambda number: [{"x": torch.zeros(100, 6), "y": torch.zeros(100)}] * number  # noqa: E731
        line = nn.Linear(
            1_000_000, 1, bias=False, device="meta"
        )  # 6 * 100 * 10^6 operations: 0.0301 s a step
        assert execution.is_short(line, 166, examples) and not execution.is_short(line, 167, examples)
        assert not execution.is_short(line, None, examples)

    @pytest.mark.parametrize("training", [{"duration": "3 seconds", "batch_size": 16}, LONG])
    def test_a_few_seconds_are_short_too(self, clock, training):
        """By its duration, or by the budget: then it depends on the clock, and so it stands in the lock."""
        watch = clock()
        taken = decide(training, {}, deadline=Deadline.after(4.0))
        assert watch.timed == [] and taken["execution"]["execution"] == "eager"
        assert taken["execution"]["why"] == "a short fit: not timed"


class TestAsked:
    def test_eager_and_compiled_by_hand(self, clock, monkeypatch):
        watch, made = clock(), []
        monkeypatch.setattr(execution, "compiled_steps", lambda *given: made.append(1))
        assert decide(SHORT, {"execution": "eager", "threads": 1}) == {} and made == []
        decide(SHORT, {"execution": "compiled", "threads": 1})
        assert made == [1] and watch.timed == []

    def test_threads_are_those_that_were_asked_for(self):
        seen = []

        def loss(model, batch):
            seen.append(torch.get_num_threads())
            return nn.functional.cross_entropy(model(batch["x"]), batch["y"])

        before = torch.get_num_threads()
        for threads in (1, 2):
            fit_module(network(), rows(), loss, training={"duration": "3 steps"}, engine={"threads": threads})
        assert seen == [1, 1, 1, 2, 2, 2] and torch.get_num_threads() == before

    def test_channels_last_by_hand_gives_the_same_within_rounding(self):
        ends, strides = [], []

        def loss(model, batch):
            strides.append(batch["x"].stride()[-1] if batch["x"].shape[1] > 1 else model[0].weight.stride())
            return nn.functional.cross_entropy(model(batch["x"]), batch["y"])

        for layout in ("contiguous", "channels_last"):
            torch.manual_seed(0)
            model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 2))
            data = (torch.randn(64, 3, 8, 8), torch.randint(2, (64,)))
            fit_module(model, data, loss, training=SHORT, engine={"layout": layout, "signals": 0})
            ends.append(weights(model))
        assert strides[0] == 1 and strides[-1] == 3  # the next number of a row, and of a pixel
        for one, two in zip(*ends, strict=True):
            torch.testing.assert_close(one, two, rtol=0, atol=1e-5)

    @pytest.mark.parametrize(
        ("training", "engine", "named"),
        [
            ({"average": "ema"}, {}, "training.average"),
            ({"l1": 0.1}, {}, "training.l1"),
            ({"l2": 0.1}, {}, "training.l2"),
            ({"max_norm": 1.0}, {}, "training.max_norm"),
            ({}, {"micro_batch": 4}, "engine.micro_batch"),
        ],
    )
    def test_what_a_compiled_step_does_not_do(self, training, engine, named):
        how = {"execution": "compiled"} | engine
        with pytest.raises(danlu.RecipeError, match=f"'compiled' does not go with {named}. Use 'eager'"):
            fit_module(network(), rows(), "cross_entropy", training=SHORT | training, engine=how)

    def test_auto_never_compiles_what_cannot_be_compiled(self, clock):
        watch = clock(eager_1=1.0, eager_2=2.0)
        taken = decide(LONG | {"average": "ema"}, {})
        assert watch.timed == ["eager_1", "eager_2"] and taken["execution"]["execution"] == "eager"

    def test_several_steps_a_call_belong_to_compiled(self):
        with pytest.raises(danlu.RecipeError, match="engine.steps_per_call belongs to execution 'compiled'"):
            fit_module(network(), rows(), "cross_entropy", engine={"execution": "eager", "steps_per_call": 4})


class TestTimed:
    def test_the_fastest_is_chosen_and_said(self, clock, monkeypatch):
        monkeypatch.setattr(execution, "compiled_steps", lambda *given: None)
        watch = clock(eager_1=0.003, eager_2=0.004, compiled_1=0.001)
        found = decide(LONG, {})["execution"]
        assert watch.timed == ["eager_1", "eager_2", "compiled_1"]
        assert (found["execution"], found["threads"], found["steps_per_call"]) == (
            "compiled",
            1,
            execution.CALL,
        )
        assert found["why"] == (
            "the fastest of: eager, contiguous, 1 thread 3 ms, eager, contiguous, 2 threads 4 ms, "
            "compiled, contiguous, 1 thread 1 ms a step"
        )

    def test_what_is_hardly_faster_is_left_alone(self, clock):
        clock(eager_1=0.00300, eager_2=0.00280, compiled_1=0.00275)
        found = decide(LONG, {})["execution"]
        assert (found["execution"], found["threads"]) == ("eager", 1)

    def test_a_fit_of_seconds_is_not_compiled(self, clock, cache):
        """30 s left: a cold compilation of 15 to 30 s would not pay; other threads are free."""
        watch = clock(eager_1=0.003, eager_2=0.001)
        found = decide(LONG, {}, deadline=Deadline.after(30.0))["execution"]
        assert watch.timed == ["eager_1", "eager_2"] and found["threads"] == 2
        cache.unlink()
        watch = clock(eager_1=0.003, eager_2=0.001)
        decide({"duration": "31 seconds", "batch_size": 16}, {})
        assert watch.timed == ["eager_1", "eager_2"]

    def test_images_may_have_another_layout(self, clock):
        model, data = images()
        watch = clock(eager_1=0.4, eager_2=0.2, eager_1_last=0.3, eager_2_last=0.1)
        training = {"duration": "100000 steps", "batch_size": 16, "average": "ema"}
        found = decide(training, {}, model=model, data=data)["execution"]
        assert len(watch.timed) == 4 and (found["threads"], found["layout"]) == (2, "channels_last")

    def test_only_what_is_left_open_is_timed(self, clock):
        watch = clock(eager_1=0.01)
        assert decide(LONG, {"execution": "eager", "threads": 1}).get("execution", {}).get("threads") == 1
        assert watch.timed == []

    def test_the_real_clock_leaves_model_and_random_numbers_alone(self, monkeypatch):
        monkeypatch.setattr(execution, "TIMED_SECONDS", 0.01)
        model = network(nn.BatchNorm1d(8), nn.Dropout(0.5))
        before, random = weights(model), torch.get_rng_state()
        taken = decide(LONG, {"execution": "eager"}, model=model, deadline=Deadline.after(20.0))
        assert "execution" in taken
        assert all(torch.equal(one, two) for one, two in zip(before, weights(model), strict=True))
        assert torch.equal(torch.get_rng_state(), random)


class TestMemory:
    def test_a_choice_is_remembered(self, clock, cache, monkeypatch):
        monkeypatch.setattr(execution, "compiled_steps", lambda *given: None)
        clock(eager_1=0.003, eager_2=0.004, compiled_1=0.001)
        first = decide(LONG, {})["execution"]
        (stored,) = json.loads(cache.read_text()).values()
        assert stored == first
        watch = clock(eager_1=0.003)
        assert decide(LONG, {})["execution"] == first and watch.timed == ["eager_1"]  # how long will it take?

    @pytest.mark.parametrize("change", ["batch", "precision", "optimizer", "model", "threads"])
    def test_another_step_is_timed_anew(self, clock, cache, change):
        clock(eager_1=0.003, eager_2=0.004)
        left = Deadline.after(60.0)
        decide(LONG, {}, deadline=left)
        training, engine, model = dict(LONG), {}, network()
        if change == "batch":
            training["batch_size"] = 8
        elif change == "precision":
            training["precision"] = "bf16"
        elif change == "optimizer":
            training["optimizer"] = "sgd"
        elif change == "model":
            model = network(nn.Tanh())
        else:
            engine["layout"] = "contiguous"
        watch = clock(eager_1=0.003, eager_2=0.004)
        decide(training, engine, model=model, deadline=left)
        assert watch.timed == ["eager_1", "eager_2"] and len(json.loads(cache.read_text())) == 2

    @pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', "null"])
    def test_a_damaged_memory_is_no_reason_to_stop(self, clock, cache, content):
        cache.parent.mkdir(parents=True)
        cache.write_text(content)
        clock(eager_1=0.003, eager_2=0.001)
        assert decide(LONG, {}, deadline=Deadline.after(60.0))["execution"]["threads"] == 2
        assert len(json.loads(cache.read_text())) >= 1

    def test_a_memory_that_cannot_be_written(self, clock, tmp_path, monkeypatch):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        clock(eager_1=0.003, eager_2=0.001)
        assert decide(LONG, {}, deadline=Deadline.after(60.0))["execution"]["threads"] == 2


class TestDecisions:
    def test_what_was_decided_is_obeyed_and_nothing_is_timed(self, clock):
        watch = clock()
        taken = {
            "execution": {
                "execution": "eager",
                "threads": 2,
                "layout": "contiguous",
                "steps_per_call": 1,
                "why": "",
            }
        }
        threads = []

        def stop(event: Any) -> str:
            threads.append(torch.get_num_threads())
            return "enough" if event.kind == "validation" else ""

        fit_module(
            network(), rows(), "cross_entropy", validation=rows(), training=LONG, watchers=[stop],
            decisions=Decisions(taken),
        )  # fmt: skip
        assert watch.timed == [] and set(threads) == {2}

    def test_it_is_written_down_before_it_is_acted_upon(self, clock):
        clock(eager_1=0.003, eager_2=0.001)
        order: list[Any] = []
        taken: dict[str, Any] = {}

        def stop(event: Any) -> str:
            order.append(event.kind)
            return "enough" if event.kind == "validation" else ""

        fit_module(
            network(),
            rows(),
            "cross_entropy",
            validation=rows(),
            training={"duration": "400 seconds", "batch_size": 16, "schedule": "cosine"},
            watchers=[stop],
            decisions=Decisions(taken, lambda: order.append(sorted(taken))),
            deadline=Deadline.after(60.0),
        )
        assert order[:3] == [["total_steps"], ["execution", "total_steps"], "start"]

    def test_seconds_under_a_schedule_become_steps_once(self, clock):
        """40 s at 3 ms a step are 13,333 steps, by which the cosine falls; a resumed run counts the same ones."""
        clock(eager_1=0.003, eager_2=0.004, compiled_1=0.01)
        training = {"duration": "40 seconds", "batch_size": 16, "schedule": "cosine"}
        taken = decide(training, {})
        assert taken["total_steps"] == 13_333
        watch = clock()  # any look fails
        seen: list[Any] = []
        stop: Any = lambda event: seen.append(event) or "enough" if event.kind != "end" else ""  # noqa: E731
        fit_module(
            network(), rows(), "cross_entropy", validation=rows(), training=training, watchers=[stop],
            decisions=Decisions(taken),
        )  # fmt: skip
        assert str(seen[0].until) == "13333 steps" and watch.timed == []

    def test_the_rate_that_a_range_test_found_is_kept(self, monkeypatch):
        taken: dict[str, Any] = {"range_test": {"suggestion": 0.0125}}
        monkeypatch.setattr("danlu.updates.rate_range.rate_range", None)
        fitted = fit_module(
            network(), rows(), "cross_entropy", training=SHORT | {"learning_rate": "range_test"},
            decisions=Decisions(taken),
        )  # fmt: skip
        assert fitted.update.state()["optimizer"]["groups"][0]["lr"] == 0.0125


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_compiled_steps_of_a_run_learn_what_eager_ones_do(runs_dir):
    """One real compilation: several steps a call, an epoch that ends within a call, and a last batch of fewer rows."""
    runs = {}
    for name in ("eager", "compiled"):
        training = {"duration": "6 epochs", "batch_size": 16, "clip_norm": 1.0, "schedule": "cosine"}
        engine = {"execution": name, "threads": 1, "signals": 0}
        runs[name] = danlu.train(
            model=network(),
            data=rows(),
            objective="cross_entropy",
            validation=rows(50),
            training=training,
            engine=engine,
        )
    for one, two in zip(weights(runs["eager"].model), weights(runs["compiled"].model), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
    assert runs["compiled"].record["pace"]["steps"] == 6 * 13
    losses = [run.record["history"]["validation"] for run in runs.values()]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
