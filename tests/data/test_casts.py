"""Columns in another type than in training: cast where nothing is lost, else refused with the row."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest

from danlu.core.errors import DataError
from danlu.data.casts import booleans, numbers, require


def number(values: list[Any], dtype: Any = None, row_numbers: Any = None) -> list[Any]:
    frame = pl.DataFrame({"a": pl.Series(values, dtype=dtype)})
    return numbers(frame, ["a"], row_numbers)[:, 0].tolist()


def test_numbers_of_any_type() -> None:
    for values, dtype in (
        ([1, 2], pl.UInt8),
        ([1.0, 2.0], pl.Float32),
        (["1", " 2.0 "], pl.String),
        (["1", "2"], pl.Categorical),
        ([Decimal("1.0"), Decimal("2")], None),
        ([timedelta(seconds=1), timedelta(milliseconds=2000)], None),
    ):
        assert number(values, dtype) == [1, 2]
    assert number([True, False]) == [1, 0]
    np.testing.assert_array_equal(number([None, None]), [np.nan, np.nan])
    np.testing.assert_array_equal(number(["", "nan", None, "1e3"]), [np.nan, np.nan, np.nan, 1000])
    np.testing.assert_array_equal(number([None, float("nan")], pl.Float64), [np.nan, np.nan])
    assert numbers(pl.DataFrame({"a": [1, 2]}), []).shape == (2, 0)


def test_what_is_no_number_names_row_and_value() -> None:
    with pytest.raises(DataError, match=r"Column 'a' should hold a number, but row 2 holds 'abc' \(String\)"):
        number(["1", "abc", "xyz"])
    with pytest.raises(DataError, match="row 41 holds '1,5'"):
        number(["1", "1,5"], row_numbers=np.array([7, 41]))
    with pytest.raises(DataError, match=r"row 1 holds 2020-01-01 \(Date\)"):
        number([date(2020, 1, 1)])
    with pytest.raises(DataError, match="'a' holds an infinite number in row 2"):
        number([1.0, float("-inf")])
    with pytest.raises(DataError, match="'a' holds an infinite number in row 1"):
        number(["inf"])
    with pytest.raises(DataError, match=r"row 1 holds 'x{56}\.\.\."):
        number(["x" * 500])


def test_yes_and_no_in_many_words() -> None:
    for values in (
        [True, False, None],
        [1, 0, None],
        [1.0, 0.0, float("nan")],
        ["yes", "No", None],
        ["T", " f", None],
        ["是", "否", None],
    ):
        found = booleans(pl.DataFrame({"a": values}), ["a"])[:, 0]
        np.testing.assert_array_equal(found, [1, 0, np.nan])
    with pytest.raises(DataError, match="Column 'a' should hold true or false, but row 2 holds 'maybe'"):
        booleans(pl.DataFrame({"a": ["yes", "maybe"]}), ["a"])
    with pytest.raises(DataError, match="row 3 holds 2"):
        booleans(pl.DataFrame({"a": [1.0, float("nan"), 2.0]}), ["a"])


def test_all_missing_columns_are_named_with_the_closest() -> None:
    frame = pl.DataFrame({"Age": [1], "incme": [2], "extra": [3]})
    require(frame, ["Age"])
    with pytest.raises(
        DataError,
        match=r"2 columns that the model needs: 'income' \(Did you mean 'incme'\?\); 'wind'\. Add or rename",
    ):
        require(frame, ["Age", "income", "wind"])
    with pytest.raises(
        DataError, match=r"lack a column that the model needs: 'age' \(Did you mean 'Age'\?\)"
    ):
        require(frame, ["age"])
    with pytest.raises(DataError, match="and 5 more"):
        require(frame, [f"column {i}" for i in range(25)])
