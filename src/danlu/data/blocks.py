"""Columns of a frame as blocks of float64, so that thousands of them are looked at together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import polars as pl

    from danlu.data.schema import Column

CELLS = 4_000_000  # of one block


def blocks(frame: pl.DataFrame, columns: Sequence[Column]) -> Iterator[tuple[list[Column], np.ndarray]]:
    """Columns with their values, (k, n): first those without gaps, then those with NaN for missing values.

    Numbers are as they are, other values the rank of the value among the different ones.
    """
    import polars as pl

    width = max(CELLS // max(frame.height, 1), 1)
    for with_missing in (False, True):
        part = [column for column in columns if (frame[column.name].null_count() > 0) == with_missing]
        for start in range(0, len(part), width):
            block = part[start : start + width]
            values = frame.select(
                (pl.col(column.name) if column.type == "number" else pl.col(column.name).rank("dense")).cast(
                    pl.Float64
                )
                for column in block
            )
            yield block, np.ascontiguousarray(values.to_numpy().T)
