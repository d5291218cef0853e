"""Platt scaling finds the scale of distances that are not logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from danlu.models.platt import MAX_ROWS, Scale, fit_scale
from danlu.models.rows import Rows


def table(num_rows: int, num_classes: int) -> tuple[Rows, np.ndarray]:
    """Rows whose logits are the columns, and the columns."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(num_rows, 1 if num_classes == 2 else num_classes)) * 3
    noise = rng.logistic(size=num_rows) if num_classes == 2 else rng.gumbel(size=x.shape)
    y = (x[:, 0] + noise + 1 > 0).astype(np.int64) if num_classes == 2 else (x + noise).argmax(axis=1)
    return Rows(x, y, np.ones(num_rows)), x


@pytest.mark.parametrize(("num_classes", "offset"), [(2, 1.0), (4, 0.0)])
def test_it_recovers_the_logits(num_classes: int, offset: float) -> None:
    rows, _ = table(6000, num_classes)
    num_fitted: list[int] = []

    def decide(fitted: Rows, x: Any) -> np.ndarray:
        num_fitted.append(len(fitted.y))
        return (x[:, 0] if num_classes == 2 else x) / 10

    scale = fit_scale(decide, rows, num_classes, np.random.default_rng(1))
    assert scale.slope == pytest.approx(10.0, rel=0.15)
    assert scale.offset == pytest.approx(offset, abs=0.3)
    assert max(num_fitted) <= MAX_ROWS


def test_weights_count() -> None:
    x, y = np.zeros((40, 1)), np.arange(40) % 2
    rows = Rows(x, y, np.where(y == 1, 9.0, 1.0))
    scale = fit_scale(lambda fitted, x: np.zeros(len(x)), rows, 2, np.random.default_rng(2))
    assert scale.offset == pytest.approx(np.log(9.0), abs=1e-6)


def test_distances_that_say_nothing_keep_a_small_slope() -> None:
    rng = np.random.default_rng(3)
    rows = Rows(rng.normal(size=(500, 1)), rng.integers(0, 2, 500), np.ones(500))
    scale = fit_scale(lambda fitted, x: -100.0 * x[:, 0], rows, 2, np.random.default_rng(4))
    assert 0 < scale.slope < 0.01


def test_a_class_with_one_row_leaves_the_scale_alone() -> None:
    rows = Rows(np.zeros((5, 1)), np.array([0, 0, 0, 0, 1]), np.ones(5))
    assert fit_scale(lambda fitted, x: np.zeros(len(x)), rows, 2, np.random.default_rng(5)) == Scale(1.0, 0.0)
