"""Wilson's and Newcombe's intervals against SciPy, published numbers and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from danlu.evaluate.proportion import difference_interval, wilson_interval


@pytest.mark.parametrize(("hits", "num_rows"), [(0, 10), (3, 10), (10, 10), (81, 263), (1, 1)])
def test_wilson_equals_scipy(hits, num_rows):
    expected = binomtest(hits, num_rows).proportion_ci(0.95, method="wilson")
    assert wilson_interval(hits / num_rows, num_rows) == pytest.approx(
        (expected.low, expected.high), abs=1e-12
    )


def test_newcombe_1998_table_ii():
    # Method 10, cases (a) 56/70 - 48/80 and (h) 10/10 - 0/10.
    assert difference_interval(56 / 70, 70, 48 / 80, 80) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert difference_interval(1.0, 10, 0.0, 10) == pytest.approx((0.6075, 1.0), abs=5e-5)


def test_no_rows_say_nothing():
    assert wilson_interval(0.5, 0) == (0.0, 1.0)


def test_coverage_is_near_the_level():
    random = np.random.default_rng(0)
    hits = random.binomial(40, 0.9, 4000)
    bounds = np.array([wilson_interval(h / 40, 40) for h in hits])
    covered = ((bounds[:, 0] <= 0.9) & (bounds[:, 1] >= 0.9)).mean()
    assert 0.92 < covered < 0.98
