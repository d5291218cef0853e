"""Stored JSON and arrays that nobody vouches for: each value is checked as it is taken."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

from danlu.core.errors import BundleError


class Stored:
    """A JSON object and the arrays beside it: BundleError for a wrong value, in `finish` for one too many."""

    def __init__(self, value: Any, arrays: Mapping[str, np.ndarray], where: str = "") -> None:
        self._where, self._arrays = where, arrays
        if not isinstance(value, Mapping):
            self._fail("", f"must be an object, got {type(value).__name__}")
        self._value = dict(value)
        self._taken: set[str] = set()
        self._names: set[str] = set()
        self._inner: list[Stored] = []

    def choice(self, key: str, choices: Sequence[str]) -> str:
        """One of `choices`."""
        value = self._take(key)
        if not isinstance(value, str) or value not in choices:
            self._fail(key, f"must be one of {', '.join(choices)}")
        return value

    def whole(self, key: str, low: int, high: int) -> int:
        """A whole number from `low` to `high`."""
        value = self._take(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self._fail(key, f"must be a whole number from {low} to {high}")
        return value

    def number(self, key: str) -> float:
        """A finite number."""
        value = self._take(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            self._fail(key, "must be a finite number")
        return float(value)

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self._take(key)
        if not isinstance(value, bool):
            self._fail(key, "must be true or false")
        return value

    def text(self, key: str) -> str:
        """Any text."""
        value = self._take(key)
        if not isinstance(value, str):
            self._fail(key, "must be text")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts, no two of them equal."""
        value = self._take(key)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self._fail(key, "must be a list of texts")
        if len(set(value)) != len(value):
            self._fail(key, "must not hold the same text twice")
        return tuple(value)

    def part(self, key: str) -> Stored:
        """The object under `key`."""
        inner = Stored(self._take(key), self._arrays, self._path(key))
        self._inner.append(inner)
        return inner

    def parts(self, key: str) -> list[Stored]:
        """The list of objects under `key`; their arrays are named by place: key.0, key.1, ..."""
        value = self._take(key)
        if not isinstance(value, list):
            self._fail(key, "must be a list")
        inner = [Stored(item, self._arrays, self._path(f"{key}.{place}")) for place, item in enumerate(value)]
        self._inner += inner
        return inner

    def array(self, key: str, length: int, *, above: float = -math.inf) -> np.ndarray:
        """The array under `key`: (length,) float64, finite, every value greater than `above`."""
        value = self._array(key, length, np.float64)
        if not np.isfinite(value).all() or not (value > above).all():
            self._fail(
                key, f"must hold finite numbers above {above:g}" if above > -math.inf else "must be finite"
            )
        return value

    def flags(self, key: str, length: int) -> np.ndarray:
        """The array under `key`: (length,) bool, stored as uint8."""
        value = self._array(key, length, np.uint8)
        if not (value <= 1).all():
            self._fail(key, "must hold only 0 and 1")
        return value.astype(bool)

    def __contains__(self, key: str) -> bool:
        return key in self._value

    def fail(self, key: str, problem: str) -> NoReturn:
        """BundleError about the value under `key`."""
        self._fail(key, problem)

    def finish(self) -> None:
        """BundleError where a key or an array that was not taken is left, here or further in."""
        self._finish_keys()
        left = sorted(set(self._arrays) - self._all_names())
        if left:
            self._fail("", f"comes with the array {left[0]!r}, which it has no place for")

    def _finish_keys(self) -> None:
        left = sorted(str(key) for key in self._value.keys() - self._taken)
        if left:
            self._fail(left[0], "is not known to this version of danlu")
        for inner in self._inner:
            inner._finish_keys()

    def _all_names(self) -> set[str]:
        return self._names.union(*(inner._all_names() for inner in self._inner))

    def _take(self, key: str) -> Any:
        if key not in self._value:
            self._fail(key, "is missing")
        self._taken.add(key)
        return self._value[key]

    def _array(self, key: str, length: int, dtype: type[np.generic]) -> np.ndarray:
        name = self._path(key)
        value = self._arrays.get(name)
        if not isinstance(value, np.ndarray):
            self._fail(key, "is missing from the arrays")
        if value.dtype != dtype or value.shape != (length,):
            wanted = np.dtype(dtype).name
            self._fail(
                key, f"must be {length} values of {wanted}, got {value.dtype.name} of shape {value.shape}"
            )
        self._names.add(name)
        return value

    def _path(self, key: str) -> str:
        return ".".join(filter(None, [self._where, key]))

    def _fail(self, key: str, problem: str) -> NoReturn:
        path = ".".join(filter(None, ["preprocessing", self._where, key]))
        raise BundleError(
            f"The model file is damaged or was changed: {path} {problem}. Get it anew from its source."
        )
