"""Link-space scores of any model as NumPy float64, and the links that turn them into probabilities."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

ROWS_AT_ONCE = 16_384  # bounds the memory that activations take while scoring


def scores(model: Any, x: Any) -> np.ndarray:
    """Scores of all rows of `x` (array or CSR matrix): (n,) or (n, k), float64, without gradients."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(model, torch.nn.Module):
        return np.asarray(model(x), dtype=np.float64)
    weight = next(model.parameters())
    pieces: list[np.ndarray] = []
    was_training = model.training
    model.eval()
    with torch.no_grad():
        for start in range(0, max(x.shape[0], 1), ROWS_AT_ONCE):
            rows = dense(x[start : start + ROWS_AT_ONCE])
            rows = torch.as_tensor(rows)
            dtype = weight.dtype if rows.is_floating_point() else rows.dtype  # whole numbers may be tokens
            rows = rows.to(weight.device, dtype)
            pieces.append(model(rows).double().cpu().numpy())
    model.train(was_training)
    return np.concatenate(pieces)


def dense(x: Any) -> Any:
    """`x` as a dense array; SciPy's sparse matrices are spread out, everything else is left alone."""
    return x.toarray() if hasattr(x, "toarray") else x


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-z)) without overflow."""
    small = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1.0, small) / (1.0 + small)


def softmax(logits: np.ndarray) -> np.ndarray:
    """exp(z_i) / sum_j exp(z_j) over the last axis, without overflow."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """log softmax over the last axis, without overflow."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def class_probabilities(logits: np.ndarray) -> np.ndarray:
    """(n, k) probabilities from (n,) logits of class 1 or from (n, k) logits."""
    if logits.ndim == 1:
        one = sigmoid(logits)
        return np.column_stack([1.0 - one, one])
    return softmax(logits)
