"""Text becomes values only where that is safe, and whatever was changed is told."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from danlu.core.findings import Finding
from danlu.data.text_values import DECIMAL_COMMA, Reading, clean


def cleaned(values: list[str | None], **columns: list[str | None]) -> tuple[pl.Series, dict[str, Finding]]:
    """The column `x` of these values after cleaning, and the findings by code."""
    result = clean(
        pl.DataFrame({"x": values, **columns}, schema_overrides={"x": pl.String}), find_numbers=True
    )
    return result.frame["x"], {note.code: note for note in result.notes}


@pytest.mark.parametrize(
    ("text", "dtype", "values"),
    [
        (["1", "2", None], pl.Int64, [1, 2, None]),
        ([" 1 ", "+2", "-3"], pl.Int64, [1, 2, -3]),
        (["1.5", "2", "1e3"], pl.Float64, [1.5, 2.0, 1000.0]),
        (["1.0", "2.0"], pl.Float64, [1.0, 2.0]),
        (["inf", "-inf", "1"], pl.Float64, [float("inf"), float("-inf"), 1.0]),
        (["0", "10", "0.5"], pl.Float64, [0.0, 10.0, 0.5]),
        (["1", "", "  "], pl.Int64, [1, None, None]),
        (["a ", " b", ""], pl.String, ["a", "b", None]),
        ([None, None], pl.String, [None, None]),
    ],
)
def test_numbers_and_text(text: list[str | None], dtype: Any, values: list[Any]):
    column, notes = cleaned(text)
    assert (column.dtype, column.to_list(), notes) == (dtype, values, {})


@pytest.mark.parametrize("word", ["NA", "N/A", "NaN", "nan", "null", "None", "?", "-", "#DIV/0!", "缺失"])
def test_words_for_missing_among_numbers_are_counted(word: str):
    column, notes = cleaned(["1", word, "3", word])
    assert column.to_list() == [1, None, 3, None]
    assert column.dtype == pl.Int64
    assert notes["read_as_missing"].evidence == {"x": {word: 2}}


def test_words_among_texts_stay_unless_they_mean_nothing_else():
    column, notes = cleaned(["red", "None", "NA", "null", "NaN", "-", "blue"])
    assert column.to_list() == ["red", "None", "NA", None, None, "-", "blue"]
    assert notes["read_as_missing"].evidence == {"x": {"NaN": 1, "null": 1}}
    assert notes["kept_words"].evidence == {"x": {"-": 1, "NA": 1, "None": 1}}
    assert "'None' in 'x' (1)" in notes["kept_words"].message


def test_a_question_mark_among_words_is_missing_and_among_signs_is_a_sign():
    assert cleaned(["Private", "?", "State-gov"])[0].to_list() == ["Private", None, "State-gov"]
    column, notes = cleaned(["!", "?", "."])
    assert column.to_list() == ["!", "?", "."]
    assert notes["kept_words"].evidence == {"x": {".": 1, "?": 1}}


def test_what_is_missing_among_numbers_is_missing_among_texts_of_the_same_table():
    numbers: list[str | None] = ["1", "NA", "3"]
    result = clean(pl.DataFrame({"x": ["male", "NA", "female"], "n": numbers}), find_numbers=True)
    assert result.frame["x"].to_list() == ["male", None, "female"]
    assert result.reading == {"x": Reading(missing=("NA",))}
    countries = clean(pl.DataFrame({"x": ["NA", "ZA", "DE"], "n": numbers}), find_numbers=True)
    assert countries.frame["x"].to_list() == ["NA", "ZA", "DE"]  # Namibia


def test_words_among_yes_and_no_are_missing():
    column, _ = cleaned(["yes", "no", "NA", "none", "YES".lower()])
    assert column.to_list() == ["yes", "no", None, None, "yes"]


def test_mixed_columns_stay_text_and_name_the_rows():
    column, notes = cleaned(["12", "abc", "13", None, "14", "x y"])
    assert column.to_list() == ["12", "abc", "13", None, "14", "x y"]
    note = notes["mixed_types"]
    assert note.severity == "warning"
    assert (note.columns, note.rows) == (("x",), (2, 6))
    assert "mostly numbers, but 2 values are not numbers ('abc' in row 2, 'x y' in row 6)" in note.message


def test_a_few_numbers_among_texts_are_no_slips():
    assert cleaned(["a", "b", "c", "1"])[1] == {}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (["1,5", "2,25", "3"], [1.5, 2.25, 3.0]),
        (["1.234,5", "0,25", None], [1234.5, 0.25, None]),
        (["-0,512", "NA", "1,125"], [-0.512, None, 1.125]),
    ],
)
def test_decimal_commas(text: list[str | None], values: list[float | None]):
    result = clean(pl.DataFrame({"x": text}), find_numbers=True)
    assert result.frame["x"].to_list() == values
    assert result.reading == {"x": Reading(format=DECIMAL_COMMA)}
    assert any(note.code == "decimal_comma" for note in result.notes)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (["1,234", "2,345"], "signs_in_numbers"),  # 1.234 or 1234: nobody can know
        (["€ 1.234", "€ 5"], "signs_in_numbers"),  # 1.234 or 1234
        (["$1", "€2"], "signs_in_numbers"),
        (["15 %", "0.15"], "signs_in_numbers"),  # 0.15 may be 15 %
        (["1 234", "5 678"], "signs_in_numbers"),
        (["00123", "10115"], "leading_zeros"),
        (["12345678901234567890", "1"], "long_numbers"),
    ],
)
def test_what_looks_like_numbers_but_stays_text_is_told(text: list[str | None], code: str):
    column, notes = cleaned(text)
    assert column.to_list() == text
    assert list(notes) == [code]
    assert notes[code].columns == ("x",)


def test_dates_and_addresses_are_no_numbers():
    assert cleaned(["10.5.2020", "11.5.2020"])[1] == {}
    assert cleaned(["192.168.0.1", "10.0.0.1"])[1] == {}


def test_text_of_a_source_with_types_stays_text():
    frame = pl.DataFrame({"x": ["1", "2", " 3"], "y": ["a", "NaN", "b"], "n": [1, 2, 3]})
    result = clean(frame, find_numbers=False)
    assert result.frame["x"].to_list() == ["1", "2", "3"]
    assert result.frame["y"].to_list() == ["a", None, "b"]
    assert [note.code for note in result.notes] == ["read_as_missing", "numbers_as_text"]


def test_columns_that_shall_stay_text():
    result = clean(
        pl.DataFrame({"zip": ["10115", "20095"], "n": ["1", "2"]}), find_numbers=True, keep_text=["zip"]
    )
    assert result.frame.schema == {"zip": pl.String, "n": pl.Int64}


@pytest.mark.parametrize(
    ("text", "values", "form"),
    [
        (["$1,234.56", "$5", "-$7", "$-8", None], [1234.56, 5.0, -7.0, -8.0, None], "numbers with $"),
        (["$1,200", "$12,000"], [1200.0, 12000.0], "numbers with $"),
        (["€ 12", "€ 7", "NA"], [12.0, 7.0, None], "numbers with €"),
        (["15%", "3.5 %", "0"], [15.0, 3.5, 0.0], "numbers with %"),
        (["1 200,50 €", "3,5€", "1\u00a0000 €"], [1200.5, 3.5, 1000.0], "numbers with €, decimal comma"),
        (["12.345,00 €", "1.000 €"], [12345.0, 1000.0], "numbers with €, decimal comma"),
        (["￥100", "￥1,000"], [100.0, 1000.0], "numbers with ￥"),
        (["1,234.5", "12"], [1234.5, 12.0], "numbers with separators"),
        (["1'234'567.5", "2'000"], [1234567.5, 2000.0], "numbers with separators"),
        (["1 200,50", "3 000"], [1200.5, 3000.0], "numbers with separators, decimal comma"),
    ],
)
def test_numbers_with_signs_are_read(text: list[str | None], values: list[float | None], form: str):
    result = clean(pl.DataFrame({"x": text}), find_numbers=True)
    assert result.frame["x"].to_list() == values
    assert result.reading == {"x": Reading(format=form)}
    (note,) = [note for note in result.notes if note.code == "numbers_with_signs"]
    assert "such as $1,200.50 for 1200.5 or 15 % for 15, and were read so: x." in note.message


def test_signs_among_text_of_a_source_with_types_are_read():
    result = clean(pl.DataFrame({"x": ["$1", "$2.5"], "y": ["1", "2"]}), find_numbers=False)
    assert result.frame["x"].to_list() == [1.0, 2.5]
    assert result.frame["y"].to_list() == ["1", "2"]


def test_a_slip_among_amounts_is_named():
    column, notes = cleaned(["$1,200", "$5", "call us", "$7"])
    assert column.to_list() == ["$1,200", "$5", "call us", "$7"]
    assert "but 1 value is not a number ('call us' in row 3)" in notes["mixed_types"].message
