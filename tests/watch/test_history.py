"""The learning curve and early stopping, event by event."""

from __future__ import annotations

import pytest

from danlu.core.ideas import Event, Position
from danlu.watch.history import EarlyStopping, History


def validation(epoch: int, **metrics: float) -> Event:
    return Event("validation", Position(epoch, 0, 10 * epoch), 0.5 * epoch, metrics=metrics)


def stops_after(scores: list[float], **settings: object) -> int | None:
    """The number of validations after which `EarlyStopping` asks to stop, or None."""
    watcher = EarlyStopping("score", 2, **{"greater_is_better": True, **settings})  # type: ignore[arg-type]
    for number, score in enumerate(scores, 1):
        if watcher(validation(number, score=score)):
            return number
    return None


def test_a_history_keeps_one_point_a_validation() -> None:
    history = History("rmse")
    history(Event("step", Position(0, 16, 1), 0.1, losses={"squared_error": 3.0}))
    history(validation(1, rmse=2.0, train_rmse=1.5))
    history(validation(2, mae=1.0))  # the run's metric is not among them: no point
    history(validation(3, rmse=1.0, train_rmse=0.5))
    assert (history.epochs, history.steps, history.seconds) == ([1, 3], [10, 30], [0.5, 1.5])
    assert (history.validation, history.training) == ([2.0, 1.0], [1.5, 0.5])


def test_a_curve_counts_in_its_own_unit() -> None:
    history = History("rmse")
    assert history.as_curve(unit="round", rounds=10, best=1, of=1) is None
    history(validation(1, rmse=2.0))
    assert history.as_curve(unit="round", rounds=10, best=1, of=1) is None  # one point is no curve
    history(validation(2, rmse=1.0))
    assert history.as_curve(unit="round", rounds=10, best=2, of=1) == {
        "step": [10, 20], "train": [], "validation": [2.0, 1.0], "unit": "round", "metric": "rmse", "best": 20,
        "fold": None,
    }  # fmt: skip
    history(validation(3, rmse=0.5, train_rmse=0.25))
    curve = history.as_curve(unit="epoch", rounds=1, best=3, of=5)
    assert curve is not None and curve["train"] == [None, None, 0.25] and curve["fold"] == "first of 5 folds"


@pytest.mark.parametrize(
    ("scores", "settings", "expected"),
    [
        ([1, 2, 3, 4, 5], {}, None),
        ([1, 2, 1, 1], {}, 4),
        ([1, 1, 2, 1, 1], {}, 5),  # a better score starts the count anew
        ([1, 0.9, 0.8, 0.7], {}, 3),
        ([1, 0.9, 0.8, 0.7], {"greater_is_better": False}, None),
        ([1, 1.00005, 1.00009], {}, 3),  # gains below 1e-4 of the first score do not count ...
        ([1, 1.00005, 1.00009, 1.0003], {"min_gain": 0.0}, None),  # ... unless all do
        ([-4.0, -3.0, -3.0, -3.0], {}, 4),
        ([0.0, 0.0, 0.0], {}, 3),
    ],
)
def test_patience(scores: list[float], settings: dict[str, object], expected: int | None) -> None:
    assert stops_after(scores, **settings) == expected


def test_the_reason_names_the_score_and_other_events_do_not_count() -> None:
    watcher = EarlyStopping("log_loss", 1, greater_is_better=False)
    assert watcher(validation(1, log_loss=1.0)) is None
    assert watcher(Event("step", Position(1, 0, 11), 1.0, losses={"log_loss": 9.0})) is None
    assert watcher(validation(2, accuracy=0.5)) is None  # undefined on these rows
    assert watcher(validation(3, log_loss=1.0)) == "no better log_loss in 1 validations"
