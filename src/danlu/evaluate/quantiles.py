"""Quantiles of the normal and of Student's t distribution, without SciPy's half second of start-up."""

from __future__ import annotations

import math
from statistics import NormalDist


def normal_quantile(level: float) -> float:
    """z such that a standard normal lies within -z and z with probability `level`: 1.96 for 0.95."""
    if not 0 < level < 1:
        raise ValueError(f"The level of an interval must lie between 0 and 1, got {level}.")
    return NormalDist().inv_cdf((1 + level) / 2)


def student_quantile(level: float, degrees: float) -> float:
    """t such that Student's t with `degrees` of freedom lies within -t and t with probability `level`.

    Hill 1970, Algorithm 396 of the ACM: exact for 1 and 2 degrees, within 1e-5 of the value beyond.
    """
    outside = 1 - level
    if degrees < 2:
        return 1 / math.tan(outside * math.pi / 2)
    if degrees < 3:
        return math.sqrt(2 / (outside * (2 - outside)) - 2)
    a = 1 / (degrees - 0.5)
    b = 48 / a**2
    c = ((20700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * math.sqrt(a * math.pi / 2) * degrees
    y = (d * outside) ** (2 / degrees)
    if y > 0.05 + a:  # the middle of the distribution: a correction of the normal's quantile
        x = -normal_quantile(level)
        y = x * x
        if degrees < 5:
            c += 0.3 * (degrees - 4.5) * (x + 0.6)
        c += (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b
        y = (((((0.4 * y + 6.3) * y + 36) * y + 94.5) / c - y - 3) / b + 1) * x
        y = math.expm1(a * y * y)
    else:  # the tail
        e = 1 / (((degrees + 6) / (degrees * y) - 0.089 * d - 0.822) * (degrees + 2) * 3)
        y = ((e + 0.5 / (degrees + 4)) * y - 1) * (degrees + 1) / (degrees + 2) + 1 / y
    return math.sqrt(degrees * y)
