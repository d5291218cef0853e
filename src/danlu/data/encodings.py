"""Numbers and categories as features: imputation, scaling, products; one-hot and ordinal codes.

Each encoding is fitted on training rows, writes its features into a slice of the feature matrix row by row,
and is kept as JSON values and arrays.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from danlu.core.errors import DataError, RecipeError
from danlu.data import casts
from danlu.data.stored import Stored

if TYPE_CHECKING:
    import polars as pl
    from scipy.sparse import csr_matrix

Way = Literal["keep", "scaled", "unit", "above"]
Imputation = Literal["median", "mean", "most_frequent", "constant"]
Scaling = Literal["standard", "robust", "minmax", "none"]

MAX_PRODUCTS = 5000
MAX_BYTES_OF_PRODUCTS = 4 << 30
RARE = "(rare)"


@dataclass(frozen=True, eq=False)
class Numbers:
    """Features of k number columns: the numbers, then products of them, then a 0/1 for missing ones."""

    way: Way
    """`keep`: as they are; `scaled`: (x - center) / scale; `unit`: that within 0..1; `above`: x > center."""
    fill: np.ndarray
    """(k,) what stands in for a missing value."""
    center: np.ndarray
    scale: np.ndarray
    has_indicator: np.ndarray
    """(k,) bool: whether training rows had missing values, so that their absence is a feature."""
    degree: int
    """Products of up to so many scaled numbers, a number times itself too; 1 makes none."""
    product_center: np.ndarray
    product_scale: np.ndarray

    @classmethod
    def fit(
        cls,
        values: np.ndarray,
        names: Sequence[str],
        *,
        way: Way,
        imputation: Imputation = "median",
        fill_value: float = 0.0,
        indicator: bool = True,
        scaling: Scaling = "standard",
        degree: int = 1,
    ) -> Self:
        """Fit on training rows (n, k), NaN where missing; `names` (k,) are for errors."""
        num_rows, num_columns = values.shape
        no_products = np.zeros(0)
        zeros, ones = np.zeros(num_columns), np.ones(num_columns)
        if way == "keep":
            no_indicator = np.zeros(num_columns, dtype=bool)
            return cls("keep", zeros, zeros, ones, no_indicator, 1, no_products, no_products)
        missing = np.isnan(values)
        has_indicator = np.any(missing, axis=0) if indicator else np.zeros(num_columns, dtype=bool)
        fill = (
            np.full(num_columns, fill_value)
            if imputation == "constant"
            else _fill(values, missing, imputation)
        )
        if way == "above":
            center = _fill(values, missing, "median")
            return cls(way, fill, center, ones, has_indicator, 1, no_products, no_products)
        filled = np.where(missing, fill, values) if missing.any() else values
        with np.errstate(over="ignore", invalid="ignore"):
            center, scale = _center_and_scale(filled, "minmax" if way == "unit" else scaling)
            _check_finite(center + scale, names)
            fitted = cls(way, fill, center, scale, has_indicator, 1, no_products, no_products)
            if degree == 1 or way != "scaled":
                return fitted
            _check_size(_count_products(num_columns, degree), num_rows, num_columns, degree)
            combinations = _products(num_columns, degree)
            scaled = (filled - center) / scale
            products = np.empty((num_rows, len(combinations)), order="F")
            for place, factors in enumerate(combinations):
                products[:, place] = _multiply(scaled, factors)
            product_center, product_scale = _center_and_scale(products, scaling)
            _check_finite(product_center + product_scale, product_names(names, degree))
        return cls(way, fill, center, scale, has_indicator, degree, product_center, product_scale)

    @property
    def width(self) -> int:
        """Number of features."""
        return len(self.fill) + len(self.product_center) + int(self.has_indicator.sum())

    def names_and_sources(self, names: Sequence[str], sources: Sequence[str]) -> list[tuple[str, str]]:
        """Name and raw column of each feature, given the names of the numbers and their raw columns (k,)."""
        found = list(zip(names, sources, strict=True))
        products = _products(len(names), self.degree)
        joint = [" * ".join(dict.fromkeys(sources[i] for i in factors)) for factors in products]
        found += zip(product_names(names, self.degree), joint, strict=True)
        absent = [source for source, has in zip(sources, self.has_indicator, strict=True) if has]
        return found + [(f"{source} is missing", source) for source in absent]

    def write(self, values: np.ndarray, out: np.ndarray) -> None:
        """Features of `values` (n, k) into `out` (n, width)."""
        num_columns = len(self.fill)
        if self.way == "keep":
            out[...] = values
            return
        missing = np.isnan(values)
        if self.way == "above":
            out[:, :num_columns] = values > self.center
        else:
            filled = np.where(missing, self.fill, values) if missing.any() else values
            with np.errstate(over="ignore", invalid="ignore"):
                scaled = filled - self.center  # column by column in memory, unlike `out`, and so faster
                scaled /= self.scale
                if self.way == "unit":
                    np.clip(scaled, 0.0, 1.0, out=scaled)
                out[:, :num_columns] = scaled
                for place, factors in enumerate(_products(num_columns, self.degree), start=num_columns):
                    out[:, place] = _multiply(scaled, factors)
                products = out[:, num_columns : num_columns + len(self.product_center)]
                products -= self.product_center
                products /= self.product_scale
        start = num_columns + len(self.product_center)
        out[:, start:] = missing[:, self.has_indicator]

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON values and arrays from which `from_state` makes an equal one."""
        arrays = {
            "fill": self.fill,
            "center": self.center,
            "scale": self.scale,
            "has_indicator": self.has_indicator.astype(np.uint8),
        }
        if self.degree > 1:
            arrays |= {"product_center": self.product_center, "product_scale": self.product_scale}
        return {"way": self.way, "degree": self.degree}, arrays

    @classmethod
    def from_state(cls, stored: Stored, num_columns: int) -> Self:
        """What `state` gave, checked."""
        way: Any = stored.choice("way", ["keep", "scaled", "unit", "above"])
        degree = stored.whole("degree", 1, 3)
        num_products = _count_products(num_columns, degree)
        if num_products > MAX_PRODUCTS or (degree > 1 and way != "scaled"):
            stored.fail("degree", f"makes {num_products} products, which were never stored")
        return cls(
            way,
            stored.array("fill", num_columns),
            stored.array("center", num_columns),
            stored.array("scale", num_columns, above=0.0),
            stored.flags("has_indicator", num_columns),
            degree,
            stored.array("product_center", num_products) if degree > 1 else np.zeros(0),
            stored.array("product_scale", num_products, above=0.0) if degree > 1 else np.zeros(0),
        )


@dataclass(frozen=True)
class Levels:
    """The levels of one category column, as one-hot features or as one column of ordinal codes."""

    column: str
    levels: tuple[str, ...]
    """One-hot: sorted by text. Codes: the most frequent first, equal ones by text."""
    one_hot: bool
    was_number: bool
    """Whether training held numbers, so that the texts `3`, `3.0` and ` 3` mean the same level."""
    has_rare: bool
    """Whether rarer levels of training share one more slot; levels never seen before go there as well."""
    has_missing: bool
    """One-hot: whether missing has a slot of its own. Codes keep missing as NaN."""

    @classmethod
    def fit(
        cls, column: pl.Series, *, one_hot: bool, rare_share: float, max_levels: int, indicator: bool = True
    ) -> Self:
        """Fit on the training rows of a column of any plain type."""
        texts = casts.texts(column)
        table = texts.drop_nulls().value_counts(sort=False).rows()
        ranked = sorted(((-count, text) for text, count in table))
        least = rare_share * len(column) if one_hot else 0
        kept = [text for count, text in ranked[:max_levels] if -count >= least]
        return cls(
            column.name,
            tuple(sorted(kept)) if one_hot else tuple(kept),
            one_hot,
            column.dtype.is_numeric(),
            len(kept) < len(ranked),
            one_hot and indicator and texts.null_count() > 0,
        )

    @property
    def width(self) -> int:
        """Number of features."""
        return len(self.levels) + self.has_rare + self.has_missing if self.one_hot else 1

    def feature_names(self) -> list[str]:
        """`column=level` for each slot, or the column itself for codes."""
        if not self.one_hot:
            return [self.column]
        slots = [*self.levels, *([RARE] if self.has_rare else [])]
        return [f"{self.column}={level}" for level in slots] + [
            f"{self.column} is missing"
        ] * self.has_missing

    def slots(self, column: pl.Series) -> np.ndarray:
        """(n,) int64: place of the feature that is 1, or the code; -1 for none and for missing codes.

        A level that was never seen takes the place of the rare ones. One-hot without rare ones: none. Codes:
        the place after the last, where the rarest levels are.
        """
        import polars as pl

        texts = casts.numeric_texts(column) if self.was_number else casts.texts(column)
        num_levels = len(self.levels)
        unknown = -1 if self.one_hot and not self.has_rare else num_levels
        known = pl.Series(self.levels, dtype=pl.String)
        places = pl.Series(range(num_levels), dtype=pl.Int64)
        slots = texts.replace_strict(known, places, default=unknown, return_dtype=pl.Int64).to_numpy(
            writable=True
        )
        slots[texts.is_null().to_numpy()] = num_levels + self.has_rare if self.has_missing else -1
        return slots

    def write(self, slots: np.ndarray, out: np.ndarray) -> None:
        """Features of rows with `slots` (n,) into `out` (n, width)."""
        if self.one_hot:
            out[...] = 0.0
            rows = np.flatnonzero(slots >= 0)
            out[rows, slots[rows]] = 1.0
        else:
            out[:, 0] = np.where(slots >= 0, slots, np.nan)

    def sparse(self, slots: np.ndarray) -> csr_matrix:
        """One-hot features of rows with `slots` (n,) as a sparse matrix (n, width)."""
        from scipy.sparse import csr_matrix

        held = slots >= 0
        ends = np.concatenate([[0], np.cumsum(held)])
        return csr_matrix((np.ones(ends[-1]), slots[held], ends), shape=(len(slots), self.width))

    def state(self) -> dict[str, Any]:
        """JSON values from which `from_state` makes an equal one."""
        return {
            "column": self.column,
            "levels": list(self.levels),
            "one_hot": self.one_hot,
            "was_number": self.was_number,
            "has_rare": self.has_rare,
            "has_missing": self.has_missing,
        }

    @classmethod
    def from_state(cls, stored: Stored) -> Self:
        """What `state` gave, checked."""
        return cls(
            stored.text("column"),
            stored.texts("levels"),
            stored.flag("one_hot"),
            stored.flag("was_number"),
            stored.flag("has_rare"),
            stored.flag("has_missing"),
        )


def product_names(names: Sequence[str], degree: int) -> list[str]:
    """`a^2`, `a * b`, ... in the order of the products of Numbers."""
    texts: list[str] = []
    for factors in _products(len(names), degree):
        powers = {factor: factors.count(factor) for factor in factors}
        texts.append(
            " * ".join(names[i] if power == 1 else f"{names[i]}^{power}" for i, power in powers.items())
        )
    return texts


def _fill(values: np.ndarray, missing: np.ndarray, imputation: Imputation) -> np.ndarray:
    """What replaces a missing value of each column: (k,); 0 for a column without any value."""
    fill = np.zeros(values.shape[1])
    for place in range(values.shape[1]):
        column = values[:, place]
        if missing[:, place].any():
            column = column[~missing[:, place]]
        if not len(column):
            continue
        if imputation == "median":
            fill[place] = _median(column)
        elif imputation == "mean":
            fill[place] = column.mean()
        else:
            found, counts = np.unique(column, return_counts=True)
            fill[place] = found[counts.argmax()]
    return fill


def _median(column: np.ndarray) -> float:
    """As np.median, without its half a millisecond of preparations for axes."""
    middle = len(column) // 2
    if len(column) % 2:
        return float(np.partition(column, middle)[middle])
    two = np.partition(column, [middle - 1, middle])[middle - 1 : middle + 1]
    return float(two[0] / 2 + two[1] / 2)


def _center_and_scale(values: np.ndarray, scaling: Scaling) -> tuple[np.ndarray, np.ndarray]:
    """Of each column of (n, k) without NaN; one that does not vary gets the scale 1, as in scikit-learn."""
    num_rows, num_columns = values.shape
    eps = np.finfo(np.float64).eps
    if scaling == "none":
        return np.zeros(num_columns), np.ones(num_columns)
    if scaling == "standard":
        center = values.mean(axis=0)
        variance = values.var(axis=0)
        is_constant = variance <= num_rows * eps * variance + (num_rows * center * eps) ** 2
        return center, np.where(is_constant & np.isfinite(variance), 1.0, np.sqrt(variance))
    if scaling == "robust":
        lower, center, upper = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
        scale = upper - lower
    else:
        center, scale = values.min(axis=0), values.max(axis=0) - values.min(axis=0)
    return center, np.where(scale < 10 * eps, 1.0, scale)


def _products(num_columns: int, degree: int) -> list[tuple[int, ...]]:
    """Which columns are multiplied, degree 2 first: (0, 0), (0, 1), ..."""
    return [
        factors
        for size in range(2, degree + 1)
        for factors in itertools.combinations_with_replacement(range(num_columns), size)
    ]


def _count_products(num_columns: int, degree: int) -> int:
    return sum(math.comb(num_columns + size - 1, size) for size in range(2, degree + 1))


def _multiply(scaled: np.ndarray, factors: tuple[int, ...]) -> np.ndarray:
    product = scaled[:, factors[0]]
    for factor in factors[1:]:
        product = product * scaled[:, factor]
    return product


def _check_size(num_products: int, num_rows: int, num_columns: int, degree: int) -> None:
    if num_products > MAX_PRODUCTS or 8 * num_products * num_rows > MAX_BYTES_OF_PRODUCTS:
        size = 8 * num_products * num_rows / 1e9
        raise RecipeError(
            f"Degree {degree} of {num_columns} number columns makes {num_products:,} products, {size:,.1f} "
            f"GB for {num_rows:,} rows; at most {MAX_PRODUCTS:,} and {MAX_BYTES_OF_PRODUCTS / 1e9:.1f} GB "
            "are made. Set preprocessing.degree lower, or set columns that matter less to ignore."
        )


def _check_finite(values: np.ndarray, names: Sequence[str]) -> None:
    if not np.isfinite(values).all():
        name = names[int(np.argmin(np.isfinite(values)))]
        raise DataError(
            f"The numbers in {name!r} are too large to be scaled. Give them in a larger unit, or ignore it."
        )
