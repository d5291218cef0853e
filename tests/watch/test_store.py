"""The run store: what is written comes back, whatever the folder is called and whoever else writes."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from danlu.core.errors import UserError
from danlu.core.findings import Finding
from danlu.core.ideas import Event, Position
from danlu.watch.store import RunStore, read_events

STEP = Event("step", Position(1, 32, 7), 0.25, losses={"a": 0.5}, signals={"gradient_norm": 2.0})
END = Event("end", Position(2, 0, 9), 0.5, reason="reached 2 epochs")


def test_events_come_back_in_order(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "events.sqlite")
    store.watcher("ridge")(STEP)
    store.watcher("mlp")(Event("validation", Position(1, 0, 8), 0.3, metrics={"rmse": 1.5}))
    store.watcher("ridge")(END)
    store.close()
    first, second, third = read_events(store.path)
    assert {name: first[name] for name in ("part", "kind", "epoch", "step", "seconds")} == {
        "part": "ridge", "kind": "step", "epoch": 1, "step": 7, "seconds": 0.25,
    }  # fmt: skip
    assert first["losses"] == {"a": 0.5} and first["signals"] == {"gradient_norm": 2.0}
    assert second["metrics"] == {"rmse": 1.5} and "losses" not in second
    assert third["reason"] == "reached 2 epochs" and first["at"] <= third["at"]
    assert [event["kind"] for event in read_events(store.path, part="ridge")] == ["step", "end"]


def test_what_is_not_finite_is_null(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "events.sqlite")
    store.add("mlp", Event("step", Position(), 0.0, losses={"a": float("nan"), "b": float("inf")}))
    store.close()
    assert read_events(store.path)[0]["losses"] == {"a": None, "b": None}


def test_findings_are_strict_json(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "events.sqlite")
    store.add_finding(Finding("leak", "warning", "Spalte \u4ef7 weiss es", {"share": np.float64(np.nan)}))
    with closing(sqlite3.connect(store.path)) as reader:  # committed at once, before the store is closed
        ((text,),) = reader.execute("select finding from findings").fetchall()
    assert json.loads(text)["message"] == "Spalte \u4ef7 weiss es"
    assert json.loads(text)["evidence"] == {"share": None}
    store.close()


@pytest.mark.parametrize("name", ["100%41", "what?", "a#b", "two words", "\u4e39\u7089"])
def test_any_folder_name_will_do(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path)
    store = RunStore(Path(name) / "events.sqlite")
    store.add("ridge", END)
    store.close()
    assert len(read_events(Path(name) / "events.sqlite")) == 1


def test_reading_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Cannot use the run store .*nowhere.sqlite: unable to open"):
        read_events(tmp_path / "nowhere.sqlite")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Cannot use the run store .*none/events.sqlite: .*Is the disk full"):
        RunStore(tmp_path / "none" / "events.sqlite")


def test_a_kill_loses_half_a_second_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was committed is there after a process that never closed its store."""
    code = (
        "import os, sys, time; from danlu.watch import store; from danlu.core.ideas import Event, Position\n"
        "run = store.RunStore(sys.argv[1]); run.add('a', Event('start', Position(), 0.0))\n"
        "time.sleep(store.COMMIT_SECONDS + 0.1); run.add('a', Event('step', Position(), 0.6))\n"
        "run.add('a', Event('end', Position(), 0.6)); os._exit(9)"
    )
    path = tmp_path / "events.sqlite"
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=60)
    assert done.returncode == 9
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("pragma integrity_check").fetchall() == [("ok",)]
    assert [event["kind"] for event in read_events(path)] == ["start", "step"]


def test_a_run_that_fails_keeps_its_events_and_its_error(tmp_path: Path) -> None:
    def fail() -> None:
        with RunStore(tmp_path / "events.sqlite") as store:
            store.add("ridge", STEP)
            raise RuntimeError("the first error")

    with pytest.raises(RuntimeError, match="the first error"):
        fail()
    assert len(read_events(tmp_path / "events.sqlite")) == 1
    with RunStore(tmp_path / "events.sqlite") as store:
        store.add("ridge", END)
        store.close()
    assert len(read_events(tmp_path / "events.sqlite")) == 2


def test_two_runs_may_write_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    one = RunStore(path)
    one.add_finding(Finding("a", "info", "first"))
    two = RunStore(path)
    two.add_finding(Finding("b", "info", "second"))
    one.add_finding(Finding("c", "info", "third"))
    one.close()
    two.close()
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("select count(*) from findings").fetchone() == (3,)
