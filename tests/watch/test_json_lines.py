"""JSON lines: strict, whole, out at once, and mended where a killed attempt left them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from danlu.core.errors import UserError
from danlu.core.ideas import Event, Position
from danlu.watch.json_lines import JsonLines, read_json_lines

STEP = Event("step", Position(1, 32, 7), 0.25, losses={"a": 0.5}, signals={"learning_rate": 0.1})


def step_at(number: int) -> Event:
    return Event("step", Position(0, 0, number), 0.1 * number)


def steps(path: Path, part: str = "mlp") -> list[tuple[str, int]]:
    return [(event["kind"], event["step"]) for event in read_json_lines(path) if event["part"] == part]


def test_each_event_is_a_line_of_strict_json(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "events.jsonl"
    watcher, before = JsonLines(path, part="\u4e39\u7089"), time.time()
    watcher(STEP)
    watcher(Event("step", Position(1, 64, 8), 0.3, losses={"a": float("nan"), "b": float("-inf")}))
    watcher(Event("end", Position(2, 0, 9), 0.5, reason="reached 2 epochs"))
    lines = path.read_text(encoding="utf-8").splitlines()  # before anything was closed

    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is not JSON")

    first, second, third = (json.loads(line, parse_constant=refuse) for line in lines)
    assert before - 1 < first.pop("at") < time.time() + 1
    assert first == {
        "part": "\u4e39\u7089", "kind": "step", "epoch": 1, "row": 32, "step": 7, "seconds": 0.25,
        "losses": {"a": 0.5}, "signals": {"learning_rate": 0.1},
    }  # fmt: skip
    assert second["losses"] == {"a": None, "b": None} and third["reason"] == "reached 2 epochs"
    assert [event["step"] for event in read_json_lines(path)] == [7, 8, 9]


@pytest.mark.parametrize("half", ['{"part": "mlp", "kind": "st', "{", '{"part": "mlp"}', "x" * 200_000])
def test_a_half_written_line_is_passed_over_and_then_cut_off(tmp_path: Path, half: str) -> None:
    path = tmp_path / "events.jsonl"
    watcher = JsonLines(path, part="mlp")
    watcher(step_at(1))
    watcher(step_at(2))
    whole = path.read_bytes()
    with path.open("a") as file:
        file.write(half)
    assert steps(path) == [("step", 1), ("step", 2)]
    JsonLines(path, part="mlp")
    assert path.read_bytes() == whole
    with path.open("a") as file:  # while this process goes on, another is killed
        file.write(half)
    watcher(step_at(3))
    assert steps(path) == [("step", 1), ("step", 2), ("step", 3)]


def test_a_file_that_is_one_half_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"part"')
    assert read_json_lines(path) == []
    JsonLines(path)(STEP)
    assert [event["step"] for event in read_json_lines(path)] == [7]


def test_a_resumed_fit_repeats_no_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    watcher = JsonLines(path, part="mlp")
    for _ in range(2):  # two folds
        watcher(Event("start", Position(), 0.0))
        for number in range(1, 6):
            watcher(step_at(number))
    JsonLines(path, part="ridge")(step_at(9))
    watcher(Event("end", Position(0, 0, 3), 0.3, reason="out of time"))
    again = JsonLines(path, part="mlp")
    again(Event("start", Position(0, 0, 3), 0.3))
    again(step_at(4))
    first = [("start", 0), *(("step", number) for number in range(1, 6))]
    assert steps(path) == [*first, *first[:4], ("start", 3), ("step", 4)]
    assert steps(path, "ridge") == [("step", 9)]


def test_processes_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    code = (
        "import sys; from danlu.core.ideas import Event, Position; from danlu.watch.json_lines import JsonLines\n"
        "watcher = JsonLines(sys.argv[1], part=sys.argv[2])\n"
        "for n in range(500): watcher(Event('step', Position(0, 0, n), 0.0, losses={'a' * 50: 0.5}))"
    )
    processes = [subprocess.Popen([sys.executable, "-c", code, str(path), str(n)]) for n in range(3)]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    for number in range(3):
        assert steps(path, str(number)) == [("step", n) for n in range(500)]


def test_what_is_no_event_is_named(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"part": "a"}\nhello\n')
    with pytest.raises(
        UserError, match=r"Line 2 of .*events.jsonl is not an event in JSON\. .*Delete that line"
    ):
        read_json_lines(path)
    with pytest.raises(UserError, match=r"Cannot read the events in .*none: No such file"):
        read_json_lines(tmp_path / "none")
    with pytest.raises(UserError, match=r"Cannot write .*events.jsonl"):
        JsonLines(path / "events.jsonl")
