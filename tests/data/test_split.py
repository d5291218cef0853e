"""The division of rows: disjoint, exhaustive, proportional, whole groups and duplicates, past first, pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.core.errors import DataError, RecipeError
from danlu.core.tasks import Task
from danlu.data.schema import Column, Schema
from danlu.data.split import Split, SplitSettings, split

REGRESSION = Task("regression")
BINARY = Task("binary", ("no", "yes"))
HOLDOUT = {"small_rows": 0}


def divide(frame: pl.DataFrame, target: Any, *, task: Task = REGRESSION, seed: int = 0, **more: Any) -> Split:
    """Split with roles given as keywords, such as site='group'; every other column is a feature."""
    roles = {name: more.pop(name) for name in frame.columns if name in more}
    columns = [
        Column(name, "number", roles.get(name, "feature"), str(dtype), 0, 1, "made for this test")
        for name, dtype in frame.schema.items()
    ]
    schema = Schema(tuple(columns), frame.height)
    settings = SplitSettings(**more.pop("settings", {}))
    target = np.asarray(target)
    return split(frame, schema, task, target=target, settings=settings, seed=seed, **more)


def numbers(num_rows: int, seed: int = 0) -> pl.DataFrame:
    return pl.DataFrame({"x": np.random.default_rng(seed).normal(size=num_rows)})


def codes(found: Split) -> dict[str, Any]:
    return {finding.code: finding for finding in found.findings}


def check(found: Split, num_rows: int) -> None:
    """What holds for every split."""
    if found.folds:
        parts = [found.train, found.test]
        halves = np.concatenate([found.choice, found.calibration])
        assert len(np.unique(halves)) == len(halves)
        assert np.isin(halves, found.train).all()
        times_held = np.bincount(np.concatenate([held for _, held in found.folds]), minlength=num_rows)
        assert (times_held[halves] == found.num_repeats).all()
        for fit, held in found.folds:
            assert len(fit) and len(held) and not np.isin(held, fit).any()
            assert np.isin(np.concatenate([fit, held]), found.train).all()
    else:
        parts = [found.train, found.choice, found.calibration, found.test]
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(num_rows))
    for part in (found.train, found.choice, found.calibration, found.test):
        assert len(part) and part.dtype == np.int64 and (np.diff(part) > 0).all()


def test_seventy_fifteen_fifteen() -> None:
    found = divide(numbers(20_000), np.arange(20_000.0))
    check(found, 20_000)
    assert found.method == "holdout" and found.by == "random"
    assert found.as_dict()["rows"] == {"train": 14_000, "choice": 1500, "calibration": 1500, "test": 3000}
    assert found.findings == ()
    assert found.sentence == (
        "14,000 rows train, 1,500 choose among models, 1,500 calibrate, and 3,000 rows are kept for the "
        "final test; drawn at random, with equal shares of low and high targets."
    )


def test_only_seed_and_content_decide() -> None:
    frame, target = numbers(5000), np.arange(5000.0)
    one, same, other = (divide(frame, target, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.test, same.test) and np.array_equal(one.train, same.train)
    assert not np.array_equal(one.test, other.test)


def test_classes_keep_their_shares() -> None:
    target = (np.arange(10_000) % 20 == 0).astype(int)
    found = divide(numbers(10_000), target, task=BINARY)
    shares = [target[part].mean() for part in (found.train, found.choice, found.calibration, found.test)]
    np.testing.assert_allclose(shares, 0.05, atol=0.001)
    assert found.sentence.endswith("with equal shares of each class.")


def test_number_targets_keep_their_quantiles() -> None:
    target = np.random.default_rng(0).lognormal(size=4000)
    found = divide(numbers(4000), target)
    for part in (found.choice, found.calibration, found.test):
        inside = [(target[part] <= np.quantile(target, q)).mean() for q in (0.1, 0.5, 0.9)]
        np.testing.assert_allclose(inside, [0.1, 0.5, 0.9], atol=0.007)


def test_stratify_off_lets_shares_vary() -> None:
    target = (np.arange(10_000) % 20 == 0).astype(int)
    found = divide(numbers(10_000), target, task=BINARY, settings={"stratify": False})
    check(found, 10_000)
    assert "equal shares" not in found.sentence


def test_unusual_shares_are_a_warning_and_impossible_ones_an_error() -> None:
    usual = divide(numbers(4000), np.arange(4000.0), settings={"train": 0.8, "validation": 0.1, "test": 0.1})
    assert usual.findings == ()
    unusual = divide(
        numbers(4000), np.arange(4000.0), settings={"train": 0.5, "validation": 0.2, "test": 0.3}
    )
    finding = codes(unusual)["split_shares"]
    assert finding.severity == "warning"
    assert "50/20/30 lies outside the usual 70-80/10-15/10-15" in finding.message
    with pytest.raises(RecipeError, match=r"must add up to 1, got train 0\.7, validation 0\.2, test 0\.2"):
        SplitSettings(train=0.7, validation=0.2, test=0.2)
    with pytest.raises(RecipeError, match=r"split\.test is a share between 0 and 1, got 15"):
        SplitSettings(test=15)
    with pytest.raises(RecipeError, match=r"split\.folds must be auto or at least 2, got 1"):
        SplitSettings(folds=1)
    with pytest.raises(RecipeError, match=r"split\.small_rows must not be negative, got -1"):
        SplitSettings(small_rows=-1)


@pytest.mark.parametrize(
    ("num_rows", "folds", "repeats"),
    [(4, 3, 1), (10, 8, 1), (23, 20, 1), (60, 10, 3), (150, 10, 2), (344, 5, 2), (1000, 5, 1), (9000, 5, 1)],
)
def test_small_data_are_cross_validated(num_rows: int, folds: int, repeats: int) -> None:
    found = divide(numbers(num_rows), np.arange(float(num_rows)))
    check(found, num_rows)
    assert found.method == "cross-validation"
    assert (found.as_dict()["folds"], found.as_dict()["repeats"]) == (folds, repeats)
    assert len(found.test) == max(1, round(0.15 * num_rows + 1e-9))
    assert abs(len(found.choice) - len(found.calibration)) <= 1
    for repeat in range(repeats):
        held = np.concatenate([held for _, held in found.folds[repeat * folds : (repeat + 1) * folds]])
        assert np.array_equal(np.sort(held), found.train)


def test_repeats_are_shuffled_anew_and_folds_stratified() -> None:
    target = (np.arange(400) % 10 == 0).astype(int)
    found = divide(numbers(400), target, task=BINARY)
    assert not np.array_equal(found.folds[0][1], found.folds[5][1])
    assert {int(target[held].sum()) for _, held in found.folds} <= {6, 7}  # 34 positives in five folds


def test_asking_for_folds_overrules_the_size() -> None:
    found = divide(numbers(5000), np.arange(5000.0), settings={"folds": 4, "repeats": 2})
    check(found, 5000)
    assert len(found.folds) == 8 and "cross-validation of 4 folds, repeated 2 times" in found.sentence
    with pytest.raises(DataError, match="cannot be divided into 9 folds and a test part"):
        divide(numbers(8), np.arange(8.0), settings={"folds": 9})


@pytest.mark.parametrize("num_rows", [1, 2, 3])
def test_too_few_rows_say_so(num_rows: int) -> None:
    with pytest.raises(
        DataError, match=f"At least 4 rows are needed to train and test a model, got {num_rows}"
    ):
        divide(numbers(num_rows), np.arange(float(num_rows)))


def test_a_class_of_one_row_is_learnt_from_and_named() -> None:
    target = np.array([0] * 30 + [1] * 30 + [2])
    task = Task("multiclass", ("a", "b", "lone"))
    for seed in range(10):
        found = divide(numbers(61), target, task=task, seed=seed)
        check(found, 61)
        assert 60 in found.train and 60 not in np.concatenate([found.choice, found.calibration])
        assert all(60 in fit for fit, _ in found.folds)
        assert "'lone'" in codes(found)["class_only_in_training"].message


def test_a_class_of_two_rows_is_always_known_to_the_model() -> None:
    target = np.array([0] * 5000 + [1] * 2)
    for seed in range(10):
        found = divide(numbers(5002), target, task=BINARY, seed=seed)
        check(found, 5002)
        assert 1 in target[found.train]


@pytest.mark.parametrize("num_rows", [4, 5, 6, 10, 15])
def test_tiny_classification(num_rows: int) -> None:
    for seed in range(20):
        target = np.random.default_rng(seed).integers(0, 2, num_rows)
        target[:2] = [0, 1]
        found = divide(numbers(num_rows), target, task=BINARY, seed=seed)
        check(found, num_rows)
        assert all(len(set(target[fit])) == 2 for fit, _ in found.folds)


def test_groups_never_cross() -> None:
    site = np.random.default_rng(0).integers(0, 200, 6000)
    frame = numbers(6000).with_columns(site=site)
    found = divide(frame, np.arange(6000.0), site="group", settings=HOLDOUT)
    check(found, 6000)
    assert found.method == "holdout" and found.by == "group"
    sides = [set(site[part].tolist()) for part in (found.train, found.choice, found.calibration, found.test)]
    assert sum(map(len, sides)) == 200 == len(set.union(*sides))
    assert abs(len(found.test) - 900) < 40
    assert "by groups of 'site', no group on two sides" in found.sentence


def test_few_groups_are_left_out_one_by_one() -> None:
    site = [f"site {i}" for i in np.random.default_rng(0).integers(0, 6, 6000)]
    found = divide(numbers(6000).with_columns(site=pl.Series(site)), np.arange(6000.0), site="group")
    check(found, 6000)
    assert found.method == "cross-validation" and len(found.folds) == 5
    for fit, held in found.folds:
        assert not {site[i] for i in fit} & {site[i] for i in held}
    assert not {site[i] for i in found.choice} & {site[i] for i in found.calibration}


def test_groups_that_cannot_be_divided_say_so() -> None:
    frame = numbers(100).with_columns(site=pl.lit("only one"))
    with pytest.raises(DataError, match=r"100 rows give 1 groups of column 'site' that can be told apart"):
        divide(frame, np.arange(100.0), site="group")
    frame = numbers(100).with_columns(site=np.arange(100) % 2)
    with pytest.raises(DataError, match="each with two classes to learn from"):
        divide(frame, np.arange(100) % 2, task=BINARY, site="group")


def test_rows_without_group_are_named() -> None:
    site = pl.Series("site", [None, "a", None] + [str(i % 50) for i in range(397)])
    found = divide(numbers(400).with_columns(site), np.arange(400.0), site="group")
    check(found, 400)
    assert codes(found)["rows_without_group"].rows == (1, 3)


def test_duplicates_stay_on_one_side() -> None:
    x = np.random.default_rng(0).integers(0, 3000, 4500)
    found = divide(
        pl.DataFrame({"x": x, "y": -x}), np.random.default_rng(1).normal(size=4500), settings=HOLDOUT
    )
    check(found, 4500)
    sides = [set(x[part].tolist()) for part in (found.train, found.choice, found.calibration, found.test)]
    assert sum(map(len, sides)) == len(set(x.tolist()))
    assert "rows that repeat another one's features stay on its side" in found.sentence


def test_duplicates_and_groups_hang_together() -> None:
    rng = np.random.default_rng(0)
    x, site = rng.integers(0, 2000, 2500), rng.integers(0, 1500, 2500)
    found = divide(pl.DataFrame({"x": x, "site": site}), rng.normal(size=2500), site="group")
    check(found, 2500)
    for values in (x, site):
        assert not set(values[found.train].tolist()) & set(values[found.test].tolist())
        for fit, held in found.folds:
            assert not set(values[fit].tolist()) & set(values[held].tolist())


def test_data_of_few_distinct_rows_are_not_tied_together() -> None:
    frame = pl.DataFrame({"a": [0, 0, 1, 1] * 50, "b": [0, 1, 0, 1] * 50})
    xor = np.array([0, 1, 1, 0] * 50)
    found = divide(frame, xor, task=BINARY)
    check(found, 200)
    assert frame[found.train].n_unique() == 4
    assert "Only 4 of 200 rows differ" in codes(found)["duplicates_apart"].message
    kept = divide(frame, xor, task=BINARY, settings={"keep_duplicates_together": True})
    assert frame[kept.test].n_unique() == 1


def test_past_trains_and_future_tests() -> None:
    start = datetime(2020, 1, 1)
    days = np.random.default_rng(0).integers(0, 2000, 5000)
    frame = numbers(5000).with_columns(day=pl.Series([start + timedelta(int(d)) for d in days]))
    found = divide(frame, np.arange(5000.0), day="time", settings=HOLDOUT)
    check(found, 5000)
    assert found.method == "holdout" and found.by == "time"
    parts = [days[part] for part in (found.train, found.choice, found.calibration, found.test)]
    assert all(past.max() < future.min() for past, future in pairwise(parts))
    np.testing.assert_allclose([len(p) / 5000 for p in parts], [0.7, 0.075, 0.075, 0.15], atol=0.002)
    assert "cut along 'day', oldest first" in found.sentence


def test_small_series_are_foretold_from_the_rows_before() -> None:
    month = np.random.default_rng(0).permutation(144)
    text = pl.Series([f"{1949 + m // 12}-{1 + m % 12:02}" for m in month.tolist()])
    found = divide(numbers(144).with_columns(month=text), np.arange(144.0), month="time")
    check(found, 144)
    assert len(found.folds) == 5 and found.num_repeats == 1
    for fit, held in found.folds:
        assert month[fit].max() < month[held].min()
    assert month[found.choice].max() < month[found.calibration].min()
    assert month[found.train].max() < month[found.test].min()
    assert "5 blocks in time, each foretold from the rows before it" in found.sentence


def test_rows_without_time_only_train() -> None:
    year = pl.Series("year", [2000.0 + i // 10 for i in range(200)])
    year[7], year[150] = None, float("nan")
    found = divide(
        numbers(200).with_columns(year), np.arange(200.0), settings={"time": "year"}, year="ignore"
    )
    check(found, 200)
    assert {7, 150} <= set(found.train.tolist())
    assert not {7, 150} & set(np.concatenate([found.choice, found.calibration]).tolist())
    finding = codes(found)["rows_without_time"]
    assert finding.rows == (8, 151) and finding.columns == ("year",) and "(row 8, 151)" in finding.message


def test_time_that_cannot_order_rows_says_so() -> None:
    with pytest.raises(DataError, match="Column 'day' holds no time at all"):
        divide(
            numbers(100).with_columns(day=pl.lit(None, dtype=pl.Date)),
            np.arange(100.0),
            settings={"time": "day"},
        )
    with pytest.raises(DataError, match=r"row 1 holds 'soon'"):
        divide(numbers(100).with_columns(day=pl.lit("soon")), np.arange(100.0), settings={"time": "day"})
    with pytest.raises(DataError, match=r"needs at least 2 different times, but column 'day' has 1"):
        divide(numbers(100).with_columns(day=pl.lit(3)), np.arange(100.0), settings={"time": "day"})


def test_settings_that_contradict_each_other() -> None:
    frame, target = numbers(100).with_columns(site=pl.lit("a"), day=np.arange(100)), np.arange(100.0)
    with pytest.raises(
        RecipeError, match=r"'site' \(group\) and 'day' \(time\) ask for two different splits"
    ):
        divide(frame, target, site="group", day="time")
    assert divide(frame, target, site="group", day="time", settings={"method": "time"}).by == "time"
    with pytest.raises(
        RecipeError, match=r"split\.group names column 'sote', which the data lack\. Did you mean 'site'"
    ):
        divide(frame, target, settings={"group": "sote"})
    with pytest.raises(RecipeError, match=r"split\.method is time, but no column is named"):
        divide(frame, target, settings={"method": "time"})
    with pytest.raises(RecipeError, match="A split by time cannot be stratified"):
        divide(frame, target, day="time", settings={"stratify": True})
    with pytest.raises(RecipeError, match="cannot be repeated"):
        divide(frame, target, day="time", settings={"repeats": 3})
    with pytest.raises(RecipeError, match="Only one column can be the time, got 'site', 'day'"):
        divide(frame, target, site="time", day="time")


def test_a_given_test_file_is_kept_as_it_is() -> None:
    frame = numbers(6000)
    frame[5000, "x"] = frame[41, "x"]  # first test row repeats row 42
    found = divide(frame, np.arange(6000.0), test_rows=np.arange(5000, 6000), settings=HOLDOUT)
    check(found, 6000)
    assert found.test.tolist() == list(range(5000, 6000))
    assert found.as_dict()["rows"] == {"train": 4250, "choice": 375, "calibration": 375, "test": 1000}
    finding = codes(found)["duplicates_across"]
    assert finding.rows == (1,) and finding.evidence["train_rows"] == [42] and finding.severity == "info"
    assert "the 1,000 of the test file are kept for the final test" in found.sentence


def test_a_given_test_file_with_few_rows_to_train_on() -> None:
    found = divide(numbers(150), np.arange(150) % 2, task=BINARY, test_rows=np.arange(50))
    check(found, 150)
    assert len(found.train) == 100 and found.method == "cross-validation"
    with pytest.raises(DataError, match="3 rows to train and 1 to test are needed, got 2 and 8"):
        divide(numbers(10), np.arange(10.0), test_rows=np.arange(8))


def test_groups_in_both_files_are_reported() -> None:
    frame = numbers(6000).with_columns(site=np.arange(6000) % 100)
    found = divide(frame, np.arange(6000.0), test_rows=np.arange(5000, 6000), site="group")
    assert codes(found)["groups_in_both_files"].evidence == {"num_groups": 100}


def test_wine_keeps_its_duplicates_on_one_side(data_dir: Path) -> None:
    wine = pl.read_csv(data_dir / "wine_quality" / "wine_quality.csv", infer_schema_length=None)
    features = wine.drop("quality")
    for settings in ({}, HOLDOUT):
        found = divide(wine, wine["quality"].to_numpy(), quality="target", settings=settings)
        check(found, len(wine))
        assert len(found.test) == 975
        pairs = [(found.train, found.test), (found.choice, found.test), (found.choice, found.calibration)]
        for one, other in [*pairs, *found.folds]:
            assert features[one].join(features[other], on=features.columns, how="semi").is_empty()


@given(
    num_rows=st.integers(8, 120),
    num_values=st.integers(1, 60),
    num_groups=st.integers(4, 40),
    num_classes=st.integers(0, 4),
    by=st.sampled_from(["random", "group", "time"]),
    small_rows=st.sampled_from([0, 3000]),
    seed=st.integers(0, 3),
)
def test_every_split_is_sound(
    num_rows: int, num_values: int, num_groups: int, num_classes: int, by: str, small_rows: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    key = rng.integers(0, num_groups, num_rows)
    frame = pl.DataFrame({"x": rng.integers(0, num_values, num_rows), "key": key})
    task, target = REGRESSION, rng.normal(size=num_rows)
    if num_classes > 1:
        task = Task("multiclass" if num_classes > 2 else "binary", tuple(range(num_classes)))
        target = rng.integers(0, num_classes, num_rows)
    roles = {"key": {"random": "ignore"}.get(by, by)}
    try:
        found = divide(frame, target, task=task, seed=seed, settings={"small_rows": small_rows}, **roles)
    except DataError as error:
        found, message = None, str(error)
    else:
        message = ""
    if found is None:
        assert "cannot be divided" in message or "different times" in message
        return
    check(found, num_rows)
    others = np.setdiff1d(np.arange(num_rows), found.test)
    if by == "group":
        assert not set(key[others].tolist()) & set(key[found.test].tolist())
    if by == "time":
        assert key[others].max() < key[found.test].min()
    for fit, held in found.folds:
        if task.is_classification:
            assert set(target[held]) <= set(target[fit])
        if by == "group":
            assert not set(key[fit].tolist()) & set(key[held].tolist())
