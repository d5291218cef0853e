"""Rows gathered by query, in whatever order they stand."""

from __future__ import annotations

import pytest
import torch

from danlu.core.errors import DataError
from danlu.objectives.queries import by_query


def test_rows_of_a_query_come_together_and_short_queries_are_padded():
    query = torch.tensor([7, -2, 7, 7, -2, 5])
    found = by_query({"y": torch.arange(6), "query": query})
    assert found.spread(torch.arange(6) * 10)[found.is_there].tolist() == [10, 40, 50, 0, 20, 30]
    assert found.is_there.tolist() == [[True, True, False], [True, False, False], [True, True, True]]
    assert found.weight_of_query.tolist() == [1.0, 1.0, 1.0]


def test_a_query_weighs_the_mean_of_its_rows_and_weightless_rows_are_not_there():
    batch = {
        "y": torch.zeros(5),
        "query": torch.tensor([0, 0, 0, 1, 1]),
        "weight": torch.tensor([1.0, 0, 5, 0, 0]),
    }
    found = by_query(batch)
    assert found.weight_of_query.tolist() == [3.0, 0.0]
    torch.testing.assert_close(found.weight[0], torch.tensor([1 / 3, 0, 5 / 3]).double())
    assert found.is_there.tolist() == [[True, False, True], [False, False, False]]


def test_rows_without_a_query_are_refused():
    with pytest.raises(
        DataError, match=r"A ranking needs `query`.* beside \(3,\) grades `y`, got none\. All rows"
    ):
        by_query({"y": torch.zeros(3)})
    with pytest.raises(DataError, match=r"got the shape \(4,\)\."):
        by_query({"y": torch.zeros(3), "query": torch.zeros(4)})
