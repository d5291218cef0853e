"""The confusion matrix and the decision boundary."""

from __future__ import annotations

import re

import numpy as np
import pytest

from danlu.report.maps import boundary_map, confusion_map, disagreement, is_plane, margin_levels


def test_each_cell_of_a_confusion_matrix_says_its_share_of_the_row() -> None:
    drawn = confusion_map("t", "d", ["no", "yes"], [[90, 10], [5, 15]])
    assert "observed no, predicted yes: 10 (10.0 % of the observed no)" in drawn
    assert "observed yes, predicted yes: 15 (75.0 % of the observed yes)" in drawn
    assert len(re.findall(r"<rect [^>]*c0 fill", drawn)) == 2  # right
    assert len(re.findall(r"<rect [^>]*c1 fill", drawn)) == 2  # mixed up


def test_a_matrix_of_many_classes_draws_only_cells_with_rows() -> None:
    drawn = confusion_map("t", "d", list(range(50)), np.eye(50, dtype=int).tolist())
    assert drawn.count("fill-opacity") == 50
    assert len(drawn) < 20_000


def plane(task: str, values: np.ndarray, **more: object) -> str:
    grid = np.linspace(-2, 2, 21).tolist()
    boundary = {"x": "x1", "y": "x2", "x_grid": grid, "y_grid": grid, "value": values.tolist(), **more}
    assert is_plane(boundary)
    return boundary_map("t", "d", boundary, task=task, labels=["a", "b", "c"])


def test_the_border_of_a_circle_is_a_circle() -> None:
    axis = np.linspace(-2, 2, 21)
    probability = 1 / (1 + np.exp(4 * (axis[None, :] ** 2 + axis[:, None] ** 2 - 1)))
    drawn = plane("binary", probability)
    border = re.search(r'<path d="([^"]*)" class="border"', drawn)
    assert border is not None
    points = np.array(re.findall(r"[ML]([\d.]+) ([\d.]+)", border[1]), dtype=float)
    middle, half = points.mean(axis=0), np.ptp(points, axis=0) / 2
    radius = np.linalg.norm((points - middle) / half, axis=1)
    assert len(points) > 40
    assert radius == pytest.approx(np.ones(len(points)), abs=0.03)


def test_a_margin_is_three_parallel_lines() -> None:
    axis = np.linspace(-2, 2, 21)
    distance = axis[None, :] + 0 * axis[:, None]
    drawn = plane("binary", 1 / (1 + np.exp(-distance)), distance=distance.tolist())
    lines = re.findall(r'<path d="([^"]*)" class="(border|guide)"', drawn)
    assert [class_ for _, class_ in lines] == ["border", "guide", "guide"]
    xs = [{float(x) for x in re.findall(r"[ML]([\d.]+) ", drawn_line)} for drawn_line, _ in lines]
    assert all(len(values) == 1 for values in xs)  # each stands upright
    zero, left, right = (values.pop() for values in xs)
    assert zero - left == pytest.approx(right - zero, abs=0.11)


def test_points_of_each_class_have_a_shape_of_their_own() -> None:
    points = {"x": [0, 0, 0], "y": [-1, 0, 1], "label": ["a", "b", "c"]}
    drawn = plane("multiclass", np.ones((21, 21)), points=points)
    assert drawn.count("<circle") == 1
    assert len(re.findall(r'<path d="[^"]*" class="c[12] fill point"', drawn)) == 2


def test_a_single_colour_is_drawn_in_few_pieces() -> None:
    assert len(plane("regression", np.ones((21, 21)))) < 6_000


@pytest.mark.parametrize(
    "change",
    [{"x_grid": [1.0]}, {"x_grid": [1.0, 1.0]}, {"y_grid": [0.0, None]}, {"value": [[1.0]]}, {"value": None}],
)
def test_a_plane_that_does_not_fit_is_not_drawn(change: dict[str, object]) -> None:
    good = {"x_grid": [0.0, 1.0], "y_grid": [0.0, 1.0], "value": [[0, 1], [1, 0]]}
    assert is_plane(good)
    assert not is_plane(good | change)


def test_a_margin_outside_the_plane_is_not_drawn() -> None:
    axis = np.linspace(-0.5, 0.5, 21)
    distance = axis[None, :] + 0 * axis[:, None]
    drawn = plane("binary", 0.5 + distance / 2, distance=distance.tolist())
    assert 'class="guide"' not in drawn and 'class="border"' in drawn


def test_the_border_follows_the_threshold_and_its_distance_is_compared() -> None:
    grid = np.linspace(-2, 2, 21)
    distance = grid[None, :] + 0 * grid[:, None]
    boundary = {
        "x_grid": grid.tolist(),
        "y_grid": grid.tolist(),
        "value": (1 / (1 + np.exp(-distance))).tolist(),
        "distance": distance.tolist(),
    }
    assert disagreement(boundary) == 0.0
    assert margin_levels(boundary) == [-1.0, 1.0]
    moved = boundary | {"border": 1 / (1 + np.exp(-1.1))}  # the five of 21 columns from 0 to 0.9 change sides
    assert disagreement(moved) == pytest.approx(np.mean((grid >= 0) & (grid < 1.1)))


def test_the_positive_class_has_its_own_colour_on_its_side() -> None:
    grid = [0.0, 1.0]
    boundary = {"x": "a", "y": "b", "x_grid": grid, "y_grid": grid, "value": [[0.9, 0.9], [0.9, 0.9]]}
    for positive, class_ in (("no", "c0"), ("yes", "c1"), (None, "c1")):
        drawn = boundary_map("t", "d", boundary, task="binary", labels=["no", "yes"], positive=positive)
        assert f'class="{class_} fill shade6"' in drawn
        assert 'class="grid"' not in drawn


def test_points_on_a_map_of_numbers_wear_its_shades() -> None:
    grid = np.linspace(0, 7, 21)
    points = {"x": [-1, 1], "y": [0, 0], "label": [0.0, 7.0]}
    drawn = plane("regression", grid[None, :] + 0 * grid[:, None], points=points)
    assert drawn.count('class="point-back"') == 2
    assert drawn.count('class="c0 fill shade0"/>') == 2 and drawn.count('r="3.6"') == 4
