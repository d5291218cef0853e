"""What fits is read whole, and the limit is the memory that is free."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from danlu.data import table
from danlu.data.table import Table, available_memory, load, resize


@given(st.lists(st.integers(0, 7), max_size=6), st.integers(1, 5))
def test_resize_keeps_rows_and_order(heights: list[int], rows: int):
    whole = pl.DataFrame({"x": range(sum(heights))})
    frames, start = [], 0
    for height in heights:
        frames.append(whole.slice(start, height))
        start += height
    parts = list(resize(iter(frames), rows))
    assert [part.height for part in parts[:-1]] == [rows] * (len(parts) - 1)
    assert pl.concat([whole.head(0), *parts]).equals(whole)


def test_free_memory_of_this_machine():
    assert 1 << 26 <= available_memory() < 1 << 45


def test_a_container_has_less_than_the_machine(tmp_path: Path):
    for name, text in (
        ("memory.max", "1000000"),
        ("memory.current", "700000"),
        ("memory.stat", "anon 1\nfile 200000\n"),
    ):
        (tmp_path / name).write_text(text)
    assert table._free_in_container(tmp_path) == 500_000
    (tmp_path / "memory.max").write_text("max\n")
    assert table._free_in_container(tmp_path) == 1 << 62


def test_without_a_limit_a_quarter_of_the_free_memory_is_used(monkeypatch: pytest.MonkeyPatch):
    frame = pl.DataFrame({"x": range(1000)})
    source = Table(frame.iter_slices, 1000, 8000)
    monkeypatch.setattr(table, "available_memory", lambda: 32_000)
    whole, notes = load(source)
    assert whole.equals(frame)
    assert not notes
    monkeypatch.setattr(table, "available_memory", lambda: 31_000)
    part, (note,) = load(source)
    assert 900 < part.height < 1000
    assert "takes about 8 kB in memory, more than the 7.75 kB that may be used" in note.message
    assert "of its 1,000 rows are used" in note.message


def test_a_limit_below_every_row_leaves_one():
    frame = pl.DataFrame({"x": range(10)})
    part, (note,) = load(Table(frame.iter_slices, 10, 80), max_bytes=0)
    assert part["x"].to_list() == [0]
    assert note.evidence["num_rows_used"] == 1
