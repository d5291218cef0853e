"""What each metric computes, for many weightings of the same rows at once.

Every function takes `observed`, `predicted` and `weight` and gives one score for each row of `weight`:

    observed   (n,)    float64 values of a regression, int64 class codes of a classification
    predicted  (n,)    values, or (n, k) probabilities, or (n, k) decisions: 0/1 with a single 1 in each row
    weight     (b, n)  b ways to weigh the n rows: ones for a score, counts for b bootstrap resamples

and returns (b,) float64, NaN where the score is undefined for those rows. With two classes, class 1 is the
positive one. A score and its bootstrap interval therefore come from one formula. All agree with scikit-learn
where it defines a score.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Formula = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""(observed, predicted, weight) -> (b,) scores."""

EPSILON = float(np.finfo(np.float64).eps)
NUM_CALIBRATION_BINS = 15  # as in Guo et al. 2017

# ------------------------------------------------------------------ regression


def mean_squared_error(observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted mean of (observed - predicted)^2."""
    return _mean((observed - predicted) ** 2, weight)


def root_mean_squared_error(observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Root of the mean squared error."""
    return np.sqrt(mean_squared_error(observed, predicted, weight))


def mean_absolute_error(observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted mean of |observed - predicted|."""
    return _mean(np.abs(observed - predicted), weight)


def median_absolute_error(observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted median of |observed - predicted|; the mean of two where exactly half lies below."""
    errors = np.abs(observed - predicted)
    order = np.argsort(errors, kind="stable")
    errors = errors[order]
    below = np.cumsum(_columns(weight, order), axis=1)
    total = below[:, -1:]
    slack = EPSILON * total
    last = len(errors) - 1
    first = np.minimum((below < total / 2 - slack).sum(axis=1), last)
    second = np.minimum((below <= total / 2 + slack).sum(axis=1), last)
    return (errors[first] + errors[second]) / 2


def mean_absolute_percentage_error(
    observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    """Weighted mean of |observed - predicted| / |observed|; undefined where a row with weight has 0."""
    size = np.abs(observed)
    is_zero = size < EPSILON
    ratio = np.abs(observed - predicted) / np.where(is_zero, 1.0, size)
    return np.where((weight[:, is_zero] > 0).any(axis=1), np.nan, _mean(ratio, weight))


def r2(observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """1 - sum w (observed - predicted)^2 / sum w (observed - mean)^2; undefined for a constant target."""
    total = weight.sum(axis=1)
    mean = _mean(observed, weight)
    spread = np.einsum("bn,bn->b", weight, (observed[None, :] - mean[:, None]) ** 2)
    # A constant target leaves only the rounding of its mean.
    smallest = total * (1e-14 * np.abs(observed).max(initial=0.0)) ** 2
    return 1.0 - _divide(weight @ (observed - predicted) ** 2, np.where(spread > smallest, spread, 0.0))


# ------------------------------------------------------------------ decisions


def accuracy(observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted share of rows whose class is decided right."""
    return _mean(_of_observed(observed, predicted), weight)


def balanced_accuracy(observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Mean over the observed classes of the share that is found."""
    return balanced_accuracy_of(*count(observed, predicted, weight))


def precision(observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Of the rows decided positive, the share that are (0 where none is); macro mean for several classes."""
    return precision_of(*count(observed, predicted, weight))


def recall(observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Of the positive rows, the share decided positive; macro mean for several classes."""
    return recall_of(*count(observed, predicted, weight))


def f1(observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """2 hits / (observed + decided): mean of precision and recall; macro mean for several."""
    return f1_of(*count(observed, predicted, weight))


def matthews_corrcoef(observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Correlation of observed and decided classes (Gorodkin 2004); 0 where all decisions are one class."""
    return matthews_corrcoef_of(*count(observed, predicted, weight))


def count(
    observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weight of hits, of observed rows and of decided rows in each class: three (b, k) arrays."""
    truth = one_hot(observed, predicted.shape[1])
    return weight @ (truth * predicted), weight @ truth, weight @ predicted


def one_hot(codes: np.ndarray, num_classes: int) -> np.ndarray:
    """(n, k) float64 with a single 1 in each row, at the row's code."""
    return (codes[:, None] == np.arange(num_classes)).astype(np.float64)


def accuracy_of(hits: np.ndarray, observed: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """Accuracy from the counts of `count`."""
    return _divide(hits.sum(axis=1), observed.sum(axis=1))


def balanced_accuracy_of(hits: np.ndarray, observed: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """Balanced accuracy from the counts of `count`."""
    return _nan_mean(_divide(hits, observed))


def precision_of(hits: np.ndarray, observed: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """Precision from the counts of `count`."""
    return _positive_or_macro(np.where(decided > 0, _divide(hits, decided), 0.0), observed, decided)


def recall_of(hits: np.ndarray, observed: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """Recall from the counts of `count`; in the macro mean a class that is never observed counts 0."""
    if hits.shape[1] == 2:
        return _divide(hits[:, 1], observed[:, 1])
    return _positive_or_macro(np.where(observed > 0, _divide(hits, observed), 0.0), observed, decided)


def f1_of(hits: np.ndarray, observed: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """F1 from the counts of `count`."""
    return _positive_or_macro(_divide(2 * hits, observed + decided), observed, decided)


def matthews_corrcoef_of(hits: np.ndarray, observed: np.ndarray, decided: np.ndarray) -> np.ndarray:
    """Matthews correlation from the counts of `count`."""
    total = observed.sum(axis=1)
    both = hits.sum(axis=1) * total - (observed * decided).sum(axis=1)
    of_observed = total**2 - (observed**2).sum(axis=1)
    of_decided = total**2 - (decided**2).sum(axis=1)
    correlation = np.where(of_decided > 0, _divide(both, np.sqrt(of_observed * of_decided)), 0.0)
    return np.where(of_observed > 0, correlation, np.nan)


# ------------------------------------------------------------------ probabilities


def log_loss(observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted mean of -ln(probability of the observed class), nats; 0 and 1 are clipped by 2.2e-16."""
    return _mean(surprise(observed, predicted), weight)


def surprise(observed: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """-ln(probability of the observed class) of each row, nats, from 0 to 36."""
    return -np.log(np.clip(_of_observed(observed, predicted), EPSILON, 1.0 - EPSILON))


def brier_score(observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted mean squared distance of the probabilities from the observed class, halved for two classes.

    Ranges from 0 to 1 for two classes and to 2 for several, as in Brier 1950 and scikit-learn.
    """
    num_classes = predicted.shape[1]
    distance = ((one_hot(observed, num_classes) - predicted) ** 2).sum(axis=1)
    return _mean(distance / 2 if num_classes == 2 else distance, weight)


def roc_auc(observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Chance that a positive row scores above a negative one, ties counting half (Mann-Whitney).

    For several classes the mean over the observed ones, each against the rest. Undefined with one class.
    """
    return _over_classes(_binary_auc, observed, predicted, weight)


def average_precision(observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Sum over the thresholds of precision times the rise of recall; mean over the observed classes."""
    return _over_classes(_binary_average_precision, observed, predicted, weight)


def expected_calibration_error(observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Mean gap between the largest probability and how often it comes true, in 15 equal bins (Guo 2017)."""
    top = predicted.argmax(axis=1)
    confidence = predicted[np.arange(len(top)), top]
    bins = np.ceil(np.minimum(confidence, 1.0) * NUM_CALIBRATION_BINS).astype(np.int64) - 1  # (lower, upper]
    gap = (top == observed) - confidence
    sums = weight @ (one_hot(bins, NUM_CALIBRATION_BINS) * gap[:, None])
    return _divide(np.abs(sums).sum(axis=1), weight.sum(axis=1))


# ------------------------------------------------------------------ pieces


def _binary_auc(is_positive: np.ndarray, score: np.ndarray, weight: np.ndarray) -> np.ndarray:
    positive, negative = _ascending(is_positive, score), _ascending(~is_positive, score)
    below = _cumulative(_columns(weight, negative))
    lower = np.searchsorted(score[negative], score[positive], side="left")
    upper = np.searchsorted(score[negative], score[positive], side="right")
    of_positive = _columns(weight, positive)
    beaten = _columns(below, lower)
    if not np.array_equal(lower, upper):  # ties
        beaten = (beaten + _columns(below, upper)) / 2
    return _divide(np.einsum("bn,bn->b", of_positive, beaten), of_positive.sum(axis=1) * below[:, -1])


def _binary_average_precision(is_positive: np.ndarray, score: np.ndarray, weight: np.ndarray) -> np.ndarray:
    positive, negative = _ascending(is_positive, -score), _ascending(~is_positive, -score)
    of_positive = _columns(weight, positive)
    hits = _cumulative(of_positive)
    at_least = -score[positive]
    hits_here = _columns(hits, np.searchsorted(at_least, at_least, side="right"))
    alarms = _cumulative(_columns(weight, negative))
    decided = _columns(alarms, np.searchsorted(-score[negative], at_least, side="right"))
    decided += hits_here
    decided[decided == 0] = 1.0  # rows without weight, with no hits
    hits_here /= decided
    return _divide(np.einsum("bn,bn->b", of_positive, hits_here), hits[:, -1])


def _over_classes(
    function: Formula, observed: np.ndarray, predicted: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    if predicted.shape[1] == 2:
        return function(observed == 1, predicted[:, 1], weight)
    each = [function(observed == code, predicted[:, code], weight) for code in range(predicted.shape[1])]
    return _nan_mean(np.column_stack(each))


def _positive_or_macro(score: np.ndarray, observed: np.ndarray, decided: np.ndarray) -> np.ndarray:
    if score.shape[1] == 2:
        return score[:, 1]
    return _nan_mean(np.where(observed + decided > 0, score, np.nan))


def _of_observed(observed: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    return predicted[np.arange(len(observed)), observed]


def _ascending(mask: np.ndarray, score: np.ndarray) -> np.ndarray:
    rows = np.flatnonzero(mask)
    return rows[np.argsort(score[rows], kind="stable")]


def _columns(weight: np.ndarray, columns: np.ndarray) -> np.ndarray:
    return np.take(weight, columns, axis=1)  # several times as fast as weight[:, columns], and contiguous


def _cumulative(weight: np.ndarray) -> np.ndarray:
    """(b, n) -> (b, n + 1): the weight of the first 0, 1, ..., n columns."""
    sums = np.zeros((weight.shape[0], weight.shape[1] + 1))
    np.cumsum(weight, axis=1, out=sums[:, 1:])
    return sums


def _mean(value: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return _divide(weight @ value, weight.sum(axis=1))


def _divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """above / below, NaN where below is 0."""
    undefined = np.full(np.broadcast_shapes(above.shape, below.shape), np.nan)
    return np.divide(above, below, out=undefined, where=below != 0)


def _nan_mean(value: np.ndarray) -> np.ndarray:
    """Mean of each row over its defined values; NaN where there are none."""
    defined = ~np.isnan(value)
    return _divide(np.where(defined, value, 0.0).sum(axis=1), defined.sum(axis=1))
