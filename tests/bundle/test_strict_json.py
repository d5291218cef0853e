"""Tests of bundle/strict_json.py: what is read is what json reads, and nothing else is read."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.bundle.strict_json import MAX_DEPTH, Memory, dump, parse
from danlu.core.errors import BundleError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner), max_leaves=20)


def read(text: bytes, *, left: int = 1 << 20) -> Any:
    return parse(memoryview(text), name="model.json", memory=Memory(left))


@given(VALUES)
def test_what_is_written_is_read_again(value: Any) -> None:
    for indent in (None, 1):
        again = read(dump(value, indent=indent))
        assert again == value
        assert json.dumps(again) == json.dumps(value)  # the order of keys, and the bits of -0.0 too


@given(VALUES)
def test_other_writers_are_read_like_json_reads_them(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=True).encode()
    if any(ord(character) > 0xFFFF for character in json.dumps(value, ensure_ascii=False)):
        with pytest.raises(
            BundleError, match="half a character"
        ):  # JSON needs two escapes for such a character
            read(text)
    else:
        assert read(text) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[NaN]", "model.json holds NaN, which is not JSON"),
        (b"[-Infinity]", "holds -Infinity, which is not JSON"),
        (b"[1e999]", "holds 1e999, which is too large for a number"),
        (b"[" + b"9" * 5000 + b"]", "holds a whole number of 5000 digits"),
        (b'{"a": 1, "b": 2, "a": 3}', "holds the key 'a' twice"),
        (b'{"a": {"b": 1, "\\u0062": 2}}', "holds the key 'b' twice"),
        (b'["\xff"]', "is not UTF-8 text"),
        (b'["\\ud83d"]', "holds half a character"),
        (b'["\\\\\\ud83d"]', "holds half a character"),
        (b"[1] [2]", "is not JSON: Extra data"),
        (b"{'a': 1}", "is not JSON"),
        (b'["a', "is not JSON"),
        (b"", "is not JSON"),
        ("\ufeff[1]".encode(), "is not JSON"),
    ],
)
def test_what_is_not_strict_is_refused(text: bytes, message: str) -> None:
    with pytest.raises(BundleError, match=message):
        read(text)


def test_a_backslash_before_the_letters_of_a_surrogate_is_text() -> None:
    assert read(dump(["C:\\ud83d"])) == ["C:\\ud83d"]


@pytest.mark.parametrize("brackets", [(b"[", b"]"), (b'{"a":', b"}")])
def test_depth_is_bounded(brackets: tuple[bytes, bytes]) -> None:
    opening, closing = brackets
    read(opening * MAX_DEPTH + b"1" + closing * MAX_DEPTH)
    for depth in (MAX_DEPTH + 1, 1500):
        with pytest.raises(BundleError, match=f"nests {depth} levels deep; 64 are allowed"):
            read(opening * depth + b"1" + closing * depth)
    with pytest.raises(BundleError, match="nests 2500 levels deep"):
        read(b"[" * 2500)  # never closed


def test_brackets_within_texts_do_not_count() -> None:
    value = ['"[[[' * 100, "\\" * 7 + '"' + "{" * 500, {"[" * 200: "]"}]
    assert read(dump(value)) == value
    pieces = [" " * 65_530, "[" * 100 + '"', '"' * (1 << 16)]  # texts across the pieces that are looked at
    assert read(dump(pieces), left=1 << 26) == pieces


def test_the_memory_is_shared_and_used_up() -> None:
    memory = Memory(60_000)
    text = memoryview(dump(["some text"] * 500))
    parse(text, name="model.json", memory=memory)
    assert 0 < memory.left < 30_000
    with pytest.raises(BundleError, match=r"card\.json would take about 0 MB of memory, 0 MB are allowed"):
        parse(text, name="card.json", memory=memory)


NUM = 20_000
GREEDY = {
    "keys": b"{" + b",".join(b'"%x":%d' % (i, i + 1000) for i in range(NUM)) + b"}",
    "mappings of one key": b"[" + b",".join(b'{"%x":0}' % i for i in range(NUM)) + b"]",
    "mappings of six keys": b"["
    + b",".join(b'{"a%d":0,"b":1,"c":2,"d":3,"e":4,"f":5}' % i for i in range(NUM))
    + b"]",
    "empty mappings": b"[" + b",".join([b"{}"] * NUM) + b"]",
    "empty lists": b"[" + b",".join([b"[]"] * NUM) + b"]",
    "lists in lists": b"[" + b",".join([b"[[[[0]]]]"] * NUM) + b"]",
    "numbers": b"[" + b",".join(b"%d" % (i + 1000) for i in range(NUM)) + b"]",
    "floats": b"[" + b",".join([b"1.5"] * NUM) + b"]",
    "short texts": b"[" + b",".join([b'"ab"'] * NUM) + b"]",
    "short wide texts": b"[" + b",".join(['"ab\U0001f600"'.encode()] * NUM) + b"]",
    "a long text": b'["' + b"a" * 1_000_000 + b'"]',
    "a long wide text": b'["' + b"a" * 1_000_000 + '丹\U0001f600"]'.encode(),
    "escapes": b'["' + b"\\n" * 500_000 + b'"]',
}


@pytest.mark.parametrize("what", GREEDY)
def test_the_bound_holds_what_python_takes(what: str) -> None:
    memory = Memory(1 << 30)
    tracemalloc.start()
    try:
        parse(memoryview(GREEDY[what]), name="model.json", memory=memory)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= (1 << 30) - memory.left + 100_000


def test_a_text_that_is_too_long_is_not_even_copied() -> None:
    text = memoryview(bytes(50_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(
            BundleError, match=r"model\.json would take about 95 MB of memory, 40 MB are allowed"
        ):
            parse(text, name="model.json", memory=Memory(40 << 20))
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
