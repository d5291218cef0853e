"""A table that is open but not in memory yet: read whole where it fits, else an even sample of its rows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from danlu.core.findings import Finding

if TYPE_CHECKING:
    import polars as pl

BATCH = 50_000  # rows in memory at a time
SHARE_OF_MEMORY = 0.25  # a run holds the table, its numbers and the models' copies of them


@dataclass(frozen=True)
class Table:
    """Rows that can be walked through as often as needed."""

    batches: Callable[[int], Iterator[pl.DataFrame]]
    """Frames of as many rows as asked (the last may be shorter), in the order of the source."""
    num_rows: int
    num_bytes: int
    """What the whole table takes in memory, about."""
    is_text: bool = False
    """Whether the source has no types of its own, so that numbers are to be found in its text."""
    notes: tuple[Finding, ...] = ()


def load(table: Table, *, max_bytes: int | None = None) -> tuple[pl.DataFrame, tuple[Finding, ...]]:
    """The table in memory: all of it, or an even sample of rows where it takes more than `max_bytes`.

    Without `max_bytes` it is a quarter of the memory that is free. Which rows are taken depends on nothing
    but their places in the table.
    """
    import polars as pl

    limit = int(available_memory() * SHARE_OF_MEMORY) if max_bytes is None else max_bytes
    if table.num_bytes <= limit:
        return pl.concat(list(table.batches(BATCH)), rechunk=True), ()
    parts, start = [], 0
    threshold = np.uint64(min(int(limit / table.num_bytes * 2**64), 2**64 - 1))
    for batch in table.batches(BATCH):
        places = np.arange(start, start + batch.height, dtype=np.uint64)
        start += batch.height
        kept = batch.filter(pl.Series(_mixed(places) < threshold))
        # Text is copied: a part of a column would keep the text of its whole batch in memory.
        parts.append(kept.with_columns(pl.col(pl.String) + ""))
    frame = pl.concat(parts, rechunk=True)
    if not frame.height:
        frame = next(table.batches(1))
    note = Finding(
        "sampled",
        "warning",
        f"The table takes about {_size(table.num_bytes)} in memory, more than the {_size(limit)} that may "
        f"be used: {frame.height:,} of its {start:,} rows are used, taken evenly from all of it. Row "
        "numbers count these rows.",
        {"num_rows_used": frame.height, "num_rows": start, "num_bytes": table.num_bytes, "max_bytes": limit},
        ("Use a machine with more memory, or keep only the columns that matter.",),
    )
    return frame, (note,)


def resize(frames: Iterator[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """The same rows in frames of `rows` rows; only the last may be shorter."""
    import polars as pl

    waiting: list[pl.DataFrame] = []
    height = 0
    for frame in frames:
        waiting.append(frame)
        height += frame.height
        if height >= rows:
            joined = pl.concat(waiting)
            whole = height - height % rows
            yield from joined.slice(0, whole).iter_slices(rows)
            waiting, height = [joined.slice(whole)], height - whole
    if height:
        yield pl.concat(waiting)


def available_memory() -> int:
    """Bytes that may still be used: of the machine, or of the container that this process is held in."""
    return max(min(_free_in_machine(), _free_in_container()), 1 << 26)


def _free_in_container(group: Path = Path("/sys/fs/cgroup")) -> int:
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return 1 << 62  # no limit: there is no such file, or it says "max"
    return limit - used + int(stat.get("file", 0))  # the cache of files is given up when memory runs short


def _free_in_machine() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (OSError, ValueError, AttributeError):
        return 4 << 30  # unknown system: what nearly every machine has


def _mixed(places: np.ndarray) -> np.ndarray:
    """Each number scattered over 0..2^64, the same everywhere (finaliser of SplitMix64, Steele 2014)."""
    z = places + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _size(num_bytes: int) -> str:
    value, unit = float(num_bytes), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.3g} {unit}"
