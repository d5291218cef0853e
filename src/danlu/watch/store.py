"""The run store: every event and finding of a run in one embedded SQLite file that survives a kill.

The journal stays in rollback mode: SQLite before 3.51.3 can corrupt a database in WAL mode when its log is reset.
Several processes may write at once. Events wait in memory and a thread writes them twice a second, in one short
transaction: training never waits for a disk, no writer holds the file between two steps, however long a step takes,
and a kill loses half a second of curve and never a whole file.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Generator
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
WAIT_SECONDS = 60  # that one writer waits for the others
INSERT = "insert into events (part, kind, at, epoch, step, seconds, facts) values (?,?,?,?,?,?,?)"


class RunStore:
    """Writes what happens in one run; `part` names the candidate that an event belongs to."""

    def __init__(self, path: str | Path, *, commit_seconds: float = COMMIT_SECONDS) -> None:
        self.path, self._commit_seconds = Path(path), commit_seconds
        with _store_errors(self.path):
            # Autocommit: a transaction is open only within `_transaction`, in which threads take turns.
            self._database = sqlite3.connect(
                self.path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._database.executescript("pragma journal_mode = delete; pragma synchronous = normal;")
            with self._transaction():
                for statement in filter(str.strip, SCHEMA.split(";")):
                    self._database.execute(statement)
        self._lock = threading.Lock()
        self._waiting: list[tuple[Any, ...]] = []
        self._arrived, self._closing = threading.Event(), threading.Event()
        self._failure: UserError | None = None
        self._writer: threading.Thread | None = None

    def watcher(self, part: str) -> StoreWatcher:
        """A watcher that records the events of one candidate."""
        return StoreWatcher(self, part)

    def add(self, part: str, event: Event) -> None:
        """Record an event: it is on the disk within half a second.

        Raises `UserError` where the events before it could not be written.
        """
        if self._failure is not None:
            raise self._failure
        facts = {
            "losses": dict(event.losses),
            "metrics": dict(event.metrics),
            "signals": dict(event.signals),
            "reason": event.reason,
        }
        text = dump_json({name: value for name, value in facts.items() if value}, indent=None)
        row = (part, event.kind, time.time(), event.position.epoch, event.position.step, event.seconds, text)
        self._waiting.append(row)  # without the lock, which is held while the disk is waited for
        if self._writer is None:
            self._writer = threading.Thread(target=self._write_on, name="danlu-run-store", daemon=True)
            self._writer.start()
        self._arrived.set()

    def add_finding(self, finding: Finding) -> None:
        """Record a finding, at once."""
        row = (time.time(), dump_json(finding.as_dict(), indent=None))
        self._write("insert into findings (at, finding) values (?, ?)", row)

    def forget(self, part: str, after_step: int) -> None:
        """Remove what an attempt that was killed recorded of `part` beyond the step from which it is resumed.

        Only of the part's last fit, since the folds of a cross-validation share a name and count steps anew. That an
        attempt ended there goes as well: it goes on now.
        """
        self._write(
            "delete from events where part = ?1 and (step > ?2 or (step = ?2 and kind = 'end')) and id >= coalesce("
            "(select max(id) from events where part = ?1 and kind = 'start' and step = 0), 0)",
            (part, after_step),
        )

    def flush(self) -> None:
        """Write the events that wait."""
        self._write()

    def close(self) -> None:
        """Write what waits and close the file."""
        with closing(self._database):
            self._stop_writer()
            self.flush()

    def __enter__(self) -> RunStore:
        return self

    def __exit__(self, *error: object) -> None:
        """Keep what can be kept: an error of the store does not take the place of the one that ended the run."""
        with suppress(sqlite3.Error, UserError):
            self.close()

    def _write(self, statement: str = "", values: tuple[Any, ...] = ()) -> None:
        """What waits, then `statement`, in one transaction."""
        with _store_errors(self.path), self._lock:
            rows = self._waiting[:]
            if not (rows or statement):
                return
            with self._transaction():
                self._database.executemany(INSERT, rows)
                if statement:
                    self._database.execute(statement, values)
            del self._waiting[: len(rows)]  # appending goes on meanwhile, at the other end

    def _write_on(self) -> None:
        """The writer's thread: what has arrived, at most every `commit_seconds`."""
        while not self._closing.is_set():
            self._arrived.wait()
            self._arrived.clear()
            try:
                self._write()
            except UserError as error:
                self._failure = error  # the next event raises it, in the thread that trains
                return
            self._closing.wait(self._commit_seconds)

    def _stop_writer(self) -> None:
        self._closing.set()
        self._arrived.set()
        if self._writer is not None:
            self._writer.join()

    @contextmanager
    def _transaction(self) -> Generator[None]:
        # Immediate: the file is asked for before anything is read, so that two writers cannot wait for each other.
        self._database.execute("begin immediate")
        try:
            yield
            self._database.execute("commit")
        except BaseException:
            with suppress(sqlite3.Error):
                self._database.execute("rollback")
            raise


class StoreWatcher:
    """Hands the events of one candidate to the run store."""

    def __init__(self, store: RunStore, part: str) -> None:
        self._store, self._part = store, part

    def __call__(self, event: Event) -> None:
        if event.kind == "start":  # a fit that begins again, or goes on, repeats what came after
            self._store.forget(self._part, event.position.step)
        self._store.add(self._part, event)


def read_events(path: str | Path, *, part: str | None = None) -> list[dict[str, Any]]:
    """The events of a run, oldest first, of one candidate or of all; others may write meanwhile."""
    with _store_errors(Path(path)):
        # as_uri writes % and ? of a path as codes, which would otherwise end it. Mode rw makes no file either, and
        # unlike ro it can take back a transaction in whose middle the writer was killed.
        address = f"{Path(path).resolve().as_uri()}?mode=rw"
        with closing(sqlite3.connect(address, uri=True, timeout=WAIT_SECONDS)) as database:
            where, values = ("where part = ?", (part,)) if part is not None else ("", ())
            rows = database.execute(
                f"select part, kind, at, epoch, step, seconds, facts from events {where} order by id", values
            ).fetchall()
    names = ("part", "kind", "at", "epoch", "step", "seconds")
    return [dict(zip(names, row, strict=False)) | json.loads(row[-1]) for row in rows]


@contextmanager
def _store_errors(path: Path) -> Generator[None]:
    """Turn SQLite's errors into a sentence that says what to look at."""
    try:
        yield
    except sqlite3.Error as error:
        raise UserError(
            f"Cannot use the run store {path}: {error}. Is the disk full, or the folder read-only?"
        ) from error
