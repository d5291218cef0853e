"""JSON as a bundle may hold it: UTF-8, no NaN, no key twice; depth and memory are bounded before parsing."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from danlu.core.errors import BundleError

MAX_DEPTH = 64  # brackets within brackets
MAX_DIGITS = 20  # of a whole number: enough for 64 bits


@dataclass
class Memory:
    """Bytes that may still be taken for what JSON texts stand for, beyond the texts themselves."""

    left: int


def parse(data: memoryview, *, name: str, memory: Memory) -> Any:
    """The value that the JSON text `data` stands for; `name` is the member of the bundle, for `BundleError`.

    What Python will need for the objects is bounded from above before any of them is made, and taken off
    `memory`.
    """
    _check_shape(data, name=name, memory=memory)
    try:
        return json.loads(
            str(data, "utf-8"),
            object_pairs_hook=_without_duplicates,
            parse_constant=_no_constant,
            parse_float=_finite,
            parse_int=_short,
        )
    except UnicodeDecodeError as error:
        raise BundleError(f"{name} is not UTF-8 text ({error.reason} at byte {error.start}).") from error
    except json.JSONDecodeError as error:
        raise BundleError(f"{name} is not JSON: {error}.") from error
    except _Refused as error:
        raise BundleError(f"{name} {error}") from error


def dump(value: Any, *, indent: int | None = None) -> bytes:
    """UTF-8 text of `value`, which holds JSON's own types; the order of keys and every bit of floats stay."""
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent, separators=separators)
    return text.encode("utf-8")


class _Refused(ValueError):
    """Why a value may not stand in a bundle; goes on after the name of the member."""


_OPEN_LIST, _OPEN_DICT, _CLOSE_LIST, _CLOSE_DICT, _COMMA, _COLON, _QUOTE = b'[{]},:"'
_IS_STRUCTURE = np.zeros(256, dtype=bool)
_IS_STRUCTURE[list(b"[{]},:")] = True
_PIECE = 1 << 16  # bytes looked at together
# Half of a UTF-16 pair; a character beyond U+FFFF stands in a bundle as itself.
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def _check_shape(data: memoryview, *, name: str, memory: Memory) -> None:
    """Refuse what would take too much memory or nests too deeply, without parsing it."""
    _take(2 * len(data), name=name, memory=Memory(memory.left))  # the text alone, before it is copied
    raw = bytes(data)
    plain = _without_escapes(raw)
    if _SURROGATE.search(plain):
        raise BundleError(f"{name} holds half a character (a surrogate such as \\ud800).")
    counts, depth = _count(plain)
    if depth > MAX_DEPTH:
        raise BundleError(f"{name} nests {depth} levels deep; {MAX_DEPTH} are allowed.")
    _take(_needed(raw, counts), name=name, memory=memory)


def _take(num_bytes: int, *, name: str, memory: Memory) -> None:
    if num_bytes > memory.left:
        raise BundleError(
            f"{name} would take about {num_bytes >> 20:,} MB of memory, {memory.left >> 20:,} MB are allowed."
        )
    memory.left -= num_bytes


def _needed(raw: bytes, counts: np.ndarray) -> int:
    """An upper bound of the memory that parsing takes beyond `raw` itself, measured with CPython 3.11."""
    num_lists, num_dicts, num_keys = counts[_OPEN_LIST], counts[_OPEN_DICT], counts[_COLON]
    num_values, num_strings = counts[_COMMA] + num_lists + num_dicts + 1, counts[_QUOTE] // 2 + 1
    # The decoded text and its strings once more; characters take 1, 2 or 4 bytes, whichever the widest needs.
    is_wide = not raw.isascii() and int(np.frombuffer(raw, np.uint8).max()) >= 0xF0
    text = 2 * len(raw) * (4 if is_wide else 1 if raw.isascii() else 2)
    return int(text + 40 * num_values + 32 * num_strings + 56 * num_lists + 72 * num_dicts + 170 * num_keys)


def _without_escapes(raw: bytes) -> bytes:
    """The text without escaped backslashes and quotes: every quote that is left begins or ends a string."""
    return raw.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in raw else raw


def _count(plain: bytes) -> tuple[np.ndarray, int]:
    """How often each structural byte stands outside of strings, and how deep brackets nest."""
    counts, depth, deepest = np.zeros(256, dtype=np.int64), 0, 0
    for codes in _structure(plain):
        counts += np.bincount(codes, minlength=256)
        opens = (codes == _OPEN_LIST) | (codes == _OPEN_DICT)
        closes = (codes == _CLOSE_LIST) | (codes == _CLOSE_DICT)
        levels = depth + np.cumsum(opens.astype(np.int32) - closes.astype(np.int32))
        if len(levels):
            depth, deepest = int(levels[-1]), max(deepest, int(levels.max()))
    return counts, deepest


def _structure(plain: bytes) -> Iterator[np.ndarray]:
    """Brackets, commas and colons outside of strings, piece by piece."""
    inside = False
    for start in range(0, len(plain), _PIECE):
        codes = np.frombuffer(plain, np.uint8, min(_PIECE, len(plain) - start), start)
        within = np.logical_xor.accumulate(codes == _QUOTE) ^ inside
        inside = bool(within[-1])
        yield codes[(~within & _IS_STRUCTURE[codes]) | (codes == _QUOTE)]


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise _Refused(f"holds the key {twice[:80]!r} twice.")
    return found


def _no_constant(text: str) -> Any:
    raise _Refused(f"holds {text}, which is not JSON.")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _Refused(f"holds {text[:40]}, which is too large for a number.")
    return number


def _short(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise _Refused(f"holds a whole number of {len(text)} digits.")
    return int(text)
