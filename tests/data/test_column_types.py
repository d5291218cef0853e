"""Types of columns and their reasons, on the cases that are easily got wrong."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import pytest

from danlu.data.column_types import ColumnType, first_misfit, guess

RNG = np.random.default_rng(0)
LARGE = RNG.integers(10_000, 10_000_000, 500).tolist()
REVIEWS = [f"this was the {word} film of all" for word in ("best", "worst", "longest", "dullest", "last")]
CITIES = ["Rome", "Oslo", "Bonn", "Lyon", "Graz"] * 20


def found(name: str, values: Any) -> tuple[str, str]:
    column = pl.Series(name, values)
    unique = column.drop_nulls().unique().sort()
    is_text = column.dtype == pl.String
    result = guess(
        column, num_unique=len(unique), texts=unique.to_list() if is_text and len(unique) <= 100 else None
    )
    return result.type, result.why


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        # numbers
        ("age", [39, 50, 38, 53], "number"),
        ("area", [2104, 1600, 2400, 1416, 3000, 1985, 1534, 1427, 1380, 1494], "number"),  # all different, few
        ("fnlwgt", LARGE, "number"),  # large, nearly all different, no name of an identifier
        ("sensor", RNG.normal(size=500).tolist(), "number"),
        ("sensor_id", RNG.normal(size=500).tolist(), "number"),  # broken numbers identify nothing
        ("time", np.arange(500) * 0.1, "number"),
        ("year", list(range(1900, 2020)), "number"),
        ("x", list(range(1, 11)), "number"),  # ascends by one, but ten rows
        ("pclass", [1, 2, 3] * 50, "number"),
        ("humid", LARGE, "number"),
        ("paid", LARGE, "number"),
        ("heat_index", LARGE, "number"),
        ("codes", [0, 1, 2], "number"),
        # booleans
        ("survived", [0, 1, 1], "boolean"),
        ("flag", [0.0, 1.0, None], "boolean"),
        ("smoker", ["yes", "no", None], "boolean"),
        ("alone", ["True", "False"], "boolean"),
        ("churn", ["Yes", "yes", "NO", "no"], "boolean"),
        ("bruises", ["t", "f"], "boolean"),
        ("alive", [True, None], "boolean"),
        # identifiers
        ("id", LARGE, "identifier"),
        ("user_id", LARGE, "identifier"),
        ("CustomerID", LARGE, "identifier"),
        ("passengerId", list(range(100, 0, -1)), "identifier"),
        ("客户编号", LARGE, "identifier"),
        ("id", [5.0, 7.0, 6.0], "identifier"),
        ("instant", list(range(1, 101)), "identifier"),
        ("n", list(range(5000, 5100)), "identifier"),
        ("index", [0, 1, 2], "identifier"),
        ("key", [f"A-{number}" for number in range(50)], "identifier"),
        ("order_id", [f"A-{number // 2}" for number in range(50)], "identifier"),
        # categories
        ("sex", ["male", "female"], "category"),
        ("city", CITIES, "category"),
        ("store_id", [3, 7, 3, 7] * 20, "category"),  # numbers that name things
        ("answer", ["yes", "maybe"], "category"),
        ("ticket", [f"A-{number // 2}" for number in range(200)], "category"),
        ("price", [f"€ {number}.{number:03d}" for number in range(100, 200)], "category"),  # no identifier
        ("price", [f"${number}" if number else "free" for number in range(100)], "category"),
        ("only", ["x", None], "category"),  # there or not says something
        # text
        ("name", [f"chevrolet model {number // 2}" for number in range(200)], "text"),
        ("review", REVIEWS, "text"),  # few, but sentences
        ("review", [f"这部电影非常好看{number}" for number in range(50)], "text"),
        # dates
        ("day", ["2020-01-01", "2020-01-02"], "datetime"),
        ("day", [datetime(2020, 1, 1), None], "datetime"),
        ("dteday", ["1/1/2011", "1/31/2011"], "datetime"),
        # constants
        ("same", [5, 5, 5], "constant"),
        ("same", ["x", "x"], "constant"),
        ("none", pl.Series([None, None], dtype=pl.String), "constant"),
        ("id", [7], "constant"),
    ],
)  # fmt: skip
def test_types(name: str, values: Any, kind: str):
    assert found(name, values)[0] == kind


def test_reasons():
    assert (
        found("instant", list(range(1, 101)))[1]
        == "integers, all different and ascending by one: they count the rows"
    )
    assert found("id", LARGE)[1] == "whole numbers, all different, and the name says that they identify rows"
    assert found("x", [5, 5])[1] == "the same value in every row: 5"
    assert found("d", ["1/1/2011", "1/31/2011"])[1] == "dates such as '1/1/2011', the month first"
    assert found("d", ["1/2/2011", "1/3/2011"])[1].endswith(
        "the month first (it could be the other way round)"
    )
    assert found("city", CITIES)[1] == "5 different texts"
    assert found("churn", ["Yes", "yes", "NO", "no"])[1] == "no or yes, in 4 spellings"
    assert found("n", range(0, 4000, 2))[1] == "whole numbers, 2,000 different"
    assert found("f", [0.5, 1.5])[1] == "numbers, 2 different"


@pytest.mark.parametrize(
    ("values", "wanted", "row"),
    [
        (["1", "NA", "2"], "number", None),
        (["1", "abc", "2", "x"], "number", 1),
        ([True, False], "number", None),
        ([datetime(2020, 1, 1)], "number", 0),
        (["yes", "No", None, "1"], "boolean", None),
        (["yes", "no", "perhaps"], "boolean", 2),
        ([0, 1, 2], "boolean", 2),
        (["2020-01-01", "2020-01-02", "soon"], "datetime", 2),
        ([1, 2], "datetime", 0),
        ([1, 2], "category", None),
        ([1, 2], "identifier", None),
    ],
)
def test_the_first_value_that_does_not_fit(values: list[Any], wanted: ColumnType, row: int | None):
    assert first_misfit(pl.Series(values), wanted) == row
