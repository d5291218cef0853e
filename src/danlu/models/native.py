"""Which library fits what: scikit-learn, or scikit-learn-intelex where it was measured to be faster."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, NamedTuple


class Choice(NamedTuple):
    """Where an estimator comes from."""

    module: str
    """Module below `sklearn` and `sklearnex`."""
    intelex_from: int | None = None
    """Dense rows from which scikit-learn-intelex fits it faster; None: scikit-learn always."""


# Measured on 2 cores with adult (106 columns) and california_housing (14), scikit-learn 1.9 against its
# intelex: SVC takes 0.9 times as long at 5,000 rows and 4.3 times at 20,000, SVR 1.2 and 2.0 times. Lasso,
# elastic net and logistic regression of intelex stop 1e-3 away from scikit-learn's solution. Least squares,
# ridge, logistic regression, naive Bayes and nearest neighbours are our own NumPy code, which needs no import
# of two seconds.
CHOICES = {
    "ElasticNet": Choice("linear_model"),
    "ElasticNetCV": Choice("linear_model"),
    "LinearSVC": Choice("svm"),
    "LinearSVR": Choice("svm"),
    "Perceptron": Choice("linear_model"),
    "SVC": Choice("svm", intelex_from=10_000),
    "SVR": Choice("svm", intelex_from=10_000),
}


def native(name: str, x: Any, *, num_threads: int = 1, **settings: Any) -> Any:
    """The estimator `name` of the library that fits `x` faster; scikit-learn's where intelex is absent."""
    module, intelex_from = CHOICES[name]
    if intelex_from is not None and x.shape[0] >= intelex_from and not hasattr(x, "toarray"):
        try:
            return getattr(import_module(f"sklearnex.{module}"), name)(**settings, n_jobs=num_threads)
        except ImportError:
            pass  # it is not made for every processor
    return getattr(import_module(f"sklearn.{module}"), name)(**settings)


class Convergence:
    """Whether an iterative fit ended because it had converged."""

    is_reached = True


@contextmanager
def convergence() -> Iterator[Convergence]:
    """Turn scikit-learn's `ConvergenceWarning` into a fact that a step can report."""
    from sklearn.exceptions import ConvergenceWarning

    seen = Convergence()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield seen
    for warning in caught:
        if issubclass(warning.category, ConvergenceWarning):
            seen.is_reached = False
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
