"""Training rows of a batch."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from danlu.core.errors import DataError
from danlu.models.rows import slices, standardised, training_rows


def test_rows_without_weight_are_left_out() -> None:
    x = np.arange(6.0).reshape(3, 2)
    batch = {"x": csr_matrix(x), "y": np.arange(3), "weight": np.array([2.0, 0.0, 1.0])}
    rows = training_rows(batch)
    assert rows.x.toarray().tolist() == [[0.0, 1.0], [4.0, 5.0]]
    assert rows.y.tolist() == [0, 2] and rows.weight.tolist() == [2.0, 1.0]
    assert rows.sample_weight is rows.weight


def test_rows_are_not_copied_where_all_count() -> None:
    x = np.zeros((3, 2))
    rows = training_rows({"x": x, "y": np.zeros(3)})
    assert rows.x is x and rows.sample_weight is None


@pytest.mark.parametrize("weight", [[1.0, -1.0], [1.0, np.nan], [np.inf, 1.0]])
def test_wrong_weights(weight: list[float]) -> None:
    with pytest.raises(DataError, match="Weights of rows must be finite numbers that are not negative"):
        training_rows({"x": np.zeros((2, 1)), "y": np.zeros(2), "weight": np.array(weight)})


def test_no_row_that_counts() -> None:
    with pytest.raises(DataError, match="There is no training row with a weight above zero"):
        training_rows({"x": np.zeros((2, 1)), "y": np.zeros(2), "weight": np.zeros(2)})


def test_standardised_targets_lead_back() -> None:
    y, weight = np.array([1.0, 5.0, 9.0]), np.array([1.0, 2.0, 5.0])
    rows, mean, deviation = standardised(training_rows({"x": np.zeros((3, 1)), "y": y, "weight": weight}))
    assert np.average(rows.y, weights=weight) == pytest.approx(0.0)
    assert np.average(rows.y**2, weights=weight) == pytest.approx(1.0)
    assert rows.y * deviation + mean == pytest.approx(y)
    assert standardised(training_rows({"x": np.zeros((2, 1)), "y": np.full(2, 7.0)}))[1:] == (7.0, 1.0)


@pytest.mark.parametrize(("num_rows", "width"), [(0, 5), (1, 5), (1000, 1 << 30), (10_000, 1000)])
def test_slices_cover_every_row_once(num_rows: int, width: int) -> None:
    covered = [row for part in slices(num_rows, width) for row in range(part.start, part.stop)]
    assert covered == list(range(num_rows))
