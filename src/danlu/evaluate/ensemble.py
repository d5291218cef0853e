"""Ensembles of candidates: a weighted mean of their predictions, chosen on validation rows.

Greedy selection with replacement (Caruana et al. 2004), bagged over bootstrap draws of the rows so that luck
of single rows weighs less; or, for a number, the convex combination with the least squared error (Breiman
1996).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from danlu.evaluate import formulas
from danlu.evaluate.bootstrap import resamples

Loss = Literal["log_loss", "squared_error", "absolute_error"]

_CELLS_IN_ALL = 100_000_000  # with more rows, candidates or rounds there are fewer bags


def select(
    predictions: Mapping[str, np.ndarray],
    observed: np.ndarray | Sequence[float],
    loss: Loss,
    *,
    weight: np.ndarray | None = None,
    rounds: int = 25,
    bags: int = 10,
    min_gain: float = 0.0005,
    min_weight: float = 0.04,
    seed: int = 0,
) -> dict[str, float]:
    """Weights of the candidates in the ensemble, above 0 and with the sum 1, the largest first.

    In each bag the candidate that helps the mean most is added, up to `rounds` times, the same one as often
    as it helps, and the best stage is kept; the bags' weights are averaged. Members below `min_weight` are
    left out. The best single candidate is returned alone unless the ensemble lowers its loss on these rows by
    more than the share `min_gain`. Candidates with predictions that are not finite are left out. Names decide
    ties, so the order of `predictions` does not matter.
    """
    names, useful = _useful(predictions, observed, loss)
    weights = np.ones(useful.shape[1]) if weight is None else np.asarray(weight, np.float64)
    truth = np.asarray(observed)
    alone = _mean_loss(useful, truth, loss, weights)
    best = _first_best(alone)
    if len(names) == 1:
        return {names[best]: 1.0}
    num_bags = int(np.clip(_CELLS_IN_ALL // (useful.size * rounds), 1, bags))
    shares = np.zeros(len(names))
    if num_bags == 1:
        shares += _greedy(useful, truth, loss, weights, rounds)
    else:
        for block in resamples(weights, num_resamples=num_bags, seed=seed):
            for bag in block:
                if bag.any():
                    shares += _greedy(useful, truth, loss, bag, rounds)
    shares /= shares.sum()
    shares[shares < min(min_weight, shares.max())] = 0.0
    return _unless_small(names, shares / shares.sum(), useful, truth, loss, weights, best, min_gain)


def _useful(
    predictions: Mapping[str, np.ndarray], observed: np.ndarray | Sequence[float], loss: Loss
) -> tuple[list[str], np.ndarray]:
    """Names in order, and the (candidates, rows) numbers that the loss looks at: means of them are exact."""
    names: list[str] = []
    kept: list[np.ndarray] = []
    for name in sorted(predictions):
        predicted = np.asarray(predictions[name], np.float64)
        if loss == "log_loss":
            predicted = predicted[np.arange(len(predicted)), np.asarray(observed, np.int64)]
        if np.isfinite(predicted).all():
            names.append(name)
            kept.append(predicted)
    if not names:
        raise ValueError("An ensemble needs at least one candidate with finite predictions.")
    return names, np.stack(kept)


def _greedy(useful: np.ndarray, truth: np.ndarray, loss: Loss, weight: np.ndarray, rounds: int) -> np.ndarray:
    """Share of each candidate in the best stage of one greedy selection."""
    kept = weight > 0
    useful, truth, weight = useful[:, kept], truth[kept], weight[kept]
    counts = np.zeros(len(useful))
    total = np.zeros(useful.shape[1])
    best_loss, best_shares = np.inf, counts
    for size in range(1, rounds + 1):
        losses = _mean_loss((total + useful) / size, truth, loss, weight)
        choice = _first_best(losses)
        counts[choice] += 1
        total = total + useful[choice]
        if losses[choice] < best_loss:
            best_loss, best_shares = float(losses[choice]), counts / size
    return best_shares


def _first_best(losses: np.ndarray) -> int:
    """The first candidate with the smallest loss; equal losses may differ in their last bits."""
    smallest = losses.min()
    return int(np.flatnonzero(losses <= smallest + 1e-12 * abs(smallest))[0])


def _mean_loss(useful: np.ndarray, truth: np.ndarray, loss: Loss, weight: np.ndarray) -> np.ndarray:
    """(candidates,) weighted mean loss of (candidates, rows)."""
    if loss == "log_loss":
        losses = -np.log(np.clip(useful, formulas.EPSILON, 1.0 - formulas.EPSILON))
    elif loss == "squared_error":
        losses = (truth - useful) ** 2
    else:
        losses = np.abs(truth - useful)
    return losses @ weight / weight.sum()


def _unless_small(
    names: list[str],
    shares: np.ndarray,
    useful: np.ndarray,
    truth: np.ndarray,
    loss: Loss,
    weight: np.ndarray,
    best: int,
    min_gain: float,
) -> dict[str, float]:
    """The ensemble, or the best candidate alone where the gain is not beyond `min_gain` of its loss."""
    alone, together = _mean_loss(np.stack([useful[best], shares @ useful]), truth, loss, weight)
    if not alone - together > min_gain * abs(alone):
        return {names[best]: 1.0}
    members = [(name, float(share)) for name, share in zip(names, shares, strict=True) if share > 0]
    return dict(sorted(members, key=lambda member: -member[1]))
