"""The scale of targets: one or several, fitted on rows with weights, and refused where it cannot be."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from danlu.core.errors import BundleError
from danlu.objectives.scale import TargetScale, mean_and_deviation


def test_there_and_back_for_one_target_and_for_several():
    y = np.array([[1.0, 200.0], [3.0, 400.0]])
    for scale, values in ((TargetScale(2.0, 4.0), y[:, 0]), (TargetScale([2.0, 100.0], [4.0, 50.0]), y)):
        standard = scale.standard(values)
        np.testing.assert_allclose(scale.unit(standard), values)
        np.testing.assert_array_equal(scale.standard(torch.as_tensor(values)).numpy(), standard)
    np.testing.assert_allclose(standard, [[-0.25, 2.0], [0.25, 6.0]])


def test_means_and_deviations_follow_weights_column_by_column():
    y, weight = np.array([[1.0, 5.0], [3.0, 5.0], [9.0, 7.0]]), np.array([1.0, 1.0, 0.0])
    found = mean_and_deviation(y, weight).state()
    np.testing.assert_allclose(found["shift"], [2.0, 5.0])
    np.testing.assert_allclose(found["scale"], [1.0, 1.0])  # the second does not vary


@pytest.mark.parametrize(
    ("shift", "scale"),
    [
        (np.zeros(2), np.ones(3)),
        (0.0, np.ones(2)),
        (np.zeros((1, 1)), np.ones((1, 1))),
        ([0.0, np.nan], [1.0, 1.0]),
    ],
)
def test_what_cannot_be_a_scale_is_refused(shift, scale):
    with pytest.raises(BundleError, match=r"shift must be finite and its scale above 0, got"):
        TargetScale(shift, scale)
