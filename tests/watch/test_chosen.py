"""Watchers by name: each in its place, and a wrong name is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from danlu.core.errors import RecipeError
from danlu.core.ideas import Event, Position
from danlu.watch.chosen import watchers_of
from danlu.watch.json_lines import read_json_lines


def test_by_name_and_once(tmp_path: Path) -> None:
    (watcher,) = watchers_of(["jsonl", "jsonl"], tmp_path, part="mlp")
    assert watcher(Event("start", Position(), 0.0)) is None
    (event,) = read_json_lines(tmp_path / "events.jsonl")
    assert event["part"] == "mlp" and event["kind"] == "start"
    assert watchers_of([], tmp_path) == []


def test_a_wrong_name(tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"jsonl, tensorboard, mlflow, got 'tensorbord'\. Did you mean 'tensorboard'"
    ):
        watchers_of(["tensorbord"], tmp_path)
