"""Gaussian mixture: the density sum over k of weight_k * N(mean_k, covariance_k), in float64."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.linalg import solve_triangular

from danlu.core.errors import DataError, RecipeError
from danlu.core.ideas import Batch, State
from danlu.models.stored import Stored

Covariance = Literal["full", "diag"]


class Expectation(NamedTuple):
    """What one look at rows says under the present parameters; that of several batches is the sum of theirs."""

    statistics: dict[str, np.ndarray]
    log_likelihood: float
    """Sum over the rows of weight * log density."""
    weight: float
    """Total weight of the rows."""


class GaussianMixture:
    """k Gaussians with shares; each row belongs to each of them with some probability (Dempster et al. 1977).

    Its moments are taken around the present means, so that batches add up without loss of digits.
    """

    def __init__(
        self,
        *,
        weights: Any,
        means: Any,
        covariances: Any,
        covariance: Covariance = "full",
        regularisation: float = 1e-6,
    ) -> None:
        """Start: `weights` (k,), `means` (k, d), `covariances` (k, d, d), or (k, d) where `covariance` is diag.

        `regularisation` is added to every variance, so that no Gaussian collapses onto a row.
        """
        self.weights, self.means, self.covariances = (
            np.array(value, dtype=np.float64) for value in (weights, means, covariances)
        )
        if not 0 <= regularisation < np.inf:
            raise RecipeError(f"A mixture's regularisation must be from 0 on, got {regularisation}.")
        num_components, num_features = self.means.shape
        wanted = (num_components, num_features) + ((num_features,) if covariance == "full" else ())
        if self.covariances.shape != wanted or self.weights.shape != (num_components,):
            raise RecipeError(
                f"A {covariance} mixture of {num_components} Gaussians in {num_features} columns wants weights of "
                f"shape {(num_components,)} and covariances of {wanted}, got {self.weights.shape} and "
                f"{self.covariances.shape}."
            )
        if (self.weights <= 0).any() or abs(self.weights.sum() - 1) > 1e-6:
            raise RecipeError(
                f"A mixture's weights must be above 0 and sum to 1, got {self.weights.tolist()}."
            )
        self.covariance, self.regularisation = covariance, regularisation

    def log_joint(self, x: Any) -> np.ndarray:
        """(n, d) -> (n, k): log of weight_k * N(x; mean_k, covariance_k)."""
        x = rows_of(x, self.means.shape[1])
        found = np.empty((len(x), len(self.weights)))
        for component, (mean, covariance) in enumerate(zip(self.means, self.covariances, strict=True)):
            if self.covariance == "diag":
                if covariance.min() <= 0:
                    raise self._collapsed(component)
                deviation = np.sqrt(covariance)
                scaled, log_volume = (x - mean) / deviation, np.log(deviation).sum()
            else:
                try:
                    lower = np.linalg.cholesky(covariance)
                except np.linalg.LinAlgError as error:
                    raise self._collapsed(component) from error
                scaled = solve_triangular(lower, (x - mean).T, lower=True).T
                log_volume = np.log(np.diag(lower)).sum()
            found[:, component] = -0.5 * (scaled**2).sum(axis=1) - log_volume
        return found - 0.5 * x.shape[1] * np.log(2 * np.pi) + np.log(self.weights)

    def responsibilities(self, x: Any) -> np.ndarray:
        """(n, d) -> (n, k): the probability that a row belongs to each Gaussian; rows sum to 1."""
        joint = self.log_joint(x)
        return np.exp(joint - np.logaddexp.reduce(joint, axis=1, keepdims=True))

    def expect(self, batch: Batch) -> Expectation:
        """The expectation step on a batch `{"x"[, "weight"]}`: shares, first and second moments of each Gaussian."""
        x = rows_of(batch["x"], self.means.shape[1])
        given = batch.get("weight")
        weight = np.ones(len(x)) if given is None else np.asarray(given, dtype=np.float64)
        joint = self.log_joint(x)
        density = np.logaddexp.reduce(joint, axis=1)
        share = np.exp(joint - density[:, None]) * weight[:, None]
        first, second = np.empty_like(self.means), np.empty_like(self.covariances)
        for component, mean in enumerate(self.means):
            centred, own = x - mean, share[:, component]
            first[component] = own @ centred
            second[component] = (
                own @ centred**2 if self.covariance == "diag" else (centred * own[:, None]).T @ centred
            )
        statistics = {"share": share.sum(axis=0), "first": first, "second": second}
        return Expectation(statistics, float(weight @ density), float(weight.sum()))

    def maximise(self, statistics: dict[str, np.ndarray]) -> None:
        """The maximisation step: the parameters that are likeliest under those shares."""
        total = statistics["share"] + 10 * np.finfo(np.float64).eps  # of a Gaussian that no row belongs to
        shift = statistics["first"] / total[:, None]
        if self.covariance == "diag":
            covariances = statistics["second"] / total[:, None] - shift**2
            covariances = np.maximum(covariances, 0.0) + self.regularisation
        else:
            covariances = statistics["second"] / total[:, None, None] - shift[:, :, None] * shift[:, None, :]
            covariances = covariances + self.regularisation * np.eye(self.means.shape[1])
        self.weights, self.means, self.covariances = total / total.sum(), self.means + shift, covariances

    def state(self) -> State:
        """`weights` (k,), `means` (k, d) and `covariances` (k, d, d) or (k, d)."""
        return {"weights": self.weights, "means": self.means, "covariances": self.covariances}

    def load(self, state: State) -> None:
        """Take over a state after checking it."""
        stored = Stored(state, part="mixture")
        weights = stored.array("weights", self.weights.shape, low=0.0, high=1.0 + 1e-9)
        means = stored.array("means", self.means.shape)
        covariances = stored.array("covariances", self.covariances.shape)
        stored.end()
        self.weights, self.means, self.covariances = weights, means, covariances

    def _collapsed(self, component: int) -> DataError:
        return DataError(
            f"Gaussian {component} of the mixture has collapsed: its covariance is not positive definite. "
            f"Raise the regularisation above {self.regularisation:g}, or take fewer Gaussians."
        )


def rows_of(x: Any, num_features: int) -> np.ndarray:
    """Rows as a float64 array (n, d); DataError where a value is not finite or the columns are others."""
    rows = np.asarray(x, dtype=np.float64)
    if rows.ndim != 2 or rows.shape[1] != num_features:
        raise DataError(f"The mixture has {num_features} columns, got rows of shape {rows.shape}.")
    if not np.isfinite(rows).all():
        raise DataError("A mixture needs finite numbers. Fill in what is missing first.")
    return rows
