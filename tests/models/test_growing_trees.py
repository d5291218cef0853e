"""Tests of models/growing_trees.py: sums that cost only the new trees, and going back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from danlu.models.growing_trees import NUM_KEPT, GrowingTrees, fingerprint
from danlu.models.trees import TreeEnsemble, join


def block(rng: np.random.Generator, num_trees: int) -> TreeEnsemble:
    """Trees with three leaves each."""
    return TreeEnsemble(
        3,
        1,
        np.full(num_trees, 5, dtype=np.int32),
        np.tile([False, False, True, True, True], num_trees),
        rng.integers(3, size=2 * num_trees, dtype=np.int32),
        rng.normal(size=2 * num_trees),
        np.zeros(2 * num_trees, dtype=bool),
        rng.normal(size=(3 * num_trees, 1)),
    )


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Rows and trees of each call of `add_scores`."""
    calls: list[tuple[int, int]] = []
    plain = TreeEnsemble.add_scores

    def counted(self: TreeEnsemble, x: Any, sums: np.ndarray) -> None:
        calls.append((x.shape[0], self.num_trees))
        plain(self, x, sums)

    monkeypatch.setattr(TreeEnsemble, "add_scores", counted)
    return calls


def test_scoring_after_every_round_costs_only_the_new_trees(scored: list[tuple[int, int]]) -> None:
    rng = np.random.default_rng(0)
    trees, train, validation = GrowingTrees(3, 1, 1), rng.normal(size=(40, 3)), rng.normal(size=(20, 3))
    sums: tuple[np.ndarray, ...] = ()
    for _ in range(100):
        trees.add(block(rng, 10))
        sums = trees.sums(validation), trees.sums(train)
        trees.sums(validation)
    assert sum(num_trees for rows, num_trees in scored if rows == 20) == 1000
    assert sum(num_trees for rows, num_trees in scored if rows == 40) == 1000
    for x, kept in zip((validation, train), sums, strict=True):
        fresh = np.zeros((len(x), 1))
        join(trees.blocks).add_scores(x, fresh)
        assert np.array_equal(kept, fresh)


def test_a_table_that_was_changed_in_place_is_scored_anew() -> None:
    rng = np.random.default_rng(1)
    trees, x = GrowingTrees(3, 1, 1), rng.normal(size=(50, 3))
    trees.add(block(rng, 20))
    before = trees.sums(x)
    x[:, 1] = x[::-1, 1].copy()  # as permutation importance does
    after = trees.sums(x)
    assert not np.array_equal(before, after)
    fresh = np.zeros((50, 1))
    trees.joined().add_scores(x, fresh)
    assert np.array_equal(after, fresh)
    after += 1  # the caller's copy
    assert np.array_equal(trees.sums(x), fresh)


def test_only_the_last_tables_are_kept(scored: list[tuple[int, int]]) -> None:
    rng = np.random.default_rng(2)
    trees = GrowingTrees(3, 1, 1)
    trees.add(block(rng, 2))
    tables = [rng.normal(size=(5, 3)) for _ in range(NUM_KEPT + 1)]
    for x in (*tables, *tables[1:]):
        trees.sums(x)
    assert len(scored) == len(tables)
    trees.sums(tables[0])
    assert len(scored) == len(tables) + 1


def test_going_back_drops_the_later_trees() -> None:
    rng = np.random.default_rng(3)
    trees, x = GrowingTrees(3, 1, 1), rng.normal(size=(30, 3))
    first, second = block(rng, 4), block(rng, 4)
    trees.add(first)
    trees.sums(x)
    trees.add(second)
    trees.sums(x)
    trees.keep(5)
    fresh = np.zeros((30, 1))
    first.add_scores(x, fresh)
    second.first(1).add_scores(x, fresh)
    assert trees.num_trees == 5 and np.array_equal(trees.sums(x), fresh)
    with pytest.raises(ValueError, match="Cannot go back to 6 trees, there are only 5"):
        trees.keep(6)


def test_no_trees_add_nothing() -> None:
    assert GrowingTrees(3, 2, 1).sums(np.ones((4, 3))).tolist() == [[0.0, 0.0]] * 4


def test_fingerprints_tell_tables_apart() -> None:
    x = np.arange(12.0).reshape(4, 3)
    assert fingerprint(x) == fingerprint(x.copy()) == fingerprint(np.asfortranarray(x))
    assert fingerprint(x) != fingerprint(x.reshape(3, 4))
    assert fingerprint(x) != fingerprint(x[::-1])
    assert fingerprint(csr_matrix(x)) == fingerprint(csr_matrix(x))
    assert fingerprint(csr_matrix(x)) != fingerprint(csr_matrix(x[::-1].copy()))
    assert fingerprint(np.empty((0, 3))) == fingerprint(np.empty((0, 3)))
