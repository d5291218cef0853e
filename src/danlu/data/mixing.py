"""What is drawn for each batch beside its rows: partners and shares for mixup (arXiv:1710.09412), noise on features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from danlu.core.errors import DataError, RecipeError
from danlu.core.ideas import Batch, Data, Item, Position, State
from danlu.core.seeds import generator
from danlu.data.batches import deal, leaves, num_rows, take


class _Drawn(ABC):
    """Data whose batches get something that is drawn from (seed, epoch, row) alone.

    A draw belongs to the global batch. Each rank therefore asks for whole batches and deals its rows out of them
    afterwards: the same row gets the same draw for any number of ranks, at the cost of gathering rows that others use.
    """

    def __init__(self, data: Data, *, seed: int) -> None:
        self._data, self._seed = data, seed

    @property
    def num_rows(self) -> int | None:
        """Rows of the data, None where that is not known."""
        return getattr(self._data, "num_rows", None)

    @property
    def num_batches(self) -> int | None:
        """Batches an epoch, None where that is not known."""
        return getattr(self._data, "num_batches", None)

    def items(self, start: Position, *, rank: int = 0, ranks: int = 1) -> Iterator[Item]:
        """Batches from `start` on, each with what was drawn for it."""
        before = start
        for item in self._data.items(start):
            batch = self._draw(item.batch, before)
            yield item._replace(batch=batch if ranks == 1 else self.deal(batch, rank, ranks))
            before = item.after

    def deal(self, batch: Batch, rank: int, ranks: int) -> dict[str, Any]:
        """The rows of a global batch that belong to one of several ranks, as the data itself deals them."""
        return getattr(self._data, "deal", deal)(batch, rank, ranks)

    def state(self) -> State:
        """The state of the data: draws follow from the seed."""
        return self._data.state()

    def load(self, state: State) -> None:
        """Take over what `state` gave."""
        self._data.load(state)

    @abstractmethod
    def _draw(self, batch: Batch, at: Position) -> dict[str, Any]:
        """The global batch that begins at `at`, with what is drawn for it."""


class Mixed(_Drawn):
    """Data whose batches name a partner for each row and how much of the row itself is kept: mixup.

    Adds `other`, the partner's columns for each row (a permutation of the batch), and `share`, (n,) from
    Beta(alpha, alpha), one draw a row as in the paper's definition; its code draws one a batch. The objective mixes:
    share * row + (1 - share) * other.
    """

    def __init__(self, data: Data, *, alpha: float, seed: int) -> None:
        if not alpha > 0:
            raise RecipeError(f"Mixup draws shares from Beta(alpha, alpha) with alpha above 0, got {alpha}.")
        super().__init__(data, seed=seed)
        self._alpha = alpha

    def _draw(self, batch: Batch, at: Position) -> dict[str, Any]:
        if taken := {"other", "share"} & set(batch):
            raise DataError(f"The batch already has a column {min(taken)!r}, which mixup adds. Rename it.")
        count = num_rows(batch)
        draws = generator(self._seed, "mixup", at.epoch, at.row)
        other = take(batch, draws.permutation(count))
        floats = [value for _, value in leaves(batch) if _is_float(value)]
        share = draws.beta(self._alpha, self._alpha, count)
        return {**batch, "other": other, "share": _like(floats[0], share) if floats else share}


class Noisy(_Drawn):
    """Data with Gaussian noise of mean 0 and standard deviation `deviation` on each value of `x`.

    `x` holds floats: one array or a mapping of them. The deviation has the unit of `x`: 0.1 is a tenth of a standard
    deviation where columns are standardised. Drawn anew each epoch (Bishop 1995, Training with noise is equivalent
    to Tikhonov regularization). Together with mixup the noise comes first: `Mixed(Noisy(data, ...), ...)`.
    """

    def __init__(self, data: Data, *, deviation: float, seed: int) -> None:
        if not deviation > 0:
            raise RecipeError(f"The deviation of noise is a number above 0, got {deviation}.")
        super().__init__(data, seed=seed)
        self._deviation = deviation

    def _draw(self, batch: Batch, at: Position) -> dict[str, Any]:
        if "other" in batch:
            raise DataError("Noise comes before mixup: write Mixed(Noisy(data, ...), ...).")
        return {**batch, "x": self._disturb(batch["x"], "x", at)}

    def _disturb(self, value: Any, name: str, at: Position) -> Any:
        if isinstance(value, Mapping):
            return {key: self._disturb(part, f"{name}.{key}", at) for key, part in value.items()}
        if not _is_float(value):
            raise DataError(
                f"Noise is for numbers with a fraction, but {name!r} holds {getattr(value, 'dtype', type(value))}. "
                "Turn it into floats first, or leave the noise out."
            )
        draws = generator(self._seed, "noise", name, at.epoch, at.row)
        dtype = np.float64 if value.dtype.itemsize > 4 else np.float32
        noise = draws.standard_normal(tuple(value.shape), dtype=dtype)
        return value + _like(value, dtype(self._deviation) * noise)


def _is_float(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.dtype.kind == "f"
    return hasattr(value, "is_floating_point") and value.is_floating_point()


def _like(value: Any, drawn: np.ndarray) -> Any:
    """Drawn numbers as an array of the same kind, type and device as `value`."""
    if isinstance(value, np.ndarray):
        return drawn.astype(value.dtype)
    import torch

    return torch.from_numpy(drawn).to(device=value.device, dtype=value.dtype)
