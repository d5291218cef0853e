"""SQLite files are only read, by one query, and their loosely typed cells become columns."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from danlu.core.errors import DataError
from danlu.data.sources import chunks, read
from danlu.data.sqlite_file import parse_address


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "shop.db"
    connection = sqlite3.connect(path)
    connection.execute("create table people (id integer, age, name text, zip text)")
    rows = [(1, 39, "Ann", "01234"), (2, "NA", None, "10115"), (3, 20.5, "Bob", "20095")]
    connection.executemany("insert into people values (?, ?, ?, ?)", rows)
    connection.commit()
    connection.close()
    return path


def test_the_only_table(database: Path):
    source = read(database)
    assert source.frame.rows() == [
        (1, 39.0, "Ann", "01234"),
        (2, None, None, "10115"),
        (3, 20.5, "Bob", "20095"),
    ]
    assert {note.code for note in source.notes} == {"read_as_missing", "leading_zeros"}


@pytest.mark.parametrize("encode", [False, True])
def test_a_query_in_the_address(database: Path, encode: bool):
    query = "SELECT name, age FROM people WHERE name LIKE 'A%'"
    address = f"sqlite:///{database}?query={quote(query) if encode else query}"
    assert read(address).frame.rows() == [("Ann", 39)]
    assert read(database, query=query + ";").frame.rows() == [("Ann", 39)]
    assert [part.rows() for part in chunks(address)] == [[("Ann", "39")]]


def test_addresses():
    assert parse_address("sqlite:///data/a.db") == (Path("data/a.db"), None)
    assert parse_address("sqlite:////data/a.db?query=select+1") == (Path("/data/a.db"), "select 1")
    with pytest.raises(DataError, match=r"only \?query=SELECT ... may follow"):
        parse_address("sqlite:///a.db?table=t")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (
            "delete from people",
            "danlu only reads: a query must begin with SELECT or WITH, got 'delete from people'",
        ),
        ("select * from people; drop table people", "The query on shop.db failed"),
        ("with x as (select 1) delete from people", "The query on shop.db failed"),
        ("select nope from people", "The query on shop.db failed: no such column: nope"),
        ("select writefile('x', 'y')", "The query on shop.db failed"),
        (
            "select age, age from people",
            "The query gives two columns the same name: 'age'. Rename one with AS.",
        ),
        ("select * from people where id > 5", "The query on shop.db gives no rows"),
        ("select x'00ff' as b", "Column 'b' holds bytes (BLOB), which are no values"),
    ],
)
def test_refuses(database: Path, query: str, message: str):
    before = hashlib.sha256(database.read_bytes()).hexdigest()
    with pytest.raises(DataError) as error:
        read(database, query=query)
    assert message in str(error.value)
    assert hashlib.sha256(database.read_bytes()).hexdigest() == before


def test_many_tables_need_a_query(database: Path):
    connection = sqlite3.connect(database)
    connection.execute("create table towns (x)")
    connection.close()
    with pytest.raises(DataError, match=r"shop.db holds 2 tables \(people, towns\). Say which rows to read"):
        read(database)


def test_a_query_given_twice(database: Path):
    with pytest.raises(DataError, match="The query was given twice"):
        read(f"sqlite:///{database}?query=select 1 as a", query="select 2 as a")


@pytest.fixture
def open_log(database: Path) -> Iterator[Path]:
    """A database whose newest row still stands in its write-ahead log."""
    connection = sqlite3.connect(database)
    connection.execute("pragma journal_mode=wal")
    connection.execute("pragma wal_autocheckpoint=0")
    connection.execute("insert into people values (4, 50, 'Eve', '30303')")
    connection.commit()
    yield database
    connection.close()


def test_rows_in_the_write_ahead_log_are_seen(open_log: Path):
    assert read(open_log).frame.height == 4
