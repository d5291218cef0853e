"""Curves, clouds, histograms and calibration: what is drawn lies where the values say."""

from __future__ import annotations

import re

import numpy as np
import pytest
from tests.report.wellformed import read_page

from danlu.report.charts import Series, bins, calibration_chart, histogram, legend, line_chart, scatter


def coordinates(svg: str, class_: str) -> np.ndarray:
    """All points of the paths of a class: (n, 2) px."""
    paths = re.findall(rf'<path d="([^"]*)" class="{class_} stroke[^"]*"', svg)
    return np.array(re.findall(r"[ML]([-\d.]+) ([-\d.]+)", "".join(paths)), dtype=float)


def test_a_line_is_affine_in_its_values() -> None:
    xs, ys = np.linspace(3, 8, 40), np.linspace(3, 8, 40) ** 2
    drawn = coordinates(line_chart("t", "d", [Series("a", list(xs), list(ys))]), "c0")
    assert len(drawn) == 40
    for values, pixels, sign in ((xs, drawn[:, 0], 1), (ys, drawn[:, 1], -1)):
        slope, offset = np.polyfit(values, pixels, 1)
        assert np.abs(slope * values + offset - pixels).max() < 0.1  # coordinates have one decimal
        assert slope * sign > 0


@pytest.mark.parametrize("is_falling", [False, True])
@pytest.mark.parametrize(
    ("recall", "precision"), [([0, 1], [1, 0.3]), ([0, 0.25, 0.5, 1], [1, 0.9, 0.6, 0.4])]
)
def test_the_area_under_a_step_curve_is_the_average_precision(
    recall: list[float], precision: list[float], is_falling: bool
) -> None:
    average = float(np.sum(np.diff(recall) * precision[1:]))  # as scikit-learn's average_precision_score
    order = slice(None, None, -1 if is_falling else 1)
    one = Series("a", recall[order], precision[order], is_step=True)
    drawn = line_chart("t", "d", [one], unit=True)
    points = coordinates(drawn, "c0")
    (left, right), (top, bottom) = ((each.min(), each.max()) for each in points.T)
    low = min(precision)
    y = low + (bottom - points[:, 1]) / (bottom - top) * (max(precision) - low)
    area = abs(float(np.trapezoid(y, (points[:, 0] - left) / (right - left))))
    assert area == pytest.approx(average, abs=1e-3)
    assert f"x {recall[1]:g}\na: {precision[1]:g}" in drawn


def test_a_gap_lifts_the_pen_and_a_lone_point_becomes_a_dot() -> None:
    gap = line_chart("t", "d", [Series("a", [0, 1, 2, 3], [1.0, None, 2.0, 3.0])])
    assert gap.count("M") == 2
    assert "<circle" in line_chart("t", "d", [Series("a", [0, 1], [1.0, None])])


def test_every_chart_names_itself_for_screen_readers() -> None:
    page = read_page(line_chart("Loss of <b>", "falls", [Series("a", [0, 1], [1, 0])], x_label="round"))
    assert ("svg", "role", "img") in page.attributes
    assert page.texts[:2] == ["Loss of <b>", "falls"]


def test_pointing_at_a_curve_tells_each_line_there() -> None:
    series = [Series("training", [1, 2, 3], [0.5, 0.4, 0.3]), Series("validation", [1, 3], [0.6, 0.45], "c1")]
    assert "round 2\ntraining: 0.4\nvalidation: 0.6" in line_chart("t", "d", series, x_label="round")


def test_a_long_curve_stays_small() -> None:
    xs = np.linspace(0, 1, 100_000)
    assert len(line_chart("t", "d", [Series("a", xs.tolist(), np.sqrt(xs).tolist())], unit=True)) < 30_000


def test_a_scatter_on_equal_axes_draws_exact_predictions_on_the_diagonal() -> None:
    values = np.random.default_rng(0).normal(50, 20, 300).tolist()
    drawn = scatter("t", "d", values, values, x_label="predicted", y_label="observed", diagonal=True)
    points = coordinates(drawn, "c0")
    assert len(points) == 300
    line = re.search(r'<line x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)" y2="([\d.]+)" class="guide s', drawn)
    assert line is not None
    x1, y1, x2, y2 = map(float, line.groups())
    expected = y1 + (points[:, 0] - x1) * (y2 - y1) / (x2 - x1)
    assert np.abs(points[:, 1] - expected).max() < 0.12


def test_bins_are_numpys_but_for_the_outermost_half_percent() -> None:
    values = np.random.default_rng(0).normal(size=2_000)
    edges, counts = bins(values.tolist(), 30)
    ranked = np.sort(values)
    expected, expected_edges = np.histogram(
        np.clip(values, ranked[10], ranked[-11]), 30, (ranked[10], ranked[-11])
    )
    assert edges == pytest.approx(expected_edges.tolist())
    assert counts == expected.tolist()
    assert bins([None, float("nan")]) == ([], [])
    assert sum(bins([3.0])[1]) == 1


def test_a_histograms_bars_are_as_high_as_their_counts() -> None:
    drawn = histogram("t", "d", [-1, 0, 1, 2], [1, 4, 2], x_label="x", y_label="rows")
    heights = [float(value) for value in re.findall(r'height="([\d.]+)" class="c0', drawn)]
    assert np.array(heights) / heights[0] == pytest.approx([1, 4, 2], rel=0.01)
    assert drawn.count('class="guide strong"') == 1  # 0


def test_calibration_draws_each_point_with_its_error_bar() -> None:
    curve = {
        "predicted": [0.1, 0.9],
        "observed": [0.2, 0.8],
        "count": [10, 1],
        "lower": [0.1, None],
        "upper": [0.3, None],
    }
    drawn = calibration_chart("t", "d", [curve], ["c0"])
    assert drawn.count("<circle") == 2
    assert drawn.count("whisker") == 1
    assert "predicted 10.0 %, came true 20.0 % of the time (10 rows)" in drawn
    assert "(1 row)" in drawn


def test_a_single_series_needs_no_legend() -> None:
    assert legend([("c0", "a")]) is None
    assert "validation" in (legend([("c0", "training"), ("c1", "validation")]) or "")
