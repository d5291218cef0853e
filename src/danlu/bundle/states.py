"""States of parts (nested mappings, lists, plain values, arrays) as JSON and named arrays, and back.

An array becomes {"$array": name} in the JSON. Names follow the place: members/0/model/trees/threshold.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from danlu.bundle.strict_json import MAX_DEPTH
from danlu.core.errors import BundleError

ARRAY = "$array"


def take_apart(value: Any, *, place: str, arrays: dict[str, np.ndarray]) -> Any:
    """The JSON part of `value`; its arrays are put into `arrays` under names that begin with `place`.

    Tuples become lists, NumPy's scalars plain numbers. ValueError names what a bundle cannot hold.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, float):
        if not np.isfinite(value):
            raise ValueError(f"{place} is {value}, which JSON has no word for; store it in an array")
        return value
    if isinstance(value, np.ndarray):
        if place in arrays:
            raise ValueError(f"two arrays would be called {place}")
        arrays[place] = value
        return {ARRAY: place}
    if isinstance(value, (list, tuple)):
        return [take_apart(item, place=f"{place}/{index}", arrays=arrays) for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        wrong = next((key for key in value if not isinstance(key, str) or key == ARRAY), None)
        if wrong is not None:
            raise ValueError(f"{place} has the key {wrong!r}; keys are texts other than {ARRAY!r}")
        if place.count("/") > MAX_DEPTH // 2:
            raise ValueError(f"{place} nests too deeply")
        return {key: take_apart(item, place=f"{place}/{key}", arrays=arrays) for key, item in value.items()}
    raise ValueError(
        f"{place} is a {type(value).__name__}; a state holds mappings, lists, plain values and arrays"
    )


def put_together(value: Any, *, arrays: dict[str, np.ndarray]) -> Any:
    """The state again; each array is taken out of `arrays`, so that what is left there belongs to nothing."""
    if isinstance(value, list):
        return [put_together(item, arrays=arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if ARRAY not in value:
        return {key: put_together(item, arrays=arrays) for key, item in value.items()}
    name = value[ARRAY]
    if len(value) != 1 or not isinstance(name, str) or name not in arrays:
        raise BundleError(f"model.json refers to the array {str(name)[:80]!r}, which is not there, or twice.")
    return arrays.pop(name)
