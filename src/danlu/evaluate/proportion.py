"""Intervals for shares: Wilson's for one share, Newcombe's for the difference of two."""

from __future__ import annotations

from danlu.evaluate.quantiles import normal_quantile


def wilson_interval(share: float, num_rows: float, *, level: float = 0.95) -> tuple[float, float]:
    """Where the true share lies with probability `level`, when `share` of `num_rows` rows were seen.

    `num_rows` may be the effective number of weighted rows. Never leaves [0, 1], and has a width even for a
    share of 0 or 1 (Wilson 1927; Brown, Cai and DasGupta 2001). With no rows it is (0, 1).

    >>> tuple(round(bound, 3) for bound in wilson_interval(1.0, 100))
    (0.963, 1.0)
    """
    if num_rows <= 0:
        return 0.0, 1.0
    z = normal_quantile(level)
    shrink = 1.0 + z * z / num_rows
    middle = (share + z * z / (2 * num_rows)) / shrink
    half = z * (share * (1 - share) / num_rows + z * z / (4 * num_rows**2)) ** 0.5 / shrink
    # At 0 and 1 the bound is exact; rounding must not move it past the share.
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def difference_interval(
    share: float, num_rows: float, other: float, num_other: float, *, level: float = 0.95
) -> tuple[float, float]:
    """Interval of `share - other` for two independent groups of rows (Newcombe 1998, method 10)."""
    low, high = wilson_interval(share, num_rows, level=level)
    other_low, other_high = wilson_interval(other, num_other, level=level)
    difference = share - other
    below = ((share - low) ** 2 + (other_high - other) ** 2) ** 0.5
    above = ((high - share) ** 2 + (other - other_low) ** 2) ** 0.5
    return difference - below, difference + above
