"""Scores by group by hand: rates, gaps, small groups, missing values, many groups."""

from __future__ import annotations

import json

import numpy as np
import pytest

from danlu.core.files import plain
from danlu.core.tasks import Task
from danlu.evaluate.groups import OTHERS, group_scores
from danlu.evaluate.metrics import score
from danlu.evaluate.proportion import difference_interval, wilson_interval

BINARY = Task("binary", ("no", "yes"))


def certain(decided):
    return np.eye(2)[np.asarray(decided)] * 0.8 + 0.1


def test_rates_and_gaps_by_hand():
    # a: 40 positive of which 30 found, 60 negative of which 6 called; b: 40 of which 20, 40 of which 10.
    observed = np.array([1] * 40 + [0] * 60 + [1] * 40 + [0] * 40)
    decided = [1] * 30 + [0] * 10 + [1] * 6 + [0] * 54 + [1] * 20 + [0] * 20 + [1] * 10 + [0] * 30
    values = ["a"] * 100 + ["b"] * 80
    found = group_scores(BINARY, observed, certain(decided), values, column="sex")
    first, second = found["groups"]
    assert (first["value"], first["num_rows"], first["is_small"]) == ("a", 100, False)
    rates = ["selection_rate", "true_positive_rate", "false_positive_rate"]
    assert [first["metrics"][name] for name in rates] == pytest.approx([0.36, 0.75, 0.1])
    assert [second["metrics"][name] for name in rates] == pytest.approx([0.375, 0.5, 0.25])
    assert first["metrics"]["recall"] == pytest.approx(0.75)
    assert first["intervals"]["true_positive_rate"] == pytest.approx(wilson_interval(0.75, 40))
    assert (
        first["intervals"]["accuracy"][0] < first["metrics"]["accuracy"] < first["intervals"]["accuracy"][1]
    )
    gaps = {gap["metric"]: gap for gap in found["gaps"]}
    assert gaps["true_positive_rate"]["gap"] == pytest.approx(0.25)
    assert (gaps["true_positive_rate"]["highest"], gaps["true_positive_rate"]["lowest"]) == ("a", "b")
    assert gaps["true_positive_rate"]["interval"] == pytest.approx(difference_interval(0.75, 40, 0.5, 40))
    assert gaps["true_positive_rate"]["interval"][0] > 0
    assert gaps["selection_rate"]["interval"][0] < 0 < gaps["selection_rate"]["interval"][1]
    json.dumps(plain(found), allow_nan=False)


def test_small_groups_are_flagged_and_make_no_gap():
    observed = np.array([0, 1] * 50 + [1] * 5)
    values = ["big"] * 100 + ["small"] * 5
    found = group_scores(BINARY, observed, certain([0] * 105), values, column="x")
    assert [group["is_small"] for group in found["groups"]] == [False, True]
    assert found["gaps"] == []
    assert found["groups"][1]["metrics"]["false_positive_rate"] is None
    assert found["groups"][1]["intervals"]["false_positive_rate"] is None


def test_gaps_need_rows_behind_the_rate_itself():
    observed = np.array(([1] * 30 + [0] * 30) + ([1] * 3 + [0] * 57))  # the second group has 3 positive rows
    found = group_scores(BINARY, observed, certain([1, 0] * 60), ["a"] * 60 + ["b"] * 60, column="x")
    assert [gap["metric"] for gap in found["gaps"]] == ["selection_rate", "false_positive_rate"]


def test_groups_of_a_regression_and_missing_values():
    observed, predicted = np.arange(40.0), np.arange(40.0) + 1
    values = np.array([1.0, np.nan] * 20)
    weight = np.linspace(1, 2, 40)
    found = group_scores(
        Task("regression"), observed, predicted, values, column="region", weight=weight, names=["mae"]
    )
    assert [group["value"] for group in found["groups"]] == [1.0, None]
    assert found["groups"][0]["metrics"] == pytest.approx(
        score(Task("regression"), observed[::2], predicted[::2], weight=weight[::2], names=["mae"])
    )
    assert found["gaps"] == []


def test_many_groups_are_put_together():
    values = [i // 2 for i in range(100)]
    found = group_scores(
        Task("regression"), np.arange(100.0), np.zeros(100), values, column="x", names=["mae"]
    )
    assert len(found["groups"]) == 20
    assert found["groups"][-1]["value"] == OTHERS
    assert sum(group["num_rows"] for group in found["groups"]) == 100
