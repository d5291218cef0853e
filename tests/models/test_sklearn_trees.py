"""Tests of models/sklearn_trees.py: which tables scikit-learn's trees may see, and shares of classes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.tree import DecisionTreeClassifier

from danlu.core.errors import DataError
from danlu.core.tasks import Task
from danlu.models.rows import Rows
from danlu.models.sklearn_trees import as_float32, check_features, class_prior, class_shares, stored_classes


def test_tables_are_refused_with_a_reason() -> None:
    x = np.zeros((3, 2))
    x[1, 1] = -np.inf
    for table in (x, csr_matrix(x)):
        with pytest.raises(DataError, match="Feature 2 of row 2 is infinite"):
            check_features(table)
    with pytest.raises(DataError, match="no feature column left"):
        check_features(np.empty((3, 0)))
    missing = csr_matrix(np.array([[np.nan, 1.0]]))
    with pytest.raises(DataError, match="missing values in dense tables only"):
        check_features(missing)
    with pytest.raises(DataError, match=r"above 3.4e38.*power of ten"):
        as_float32(np.array([[1e39, np.nan]]))


def test_tables_become_float32() -> None:
    dense = as_float32(np.array([[0.1, np.nan]]))
    assert dense.dtype == np.float32 and np.isnan(dense[0, 1])
    x = csr_matrix(np.array([[0.0, 2.5], [1.0, 0.0]]))
    x.indices, x.indptr = x.indices.astype(np.int64), x.indptr.astype(np.int64)
    sparse = as_float32(x)
    assert sparse.dtype == np.float32 and sparse.indices.dtype == np.int32 and x.indices.dtype == np.int64
    assert np.array_equal(sparse.toarray(), x.toarray())


def test_shares_of_classes() -> None:
    x, y = np.arange(6.0)[:, None], np.array([0, 0, 2, 2, 2, 0])
    tree = DecisionTreeClassifier(max_depth=1).fit(x, y).tree_
    shares = class_shares(tree, np.array([0, 2]), 4)
    assert (
        shares.shape == (3, 4)
        and shares[0].tolist() == [0.5, 0, 0.5, 0]
        and shares[1].tolist() == [1, 0, 0, 0]
    )
    assert class_prior(Rows(x, y, np.full(6, 9.0)), 4).tolist() == [0.4, 0.1, 0.4, 0.1]


def test_two_classes_are_kept_as_one_number() -> None:
    values = np.array([[0.25, 0.75]])
    assert stored_classes(values, Task("binary", ("no", "yes"))).tolist() == [[0.75]]
    assert stored_classes(values, Task("multiclass", ("a", "b"))).tolist() == [[0.25, 0.75]]
