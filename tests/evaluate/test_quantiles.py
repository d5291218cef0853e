"""Quantiles against SciPy."""

from __future__ import annotations

import pytest
from scipy.special import ndtri, stdtrit

from danlu.evaluate.quantiles import normal_quantile, student_quantile


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95, 0.99])
def test_quantiles_equal_scipy(level):
    assert normal_quantile(level) == pytest.approx(ndtri((1 + level) / 2), rel=1e-12)
    for degrees in (1, 2, 3, 4, 7, 30, 1000, 1e6):
        assert student_quantile(level, degrees) == pytest.approx(stdtrit(degrees, (1 + level) / 2), rel=1e-5)


def test_a_level_outside_0_and_1_is_refused():
    with pytest.raises(ValueError, match="between 0 and 1, got 95"):
        normal_quantile(95)
