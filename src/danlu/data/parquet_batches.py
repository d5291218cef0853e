"""Rows of Parquet files as tensors: number columns as `x`, or whatever a function makes of frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from danlu.core.errors import DataError
from danlu.core.ideas import Batch
from danlu.data.batches import num_rows
from danlu.data.parquet_shards import Shards

if TYPE_CHECKING:
    import polars as pl


ALIGNMENT = 64  # bytes: where torch's own allocator lets a tensor begin


class Form(Protocol):
    """How the rows of a window are kept in memory, and how some of them become a batch."""

    columns: tuple[str, ...]
    """What is read."""
    features: tuple[str, ...]
    """The columns of `x` in their order, or those of the frames."""

    def window(self, groups: Iterable[tuple[pl.DataFrame, str]], count: int) -> Any:
        """`count` rows from frames that are read one after the other; each comes with where it stood."""
        ...

    def batch(self, loaded: Any, index: np.ndarray) -> Batch:
        """Some rows of what `window` gave."""
        ...


class Numbers:
    """Number columns as `x`, and the target and the weight beside them."""

    def __init__(self, features: tuple[str, ...], target: str, target_type: str, weight: str | None) -> None:
        self.features, self._target, self._target_type, self._weight = features, target, target_type, weight
        self.columns = (*features, target, *(() if weight is None else (weight,)))

    def window(self, groups: Iterable[tuple[pl.DataFrame, str]], count: int) -> dict[str, np.ndarray]:
        """Arrays of all rows of a window; `groups` are read one after the other into them."""
        loaded = {
            "x": np.empty((count, len(self.features)), dtype=np.float32),
            "y": np.empty(count, dtype=self._target_type),
        }
        if self._weight is not None:
            loaded["weight"] = np.empty(count, dtype=np.float32)
        first = 0
        for frame, place in groups:
            span = slice(first, first + frame.height)
            loaded["x"][span] = _matrix(frame, self.features, place)
            loaded["y"][span] = _vector(frame, self._target, loaded["y"].dtype, place)
            if self._weight is not None:
                loaded["weight"][span] = _vector(frame, self._weight, loaded["weight"].dtype, place)
            first += frame.height
        return loaded

    def batch(self, loaded: Mapping[str, np.ndarray], index: np.ndarray) -> Batch:
        """Tensors of some rows of a window."""
        import torch

        batch: dict[str, torch.Tensor] = {}
        for name, values in loaded.items():
            # torch's memory, since a product's last bit may depend on its alignment; NumPy's gather, since it stays on
            # this thread and leaves torch's to the training step.
            rows = torch.empty((len(index), *values.shape[1:]), dtype=torch.from_numpy(values[:0]).dtype)
            values.take(
                index, axis=0, out=rows.numpy(), mode="clip"
            )  # else it would fill a buffer of its own first
            batch[name] = rows
        return batch


class Frames:
    """Frames as they stand in the files, for `to_batch`."""

    def __init__(self, columns: tuple[str, ...], to_batch: Callable[[pl.DataFrame], Batch]) -> None:
        self.columns = self.features = columns
        self._to_batch = to_batch

    def window(self, groups: Iterable[tuple[pl.DataFrame, str]], count: int) -> pl.DataFrame:
        """One frame of all rows of a window."""
        import polars as pl

        return pl.concat([frame for frame, _ in groups])

    def batch(self, loaded: pl.DataFrame, index: np.ndarray) -> Batch:
        """What `to_batch` makes of some rows of a window."""
        batch = self._to_batch(loaded[index])
        if not isinstance(batch, Mapping):
            raise DataError(f"to_batch must give a mapping of tensors, got {type(batch).__name__}.")
        if (count := num_rows(batch)) != len(index):
            raise DataError(f"to_batch was given {len(index)} rows and gave {count}. Give one for each row.")
        return _aligned(batch)


def _aligned(batch: Batch) -> dict[str, Any]:
    """The batch with tensors that begin where torch lets them begin: those of other libraries may lie anywhere."""
    return {
        name: _aligned(value)
        if isinstance(value, Mapping)
        else value.clone()
        if hasattr(value, "data_ptr") and value.data_ptr() % ALIGNMENT
        else value
        for name, value in batch.items()
    }


def numbers(shards: Shards, target: str | None, columns: Sequence[str] | None, weight: str | None) -> Numbers:
    """The form of number columns; DataError for a column that is not there, named twice or not of numbers."""
    import polars as pl

    if target is None:
        raise DataError(
            "What is to be predicted is not known. Name the column with target=..., or give to_batch, which makes "
            "batches of frames."
        )
    schema = shards.schema
    named = [target, *([] if weight is None else [weight])]
    shards.check_columns([*named, *(columns or ())])
    features = [name for name in schema if name not in named] if columns is None else list(columns)
    if twice := [name for name in features if name in named or features.count(name) > 1]:
        raise DataError(f"{twice[0]!r} is named twice among columns, target and weight. Name it once.")
    if not features:
        raise DataError("There is no column beside the target. Give at least one to learn from.")
    for name in [*features, *named]:
        if not (schema[name].is_numeric() or schema[name] == pl.Boolean):
            remedy = "Name the ones to use with columns=[...]" if columns is None else "Leave it out"
            raise DataError(
                f"The column {name!r} holds {schema[name]}, not numbers. {remedy}, or give to_batch, which turns "
                "frames into tensors."
            )
    whole = schema[target].is_integer() or schema[target] == pl.Boolean
    return Numbers(tuple(features), target, "int64" if whole else "float64", weight)


def _matrix(frame: pl.DataFrame, names: Sequence[str], place: str) -> np.ndarray:
    import polars as pl

    chosen = frame.select(pl.col(names).cast(pl.Float32))
    for name, count in chosen.null_count().row(0, named=True).items():
        if count:
            raise _missing(name, "is_null", place)
    values = chosen.to_numpy(order="c")
    is_nan = np.isnan(values)
    if is_nan.any():
        raise _missing(names[int(is_nan.any(axis=0).argmax())], "is_nan", place)
    return values


def _vector(frame: pl.DataFrame, name: str, dtype: np.dtype[Any], place: str) -> np.ndarray:
    if frame[name].null_count():
        raise _missing(name, "is_null", place)
    values = frame[name].to_numpy().astype(dtype)
    if dtype.kind == "f" and np.isnan(values).any():
        raise _missing(name, "is_nan", place)
    return values


def _missing(name: str, test: str, place: str) -> DataError:
    return DataError(
        f"The column {name!r} has a missing value ({place}). Leave such rows out with "
        f"skip_rows=pl.col({name!r}).{test}(), or give to_batch, which may fill them."
    )


def cut(batch: Batch, first: int, last: int, every: int) -> dict[str, Any]:
    """Every `every`-th row of a batch from `first` up to `last`."""
    return {
        name: cut(value, first, last, every) if isinstance(value, Mapping) else value[first:last:every]
        for name, value in batch.items()
    }


def join(pieces: list[Batch]) -> Batch:
    """The rows of several batches, one after the other."""
    if len(pieces) == 1:
        return pieces[0]
    return {name: _join_column([piece[name] for piece in pieces]) for name in pieces[0]}


def _join_column(parts: list[Any]) -> Any:
    if isinstance(parts[0], Mapping):
        return join(parts)
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    if isinstance(parts[0], list):
        return [value for part in parts for value in part]
    import torch

    return torch.cat(parts)
