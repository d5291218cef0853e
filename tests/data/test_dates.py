"""Formats of dates are found from the values, and what is no date is none."""

from __future__ import annotations

from datetime import datetime

import polars as pl
import pytest

from danlu.data.dates import FORMATS, find_format, likeliest_format, looks_like_date, parse, swapped


@pytest.mark.parametrize(
    ("texts", "form", "first"),
    [
        (["2020-02-29", "2021-01-31"], "%Y-%m-%d", datetime(2020, 2, 29)),
        (["1949-01", "1949-12"], "%Y-%m", datetime(1949, 1, 1)),
        (["2020/1/5", "2020/11/30"], "%Y/%m/%d", datetime(2020, 1, 5)),
        (["31.12.2020", "1.1.2021"], "%d.%m.%Y", datetime(2020, 12, 31)),
        (["1/31/2011", "2/1/2011"], "%m/%d/%Y", datetime(2011, 1, 31)),
        (["31/1/2011", "1/2/2011"], "%d/%m/%Y", datetime(2011, 1, 31)),
        (["1/31/11", "2/1/11"], "%m/%d/%y", datetime(2011, 1, 31)),
        (["12/1/2010 8:26", "12/31/2010 17:05"], "%m/%d/%Y %H:%M", datetime(2010, 12, 1, 8, 26)),
        (
            ["2020-01-05 10:00:01", "2020-01-05 10:00:02.5"],
            "%Y-%m-%d %H:%M:%S%.f",
            datetime(2020, 1, 5, 10, 0, 1),
        ),
        (["2020-01-05T10:00:00+02:00"], "%Y-%m-%dT%H:%M:%S%.f%#z", datetime(2020, 1, 5, 8)),
        (["2020-01-05T10:00:00Z"], "%Y-%m-%dT%H:%M:%S%.f%#z", datetime(2020, 1, 5, 10)),
        (["2011-01-22 8:05 PM", "2011-02-22 9:05 AM"], "%Y-%m-%d %I:%M %p", datetime(2011, 1, 22, 20, 5)),
        (["Jan 5, 2020", "Feb 6, 2021"], "%b %d, %Y", datetime(2020, 1, 5)),
        (["5 January 2020"], "%d %B %Y", datetime(2020, 1, 5)),
        (["05-Jan-2020"], "%d-%b-%Y", datetime(2020, 1, 5)),
        (["2020年1月5日"], "%Y年%m月%d日", datetime(2020, 1, 5)),
        (["2020-01-01", "NA", None, "2021-01-01"], "%Y-%m-%d", datetime(2020, 1, 1)),
    ],
)
def test_formats(texts: list[str | None], form: str, first: datetime):
    column = pl.Series("day", texts)
    assert find_format(column) == form
    assert parse(column, form)[0] == first
    assert all(looks_like_date(text) for text in texts if text not in (None, "NA"))


@pytest.mark.parametrize(
    "texts",
    [
        ["20-29", "30-39"],
        ["20:15", "10:30"],
        ["192.168.0.1"],
        ["1.2.3"],
        ["2020Q1"],
        ["abc"],
        ["12/13"],
        [None],
    ],
)
def test_what_is_no_date(texts: list[str | None]):
    assert find_format(pl.Series("x", texts, dtype=pl.String)) is None


def test_nearly_all_values_must_be_dates():
    dates = [f"2020-01-{day:02d}" for day in range(1, 29)] * 4
    assert find_format(pl.Series([*dates, "unknown"])) == "%Y-%m-%d"
    assert find_format(pl.Series([*dates, *["unknown"] * 5])) is None


@pytest.mark.parametrize(
    ("texts", "form"),
    [
        (["01/02/2020", "01/03/2020", "02/01/2020"], "%m/%d/%Y"),  # in order when the month is first
        (["01/02/2020", "02/02/2020", "01/03/2020"], "%d/%m/%Y"),  # in order when the day is
        (["01/03/2020", "02/02/2020", "01/02/2020"], "%d/%m/%Y"),  # falling
        (["01/02/2020", "02/01/2020", "01/03/2020"], "%m/%d/%Y"),  # in no order: the month
    ],
)
def test_day_or_month_first(texts: list[str], form: str):
    assert find_format(pl.Series(texts)) == form


def test_swapped():
    assert swapped("%m/%d/%Y %H:%M") == "%d/%m/%Y %H:%M"
    assert swapped("%d-%m-%Y") == "%m-%d-%Y"
    assert swapped("%d.%m.%Y") is None
    assert swapped("%Y-%m-%d") is None


def test_the_likeliest_format_is_that_of_most_values():
    assert likeliest_format(pl.Series(["2020-01-01", "2020-01-02", "x", "1/31/2020"])) == "%Y-%m-%d"


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_reads_what_it_writes(form: str):
    """Python writes the date, Polars reads it."""
    moment = datetime(2021, 11, 25, 14, 30, 15)
    python = form.replace("%.f", ".25").replace("%#z", "+00:00")
    text = moment.strftime(python)
    column = pl.Series([text, text])
    assert looks_like_date(text)
    read = parse(column, form)[0]
    assert read is not None
    assert read.strftime(python.replace(".25", "")) == moment.strftime(python.replace(".25", ""))
