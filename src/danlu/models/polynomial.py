"""Polynomial regression: ridge on all products of the number columns up to a degree."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement
from math import comb
from typing import Any, Literal

import numpy as np

from danlu.core.errors import RecipeError
from danlu.core.ideas import Batch, Context, State, Step
from danlu.core.parts import part
from danlu.core.scores import dense
from danlu.core.tasks import Task
from danlu.models.affine import Affine
from danlu.models.least_squares import describe, ridge, scaled
from danlu.models.linear import RidgeSettings
from danlu.models.rows import slices, training_rows
from danlu.models.stored import Stored

MAX_TERMS = 2000


@dataclass(frozen=True)
class PolynomialSettings(RidgeSettings):
    """Which products there are, and how strongly their coefficients are held near zero."""

    degree: int = 2
    """Most factors of a product, 2 to 5."""
    strength: float | Literal["auto"] = "auto"
    """Weight of the sum of squared coefficients beside the sum of squared errors, above 0, with every product
    scaled to a standard deviation of 1. `auto` takes the one with the least error on rows left out of the
    fit."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.degree <= 5:
            raise RecipeError(
                f"degree must lie from 2 to 5, got {self.degree}. For degree 1 use the model 'ridge'."
            )


@part(
    "model",
    "polynomial",
    summary="Ridge on squares and products of the number columns: smooth curves, interactions, few columns.",
    source="Gergonne 1815; Hoerl, Kennard 1970",
    settings=PolynomialSettings,
    tasks=("regression",),
    encoding="linear",
    update="estimator",
)
class Polynomial:
    """A weighted sum of the columns and of products of those that take more than two values.

    A column of zeros and ones, such as a category's, is its own square, so it enters as it is.
    """

    keeps_rows = False

    def __init__(self, settings: PolynomialSettings, task: Task, num_features: int, *, seed: int = 0) -> None:
        self.settings, self.task, self.num_features, self.seed = settings, task, num_features, seed
        self.numbers = np.zeros(0, dtype=np.int64)  # columns that are multiplied
        self.affine = Affine.zeros(num_features, 1)

    def fit_round(self, batch: Batch, task: Task, context: Context) -> Step:
        """Find the number columns, choose the strength by leave-one-out where it is `auto`, and solve."""
        rows = training_rows(batch)
        numbers = number_columns(rows.x)
        num_terms = num_products(self.num_features, len(numbers), self.settings.degree)
        if num_terms > MAX_TERMS:
            raise RecipeError(
                f"A polynomial of degree {self.settings.degree} on {len(numbers):,} number columns has "
                f"{num_terms:,} terms; at most {MAX_TERMS:,} are solved. "
                "Ignore columns, take a lower degree, or use 'ridge'."
            )
        columns = products(numbers, self.settings.degree)
        strength = None if self.settings.strength == "auto" else self.settings.strength
        solution = ridge(scaled(describe(rows, lambda x: expand(dense(x), columns))), strength, context)
        self.numbers, self.affine = numbers, solution.affine
        return Step(signals={"strength": solution.strength, "num_terms": float(num_terms)}, done=True)

    def __call__(self, x: Any) -> np.ndarray:
        """(n, d) -> (n,) values."""
        columns = products(self.numbers, self.settings.degree)
        width = len(self.affine.coefficients)
        pieces = [self.affine(expand(dense(x[piece]), columns)) for piece in slices(x.shape[0], width)]
        return np.concatenate(pieces) if pieces else np.zeros(0)

    def state(self) -> State:
        """`numbers`: the columns that are multiplied; `coefficients` (t,) and `intercept` (1,)."""
        return {"numbers": self.numbers, **self.affine.state()}

    def load(self, state: State) -> None:
        """Take over a state after checking it."""
        stored = Stored(state, part="polynomial")
        numbers = stored.array("numbers", (None,), dtype=np.int64, low=0, high=self.num_features - 1)
        if np.any(np.diff(numbers) <= 0):
            raise stored.damaged("its number columns are not in increasing order")
        num_terms = num_products(self.num_features, len(numbers), self.settings.degree)
        if num_terms > MAX_TERMS:
            raise stored.damaged(f"it has {num_terms:,} terms, more than {MAX_TERMS:,}")
        affine = Affine.read(stored, num_terms, 1)
        stored.end()
        self.numbers, self.affine = numbers, affine

    def snapshot(self) -> State:
        """The state as it is now."""
        return self.state()

    def restore(self, snapshot: State) -> None:
        """Go back to a snapshot."""
        self.load(snapshot)


def number_columns(x: Any) -> np.ndarray:
    """Columns with more than two different values, as increasing int64 column numbers."""
    low, high = _as_row(x.min(axis=0)), _as_row(x.max(axis=0))
    is_number = np.zeros(x.shape[1], dtype=bool)
    for piece in slices(x.shape[0], x.shape[1]):
        block = dense(x[piece])
        is_number |= ((block != low) & (block != high)).any(axis=0)
    return np.flatnonzero(is_number)


def num_products(num_features: int, num_numbers: int, degree: int) -> int:
    """Number of terms: every column itself, and the products of 2 to `degree` number columns."""
    return num_features + comb(num_numbers + degree, degree) - 1 - num_numbers


def products(numbers: np.ndarray, degree: int) -> list[np.ndarray]:
    """Columns that each product multiplies, by number of factors: arrays of shape (count, factors)."""
    chosen = [
        list(combinations_with_replacement(numbers.tolist(), factors)) for factors in range(2, degree + 1)
    ]
    return [np.array(group, dtype=np.int64).reshape(-1, 2 + i) for i, group in enumerate(chosen)]


def expand(x: np.ndarray, columns: list[np.ndarray]) -> np.ndarray:
    """(b, d) columns -> (b, t): the columns, then the products in the order of `products`."""
    blocks = [x]
    for group in columns:
        term = x[:, group[:, 0]]
        for factor in range(1, group.shape[1]):
            term = term * x[:, group[:, factor]]
        blocks.append(term)
    return np.concatenate(blocks, axis=1)


def _as_row(values: Any) -> np.ndarray:
    return np.asarray(dense(values), dtype=np.float64).reshape(-1)
