"""Rounds of estimators: where they run, and what happens when there is no time."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from danlu.core.duration import Deadline, Duration
from danlu.core.errors import OutOfTime
from danlu.core.ideas import Batch, Context, Step
from danlu.core.loop import fit
from danlu.core.tasks import Task
from danlu.data.batches import WholeTable
from danlu.models.linear import Ridge, RidgeSettings
from danlu.models.perceptron import Perceptron, PerceptronSettings
from danlu.objectives.classification import CrossEntropy
from danlu.objectives.regression import SquaredError
from danlu.updates import estimator
from danlu.updates.estimator import FEW_ROWS, EstimatorUpdate, expected_seconds

TASK = Task("regression")


class Sleeper:
    """Takes `seconds` per thousand rows to the power of `power`."""

    interruptible = False
    fits: list[int]

    def __init__(self, settings: Any, task: Task, num_features: int, *, seed: int = 0) -> None:
        self.settings, self.task, self.num_features, self.seed = settings, task, num_features, seed

    def fit_round(self, batch: Batch, task: Task, context: Context) -> Step:
        num_rows = len(batch["y"])
        self.settings["fits"].append(num_rows)
        time.sleep(self.settings["seconds"] * (num_rows / 1000) ** self.settings["power"])
        return Step(done=True)


def sleeper(seconds: float, power: float = 1.0) -> Sleeper:
    return Sleeper({"seconds": seconds, "power": power, "fits": []}, TASK, 10)


def batch(num_rows: int) -> dict[str, np.ndarray]:
    return {"x": np.zeros((num_rows, 10)), "y": np.zeros(num_rows), "weight": np.ones(num_rows)}


def call(model: Any, num_rows: int, deadline: Deadline | None = None) -> Step:
    deadline = deadline or Deadline()
    return EstimatorUpdate()(model, SquaredError(TASK), [batch(num_rows)], Context(deadline=deadline))


def test_the_loop_fits_an_estimator_in_one_round() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 3))
    y = x @ [1.0, 2.0, 3.0]
    model = Ridge(RidgeSettings(), TASK, 3)
    outcome = fit(
        model,
        WholeTable({"x": x, "y": y}),
        SquaredError(TASK),
        EstimatorUpdate(),
        context=Context(),
        until=Duration(100, "epochs"),
    )
    assert outcome.reason == "done" and outcome.position.epoch == 1
    assert model(x) == pytest.approx(y, abs=1e-3)


def test_the_loop_goes_on_round_by_round() -> None:
    x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    task = Task("binary", (0, 1))
    model = Perceptron(PerceptronSettings(), task, 2)
    data = WholeTable({"x": x, "y": np.array([0, 1, 1, 1])})
    outcome = fit(
        model, data, CrossEntropy(task), EstimatorUpdate(), context=Context(), until=Duration(100, "epochs")
    )
    assert outcome.reason == "done" and 1 < outcome.position.epoch < 50


def test_a_small_table_is_fitted_at_once() -> None:
    model = sleeper(0.0)
    assert call(model, FEW_ROWS).done
    assert model.settings["fits"] == [FEW_ROWS]


def test_many_rows_of_few_columns_are_not_small() -> None:
    """An SVM of 25,000 rows and two columns ran for 40 s in a budget of 6 s."""
    model = sleeper(0.0)
    assert call(model, FEW_ROWS + 1).done
    assert len(model.settings["fits"]) > 1


def test_a_larger_table_is_timed_on_samples_first() -> None:
    model = sleeper(0.001)
    assert call(model, 20_000).done
    *samples, last = model.settings["fits"]
    assert last == 20_000
    assert len(samples) >= 3 and samples[0] == samples[1] <= 130 and max(samples) < 10_001


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_the_estimate_follows_the_power_of_the_rows(power: float) -> None:
    seconds = expected_seconds(sleeper(0.4, power), batch(20_000), TASK, Context())
    assert seconds == pytest.approx(0.4 * 20**power, rel=0.5)


def test_what_would_take_too_long_is_not_begun() -> None:
    model = sleeper(1.0, 2.0)
    started = time.monotonic()
    with pytest.raises(
        OutOfTime, match=r"Sleeper would take about \d+ s on 20,000 rows, and [345] s are left. Give a larger"
    ):
        call(model, 20_000, Deadline.after(5))
    assert time.monotonic() - started < 3
    assert 20_000 not in model.settings["fits"]


def test_a_long_fit_goes_to_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []

    def fake(model: Any, batch: Batch, task: Task, context: Context) -> Step:
        sent.append((model, len(batch["y"]), task, context.deadline))
        return Step(done=True)

    monkeypatch.setattr(estimator, "fit_in_child", fake)
    model, deadline = sleeper(0.5), Deadline.after(60)
    assert call(model, 20_000, deadline).done
    assert sent == [(model, 20_000, TASK, deadline)]
    assert call(model, 20_000).done  # without a deadline too: Ctrl-C must be able to end it
    assert len(sent) == 2
    model.interruptible = True  # type: ignore[misc]
    model.settings["seconds"] = 0.0
    assert call(model, 20_000, deadline).done
    assert len(sent) == 2


def test_samples_hold_every_class(monkeypatch: pytest.MonkeyPatch) -> None:
    task = Task("multiclass", ("a", "b", "c"))
    y = np.where(np.arange(20_000) < 300, np.arange(20_000) % 2, 2)
    seen: list[set[int]] = []

    class Watching(Sleeper):
        def fit_round(self, batch: Batch, task: Task, context: Context) -> Step:
            seen.append(set(batch["y"].tolist()))
            return super().fit_round(batch, task, context)

    model = Watching({"seconds": 0.01, "power": 1.0, "fits": []}, task, 10)
    expected_seconds(model, {"x": np.zeros((20_000, 10)), "y": y}, task, Context())
    assert all(classes == {0, 1, 2} for classes in seen)


def test_an_estimator_update_keeps_nothing() -> None:
    update = EstimatorUpdate()
    update.load(update.state())
    assert update.state() == {} and update.chunk == 1
    with update.evaluating(object()):
        pass
