"""Scales put values where they belong, ticks are round, and thinning keeps the shape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.report.svg import Point, Scale, path, place, sample, scale, thin, tick_label


def test_a_scale_is_linear_and_holds_what_is_outside_at_its_edge() -> None:
    x = Scale(10, 20, 0, 100)
    assert [x(10), x(15), x(20), x(25), x(-5)] == [0, 50, 100, 100, 0]
    assert x.holds(12) and not x.holds(21)


def test_a_logarithmic_scale_gives_each_power_the_same_room() -> None:
    y = Scale(1, 1000, 0, 30, log=True)
    assert [y(1), y(10), y(100), y(1000)] == pytest.approx([0, 10, 20, 30])
    assert [label for _, label in y.ticks()] == ["1", "10", "100", "1,000"]


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0, 1, ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0.262, 0.341, ["0.28", "0.30", "0.32", "0.34"]),
        (0, 500_001, ["0", "100k", "200k", "300k", "400k", "500k"]),
        (-150_000, 150_000, ["−100k", "0", "100k"]),
        (0, 4_000, ["0", "1,000", "2,000", "3,000", "4,000"]),
        (2e6, 9e6, ["2M", "4M", "6M", "8M"]),
        (0, 1e-5, ["0", "2 × 10⁻⁶", "4 × 10⁻⁶", "6 × 10⁻⁶", "8 × 10⁻⁶", "1 × 10⁻⁵"]),
    ],
)
def test_ticks_are_round(low: float, high: float, labels: list[str]) -> None:
    assert [label for _, label in Scale(low, high, 0, 100).ticks()] == labels


def test_shares_are_written_in_percent() -> None:
    assert [label for _, label in Scale(0.84, 0.93, 0, 100, is_share=True).ticks(4)] == [
        "85.0 %", "87.5 %", "90.0 %", "92.5 %",
    ]  # fmt: skip


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True)), st.booleans())
def test_any_values_give_a_scale_that_works(values: list[float], zero: bool) -> None:
    x = scale(values, 40, 400, zero=zero)
    ticks = x.ticks()
    assert 1 <= len(ticks) <= 12
    assert len({label for _, label in ticks}) == len(ticks)
    for value in values:
        if np.isfinite(value):
            assert 40 <= x(value) <= 400


def test_equal_values_stand_in_the_middle() -> None:
    assert scale([7, 7, None], 0, 100)(7) == pytest.approx(50)


def test_points_lift_the_pen_where_a_value_is_missing() -> None:
    x, y = Scale(0, 10, 0, 100), Scale(0, 1, 50, 0)
    points = place([0, 5, None, 10], [0, 0.5, 1, 1], x, y)
    assert points == [Point(0, 50), Point(50, 25), None, Point(100, 0)]
    assert 'd="M0.0 50.0L50.0 25.0M100.0 0.0"' in path(points)


def test_thinning_keeps_the_ends_and_moves_nothing_by_more_than_a_pixel() -> None:
    points = [Point(at / 50, float(np.sin(at / 500))) for at in range(10_000)]
    thinned = thin(points)
    assert thinned[0] == points[0] and thinned[-1] == points[-1]
    assert len(thinned) < 220
    xs = [point.x for point in thinned if point]
    assert max(np.diff(xs)) < 1.05


def test_a_sample_is_even_and_holds_both_ends() -> None:
    assert sample(range(5), 10) == [0, 1, 2, 3, 4]
    assert sample(range(101), 5) == [0, 25, 50, 75, 100]


def test_tick_labels_have_the_decimals_of_their_step() -> None:
    assert tick_label(0.5, 0.25) == "0.50"
    assert tick_label(12_500, 2_500) == "12.5k"


@pytest.mark.parametrize(("low", "high"), [(1, 3), (0.11, 0.14), (0.97, 1.02), (7, 7), (4.2, 4.9)])
@pytest.mark.parametrize("is_whole", [False, True])
def test_every_axis_has_two_ticks(low: float, high: float, is_whole: bool) -> None:
    for about in (1, 3, 5):
        assert len(scale([low, high], 0, 100, is_whole=is_whole).ticks(about)) >= 2


def test_counts_have_whole_ticks() -> None:
    assert [name for _, name in scale([1, 3], 0, 100, margin=0, is_whole=True).ticks()] == ["1", "2", "3"]
    assert all("." not in name for _, name in scale([0, 11], 0, 100, is_whole=True).ticks())
