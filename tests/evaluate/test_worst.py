"""The worst rows by hand."""

from __future__ import annotations

import datetime
import json
import math

import numpy as np
import polars as pl
import pytest

from danlu.core.tasks import Task
from danlu.evaluate.worst import residuals, worst_rows


def test_numbers_with_values_and_row_numbers():
    frame = pl.DataFrame(
        {"day": [datetime.date(2024, 1, 2), None, datetime.date(2024, 1, 4)], "size": [1.5, math.nan, 3.0]}
    )
    rows = worst_rows(
        Task("regression"),
        [10.0, 20.0, 30.0],
        np.array([11.0, 10.0, 33.0]),
        frame=frame,
        row_numbers=[7, 8, 9],
        num_rows=2,
    )
    assert rows == [
        {"row": 8, "observed": 20.0, "predicted": 10.0, "loss": 10.0, "values": {"day": None, "size": None}},
        {
            "row": 9,
            "observed": 30.0,
            "predicted": 33.0,
            "loss": 3.0,
            "values": {"day": "2024-01-04", "size": 3.0},
        },
    ]
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows


def test_classes_with_labels_and_a_threshold():
    probabilities = np.array([[0.9, 0.1], [0.45, 0.55], [0.2, 0.8]])
    task = Task("binary", ("no", "yes"))
    rows = worst_rows(task, [1, 0, 1], probabilities, threshold=0.6)
    assert [row["row"] for row in rows] == [1, 2, 3]
    assert [row["observed"] for row in rows] == ["yes", "no", "yes"]
    assert [row["predicted"] for row in rows] == ["no", "no", "yes"]
    assert rows[0]["loss"] == pytest.approx(-math.log(0.1))
    assert rows[0]["probability"] == pytest.approx(0.1)
    assert "values" not in rows[0]


def test_rows_without_a_finite_prediction_come_first():
    rows = worst_rows(Task("regression"), [1.0, 2.0], np.array([9.0, math.nan]))
    assert rows[0] == {"row": 2, "observed": 2.0, "predicted": None, "loss": None}


def test_residuals_are_observed_minus_predicted():
    assert residuals([3.0, 1.0], np.array([1.0, 4.0])).tolist() == [2.0, -3.0]
