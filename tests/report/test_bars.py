"""Rows with dots, bars and error bars; the bar of the split; the small ones in tables."""

from __future__ import annotations

import re

import pytest

from danlu.report.bars import (
    Row,
    folds_chart,
    interval_strip,
    mini_histogram,
    mini_shares,
    row_chart,
    split_bar,
)


def test_each_row_has_its_name_its_value_and_its_error_bar() -> None:
    rows = [
        Row("boosting", 0.28, 0.27, 0.29, tip="best"),
        Row("a name that is far too long for its place", 0.31),
    ]
    drawn = row_chart("t", "d", rows, x_label="Log loss", guides=[(0.35, "baseline 0.350")])
    assert ">boosting</text>" in drawn and ">0.28</text>" in drawn
    assert "…</text>" in drawn and "<title>a name that is far too long for its place</title>" in drawn
    assert drawn.count("whisker") == 3
    assert "baseline 0.350</text>" in drawn and "<title>best</title>" in drawn


def test_what_lies_outside_the_focus_is_an_arrow() -> None:
    drawn = row_chart("t", "d", [Row("a", 1.0), Row("b", 50.0)], guides=[(9.0, "baseline")], focus=(0.5, 1.5))
    assert drawn.count("<circle") == 1
    assert "baseline →" in drawn


def test_bars_start_at_zero_and_keep_their_proportions() -> None:
    drawn = row_chart("t", "d", [Row("a", 4.0), Row("b", 2.0), Row("c", -1.0)], bars=True)
    widths = [float(width) for width in re.findall(r'width="([\d.]+)" height="16"', drawn)]
    assert [width / widths[1] for width in widths] == pytest.approx([2, 1, 0.5], abs=0.01)


def test_the_split_bar_is_cut_in_proportion() -> None:
    drawn = split_bar("t", "d", [("learning", 70, "c0"), ("test", 30, "c1")])
    assert re.findall(r'width="([\d.]+)"', drawn) == ["698", "298"]
    assert "learning: 70 rows (70.0 %)" in drawn


def test_folds_hold_out_each_part_once() -> None:
    assert folds_chart("t", "d", 4).count("c1 fill") == 4


def test_small_charts_say_their_numbers_and_may_be_absent() -> None:
    assert "from 0 to 2" in (mini_histogram([0, 1, 2], [3, 1]) or "")
    assert mini_histogram([0, 1], [0]) is None
    shares = mini_shares([["yes", 75], ["no", 20]], 100) or ""
    assert "yes: 75 (75.0 %)\nno: 20 (20.0 %)" in shares
    assert mini_shares([["yes", 1]], 0) is None
    assert interval_strip(None, 0.5, 0.6, 0.4, str) is None
    assert "baseline 0.4" in (interval_strip(0.4, 0.5, 0.6, 0.4, str) or "")
