"""From the raw columns of a table to the feature matrix of a model: fitted on training rows, kept as data.

encoding   for                          numbers          categories        dates            text linear
linear, k-NN, SVM, networks  imputed, scaled  one-hot           parts, cycles    TF-IDF tree       trees
and their ensembles    as they are      ordinal codes     parts            length, counts of terms counts
multinomial naive Bayes      0 to 1           one-hot           parts, 0 to 1    counts of terms binary
Bernoulli naive Bayes        above median     one-hot           above median     presence of terms
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import numpy as np

from danlu.core.errors import DataError, RecipeError
from danlu.core.seeds import generator
from danlu.data import casts
from danlu.data.date_parts import DateParts
from danlu.data.encodings import Imputation, Levels, Numbers, Scaling, Way
from danlu.data.stored import Stored
from danlu.data.tfidf import SIZES, Terms, Weighting, sizes_of

if TYPE_CHECKING:
    import polars as pl

    from danlu.data.schema import Schema

Encoding = Literal["linear", "tree", "counts", "binary"]

WAYS: dict[str, Way] = {"linear": "scaled", "tree": "keep", "counts": "unit", "binary": "above"}
WEIGHTINGS: dict[str, Weighting] = {
    "linear": "tfidf",
    "tree": "counts",
    "counts": "counts",
    "binary": "presence",
}
SPARSE_FROM = 1000  # one-hot features; with more the matrix is nearly all zeros
CELLS_AT_ONCE = 1 << 20  # features that are worked on together: few enough for the processor's cache
LEAST_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class PreprocessSettings:
    """How columns become features."""

    imputation: Imputation = "median"
    """What replaces a missing number if a model needs one: `median`, `mean`, `most_frequent`, `constant`."""
    fill_value: float = 0.0
    """The number for imputation `constant`."""
    indicator: bool = True
    """Add a feature that says where a value is missing, if some were missing among the training rows."""
    scaling: Scaling = "standard"
    """`standard`: (x - mean) / sd; `robust`: (x - median) / quartile distance; `minmax`: 0 to 1; `none`."""
    degree: int = 1
    """Products of up to so many numbers (x^2, x * z, ...) as features of linear models: 1 (none), 2 or 3."""
    rare_share: float = 0.001
    """One-hot: levels with a smaller share of the training rows are merged into one."""
    max_levels: int = 100
    """One-hot: so many levels of a column, the most frequent, are kept; the others are merged into one."""
    max_codes: int = 1000
    """Trees: so many levels of a column have codes of their own; the others share one code after the last."""
    dates: Literal["parts", "elapsed"] = "parts"
    """`parts`: year, month, day, weekday, hour, their cycles, days elapsed; `elapsed`: only the last."""
    text_terms: int = 20_000
    """Words and pairs of words of a text column that become features: those in the most training rows."""
    tree_text_terms: int = 200
    """The same for trees, where each term is a dense column: those that vary most."""
    text_rows: int = 100_000
    """Terms are found in at most so many training rows, drawn by the seed."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("degree", 1, 3),
            ("max_levels", 1, 100_000),
            ("max_codes", 1, 1_000_000),
            ("text_terms", 1, 200_000),
            ("tree_text_terms", 1, 10_000),
            ("text_rows", 1, 100_000_000),
        ):
            if not low <= getattr(self, name) <= high:
                raise RecipeError(
                    f"preprocessing.{name} must be from {low} to {high:,}, got {getattr(self, name)}."
                )
        if not 0 <= self.rare_share < 1:
            raise RecipeError(f"preprocessing.rare_share is a share from 0 to 1, got {self.rare_share:g}.")


@dataclass(frozen=True, eq=False)
class Preprocessor:
    """Turns raw rows into features; made by `fit_preprocessor`, or read from a file with `from_state`.

    Features come in the order of the fields: numbers, flags (yes and no), dates, categories, texts.
    """

    encoding: Encoding
    numbers: tuple[str, ...]
    number_features: Numbers
    flags: tuple[str, ...]
    flag_features: Numbers
    dates: tuple[DateParts, ...]
    date_features: Numbers
    categories: tuple[Levels, ...]
    texts: tuple[Terms, ...]

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """The raw columns that `transform` needs."""
        of_parts = [part.column for part in (*self.dates, *self.categories, *self.texts)]
        return (*self.numbers, *self.flags, *of_parts)

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """`age`, `age is missing`, `age^2`, `day.month`, `sex=male`, `review: good`, ..."""
        return tuple(name for name, _ in self._features)

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """The raw column that each feature comes from; `a * b` for the product of two."""
        return tuple(source for _, source in self._features)

    @property
    def num_features(self) -> int:
        """Width of what `transform` gives, without naming the features."""
        sizes = len(SIZES) * len(self.texts) if self.encoding == "tree" else 0
        return sizes + sum(each.width for each in (*self._dense_blocks, *self.categories, *self.texts))

    @property
    def is_sparse(self) -> bool:
        """Whether `transform` gives a SciPy CSR matrix: for text or many levels, but never for trees."""
        many = sum(levels.width for levels in self.categories) > SPARSE_FROM
        return self.encoding != "tree" and (bool(self.texts) or many)

    @cached_property
    def coded_levels(self) -> dict[int, tuple[str, ...]]:
        """Of each feature that holds ordinal codes: the levels in the order of their codes."""
        places = {name: place for place, name in enumerate(self.feature_names)}
        return {places[levels.column]: levels.levels for levels in self.categories if not levels.one_hot}

    def transform(self, frame: pl.DataFrame, *, row_numbers: np.ndarray | None = None) -> Any:
        """Features of the rows: (n, num_features) float64, as an array or, where `is_sparse`, a CSR matrix.

        The order of the columns does not matter and further ones are ignored. A row's features depend on that
        row alone, to the last bit. DataError names the columns that are missing, or the first value that does
        not fit its column; `row_numbers` (n,) are the rows as a person counts them there.
        """
        casts.require(frame, self.columns)
        counted = np.arange(1, frame.height + 1) if row_numbers is None else row_numbers
        step = max(CELLS_AT_ONCE // max(self.num_features, 1), LEAST_ROWS_AT_ONCE)
        slices = [slice(start, start + step) for start in range(0, max(frame.height, 1), step)]
        if not self.is_sparse:
            features = np.empty((frame.height, self.num_features))
            for rows in slices:
                self._write(frame[rows], features[rows], counted[rows])
            return features
        from scipy.sparse import vstack

        return vstack([self._sparse(frame[rows], counted[rows]) for rows in slices], format="csr")

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON values and arrays from which `from_state` makes an equal preprocessor."""
        value: dict[str, Any] = {"format": 1, "encoding": self.encoding}
        arrays: dict[str, np.ndarray] = {}
        columns: dict[str, list[Any]] = {
            "numbers": list(self.numbers),
            "flags": list(self.flags),
            "dates": [part.state() for part in self.dates],
        }
        for name, features in zip(columns, self._dense_blocks, strict=True):
            settings, own = features.state()
            value[name] = {"columns": columns[name]} | settings
            arrays |= {f"{name}.{key}": array for key, array in own.items()}
        value["categories"] = [levels.state() for levels in self.categories]
        value["texts"] = []
        for place, terms in enumerate(self.texts):
            settings, own = terms.state()
            value["texts"].append(settings)
            arrays |= {f"texts.{place}.{key}": array for key, array in own.items()}
        return value, arrays

    @classmethod
    def from_state(cls, value: Any, arrays: Mapping[str, np.ndarray]) -> Self:
        """The preprocessor that `state` described; BundleError for anything that it cannot have written."""
        stored = Stored(value, arrays)
        stored.whole("format", 1, 1)
        encoding: Any = stored.choice("encoding", get_args(Encoding))
        numbers, flags, dated = stored.part("numbers"), stored.part("flags"), stored.part("dates")
        number_columns, flag_columns = numbers.texts("columns"), flags.texts("columns")
        dates = tuple(DateParts.from_state(part) for part in dated.parts("columns"))
        found = cls(
            encoding,
            number_columns,
            Numbers.from_state(numbers, len(number_columns)),
            flag_columns,
            Numbers.from_state(flags, len(flag_columns)),
            dates,
            Numbers.from_state(dated, sum(len(part.parts) for part in dates)),
            tuple(Levels.from_state(part) for part in stored.parts("categories")),
            tuple(Terms.from_state(part) for part in stored.parts("texts")),
        )
        stored.finish()
        # Ordinal codes in a sparse matrix would point outside of it.
        if any(levels.one_hot == (encoding == "tree") for levels in found.categories):
            stored.fail("categories", f"do not fit the encoding {encoding}")
        if len(set(found.columns)) != len(found.columns):
            stored.fail("", "uses a column twice")
        return found

    @property
    def _dense_blocks(self) -> tuple[Numbers, Numbers, Numbers]:
        return self.number_features, self.flag_features, self.date_features

    @cached_property
    def _features(self) -> list[tuple[str, str]]:
        """(name, source) of each feature."""
        parts = [name for part in self.dates for name in part.feature_names()]
        of_parts = [part.column for part in self.dates for _ in part.parts]
        found: list[tuple[str, str]] = []
        for features, names, sources in (
            (self.number_features, self.numbers, self.numbers),
            (self.flag_features, self.flags, self.flags),
            (self.date_features, parts, of_parts),
        ):
            found += features.names_and_sources(names, sources)
        for levels in self.categories:
            found += [(name, levels.column) for name in levels.feature_names()]
        for terms in self.texts:
            sizes = [f"{terms.column}.{size}" for size in SIZES] if self.encoding == "tree" else []
            found += [(name, terms.column) for name in (*sizes, *terms.feature_names())]
        return found

    def _write(self, frame: pl.DataFrame, out: np.ndarray, row_numbers: np.ndarray) -> None:
        """All features into `out` (n, num_features)."""
        start = self._write_dense(frame, out, row_numbers)
        for levels in self.categories:
            levels.write(levels.slots(frame[levels.column]), out[:, start : start + levels.width])
            start += levels.width
        for terms in self.texts:  # in dense form for trees only
            column = frame[terms.column]
            out[:, start : start + len(SIZES)] = sizes_of(column)
            start += len(SIZES)
            out[:, start : start + terms.width] = terms.encode(column).toarray()
            start += terms.width

    def _sparse(self, frame: pl.DataFrame, row_numbers: np.ndarray) -> Any:
        from scipy.sparse import csr_matrix, hstack

        dense = np.empty((frame.height, sum(features.width for features in self._dense_blocks)))
        self._write_dense(frame, dense, row_numbers)
        blocks = [csr_matrix(dense)]
        blocks += [levels.sparse(levels.slots(frame[levels.column])) for levels in self.categories]
        blocks += [terms.encode(frame[terms.column]) for terms in self.texts]
        return hstack(blocks, format="csr")

    def _write_dense(self, frame: pl.DataFrame, out: np.ndarray, row_numbers: np.ndarray) -> int:
        """Numbers, flags and dates into the first columns of `out`; how many columns that are."""
        start = 0
        for features, values in zip(self._dense_blocks, self._values(frame, row_numbers), strict=True):
            features.write(values, out[:, start : start + features.width])
            start += features.width
        if self.encoding != "tree" and not np.isfinite(out[:, :start]).all():
            row, place = np.argwhere(~np.isfinite(out[:, :start]))[0].tolist()
            raise DataError(
                f"Column {self.sources[place]!r} holds a number in row {row_numbers[row]} that is too large "
                "for the model: it overflows when scaled. Correct it, or leave it empty if it is missing."
            )
        return start

    def _values(self, frame: pl.DataFrame, row_numbers: np.ndarray) -> Iterator[np.ndarray]:
        yield casts.numbers(frame, self.numbers, row_numbers)
        yield casts.booleans(frame, self.flags, row_numbers)
        yield _date_values(frame, self.dates, row_numbers)


def fit_preprocessor(
    frame: pl.DataFrame,
    schema: Schema,
    *,
    encoding: Encoding,
    settings: PreprocessSettings | None = None,
    seed: int = 0,
    row_numbers: np.ndarray | None = None,
) -> Preprocessor:
    """Fit on `frame`, which holds training rows only, and its columns with the role `feature`.

    Columns of the type `constant` make no features; identifiers that were given the role `feature` are
    categories. DataError where no column is left, or a value does not fit its column's type; `row_numbers` as
    in `transform`.
    """
    settings = settings or PreprocessSettings()
    counted = np.arange(1, frame.height + 1) if row_numbers is None else row_numbers
    by_type: dict[str, list[str]] = {}
    for column in schema.columns:
        if column.role == "feature" and column.type != "constant":
            by_type.setdefault(column.type, []).append(column.name)
    if not by_type:
        raise DataError(
            "No column is left to learn from: all of them are constant, ignored, or have another role. "
            "Give at least one column the role feature."
        )
    names = [name for names in by_type.values() for name in names]
    casts.require(frame, names)
    numbers = tuple(by_type.get("number", ()))
    flags = tuple(name for name in by_type.get("boolean", ()) if _is_readable(frame[name]))
    other_flags = [name for name in by_type.get("boolean", ()) if name not in flags]
    dates = tuple(
        DateParts.fit(
            frame[name],
            cyclic=encoding == "linear",
            parts=settings.dates == "parts",
            row_numbers=counted,
        )
        for name in by_type.get("datetime", ())
    )
    one_hot = encoding != "tree"
    return Preprocessor(
        encoding,
        numbers,
        _fit_numbers(casts.numbers(frame, numbers, counted), numbers, encoding, settings),
        flags,
        Numbers.fit(
            casts.booleans(frame, flags, counted),
            flags,
            way="scaled" if one_hot else "keep",
            imputation="most_frequent",
            indicator=settings.indicator,
            scaling="none",
        ),
        dates,
        _fit_dates(frame, dates, encoding, settings, counted),
        tuple(
            Levels.fit(
                frame[name],
                one_hot=one_hot,
                rare_share=settings.rare_share,
                max_levels=settings.max_levels if one_hot else settings.max_codes,
                indicator=settings.indicator,
            )
            for name in (*by_type.get("category", ()), *by_type.get("identifier", ()), *other_flags)
        ),
        tuple(_fit_terms(frame[name], encoding, settings, seed) for name in by_type.get("text", ())),
    )


def _fit_numbers(
    values: np.ndarray, names: Sequence[str], encoding: Encoding, settings: PreprocessSettings
) -> Numbers:
    return Numbers.fit(
        values,
        names,
        way=WAYS[encoding],
        imputation=settings.imputation,
        fill_value=settings.fill_value,
        indicator=settings.indicator,
        scaling=settings.scaling,
        degree=settings.degree,
    )


def _fit_dates(
    frame: pl.DataFrame,
    dates: Sequence[DateParts],
    encoding: Encoding,
    settings: PreprocessSettings,
    row_numbers: np.ndarray,
) -> Numbers:
    features = Numbers.fit(
        _date_values(frame, dates, row_numbers),
        [name for part in dates for name in part.feature_names()],
        way=WAYS[encoding],
        indicator=settings.indicator,
        scaling=settings.scaling,
    )
    # All parts of a date are missing together: the first one says so for all.
    is_first = np.array([place == 0 for part in dates for place in range(len(part.parts))], dtype=bool)
    return replace(features, has_indicator=features.has_indicator & is_first)


def _fit_terms(column: pl.Series, encoding: Encoding, settings: PreprocessSettings, seed: int) -> Terms:
    if len(column) > settings.text_rows:
        draw = generator(seed, "preprocess", "text", column.name)
        column = column.gather(np.sort(draw.choice(len(column), settings.text_rows, replace=False)))
    return Terms.fit(
        column,
        weighting=WEIGHTINGS[encoding],
        max_terms=settings.tree_text_terms if encoding == "tree" else settings.text_terms,
        by_variance=encoding == "tree",
        indicator=settings.indicator and encoding != "tree",
    )


def _date_values(frame: pl.DataFrame, dates: Sequence[DateParts], row_numbers: np.ndarray) -> np.ndarray:
    blocks = [part.values(frame[part.column], row_numbers) for part in dates]
    return np.column_stack(blocks) if blocks else np.empty((frame.height, 0))


def _is_readable(column: pl.Series) -> bool:
    """Whether the two values of a boolean column are among the words for yes and no."""
    return bool((np.isnan(casts.boolean(column)) == column.is_null().to_numpy()).all())
