"""What is refused of a stored model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from danlu.core.errors import BundleError
from danlu.models.stored import Stored, store_table


def test_arrays_as_they_should_be() -> None:
    state = {"a": np.ones((2, 3)), "b": np.arange(4), "n": 3, "inner": {"z": np.zeros(0)}}
    stored = Stored(state, part="test")
    assert stored.array("a", (2, None), low=1, high=1).shape == (2, 3)
    assert stored.array("b", (4,), dtype=np.int64, low=0).tolist() == [0, 1, 2, 3]
    assert stored.number("n") == 3.0
    assert stored.nested("inner").array("z", (0,)).size == 0
    stored.end()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1.0, 2.0], "a is a list, not an array"),
        (np.array(["x", "y"]), "a holds <U1, not float64"),
        (np.array([None, None]), "a holds object, not float64"),
        (np.ones(2, dtype=np.float32), "a holds float32, not float64"),
        (np.ones(2, dtype=">f8"), "a holds >f8, not float64"),
        (np.ones((2, 1)), r"a has the shape \(2, 1\), not \(2\)"),
        (np.ones(3), r"a has the shape \(3,\), not \(2\)"),
        (np.array([1.0, np.nan]), "a has values that are not finite numbers"),
        (np.array([1.0, -np.inf]), "a has values that are not finite numbers"),
        (np.array([1.0, -2.0]), "a runs from -2.0 to 1.0, allowed is -1 to 5"),
        (np.array([1.0, 6.0]), "a runs from 1.0 to 6.0, allowed is -1 to 5"),
    ],
)
def test_wrong_arrays(value: Any, message: str) -> None:
    with pytest.raises(BundleError, match=f"The stored test model is damaged: {message}.*train it again"):
        Stored({"a": value}, part="test").array("a", (2,), low=-1, high=5)


@pytest.mark.parametrize("value", [True, "1", None, np.ones(1), float("inf"), float("nan"), 10**400, -1.0])
def test_wrong_numbers(value: Any) -> None:
    with pytest.raises(BundleError, match="The stored test model is damaged: n "):
        Stored({"n": value}, part="test").number("n", low=0)


def test_missing_and_unknown_entries() -> None:
    with pytest.raises(BundleError, match="n is missing"):
        Stored({}, part="test").number("n")
    with pytest.raises(BundleError, match="its state is a list, not a table of names"):
        Stored([1], part="test")
    stored = Stored({"n": 1, "more": 2}, part="test")
    stored.number("n")
    with pytest.raises(BundleError, match="it has the unknown entry 'more'"):
        stored.end()


def test_tables_come_back() -> None:
    x = np.array([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 3.0]])
    assert np.array_equal(Stored({"t": store_table(x)}, part="test").table("t", 3), x)
    sparse = Stored({"t": store_table(csr_matrix(x))}, part="test").table("t", 3)
    assert np.array_equal(sparse.toarray(), x)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offsets": np.array([0, 1, 1, 5])}, "do not divide its 3 values into rows"),
        ({"offsets": np.array([1, 1, 1, 3])}, "do not divide its 3 values into rows"),
        ({"offsets": np.array([0, 2, 1, 3])}, "do not divide its 3 values into rows"),
        ({"offsets": np.array([0, 5, 1, 3])}, "do not divide its 3 values into rows"),
        ({"offsets": np.zeros(0, dtype=np.int64)}, "do not divide its 3 values into rows"),
        ({"columns": np.array([1, 0, 3])}, "columns runs from 0 to 3, allowed is 0 to 2"),
        ({"columns": np.array([1, -1, 2])}, "columns runs from -1"),
        ({"columns": np.array([1, 2, 0])}, "not in increasing order"),
        ({"columns": np.array([1, 2, 2])}, "not in increasing order"),
        ({"columns": np.array([1, 2])}, "columns has the shape"),
        ({"values": np.array([1.0, 2.0, np.inf])}, "values has values that are not finite"),
        ({"more": 1}, "unknown entry 'more'"),
    ],
)
def test_hostile_sparse_tables(change: dict[str, Any], message: str) -> None:
    good = store_table(csr_matrix(np.array([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0], [1.0, 0.0, 3.0]])))
    with pytest.raises(BundleError, match=message):
        Stored({"t": good | change}, part="test").table("t", 3)


def test_an_empty_sparse_table() -> None:
    empty = Stored({"t": store_table(csr_matrix((0, 4)))}, part="test").table("t", 4)
    assert empty.shape == (0, 4)
