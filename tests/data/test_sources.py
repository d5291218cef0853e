"""`read` takes every kind of source and says what is wrong with a bad one; `chunks` gives the same rows in parts."""

from __future__ import annotations

import gzip
import hashlib
import os
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from danlu.core.errors import DataError
from danlu.data.sources import chunks, read

FRAME = pl.DataFrame({"n": [1, 2, None], "f": [1.5, None, 2.5], "s": ["a", "b, c", None]})


def save(folder: Path, name: str) -> Path:
    """FRAME as a file of the format that the name asks for."""
    path = folder / name
    if name.endswith(".csv"):
        FRAME.write_csv(path)
    elif name.endswith(".tsv"):
        FRAME.write_csv(path, separator="\t")
    elif name.endswith(".csv.gz"):
        path.write_bytes(gzip.compress(FRAME.write_csv().encode()))
    elif name.endswith(".parquet"):
        FRAME.write_parquet(path)
    elif name.endswith((".arrow", ".feather")):
        FRAME.write_ipc(path)
    elif name.endswith(".jsonl"):
        FRAME.write_ndjson(path)
    elif name.endswith(".db"):
        connection = sqlite3.connect(path)
        connection.execute("create table t (n integer, f real, s text)")
        connection.executemany("insert into t values (?, ?, ?)", FRAME.rows())
        connection.commit()
        connection.close()
    return path


FILES = ["t.csv", "t.tsv", "t.csv.gz", "t.parquet", "t.arrow", "t.feather", "t.jsonl", "t.db"]


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_table(tmp_path: Path, name: str):
    path = save(tmp_path, name)
    for given in (path, str(path)):
        source = read(given)
        assert source.frame.equals(FRAME)
        assert source.frame.schema == FRAME.schema
        assert (source.name, source.path) == ("t", str(path))
        assert not source.notes
    if name != "t.db":
        assert source.fingerprint == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.db", "t.csv"])
def test_content_tells_the_format_where_the_name_does_not(tmp_path: Path, name: str):
    path = save(tmp_path, name).rename(tmp_path / "t.data")
    assert read(path).frame.equals(FRAME)


@pytest.mark.parametrize("rows", [1, 2, 3, 10])
@pytest.mark.parametrize("name", ["t.parquet", "t.arrow", "t.jsonl"])
def test_chunks_of_files_with_types(tmp_path: Path, name: str, rows: int):
    parts = list(chunks(save(tmp_path, name), rows=rows))
    assert [part.height for part in parts[:-1]] == [rows] * (len(parts) - 1)
    assert pl.concat(parts).equals(FRAME)


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.db"])
def test_chunks_of_text_files_are_text(tmp_path: Path, name: str):
    parts = list(chunks(save(tmp_path, name), rows=2))
    assert [part.height for part in parts] == [2, 1]
    assert pl.concat(parts).equals(FRAME.cast(pl.String))


def test_chunks_of_frames():
    assert [part.height for part in chunks(FRAME, rows=2)] == [2, 1]
    assert [part.height for part in chunks("sklearn/iris", rows=100)] == [100, 50]


def test_frames_are_fingerprinted_by_content(tmp_path: Path):
    source = read(FRAME)
    assert (source.format, source.path, source.name) == ("polars", None, "polars")
    assert source.fingerprint == read(FRAME.to_dict(as_series=False)).fingerprint
    assert source.fingerprint != read(FRAME.head(2)).fingerprint
    first, second = save(tmp_path, "t.db"), save(tmp_path, "u.db")
    assert read(first).fingerprint == read(second).fingerprint


def test_types_keep_text_as_it_is_written(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text("zip,x\n10115,1\n20095,2\n")
    assert read(path).frame["zip"].dtype == pl.Int64
    assert read(path, types={"zip": "category", "x": "number"}).frame.schema == {
        "zip": pl.String,
        "x": pl.Int64,
    }
    with pytest.raises(
        DataError, match="A type is set for 'zap', but there is no such column. Did you mean 'zip'"
    ):
        read(path, types={"zap": "category"})


def test_a_first_line_of_data_is_suspected(tmp_path: Path):
    path = tmp_path / "t.csv"
    path.write_text("5.1,3.5,setosa\n4.9,3.0,setosa\n4.7,3.2,virginica\n")
    (note,) = read(path).notes
    assert (note.code, note.severity) == ("header_looks_like_data", "warning")
    assert "looks like a row of data ('5.1', '3.5', 'setosa')" in note.message
    assert "If it is, add a first line with the column names to the file." in note.message
    path.write_text("0,1,label\n4.9,3.0,setosa\n")  # numbered columns, as of pixels
    assert not read(path).notes


# ------------------------------------------------------------------- larger than memory


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet", "jsonl"])
def test_a_table_larger_than_allowed_is_an_even_sample(tmp_path: Path, ending: str):
    frame = pl.DataFrame({"row": range(20_000), "word": ["abcdefgh"] * 20_000})
    path = tmp_path / f"t.{ending}"
    if ending == "parquet":
        frame.write_parquet(path)
    elif ending == "jsonl":
        frame.write_ndjson(path)
    else:
        path.write_bytes(
            frame.write_csv().encode() if ending == "csv" else gzip.compress(frame.write_csv().encode())
        )
    source = read(path, max_bytes=100_000)
    (note,) = source.notes
    assert (note.code, note.severity) == ("sampled", "warning")
    assert note.evidence["num_rows"] == 20_000
    assert note.evidence["num_rows_used"] == source.frame.height
    assert f"{source.frame.height:,} of its 20,000 rows are used" in note.message
    assert 1000 < source.frame.height < 8000
    quarters = np.bincount(source.frame["row"].to_numpy() // 5000)
    assert quarters.min() > 0.9 * source.frame.height / 4
    assert source.frame["row"].is_sorted()
    assert source.frame.equals(read(path, max_bytes=100_000).frame)
    assert read(path).frame.height == 20_000


def test_the_sample_does_not_depend_on_the_size_of_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "t.csv"
    pl.DataFrame({"row": range(5000)}).write_csv(path)
    whole = read(path, max_bytes=20_000).frame
    monkeypatch.setattr("danlu.data.table.BATCH", 77)
    assert read(path, max_bytes=20_000).frame.equals(whole)
    assert 0 < whole.height < 2000


# ------------------------------------------------------------------- bad input


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.csv").write_text("a,b\n1,2\n")
    (tmp_path / "notes.md").write_text("x")
    return tmp_path


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("trian.csv", "There is no file trian.csv. Did you mean 'train.csv'?"),
        ("nothing_like_it", "There is no file nothing_like_it. Built-in data sets: danlu/houses,"),
        ("iris", "There is no file iris. Did you mean the built-in data set 'sklearn/iris'?"),
        ("nowhere/train.csv", "There is no file nowhere/train.csv: the folder nowhere does not exist."),
        (".", "is a folder, not a file. It holds train.csv. Name the file to read."),
        (
            "https://example.org/t.csv",
            "'https://example.org/t.csv' is not on this machine. danlu downloads nothing",
        ),
        ("sklearn/irris", "There is no built-in data set 'sklearn/irris'. Did you mean 'sklearn/iris'?"),
        ("sqlite:///train.db", "There is no file train.db. Did you mean 'train.csv'?"),
        ("", "A file name was expected, got ''."),
        (None, "A table was expected, got NoneType."),
        ({}, "The table has no columns to learn from."),
        ({"a": []}, "The table has no rows, only the columns a. Add rows."),
        (
            {"a": [[1, 2]]},
            "no columns to learn from. Columns without plain values are left out: 'a' (List(Int64)).",
        ),
    ],
)
def test_bad_sources(folder: Path, source: Any, message: str):
    for use in (read, lambda one: list(chunks(one))):
        with pytest.raises(DataError) as error:
            use(source)
        assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "t.csv is empty. A table needs a line with the column names and at least one row."),
        ("t.csv", b"a,b\n", "t.csv has a header (a, b) but no rows."),
        (
            "t.csv",
            b"a,b,c\n1,2,3\n4,5\n",
            "t.csv: line 3 has 2 fields, but the header has 3 (a, b, c; separator ',')",
        ),
        ("t.csv", b"a,b,c\n1,2,3\n4,5,6,7\n", "t.csv: line 3 has 4 fields, but the header has 3"),
        ("t.csv", b"a,b,a\n1,2,3\n", "uses a name more than once: 'a' for columns 1, 3"),
        ("t.csv", "城,b\n上海,1\n".encode() + b"x\xe9y,2\n", "line 3 holds the byte 0xe9 at offset 16"),
        ("t.csv", b"\x00\x01\x02\x03\xff" * 100, "holds binary data, not text"),
        ("t.parquet", b"no such thing at all", "t.parquet is no Parquet file that can be read"),
        ("t.arrow", b"no such thing at all", "t.arrow is no Arrow IPC (Feather) file that can be read"),
        ("t.parquet", b"PAR1 but cut off", "t.parquet is no Parquet file that can be read"),
        ("t.xlsx", b"no such thing at all", "t.xlsx cannot be read as an Excel file"),
        ("t.db", b"no such thing at all", "t.db is not a SQLite file, although its name says so"),
        (
            "t.zip",
            b"PK\x03\x04 packed",
            "t.zip is packed or of an unknown format. danlu reads CSV, TSV, Parquet",
        ),
        ("t.jsonl", b'{"a": 1}\n{"a": 2\n', "t.jsonl: line 2 is not JSON"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: bytes, message: str):
    path = tmp_path / name
    path.write_bytes(content)
    for use in (read, lambda one: list(chunks(one))):
        with pytest.raises(DataError) as error:
            use(path)
        assert message in str(error.value)


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "t.csv"
    path.write_text("a\n1\n")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", os.fspath(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match="may not be read: permission denied. Allow reading it"):
        read(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"query": "select 1"}, "A query needs a SQLite file, but train.csv is csv. Leave the query out."),
        ({"sheet": "one"}, "A sheet needs an Excel file, but train.csv is csv. Leave the sheet out."),
    ],
)
def test_options_that_do_not_fit(folder: Path, options: dict[str, Any], message: str):
    with pytest.raises(DataError) as error:
        read("train.csv", **options)
    assert message in str(error.value)
    with pytest.raises(DataError, match="can only be asked of a file"):
        read(FRAME, **options)


# ------------------------------------------------------------------- size and speed


def test_ten_thousand_columns(tmp_path: Path):
    path = tmp_path / "wide.csv"
    names = [f"c{place}" for place in range(10_000)]
    line = ",".join(str(place / 7) for place in range(10_000))
    path.write_text(",".join(names) + "\n" + (line + "\n") * 20)
    frame = read(path).frame
    assert frame.shape == (20, 10_000)
    assert frame["c14"].to_list() == [2.0] * 20


@pytest.mark.slow
def test_a_million_rows(tmp_path: Path):
    path = tmp_path / "long.csv"
    pl.DataFrame({"a": range(1_000_000), "b": ["x", "y"] * 500_000}).write_csv(path)
    frame = read(path).frame
    assert frame.shape == (1_000_000, 2)
    assert frame["a"].sum() == 499_999_500_000
    assert sum(part.height for part in chunks(path)) == 1_000_000


def test_real_files_come_out_whole(data_dir: Path):
    expected = {
        "adult/train.csv": (32561, 15),
        "titanic/titanic.csv": (891, 15),
        "imdb_sentences/imdb_labelled.txt": (1000, 2),
        "bike_sharing_hourly/bike_sharing_hourly.csv": (17379, 15),
    }
    assert {name: read(data_dir / name).frame.shape for name in expected} == expected


def test_question_marks_of_mushroom_are_missing(data_dir: Path):
    source = read(data_dir / "mushroom" / "mushroom.csv")
    assert source.frame["stalk_root"].null_count() == 2480
    (note,) = source.notes
    assert "'?' in 'stalk_root' (2,480)" in note.message
