"""Batches of whole queries for ranking: the rows of one query stay together, queries are shuffled each epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from danlu.core.errors import DataError, closest
from danlu.core.ideas import Batch, Item, Position, State
from danlu.data.batches import block_rows, epoch_order, gather, num_rows, rows_an_epoch, take


class Queries:
    """Rows in memory as batches of `queries_per_batch` whole queries, in an order that (seed, epoch) alone decide.

    `query` names the column with the ids of the queries, or holds them: one id a row, in any order. Each batch has
    them as whole numbers from 0 on under `query`, in place of that column; rows of one query stand next to each
    other and in the order of the data. With several ranks each global batch is dealt out query by query.
    """

    def __init__(
        self,
        batch: Batch,
        *,
        query: str | Any = "query",
        queries_per_batch: int,
        seed: int,
        shuffle: bool = True,
        drop_last: bool = False,
    ) -> None:
        self.num_rows = num_rows(batch)
        codes = _codes(_ids(batch, query), self.num_rows)
        rest = {
            name: value for name, value in batch.items() if not (isinstance(query, str) and name == query)
        }
        if not isinstance(query, str) and "query" in rest:
            raise DataError("The batch already has a column 'query'. Name it: query='query'.")
        self._batch = rest | {"query": _beside(codes, rest)}
        self._at_once = block_rows(self._batch)
        self._members = np.argsort(codes, kind="stable")  # rows, query by query
        self._counts = np.bincount(codes)
        self._firsts = np.cumsum(self._counts) - self._counts
        self._per_batch, self._seed, self._shuffle = queries_per_batch, seed, shuffle
        self._num_used = rows_an_epoch(len(self._counts), queries_per_batch, drop_last=drop_last)

    @property
    def num_queries(self) -> int:
        """How many queries there are."""
        return len(self._counts)

    @property
    def num_batches(self) -> int:
        """Batches an epoch."""
        return -(-self._num_used // self._per_batch)

    def items(self, start: Position, *, rank: int = 0, ranks: int = 1) -> Iterator[Item]:
        """Batches from `start` on; DataError where `start` lies within a query."""
        epoch, row, step = start
        while True:
            order = epoch_order(self.num_queries, self._seed, epoch, shuffle=self._shuffle)[: self._num_used]
            ends = np.cumsum(self._counts[order])  # rows of this epoch up to the end of each query
            done = int(np.searchsorted(ends, row, side="right"))  # queries that lie before `row`
            if row != (ends[done - 1] if done else 0) and row < ends[-1]:
                raise DataError(
                    f"Row {row} of epoch {epoch} lies within a query: this position is one of other data."
                )
            skip, off = divmod(done, self._per_batch)
            index, sizes = self._share(order[off:], rank, ranks)
            afters = _batch_ends(ends[off:], self._per_batch)
            batches = gather(self._batch, index, sizes, at_once=self._at_once, skip=skip)
            for after, batch in zip(afters[skip:], batches, strict=True):
                step += 1
                is_last = after == ends[-1]
                yield Item(batch, Position(epoch + 1, 0, step) if is_last else Position(epoch, after, step))
            epoch, row = epoch + 1, 0

    def deal(self, batch: Batch, rank: int, ranks: int) -> dict[str, Any]:
        """The queries of a global batch that belong to one of several ranks."""
        codes = _on_host(batch["query"])
        place = np.cumsum(
            np.diff(codes, prepend=codes[:1]) != 0
        )  # 0 for the batch's first query, 1 for the next
        return take(batch, np.flatnonzero(place % ranks == rank))

    def state(self) -> State:
        """Nothing beside the position: the order follows from the seed."""
        return {}

    def load(self, state: State) -> None:
        """Nothing to take over."""

    def _share(self, order: np.ndarray, rank: int, ranks: int) -> tuple[np.ndarray, list[int]]:
        """Rows of one rank's queries, and how many of them belong to each batch."""
        place = np.arange(len(order))
        mine = place % self._per_batch % ranks == rank
        queries, batch_of = order[mine], place[mine] // self._per_batch
        counts = self._counts[queries]
        offsets = np.arange(counts.sum()) - np.repeat(
            np.cumsum(counts) - counts, counts
        )  # 0, 1, .. in each query
        index = self._members[np.repeat(self._firsts[queries], counts) + offsets]
        sizes = np.zeros(-(-len(order) // self._per_batch), dtype=np.int64)
        np.add.at(sizes, batch_of, counts)
        return index, sizes.tolist()


def _batch_ends(ends: np.ndarray, per_batch: int) -> list[int]:
    """Rows of the epoch up to the end of each batch."""
    if not len(ends):
        return []
    last = np.minimum(np.arange(per_batch, len(ends) + per_batch, per_batch), len(ends)) - 1
    return ends[last].tolist()


def _ids(batch: Batch, query: str | Any) -> np.ndarray:
    if isinstance(query, str):
        if query not in batch:
            raise DataError(
                f"There is no column {query!r} with the queries.{closest(query, batch)} "
                f"Columns: {', '.join(batch)}."
            )
        query = batch[query]
    return _on_host(query)


def _on_host(values: Any) -> np.ndarray:
    return np.asarray(values.cpu() if hasattr(values, "cpu") else values)


def _codes(ids: np.ndarray, count: int) -> np.ndarray:
    """Whole numbers from 0 on, in the order in which the queries first appear."""
    if ids.shape != (count,):
        raise DataError(
            f"Queries are one id for each of the {count} rows, got values of shape {ids.shape}. "
            "Sizes of groups become ids with numpy.repeat(range(len(sizes)), sizes)."
        )
    if ids.dtype.kind == "f" and np.isnan(ids).any():
        raise DataError(
            f"Row {int(np.isnan(ids).argmax()) + 1} has no query. Give each row the id of its query."
        )
    _, first, inverse = np.unique(ids, return_index=True, return_inverse=True)
    rank_of = np.empty(len(first), dtype=np.int64)
    rank_of[np.argsort(first)] = np.arange(len(first))
    return rank_of[inverse]


def _beside(codes: np.ndarray, batch: Batch) -> Any:
    """The codes as a tensor where the targets are one."""
    like = batch.get("y")
    if like is None or isinstance(like, np.ndarray) or not hasattr(like, "device"):
        return codes
    import torch

    return torch.from_numpy(codes).to(like.device)
