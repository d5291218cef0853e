from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

import numpy as np
import pytest

from danlu.core.duration import Deadline, Duration
from danlu.core.ideas import Context, Event, Item, Position, Step
from danlu.core.loop import fit


class Bowl:
    """J = x^2 + 2 y^2 and its gradient (2 x, 4 y)."""

    def __init__(self, start: tuple[float, float]) -> None:
        self.at = np.array(start)
        self.path = [self.at.copy()]


class Descent:
    """theta <- theta - rate * gradient."""

    chunk = 1

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, model: Bowl, objective: object, batches: list, context: Context) -> Step:
        model.at = model.at - self.rate * np.array([2.0, 4.0]) * model.at
        model.path.append(model.at)
        with np.errstate(over="ignore"):
            loss = cost(model.at)
        return Step(
            {"cost": loss}, fault="" if np.isfinite(loss) else "the cost is no longer a finite number"
        )

    def evaluating(self, model: Bowl):
        return nullcontext()


class Endless:
    """Two batches an epoch, for ever."""

    def items(self, start: Position, *, rank: int = 0, ranks: int = 1) -> Iterator[Item]:
        epoch, row, step = start
        while True:
            step += 1
            epoch, row = (epoch, 1) if row == 0 else (epoch + 1, 0)
            yield Item({}, Position(epoch, row, step))


def cost(at: np.ndarray) -> float:
    return float(at[0] ** 2 + 2 * at[1] ** 2)


def run(model: Bowl, update: Descent, until: Duration, **more):
    context = more.pop("context", Context())
    return fit(model, Endless(), None, update, context=context, until=until, **more)  # type: ignore[arg-type]


def test_the_worked_example_of_gradient_descent():
    model = Bowl((-3.0, -3.0))
    outcome = run(model, Descent(0.1), Duration(5, "steps"))
    np.testing.assert_allclose(model.path[1], [-2.4, -1.8])
    np.testing.assert_allclose(model.path[2], [-1.92, -1.08])
    costs = [cost(at) for at in model.path]
    np.testing.assert_allclose(costs, [27, 12.24, 6.0192, 3.199104, 1.81228032, 1.0752067584])
    assert outcome.position.step == 5
    assert outcome.reason == "reached 5 steps"


def test_a_rate_of_a_tenth_converges_and_six_tenths_diverges():
    converging, diverging = Bowl((3.0, 3.0)), Bowl((3.0, 3.0))
    run(converging, Descent(0.1), Duration(200, "steps"))
    outcome = run(diverging, Descent(0.6), Duration(100_000, "steps"))
    assert cost(converging.at) < 1e-12
    assert "no longer a finite number" in outcome.reason
    assert outcome.position.step < 100_000


def test_durations_in_epochs_and_in_seconds():
    assert run(Bowl((1.0, 1.0)), Descent(0.1), Duration(3, "epochs")).position == Position(3, 0, 6)
    outcome = run(Bowl((1.0, 1.0)), Descent(0.1), Duration(0.05, "seconds"))
    assert 0.05 <= outcome.seconds < 2
    assert outcome.reason == "reached 0.05 seconds"


def test_a_passed_deadline_still_takes_one_step():
    outcome = run(
        Bowl((1.0, 1.0)), Descent(0.1), Duration(9, "steps"), context=Context(deadline=Deadline.after(-1))
    )
    assert outcome.position.step == 1
    assert outcome.reason == "out of time"


def test_going_on_from_a_position_counts_from_there():
    context = Context(position=Position(2, 1, 5))
    assert run(Bowl((1.0, 1.0)), Descent(0.1), Duration(4, "epochs"), context=context).position == Position(
        4, 0, 8
    )


def test_watchers_see_every_validation_and_may_stop():
    events: list[Event] = []

    def watcher(event: Event) -> str | None:
        events.append(event)
        return "enough" if event.metrics.get("cost", 9.0) < 1 else None

    model = Bowl((-3.0, -3.0))
    outcome = run(
        model,
        Descent(0.1),
        Duration(50, "epochs"),
        validate=lambda: {"cost": cost(model.at)},
        watchers=[watcher],
    )
    assert outcome.reason == "enough"
    validations = [event for event in events if event.kind == "validation"]
    assert [event.position.epoch for event in validations] == [1, 2, 3]
    assert validations[0].metrics["cost"] == pytest.approx(6.0192)
    assert [events[0].kind, events[-1].kind] == ["start", "end"]
    assert events[-1].reason == "enough"


def test_a_deadline_of_none_never_comes():
    assert not Deadline().has_passed
    assert Deadline.after(5).earlier(Deadline()).at == pytest.approx(Deadline.after(5).at, abs=1)
