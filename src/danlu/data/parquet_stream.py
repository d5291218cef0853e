"""Rows of Parquet files that are larger than memory, as batches in an order that (seed, epoch) alone decide.

Each epoch the row groups of all files are shuffled, and read in windows of several row groups; the rows of a window are
shuffled. That gives one order of all rows, and batches are consecutive pieces of it. How many rows a window has is
known from the metadata: going on at any position reads the window of that position and nothing before it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from danlu.core.errors import DataError
from danlu.core.ideas import Batch, Item, Position, State
from danlu.core.seeds import generator
from danlu.data.batches import rows_an_epoch
from danlu.data.parquet_batches import Form, Frames, cut, join, numbers
from danlu.data.parquet_shards import RowGroup, Shards, open_shards, read_group
from danlu.data.prefetch import ahead

if TYPE_CHECKING:
    import polars as pl

WINDOW_BYTES = 128 << 20  # of a window; two are in memory
CHUNK_BYTES = 16 << 20  # of the rows that are turned into tensors at once
CHUNK_ROWS = 8192


class ParquetStream:
    """Shuffled batches of the rows of Parquet files, read ahead in a thread.

    `paths` names files, folders or patterns with `*`. Number and boolean columns (`columns`, or all but `target` and
    `weight`) become `x`, (n, d) float32; `target` becomes `y`, int64 where it holds whole numbers or booleans and
    float64 else; `weight` becomes (n,) float32. `to_batch` takes their place for anything else: it gets a Polars frame
    of some rows and gives a mapping of tensors with as many; it must treat each row by itself.

    `window_rows` bounds memory and says how well rows are mixed: a row meets only those of the row groups that share
    its window (default: rows of about 128 MiB; at least one row group). `skip_rows` leaves rows out, such as those
    held out for validation: their positions in the whole table, a mask over it, or a Polars expression that is true
    for them and looks at each row by itself; it is worked out once, on its columns alone. `rows` reads rows.

    With several ranks each global batch is dealt out row by row; every rank reads all the windows. DataError names
    the file that is missing, damaged, changed or different from the first, and a column with a missing value.
    """

    def __init__(
        self,
        paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
        *,
        target: str | None = None,
        columns: Sequence[str] | None = None,
        weight: str | None = None,
        to_batch: Callable[[pl.DataFrame], Batch] | None = None,
        batch_size: int,
        seed: int,
        shuffle: bool = True,
        drop_last: bool = False,
        window_rows: int | None = None,
        skip_rows: Collection[int] | np.ndarray | pl.Expr | None = None,
    ) -> None:
        self._shards = open_shards(paths)
        if to_batch is None:
            self._form: Form = numbers(self._shards, target, columns, weight)
        else:
            if target is not None or weight is not None:
                raise DataError(
                    "target and weight are columns that to_batch reads by itself. Leave them out here."
                )
            self._form = Frames(tuple(columns or self._shards.schema), to_batch)
        self._shards.check_columns(self._form.columns)
        row_bytes = self._shards.row_bytes(self._form.columns)
        if window_rows is not None and window_rows < 1:
            raise DataError(f"A window needs at least one row, got window_rows={window_rows}.")
        self._window_rows = window_rows or max(WINDOW_BYTES // row_bytes, 1)
        self._chunk_rows = max(min(CHUNK_ROWS, CHUNK_BYTES // row_bytes), batch_size, 1)
        self._batch_size, self._seed, self._shuffle = batch_size, seed, shuffle
        self._kept = _kept(self._shards, skip_rows)
        counts = [
            group.num_rows if kept is None else int(np.bitwise_count(kept).sum())
            for group, kept in zip(self._shards.groups, self._kept, strict=True)
        ]
        self._counts = np.array(counts)
        self.num_rows = int(self._counts.sum())
        if not self.num_rows:
            raise DataError(f"skip_rows leaves out all {self._shards.num_rows} rows. Keep at least one.")
        self._num_used = rows_an_epoch(self.num_rows, batch_size, drop_last=drop_last)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of `x` in their order, or those that `to_batch` gets."""
        return self._form.features

    @property
    def num_batches(self) -> int:
        """Batches an epoch."""
        return -(-self._num_used // self._batch_size)

    def items(self, start: Position, *, rank: int = 0, ranks: int = 1) -> Iterator[Item]:
        """Batches from `start` on."""
        epoch, row, step = start
        if row >= self._num_used:
            epoch, row = epoch + 1, 0
        chunks = ahead(self._chunks(epoch, row))
        chunk = next(chunks)
        while True:
            end = min(row + self._batch_size, self._num_used)
            pieces: list[Batch] = []
            at = row
            while at < end:
                while chunk.epoch < epoch or chunk.last <= at:
                    chunk = next(chunks)
                stop = min(end, chunk.last)
                first = (
                    at + (rank - (at - row)) % ranks
                )  # every `ranks`-th row of the global batch is this rank's
                pieces.append(cut(chunk.batch, first - chunk.first, stop - chunk.first, ranks))
                at = stop
            row, step = end, step + 1
            if row >= self._num_used:
                epoch, row = epoch + 1, 0
            yield Item(join(pieces), Position(epoch, row, step))

    def rows(self, positions: Collection[int] | np.ndarray) -> Batch:
        """The rows at these positions of the whole table, in this order: those that were held out, in memory."""
        import polars as pl

        wanted = _positions(positions, self._shards.num_rows, name="rows")
        order = np.argsort(wanted, kind="stable")
        frames: list[pl.DataFrame] = []
        for group in self._shards.groups:
            bounds = (group.first_row, group.first_row + group.num_rows)
            first, last = np.searchsorted(wanted[order], bounds)
            if first < last:
                frame = read_group(group, self._form.columns)
                frames.append(frame[wanted[order[first:last]] - group.first_row])
        frame = pl.concat(frames) if frames else self._shards.schema.to_frame().select(self._form.columns)
        groups = [(frame, "these rows")]
        return self._form.batch(self._form.window(groups, frame.height), np.argsort(order))

    def state(self) -> State:
        """What the order of rows depends on beside the position: files, rows left out, window and seed."""
        skipped = hashlib.sha256(b"".join(b"-" if kept is None else kept.tobytes() for kept in self._kept))
        return {
            "files": [shard.path.name for shard in self._shards.files],
            "footers": [shard.footer for shard in self._shards.files],
            "skipped": skipped.hexdigest(),
            "window_rows": self._window_rows,
            "seed": self._seed,
            "shuffle": self._shuffle,
        }

    def load(self, state: State) -> None:
        """Nothing to take over; DataError names what has changed, since the order would be another one."""
        now = self.state()
        if list(state["files"]) != now["files"]:
            gone = sorted(set(state["files"]) - set(now["files"]))
            new = sorted(set(now["files"]) - set(state["files"]))
            change = (
                f"{gone[0]} is missing"
                if gone
                else f"{new[0]} is new"
                if new
                else "their order is another one"
            )
            raise DataError(f"The Parquet files are not those that training began with: {change}.")
        for name, before, footer in zip(now["files"], state["footers"], now["footers"], strict=True):
            if before != footer:
                raise DataError(
                    f"{name} has changed since training began. Put the old file back, or start the training anew."
                )
        for name in ("skipped", "window_rows", "seed", "shuffle"):
            if state[name] != now[name]:
                setting = "skip_rows" if name == "skipped" else name
                raise DataError(
                    f"{setting} is another one than when training began, which changes the order of rows. "
                    "Set it as it was, or start the training anew."
                )

    def _chunks(self, epoch: int, row: int) -> Iterator[_Chunk]:
        """Tensors of all rows in their order, from the chunk that holds `row` on, without end.

        Chunks begin at fixed places of a window, wherever training starts: `to_batch` then always sees the same frames.
        """
        for window, loaded in ahead(self._windows(epoch, row)):
            order = (
                generator(self._seed, "window", window.epoch, window.number).permutation(window.num_rows)
                if self._shuffle
                else np.arange(window.num_rows)
            )
            for first in range(0, window.num_rows, self._chunk_rows):
                index = order[first : first + self._chunk_rows]
                last = window.first + first + len(index)
                if window.epoch > epoch or last > row:
                    batch = self._form.batch(loaded, index)
                    yield _Chunk(window.epoch, window.first + first, last, batch)

    def _windows(self, epoch: int, row: int) -> Iterator[tuple[_Window, Any]]:
        """Windows with their rows as they stand in the files, from the one that holds `row` on."""
        while True:
            for window in self._plan(epoch):
                if window.first + window.num_rows > row:
                    groups = ((self._read(place), self._place(place)) for place in window.groups)
                    yield window, self._form.window(groups, window.num_rows)
            epoch, row = epoch + 1, 0

    def _plan(self, epoch: int) -> Iterator[_Window]:
        """Which row groups share a window in this epoch: as many as do not exceed `window_rows`, at least one."""
        num_groups = len(self._counts)
        order = (
            generator(self._seed, "groups", epoch).permutation(num_groups)
            if self._shuffle
            else np.arange(num_groups)
        )
        number, first, count = 0, 0, 0
        groups: list[int] = []
        for place in order[self._counts[order] > 0].tolist():
            rows = int(self._counts[place])
            if groups and count + rows > self._window_rows:
                yield _Window(epoch, number, first, count, tuple(groups))
                number, first, count, groups = number + 1, first + count, 0, []
            groups.append(place)
            count += rows
        yield _Window(epoch, number, first, count, tuple(groups))

    def _read(self, place: int) -> pl.DataFrame:
        group, kept = self._shards.groups[place], self._kept[place]
        frame = read_group(group, self._form.columns)
        return frame if kept is None else frame[np.flatnonzero(np.unpackbits(kept, count=group.num_rows))]

    def _place(self, place: int) -> str:
        group = self._shards.groups[place]
        return f"{group.shard.path.name}, row group {group.number}"


class _Window(NamedTuple):
    epoch: int
    number: int
    first: int
    """Row of the epoch at which it begins."""
    num_rows: int
    groups: tuple[int, ...]


class _Chunk(NamedTuple):
    epoch: int
    first: int
    last: int
    """Rows of the epoch: from `first` up to, but not including, `last`."""
    batch: Batch


def _kept(shards: Shards, skip: Collection[int] | np.ndarray | pl.Expr | None) -> list[np.ndarray | None]:
    """For each row group one bit a row that is kept, or None where all are."""
    import polars as pl

    if skip is None:
        return [None] * len(shards.groups)
    if isinstance(skip, pl.Expr):
        return [_kept_by(skip, shards, group) for group in shards.groups]
    positions: np.ndarray = np.unique(_positions(skip, shards.num_rows, name="skip_rows"))
    kept: list[np.ndarray | None] = []
    for group in shards.groups:
        bounds = (group.first_row, group.first_row + group.num_rows)
        first, last = np.searchsorted(positions, bounds)
        bits = np.ones(group.num_rows, dtype=bool)
        bits[positions[first:last] - group.first_row] = False
        kept.append(np.packbits(bits) if first < last else None)
    return kept


def _kept_by(skip: pl.Expr, shards: Shards, group: RowGroup) -> np.ndarray | None:
    import polars as pl

    names = skip.meta.root_names()
    shards.check_columns(names)
    if not names:
        raise DataError("skip_rows is an expression without a column. Name one: pl.col('split') != 'train'.")
    mask = read_group(group, names).select(skip.alias("skip"))["skip"]
    if mask.dtype != pl.Boolean or len(mask) != group.num_rows:
        raise DataError(
            f"skip_rows must be true or false for each row, but gives {mask.dtype}. Compare with a value."
        )
    skipped = mask.fill_null(False).to_numpy()
    return np.packbits(~skipped) if skipped.any() else None


def _positions(rows: Collection[int] | np.ndarray, count: int, *, name: str) -> np.ndarray:
    """Positions of rows as an int64 array, each within the table; a mask becomes the positions where it is true."""
    given = rows if isinstance(rows, np.ndarray) else np.array(list(rows))
    if given.dtype == bool:
        if given.shape != (count,):
            raise DataError(
                f"A mask for {name} needs one value for each of the {count} rows, got {given.shape}."
            )
        return np.flatnonzero(given)
    if not given.size:
        return np.empty(0, dtype=np.int64)
    if given.ndim != 1 or given.dtype.kind not in "iu":
        raise DataError(f"{name} are positions of rows, whole numbers from 0 on, got {given.dtype} values.")
    if given.min() < 0 or given.max() >= count:
        outside = given.min() if given.min() < 0 else given.max()
        raise DataError(f"{name} names row {outside}, but rows go from 0 to {count - 1}.")
    return given.astype(np.int64)
