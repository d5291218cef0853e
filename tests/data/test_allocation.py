"""Dealing rows: whole units, exact shares, strata in proportion, and hand-made components."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.data.allocation import bins, deal, joined


@pytest.mark.parametrize("num_rows", [3, 10, 101, 1000])
def test_single_rows_get_exact_shares(num_rows: int) -> None:
    rng = np.random.default_rng(0)
    strata = rng.integers(0, 7, num_rows)
    shares = [0.15, 0.075, 0.075, 0.7]
    parts = deal(np.arange(num_rows), strata, shares, rng=rng)
    for part, share in enumerate(shares):
        assert abs((parts == part).sum() - share * num_rows) <= 1
        for stratum in range(7):
            expected = share * (strata == stratum).sum()
            assert abs(((parts == part) & (strata == stratum)).sum() - expected) <= 1.5


def test_thousand_rows_come_out_to_the_row() -> None:
    parts = deal(np.arange(1000), np.zeros(1000, int), [0.15, 0.15, 0.7], rng=np.random.default_rng(1))
    assert np.bincount(parts).tolist() == [150, 150, 700]


def test_many_rare_strata_keep_the_overall_share() -> None:
    strata = np.repeat(np.arange(500), 2)  # two rows each: 0.3 rows of each would test
    parts = deal(np.arange(1000), strata, [0.15, 0.85], rng=np.random.default_rng(2))
    assert (parts == 0).sum() == 150
    assert np.bincount(strata[parts == 0], minlength=500).max() == 1


@pytest.mark.parametrize("one_by_one", [0, 10, 5000])
def test_units_stay_whole_and_shares_hold(one_by_one: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("danlu.data.allocation.ONE_BY_ONE", one_by_one)
    rng = np.random.default_rng(3)
    units = rng.integers(0, 400, 3000)  # about 7 rows each
    strata = rng.integers(0, 2, 3000)
    parts = deal(units, strata, [0.15, 0.15, 0.7], rng=rng)
    assert all(len(np.unique(parts[units == unit])) == 1 for unit in range(400))
    np.testing.assert_allclose(np.bincount(parts) / 3000, [0.15, 0.15, 0.7], atol=0.03)
    np.testing.assert_allclose([strata[parts == p].mean() for p in range(3)], strata.mean(), atol=0.05)


def test_a_giant_unit_goes_to_the_biggest_part() -> None:
    units = np.concatenate([np.zeros(60, int), np.arange(1, 41)])
    parts = deal(units, np.zeros(100, int), [0.15, 0.85], rng=np.random.default_rng(0))
    assert set(parts[:60]) == {1}
    assert (parts == 0).sum() == 15


@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), min_size=1, max_size=80),
    st.integers(2, 6),
    st.integers(0, 5),
)
def test_every_row_gets_one_part_whatever_the_units(
    rows: list[tuple[int, int]], num_parts: int, seed: int
) -> None:
    units, strata = np.array(rows).T
    shares = [1 / num_parts] * num_parts
    parts = deal(units, strata, shares, rng=np.random.default_rng(seed))
    again = deal(units, strata, shares, rng=np.random.default_rng(seed))
    assert np.array_equal(parts, again)
    assert parts.min() >= 0 and parts.max() < num_parts
    assert all(len(set(parts[units == unit])) == 1 for unit in set(units.tolist()))


def test_joined_follows_chains() -> None:
    # 0-1 share a group, 1-2 are equal rows, 2-3 share a group; 4 stands alone.
    groups = np.array([0, 0, 1, 1, 2])
    equal = np.array([0, 1, 1, 2, 3])
    assert joined(groups, equal).tolist() == [0, 0, 0, 0, 1]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=60))
def test_joined_equals_scipy(pairs: list[tuple[int, int]]) -> None:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    first, second = np.array(pairs, dtype=int).reshape(-1, 2).T
    edges = coo_array((np.ones(len(pairs)), (first, second + 21)), shape=(42, 42))
    expected = connected_components(edges, directed=False)[1][first]
    found = joined(first, second)
    for one, other in ((found, expected), (expected, found)):
        assert len(set(zip(one.tolist(), other.tolist(), strict=True))) == len(set(one.tolist()))


def test_bins_are_equally_filled_and_ties_share_one() -> None:
    assert np.bincount(bins(np.random.default_rng(0).normal(size=1000))).tolist() == [100] * 10
    tied = np.repeat([0.0, 1.0, 2.0], [500, 300, 200])
    assert len(set(zip(tied.tolist(), bins(tied).tolist(), strict=True))) == 3
    assert set(bins(np.arange(15.0))) == {0}
