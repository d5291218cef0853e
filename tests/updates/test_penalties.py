"""Penalties beside scikit-learn's on a small problem of full-batch descent."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import ElasticNet, Lasso, Ridge

from danlu.updates.penalties import add_l2_gradient, limit_row_norms, shrink_to_zero

NUM_ROWS = 80


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(NUM_ROWS, 10))
    x[:, 1] = x[:, 0] + 0.3 * rng.normal(size=NUM_ROWS)
    y = x @ np.array([2.0, 0, -1.5, 0, 0, 0.7, 0, 0, 0, 0.05]) + 0.3 * rng.normal(size=NUM_ROWS)
    return x - x.mean(axis=0), y - y.mean()


def descend(rows, *, l1=0.0, l2=0.0, steps=4000, rate=0.05):
    """Coefficients at the least mean squared error + l1 |w| + l2 / 2 w^2."""
    x, y = map(torch.as_tensor, rows)
    weights = torch.nn.Parameter(torch.zeros(1, 10, dtype=torch.float64))
    optimizer = torch.optim.SGD([weights], lr=rate)
    for _ in range(steps):
        optimizer.zero_grad()
        (x @ weights[0] - y).square().mean().backward()
        add_l2_gradient([weights], l2)
        optimizer.step()
        shrink_to_zero([weights], rate * l1)
    return weights.detach().numpy()[0]


def test_l1_ends_at_the_lasso_with_the_same_exact_zeros(rows):
    found = descend(rows, l1=0.2)
    lasso = Lasso(alpha=0.1, fit_intercept=False, tol=1e-14, max_iter=100_000).fit(*rows).coef_
    np.testing.assert_allclose(found, lasso, atol=1e-8)
    assert ((found == 0) == (lasso == 0)).all() and (found == 0).sum() >= 5


def test_l2_ends_at_ridge_and_its_norm_shrinks(rows):
    found = descend(rows, l2=0.5)
    np.testing.assert_allclose(
        found, Ridge(alpha=0.5 * NUM_ROWS / 2, fit_intercept=False).fit(*rows).coef_, atol=1e-8
    )
    assert np.linalg.norm(found) < np.linalg.norm(descend(rows)) and (found != 0).all()


def test_both_end_at_the_elastic_net(rows):
    found = descend(rows, l1=0.2, l2=0.3)
    alpha, share = 0.1 + 0.15, 0.1 / 0.25
    net = ElasticNet(alpha=alpha, l1_ratio=share, fit_intercept=False, tol=1e-14, max_iter=100_000).fit(*rows)
    np.testing.assert_allclose(found, net.coef_, atol=1e-8)
    assert ((found == 0) == (net.coef_ == 0)).all()


def test_no_strength_changes_no_bit():
    weights = torch.nn.Parameter(torch.randn(3, 4))
    weights.grad = torch.randn(3, 4)
    before, slope = weights.detach().clone(), weights.grad.clone()
    add_l2_gradient([weights], 0.0)
    shrink_to_zero([weights], 0.0)
    limit_row_norms([weights], 1e9)
    assert torch.equal(weights, before) and torch.equal(weights.grad, slope)
    add_l2_gradient([], 1.0)
    shrink_to_zero([], 1.0)


def test_a_weight_without_a_gradient_gets_none():
    weights = torch.nn.Parameter(torch.ones(2, 2))
    add_l2_gradient([weights], 1.0)
    assert weights.grad is None


def test_the_soft_threshold_by_hand():
    weights = torch.nn.Parameter(torch.tensor([[-2.0, -0.5, 0.0, 0.5, 3.0]]))
    shrink_to_zero([weights], 1.0)
    assert weights.tolist() == [[-1.0, 0.0, 0.0, 0.0, 2.0]]


def test_max_norm_scales_long_rows_back_and_leaves_short_ones_alone():
    matrix = torch.nn.Parameter(torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]]))
    kernels = torch.nn.Parameter(torch.randn(4, 2, 3, 3))
    direction = kernels.detach().flatten(1) / kernels.detach().flatten(1).norm(dim=1, keepdim=True)
    limit_row_norms([matrix, kernels], 2.0)
    torch.testing.assert_close(matrix.detach()[0], torch.tensor([1.2, 1.6]))
    assert matrix[1:].tolist() == torch.tensor([[0.3, 0.4], [0.0, 0.0]]).tolist()
    after = kernels.detach().flatten(1)
    assert float(after.norm(dim=1).max()) == pytest.approx(2.0, rel=1e-6)
    torch.testing.assert_close(after, 2 * direction)
