"""Encoded columns, fitted on named rows once for each encoding and shared by all candidates that want it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from danlu.core.ideas import Batch
from danlu.data.preprocess import Encoding, PreprocessSettings, fit_preprocessor
from danlu.run.loading import Table

if TYPE_CHECKING:
    from danlu.data.preprocess import Preprocessor


@dataclass
class Encoded:
    """A preprocessor that saw only its fitting rows, and what it makes of any rows."""

    table: Table
    preprocessor: Preprocessor
    fit_rows: np.ndarray
    fit_x: Any

    def fitting(self) -> Batch:
        """The rows that it was fitted on."""
        return self._batch(self.fit_x, self.fit_rows)

    def batch(self, rows: np.ndarray) -> Batch:
        """Any other rows."""
        return self._batch(self.preprocessor.transform(self.table.frame[rows]), rows)

    def _batch(self, x: Any, rows: np.ndarray) -> Batch:
        batch: dict[str, Any] = {"x": x, "y": self.table.y[rows]}
        weight = self.table.weights(rows)
        return batch if weight is None else batch | {"weight": weight}


class Features:
    """Fits preprocessors on demand and remembers the newest of each encoding and each set of rows."""

    def __init__(self, table: Table, settings: PreprocessSettings, *, seed: int) -> None:
        self._table, self._settings, self._seed = table, settings, seed
        self._made: dict[tuple[str, str], Encoded] = {}

    def encoded(self, encoding: Encoding, rows: np.ndarray, *, name: str) -> Encoded:
        """The columns encoded for a family of models; `name` says which rows these are (`train`, `fold 3`, ...)."""
        key = (encoding, name)
        if key not in self._made:
            frame = self._table.frame[rows]
            made = fit_preprocessor(
                frame, self._table.schema, encoding=encoding, settings=self._settings, seed=self._seed
            )
            self._made[key] = Encoded(self._table, made, rows, made.transform(frame))
        return self._made[key]

    def forget(self, name: str) -> None:
        """Free what was kept for one set of rows."""
        for key in [key for key in self._made if key[1] == name]:
            del self._made[key]
