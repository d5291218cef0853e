"""Least squares and ridge: exact by QR and SVD in float64, or by conjugate gradients where that is cheaper.

Minimises  sum_i w_i (y_i - b - z_i c)^2 + strength |c|^2  with a constant b that is not penalised, z the
features. The table is centred and walked over in blocks: R of QR is updated block by block, so a copy of it
is never made. Leave-one-out errors of every strength come from one decomposition (Golub, Heath, Wahba 1979).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from danlu.core.errors import DataError, OutOfTime
from danlu.core.ideas import Context
from danlu.core.scores import dense
from danlu.core.seeds import generator
from danlu.models.affine import Affine
from danlu.models.rows import Rows, slices

EXACT_FLOPS = 2e10
"""Size of a problem, n * d * min(n, d), up to which the exact solution takes seconds."""
STRENGTHS = np.logspace(-6, 3, 37)
"""Candidate strengths per unit of the rows' total weight."""
MANY_ROWS = 20  # rows a feature from which on the normal equations are formed
WELL_CONDITIONED = 1e-5  # least eigenvalue of the normal equations as a share of the largest
MAX_STEPS = 1000  # of conjugate gradients


class Features(NamedTuple):
    """The rows' features as the solver sees them: z = (expand(x) - mean) * factor."""

    rows: Rows
    expand: Callable[[Any], Any]
    """Block of rows of x -> block of features; conjugate gradients know only `identity`."""
    mean: np.ndarray
    """(t,) weighted means."""
    deviation: np.ndarray
    """(t,) weighted standard deviations; 0 for constants."""
    factor: np.ndarray
    """(t,) by which the centred features are multiplied; 0 for constants."""

    def blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Dense blocks of z."""
        for part in slices(len(self.rows.y), len(self.mean)):
            yield part, (dense(self.expand(self.rows.x[part])) - self.mean) * self.factor

    def finish(self, coefficients: np.ndarray) -> Affine:
        """Coefficients of z (t,) -> the same solution in terms of the features before centring."""
        weights = coefficients * self.factor
        level = np.average(self.rows.y, weights=self.rows.weight)
        return Affine(weights, np.array([level - self.mean @ weights]))

    def target(self) -> np.ndarray:
        """The centred target, (n,)."""
        return self.rows.y - np.average(self.rows.y, weights=self.rows.weight)


class Solution(NamedTuple):
    """What a solver found."""

    affine: Affine
    strength: float
    converged: bool = True


class Spectrum(NamedTuple):
    """Singular value decomposition of z times the roots of the weights, and the target in its terms."""

    values: np.ndarray
    """(r,) singular values."""
    vectors: np.ndarray
    """(t, r) right singular vectors."""
    target: np.ndarray
    """(r,) the centred target along the left singular vectors."""


def least_squares(rows: Rows, context: Context) -> Solution:
    """The least-squares solution; of equally good ones the shortest, in units of standard deviations."""
    features = scaled(describe(rows))
    if is_cheap(features):
        return Solution(from_spectrum(features, decompose(features, context), 0.0), 0.0)
    return descend(features, 0.0, context)


def ridge(features: Features, strength: float | None, context: Context) -> Solution:
    """The ridge solution; without a strength, that with the least error on rows left out of the fit."""
    if not is_cheap(features):
        return descend(
            features, held_out_strength(features, context) if strength is None else strength, context
        )
    spectrum = decompose(features, context)
    if strength is None:
        strengths = STRENGTHS[::-1] * features.rows.weight.sum()  # the strongest of equally good ones
        strength = float(strengths[np.argmin(leave_one_out(features, spectrum, strengths))])
    return Solution(from_spectrum(features, spectrum, strength), strength)


def describe(rows: Rows, expand: Callable[[Any], Any] | None = None) -> Features:
    """Weighted means and standard deviations of the features, with the factor 1 for all but constants."""
    with np.errstate(over="ignore", invalid="ignore"):
        is_sparse = expand is None and hasattr(rows.x, "nnz")
        mean, variance = _sparse_moments(rows) if is_sparse else _moments(rows, expand or identity)
    if not np.isfinite(variance).all():
        raise DataError(
            "The columns hold numbers too large to multiply. Divide them by a power of ten first."
        )
    return Features(rows, expand or identity, mean, np.sqrt(variance), (variance > 0).astype(np.float64))


def scaled(features: Features) -> Features:
    """The same features with a factor that makes their standard deviations 1."""
    varies = features.deviation > 0
    return features._replace(factor=np.where(varies, 1.0 / np.where(varies, features.deviation, 1.0), 0.0))


def identity(x: Any) -> Any:
    """The features are the columns themselves."""
    return x


def is_cheap(features: Features) -> bool:
    """Whether the exact solution takes seconds, or no longer than some hundred passes over the values."""
    num_rows, num_features = len(features.rows.y), len(features.mean)
    is_sparse = features.expand is identity and hasattr(features.rows.x, "nnz")
    num_values = features.rows.x.nnz if is_sparse else num_rows * num_features
    return num_rows * num_features * min(num_rows, num_features) <= max(EXACT_FLOPS, 2000 * num_values)


def decompose(features: Features, context: Context) -> Spectrum:
    """Eigenvalues of the normal equations where these are well-conditioned; else QR of [z y], then the SVD of R.

    Ten times as fast, and no less exact: the error of the normal equations grows with their condition number, here
    at most 1e5, to 1e-11 of the solution.
    """
    num_features = len(features.mean)
    if num_features * MANY_ROWS <= len(features.rows.y):
        products = np.zeros((num_features + 1, num_features + 1))
        for block in _weighted_blocks(features, context):
            products += block.T @ block
        squares, vectors = np.linalg.eigh(products[:num_features, :num_features])
        if num_features and squares[0] > WELL_CONDITIONED * squares[-1]:
            values = np.sqrt(squares)
            target = vectors.T @ products[:num_features, num_features] / values
            return Spectrum(values[::-1], vectors[:, ::-1], target[::-1])
    upper = np.zeros((0, num_features + 1))
    for block in _weighted_blocks(features, context):
        upper = np.vstack([upper, block])
        if len(upper) > num_features + 1:
            upper = np.asarray(np.linalg.qr(upper, mode="r"))
    left, values, right = np.linalg.svd(upper[:, :num_features], full_matrices=False)
    return Spectrum(values, right.T, left.T @ upper[:, num_features])


def _weighted_blocks(features: Features, context: Context) -> Iterator[np.ndarray]:
    """Blocks of [z y], each row times the root of its weight."""
    target, root = features.target(), np.sqrt(features.rows.weight)
    for part, z in features.blocks():
        if context.deadline.has_passed:
            raise _out_of_time(features)
        yield np.column_stack([z, target[part]]) * root[part, None]


def from_spectrum(features: Features, spectrum: Spectrum, strength: float) -> Affine:
    """The solution for one strength; directions without any spread get no weight."""
    values = spectrum.values
    size = max(len(features.rows.y), len(features.mean))
    kept = values > np.finfo(np.float64).eps * size * values.max(initial=0.0)
    shrunk = np.where(kept, values * spectrum.target / np.where(kept, values**2 + strength, 1.0), 0.0)
    return features.finish(spectrum.vectors @ shrunk)


def leave_one_out(features: Features, spectrum: Spectrum, strengths: np.ndarray) -> np.ndarray:
    """Weighted mean squared error of each row under the fit to all the others, for each strength: (s,)."""
    target, weight = features.target(), features.rows.weight
    denominators = spectrum.values[:, None] ** 2 + strengths  # (r, s)
    slopes = (spectrum.values * spectrum.target)[:, None] / denominators
    errors = np.zeros(len(strengths))
    for part, z in features.blocks():
        along = z @ spectrum.vectors  # (b, r)
        leverage = weight[part, None] * (1.0 / weight.sum() + along**2 @ (1.0 / denominators))
        residual = (target[part, None] - along @ slopes) / np.maximum(1.0 - leverage, 1e-12)
        errors += weight[part] @ residual**2
    return errors / weight.sum()


def held_out_strength(features: Features, context: Context) -> float:
    """The strength with the least error on a fifth of the rows, for tables too large for `leave_one_out`."""
    rows = features.rows
    order = generator(context.seed, "held out for the strength").permutation(len(rows.y))
    fit, held = rows.take(order[len(order) // 5 :]), rows.take(order[: len(order) // 5])
    fitted = features._replace(rows=fit)
    best, least, start = 0.0, np.inf, None
    for share in STRENGTHS[::-4]:
        start, _ = conjugate_gradients(fitted, share * fit.weight.sum(), context, start=start)
        error = held.weight @ (held.y - fitted.finish(_unscaled(fitted, start))(held.x)) ** 2
        if error < least:
            best, least = share, error
        if error > 1.1 * least:
            break
    return float(best * rows.weight.sum())


def descend(features: Features, strength: float, context: Context) -> Solution:
    """The solution by conjugate gradients."""
    found, converged = conjugate_gradients(features, strength, context)
    return Solution(features.finish(_unscaled(features, found)), strength, converged)


def conjugate_gradients(
    features: Features, strength: float, context: Context, *, start: np.ndarray | None = None
) -> tuple[np.ndarray, bool]:
    """CGLS (Hestenes, Stiefel 1952) on features of standard deviation 1: (t,) coefficients, converged."""
    x, mean, root = features.rows.x, features.mean, np.sqrt(features.rows.weight)
    varies = features.deviation > 0
    inverse = np.where(varies, 1.0 / np.where(varies, features.deviation, 1.0), 0.0)
    scale = features.deviation * features.factor
    damping = np.where(varies, strength / np.where(varies, scale, 1.0) ** 2, 0.0)

    def forward(u: np.ndarray) -> np.ndarray:
        return root * (x @ (u * inverse) - mean @ (u * inverse))

    def backward(r: np.ndarray) -> np.ndarray:
        weighted = root * r
        return inverse * (x.T @ weighted - mean * weighted.sum())

    target = root * features.target()
    found = np.zeros(len(mean)) if start is None else start
    residual = target - forward(found)
    gradient = backward(residual) - damping * found
    limit = 1e-10 * np.linalg.norm(backward(target))
    direction, size = gradient, gradient @ gradient
    for _ in range(MAX_STEPS):
        if np.sqrt(size) <= limit:
            return found, True
        if context.deadline.has_passed:
            raise _out_of_time(features)
        image = forward(direction)
        length = size / (image @ image + damping @ direction**2)
        found = found + length * direction
        residual = residual - length * image
        gradient = backward(residual) - damping * found
        size, before = gradient @ gradient, size
        direction = gradient + size / before * direction
    return found, False


def _unscaled(features: Features, found: np.ndarray) -> np.ndarray:
    """Coefficients of features with a standard deviation of 1 -> coefficients of z."""
    scale = features.deviation * features.factor
    return np.where(scale > 0, found / np.where(scale > 0, scale, 1.0), 0.0)


def _out_of_time(features: Features) -> OutOfTime:
    size = f"{len(features.rows.y):,} rows and {len(features.mean):,} columns"
    return OutOfTime(f"The least squares of {size} could not be solved in time.")


def _moments(rows: Rows, expand: Callable[[Any], Any]) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and variance of each feature, in two passes; the variance of a constant is exactly 0."""
    num_features, total = expand(rows.x[:1]).shape[1], rows.weight.sum()
    first, second = np.zeros(num_features), np.zeros(num_features)
    low, high = np.full(num_features, np.inf), np.full(num_features, -np.inf)
    for part in slices(len(rows.y), num_features):
        block = expand(rows.x[part])
        first += rows.weight[part] @ block
        low, high = np.minimum(low, block.min(axis=0)), np.maximum(high, block.max(axis=0))
    for part in slices(len(rows.y), num_features):
        second += rows.weight[part] @ (expand(rows.x[part]) - first / total) ** 2
    return first / total, np.where(high > low, second / total, np.where(np.isfinite(first), 0.0, np.nan))


def _sparse_moments(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean and variance of each column of a CSR matrix, without spreading it out."""
    total = rows.weight.sum()
    mean, square = (rows.weight @ rows.x) / total, (rows.weight @ rows.x.multiply(rows.x)) / total
    variance = square - mean**2
    return mean, np.where(variance > 1e-13 * square, variance, 0.0)
