"""Text as counts of words and pairs of words, weighted by TF-IDF (Salton & Buckley 1988, as in scikit-learn).

Words are runs of two or more letters, digits or underscores. Scripts that are written without blanks
(Chinese, Japanese, Thai, ...) are read character by character, so that their pairs are the usual character
bigrams. Text is normalised first (Unicode NFKC, lower case): full-width letters and ligatures count as the
plain ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from danlu.data import casts
from danlu.data.stored import Stored

if TYPE_CHECKING:
    import polars as pl
    from scipy.sparse import csr_matrix

Weighting = Literal["tfidf", "counts", "presence"]

UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
TOKEN = rf"[{UNSPACED}]|[\w--[{UNSPACED}]]{{2,}}"
BYTES_AT_ONCE = 8 << 20  # text whose terms are in memory at one time
SIZES = ("characters", "words")
LEAST_ROWS = 2  # a term of a single row says nothing about others


@dataclass(frozen=True, eq=False)
class Terms:
    """The terms of one text column and their weights."""

    column: str
    terms: tuple[str, ...]
    """Sorted by text."""
    idf: np.ndarray
    """(terms,) ln((1 + rows) / (1 + rows with the term)) + 1, from the training rows."""
    weighting: Weighting
    """`tfidf`: (1 + ln count) idf, rows of length 1; `counts`; `presence`: 0 or 1."""
    num_words: int
    """1: words; 2: also pairs of neighbours."""
    has_missing: bool
    """Whether one more feature says that the text is missing."""

    @classmethod
    def fit(
        cls,
        column: pl.Series,
        *,
        weighting: Weighting,
        max_terms: int,
        num_words: int = 2,
        by_variance: bool = False,
        indicator: bool = True,
    ) -> Self:
        """Fit on training rows. The terms of most rows are kept, or with `by_variance` those whose idf times
        presence varies most, which leaves out words that nearly all or hardly any rows have."""
        import polars as pl

        texts = casts.texts(column)
        num_rows = len(texts) - texts.null_count()
        table = pl.DataFrame(schema={"term": pl.String, "rows": pl.Int64})
        for _, chunk in _counts(texts, num_words):
            found = chunk.group_by("term").agg(rows=pl.len().cast(pl.Int64))
            table = pl.concat([table, found]).group_by("term").agg(pl.col("rows").sum())
        common = table.filter(pl.col("rows") >= LEAST_ROWS)
        table = common if common.height else table
        idf = ((1 + num_rows) / (1 + pl.col("rows"))).log() + 1
        share = pl.col("rows") / max(num_rows, 1)
        rank = share * (1 - share) * idf**2 if by_variance else pl.col("rows")
        table = table.with_columns(idf=idf, rank=rank).sort("rank", "term", descending=[True, False])
        table = table.head(max_terms).sort("term")
        has_missing = indicator and texts.null_count() > 0
        return cls(
            column.name, tuple(table["term"]), table["idf"].to_numpy(), weighting, num_words, has_missing
        )

    @property
    def width(self) -> int:
        """Number of features."""
        return len(self.terms) + self.has_missing

    def feature_names(self) -> list[str]:
        """`column: term`, ..."""
        return [f"{self.column}: {term}" for term in self.terms] + [
            f"{self.column} is missing"
        ] * self.has_missing

    def encode(self, column: pl.Series) -> csr_matrix:
        """Features (n, width), float64. A row's features depend on nothing but its text."""
        import polars as pl
        from scipy.sparse import csr_matrix

        texts = casts.texts(column)
        places = pl.DataFrame({"term": pl.Series(self.terms, dtype=pl.String)}).with_row_index("place")
        rows, columns, counts = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)], [np.zeros(0)]
        for start, chunk in _counts(texts, self.num_words):
            found = chunk.join(places, on="term", how="inner").sort("row", "place")
            rows.append(found["row"].to_numpy().astype(np.int64) + start)
            columns.append(found["place"].to_numpy().astype(np.int64))
            counts.append(found["count"].to_numpy().astype(np.float64))
        row, place, value = np.concatenate(rows), np.concatenate(columns), np.concatenate(counts)
        if self.weighting == "presence":
            value = np.ones(len(value))
        elif self.weighting == "tfidf":
            value = _sublinear(value) * self.idf[place]
            # A running sum, unlike a pairwise one, adds a row's terms up alike whatever rows come with it.
            length = np.sqrt(np.bincount(row, weights=value * value, minlength=len(texts)))
            value = value / length[row]
        if self.has_missing:
            missing = np.flatnonzero(texts.is_null().to_numpy())  # rows without any term
            row = np.concatenate([row, missing])
            place = np.concatenate([place, np.full(len(missing), len(self.terms))])
            value = np.concatenate([value, np.ones(len(missing))])
            order = np.argsort(row, kind="stable")
            row, place, value = row[order], place[order], value[order]
        ends = np.cumsum(np.bincount(row, minlength=len(texts)))
        return csr_matrix((value, place, np.concatenate([[0], ends])), shape=(len(texts), self.width))

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON values and arrays from which `from_state` makes an equal one."""
        value = {
            "column": self.column,
            "terms": list(self.terms),
            "weighting": self.weighting,
            "num_words": self.num_words,
            "has_missing": self.has_missing,
        }
        return value, {"idf": self.idf}

    @classmethod
    def from_state(cls, stored: Stored) -> Self:
        """What `state` gave, checked."""
        terms = stored.texts("terms")
        weighting: Any = stored.choice("weighting", ["tfidf", "counts", "presence"])
        return cls(
            stored.text("column"),
            terms,
            stored.array("idf", len(terms), above=0.0),
            weighting,
            stored.whole("num_words", 1, 3),
            stored.flag("has_missing"),
        )


def sizes_of(column: pl.Series) -> np.ndarray:
    """(n, 2) float64: the SIZES of each text, NaN where it is missing."""
    import polars as pl

    texts = casts.texts(column)
    words = texts.str.count_matches(TOKEN)
    both = pl.DataFrame(dict(zip(SIZES, (texts.str.len_chars(), words), strict=True))).cast(pl.Float64)
    return both.to_numpy()


def _counts(texts: pl.Series, num_words: int) -> Iterator[tuple[int, pl.DataFrame]]:
    """(place of the first row, frame of row, term, count) for pieces of the texts that fit into memory."""
    import polars as pl

    sizes = texts.str.len_bytes().fill_null(0).to_numpy().astype(np.int64)
    pieces = np.cumsum(sizes) // BYTES_AT_ONCE
    bounds = [*np.flatnonzero(np.diff(pieces, prepend=-1)).tolist(), len(texts)]
    for start, end in pairwise(bounds):
        text = texts.slice(start, end - start).str.normalize("NFKC").str.to_lowercase()
        tokens = pl.DataFrame({"row": np.arange(end - start), "token": text.str.extract_all(TOKEN)})
        tokens = (
            tokens.explode("token").drop_nulls().with_columns(is_single=pl.col("token").str.len_chars() == 1)
        )
        grams = tokens.with_columns(term=pl.col("token"))
        pieces_of_terms = [grams.select("row", "term")]
        for ahead in range(1, num_words):
            both_single = pl.col("is_single").shift(1 - ahead) & pl.col("is_single").shift(-ahead)
            blank = pl.when(both_single).then(pl.lit("")).otherwise(pl.lit(" "))
            grams = grams.with_columns(term=pl.col("term") + blank + pl.col("token").shift(-ahead))
            grams = grams.with_columns(
                term=pl.when(pl.col("row") == pl.col("row").shift(-ahead)).then(pl.col("term"))
            )
            pieces_of_terms.append(grams.select("row", "term").drop_nulls())
        yield start, pl.concat(pieces_of_terms).group_by("row", "term").agg(count=pl.len())


def _sublinear(counts: np.ndarray) -> np.ndarray:
    """1 + ln(count), one by one: a vectorised logarithm may differ in the last bit with the place."""
    distinct, inverse = np.unique(counts, return_inverse=True)
    return np.array([1 + math.log(count) for count in distinct.tolist()])[inverse]
