"""NDCG: how much of the gain that an order could have, an order has, place by place."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from danlu.core.errors import DataError

Gain = Literal["exponential", "linear"]
MAX_GRADE = 1023  # beyond it, 2^grade is infinite


def ndcg(
    observed: np.ndarray,
    predicted: np.ndarray,
    query: np.ndarray,
    *,
    k: int | None = None,
    gain: Gain = "exponential",
    without_gain: float | None = None,
) -> float | None:
    """Mean NDCG@k over queries, None where no query has one; arguments as in `ndcg_of_queries`.

    A query whose rows all have grade 0 has no best order. It is left out by default; `without_gain=1.0` counts it as
    LightGBM and XGBoost do, `without_gain=0.0` as `sklearn.metrics.ndcg_score` does.
    """
    _, found = ndcg_of_queries(observed, predicted, query, k=k, gain=gain)
    found = found[~np.isnan(found)] if without_gain is None else np.nan_to_num(found, nan=without_gain)
    return float(found.mean()) if len(found) else None


def ndcg_of_queries(
    observed: np.ndarray,
    predicted: np.ndarray,
    query: np.ndarray,
    *,
    k: int | None = None,
    gain: Gain = "exponential",
) -> tuple[np.ndarray, np.ndarray]:
    """The queries (q,) and the NDCG@k (q,) of each, in [0, 1]; NaN where all its grades are 0.

    `observed` (n,) are grades from 0 on, higher is better, `predicted` (n,) scores, `query` (n,) ids. DCG@k is the sum
    over the first k places (all by default) of gain / log2(1 + place), NDCG its share of that of the best order. The
    gain of a grade is 2^grade - 1, as LightGBM and XGBoost have it, or with `linear` the grade itself, as
    `sklearn.metrics.ndcg_score` does. Rows of equal score share the mean gain of their places, as in scikit-learn:
    no order is better for where it happened to stand in the file.

    Source: Jarvelin, Kekalainen 2002, ACM Transactions on Information Systems 20(4); Burges et al. 2005 (2^grade);
    McSherry, Najork 2008 (equal scores).
    """
    observed, predicted = np.asarray(observed, np.float64), np.asarray(predicted, np.float64)
    query = np.asarray(query)
    if not observed.shape == predicted.shape == query.shape == (len(observed),):
        raise DataError(
            f"NDCG needs a grade, a score and a query for each row, got the shapes {observed.shape}, "
            f"{predicted.shape} and {query.shape}."
        )
    if k is not None and k < 1:
        raise DataError(f"NDCG@k looks at the first k places, at least 1; got k = {k}.")
    most = MAX_GRADE if gain == "exponential" else np.inf
    if len(observed) and not (observed.min() >= 0 and observed.max() <= most):
        raise DataError(
            f"Grades must lie from 0 to {most:g} for {gain} gains, got {observed.min():g} to {observed.max():g}."
        )
    if not np.isfinite(predicted).all():
        raise DataError("NDCG needs finite scores; the model gives others.")
    gains = np.exp2(observed) - 1 if gain == "exponential" else observed
    queries, number = np.unique(query, return_inverse=True)
    found = _dcg(gains, predicted, number, len(queries), k)
    best = _dcg(gains, gains, number, len(queries), k)
    return queries, np.divide(found, best, out=np.full(len(queries), np.nan), where=best > 0)


def _dcg(gains: np.ndarray, scores: np.ndarray, number: Any, num_queries: int, k: int | None) -> np.ndarray:
    """(q,) DCG of the order that the scores make within each query."""
    order = np.lexsort((-scores, number))
    number, scores, gains = number[order], scores[order], gains[order]
    sizes = np.bincount(number, minlength=num_queries)
    place = np.arange(len(order)) - (np.cumsum(sizes) - sizes)[number]
    discount = 1 / np.log2(place + 2)
    if k is not None:
        discount[place >= k] = 0.0
    is_new = np.ones(len(order), dtype=bool)
    is_new[1:] = (number[1:] != number[:-1]) | (scores[1:] != scores[:-1])
    tie = np.cumsum(is_new) - 1
    mean_gain = np.bincount(tie, gains) / np.bincount(tie) if len(tie) else gains
    return np.bincount(number, mean_gain[tie] * discount, minlength=num_queries)
