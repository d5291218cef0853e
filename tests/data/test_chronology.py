"""Cuts in time by hand: nearest change of moment, ties on one side, the past before the future."""

from __future__ import annotations

import numpy as np
import pytest

from danlu.core.errors import DataError
from danlu.data.chronology import cut, forward_folds


def test_cut_by_hand() -> None:
    moments = np.array([3, 1, 0, 2, 4, 5, 6, 7, 9, 8])
    older, newer = cut(moments, [0.8], column="day")
    assert older.tolist() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert newer.tolist() == [8, 9]


def test_ties_at_the_border_stay_on_one_side() -> None:
    moments = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 2])
    older, newer = cut(moments, [0.7], column="day")  # row 7 lies within the tie of 4..8: 9 is nearer than 4
    assert older.tolist() == list(range(9)) and newer.tolist() == [9]


def test_crowded_cuts_still_leave_no_part_empty() -> None:
    moments = np.array([0, 1, 2] + [3] * 97)
    sizes = [len(part) for part in cut(moments, [0.7, 0.775, 0.85], column="day")]
    assert sizes == [1, 1, 1, 97]


def test_too_few_times_say_so() -> None:
    with pytest.raises(DataError, match=r"at least 4 different times, but column 'day' has 2"):
        cut(np.array([0, 0, 1]), [0.7, 0.775, 0.85], column="day")


def test_forward_folds_never_look_ahead() -> None:
    moments = np.random.default_rng(0).integers(0, 30, 200)
    folds = forward_folds(moments, 5, column="day")
    assert len(folds) == 5
    for fit, held in folds:
        assert moments[fit].max() < moments[held].min()
    held_rows = np.concatenate([held for _, held in folds])
    assert len(np.unique(held_rows)) == len(held_rows)
    assert np.array_equal(np.sort(np.concatenate([folds[0][0], held_rows])), np.arange(200))


def test_fewer_moments_make_fewer_folds() -> None:
    assert len(forward_folds(np.array([0, 0, 1, 1, 2]), 5, column="day")) == 2
