from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from danlu.core.errors import BundleError, DataError, RecipeError
from danlu.models.mixture import GaussianMixture

START = {
    "weights": [0.3, 0.7],
    "means": [[0.0, 1.0], [3.0, -1.0]],
    "covariances": [[[1.0, 0.3], [0.3, 2.0]], [[0.5, 0.0], [0.0, 1.5]]],
}


def rows(n=40):
    return np.random.default_rng(0).normal(size=(n, 2)) * 2 + 1


def test_its_density_is_scipys():
    mixture, x = GaussianMixture(**START), rows()
    normals = zip(START["weights"], START["means"], START["covariances"], strict=True)
    parts = np.stack([np.log(w) + multivariate_normal(m, c).logpdf(x) for w, m, c in normals], axis=1)
    np.testing.assert_allclose(mixture.log_joint(x), parts, rtol=1e-12)
    np.testing.assert_allclose(
        mixture.responsibilities(x), np.exp(parts) / np.exp(parts).sum(axis=1, keepdims=True), rtol=1e-10
    )
    found = mixture.expect({"x": torch.as_tensor(x)})
    assert found.log_likelihood == pytest.approx(np.log(np.exp(parts).sum(axis=1)).sum())
    assert found.weight == 40


def test_a_diagonal_one_is_the_full_one_without_off_diagonals():
    diagonal = {**START, "covariances": [[1.0, 2.0], [0.5, 1.5]]}
    full = {**START, "covariances": [np.diag(row) for row in diagonal["covariances"]]}
    np.testing.assert_allclose(
        GaussianMixture(**diagonal, covariance="diag").log_joint(rows()),
        GaussianMixture(**full).log_joint(rows()),
        rtol=1e-12,
    )


@pytest.mark.parametrize("covariance", ["full", "diag"])
def test_batches_add_up_and_a_weight_of_two_is_the_row_twice(covariance):
    start = START if covariance == "full" else {**START, "covariances": [[1.0, 2.0], [0.5, 1.5]]}
    mixture, x = GaussianMixture(**start, covariance=covariance), rows()
    whole = mixture.expect({"x": x})
    parts = [mixture.expect({"x": x[part]}) for part in (slice(7), slice(7, 40))]
    for name, value in whole.statistics.items():
        np.testing.assert_allclose(
            sum(part.statistics[name] for part in parts), value, rtol=1e-12, atol=1e-12
        )
    weighted = mixture.expect({"x": x[:9], "weight": np.full(9, 2.0)})
    twice = mixture.expect({"x": np.repeat(x[:9], 2, axis=0)})
    assert weighted.log_likelihood == pytest.approx(twice.log_likelihood) and weighted.weight == 18
    np.testing.assert_allclose(weighted.statistics["second"], twice.statistics["second"], atol=1e-12)


def test_far_from_the_origin_no_digits_are_lost():
    x, far = rows(), 1e8
    near, there = (
        GaussianMixture(**START),
        GaussianMixture(**{**START, "means": np.array(START["means"]) + far}),
    )
    for _ in range(3):
        near.maximise(near.expect({"x": x}).statistics)
        there.maximise(there.expect({"x": x + far}).statistics)
    np.testing.assert_allclose(there.covariances, near.covariances, rtol=1e-6)


def test_a_state_round_trip_and_a_damaged_state():
    mixture = GaussianMixture(**START)
    other = GaussianMixture(**{**START, "weights": [0.5, 0.5]})
    other.load(mixture.state())
    np.testing.assert_array_equal(other.log_joint(rows()), mixture.log_joint(rows()))
    with pytest.raises(BundleError, match="mixture model is damaged: weights runs from -1.0"):
        other.load({**mixture.state(), "weights": np.array([-1.0, 2.0])})


def test_wrong_starts_and_rows_are_named():
    with pytest.raises(RecipeError, match=r"covariances of \(2, 2\), got \(2,\) and \(2, 2, 2\)"):
        GaussianMixture(**START, covariance="diag")
    with pytest.raises(RecipeError, match=r"must be above 0 and sum to 1, got \[0.5, 0.2\]"):
        GaussianMixture(**{**START, "weights": [0.5, 0.2]})
    with pytest.raises(RecipeError, match="regularisation must be from 0 on, got -1"):
        GaussianMixture(**START, regularisation=-1)
    mixture = GaussianMixture(**START)
    with pytest.raises(DataError, match=r"has 2 columns, got rows of shape \(3, 5\)"):
        mixture.expect({"x": np.ones((3, 5))})
    with pytest.raises(DataError, match="needs finite numbers"):
        mixture.expect({"x": np.full((3, 2), np.nan)})
    for covariance, values in (("full", np.zeros((2, 2, 2))), ("diag", np.zeros((2, 2)))):
        collapsed = GaussianMixture(**{**START, "covariances": values, "covariance": covariance})  # type: ignore[arg-type]
        with pytest.raises(
            DataError, match="Gaussian 0 of the mixture has collapsed.*Raise the regularisation"
        ):
            collapsed.log_joint(rows())
