"""What a fit took: counted as by hand, through the real loop, and bounded however long it was."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import pairwise
from typing import Any

import pytest

from danlu.core.duration import Duration
from danlu.core.errors import RecipeError
from danlu.core.files import dump_json
from danlu.core.ideas import Context, Event, Item, Position, Step
from danlu.core.loop import fit
from danlu.watch.pace import MOST_POINTS, Pace, cost


class Rows:
    """1000 rows in batches of 100, for ever."""

    def items(self, start: Position, *, rank: int = 0, ranks: int = 1) -> Iterator[Item]:
        epoch, row, step = start
        while True:
            step, row = step + 1, row + 100
            epoch, row = (epoch + 1, 0) if row == 1000 else (epoch, row)
            yield Item({}, Position(epoch, row, step))


class Still:
    """Takes its time and changes nothing; the rate falls by a hundredth a step."""

    chunk = 1

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __call__(self, model: Any, objective: Any, batches: Sequence[Any], context: Context) -> Step:
        time.sleep(self._seconds)
        return Step(
            {"a": 0.5}, {"learning_rate": 1.0 - context.position.step / 100, "gradient/b": 2.0}, notable=True
        )

    def evaluating(self, model: Any) -> Any:
        return nullcontext()


def run(pace: Pace, until: Duration, **more: Any) -> None:
    fit(None, Rows(), None, Still(0.004), until=until, watchers=[pace], **more)  # type: ignore[arg-type]


def test_a_thousand_rows_in_batches_of_a_hundred_for_five_epochs_are_fifty_steps() -> None:
    pace = Pace(rows_per_epoch=1000)
    run(pace, Duration(5, "epochs"), context=Context())
    facts = json.loads(dump_json(pace.as_dict()))
    assert (facts["steps"], facts["epochs"], facts["rows_into_next_epoch"]) == (50, 5, 0)
    assert facts["stop_reason"] == "reached 5 epochs"
    assert facts["learning_rate"]["step"] == list(range(1, 51))
    assert facts["learning_rate"]["value"] == pytest.approx([1 - n / 100 for n in range(50)])
    assert facts["seconds"] >= 50 * 0.004
    assert facts["seconds_per_epoch"] == pytest.approx(facts["seconds"] / 5)
    assert facts["rows_per_second"] == pytest.approx(5000 / facts["seconds"])
    assert facts["steps_per_second"] == pytest.approx(50 / facts["seconds"])
    assert facts["epoch_ends"]["epoch"] == [1, 2, 3, 4, 5]
    assert facts["epoch_ends"]["seconds"][-1] == pytest.approx(facts["seconds"], abs=0.05)
    assert facts["signals"] == {
        "gradient": {
            "b": {
                "first": 2.0,
                "last": 2.0,
                "least": 2.0,
                "most": 2.0,
                "mean": 2.0,
                "seen": 50,
                "not_finite": 0,
            }
        }
    }


def test_a_fit_that_ends_within_an_epoch_and_one_that_was_resumed() -> None:
    pace = Pace(rows_per_epoch=1000)
    run(pace, Duration(45, "steps"), context=Context(position=Position(2, 500, 25), seconds=10.0))
    facts = pace.as_dict()
    assert (facts["steps"], facts["epochs"], facts["rows_into_next_epoch"]) == (45, 4, 500)
    assert facts["resumed_at_steps"] == [25] and facts["seconds"] > 10.0
    here = facts["seconds"] - 10.0
    assert facts["rows_per_second"] == pytest.approx(2000 / here)
    assert facts["seconds_per_epoch"] == pytest.approx(here / 2)
    assert facts["epoch_ends"]["epoch"] == [3, 4]


def test_the_end_of_an_epoch_between_two_events_is_interpolated() -> None:
    """From 0.5 epochs at 1 s to 3.5 epochs at 4 s: epoch 1 ended at 1.5 s."""
    pace = Pace(rows_per_epoch=1000)
    pace(Event("start", Position(), 0.0))
    pace(Event("step", Position(0, 500, 5), 1.0))
    pace(Event("step", Position(3, 500, 35), 4.0))
    assert pace.as_dict()["epoch_ends"] == {"epoch": [1, 2, 3], "seconds": [1.5, 2.5, 3.5]}
    unknown = Pace()
    unknown(Event("start", Position(), 0.0))
    unknown(Event("step", Position(2, 500, 25), 4.0))
    facts = unknown.as_dict()
    assert facts["epoch_ends"] == {"epoch": [1, 2], "seconds": [2.0, 4.0]}
    assert facts["rows_per_second"] is None and facts["stop_reason"] is None


def test_a_long_fit_keeps_few_points_and_both_ends() -> None:
    pace = Pace(rows_per_epoch=10)
    pace(Event("start", Position(), 0.0))
    for step in range(1, 100_001):
        signals = {"learning_rate": 1 / step, "dead/a": float("nan") if step % 2 else float(step)}
        pace(Event("step", Position(step, 0, step), float(step), signals=signals))
    facts = pace.as_dict()
    for curve in (facts["learning_rate"]["step"], facts["epoch_ends"]["epoch"]):
        assert curve[0] == 1 and curve[-1] == 100_000 and curve == sorted(set(curve))
        assert MOST_POINTS / 2 <= len(curve) <= MOST_POINTS + 1
        gaps = [after - before for before, after in pairwise(curve[:-1])]
        assert max(gaps) <= 2 * min(gaps)
    assert facts["signals"]["dead"]["a"] == {
        "first": 2.0, "last": 100_000.0, "least": 2.0, "most": 100_000.0, "mean": 50_001.0,
        "seen": 100_000, "not_finite": 50_000,
    }  # fmt: skip
    assert len(dump_json(facts)) < 100_000


def test_a_constant_rate_is_two_points() -> None:
    pace = Pace()
    for step in range(1, 1001):
        signals = {"learning_rate": 0.1 if step < 900 else 0.01}
        pace(Event("step", Position(0, 0, step), 0.0, signals=signals))
    assert pace.as_dict()["learning_rate"] == {"step": [1, 899, 900, 1000], "value": [0.1, 0.1, 0.01, 0.01]}


def test_a_fit_in_which_nothing_happened() -> None:
    facts = Pace().as_dict()
    assert facts["steps"] == 0 and facts["seconds_per_epoch"] is None and facts["signals"] == {}
    assert facts["learning_rate"] == {"step": [], "value": []}


def test_device_hours_and_cost() -> None:
    """DeepSeek-V3: 2.788 million hours of H800 at 2 USD are 5.576 million USD (arXiv:2412.19437, table 1)."""
    hours = 2.788e6
    facts = cost(hours * 3600 / 2048, num_devices=2048, price_per_hour=2.0)
    assert facts["device_hours"] == pytest.approx(2.788e6) and facts["cost"] == pytest.approx(5.576e6)
    assert cost(1800) == {"num_devices": 1, "device_hours": 0.5, "price_per_hour": None, "cost": None}
    assert cost(3600, price_per_hour=0.0)["cost"] == 0.0
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(RecipeError, match="price of a device's hour is a number from 0 on, got"):
            cost(1.0, price_per_hour=wrong)
