"""From the text of a LightGBM booster just trained to a `TreeEnsemble`; text from a file is never read."""

from __future__ import annotations

import numpy as np

from danlu.models.trees import LARGEST, TreeEnsemble, from_nodes

ZERO = float(
    np.float32(1e-35)
)  # LightGBM's kZeroThreshold: values that are not larger count as 0 in prediction
DEFAULT_LEFT, MISSING_IS_NAN = 2, 2 << 2  # bits of decision_type, whose bits 2 and 3 hold the missing type
CATEGORICAL, MISSING_TYPE = 1, 3 << 2


def from_lightgbm(text: str, num_features: int, num_outputs: int) -> TreeEnsemble:
    """The trees of `Booster.model_to_string()`: numeric splits, missing values as NaN.

    https://github.com/lightgbm-org/LightGBM/blob/v4.7.0/src/io/tree.cpp
    """
    tables = [_table(section) for section in text.split("\nend of trees")[0].split("\nTree=")[1:]]
    starts = np.cumsum([0, *(len(table[0]) for table in tables)])
    feature, threshold, left, right, missing_left, values = (
        np.concatenate(arrays) for arrays in zip(*tables, strict=True)
    )
    first = np.repeat(starts[:-1], np.diff(starts))
    return from_nodes(
        feature=feature,
        threshold=_finite(threshold),
        left=left + first,
        right=right + first,
        missing_left=missing_left,
        values=values[:, None],
        roots=starts[:-1],
        num_features=num_features,
        num_outputs=num_outputs,
    )


def _table(section: str) -> tuple[np.ndarray, ...]:
    """Feature, threshold, left, right, missing_left and value of a tree's nodes: inner ones, then leaves."""
    entries = dict(line.split("=", 1) for line in section.splitlines() if "=" in line)
    num_leaves = int(entries["num_leaves"])
    num_inner = num_leaves - 1
    num_nodes = num_leaves + num_inner

    def inner(name: str, dtype: type, fill: float) -> np.ndarray:
        """An entry of the inner nodes, followed by `fill` for each leaf."""
        given = np.array(entries[name].split() if num_inner else [], dtype=dtype)
        return np.concatenate([given, np.full(num_leaves, fill, dtype=dtype)])

    decision, threshold = inner("decision_type", np.int64, 0), inner("threshold", np.float64, 0.0)
    assert not (decision & CATEGORICAL).any(), "no feature is declared categorical"
    is_nan = (decision & MISSING_TYPE) == MISSING_IS_NAN
    # Where no missing value was seen in training, LightGBM takes one for 0.
    missing_left = np.where(is_nan, (decision & DEFAULT_LEFT) > 0, threshold >= 0)
    left, right = inner("left_child", np.int64, 0), inner("right_child", np.int64, 0)
    leaf_values = np.array(entries["leaf_value"].split(), dtype=np.float64)
    return (
        inner("split_feature", np.int64, -1),
        threshold,
        np.where(left < 0, num_inner + ~left, left),
        np.where(right < 0, num_inner + ~right, right),
        missing_left,
        np.concatenate([np.zeros(num_nodes - num_leaves), leaf_values]),
    )


def _finite(threshold: np.ndarray) -> np.ndarray:
    """Thresholds that send values between -ZERO and ZERO where LightGBM sends 0.

    Where a split parts the missing values from all others its threshold is infinite; here it is the
    largest number.
    """
    threshold = np.clip(threshold, -LARGEST, LARGEST)
    threshold = np.where((threshold >= 0) & (threshold < ZERO), ZERO, threshold)
    return np.where((threshold < 0) & (threshold >= -ZERO), np.nextafter(-ZERO, -np.inf), threshold)
