"""The target column as numbers or class codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from danlu.core.errors import DataError
from danlu.core.tasks import Task
from danlu.data.text_values import is_yes_no

if TYPE_CHECKING:
    import polars as pl


def target_values(column: pl.Series, task: Task) -> tuple[np.ndarray, np.ndarray]:
    """Positions of the rows whose target is known (int64), and their float64 values or int64 class codes.

    NaN counts as missing. An infinite value, or a class that the task does not know, is an error that names the row.
    """
    import polars as pl

    if task.kind == "regression":
        values = column.cast(pl.Float64, strict=False)
        odd = (values.is_null() & column.is_not_null()).arg_true()
        if len(odd):
            raise DataError(
                f"The target {column.name!r} must hold numbers; row {odd[0] + 1} holds {column[odd[0]]!r}."
            )
        numbers = values.to_numpy().astype(np.float64)
        endless = np.flatnonzero(np.isinf(numbers))
        if len(endless):
            raise DataError(
                f"The target {column.name!r} is infinite in row {endless[0] + 1}. Mend or remove that row."
            )
        known = np.flatnonzero(~np.isnan(numbers))
        return known, numbers[known]
    given = column.fill_nan(None) if column.dtype.is_float() else column
    any_case = is_yes_no(task.labels)  # a model that knows `yes` knows `Yes` too
    codes = {_key(label, any_case): code for code, label in enumerate(task.labels)}
    values = given.drop_nulls().unique()
    meant = [codes.get(_key(value, any_case)) for value in values.to_list()]
    if None in meant:
        odd = values[meant.index(None)]
        row = int((given == odd).arg_max() or 0) + 1
        raise DataError(
            f"Row {row} has the class {odd!r} in {column.name!r}, which the model does not know: "
            f"{', '.join(map(str, task.labels[:10]))}."
        )
    known = given.is_not_null().arg_true().to_numpy().astype(np.int64)
    found = (
        given[known].replace_strict(values, meant, return_dtype=pl.Int64)
        if len(known)
        else given.clear().cast(pl.Int64)
    )
    return known, found.to_numpy()


def _key(value: object, any_case: bool) -> object:
    """Equal for 1, 1.0 and "1", which are one class in whatever file they come."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).lower() if any_case else str(value)
