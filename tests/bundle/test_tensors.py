"""Tests of bundle/tensors.py: the safetensors library reads what is written; a lying header is refused."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from danlu.bundle.tensors import DTYPES, MAX_TENSORS, read_tensors, write_tensors
from danlu.core.errors import BundleError

ARRAYS = {
    **{f"of {name}": np.array([[0, 1, 1], [1, 0, 1]]).astype(code) for name, code in DTYPES.items()},
    "a/scalar": np.array(2.5),
    "empty": np.zeros((0, 7), dtype=np.int32),
    "across": np.arange(12.0).reshape(3, 4).T,
    "every other": np.arange(10, dtype=np.int64)[::2],
    "other end": np.array([1.5, -2.0], dtype=">f8"),
    "字": np.array([1e-320, -0.0, np.inf, np.nan]),
}


def lay_out(entries: Any, data: bytes = b"", *, size: int | None = None) -> memoryview:
    header = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    return memoryview(struct.pack("<Q", len(header) if size is None else size) + header + data)


def entry(dtype: str = "F64", shape: Any = (2,), begin: Any = 0, end: Any = 16) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


def same(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype and one.tobytes() == other.tobytes()


def test_arrays_come_back_and_the_library_agrees() -> None:
    data = b"".join(write_tensors(ARRAYS))
    ours, theirs = read_tensors(memoryview(bytearray(data))), safetensors.numpy.load(data)
    assert set(ours) == set(theirs) == set(ARRAYS)
    for name, array in ARRAYS.items():
        wanted = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).reshape(array.shape)
        assert same(ours[name], wanted), name
        assert same(theirs[name], wanted), name
        assert ours[name].flags.c_contiguous and ours[name].flags.aligned and ours[name].flags.writeable


def test_what_the_library_writes_is_read() -> None:
    arrays = {
        "a": np.arange(6.0).reshape(2, 3),
        "b": np.array([1, 2], dtype=np.int32),
        "c": np.array([True, False]),
    }
    found = read_tensors(memoryview(bytearray(safetensors.numpy.save(arrays))))
    assert all(same(found[name], array) for name, array in arrays.items())


def test_the_order_of_arrays_does_not_matter() -> None:
    turned = dict(reversed(ARRAYS.items()))
    assert b"".join(write_tensors(ARRAYS)) == b"".join(write_tensors(turned))
    assert not read_tensors(memoryview(b"".join(write_tensors({}))))


@pytest.mark.parametrize(
    "array", [np.array(["a"]), np.array([None]), np.array([1j]), np.array(["2020"], dtype="M8[D]")]
)
def test_other_types_are_not_written(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"holds no arrays of .* got one for x"):
        write_tensors({"x": array})


TWO = bytes(32)
LIES: dict[str, tuple[memoryview, str]] = {
    "nothing": (memoryview(b"abc"), "too short for safetensors"),
    "long header": (lay_out({}, size=9 << 20), "claims 9,437,184 bytes; 8,388,608 are allowed"),
    "endless header": (lay_out({}, size=2**63), "claims 9,223,372,036,854,775,808 bytes"),
    "header beyond the end": (lay_out({}, size=1 << 10), "is not one of safetensors"),
    "no mapping": (lay_out([1]), "is not one of safetensors"),
    "not JSON": (lay_out(b'{"a":'), "is not JSON"),
    "same name twice": (
        lay_out(b'{"a":%b,"a":%b}' % ((json.dumps(entry()).encode(),) * 2), bytes(16)),
        "the key 'a' twice",
    ),
    "dtype twice": (
        lay_out(b'{"a":{"dtype":"F64","dtype":"F32","shape":[2],"data_offsets":[0,16]}}', bytes(16)),
        "the key 'dtype' twice",
    ),
    "metadata": (lay_out({"__metadata__": {"format": "pt"}}), "'__metadata__' .* and nothing else"),
    "unknown dtype": (lay_out({"a": entry("O")}, bytes(16)), "has the dtype O; allowed are F64"),
    "float of 8 bits": (lay_out({"a": entry("F8_E4M3", (16,))}, bytes(16)), "has the dtype F8_E4M3"),
    "dtype in a list": (lay_out({"a": entry() | {"dtype": ["F64"]}}, bytes(16)), "has the dtype"),
    "another key": (lay_out({"a": entry() | {"file": "/etc/passwd"}}, bytes(16)), "nothing else"),
    "overlap": (
        lay_out({"a": entry(), "b": entry(begin=8, end=24)}, TWO),
        "'b' .* overlaps with the array before",
    ),
    "the same bytes twice": (lay_out({"a": entry(), "b": entry()}, bytes(16)), "'b' .* overlaps"),
    "gap": (lay_out({"a": entry(), "b": entry(begin=24, end=40)}, bytes(40)), "'b' .* leaves a gap"),
    "gap at the start": (lay_out({"a": entry(begin=8, end=24)}, bytes(24)), "'a' .* leaves a gap"),
    "beyond the end": (lay_out({"a": entry()}, bytes(8)), "'a' .* lies beyond its end"),
    "left over": (lay_out({"a": entry()}, bytes(24)), "holds 8 bytes that belong to no array"),
    "backwards": (lay_out({"a": entry(begin=16, end=0)}, bytes(16)), "does not fit into its 0 bytes"),
    "negative offset": (lay_out({"a": entry(begin=-16, end=0)}, bytes(16)), "whole numbers from 0 on"),
    "negative length": (lay_out({"a": entry(shape=(-2, -1))}, bytes(16)), "whole numbers from 0 on"),
    "length of a truth": (lay_out({"a": entry(shape=(True,), end=8)}, bytes(8)), "whole numbers from 0 on"),
    "fraction": (lay_out({"a": entry(shape=(2.0,))}, bytes(16)), "whole numbers from 0 on"),
    "huge": (lay_out({"a": entry(shape=(2**40, 2**40))}, bytes(16)), "does not fit into its 16 bytes"),
    "wraps around": (lay_out({"a": entry(shape=(2**61 + 2,))}, bytes(16)), "does not fit"),
    "huge and empty": (lay_out({"a": entry(shape=(2**60, 0), end=0)}), "does not fit into its 0 bytes"),
    "too many axes": (lay_out({"a": entry(shape=(1,) * 9, end=8)}, bytes(8)), "whole numbers from 0 on"),
    "too small": (lay_out({"a": entry(shape=(1,))}, bytes(16)), "does not fit"),
    "neither true nor false": (
        lay_out({"a": entry("BOOL", (2,), 0, 2)}, b"\x01\x02"),
        "more than true and false",
    ),
    "one offset": (lay_out({"a": entry() | {"data_offsets": [0]}}, bytes(16)), "whole numbers from 0 on"),
    "too many": (
        lay_out(
            {f"{i}": entry("U8", (1,), i, i + 1) for i in range(MAX_TENSORS + 1)}, bytes(MAX_TENSORS + 1)
        ),
        "at most 10,000 arrays",
    ),
}


@pytest.mark.parametrize("what", LIES)
def test_a_header_that_lies_is_refused(what: str) -> None:
    file, message = LIES[what]
    with pytest.raises(BundleError, match=message):
        read_tensors(file)


def test_a_header_that_would_fill_the_memory_is_refused() -> None:
    with pytest.raises(BundleError, match=r"would take about .* MB of memory"):
        read_tensors(lay_out(b'{"a":[' + b",".join([b"{}"] * 1_000_000) + b"]}"))
