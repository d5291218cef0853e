"""Hand-made run records for the tests of the report, one for each kind of task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.report.binary_record import binary
from tests.report.multiclass_record import multiclass, support_vectors
from tests.report.regression_record import regression

RECORDS: dict[str, Callable[[], dict[str, Any]]] = {
    "binary": binary,
    "regression": regression,
    "multiclass": multiclass,
    "support_vectors": support_vectors,
}
