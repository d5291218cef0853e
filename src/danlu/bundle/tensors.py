"""Arrays by name as safetensors: a length, a JSON header, the bytes. Checked in full before an array is made.

    8 bytes    N, little-endian
    N bytes    {"name": {"dtype": "F64", "shape": [2, 3], "data_offsets": [0, 48]}, ...}, then blanks
    the rest   the arrays one after another, in C order, little-endian

It is the format of https://github.com/huggingface/safetensors, whose library reads what is written here.
To read, the library is not asked: it takes a name that stands there twice, and headers that cost seconds.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np

from danlu.bundle.archive import Buffer
from danlu.bundle.manifest import TENSORS
from danlu.bundle.strict_json import Memory, dump, parse
from danlu.core.errors import BundleError

MAX_HEADER = 8 << 20  # bytes
MAX_TENSORS = 10_000
MAX_AXES = 8
MAX_EMPTY = 1 << 20  # product of the other lengths of an array of which one is 0
DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
"""safetensors' name of a type -> NumPy's; other types (BF16, F8, complex) are not in format 1."""

_MEMORY = 20 << 20  # bytes that the header may take while it is read
_ALIGNMENT = 64
_NAMES = {np.dtype(code): name for name, code in DTYPES.items()}


def write_tensors(arrays: Mapping[str, np.ndarray]) -> list[Buffer]:
    """The arrays as pieces of a safetensors file: the widest types first, which aligns them, then by name."""
    stored = {name: _storable(name, array) for name, array in arrays.items()}
    order = sorted(stored, key=lambda name: (-stored[name].itemsize, name))
    header: dict[str, Any] = {}
    position = 0
    for name in order:
        array = stored[name]
        end = position + array.nbytes
        shape = list(array.shape)
        header[name] = {"dtype": _NAMES[array.dtype], "shape": shape, "data_offsets": [position, end]}
        position = end
    if len(header) > MAX_TENSORS:
        raise ValueError(f"a bundle holds at most {MAX_TENSORS:,} arrays, got {len(header):,}")
    text = dump(header)
    text += b" " * (-(8 + len(text)) % _ALIGNMENT)
    if len(text) > MAX_HEADER:
        raise ValueError(
            f"the names of a bundle's arrays take {len(text):,} bytes, {MAX_HEADER:,} are allowed"
        )
    data = [stored[name].reshape(-1).view(np.uint8).data for name in order if stored[name].nbytes]
    return [struct.pack("<Q", len(text)), text, *data]


def read_tensors(buffer: memoryview) -> dict[str, np.ndarray]:
    """The arrays as views of `buffer`, in order of their place; `BundleError` for a header that lies."""
    start = 8 + _header_size(buffer)
    entries = parse(buffer[8:start], name=f"the header of {TENSORS}", memory=Memory(_MEMORY))
    if not isinstance(entries, dict) or len(entries) > MAX_TENSORS:
        raise BundleError(f"the header of {TENSORS} must name at most {MAX_TENSORS:,} arrays.")
    places = [_place(name, entry) for name, entry in entries.items()]
    data = np.frombuffer(buffer, np.uint8, offset=start)
    position = 0
    found: dict[str, np.ndarray] = {}
    for begin, end, name, dtype, shape in sorted(places, key=lambda place: place[:3]):
        if begin != position:
            what = "overlaps with the array before it" if begin < position else "leaves a gap before it"
            raise BundleError(f"the array {name[:80]!r} in {TENSORS} {what}.")
        if end > len(data):
            raise BundleError(f"the array {name[:80]!r} in {TENSORS} lies beyond its end.")
        position = end
        flat = data[begin:end]
        if dtype == np.bool_ and flat.size and flat.max() > 1:
            raise BundleError(f"the array {name[:80]!r} in {TENSORS} holds more than true and false.")
        found[name] = flat.view(dtype).reshape(shape)
    if position != len(data):
        raise BundleError(f"{TENSORS} holds {len(data) - position:,} bytes that belong to no array.")
    return found


def _header_size(buffer: memoryview) -> int:
    if len(buffer) < 8:
        raise BundleError(f"{TENSORS} is too short for safetensors.")
    (size,) = struct.unpack_from("<Q", buffer)
    if size > MAX_HEADER:
        raise BundleError(f"the header of {TENSORS} claims {size:,} bytes; {MAX_HEADER:,} are allowed.")
    if 8 + size > len(buffer) or size % 8 or bytes(buffer[8:9]) != b"{":
        raise BundleError(f"the header of {TENSORS} is not one of safetensors.")
    return size


def _place(name: str, entry: Any) -> tuple[int, int, str, np.dtype[Any], tuple[int, ...]]:
    """(begin, end, name, dtype, shape) of one array, after a check that they fit one another."""
    what = f"the array {name[:80]!r} in {TENSORS}"
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise BundleError(f"{what} must have a dtype, a shape and data_offsets, and nothing else.")
    if not isinstance(entry["dtype"], str) or entry["dtype"] not in DTYPES:
        known = ", ".join(DTYPES)
        raise BundleError(f"{what} has the dtype {str(entry['dtype'])[:40]}; allowed are {known}.")
    shape, offsets = entry["shape"], entry["data_offsets"]
    if not _are_lengths(shape) or len(shape) > MAX_AXES or not _are_lengths(offsets) or len(offsets) != 2:
        raise BundleError(f"{what} has a shape or offsets that are no lists of whole numbers from 0 on.")
    dtype, (begin, end) = np.dtype(DTYPES[entry["dtype"]]), offsets
    size = math.prod(shape) * dtype.itemsize
    if end - begin != size or (size == 0 and math.prod(filter(None, shape)) > MAX_EMPTY):
        room = max(end - begin, 0)
        raise BundleError(f"{what} of shape {str(shape)[:80]} does not fit into its {room:,} bytes.")
    return begin, end, name, dtype, tuple(shape)


def _are_lengths(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def _storable(name: str, array: np.ndarray) -> np.ndarray:
    """The array in C order and little-endian; types that a bundle does not hold are an error of the part."""
    little = array.dtype.newbyteorder("<")
    if little not in _NAMES:
        raise ValueError(f"a bundle holds no arrays of {array.dtype}, got one for {name}")
    return np.asarray(array, dtype=little, order="C")
