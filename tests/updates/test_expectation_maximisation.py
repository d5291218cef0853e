from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture as Reference

from danlu.core.duration import Duration
from danlu.core.errors import RecipeError
from danlu.core.ideas import Context, Item, Position, Ranks
from danlu.core.loop import fit
from danlu.models.mixture import Expectation, GaussianMixture
from danlu.updates.expectation_maximisation import EMSettings, ExpectationMaximisation


def blobs():
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0, 0.0], [4.0, 1.0, 0.0], [0.0, 5.0, 2.0]])
    x = np.concatenate([centre + rng.normal(size=(100, 3)) * [1.0, 0.5, 2.0] for centre in centres])
    return x[rng.permutation(300)]


def start(covariance="full"):
    spread = np.stack([np.eye(3) * scale for scale in (1.0, 2.0, 3.0)])
    return {
        "weights": np.array([0.2, 0.3, 0.5]),
        "means": blobs()[:3],
        "covariances": spread if covariance == "full" else np.stack([np.diag(one) for one in spread]),
    }


class Rounds:
    """All rows, in pieces, for ever."""

    def __init__(self, x, *ends):
        self.pieces = [x[a:b] for a, b in zip((0, *ends), (*ends, None), strict=True)]

    def items(self, start, *, rank=0, ranks=1):
        step = start.step
        while True:
            for place, piece in enumerate(self.pieces):
                step += 1
                last = place == len(self.pieces) - 1
                yield Item({"x": piece}, Position(step // len(self.pieces), 0 if last else place + 1, step))

    def state(self):
        return {}

    def load(self, state):
        pass


@pytest.mark.parametrize("covariance", ["full", "diag"])
@pytest.mark.parametrize("ends", [(), (50, 51, 200)])
def test_it_is_scikit_learns_mixture_from_the_same_start_through_the_one_loop(covariance, ends):
    x, given = blobs(), start(covariance)
    inverse = np.linalg.inv(given["covariances"]) if covariance == "full" else 1 / given["covariances"]
    reference = Reference(
        3,
        covariance_type=covariance,
        tol=1e-5,
        max_iter=500,
        weights_init=given["weights"],
        means_init=given["means"],
        precisions_init=inverse,
    ).fit(x)
    mixture = GaussianMixture(**given, covariance=covariance)
    outcome = fit(
        mixture,
        Rounds(x, *ends),
        None,  # type: ignore[arg-type]
        ExpectationMaximisation(EMSettings(tolerance=1e-5), chunk=len(ends) + 1),
        context=Context(),
        until=Duration(500, "epochs"),
    )
    assert outcome.reason == "done" and outcome.position.epoch == reference.n_iter_
    np.testing.assert_allclose(mixture.weights, reference.weights_, atol=1e-6)
    np.testing.assert_allclose(mixture.means, reference.means_, atol=1e-6)
    np.testing.assert_allclose(mixture.covariances, reference.covariances_, atol=1e-6)


def test_the_likelihood_never_falls():
    mixture, update, losses = GaussianMixture(**start()), ExpectationMaximisation(), []
    for _ in range(60):
        losses.append(update(mixture, None, [{"x": blobs()}], Context()).losses["negative_log_likelihood"])
    assert (np.diff(losses) <= 1e-9).all() and losses[-1] < losses[0] - 0.1


def test_it_goes_on_from_its_state_and_ends_at_the_same_round():
    def rounds(interrupted):
        mixture, update = GaussianMixture(**start()), ExpectationMaximisation()
        for count in range(1, 200):
            if count == interrupted:
                kept, again = update.state(), ExpectationMaximisation()
                again.load(kept)
                update, copied = again, GaussianMixture(**start())
                copied.load(mixture.state())
                mixture = copied
            if update(mixture, None, [{"x": blobs()}], Context()).done:
                return count, mixture.means.tobytes()
        raise AssertionError("it did not end")

    count, means = rounds(None)
    assert count > 3
    assert rounds(2) == (count, means) and rounds(count) == (count, means)


def test_row_weights_are_honoured():
    weight = np.random.default_rng(1).integers(0, 3, 300)
    one, two = GaussianMixture(**start()), GaussianMixture(**start())
    update = ExpectationMaximisation()
    for _ in range(5):
        update(one, None, [{"x": blobs(), "weight": weight.astype(float)}], Context())
        update(two, None, [{"x": np.repeat(blobs(), weight, axis=0)}], Context())
    np.testing.assert_allclose(one.covariances, two.covariances, rtol=1e-9)


class Broken:
    def expect(self, batch):
        return Expectation({}, float("nan"), 1.0)

    def maximise(self, statistics):
        raise AssertionError("a round without a likelihood changes nothing")


def test_faults_ranks_and_settings():
    step = ExpectationMaximisation()(Broken(), None, [{}], Context())
    assert step.fault == "the log-likelihood of the rows" and not step.done
    ranks = Ranks()
    ranks.number = 2
    with pytest.raises(RecipeError, match="runs in one process, and there are 2"):
        ExpectationMaximisation()(Broken(), None, [{}], Context(ranks=ranks))
    with pytest.raises(RecipeError, match="tolerance must be from 0 on, got -1"):
        EMSettings(tolerance=-1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ExpectationMaximisation().evaluating(None):
            pass
