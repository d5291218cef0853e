"""The run store: every event and finding of a run in one embedded SQLite file that survives a kill.

The journal stays in rollback mode: SQLite before 3.51.3 can corrupt a database in WAL mode when its log is reset.
Several processes may write at once; a writer waits for the others. Rows are committed twice a second, so that a kill
loses half a second of curve and never a whole file.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from danlu.core.errors import UserError
from danlu.core.files import dump_json
from danlu.core.findings import Finding
from danlu.core.ideas import Event

SCHEMA = """
create table if not exists events (
    id integer primary key, part text not null, kind text not null, at real not null,
    epoch integer not null, step integer not null, seconds real not null, facts text not null);
create table if not exists findings (id integer primary key, at real not null, finding text not null);
"""
COMMIT_SECONDS = 0.5


class RunStore:
    """Writes what happens in one run; `part` names the candidate that an event belongs to."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        with _store_errors(self.path):
            self._database = sqlite3.connect(self.path, timeout=30)
            self._database.executescript(
                "pragma journal_mode = delete; pragma synchronous = normal;" + SCHEMA
            )
            self._database.commit()
        self._committed = time.monotonic()

    def watcher(self, part: str) -> StoreWatcher:
        """A watcher that records the events of one candidate."""
        return StoreWatcher(self, part)

    def add(self, part: str, event: Event) -> None:
        """Record an event."""
        facts = {
            "losses": dict(event.losses),
            "metrics": dict(event.metrics),
            "signals": dict(event.signals),
            "reason": event.reason,
        }
        text = dump_json({name: value for name, value in facts.items() if value}, indent=None)
        row = (part, event.kind, time.time(), event.position.epoch, event.position.step, event.seconds, text)
        with _store_errors(self.path):
            self._database.execute(
                "insert into events (part, kind, at, epoch, step, seconds, facts) values (?,?,?,?,?,?,?)", row
            )
            if time.monotonic() - self._committed > COMMIT_SECONDS:
                self._commit()

    def add_finding(self, finding: Finding) -> None:
        """Record a finding."""
        with _store_errors(self.path):
            row = (time.time(), dump_json(finding.as_dict(), indent=None))
            self._database.execute("insert into findings (at, finding) values (?, ?)", row)
            self._commit()

    def close(self) -> None:
        """Commit and close the file."""
        with _store_errors(self.path), closing(self._database):
            self._database.commit()

    def __enter__(self) -> RunStore:
        return self

    def __exit__(self, *error: object) -> None:
        """Keep what can be kept: an error of the store does not take the place of the one that ended the run."""
        with suppress(sqlite3.Error), closing(self._database):
            self._database.commit()

    def _commit(self) -> None:
        self._database.commit()
        self._committed = time.monotonic()


class StoreWatcher:
    """Hands the events of one candidate to the run store."""

    def __init__(self, store: RunStore, part: str) -> None:
        self._store, self._part = store, part

    def __call__(self, event: Event) -> None:
        self._store.add(self._part, event)


def read_events(path: str | Path, *, part: str | None = None) -> list[dict[str, Any]]:
    """The events of a run, oldest first, of one candidate or of all."""
    with _store_errors(Path(path)):
        # as_uri writes % and ? of a path as codes, which would otherwise end it.
        address = f"{Path(path).resolve().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=30)) as database:
            rows = database.execute(
                "select part, kind, at, epoch, step, seconds, facts from events order by id"
            ).fetchall()
    names = ("part", "kind", "at", "epoch", "step", "seconds")
    events = [dict(zip(names, row, strict=False)) | json.loads(row[-1]) for row in rows]
    return [event for event in events if part is None or event["part"] == part]


@contextmanager
def _store_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into a sentence that says what to look at."""
    try:
        yield
    except sqlite3.Error as error:
        raise UserError(
            f"Cannot use the run store {path}: {error}. Is the disk full, or the folder read-only?"
        ) from error
