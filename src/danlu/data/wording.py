"""How findings name rows, columns, counts and shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from danlu.data.schema import Column, Schema

NUM_ROWS = 5  # rows named in a finding
NUM_COLUMNS = 8  # columns named in a message; all of them stand in the finding


def row_numbers(positions: np.ndarray) -> tuple[int, ...]:
    """The first positions as a person counts rows, from 1 on."""
    return tuple(int(row) + 1 for row in positions[:NUM_ROWS])


def place_of(schema: Schema, column: Column) -> str:
    """Name and number of a column."""
    return f"{column.name!r} (column {schema.columns.index(column) + 1})"


def count_rows(count: int) -> str:
    """`1 row`, `1,234 rows`."""
    return "1 row" if count == 1 else f"{count:,} rows"


def count_columns(count: int) -> str:
    """`1 column`, `1,234 columns`."""
    return "1 column" if count == 1 else f"{count:,} columns"


def percent(count: int, total: int) -> str:
    """A share to three digits: `12.3 %`."""
    return f"{100 * count / total:.3g} %"


def listed(parts: Sequence[str], total: int | None = None, mark: str = ", ") -> str:
    """The first parts, and how many more there are of `total` (default: of the parts)."""
    total = len(parts) if total is None else total
    shown = parts[:NUM_COLUMNS]
    return mark.join(shown) + (f" and {total - len(shown)} more" if total > len(shown) else "")
