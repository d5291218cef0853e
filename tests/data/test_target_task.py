"""Number or class: the rule on made and real targets, how to overrule it, and targets that teach nothing."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from danlu.core.errors import DataError
from danlu.data.builtin import load_builtin
from danlu.data.sources import read
from danlu.data.target_task import choose_task

SCORES = [3] * 30 + [4] * 216 + [5] * 2138 + [6] * 2836 + [7] * 1079 + [8] * 193 + [9] * 5  # wine quality
STARS = [1] * 20 + [2] * 50 + [3] * 200 + [4] * 300 + [5] * 90


@pytest.mark.parametrize(
    ("values", "kind", "labels"),
    [
        ([0, 1, 1, 0], "binary", (0, 1)),
        ([1.0, 0.0, None], "binary", (0, 1)),
        ([-1, 1, 1], "binary", (-1, 1)),
        ([3, 7] * 10, "binary", (3, 7)),
        ([True, False], "binary", (False, True)),
        (["no", "yes", "no"], "binary", ("no", "yes")),
        (["Yes", "yes", "No", "NO"], "binary", ("no", "yes")),
        (["Yes", "No", "No"], "binary", ("No", "Yes")),
        (["A", "a", "b"], "multiclass", ("A", "a", "b")),
        (["<=50K", ">50K"], "binary", ("<=50K", ">50K")),
        (["a", "b", "c"], "multiclass", ("a", "b", "c")),
        (list(range(10)) * 20, "multiclass", tuple(range(10))),
        ([1, 2, 3] * 20, "multiclass", (1, 2, 3)),
        ([0] * 90 + [1] * 7 + [2] * 3, "multiclass", (0, 1, 2)),  # three codes, however rare
        ([float(code) for code in range(4)] * 20, "multiclass", (0, 1, 2, 3)),
        (SCORES, "regression", ()),  # begins with 3
        (STARS, "regression", ()),  # begins with 1, but has a middle and tails
        ([0] * 60 + [1] * 40 + [2] * 20 + [3] * 5, "regression", ()),  # counts
        ([1, 2, 4, 8] * 20, "regression", ()),  # gaps
        (list(range(10)), "regression", ()),  # every value once
        (list(range(200)) * 5, "regression", ()),
        ([399900, 329900], "regression", ()),  # two prices in two rows
        ([0.5, 1.5, 2.5], "regression", ()),
    ],
)
def test_number_or_class(values: list[Any], kind: str, labels: tuple[Any, ...]):
    task, finding = choose_task(pl.Series("y", values))
    assert (task.kind, task.labels) == (kind, labels)
    assert all(type(label) is type(wanted) for label, wanted in zip(task.labels, labels, strict=True))
    assert (finding.code, finding.severity, finding.columns) == ("task", "info", ("y",))


def test_the_choice_is_explained():
    finding = choose_task(pl.Series("quality", SCORES))[1]
    assert finding.message == (
        "The target 'quality' is taken as a number (regression), because it has 7 different whole numbers from 3 to 9, "
        "which begin with 3, as scores do and codes of classes do not."
    )
    assert finding.remedies == ("Ask for --task classification if that is wrong.",)
    finding = choose_task(pl.Series("digit", list(range(10)) * 20))[1]
    assert (
        "one of 10 classes, because it has 10 different whole numbers from 0 to 9, all about equally"
        in finding.message
    )
    assert finding.remedies == ("Ask for --task regression if that is wrong.",)


@pytest.mark.parametrize("task", ["classification", "multiclass"])
def test_scores_as_classes(task: str):
    assert choose_task(pl.Series("quality", SCORES), task=task)[0].labels == (3, 4, 5, 6, 7, 8, 9)


def test_classes_as_a_number():
    assert choose_task(pl.Series("y", [0, 1, 1]), task="regression")[0].kind == "regression"
    assert choose_task(pl.Series("y", [0, 1, 1]), task="auto")[0].kind == "binary"


@pytest.mark.parametrize(
    ("values", "task", "message"),
    [
        ([None, None], None, "The target 'y' is missing in all 2 rows. Name another target, or fill it in."),
        ([float("nan"), None], None, "The target 'y' is missing in all 2 rows."),
        ([1.5, None, None], None, "Only one row has a value in the target 'y'. A model needs at least a few rows"),
        ([5], None, "Only one row has a value in the target 'y'."),
        ([5, 5, 5], None, "The target 'y' has the same value in every row (5), so there is nothing to learn."),
        (["a", "a", None], None, "The target 'y' has the same value in every row ('a')"),
        ([1.5, float("inf"), 2.0, float("-inf")], None, "The target 'y' is infinite in 2 rows (2, 4)."),
        ([datetime(2020, 1, 1), datetime(2020, 1, 2)], None, "The target 'y' holds dates. Turn it into a number first"),
        ([0, 1], "clasification", "'clasification' is no task. Did you mean 'classification'?"),
        ([0, 1, 2], "binary", "The target 'y' has 3 classes, which is multiclass, not binary. Leave the task out."),
        (["a", "b"], "regression", "'y' should hold numbers, but 2 of 2 values are not numbers ('a' in row 1"),
        ([*(f"{n}.5" for n in range(40)), "abc"], None, "1 of 41 values is not a number ('abc' in row 41)"),
        ([f"name {n}" for n in range(30)], None, "has 30 different values in 30 rows, too many for classes."),
        ([n / 7 for n in range(50)], "classification", "too many for classes. Ask for --task regression."),
    ],
)  # fmt: skip
def test_targets_that_teach_nothing(values: list[Any], task: str | None, message: str):
    with pytest.raises(DataError) as error:
        choose_task(pl.Series("y", values, strict=False), task=task)
    assert message in str(error.value)


def test_missing_values_do_not_count():
    assert choose_task(pl.Series("y", [0.0, 1.0, float("nan"), None] * 3))[0].labels == (0, 1)
    assert choose_task(pl.Series("y", ["a", "b", None]))[0].labels == ("a", "b")


def test_sets_of_scikit_learn():
    kinds = {
        name: choose_task(load_builtin(f"sklearn/{name}")[0]["target"])[0].kind
        for name in ("digits", "iris", "diabetes")
    }
    assert kinds == {"digits": "multiclass", "iris": "multiclass", "diabetes": "regression"}


@pytest.mark.parametrize(
    ("name", "target", "kind"),
    [
        ("wine_quality/wine_quality.csv", "quality", "regression"),
        ("titanic/titanic.csv", "survived", "binary"),
        ("adult/train.csv", "income", "binary"),
        ("penguins/penguins.csv", "species", "multiclass"),
        ("california_housing/california_housing.csv", "median_house_value", "regression"),
        ("bike_sharing_hourly/bike_sharing_hourly.csv", "cnt", "regression"),
        ("titanic/titanic.csv", "pclass", "multiclass"),
        ("insurance/insurance.csv", "children", "regression"),
    ],
)
def test_real_targets(data_dir: Path, name: str, target: str, kind: str):
    assert choose_task(read(data_dir / name).frame[target])[0].kind == kind


def test_balanced_codes_by_chance():
    """Codes drawn at random stay codes, numbers drawn from a bell stay numbers."""
    rng = np.random.default_rng(0)
    assert choose_task(pl.Series("y", rng.integers(0, 6, 600)))[0].kind == "multiclass"
    assert choose_task(pl.Series("y", rng.binomial(8, 0.5, 600)))[0].kind == "regression"
