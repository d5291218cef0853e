"""Penalties on weights: L1, L2, both together (elastic net), and the largest norm of the weights into a unit.

The loss that is minimised is  mean loss + l1 * sum |w| + l2 / 2 * sum w^2  over the matrices that
`parameter_groups.weights` names. For a mean squared error, scikit-learn's ElasticNet (whose error is halved) has the
same minimum at alpha * l1_ratio = l1 / 2 and alpha * (1 - l1_ratio) = l2 / 2, its Ridge at alpha = l2 * rows / 2.
"""

# pyright: reportPrivateImportUsage=false
# The `_foreach` functions have no public name; torch's optimizers and swa_utils are built on them.

from __future__ import annotations

from collections.abc import Sequence

import torch


def add_l2_gradient(weights: Sequence[torch.Tensor], l2: float) -> None:
    """Add l2 * w to the gradient of each w, before the step; one without a gradient is left alone."""
    with torch.no_grad():
        pairs = [(weight.grad, weight) for weight in weights if weight.grad is not None]
        if pairs and l2:
            gradients, present = zip(*pairs, strict=True)
            torch._foreach_add_(gradients, present, alpha=l2)


def shrink_to_zero(weights: Sequence[torch.Tensor], threshold: float) -> None:
    """Move every weight by `threshold` = rate * l1 towards 0, where it stays: the proximal step of L1.

    After a step of plain gradient descent this is ISTA (Daubechies et al. 2004) and ends at the lasso's solution
    with exact zeros. After a step of an adaptive optimizer the penalty does not pass through its moments: it is
    decoupled, as AdamW's decay is, and every weight feels the same pull whatever the size of its gradients.
    """
    with torch.no_grad():
        if not weights or not threshold:
            return
        sizes = torch._foreach_abs(list(weights))
        torch._foreach_sub_(sizes, threshold)
        torch._foreach_clamp_min_(sizes, 0.0)
        torch._foreach_copy_(list(weights), torch._foreach_mul(torch._foreach_sign(list(weights)), sizes))


def limit_row_norms(weights: Sequence[torch.Tensor], most: float) -> None:
    """Scale back each row whose L2 norm is above `most` (Srebro et al. 2005; arXiv:1207.0580); others keep their bits.

    A row holds the weights that lead into one unit: a row of a matrix, a kernel of a convolution.
    """
    with torch.no_grad():
        for weight in weights:
            norms = torch.linalg.vector_norm(weight.flatten(1), dim=1)
            weight.mul_((most / norms).clamp(max=1.0).view(-1, *[1] * (weight.ndim - 1)))
