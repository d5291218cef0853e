"""States of parts (nested mappings, lists, plain values, arrays, tensors) as JSON and named arrays, and back.

An array becomes {"$array": name} in the JSON, a torch tensor {"$tensor": name}. Names follow the place:
members/0/model/trees/threshold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from danlu.core.errors import BundleError

ARRAY, TENSOR = "$array", "$tensor"
MAX_DEPTH = 32  # mappings and lists within each other; a bundle's JSON may have twice as many brackets


def take_apart(value: Any, *, place: str, arrays: dict[str, Any], strict: bool = True) -> Any:
    """The JSON part of `value`; its arrays and tensors are put into `arrays` under names that begin with `place`.

    Tuples become lists, NumPy's scalars plain numbers. ValueError names what cannot be held. `strict` refuses
    numbers that are not finite, for which JSON has no word, and tensors, which want torch to be read.
    """
    if isinstance(value, np.generic):
        value = cast(Any, value.item())
    if value is None or isinstance(value, (bool, str, int)):
        return value
    if isinstance(value, float):
        if strict and not math.isfinite(value):
            raise ValueError(f"{place} is {value}, which JSON has no word for; store it in an array")
        return value
    is_tensor = not strict and hasattr(value, "detach")  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, np.ndarray) or is_tensor:
        if place in arrays:
            raise ValueError(f"two arrays would be called {place}")
        arrays[place] = value
        return {TENSOR if is_tensor else ARRAY: place}
    if isinstance(value, (list, tuple)):
        items = cast(list[Any], value)
        return [
            take_apart(item, place=f"{place}/{index}", arrays=arrays, strict=strict)
            for index, item in enumerate(items)
        ]
    if isinstance(value, Mapping):
        given = cast(Mapping[Any, Any], value)
        wrong = next((key for key in given if not isinstance(key, str) or key in (ARRAY, TENSOR)), None)
        if wrong is not None:
            raise ValueError(f"{place} has the key {wrong!r}; keys are texts other than {ARRAY!r}")
        if place.count("/") > MAX_DEPTH:
            raise ValueError(f"{place} nests too deeply")
        return {
            key: take_apart(item, place=f"{place}/{key}", arrays=arrays, strict=strict)
            for key, item in given.items()
        }
    kind = type(cast(object, value)).__name__
    raise ValueError(f"{place} is a {kind}; a state holds mappings, lists, plain values and arrays")


def put_together(value: Any, *, arrays: dict[str, Any]) -> Any:
    """The state again; each array is taken out of `arrays`, so that what is left there belongs to nothing."""
    if isinstance(value, list):
        return [put_together(item, arrays=arrays) for item in cast(list[Any], value)]
    if not isinstance(value, dict):
        return value
    found = cast(dict[str, Any], value)
    kind = ARRAY if ARRAY in found else TENSOR
    if kind not in found:
        return {key: put_together(item, arrays=arrays) for key, item in found.items()}
    name: Any = found[kind]
    if len(found) != 1 or not isinstance(name, str) or name not in arrays:
        raise BundleError(f"The state refers to the array {str(name)[:80]!r}, which is not there, or twice.")
    return arrays.pop(name)


def tensor_names(value: Any) -> list[str]:
    """Names of what was a tensor, and no NumPy array, in what `take_apart` made."""
    if isinstance(value, list):
        return [name for item in value for name in tensor_names(item)]  # pyright: ignore[reportUnknownVariableType]
    if not isinstance(value, dict):
        return []
    if TENSOR in value:
        return [str(value[TENSOR])]  # pyright: ignore[reportUnknownArgumentType]
    return [name for item in value.values() for name in tensor_names(item)]  # pyright: ignore[reportUnknownVariableType]
