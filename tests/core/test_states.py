"""Tests of core/states.py: states come back as they were, and what a bundle cannot hold is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from danlu.core.errors import BundleError
from danlu.core.states import put_together, take_apart


def test_a_nested_state_comes_back() -> None:
    state = {
        "kind": "trees",
        "arrays": {"threshold": np.arange(3.0), "left": np.array([1, -1], dtype=np.int32)},
        "parts": [{"weight": np.float64(0.5), "count": np.int64(3), "flag": np.bool_(True)}, None, ("a", 1)],
        "empty": {},
    }
    arrays: dict[str, np.ndarray] = {}
    value = take_apart(state, place="members/0/model", arrays=arrays)
    assert value == {
        "kind": "trees",
        "arrays": {
            "threshold": {"$array": "members/0/model/arrays/threshold"},
            "left": {"$array": "members/0/model/arrays/left"},
        },
        "parts": [{"weight": 0.5, "count": 3, "flag": True}, None, ["a", 1]],
        "empty": {},
    }
    assert [type(item) for item in value["parts"][0].values()] == [float, int, bool]
    again = put_together(value, arrays=arrays)
    assert again["arrays"]["threshold"] is state["arrays"]["threshold"]
    assert again["parts"] == [{"weight": 0.5, "count": 3, "flag": True}, None, ["a", 1]]
    assert not arrays


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": float("nan")}, "model/a is nan, which JSON has no word for"),
        ({"a": [1, {"b": {1, 2}}]}, "model/a/1/b is a set"),
        ({1: 2}, "model has the key 1"),
        ({"$array": "x"}, "model has the key '\\$array'"),
        ({"a/b": np.zeros(1), "a": {"b": np.zeros(1)}}, "two arrays would be called model/a/b"),
        ({"a": b"bytes"}, "model/a is a bytes"),
    ],
)
def test_what_cannot_be_stored_is_named(state: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        take_apart(state, place="model", arrays={})


def test_a_state_without_end_is_refused() -> None:
    state: dict[str, Any] = {}
    state["self"] = state
    with pytest.raises(ValueError, match="nests too deeply"):
        take_apart(state, place="model", arrays={})


@pytest.mark.parametrize(
    "value",
    [
        {"$array": "absent"},
        {"$array": "there", "more": 1},
        {"$array": 3},
        {"$array": ["there"]},
        [{"$array": "there"}, {"$array": "there"}],
    ],
)
def test_a_wrong_reference_is_refused(value: Any) -> None:
    with pytest.raises(BundleError, match="which is not there, or twice"):
        put_together(value, arrays={"there": np.zeros(1)})
