from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from danlu.core.errors import DataError
from danlu.core.tasks import Task
from danlu.data.target import target_values

NUMBER = Task("regression")


def test_numbers_without_the_missing_ones():
    known, y = target_values(pl.Series("t", [1.5, None, float("nan"), -2.0]), NUMBER)
    np.testing.assert_array_equal(known, [0, 3])
    np.testing.assert_array_equal(y, [1.5, -2.0])


def test_classes_are_the_same_in_whatever_type_they_come():
    task = Task("multiclass", (0, 1, 2))
    for series in (
        pl.Series("t", [2, None, 0]),
        pl.Series("t", [2.0, float("nan"), 0.0]),
        pl.Series("t", ["2", None, "0"]),
    ):
        known, codes = target_values(series, task)
        np.testing.assert_array_equal(known, [0, 2])
        np.testing.assert_array_equal(codes, [2, 0])
    known, codes = target_values(pl.Series("t", [True, False]), Task("binary", ("false", "true")))
    np.testing.assert_array_equal(codes, [1, 0])
    assert len(target_values(pl.Series("t", [None], dtype=pl.String), task)[0]) == 0


@pytest.mark.parametrize(
    ("values", "task", "message"),
    [
        ([1.0, float("inf")], NUMBER, "The target 't' is infinite in row 2"),
        (["1", "x"], NUMBER, "must hold numbers; row 2 holds 'x'"),
        (
            ["a", "c"],
            Task("binary", ("a", "b")),
            "Row 2 has the class 'c' in 't', which the model does not know: a, b.",
        ),
    ],
)
def test_what_does_not_fit_is_named(values, task, message):
    with pytest.raises(DataError) as error:
        target_values(pl.Series("t", values), task)
    assert message in str(error.value)


def test_yes_and_no_in_any_case():
    _, codes = target_values(pl.Series("t", ["YES", "no", "Yes"]), Task("binary", ("No", "Yes")))
    np.testing.assert_array_equal(codes, [1, 0, 1])
    with pytest.raises(DataError, match="Row 1 has the class 'A'"):
        target_values(pl.Series("t", ["A", "b"]), Task("binary", ("a", "b")))
