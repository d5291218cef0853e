"""Data that come with danlu (`danlu/NAME`, made on the spot) or with scikit-learn (`sklearn/NAME`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from danlu.core.errors import DataError, closest
from danlu.core.findings import Finding
from danlu.core.seeds import generator

if TYPE_CHECKING:
    import polars as pl

SKLEARN = ("iris", "wine", "breast_cancer", "diabetes", "digits", "linnerud")


def load_builtin(source: str) -> tuple[pl.DataFrame, tuple[Finding, ...]]:
    """The table named `danlu/NAME` or `sklearn/NAME`; DataError with the closest name for an unknown one.

    scikit-learn's sets hold their features and `target`: the class names where there are classes.
    """
    import polars as pl

    if source not in BUILTIN:
        raise DataError(f"There is no built-in data set {source!r}.{closest(source, BUILTIN)} {listing()}")
    if source.startswith("sklearn/"):
        return _from_sklearn(source.removeprefix("sklearn/"))
    return pl.DataFrame(DANLU[source.removeprefix("danlu/")]()), ()


def is_builtin(source: str) -> bool:
    """Whether a source asks for a built-in data set, known or not."""
    return source.startswith(("danlu/", "sklearn/"))


def listing() -> str:
    """The names of all built-in data sets, in one sentence."""
    return f"Built-in data sets: {', '.join(BUILTIN)}."


def _houses() -> dict[str, Any]:
    """Ten houses of Portland, Oregon: square feet, bedrooms, US dollars (from Andrew Ng's lectures)."""
    return {
        "area": [2104, 1600, 2400, 1416, 3000, 1985, 1534, 1427, 1380, 1494],
        "bedrooms": [3, 3, 3, 2, 4, 4, 3, 3, 3, 3],
        "price": [399900, 329900, 369000, 232000, 539900, 299900, 314900, 198999, 212000, 242500],
    }


def _houses_by_area() -> dict[str, Any]:
    """The same houses by their area alone."""
    return {name: values for name, values in _houses().items() if name != "bedrooms"}


def _flats() -> dict[str, Any]:
    """Seven flats: square metres, price in 10,000 yuan."""
    return {"area": [50, 70, 80, 52, 62, 88, 90], "price": [85, 115, 128, 66, 111, 111, 142]}


def _gate(rule: Callable[[int, int], int]) -> Callable[[], dict[str, Any]]:
    """The four rows of a logic gate."""
    pairs = [(0, 0), (0, 1), (1, 0), (1, 1)]
    return lambda: {
        "x1": [a for a, _ in pairs],
        "x2": [b for _, b in pairs],
        "y": [rule(a, b) for a, b in pairs],
    }


def _xor_points() -> dict[str, Any]:
    """400 points around the four corners of XOR: no straight line tells the classes apart."""
    rng = generator(0, "xor_points")
    corners = np.repeat([[0, 0], [0, 1], [1, 0], [1, 1]], 100, axis=0)
    points = corners + rng.normal(0, 0.12, corners.shape)
    return _mixed(rng, points, np.where(corners[:, 0] == corners[:, 1], "same", "different"))


def _circles() -> dict[str, Any]:
    """400 points on two rings around one centre."""
    rng = generator(0, "circles")
    is_inner = np.arange(400) % 2 == 0
    angle, radius = rng.uniform(0, 2 * np.pi, 400), np.where(is_inner, 0.5, 1.0) + rng.normal(0, 0.06, 400)
    points = np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])
    return _mixed(rng, points, np.where(is_inner, "inner", "outer"))


def _sine() -> dict[str, Any]:
    """y = sin(x) at 500 places between -pi and pi."""
    x = generator(0, "sine").uniform(-np.pi, np.pi, 500)
    return {"x": x, "y": np.sin(x)}


def _mixed(rng: np.random.Generator, points: np.ndarray, label: np.ndarray) -> dict[str, Any]:
    order = rng.permutation(len(points))
    return {"x1": points[order, 0], "x2": points[order, 1], "label": label[order]}


DANLU: dict[str, Callable[[], dict[str, Any]]] = {
    "houses": _houses,
    "houses_by_area": _houses_by_area,
    "flats": _flats,
    "and": _gate(lambda a, b: a & b),
    "or": _gate(lambda a, b: a | b),
    "xor": _gate(lambda a, b: a ^ b),
    "xor_points": _xor_points,
    "circles": _circles,
    "sine": _sine,
}
BUILTIN = (*(f"danlu/{name}" for name in DANLU), *(f"sklearn/{name}" for name in SKLEARN))


def _from_sklearn(name: str) -> tuple[pl.DataFrame, tuple[Finding, ...]]:
    import polars as pl
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")()
    columns = {str(column): bunch.data[:, place] for place, column in enumerate(bunch.feature_names)}
    if name == "linnerud":
        message = f"linnerud has three targets: `target` is {bunch.target_names[0]}, the others are left out."
        columns["target"] = bunch.target[:, 0]
        return pl.DataFrame(columns), (Finding("one_target", "info", message),)
    if name in ("iris", "wine", "breast_cancer"):
        columns["target"] = np.asarray(bunch.target_names)[bunch.target].astype(str)
    else:
        columns["target"] = bunch.target
    return pl.DataFrame(columns), ()
