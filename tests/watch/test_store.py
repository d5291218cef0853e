"""The run store: what is written comes back, whatever the folder is called and whoever else writes."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
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
        "run = store.RunStore(sys.argv[1], commit_seconds=2.0)\n"
        "run.add('a', Event('start', Position(), 0.0)); time.sleep(0.5)\n"  # the first is written at once
        "run.add('a', Event('step', Position(), 0.5)); time.sleep(2.5)\n"  # and the rest without another event
        "run.add('a', Event('step', Position(), 3.0)); run.add('a', Event('end', Position(), 3.0)); os._exit(9)"
    )
    path = tmp_path / "events.sqlite"
    done = subprocess.run([sys.executable, "-c", code, str(path)], check=False, timeout=60)
    assert done.returncode == 9
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("pragma integrity_check").fetchall() == [("ok",)]
    assert [event["kind"] for event in read_events(path)] in (["start", "step"], ["start", "step", "step"])


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


def step_at(number: int) -> Event:
    return Event("step", Position(0, 0, number), 0.1 * number, losses={"a": 1 / (number + 1)})


WRITER = """
import sys
from danlu.core.ideas import Event, Position
from danlu.watch.store import RunStore
path, part, count, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
store = RunStore(path, commit_seconds=seconds)
print("ready", flush=True)
sys.stdin.readline()
for number in range(count):
    store.add(part, Event("step", Position(0, 0, number), 0.0, losses={"a": 0.5}))
    if number % 5 == 0:
        store.flush()
        print(number, flush=True)
store.close()
"""


def writer(path: Path, part: str, *, events: int, commit_seconds: float = 0.0) -> subprocess.Popen[str]:
    """A process that waits for a line before it writes, and says which events are on the disk."""
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), part, str(events), str(commit_seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def start(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.close()


def test_four_processes_write_and_one_reads(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    processes = [writer(path, f"part {number}", events=500) for number in range(4)]
    for process in processes:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in processes:
        start(process)
    seen = [len(read_events(path))]
    while any(process.poll() is None for process in processes):
        seen.append(len(read_events(path)))
        time.sleep(0.05)
    assert [process.wait() for process in processes] == [0, 0, 0, 0]
    for process in processes:
        assert process.stdout is not None
        process.stdout.close()
    assert seen == sorted(seen)  # nothing that was there went away
    for number in range(4):
        assert [event["step"] for event in read_events(path, part=f"part {number}")] == list(range(500))


@pytest.mark.parametrize("kills", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_in_the_middle_of_writing(tmp_path: Path, kills: int) -> None:
    """After each kill the file is whole, what was said to be written is there, and the next one goes on."""
    path, rng = tmp_path / "events.sqlite", np.random.default_rng(0)
    for number in range(kills):
        process = writer(path, f"part {number}", events=1_000_000)
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        start(process)
        process.stdout.readline()
        time.sleep(rng.uniform(0.0, 0.05))
        process.kill()
        said = process.stdout.read().split()
        process.stdout.close()
        assert process.wait() == -signal.SIGKILL
        steps = [event["step"] for event in read_events(path, part=f"part {number}")]
        assert steps == list(range(len(steps))) and len(steps) > int(said[-1] if said else 0)
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("pragma integrity_check").fetchall() == [("ok",)]
    assert {event["part"] for event in read_events(path)} == {f"part {number}" for number in range(kills)}


def test_a_transaction_that_a_kill_cut_through_is_taken_back(tmp_path: Path) -> None:
    """A journal was left beside a file that is half changed: whoever reads first repairs it."""
    with RunStore(tmp_path / "live.sqlite") as store:
        for number in range(2000):
            store.add("a", step_at(number))
    with closing(sqlite3.connect(tmp_path / "live.sqlite", isolation_level=None)) as database:
        database.execute("pragma cache_size = 1")  # the changes reach the file before they are committed
        database.execute("begin immediate")
        database.execute("update events set part = 'b', facts = facts || '          '")
        for name in ("live.sqlite", "live.sqlite-journal"):  # what a kill at this moment would leave
            shutil.copyfile(tmp_path / name, tmp_path / name.replace("live", "killed"))
        database.execute("rollback")
    assert (tmp_path / "killed.sqlite").read_bytes() != (tmp_path / "live.sqlite").read_bytes()
    assert (tmp_path / "killed.sqlite-journal").read_bytes()[:8].hex() == "d9d505f920a163d7"
    assert [event["part"] for event in read_events(tmp_path / "killed.sqlite")] == ["a"] * 2000
    assert not (tmp_path / "killed.sqlite-journal").exists()


def test_a_step_that_takes_long_holds_nobody_up(tmp_path: Path) -> None:
    """The transaction stayed open until the next event: others waited for it and gave up."""
    slow, other = RunStore(tmp_path / "events.sqlite"), sqlite3.connect(tmp_path / "events.sqlite", timeout=0)
    slow.add("slow", STEP)
    deadline = time.monotonic() + 10
    while not read_events(slow.path) and time.monotonic() < deadline:
        time.sleep(0.01)  # no further event comes, and it is written all the same
    assert len(read_events(slow.path)) == 1
    with closing(other):
        other.execute("insert into findings (at, finding) values (0, '{}')")
        other.commit()
    slow.close()


def test_forget_takes_back_what_a_killed_attempt_did_too_much(tmp_path: Path) -> None:
    with RunStore(tmp_path / "events.sqlite") as store:
        for fold in range(2):
            store.add("mlp", Event("start", Position(), 0.0))
            for number in range(1, 6):
                store.add("mlp", step_at(number))
            if fold == 0:
                store.add("mlp", Event("end", Position(0, 0, 5), 0.5, reason="done"))
        store.add("ridge", step_at(9))
        store.forget("mlp", 3)
        store.add("mlp", step_at(4))
    kept = [(event["kind"], event["step"]) for event in read_events(store.path, part="mlp")]
    first = [("start", 0), *(("step", number) for number in range(1, 6)), ("end", 5)]
    assert kept == [*first, ("start", 0), *(("step", number) for number in (1, 2, 3, 4))]
    assert [event["step"] for event in read_events(store.path, part="ridge")] == [9]


def test_a_resumed_fit_forgets_by_itself(tmp_path: Path) -> None:
    with RunStore(tmp_path / "events.sqlite") as store:
        watcher = store.watcher("mlp")
        for event in (Event("start", Position(), 0.0), *map(step_at, range(1, 6))):
            watcher(event)
        watcher(Event("end", Position(0, 0, 3), 0.3, reason="out of time"))
        watcher(Event("start", Position(0, 0, 3), 0.3))
        watcher(step_at(4))
    found = [(event["kind"], event["step"]) for event in read_events(store.path)]
    assert found == [("start", 0), ("step", 1), ("step", 2), ("step", 3), ("start", 3), ("step", 4)]


def test_a_disk_that_fails_is_told_at_the_next_event(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "events.sqlite", commit_seconds=0.0)
    with closing(sqlite3.connect(store.path)) as database:
        database.execute("drop table events")

    def fail() -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            store.add("mlp", STEP)
            time.sleep(0.01)

    with pytest.raises(
        UserError, match=r"Cannot use the run store .*: no such table: events. Is the disk full"
    ):
        fail()
    with pytest.raises(UserError, match="no such table"):
        store.close()
