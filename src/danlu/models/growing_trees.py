"""Trees that grow round by round: sums over the older ones are kept, and the newer ones can be dropped."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np

from danlu.models.trees import TreeEnsemble, join, no_trees

NUM_KEPT = 4  # tables whose sums are kept, such as the training rows and the validation rows


class GrowingTrees:
    """Blocks of trees in the order in which they grew, and sums over the trees for any rows.

    While trees are added, the sums of the tables that were scored last are kept, so that scoring the same
    rows after every round costs only the new trees. Tables are told apart by a checksum of their values,
    not by identity.
    """

    def __init__(self, num_features: int, num_outputs: int, width: int) -> None:
        self.num_outputs = num_outputs
        self.blocks: list[TreeEnsemble] = []
        self._none = no_trees(num_features, num_outputs, width)
        self._kept: dict[tuple[Any, ...], tuple[int, np.ndarray]] | None = (
            None  # number of blocks, their sums
        )

    @property
    def num_trees(self) -> int:
        """Number of trees in all blocks."""
        return sum(block.num_trees for block in self.blocks)

    def add(self, block: TreeEnsemble) -> None:
        """Put new trees behind those that are there."""
        self.blocks.append(block)
        self._kept = {} if self._kept is None else self._kept

    def keep(self, num_trees: int) -> None:
        """Drop all trees after the first `num_trees`."""
        if num_trees > self.num_trees:
            raise ValueError(f"Cannot go back to {num_trees} trees, there are only {self.num_trees}.")
        self.replace(self.joined().first(num_trees))

    def replace(self, trees: TreeEnsemble) -> None:
        """Take these trees instead of all others."""
        self.blocks, self._kept = [trees], None

    def joined(self) -> TreeEnsemble:
        """All trees as one ensemble."""
        return join(self.blocks) if self.blocks else self._none

    def sums(self, x: Any) -> np.ndarray:
        """What all trees say of each row, added up: (n, num_outputs)."""
        if self._kept is None:
            return self._added(x, 0, np.zeros((x.shape[0], self.num_outputs)))
        key = fingerprint(x)
        done, sums = self._kept.pop(key, (0, np.zeros((x.shape[0], self.num_outputs))))
        self._kept[key] = len(self.blocks), self._added(x, done, sums)
        if len(self._kept) > NUM_KEPT:
            del self._kept[next(iter(self._kept))]
        return self._kept[key][1].copy()

    def _added(self, x: Any, done: int, sums: np.ndarray) -> np.ndarray:
        for block in self.blocks[done:]:
            block.add_scores(x, sums)
        return sums


def fingerprint(x: Any) -> tuple[Any, ...]:
    """Shape and two checksums of a table's values: (n, d) array or CSR matrix."""
    parts = (x.data, x.indices, x.indptr) if hasattr(x, "indptr") else (x,)
    buffers = [np.ascontiguousarray(part).data for part in parts]
    return x.shape, *((zlib.crc32(buffer), zlib.adler32(buffer)) for buffer in buffers)
