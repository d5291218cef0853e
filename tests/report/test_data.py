"""The columns of the data, the split and the plan."""

from __future__ import annotations

from tests.report.records import RECORDS
from tests.report.wellformed import read_page

from danlu.report import render


def test_columns_stand_with_type_gaps_and_figures_the_target_first() -> None:
    text = read_page(render(RECORDS["binary"]())).text
    assert "32,561 rows, 15 columns, 24 repeated rows, read from adult/train.csv ." in text
    assert text.index("income target category none 2") < text.index("age number none 812")
    assert "workclass category 5.6 % 3" in text
    assert "Private 70 %, Self-emp-not-inc 8 %, Local-gov 6 %" in text
    assert "education ignore" in text and "says the same as education_num" in text


def test_the_bar_of_the_split_counts_every_part() -> None:
    text = read_page(render(RECORDS["binary"]())).text
    assert "23,442 learning 48.0 % 4,884 choosing the model 10.0 % 4,235 calibration 8.7 %" in text
    assert "Cross-validation" not in text


def test_in_a_cross_validation_no_row_is_counted_twice() -> None:
    record = RECORDS["multiclass"]()
    record["split"]["rows"] |= {"choice": 147, "calibration": 146}
    text = read_page(render(record)).text
    assert "293 learning and choosing, in turns 85.2 % 51 final test 14.8 %" in text
    assert "Cross-validation in 5 parts, done 3 times with other cuts" in text


def test_the_plan_does_not_say_the_split_again() -> None:
    record = RECORDS["binary"]()
    record["run"]["plan"].insert(0, record["split"]["sentence"])
    assert read_page(render(record)).text.count(record["split"]["sentence"]) == 1


def test_how_columns_are_prepared_is_told_where_the_record_says_so() -> None:
    record = RECORDS["binary"]() | {"preprocessing": ["Numbers are scaled.", "Categories become 0 and 1."]}
    assert "How columns are prepared" in read_page(render(record)).text
    assert "How columns are prepared" not in read_page(render(RECORDS["binary"]())).text


def test_the_recipe_and_the_memory_are_told_where_they_are_known() -> None:
    record = RECORDS["binary"]()
    record["recipe"] = {"training": {"duration": "60 epochs"}}
    record["run"]["peak_memory_bytes"] = 320 * 2**20
    text = read_page(render(record)).text
    assert "The whole recipe training.duration 60 epochs" in text
    assert "320 MiB at most" in text


def test_dates_at_midnight_have_no_time_and_spread_is_named() -> None:
    days = {"name": "d", "type": "datetime", "min": "2011-01-01 00:00:00", "max": "2012-12-31 06:00:00"}
    columns = [days, {"name": "n", "type": "number", "mean": 1834.0, "sd": 508.0}]
    text = read_page(render({"data": {"columns": columns, "num_rows": 3}})).text
    assert "2011-01-01–2012-12-31 06:00:00" in text
    assert "mean 1,834, sd 508" in text
