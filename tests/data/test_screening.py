"""Findings about the data: each with its columns, rows and numbers, and none without reason."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from danlu.core.findings import Finding
from danlu.data.schema import conform, infer
from danlu.data.screening import leaks, screen
from danlu.data.sources import read
from danlu.data.target_task import choose_task

RNG = np.random.default_rng(0)
NUM_ROWS = 200


def screened(columns: dict[str, Any], target: str = "y", **options: Any) -> dict[str, Finding]:
    """Findings by code, of a table with two honest features beside `columns`."""
    rng = np.random.default_rng(1)
    num_rows = len(next(iter(columns.values())))
    honest = {"p": rng.normal(size=num_rows), "q": rng.normal(size=num_rows)}
    frame = read(honest | columns).frame
    schema = infer(frame, target=target)
    findings = screen(conform(frame, schema)[0], schema, choose_task(frame[target])[0], **options)
    assert len({finding.code for finding in findings}) == len(findings)
    return {finding.code: finding for finding in findings}


LABELS = ["a", "b"] * (NUM_ROWS // 2)


def test_good_data_give_no_findings():
    assert screened({"y": LABELS}) == {}
    assert screened({"y": RNG.normal(size=NUM_ROWS)}) == {}


def test_missing_values():
    x = [None if row % 10 == 3 else float(row) for row in range(NUM_ROWS)]
    z = [None if row % 4 else "u" if row % 8 else "v" for row in range(NUM_ROWS)]
    finding = screened({"x": x, "z": z, "y": LABELS})["missing_values"]
    assert finding.severity == "warning"  # more than half of z
    assert finding.columns == ("z", "x")
    assert finding.rows == (2, 3, 4, 6, 7)
    assert finding.evidence == {"share": {"z": 0.75, "x": 0.1}, "num_columns": 2}
    assert "Values are missing in 2 columns: 'z' (column 4) 75 %, 'x' (column 3) 10 %." in finding.message
    assert screened({"x": x, "y": LABELS})["missing_values"].severity == "info"


def test_missing_target():
    y = [None if row in (4, 9) else label for row, label in enumerate(LABELS)]
    finding = screened({"y": y})["target_missing"]
    assert finding.message.startswith(
        "2 rows have no value in the target 'y' and cannot be used, first row 5."
    )
    assert (finding.severity, finding.rows, finding.columns) == ("warning", (5, 10), ("y",))


def test_duplicates():
    table = {"p": RNG.normal(size=NUM_ROWS), "q": RNG.normal(size=NUM_ROWS), "y": list(LABELS)}
    for row, earlier in ((7, 5), (9, 5), (11, 10)):
        for name in ("p", "q"):
            table[name][row] = table[name][earlier]
    finding = screened(table)["duplicates"]
    assert finding.rows == (8, 10, 12)
    assert finding.evidence == {"num_rows": 3, "num_rows_with_target": 2, "num_other_target": 1}
    assert (
        "3 rows repeat an earlier row in all features, 1 of them with another target, first row 8."
        in finding.message
    )
    assert finding.severity == "warning"


def test_identifiers_and_constants():
    found = screened({"user_id": RNG.permutation(NUM_ROWS), "unit": ["cm"] * NUM_ROWS, "y": LABELS})
    assert (
        "Left out because they identify rows: 'user_id' (column 3): whole numbers, all"
        in found["identifier"].message
    )
    assert (
        found["constant"].message
        == "Left out because they say nothing: 'unit' (column 4): the same value in every row: 'cm'."
    )
    assert found["identifier"].columns == ("user_id",)


def test_columns_that_say_the_same():
    ports = RNG.choice(["S", "C", "Q"], NUM_ROWS)
    towns = [{"S": "Southampton", "C": "Cherbourg", "Q": "Queenstown"}[port] for port in ports]
    fare = RNG.normal(size=NUM_ROWS)
    table = {"port": ports, "town": towns, "fare": fare, "price": fare.copy(), "other": -fare, "y": LABELS}
    finding = screened(table)["repeated_columns"]
    assert finding.evidence == {"same_as": {"town": "port", "price": "fare"}}
    assert "'town' as 'port'" in finding.message


def test_missing_values_count_as_a_value_when_columns_are_compared():
    a = [None, "u", "v"] * 40
    assert "repeated_columns" in screened({"a": a, "b": [one and one * 2 for one in a], "y": ["k", "l"] * 60})
    assert "repeated_columns" not in screened({"a": a, "b": [one or "u" for one in a], "y": ["k", "l"] * 60})


def test_leaks_come_first_and_name_what_is_left_out():
    frame = read(
        {
            "p": RNG.normal(size=NUM_ROWS),
            "q": [None, 1.0] * 100,
            "alive": [label * 3 for label in LABELS],
            "y": LABELS,
        }
    ).frame
    schema = infer(frame, target="y")
    findings = screen(frame, schema, choose_task(frame["y"])[0])
    assert (findings[0].code, findings[0].severity) == ("leak", "problem")
    assert set(leaks(findings)) == {"alive", "q"}
    kept = screen(frame, schema, choose_task(frame["y"])[0], keep=["alive"])
    assert leaks(kept) == ("q",)


@pytest.mark.parametrize(
    ("counts", "is_unbalanced"),
    [((170, 30), True), ((150, 50), False), ((150, 40, 10), True), ((100, 60, 40), False)],
)
def test_imbalance(counts: tuple[int, ...], is_unbalanced: bool):
    labels = [label for label, count in zip("abc", counts, strict=False) for _ in range(count)]
    found = screened({"y": labels})
    assert ("imbalance" in found) == is_unbalanced
    if counts == (170, 30):
        assert (
            "'a' in 85 % of the rows, 'b' in 15 %. Accuracy says little here." in found["imbalance"].message
        )
        assert found["imbalance"].evidence == {"a": 170, "b": 30}


def test_few_rows():
    message = screened({"y": ["a", "b", "c"] * 5 + ["d"]})["few_rows"].message
    assert "only 16 rows in all; 16 rows for 2 features (better at least 10 for each)" in message
    assert "classes with fewer than 10 rows: 'a' (5), 'b' (5), 'c' (5), 'd' (1)" in message
    assert "few_rows" not in screened({"y": LABELS[:60]})
    wide = {f"x{place}": RNG.normal(size=NUM_ROWS) for place in range(30)}
    assert "200 rows for 32 features" in screened(wide | {"y": LABELS})["few_rows"].message


def test_nearly_constant_columns():
    found = screened(
        {
            "x": [1.0 if row == 7 else 0.0 for row in range(400)],
            "z": [row % 50 == 0 for row in range(400)],
            "y": LABELS * 2,
        }
    )
    assert found["nearly_constant"].columns == ("x",)
    assert "One value stands in nearly every row of 'x' (99.8 %)." in found["nearly_constant"].message


def test_infinite_values():
    x = RNG.normal(size=NUM_ROWS)
    x[[3, 8]] = np.inf, -np.inf
    finding = screened({"x": x, "y": LABELS})["infinite_values"]
    assert (finding.severity, finding.columns, finding.rows) == ("problem", ("x",), (4, 9))
    assert "Infinite numbers stand in 'x' (2); the first is in row 4 of 'x'." in finding.message


def test_values_in_another_unit():
    heights = RNG.normal(1.7, 0.1, NUM_ROWS)
    heights[[6, 60]] = 175, 181
    finding = screened({"height": heights, "y": LABELS})["far_values"]
    assert (finding.severity, finding.columns, finding.rows) == ("warning", ("height",), (7, 61))
    assert "175 in row 7, 181 in row 61. Perhaps they are in another unit" in finding.message


def test_a_code_for_missing_values():
    ages = RNG.integers(20, 60, NUM_ROWS).astype(float)
    ages[::10] = -999
    finding = screened({"age": ages, "y": LABELS})["far_values"]
    assert "-999 in 20 rows. Perhaps it stands for a missing value." in finding.message
    assert finding.rows == (1, 11, 21, 31, 41)


@pytest.mark.parametrize(
    "values", [RNG.lognormal(0, 1.5, 2000), RNG.standard_t(2, 2000), RNG.exponential(1, 2000)]
)
def test_long_tails_are_no_mistakes(values: np.ndarray):
    assert "far_values" not in screened({"x": values, "y": LABELS * 10})


def test_many_categories():
    finding = screened(
        {
            "town": [f"town {row // 2}" for row in range(400)],
            "zone": [f"z{row % 20}" for row in range(400)],
            "y": LABELS * 2,
        }
    ).get("many_categories")
    assert finding is None  # two words each: text
    finding = screened({"town": [f"t{row // 2}" for row in range(400)], "y": LABELS * 2})["many_categories"]
    assert finding.evidence == {"town": 200}


def test_a_target_with_a_long_tail():
    assert "skewed_target" in screened({"y": RNG.lognormal(0, 2, NUM_ROWS)})
    assert "skewed_target" not in screened({"y": RNG.normal(size=NUM_ROWS)})
    assert "skewed_target" not in screened({"y": RNG.lognormal(0, 2, NUM_ROWS) - 1})  # no logarithm


def test_dates_and_a_split_at_random():
    days = [f"2020-{1 + row % 12:02d}-{1 + row % 28:02d}" for row in range(NUM_ROWS)]
    finding = screened({"day": days, "y": LABELS})["dates_at_random"]
    assert finding.message.startswith("'day' holds dates, but the rows are divided at random.")
    assert finding.remedies == ("Divide by time: columns.time=day.",)
    assert "dates_at_random" not in screened({"day": days, "y": LABELS}, splits_by_time=True)


def test_dates_that_can_be_read_in_two_ways():
    days = [f"{1 + row % 12}/{1 + row % 11}/2020" for row in range(NUM_ROWS)]
    finding = screened({"day": days, "y": LABELS})["day_or_month"]
    assert (finding.severity, finding.columns) == ("warning", ("day",))
    assert "the month first (it could be the other way round)" in finding.message
    assert "day_or_month" not in screened(
        {"day": [f"{day.rpartition('/')[0]}/2020".replace("1/1/", "1/31/") for day in days], "y": LABELS}
    )


# ------------------------------------------------------------------- real tables


def screen_file(path: Path, target: str) -> dict[str, Finding]:
    source = read(path)
    schema = infer(source.frame, target=target, reading=source.reading)
    findings = screen(conform(source.frame, schema)[0], schema, choose_task(source.frame[target])[0])
    return {finding.code: finding for finding in findings}


def test_titanic(data_dir: Path):
    found = screen_file(data_dir / "titanic" / "titanic.csv", "survived")
    assert found["leak"].columns == ("alive",)
    assert found["missing_values"].evidence["share"]["deck"] == pytest.approx(688 / 891)
    assert found["repeated_columns"].evidence["same_as"] == {"class": "pclass", "embark_town": "embarked"}


def test_wine_quality(data_dir: Path):
    found = screen_file(data_dir / "wine_quality" / "wine_quality.csv", "quality")
    assert list(found) == ["duplicates"]
    assert found["duplicates"].evidence["num_rows"] == 1177


def test_breast_cancer(data_dir: Path):
    assert screen_file(data_dir / "breast_cancer_wdbc" / "breast_cancer_wdbc.csv", "diagnosis")[
        "identifier"
    ].columns == ("id",)


@pytest.mark.parametrize(
    ("name", "target", "codes"),
    [
        ("california_housing", "median_house_value", {"missing_values"}),
        ("penguins", "species", {"missing_values"}),
        ("mushroom", "type", {"missing_values", "constant"}),
        ("insurance", "charges", {"duplicates"}),
        ("auto_mpg", "mpg", {"missing_values"}),
    ],
)
def test_healthy_tables_give_few_findings(data_dir: Path, name: str, target: str, codes: set[str]):
    assert set(screen_file(data_dir / name / f"{name}.csv", target)) == codes


@pytest.mark.slow
def test_adult_is_screened_in_a_second(data_dir: Path):
    source = read(data_dir / "adult" / "train.csv")
    schema = infer(source.frame, target="income")
    task = choose_task(source.frame["income"])[0]
    started = time.perf_counter()
    screen(source.frame, schema, task)
    assert time.perf_counter() - started < 1


@pytest.mark.slow
def test_ten_thousand_columns_are_screened_in_seconds():
    rng = np.random.default_rng(0)
    table: dict[str, Any] = {f"x{place}": rng.normal(size=1000) for place in range(10_000)} | {
        "y": rng.integers(0, 2, 1000)
    }
    frame = read(table).frame
    started = time.perf_counter()
    schema = infer(frame, target="y")
    screen(frame, schema, choose_task(frame["y"])[0])
    assert time.perf_counter() - started < 15


def test_spellings_of_classes() -> None:
    import polars as pl

    frame = pl.DataFrame({"x": range(60), "y": ["Red", "red", "blue"] * 20})
    schema = infer(frame, target="y")
    (finding,) = [f for f in screen(frame, schema, choose_task(frame["y"])[0]) if f.code == "spelling"]
    assert finding.severity == "warning"
    assert "'Red' (20) and 'red' (20)" in finding.message
    assert finding.remedies == ("Give each class one spelling in the data.",)
    frame = pl.DataFrame({"x": range(60), "y": ["Yes", "yes", "no"] * 20})
    schema = infer(frame, target="y")
    found = screen(conform(frame, schema)[0], schema, choose_task(frame["y"])[0])
    (finding,) = [f for f in found if f.code == "spelling"]
    assert (finding.severity, "no or yes, in 3 spellings" in finding.message) == ("info", True)
