"""TensorBoard's own reader finds what was written; a resumed fit shows no point twice."""

from __future__ import annotations

import math
import sys
import time
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from danlu.core.errors import MissingExtra, UserError
from danlu.core.ideas import Event, Position
from danlu.watch.chosen import watchers_of
from danlu.watch.tensorboard import TensorBoard

needs_tensorboard = pytest.mark.skipif(
    find_spec("tensorboard") is None, reason='needs pip install "danlu[tensorboard]"'
)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every scalar below a folder, as TensorBoard shows it: tag -> (step, value)."""
    accumulators = import_module("tensorboard.backend.event_processing.event_accumulator")
    reader: Any = accumulators.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    reader.Reload()
    return {
        tag: [(point.step, point.value) for point in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]
    }


def step_at(number: int, loss: float = 0.5) -> Event:
    signals = {"learning_rate": 0.25, "gradient/layers.0.weight": 2.0}
    return Event("step", Position(0, 0, number), 0.5 * number, losses={"a": loss}, signals=signals)


START = Event("start", Position(), 0.0)


@needs_tensorboard
def test_the_reader_finds_losses_scores_signals_and_rate(tmp_path: Path) -> None:
    (watcher,) = watchers_of(["tensorboard"], tmp_path, part="../my mlp/0")
    for event in (START, step_at(1), step_at(2, loss=math.inf)):
        watcher(event)
    watcher(Event("validation", Position(1, 0, 2), 1.0, losses={"a": 0.5}, metrics={"rmse": 1.5}))
    watcher(Event("end", Position(1, 0, 2), 1.0, reason="reached 1 epoch"))
    found = scalars(tmp_path / "tensorboard" / "fit" / "my-mlp" / "0")
    (first, (step, value)) = found.pop("loss/a")
    assert first == (1, 0.5) and step == 2 and math.isnan(value)
    assert found == {
        "learning_rate": [(1, 0.25), (2, 0.25)],
        "gradient/layers.0.weight": [(1, 2.0), (2, 2.0)],
        "validation/rmse": [(2, 1.5)],
        "rate/steps_per_second": [(1, 2.0), (2, 2.0)],
    }


@needs_tensorboard
def test_each_fit_has_a_folder_of_its_own(tmp_path: Path) -> None:
    for number in range(3):
        watcher = TensorBoard(tmp_path / "mlp")
        for event in (START, step_at(1, loss=number), Event("end", Position(0, 0, 1), 1.0)):
            watcher(event)
    names = ("mlp", "mlp-2", "mlp-3")
    assert [scalars(tmp_path / name)["loss/a"] for name in names] == [[(1, 0.0)], [(1, 1.0)], [(1, 2.0)]]


@needs_tensorboard
def test_a_resumed_fit_replaces_what_the_killed_attempt_did_too_much(tmp_path: Path) -> None:
    killed = TensorBoard(tmp_path / "mlp")
    for event in (START, *map(step_at, range(1, 8))):
        killed(event)
    time.sleep(1.5)  # the file's name has the second in it; by now all of it is on the disk
    resumed = TensorBoard(tmp_path / "mlp")
    for event in (
        Event("start", Position(0, 0, 4), 2.0),
        step_at(5, loss=0.25),
        Event("end", Position(0, 0, 5), 2.5),
    ):
        resumed(event)
    assert scalars(tmp_path / "mlp")["loss/a"] == [(1, 0.5), (2, 0.5), (3, 0.5), (4, 0.5), (5, 0.25)]
    assert [path.name for path in tmp_path.iterdir()] == ["mlp"]


@needs_tensorboard
def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"Cannot write .*file/mlp: a part of this path is a file"):
        TensorBoard(tmp_path / "file" / "mlp")(START)


def test_without_the_package_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto.event_pb2", None)
    with pytest.raises(MissingExtra) as caught:
        TensorBoard(tmp_path)
    assert str(caught.value) == (
        "The watcher 'tensorboard' needs the package tensorboard. "
        'Install it with: pip install "danlu[tensorboard]"'
    )
