"""Numbers, lengths of time and labels as people read them."""

from __future__ import annotations

from typing import Any

import pytest

from danlu.report import text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (float("inf"), "∞"),
        (float("-inf"), "−∞"),
        (0, "0"),
        (16281, "16,281"),
        (-3.0, "−3"),
        (0.87431, "0.8743"),
        (0.5, "0.5"),
        (0.0341273, "0.03413"),
        (12.345678, "12.35"),
        (206856.4, "206,856"),
        (0.0000012, "1.2 × 10⁻⁶"),
        (3e20, "3 × 10²⁰"),
        (True, "True"),
        ("text", "text"),
    ],
)
def test_number(value: Any, shown: str) -> None:
    assert text.number(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.042, "42 ms"),
        (0.3, "0.3 s"),
        (9.96, "10 s"),
        (41.3, "41 s"),
        (60, "1 min"),
        (80, "1 min 20 s"),
        (3599.7, "1 h"),
        (3660, "1 h 1 min"),
        (None, "–"),
        (-1, "−1 s"),
    ],
)
def test_seconds(value: Any, shown: str) -> None:
    assert text.seconds(value) == shown


def test_percent_and_ranges() -> None:
    assert text.percent(0.8743) == "87.4 %"
    assert text.percent(None) == "–"
    assert text.between("86.9 %", "87.9 %") == "86.9–87.9 %"
    assert text.between("−0.1", "0.2") == "−0.1 to 0.2"
    assert text.between("–", "1") == "–"


def test_fixed_keeps_a_column_in_line_but_not_at_any_price() -> None:
    assert text.fixed(0.5, 3) == "0.500"
    assert text.fixed(0, 3) == "0.000"
    assert text.fixed(-0.0002, 3) == "0.000"
    assert text.fixed(-0.0207, 3) == "−0.021"
    assert text.fixed(4.1e9, 3) == "4.1 × 10⁹"
    assert text.fixed(None, 3) == "–"


@pytest.mark.parametrize(
    ("value", "shown"),
    [("", "(empty)"), ("  ", "(empty)"), (None, "(missing)"), (1.0, "1"), (False, "False")],
)
def test_labels_are_never_invisible(value: Any, shown: str) -> None:
    assert text.label(value) == shown


def test_moment_reads_iso_and_keeps_the_rest() -> None:
    assert text.moment("2025-11-22T18:06:31") == "22 November 2025, 18:06"
    assert text.moment("2025-11-22T18:06:31+00:00") == "22 November 2025, 18:06 UTC"
    assert text.moment("yesterday") == "yesterday"


def test_shorten_counts_chinese_letters_as_wide() -> None:
    assert text.shorten("short", 10) == "short"
    assert text.shorten("a" * 100, 10) == "a" * 16 + "…"
    assert text.shorten("房" * 100, 10) == "房" * 9 + "…"


def test_pick_and_entries_are_silent_on_absent_keys_only() -> None:
    record = {"a": {"b": 0, "none": None}, "list": [{"x": 1}, None]}
    assert text.pick(record, "a", "b") == 0
    assert text.pick(record, "a", "none", "deeper") is None
    assert text.pick(record, "absent") is None
    assert text.entries(record, "list") == [{"x": 1}]
    assert text.entries(record, "a", "absent") == []
