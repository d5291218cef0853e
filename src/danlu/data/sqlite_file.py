"""A query on a SQLite file: opened for reading only, run as one statement, its rows taken piece by piece."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from danlu.core.errors import DataError
from danlu.data.table import Table

if TYPE_CHECKING:
    import polars as pl

SCHEME = "sqlite:///"
BYTES_PER_CELL = 24  # in memory, a number or a short text


def parse_address(address: str) -> tuple[Path, str | None]:
    """File and query of `sqlite:///FILE?query=SELECT ...`; four slashes begin an absolute path."""
    file, mark, query = address.removeprefix(SCHEME).partition("?")
    if mark and not query.startswith("query="):
        raise DataError(f"{address!r}: after the file only ?query=SELECT ... may follow.")
    text = query.removeprefix("query=")
    # In an encoded address blanks are %20; a query typed as it is has blanks, and its % belongs to LIKE.
    return Path(file), (text if " " in text else unquote(text.replace("+", " "))) or None


@contextmanager
def open_sqlite(path: Path, *, query: str | None) -> Iterator[Table]:
    """The rows that `query` gives, or the only table of the file; DataError where it fails or would write."""
    try:
        connection = sqlite3.connect(_address(path), uri=True)
    except sqlite3.Error as error:
        raise DataError(f"{path.name} cannot be opened as a SQLite file: {error}.") from error
    with closing(connection):
        connection.set_authorizer(_only_reading)
        statement = query.strip().rstrip(";") if query else _only_table(connection, path)
        if not re.match(r"(select|with|values)\b", statement, re.IGNORECASE):
            raise DataError(
                f"danlu only reads: a query must begin with SELECT or WITH, got {statement[:200]!r}."
            )
        num_rows = _run(connection, f"select count(*) from ({statement})", path).fetchone()[0]
        cursor = _run(connection, statement, path)
        names = [entry[0] for entry in cursor.description]
        double = sorted({name for name in names if names.count(name) > 1})
        if double:
            raise DataError(
                f"The query gives two columns the same name: {', '.join(map(repr, double))}. Rename one "
                "with AS."
            )
        if not num_rows:
            raise DataError(f"The query on {path.name} gives no rows: {statement}")
        yield Table(
            lambda rows: _batches(connection, statement, names, rows, path),
            num_rows,
            num_rows * len(names) * BYTES_PER_CELL,
            is_text=True,
        )


def _address(path: Path) -> str:
    """Read-only; as a file that nobody changes, unless a write-ahead log beside it has to be read too."""
    log = path.with_name(path.name + "-wal")
    immutable = "" if log.exists() and log.stat().st_size else "&immutable=1"
    return f"file:{quote(str(path.resolve()))}?mode=ro{immutable}"


def _only_reading(action: int, first: str | None, *_: str | None) -> int:
    allowed = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
    return sqlite3.SQLITE_OK if action in allowed else sqlite3.SQLITE_DENY


def _only_table(connection: sqlite3.Connection, path: Path) -> str:
    found = _run(
        connection, "select name from sqlite_master where type in ('table', 'view')", path
    ).fetchall()
    names = [name for (name,) in found if not name.startswith("sqlite_")]
    if len(names) != 1:
        what = f"holds {len(names)} tables ({', '.join(names)})" if names else "holds no tables"
        raise DataError(f"{path.name} {what}. Say which rows to read: --query 'SELECT * FROM ...'.")
    return f'select * from "{names[0].replace(chr(34), chr(34) * 2)}"'


def _run(connection: sqlite3.Connection, statement: str, path: Path) -> sqlite3.Cursor:
    try:
        return connection.execute(statement)
    except sqlite3.Error as error:
        reason = "danlu only reads" if "not authorized" in str(error) else str(error)
        raise DataError(f"The query on {path.name} failed: {reason}. It was: {statement[:200]}") from error


def _batches(
    connection: sqlite3.Connection, statement: str, names: list[str], rows: int, path: Path
) -> Iterator[pl.DataFrame]:
    """All cells as text: SQLite types single cells, not columns, so that types are found afterwards."""
    import polars as pl

    cursor = _run(connection, statement, path)
    try:
        while found := cursor.fetchmany(rows):
            columns = zip(names, zip(*found, strict=True), strict=True)
            yield pl.DataFrame(
                [pl.Series(name, _texts(name, cells), dtype=pl.String) for name, cells in columns]
            )
    except sqlite3.Error as error:
        raise DataError(f"{path.name} cannot be read to its end: {error}. It may be damaged.") from error


def _texts(name: str, cells: tuple[Any, ...]) -> list[str | None]:
    if any(isinstance(cell, bytes) for cell in cells):
        raise DataError(
            f"Column {name!r} holds bytes (BLOB), which are no values. Leave it out of the query."
        )
    return [cell if cell is None or isinstance(cell, str) else str(cell) for cell in cells]
