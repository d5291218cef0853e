"""Dates as numbers, compared with Python's own calendar."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from danlu.core.errors import DataError
from danlu.data.date_parts import CYCLIC, PARTS, DateParts


def moments(num_rows: int = 500) -> list[datetime]:
    rng = np.random.default_rng(0)
    return [
        datetime(1965, 1, 1) + timedelta(seconds=float(s)) for s in rng.integers(0, 3_000_000_000, num_rows)
    ]


def fit(column: pl.Series, **more: Any) -> DateParts:
    return DateParts.fit(column, **{"cyclic": True, "parts": True, "row_numbers": None} | more)


def test_every_part_is_the_calendars() -> None:
    days = moments()
    column = pl.Series("day", days)
    found = fit(column)
    assert found.parts == (*PARTS, *CYCLIC)
    values = dict(zip(found.parts, found.values(column).T, strict=True))
    hours = [(d - datetime(d.year, d.month, d.day)).total_seconds() / 3600 for d in days]
    expected = {
        "elapsed_days": [(d - min(days)).total_seconds() / 86400 for d in days],
        "year": [d.year for d in days],
        "month": [d.month for d in days],
        "day": [d.day for d in days],
        "weekday": [d.isoweekday() for d in days],
        "hour": hours,
        "year_sin": [math.sin(2 * math.pi * d.timetuple().tm_yday / 365.25) for d in days],
        "year_cos": [math.cos(2 * math.pi * d.timetuple().tm_yday / 365.25) for d in days],
        "weekday_sin": [math.sin(2 * math.pi * d.isoweekday() / 7) for d in days],
        "weekday_cos": [math.cos(2 * math.pi * d.isoweekday() / 7) for d in days],
        "hour_sin": [math.sin(2 * math.pi * h / 24) for h in hours],
        "hour_cos": [math.cos(2 * math.pi * h / 24) for h in hours],
    }
    assert values.keys() == expected.keys()
    for part, wanted in expected.items():
        np.testing.assert_allclose(values[part], wanted, rtol=1e-12, atol=1e-12, err_msg=part)


def test_only_parts_that_vary_are_kept() -> None:
    months = pl.Series("month", [date(1949 + m // 12, 1 + m % 12, 1) for m in range(144)])
    found = fit(months, cyclic=False)
    assert found.feature_names() == ["month.elapsed_days", "month.year", "month.month", "month.weekday"]
    assert fit(months, parts=False).parts == ("elapsed_days",)
    assert fit(pl.Series("day", [date(2020, 1, 1)] * 3)).parts == ()
    assert fit(pl.Series("day", [None, None], dtype=pl.Date)).parts == ()
    assert fit(pl.Series("at", [time(8, 30), time(9)]), cyclic=False).parts == ("elapsed_days", "hour")


def test_missing_dates_are_missing_numbers() -> None:
    column = pl.Series("day", [date(2020, 1, 1), None, date(2021, 2, 3)])
    values = fit(column).values(column)
    assert np.isnan(values[1]).all() and not np.isnan(values[[0, 2]]).any()


def test_zones_are_read_on_their_own_clock() -> None:
    berlin = pl.Series("at", [datetime(2020, 7, 1, 22, tzinfo=UTC), datetime(2020, 1, 1, tzinfo=UTC)])
    berlin = berlin.dt.convert_time_zone("Europe/Berlin")
    found = fit(berlin, cyclic=False)
    values = dict(zip(found.parts, found.values(berlin)[0], strict=True))
    assert (values["day"], values["hour"]) == (2, 0)
    in_utc = berlin.dt.convert_time_zone("UTC")
    np.testing.assert_array_equal(found.values(in_utc), found.values(berlin))


def test_text_is_read_where_it_cannot_be_mistaken() -> None:
    column = pl.Series("at", [datetime(2024, 5, 31, 8, 0), datetime(2023, 1, 2, 3, 4)])
    found = fit(column)
    for texts in (
        ["2024-05-31 08:00", "2023-01-02T03:04:00"],
        ["2024-05-31T08:00:00Z", "2023/01/02 03:04"],
        ["2024-05-31T10:00:00+02:00", " 2023-01-02 03:04:00.000 "],
    ):
        np.testing.assert_array_equal(found.values(pl.Series("at", texts)), found.values(column))
    aware = pl.Series("at", [d.replace(tzinfo=UTC) for d in column.to_list()])
    np.testing.assert_array_equal(found.values(aware), found.values(column))
    with pytest.raises(
        DataError, match=r"'at' should hold a date or time, such as 2024-05-31, but row 2 holds '5/6/24'"
    ):
        found.values(pl.Series("at", ["2024-05-31", "5/6/24"]))
    with pytest.raises(DataError, match=r"row 7 holds 3 \(Int64\)"):
        found.values(pl.Series("at", [None, 3]), np.array([4, 7]))
    assert np.isnan(found.values(pl.Series("at", [None, None]))).all()


def test_a_row_is_the_same_in_any_company() -> None:
    column = pl.Series("day", moments(80))
    found = fit(column)
    rows = np.concatenate([found.values(column[i : i + 1]) for i in range(80)])
    np.testing.assert_array_equal(rows, found.values(column))
