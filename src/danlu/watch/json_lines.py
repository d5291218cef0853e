"""JSON lines: one strict JSON object an event, for whatever wants to follow a run with `tail -f` or a script."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from danlu.core.errors import UserError
from danlu.core.files import disk_errors, dump_json
from danlu.core.ideas import Event


class JsonLines:
    """Appends each event of one candidate, `part`, to the file at `path`, as a whole line that is out at once.

    A line has part, kind, at (seconds since 1970), epoch, row, step, seconds and, where there are any, losses,
    metrics, signals, reason. Candidates and processes may share a file. A fit that is resumed first cuts off what the
    killed attempt left: a half-written line, and the lines of this part beyond the step from which it goes on.
    """

    def __init__(self, path: str | Path, *, part: str = "") -> None:
        self.path, self._part = Path(path), part
        with disk_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._opened():
            pass  # a folder that cannot be written to is told before training begins

    def __call__(self, event: Event) -> None:
        """Write the event's line; none waits in a buffer while a step takes a minute."""
        if event.kind == "start" and event.position.step > 0:
            self.forget(event.position.step)
        line = dump_json(_as_dict(self._part, event), indent=None) + "\n"
        with self._opened() as file:
            file.write(line.encode())

    def forget(self, after_step: int) -> None:
        """Take out the lines of this part's last fit beyond a step; that it ended there goes as well."""
        with self._opened() as file:
            file.seek(0)
            lines = file.readlines()
            events = [_whole(line) or {} for line in lines]
            own = [number for number, event in enumerate(events) if event.get("part") == self._part]
            starts = [n for n in own if events[n].get("kind") == "start" and events[n].get("step") == 0]
            gone = {
                number
                for number in own
                if number >= (starts[-1] if starts else 0)
                and (events[number].get("step", 0), events[number].get("kind") == "end") > (after_step, False)
            }
            if gone:
                first = min(gone)
                file.seek(sum(map(len, lines[:first])))
                file.truncate()
                file.write(b"".join(line for n, line in enumerate(lines) if n > first and n not in gone))

    @contextmanager
    def _opened(self) -> Generator[IO[bytes]]:
        """The file, at its end, which is that of a line, while no other process has it."""
        with disk_errors(self.path), open(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666), "r+b") as file:
            if sys.platform != "win32":
                from fcntl import LOCK_EX, flock

                flock(file, LOCK_EX)  # given back when the file is closed
            _cut_half_line(file)
            yield file


def read_json_lines(path: str | Path) -> list[dict[str, Any]]:
    """The events in a file of JSON lines, oldest first; a last line that a kill left half-written is passed over."""
    try:
        lines = Path(path).read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise UserError(f"Cannot read the events in {path}: {error.strerror}.") from error
    events: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        event = _whole(line)
        if event is not None:
            events.append(event)
        elif line.endswith(b"\n"):
            raise UserError(
                f"Line {number} of {path} is not an event in JSON. Was it edited? Delete that line."
            )
    return events


def _as_dict(part: str, event: Event) -> dict[str, Any]:
    epoch, row, step = event.position
    where = {
        "part": part,
        "kind": event.kind,
        "at": round(time.time(), 6),
        "epoch": epoch,
        "row": row,
        "step": step,
    }
    facts: Mapping[str, Any] = {
        "losses": dict(event.losses),
        "metrics": dict(event.metrics),
        "signals": dict(event.signals),
        "reason": event.reason,
    }
    return where | {"seconds": event.seconds} | {name: value for name, value in facts.items() if value}


def _whole(line: bytes) -> dict[str, Any] | None:
    """The event on a line, or None where there is none."""
    if not line.endswith(b"\n"):
        return None
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return cast(dict[str, Any], value) if isinstance(value, dict) else None


def _cut_half_line(file: IO[bytes]) -> None:
    """Cut off what follows the last end of a line, which a killed writer left, and stand at the end."""
    size = end = file.seek(0, os.SEEK_END)
    block = 1  # nearly always the last byte ends a line
    while end > 0:
        start = max(end - block, 0)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end, block = start, 1 << 16
    if end < size:
        file.truncate(end)
    file.seek(end)
