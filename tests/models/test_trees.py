"""Tests of models/trees.py: walking down trees, the stored form and what it refuses, printed rules."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from danlu.core.errors import BundleError, DataError
from danlu.models.stored import Stored
from danlu.models.trees import (
    LARGEST,
    MAX_DEPTH,
    TreeEnsemble,
    float32_threshold,
    from_nodes,
    join,
    no_trees,
    read_trees,
    shown,
)


def random_trees(
    rng: np.random.Generator, *, num_trees: int, num_features: int = 4, width: int = 1, num_outputs: int = 1
) -> tuple[TreeEnsemble, list[dict[str, Any]]]:
    """An ensemble, and the same trees as nested dictionaries; some of them are single leaves."""

    def grow(depth: int) -> dict[str, Any]:
        if depth == 0 or rng.random() < 0.25:
            return {"value": rng.normal(size=width)}
        return {
            "feature": int(rng.integers(num_features)),
            "threshold": float(rng.choice([-0.0, 0.5, *rng.normal(size=3)])),
            "missing_left": bool(rng.random() < 0.5),
            "left": grow(depth - 1),
            "right": grow(depth - 1),
        }

    nested = [grow(int(rng.integers(7))) for _ in range(num_trees)]
    table: list[list[Any]] = []

    def number(node: dict[str, Any]) -> int:
        row: list[Any] = [-1, 0.0, 0, 0, False, node.get("value", np.zeros(width))]
        table.append(row)
        place = len(table) - 1
        if "left" in node:
            row[:2], row[4] = [node["feature"], node["threshold"]], node["missing_left"]
            row[3] = number(
                node["right"]
            )  # depth first and right before left: another order than the stored one
            row[2] = number(node["left"])
        return place

    roots = np.array([number(tree) for tree in nested])
    feature, threshold, left, right, missing_left, values = (
        np.array(column) for column in zip(*table, strict=True)
    )
    trees = from_nodes(
        feature=feature,
        threshold=threshold,
        left=left,
        right=right,
        missing_left=missing_left,
        values=values,
        roots=roots,
        num_features=num_features,
        num_outputs=num_outputs,
    )
    return trees, nested


def walk(tree: dict[str, Any], row: np.ndarray) -> np.ndarray:
    """The plain reading of a tree."""
    while "left" in tree:
        value = row[tree["feature"]]
        goes_left = tree["missing_left"] if np.isnan(value) else value <= tree["threshold"]
        tree = tree["left"] if goes_left else tree["right"]
    return tree["value"]


def scores(trees: TreeEnsemble, x: Any) -> np.ndarray:
    sums = np.zeros((x.shape[0], trees.num_outputs))
    trees.add_scores(x, sums)
    return sums


def table(rng: np.random.Generator, num_rows: int, num_features: int = 4) -> np.ndarray:
    """Values with ties to thresholds, negative zeros and missing ones."""
    x = rng.normal(size=(num_rows, num_features))
    x[rng.random(x.shape) < 0.2] = 0.5
    x[rng.random(x.shape) < 0.2] = -0.0
    x[rng.random(x.shape) < 0.2] = np.nan
    return x


def load(state: dict[str, Any], **shape: int) -> TreeEnsemble:
    return read_trees(
        Stored(state, part="forest"), **({"num_features": 4, "num_outputs": 1, "width": 1} | shape)
    )


@pytest.mark.parametrize(("width", "num_outputs"), [(1, 1), (3, 3), (1, 3)])
@pytest.mark.parametrize("num_rows", [0, 1, 7, 9000])
def test_scores_are_those_of_a_plain_walk(width: int, num_outputs: int, num_rows: int) -> None:
    rng = np.random.default_rng(num_rows)
    trees, nested = random_trees(rng, num_trees=12, width=width, num_outputs=num_outputs)
    x = table(rng, num_rows)
    got = scores(trees, x)
    few = rng.integers(num_rows, size=min(num_rows, 300)) if num_rows else []
    for row in few:
        wanted = np.zeros(num_outputs)
        for index, tree in enumerate(nested):
            if width == 1:
                wanted[index % num_outputs] += walk(tree, x[row])[0]
            else:
                wanted += walk(tree, x[row])
        assert np.array_equal(got[row], wanted)


def test_a_matrix_gives_what_the_array_gives() -> None:
    rng = np.random.default_rng(1)
    trees, _ = random_trees(rng, num_trees=20, num_features=300)
    x = np.where(rng.random((5000, 300)) < 0.9, 0.0, rng.normal(size=(5000, 300)))
    assert np.array_equal(scores(trees, csr_matrix(x)), scores(trees, x))
    assert np.array_equal(scores(trees, np.asfortranarray(x)), scores(trees, x))


def test_leaves_say_where_each_row_ends() -> None:
    rng = np.random.default_rng(2)
    trees, nested = random_trees(rng, num_trees=5)
    x = table(rng, 50)
    leaves = trees.leaves(x)
    assert leaves.shape == (50, 5)
    for row in range(50):
        assert [trees.values[leaf, 0] for leaf in leaves[row]] == [walk(tree, x[row])[0] for tree in nested]


def test_pieces_add_up_to_the_same_bits() -> None:
    rng = np.random.default_rng(3)
    trees, _ = random_trees(rng, num_trees=30)
    more, _ = random_trees(rng, num_trees=11)
    x = table(rng, 500)
    both = join([trees, more])
    sums = scores(trees, x)
    more.add_scores(x, sums)
    assert np.array_equal(scores(both, x), sums)
    assert np.array_equal(scores(both.first(30), x), scores(trees, x))
    assert both.first(0).num_trees == 0 and not scores(both.first(0), x).any()


def test_nodes_of_a_tree_point_at_each_other() -> None:
    trees, _ = random_trees(np.random.default_rng(5), num_trees=9)
    for index in range(9):
        nodes = trees.tree(index)
        inner = nodes.leaf < 0
        assert sorted([0, *nodes.left[inner], *nodes.right[inner]]) == list(range(len(inner)))
        assert (nodes.left[inner] > np.flatnonzero(inner)).all() and (
            nodes.feature >= 0
        ).tolist() == inner.tolist()


def test_rows_of_another_width_are_refused() -> None:
    trees, _ = random_trees(np.random.default_rng(0), num_trees=2)
    with pytest.raises(DataError, match="grown on 4 features, but the rows have 3"):
        scores(trees, np.zeros((2, 3)))


@pytest.mark.parametrize("infinity", [np.inf, -np.inf])
def test_infinities_are_refused(infinity: float) -> None:
    trees, _ = random_trees(np.random.default_rng(0), num_trees=40)
    x = np.zeros((5, 4))
    x[3, 2] = infinity
    with pytest.raises(DataError, match="Feature 3 of row 4 is infinite"):
        scores(trees, x)


def test_a_state_comes_back_to_the_same_bits() -> None:
    rng = np.random.default_rng(7)
    trees, _ = random_trees(rng, num_trees=25, width=3, num_outputs=3)
    x = table(rng, 200)
    again = load(trees.state(), num_outputs=3, width=3)
    assert np.array_equal(scores(again, x), scores(trees, x))
    empty = load(no_trees(4, 1, 1).state())
    assert not scores(empty, x).any()


def one_tree() -> dict[str, Any]:
    """x0 <= 1, then x1 <= 2 on its left: nodes 0 (inner), 1 (inner), 2, 3, 4."""
    return {
        "sizes": np.array([5], dtype=np.int32),
        "is_leaf": np.array([False, False, True, True, True]),
        "feature": np.array([0, 1], dtype=np.int32),
        "threshold": np.array([1.0, 2.0]),
        "missing_left": np.array([True, False]),
        "values": np.array([[30.0], [10.0], [20.0]]),
    }


def test_the_stored_form_is_what_it_says() -> None:
    x = np.array([[0.0, 0, 0, 0], [0, 3, 0, 0], [2, 0, 0, 0], [np.nan, np.nan, 0, 0]])
    assert scores(load(one_tree()), x).ravel().tolist() == [10, 20, 30, 20]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"threshold": np.array([1.0, np.nan])}, "threshold has values that are not finite"),
        ({"threshold": np.array([np.inf, 1.0])}, "threshold has values that are not finite"),
        ({"threshold": np.array([1.0, 2.0], dtype=np.float32)}, "threshold holds float32, not float64"),
        ({"threshold": np.array([1.0])}, r"threshold has the shape \(1,\), not \(2\)"),
        ({"feature": np.array([0, 4], dtype=np.int32)}, "feature runs from 0 to 4, allowed is 0 to 3"),
        ({"feature": np.array([0, -1], dtype=np.int32)}, "feature runs from -1 to 0"),
        ({"feature": np.array([0.0, 1.0])}, "feature holds float64, not int32"),
        ({"missing_left": np.array([2, 0], dtype=np.int8)}, "missing_left holds int8, not bool"),
        ({"values": np.array([[1.0], [2.0]])}, "values has the shape"),
        ({"values": np.array([[1.0], [np.nan], [2.0]])}, "values has values that are not finite"),
        ({"sizes": np.array([4], dtype=np.int32)}, "its trees have 4 nodes, but is_leaf has 5"),
        ({"sizes": np.array([0, 5], dtype=np.int32)}, "sizes runs from 0 to 5"),
        ({"sizes": np.array([-5, 10], dtype=np.int32)}, "sizes runs from -5 to 10"),
        ({"sizes": np.array([2, 3], dtype=np.int32)}, "tree 0 has 2 nodes, but its 2 inner nodes make 5"),
        ({"sizes": np.array([2**31 - 1, 2**31 - 1, 7], dtype=np.int32)}, "its trees have 4294967301 nodes"),
        # A leaf as the root: what follows is nobody's child, or a cycle on its own.
        (
            {"is_leaf": np.array([True, False, False, True, True])},
            "tree 0 a node does not come before its children",
        ),
        (
            {"is_leaf": np.array([False, True, True, False, True])},
            "tree 0 a node does not come before its children",
        ),
        ({"extra": 1}, "unknown entry 'extra'"),
    ],
)
def test_a_damaged_state_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(BundleError, match=says):
        load(one_tree() | change)


def chain(depth: int) -> dict[str, Any]:
    """A tree whose right children are all inner nodes, down to `depth`."""
    is_leaf = np.arange(2 * depth + 1) % 2 == 1
    is_leaf[-1] = True
    return {
        "sizes": np.array([2 * depth + 1], dtype=np.int32),
        "is_leaf": is_leaf,
        "feature": np.zeros(depth, dtype=np.int32),
        "threshold": np.arange(depth, dtype=np.float64),
        "missing_left": np.zeros(depth, dtype=bool),
        "values": np.arange(depth + 1.0)[:, None],
    }


def test_the_deepest_tree_that_is_allowed_can_be_scored_and_printed() -> None:
    trees = load(chain(MAX_DEPTH))
    x = np.zeros((3, 4))
    x[:, 0] = [-1, 7.5, MAX_DEPTH]
    assert scores(trees, x).ravel().tolist() == [0, 8, MAX_DEPTH]
    text = trees.rules(0, ["a", "b", "c", "d"], lambda value: f"{value[0]:g}", max_depth=2000)
    assert text.count("if") == MAX_DEPTH


def test_a_deeper_tree_is_refused_quickly() -> None:
    started = time.perf_counter()
    for depth in (MAX_DEPTH + 1, 1_000_000):
        with pytest.raises(BundleError, match=f"deeper than {MAX_DEPTH} levels"):
            load(chain(depth))
    assert time.perf_counter() - started < 5


def test_too_many_trees_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("danlu.models.trees.MAX_TREES", 3)
    state = {name: np.concatenate([array] * 4) for name, array in one_tree().items()}
    with pytest.raises(BundleError, match="it has 4 trees with 20 nodes, allowed are 3 with"):
        load(state)


def test_trees_that_do_not_divide_among_the_outputs_are_refused() -> None:
    state = {name: np.concatenate([array] * 4) for name, array in one_tree().items()}
    with pytest.raises(BundleError, match="its 4 trees cannot be dealt out evenly to 3 outputs"):
        load(state, num_outputs=3)


@given(st.floats(allow_nan=False), st.floats(allow_nan=False, allow_infinity=False))
def test_float64_thresholds_reproduce_comparisons_in_float32(threshold: float, value: float) -> None:
    near = np.float32(threshold) if abs(threshold) < 3e38 else np.float32(0)
    after = np.nextafter(near, np.float32(np.inf))
    limit = float32_threshold(np.array([threshold]))[0]
    middle = (float(near) + float(after)) / 2
    for x in (
        value,
        threshold,
        middle,
        np.nextafter(middle, -np.inf),
        np.nextafter(middle, np.inf),
        float(after),
    ):
        if np.isfinite(x) and abs(x) < 3.4e38:
            assert (x <= limit) == (float(np.float32(x)) <= threshold), x


def test_rules_read_as_written() -> None:
    text = load(one_tree()).rules(0, ["age", "size", "c", "d"], lambda value: f"{value[0]:g} dollars")
    assert text == (
        "if age <= 1 or is missing:\n"
        "    if size <= 2:\n"
        "        10 dollars\n"
        "    else:\n"
        "        20 dollars\n"
        "else:\n"
        "    30 dollars"
    )
    short = load(one_tree()).rules(0, ["age", "size", "c", "d"], lambda value: f"{value[0]:g}", max_depth=1)
    assert short == "if age <= 1 or is missing:\n    ...\nelse:\n    30"


def test_a_question_about_missing_values_alone_says_so() -> None:
    state = one_tree() | {"threshold": np.array([1.0, LARGEST])}
    assert "    if size is not missing:\n        10\n" in load(state).rules(
        0, ["age", "size"], lambda v: f"{v[0]:g}"
    )


def test_thresholds_are_shown_in_the_digits_that_matter() -> None:
    assert shown(float(float32_threshold(np.array([2.4500000476837]))[0])) == "2.45"
    assert shown(float(float32_threshold(np.array([0.5]))[0])) == "0.5"
    assert shown(0.1) == "0.1" and shown(100000.0) == "100000" and shown(-0.0) == "0"
    assert float(shown(1 / 3)) == 1 / 3


def test_speed_of_many_trees() -> None:
    """4,000 rows through 700 trees of 32 leaves took 0.15 s when this was written."""
    rng = np.random.default_rng(0)
    trees = join([full_tree(rng) for _ in range(700)])
    x = rng.normal(size=(4_000, 20))
    started = time.process_time()
    scores(trees, x)
    assert time.process_time() - started < 1.5


def full_tree(rng: np.random.Generator) -> TreeEnsemble:
    """All leaves at depth 5."""
    state = {
        "sizes": np.array([63], dtype=np.int32),
        "is_leaf": np.arange(63) >= 31,
        "feature": rng.integers(20, size=31, dtype=np.int32),
        "threshold": rng.normal(size=31),
        "missing_left": np.zeros(31, dtype=bool),
        "values": rng.normal(size=(32, 1)),
    }
    return load(state, num_features=20)
