"""CSV files come out as they were written: quotes, blank lines, stray signs, odd dialects."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from danlu.core.errors import DataError
from danlu.data.csv_file import open_csv


def read(path: Path) -> tuple[list[tuple[str | None, ...]], list[str]]:
    """Rows of the file, and the codes of what is told about it."""
    with open_csv(path) as table:
        frames = list(table.batches(2))
        rows = [row for frame in frames for row in frame.rows()]
        assert all(frame.height == 2 for frame in frames[:-1])
        assert table.num_rows == len(rows)
        return rows, [note.code for note in table.notes]


@pytest.mark.parametrize(
    ("text", "rows", "codes"),
    [
        ("a,b\n1,x\n2,\n,z\n", [("1", "x"), ("2", None), (None, "z")], []),
        ("a;b\r\n1;x\r\n2;y\r\n", [("1", "x"), ("2", "y")], []),
        ('a,b\n"x, ""y""\nz",1\n"w",2\n', [('x, "y"\nz', "1"), ("w", "2")], []),
        ('"a", "b"\n1, "x, y"\n2, "z"\n', [("1", "x, y"), ("2", "z")], []),
        ("a,b\n'x, y',1\n'z',2\n", [("x, y", "1"), ("z", "2")], []),
        ('a,b\n"x" y,1\n5" pipe,2\n"u, v",3\n', [("x y", "1"), ('5" pipe', "2"), ("u, v", "3")], []),
        ('a\tb\n"Best" film\t1\nsay "no"\t0\n', [("Best film", "1"), ('say "no"', "0")], []),
        (
            'a\tb\n"Two lines\t1\nbut no quote"\t0\n',
            [('"Two lines', "1"), ('but no quote"', "0")],
            ["stray_quotes"],
        ),
        ("\n\na,b\n1,2\n\n\r\n3,4\n\n", [("1", "2"), ("3", "4")], ["blank_lines"]),
        (",a\n0,5\n1,6\n", [("0", "5"), ("1", "6")], ["unnamed_columns"]),
        ("text\nhello, world\nbye\n", [("hello, world",), ("bye",)], []),
        ("a\n1\n\n3\n", [("1",), ("3",)], ["blank_lines"]),
    ],
)
def test_reads(tmp_path: Path, text: str, rows: list[tuple[str | None, ...]], codes: list[str]):
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode())
    assert read(path) == (rows, codes)


CELLS = st.text(st.sampled_from('ab1 "\n,;\té城'), min_size=1, max_size=6).filter(
    lambda cell: cell == cell.strip()
)
TABLES = st.integers(2, 4).flatmap(
    lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=8)
)


@settings(max_examples=60)
@given(TABLES, st.sampled_from([",", ";"]), st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_reads_what_the_csv_module_writes(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], separator: str, encoding: str
):
    header = [f"c{place}" for place in range(len(rows[0]))]
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="\r\n").writerows([header, *rows])
    path = tmp_path_factory.mktemp("csv") / "table.csv"
    path.write_bytes(text.getvalue().encode(encoding))
    assert read(path)[0] == [tuple(row) for row in rows]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "table.csv: The file is empty"),
        (" \n\n", "table.csv: The file is empty"),
        ("a,b\n", "table.csv has a header (a, b) but no rows"),
        ("a,b", "table.csv has a header (a, b) but no rows"),
        ("a,b,a\n1,2,3\n", "table.csv: The header uses a name more than once: 'a' for columns 1, 3"),
        ("a,b\n1\n", "table.csv: line 2 has 1 field, but the header has 2 (a, b; separator ',')"),
        ('a,b\n"1,2\n3,"4,5"\n6,7,8\n', "table.csv: line 4 has 3 fields"),
    ],
)
def test_refuses(tmp_path: Path, text: str, message: str):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(DataError) as error:
        read(path)
    assert message in str(error.value)


def test_a_ragged_row_far_down_names_its_line(tmp_path: Path):
    path = tmp_path / "table.csv"
    path.write_text("a,b\n" + "1,2\n" * 200_000 + "1,2,3\n" + "1,2\n" * 10)
    with pytest.raises(DataError, match="line 200002 has 3 fields, but the header has 2"):
        read(path)
