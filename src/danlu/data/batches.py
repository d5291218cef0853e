"""Rows in memory as batches, in an order that is a pure function of (seed, epoch)."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any

import numpy as np

from danlu.core.errors import DataError
from danlu.core.ideas import Batch, Item, Position, State
from danlu.core.seeds import generator

HOST_BLOCK = (
    4 << 20
)  # bytes; larger blocks leave the cache and are given fresh pages each: 3 times slower at 64 MiB
DEVICE_BLOCK = 64 << 20  # bytes; on a GPU it is the number of launches that costs


class WholeTable:
    """Every row in one batch, again and again: what estimators and batch gradient descent train on."""

    def __init__(self, batch: Batch) -> None:
        self._batch, self.num_rows = batch, num_rows(batch)

    @property
    def num_batches(self) -> int:
        """Batches an epoch."""
        return 1

    def items(self, start: Position, *, rank: int = 0, ranks: int = 1) -> Iterator[Item]:
        """The whole table once an epoch; with several ranks each has its share of the rows."""
        epoch, _, step = start
        batch = self._batch if ranks == 1 else take(self._batch, np.arange(rank, self.num_rows, ranks))
        while True:
            epoch, step = epoch + 1, step + 1
            yield Item(batch, Position(epoch, 0, step))

    def state(self) -> State:
        """Nothing beside the position."""
        return {}

    def load(self, state: State) -> None:
        """Nothing to take over."""


class ShuffledRows:
    """Mini-batches of rows, shuffled anew each epoch; the last batch of an epoch may be smaller.

    Columns are NumPy arrays, tensors on any device, mappings of such columns, or anything that gives rows for an
    array of positions. With several ranks each global batch is dealt out row by row, so that the global order does
    not depend on their number; a rank for which no row is left has an empty batch. `shuffle=False` keeps the rows in
    their order, `drop_last=True` leaves out a last batch of fewer rows than the others.
    """

    def __init__(
        self, batch: Batch, *, batch_size: int, seed: int, shuffle: bool = True, drop_last: bool = False
    ) -> None:
        self._batch, self._batch_size, self._seed, self._shuffle = batch, batch_size, seed, shuffle
        self.num_rows, self._at_once = num_rows(batch), block_rows(batch)
        self._num_used = rows_an_epoch(self.num_rows, batch_size, drop_last=drop_last)

    @property
    def num_batches(self) -> int:
        """Batches an epoch."""
        return -(-self._num_used // self._batch_size)

    def items(self, start: Position, *, rank: int = 0, ranks: int = 1) -> Iterator[Item]:
        """Batches from `start` on."""
        epoch, row, step = start
        while True:
            if row < self._num_used:
                done, off = divmod(row, self._batch_size)  # `off` is not 0 after a change of the batch size
                order = epoch_order(self.num_rows, self._seed, epoch, shuffle=self._shuffle)
                index, sizes = share(order[off : self._num_used], self._batch_size, rank=rank, ranks=ranks)
                for batch in gather(self._batch, index, sizes, at_once=self._at_once, skip=done):
                    row, step = row + self._batch_size, step + 1
                    ends = row >= self._num_used
                    yield Item(batch, Position(epoch + 1, 0, step) if ends else Position(epoch, row, step))
            epoch, row = epoch + 1, 0

    def state(self) -> State:
        """Nothing beside the position: the order follows from the seed."""
        return {}

    def load(self, state: State) -> None:
        """Nothing to take over."""


def take(batch: Batch, rows: np.ndarray) -> dict[str, Any]:
    """Some rows of a batch, by their positions or by a mask."""
    return {
        name: take(value, rows) if isinstance(value, Mapping) else value[rows]
        for name, value in batch.items()
    }


def deal(batch: Batch, rank: int, ranks: int) -> dict[str, Any]:
    """The rows of a global batch that belong to one of several ranks: every `ranks`-th, from row `rank` on."""
    return {
        name: deal(value, rank, ranks) if isinstance(value, Mapping) else value[rank::ranks]
        for name, value in batch.items()
    }


def num_rows(batch: Batch) -> int:
    """How many rows a batch has; DataError where its columns do not agree, or there are none."""
    lengths = {name: length for name, value in leaves(batch) if (length := _length(name, value)) is not None}
    if not lengths:
        raise DataError("There is no column whose number of rows is known. Give arrays or tensors.")
    first, count = next(iter(lengths.items()))
    for name, length in lengths.items():
        if length != count:
            raise DataError(
                f"{first!r} has {count} rows, but {name!r} has {length}. Give each column the same rows."
            )
    return count


def leaves(batch: Batch, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The columns of a batch with their names, those of a nested mapping as `outer.inner`."""
    for name, value in batch.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def rows_an_epoch(count: int, batch_size: int, *, drop_last: bool) -> int:
    """How many of `count` rows an epoch goes through; DataError where that is none."""
    if batch_size < 1:
        raise DataError(f"A batch needs at least one row, got a batch size of {batch_size}.")
    used = count // batch_size * batch_size if drop_last else count
    if not used:
        reason = (
            f"{count} rows make no whole batch of {batch_size}. Use a smaller batch size, or keep the last batch."
            if count
            else "There are no rows to make batches of. Give at least one."
        )
        raise DataError(reason)
    return used


def epoch_order(count: int, seed: int, epoch: int, *, shuffle: bool = True) -> np.ndarray:
    """Positions of `count` rows in the order of one epoch: (count,) int64."""
    return generator(seed, "order", epoch).permutation(count) if shuffle else np.arange(count)


def share(
    order: np.ndarray, batch_size: int, *, rank: int = 0, ranks: int = 1
) -> tuple[np.ndarray, list[int]]:
    """One rank's rows of consecutive global batches, and how many of them belong to each batch."""
    num_whole, left = divmod(len(order), batch_size)
    sizes = [len(range(rank, batch_size, ranks))] * num_whole
    if left:
        sizes.append(len(range(rank, left, ranks)))
    if ranks == 1:
        return order, sizes
    whole = num_whole * batch_size
    dealt = order[:whole].reshape(-1, batch_size)[:, rank::ranks]
    return np.concatenate([dealt.reshape(-1), order[whole:][rank::ranks]]), sizes


def block_rows(batch: Batch) -> int:
    """How many rows of a batch are gathered at once."""
    on_host = all(_is_on_host(value) for _, value in leaves(batch))
    width = sum(_bytes_of_row(value) for _, value in leaves(batch))
    return max((HOST_BLOCK if on_host else DEVICE_BLOCK) // max(width, 1), 1)


def gather(
    batch: Batch, index: np.ndarray, sizes: list[int], *, at_once: int, skip: int = 0
) -> Iterator[dict[str, Any]]:
    """The rows `index` as consecutive batches of `sizes` rows, without the first `skip` batches.

    Arrays and tensors are indexed about `at_once` rows at a time, and batches are slices of that block: an index a
    step costs more than the arithmetic of a small network. A batch stands at the same place of the same block whatever
    is skipped: matrix products may differ in the last bit with the alignment of their operands.
    """
    first, row = 0, 0
    while first < len(sizes):
        last, end = first + 1, row + sizes[first]
        if len(index) <= at_once:
            last, end = len(sizes), len(index)
        while last < len(sizes) and end + sizes[last] <= row + at_once:
            end += sizes[last]
            last += 1
        if last > skip:
            yield from _pieces(batch, index[row:end], sizes[first:last], skip=max(skip - first, 0))
        first, row = last, end


def _pieces(batch: Batch, index: np.ndarray, sizes: list[int], *, skip: int) -> Iterator[dict[str, Any]]:
    index = np.ascontiguousarray(index)
    names, columns = tuple(batch), [_split(value, index, sizes, skip) for value in batch.values()]
    return (dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True))


def _split(value: Any, index: np.ndarray, sizes: list[int], skip: int) -> Iterable[Any]:
    if isinstance(value, Mapping):
        return _pieces(value, index, sizes, skip=skip)
    if _is_dense_tensor(value):
        import torch

        # index_select is 5 times faster than value[index], and one split than a slice for each batch.
        return value.index_select(0, torch.from_numpy(index).to(value.device)).split(sizes)[skip:]
    spans = [slice(end - size, end) for end, size in zip(accumulate(sizes), sizes, strict=True)][skip:]
    if isinstance(value, np.ndarray):
        block = value.take(index, axis=0)
        return [block[span] for span in spans]
    return (value[index[span]] for span in spans)  # sparse rows are spread out batch by batch


def _is_dense_tensor(value: Any) -> bool:
    if "torch" not in sys.modules:  # nobody can have made a tensor
        return False
    import torch

    return isinstance(value, torch.Tensor) and value.layout == torch.strided


def _is_on_host(value: Any) -> bool:
    return not _is_dense_tensor(value) or value.device.type == "cpu"


def _bytes_of_row(value: Any) -> int:
    if not isinstance(value, np.ndarray) and not _is_dense_tensor(value):
        return 0
    return value.nbytes // max(value.shape[0], 1)


def _length(name: str, value: Any) -> int | None:
    shape = getattr(value, "shape", None)
    if shape is not None:
        if not len(shape):
            raise DataError(f"{name!r} is a single value, not a column. Give one value for each row.")
        return int(shape[0])
    return len(value) if hasattr(value, "__len__") else None
