"""Frames of other libraries become plain Polars frames; what cannot is told or refused."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from danlu.core.errors import DataError
from danlu.data.frames import fingerprint, from_memory, plain


@pytest.mark.parametrize(
    ("table", "form"),
    [
        (pl.DataFrame({"a": [1, 2], "b": ["x", None]}), "polars"),
        (pl.LazyFrame({"a": [1, 2], "b": ["x", None]}), "polars"),
        (pd.DataFrame({"a": [1, 2], "b": ["x", None]}), "pandas"),
        (pa.table({"a": [1, 2], "b": ["x", None]}), "arrow"),
        (pa.record_batch({"a": [1, 2], "b": ["x", None]}), "arrow"),
        ({"a": np.array([1, 2]), "b": ("x", None)}, "dict"),
        ([{"a": 1, "b": "x"}, {"a": 2}], "rows"),
    ],
)
def test_tables_of_every_kind(table: Any, form: str):
    frame, found = from_memory(table)
    assert found == form
    assert frame.rows() == [(1, "x"), (2, None)]


def test_pandas_columns():
    table = pd.DataFrame(
        {
            "number": [1.5, None],
            "whole": pd.array([1, None], dtype="Int64"),
            "mixed": ["x", 5],
            "category": pd.Categorical(["u", "v"]),
            "moment": pd.to_datetime(["2020-01-01", None]),
            "truth": pd.array([True, None], dtype="boolean"),
        },
        index=pd.Index([7, 8], name="key"),
    )
    frame, notes = plain(from_memory(table)[0])
    assert not notes
    assert frame.rows() == [
        (7, 1.5, 1, "x", "u", datetime(2020, 1, 1), True),
        (8, None, None, "5", "v", None, None),
    ]


def test_plain_types():
    frame = pl.DataFrame(
        {
            "small": pl.Series([1, 2], dtype=pl.UInt8),
            "large": pl.Series([1, 2**64 - 1], dtype=pl.UInt64),
            "half": pl.Series([1.5, float("nan")], dtype=pl.Float32),
            "money": pl.Series([Decimal("1.25"), None]),
            "kind": pl.Series(["a", "b"], dtype=pl.Categorical),
            "day": [date(2020, 1, 2), None],
            "zoned": pl.Series([datetime(2020, 1, 1, 12, tzinfo=timezone(timedelta(hours=2))), None]),
            "span": [timedelta(minutes=1), None],
            "clock": [time(1, 0), None],
            "nothing": [None, None],
        }
    )
    result, notes = plain(frame)
    assert not notes
    assert result.schema == {
        "small": pl.Int64,
        "large": pl.String,
        "half": pl.Float64,
        "money": pl.Float64,
        "kind": pl.String,
        "day": pl.Datetime("us"),
        "zoned": pl.Datetime("us"),
        "span": pl.Float64,
        "clock": pl.Float64,
        "nothing": pl.String,
    }
    assert result.row(0) == (
        *(1, "1", 1.5, 1.25, "a", datetime(2020, 1, 2), datetime(2020, 1, 1, 10), 60.0, 3600.0, None),
    )
    assert result["half"].to_list() == [1.5, None]
    assert result["large"][1] == str(2**64 - 1)


def test_nested_columns_are_left_out_with_a_warning():
    frame, (note,) = plain(pl.DataFrame({"a": [1], "lists": [[1, 2]], "parts": [{"k": 1}], "bytes": [b"x"]}))
    assert frame.columns == ["a"]
    assert (note.code, note.severity, note.columns) == (
        "nested_columns",
        "warning",
        ("lists", "parts", "bytes"),
    )
    assert "'lists' (List(Int64))" in note.message


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (5, "A table was expected, got int. Give a file name"),
        (np.zeros((2, 2)), "A table was expected, got ndarray"),
        ({"a": [1, 2], "b": [1]}, "All columns need the same number of values: 'a' has 2, 'b' has 1"),
        ({"a": 5}, "Column 'a' should be a list of values, got int"),
        ({"a": "abc"}, "Column 'a' should be a list of values, got str"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "uses a column name more than once: 'a'"),
        (pa.table([[1], [2]], names=["a", "a"]), "uses a column name more than once: 'a'"),
    ],
)
def test_refuses(table: Any, message: str):
    with pytest.raises(DataError) as error:
        from_memory(table)
    assert message in str(error.value)


def test_numbers_too_long_for_64_bits_stay_exact():
    assert from_memory({"a": [2**70, 1]})[0]["a"].cast(pl.String).to_list() == [str(2**70), "1"]


FRAME = pl.DataFrame(
    {"n": [1, None, 3], "f": [1.5, None, 2.5], "s": ["a", None, "bc"], "b": [True, None, False]}
)


PINNED = "6e6b52f291a0f8da8b54a3de521cd5e9890cb439c81349b382db92ae3b443980"


def test_the_fingerprint_depends_on_content_alone():
    split = pl.concat([FRAME[:1], FRAME[1:]], rechunk=False)
    assert fingerprint(split) == fingerprint(FRAME)
    assert fingerprint(FRAME) == PINNED  # on this machine as on every other


@pytest.mark.parametrize(
    "other",
    [
        FRAME.rename({"n": "m"}),
        FRAME.with_columns(n=pl.Series([1, 0, 3])),
        FRAME.with_columns(s=pl.Series(["a", "", "bc"])),
        FRAME.with_columns(s=pl.Series(["ab", None, "c"])),
        FRAME.with_columns(b=pl.Series([True, False, False])),
        FRAME.with_columns(n=pl.col("n").cast(pl.Float64)),
        FRAME.select("f", "n", "s", "b"),
        FRAME.reverse(),
        FRAME.head(2),
    ],
)
def test_the_fingerprint_sees_every_change(other: pl.DataFrame):
    assert fingerprint(other) != fingerprint(FRAME)
