"""Separators, quotes and headers are found out; what the survey counts is what Python's csv module reads."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.core.errors import DataError
from danlu.data import csv_dialect
from danlu.data.csv_dialect import NO_SEPARATOR, find_dialect, rewrite, survey


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "separator", "quote", "names"),
    [
        ("a,b\n1,2\n", ",", '"', ("a", "b")),
        ("a;b\n1,5;2,5\n", ";", '"', ("a", "b")),
        ("a\tb\nx, y\tz\n", "\t", '"', ("a", "b")),
        ("a|b|c\n1|2|3\n", "|", '"', ("a", "b", "c")),
        ("a b c\n1 2 3\n", " ", '"', ("a", "b", "c")),
        ("a, b\n1, 2\n", ",", '"', ("a", "b")),
        ("a,b\n'x, y',1\n'z',2\n", ",", "'", ("a", "b")),
        ('"a;b","c,d"\n1,2\n', ",", '"', ("a;b", "c,d")),
        ("one column\nsome text, and more\nnone\n", NO_SEPARATOR, '"', ("one column",)),
        ("\n\na,b\n1,2\n", ",", '"', ("a", "b")),
        (",a\n0,1\n", ",", '"', ("column_1", "a")),
    ],
)
def test_finds_separator_quote_and_names(
    tmp_path: Path, text: str, separator: str, quote: str, names: tuple[str, ...]
):
    dialect = find_dialect(write(tmp_path, text))
    assert (dialect.separator, dialect.quote, dialect.names) == (separator, quote, names)


def test_a_tsv_file_prefers_tabs(tmp_path: Path):
    path = write(tmp_path, "a,x\tb,y\n1,2\t3,4\n")
    assert find_dialect(path).separator == ","
    assert find_dialect(path, extension=".tsv").separator == "\t"


def test_columns_without_a_name_get_one_that_is_free(tmp_path: Path):
    dialect = find_dialect(write(tmp_path, ",column_1,\n1,2,3\n"))
    assert dialect.names == ("column_1_", "column_1", "column_3")
    assert dialect.unnamed == ("column_1_", "column_3")


def test_names_used_twice_are_named_with_their_places(tmp_path: Path):
    with pytest.raises(DataError, match="more than once: 'a' for columns 1, 3; 'b' for columns 2, 4"):
        find_dialect(write(tmp_path, "a,b,a,b,c\n1,2,3,4,5\n"))


CELLS = st.text(st.sampled_from('ab1 "\n,;\t'), max_size=5)
TABLES = st.integers(2, 4).flatmap(
    lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=8)
)


@given(TABLES, st.sampled_from([",", ";", "\t"]), st.integers(1, 9))
def test_survey_counts_what_the_csv_module_reads(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], separator: str, block: int
):
    """Quoted line ends, doubled quotes and separators in cells, with blocks that cut anywhere."""
    header = [f"c{place}" for place in range(len(rows[0]))]
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(
        [header, *rows]
    )
    path = write(tmp_path_factory.mktemp("csv"), text.getvalue())
    dialect = csv_dialect.Dialect(separator, '"', tuple(header))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_dialect, "BLOCK", block)
        found = survey(path, dialect)
    assert found.num_records == len(rows) + 1
    assert not found.is_ragged
    assert not found.is_irregular
    assert len(found.blank_records) == 0
    assert found.spans_lines == any("\n" in cell for row in rows for cell in row)
    copy = path.with_name("copy.csv")
    assert rewrite(path, dialect, copy, name="x").num_records == len(rows) + 1
    with copy.open(newline="") as file:
        read = list(csv.reader(file, delimiter=separator))
    assert read == [header, *rows]


def test_survey_finds_blank_lines_and_a_last_line_without_an_end(tmp_path: Path):
    found = survey(write(tmp_path, "\na,b\r\n\r\n1,2\n\n3,4"), csv_dialect.Dialect(",", '"', ("a", "b")))
    assert found.num_records == 3
    assert found.blank_records.tolist() == [0, 2, 4]
    assert not found.is_ragged


@pytest.mark.parametrize("text", ['a,b\n1,"x\n', "a,b\n1\n", "a,b\n1,2,3\n", "a,b\n1,2\n3"])
def test_survey_sees_ragged_records_and_open_quotes(tmp_path: Path, text: str):
    assert survey(write(tmp_path, text), csv_dialect.Dialect(",", '"', ("a", "b"))).is_ragged


@pytest.mark.parametrize("text", ['a,b\n"x" y,1\n', 'a,b\nx "y" z,1\n', 'a,b\n5" pipe,6" pipe\n'])
def test_survey_sees_quotes_inside_of_fields(tmp_path: Path, text: str):
    assert survey(write(tmp_path, text), csv_dialect.Dialect(",", '"', ("a", "b"))).is_irregular


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,c\n1,2,3\n4,5\n6,7,8\n", "line 3 has 2 fields, but the header has 3 (a, b, c; separator ',')"),
        ("a,b\n1,2\n\n3,4,5\n", "line 4 has 3 fields, but the header has 2"),
        ('a,b\n"x\ny",1\n5\n', "line 4 has 1 field, but the header has 2"),
        ("a,b\nr1,1,2\nr2,3,4\n", "If the rows begin with row numbers or names"),
        ("a,b,c\n1,2,3\n4,5", "the file may have been cut off"),
        ("a,b,c\n1,2,3\n4,5,6,7\n", "A value that holds the separator needs quotes around it"),
        (
            'a,b\n1,"x\n2,y\n3,z\n',
            'line 2 cannot be split into fields: it goes on to the end of the file. Most likely a quote (")',
        ),
    ],
)
def test_ragged_records_name_line_and_fields(tmp_path: Path, text: str, message: str):
    path = write(tmp_path, text)
    with pytest.raises(DataError) as error:
        rewrite(path, find_dialect(path), tmp_path / "copy.csv", name="table.csv")
    assert message in str(error.value)
    assert str(error.value).startswith("table.csv: ")
