"""Leaks are found whatever they look like; honest columns, however good, are not taken for leaks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.datasets import (
    load_breast_cancer,
    load_digits,
    make_blobs,
    make_classification,
    make_moons,
    make_regression,
)

from danlu.core.findings import Finding
from danlu.data.leaks import find_leaks, leaks
from danlu.data.schema import conform, infer
from danlu.data.sources import read
from danlu.data.target_task import choose_task

NUM_ROWS = 500


def found(columns: dict[str, Any], target: str = "y", **options: Any) -> list[Finding]:
    frame = read(columns).frame
    schema = infer(frame, target=target)
    return find_leaks(conform(frame, schema)[0], schema, choose_task(frame[target])[0], **options)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def classes(rng: np.random.Generator) -> dict[str, Any]:
    """Five weak features and a class."""
    y = rng.integers(0, 2, NUM_ROWS)
    return {f"x{place}": rng.normal(size=NUM_ROWS) + y / 2 for place in range(5)} | {"y": y}


@pytest.fixture
def numbers(rng: np.random.Generator) -> dict[str, Any]:
    """Five weak features and a number."""
    y = rng.normal(100, 10, NUM_ROWS)
    return {f"x{place}": rng.normal(size=NUM_ROWS) + y / 20 for place in range(5)} | {"y": y}


def test_a_column_that_says_the_class_in_other_words(classes: dict[str, Any]):
    (finding,) = found(classes | {"outcome": np.where(classes["y"] == 1, "good", "bad")})
    assert (finding.code, finding.severity, finding.columns) == ("leak", "problem", ("outcome",))
    assert finding.evidence["accuracy"] == 1.0
    assert finding.evidence["baseline"] == pytest.approx(max(np.bincount(classes["y"])) / NUM_ROWS)
    assert finding.message.startswith(
        "Column 'outcome' (column 7) repeats the target 'y': alone it tells 100.0 %"
    )
    assert "It is left out" in finding.message
    assert "columns.keep=[outcome]" in finding.remedies[0]


@pytest.mark.parametrize(
    "leak",
    [
        lambda y, rng: np.where(np.arange(len(y)) < 2, 1 - y, y),  # two slips
        lambda y, rng: y + rng.normal(0, 0.01, len(y)),  # hidden in noise
        lambda y, rng: [None if one == 0 else float(rng.normal()) for one in y],  # only one class has values
        lambda y, rng: np.where(
            y == 1, rng.integers(5, 10, len(y)), rng.integers(0, 5, len(y))
        ),  # finer codes
        lambda y, rng: [f"{'won' if one else 'lost'}-{rng.integers(3)}" for one in y],
    ],
)
def test_columns_that_nearly_give_the_class(classes: dict[str, Any], rng: np.random.Generator, leak: Any):
    findings = found(classes | {"leak": leak(classes["y"], rng)})
    assert leaks(findings) == ("leak",)
    assert "gives away the target 'y'" in findings[0].message


@pytest.mark.parametrize(
    "leak",
    [
        lambda y, rng: y,
        lambda y, rng: y * 2.54 + 1,  # another unit
        lambda y, rng: np.log(y),
        lambda y, rng: -np.sqrt(y),
        lambda y, rng: np.round(y),
        lambda y, rng: y + rng.normal(0, 0.1, len(y)),
    ],
)
def test_columns_that_give_the_number(numbers: dict[str, Any], rng: np.random.Generator, leak: Any):
    assert leaks(found(numbers | {"leak": leak(numbers["y"], rng)})) == ("leak",)


def test_a_leak_with_gaps(numbers: dict[str, Any]):
    values = [None if row % 5 == 0 else value for row, value in enumerate(numbers["y"])]
    assert leaks(found(numbers | {"leak": values})) == ("leak",)


@pytest.mark.parametrize(
    "honest",
    [
        lambda y, rng: y + rng.normal(0, 0.25, len(y)),  # 98 % by one threshold
        lambda y, rng: np.where(rng.random(len(y)) < 0.015, 1 - y, y),  # as odour tells mushrooms
        lambda y, rng: [
            f"k{row}" for row in range(len(y))
        ],  # an identifier fits everything, and knows nothing
        lambda y, rng: [f"k{row // 2}" for row in range(len(y))],
        lambda y, rng: rng.permutation(len(y)),
    ],
)
def test_honest_columns_beside_classes(classes: dict[str, Any], rng: np.random.Generator, honest: Any):
    assert not found(classes | {"honest": honest(classes["y"], rng)})


@pytest.mark.parametrize(
    "honest",
    [
        lambda y, rng: y + rng.normal(size=len(y)),  # r = 0.995
        lambda y, rng: y > 100,
        lambda y, rng: [f"k{row}" for row in range(len(y))],
        lambda y, rng: [f"k{row // 2}" for row in range(len(y))],
    ],
)
def test_honest_columns_beside_numbers(numbers: dict[str, Any], rng: np.random.Generator, honest: Any):
    assert not found(numbers | {"honest": honest(numbers["y"], rng)})


def test_rows_in_the_order_of_the_target_make_no_leak(numbers: dict[str, Any]):
    """Equal values must not be neighbours in the order of the file."""
    order = np.argsort(numbers["y"])
    table = {name: values[order] for name, values in numbers.items()}
    assert not found(table | {"half": (np.arange(NUM_ROWS) // 250).tolist()})


def test_rare_classes_need_more_than_accuracy(rng: np.random.Generator):
    y = (np.arange(2000) < 10).astype(int)  # always guessing 0 is right in 99.5 %
    assert not found(
        {"x": rng.normal(size=2000), "z": rng.normal(size=2000), "w": rng.integers(0, 2, 2000), "y": y}
    )


# ------------------------------------------------------------------- easy tasks are no leaks


def test_the_only_feature_is_used(rng: np.random.Generator):
    x = rng.normal(size=200)
    assert not found({"x": x, "y": 2 * x + 1})
    assert not found({"x": x, "y": (x > 0).astype(int)})


def test_where_little_would_be_left_it_is_only_a_warning(rng: np.random.Generator):
    x = rng.normal(size=300)
    (finding,) = found({"x": x, "z": rng.normal(size=300), "y": 2 * x + 1})
    assert (finding.code, finding.severity) == ("possible_leak", "warning")
    assert "It is used, since it may also be that the task is this easy." in finding.message
    assert "columns.ignore=[x]" in finding.remedies[0]
    assert leaks([finding]) == ()


def test_separate_clouds_are_an_easy_task():
    x, y = make_blobs(400, n_features=2, centers=[[-5, -5], [5, 5]], random_state=0)
    findings = found({"a": x[:, 0], "b": x[:, 1], "y": y})
    assert [finding.code for finding in findings] == ["possible_leak"] * 2


def test_a_law_that_is_no_copy_is_kept(rng: np.random.Generator):
    x = rng.uniform(-3, 3, 500)
    findings = found({"x": x, "a": rng.normal(size=500), "b": rng.normal(size=500), "y": np.sin(2 * x)})
    assert [finding.code for finding in findings] == ["possible_leak"]


def test_what_the_person_wants_to_keep_is_kept(classes: dict[str, Any]):
    (finding,) = found(classes | {"outcome": classes["y"] == 1}, keep=["outcome"])
    assert finding.code == "possible_leak"
    assert "It is used as you asked." in finding.message


@pytest.mark.parametrize(
    "make",
    [
        lambda: make_classification(500, 10, class_sep=2.0, random_state=0),
        lambda: make_blobs(500, n_features=5, centers=3, random_state=1),
        lambda: make_moons(500, noise=0.1, random_state=0),
        lambda: make_regression(500, 8, n_informative=3, noise=0.0, random_state=0),
        lambda: load_breast_cancer(return_X_y=True),
        lambda: load_digits(return_X_y=True),
    ],
)
def test_made_tasks_have_no_leaks(make: Any):
    x, y = make()
    assert leaks(found({f"x{place}": x[:, place] for place in range(x.shape[1])} | {"y": y})) == ()


def test_too_few_rows_say_nothing():
    assert not found({"a": [0, 1] * 5, "b": [0.5, 1.5] * 5, "y": [0, 1] * 5})


# ------------------------------------------------------------------- real tables


@pytest.mark.parametrize(
    ("name", "target", "expected"),
    [
        ("titanic/titanic.csv", "survived", ("alive",)),
        ("titanic/titanic.csv", "alive", ("survived",)),
        ("titanic/titanic.csv", "class", ("pclass",)),
        ("adult/train.csv", "income", ()),
        ("adult/train.csv", "education", ("education_num",)),
        ("mushroom/mushroom.csv", "type", ()),
        ("penguins/penguins.csv", "species", ()),
        ("breast_cancer_wdbc/breast_cancer_wdbc.csv", "diagnosis", ()),
        ("wine_quality/wine_quality.csv", "quality", ()),
        ("wine_quality/wine_quality.csv", "type", ()),
        ("california_housing/california_housing.csv", "median_house_value", ()),
        ("insurance/insurance.csv", "charges", ()),
        ("auto_mpg/auto_mpg.csv", "mpg", ()),
        ("bike_sharing_hourly/bike_sharing_hourly.csv", "cnt", ()),
    ],
)
def test_real_tables(data_dir: Path, name: str, target: str, expected: tuple[str, ...]):
    source = read(data_dir / name)
    schema = infer(source.frame, target=target, reading=source.reading)
    task = choose_task(source.frame[target])[0]
    assert leaks(find_leaks(conform(source.frame, schema)[0], schema, task)) == expected


def test_repeated_rows_make_no_leaks(classes: dict[str, Any]):
    assert not found({name: np.tile(values, 40) for name, values in classes.items()})


def test_many_rows_are_looked_at_in_part(rng: np.random.Generator):
    y = rng.integers(0, 2, 150_000)
    frame = pl.DataFrame({"a": rng.normal(size=len(y)), "leak": y + 0.5, "y": y})
    schema = infer(frame, target="y")
    (finding,) = find_leaks(frame, schema, choose_task(frame["y"])[0])
    assert finding.columns == ("leak",)
    assert 30_000 < finding.evidence["num_rows"] <= 50_000
