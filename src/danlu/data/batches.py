"""Rows in memory as batches, in an order that is a pure function of (seed, epoch)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from danlu.core.ideas import Batch, Item, Position, State
from danlu.core.seeds import generator


def take(batch: Batch, rows: np.ndarray) -> dict[str, Any]:
    """Some rows of a batch, by their positions or by a mask."""
    return {name: value[rows] for name, value in batch.items()}


class WholeTable:
    """Every row in one batch, again and again: what estimators and batch gradient descent train on."""

    def __init__(self, batch: Batch) -> None:
        self._batch, self._num_rows = batch, batch["y"].shape[0]

    def items(self, start: Position, *, rank: int = 0, ranks: int = 1) -> Iterator[Item]:
        """The whole table once an epoch."""
        epoch, _, step = start
        while True:
            epoch, step = epoch + 1, step + 1
            yield Item(self._batch, Position(epoch, 0, step))

    def state(self) -> State:
        """Nothing beside the position."""
        return {}

    def load(self, state: State) -> None:
        """Nothing to take over."""


class ShuffledRows:
    """Mini-batches of rows, shuffled anew each epoch; the last batch of an epoch may be smaller.

    Arrays are indexed whole: NumPy, torch, or anything that gives rows for an array of positions. With several
    ranks each global batch is dealt out row by row, so that the global order does not depend on their number.
    """

    def __init__(self, batch: Batch, *, batch_size: int, seed: int) -> None:
        self._batch, self._batch_size, self._seed = batch, batch_size, seed
        self._num_rows = int(batch["y"].shape[0])

    def items(self, start: Position, *, rank: int = 0, ranks: int = 1) -> Iterator[Item]:
        """Batches from `start` on."""
        epoch, row, step = start
        while True:
            order = generator(self._seed, "order", epoch).permutation(self._num_rows)
            while row < self._num_rows:
                index = np.ascontiguousarray(order[row : row + self._batch_size][rank::ranks])
                row, step = row + self._batch_size, step + 1
                ends = row >= self._num_rows
                batch = take(self._batch, index)
                yield Item(batch, Position(epoch + 1, 0, step) if ends else Position(epoch, row, step))
            epoch, row = epoch + 1, 0

    def state(self) -> State:
        """Nothing beside the position: the order follows from the seed."""
        return {}

    def load(self, state: State) -> None:
        """Nothing to take over."""
