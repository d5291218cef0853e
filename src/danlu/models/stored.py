"""Checks on a stored model: every array has its type, shape and range before any other code sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from danlu.core.errors import BundleError
from danlu.core.ideas import State


class Stored:
    """Reads a model's state entry by entry; whatever does not fit ends in a `BundleError` that names it."""

    def __init__(self, state: Any, *, part: str) -> None:
        self.part = part
        if not isinstance(state, Mapping):
            raise self.damaged(f"its state is a {type(state).__name__}, not a table of names")
        self.state: Mapping[Any, Any] = state
        self.read: set[str] = set()

    def array(
        self,
        name: str,
        shape: tuple[int | None, ...],
        *,
        dtype: Any = np.float64,
        low: float | None = None,
        high: float | None = None,
    ) -> np.ndarray:
        """A finite array of this very type; None in `shape` is any length, `low` and `high` are included."""
        value = self.entry(name)
        if not isinstance(value, np.ndarray):
            raise self.damaged(f"{name} is a {type(value).__name__}, not an array")
        if value.dtype != np.dtype(dtype):
            raise self.damaged(f"{name} holds {value.dtype}, not {np.dtype(dtype)}")
        if value.ndim != len(shape) or any(
            want not in (None, got) for want, got in zip(shape, value.shape, strict=True)
        ):
            wanted = "(" + ", ".join("any" if want is None else str(want) for want in shape) + ")"
            raise self.damaged(f"{name} has the shape {value.shape}, not {wanted}")
        self.within(name, value, low, high)
        return np.ascontiguousarray(value)

    def number(self, name: str, *, low: float | None = None, high: float | None = None) -> float:
        """A finite number."""
        value = self.entry(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.damaged(f"{name} is a {type(value).__name__}, not a number")
        try:
            number = float(value)
        except OverflowError as error:
            raise self.damaged(f"{name} is too large a number") from error
        self.within(name, np.array([number]), low, high)
        return number

    def table(self, name: str, num_columns: int, *, low: float | None = None) -> Any:
        """Rows that `store_table` wrote: an array, or a SciPy CSR matrix where they were sparse."""
        if not isinstance(self.entry(name), Mapping):
            return self.array(name, (None, num_columns), low=low)
        from scipy.sparse import csr_matrix

        inner = Stored(self.entry(name), part=self.part)
        offsets = inner.array("offsets", (None,), dtype=np.int64, low=0)
        values = inner.array("values", (None,), low=low)
        columns = inner.array("columns", (len(values),), dtype=np.int64, low=0, high=num_columns - 1)
        inner.end()
        if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != len(values) or np.any(np.diff(offsets) < 0):
            raise self.damaged(f"the row offsets of {name} do not divide its {len(values)} values into rows")
        starts_row = np.zeros(len(values) + 1, dtype=bool)
        starts_row[offsets] = True
        if np.any((np.diff(columns) <= 0) & ~starts_row[1:-1]):
            raise self.damaged(f"the columns of a row of {name} are not in increasing order")
        return csr_matrix((values, columns, offsets), shape=(len(offsets) - 1, num_columns))

    def nested(self, name: str) -> Stored:
        """A reader of the state within this one."""
        return Stored(self.entry(name), part=self.part)

    def entry(self, name: str) -> Any:
        """The entry as it stands in the file."""
        if name not in self.state:
            raise self.damaged(f"{name} is missing")
        self.read.add(name)
        return self.state[name]

    def end(self) -> None:
        """Refuse entries that nobody has read."""
        if unknown := sorted(str(name) for name in self.state if name not in self.read):
            raise self.damaged(f"it has the unknown entry {unknown[0]!r}")

    def within(self, name: str, value: np.ndarray, low: float | None, high: float | None) -> None:
        """Refuse numbers that are not finite or not between `low` and `high`."""
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise self.damaged(f"{name} has values that are not finite numbers")
        if value.size and (
            (low is not None and value.min() < low) or (high is not None and value.max() > high)
        ):
            wanted = f"{'any' if low is None else low} to {'any' if high is None else high}"
            raise self.damaged(f"{name} runs from {value.min()} to {value.max()}, allowed is {wanted}")

    def damaged(self, what: str) -> BundleError:
        """The error that says what is wrong with the stored model."""
        return BundleError(
            f"The stored {self.part} model is damaged: {what}. "
            "Take another copy of the file, or train it again."
        )


def store_table(x: Any) -> Any:
    """Rows as `Stored.table` reads them: an array, or the three arrays of a CSR matrix."""
    if not hasattr(x, "toarray"):
        return np.ascontiguousarray(x, dtype=np.float64)
    x = x.tocsr()
    x.sum_duplicates()
    return State(
        values=x.data.astype(np.float64),
        columns=x.indices.astype(np.int64),
        offsets=x.indptr.astype(np.int64),
    )
