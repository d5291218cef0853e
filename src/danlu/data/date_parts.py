"""Dates as numbers: year, month, day, weekday, hour, days elapsed, and the cycles of year, week and day."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from danlu.data import casts
from danlu.data.stored import Stored

if TYPE_CHECKING:
    import polars as pl

MICROSECONDS = 86_400_000_000  # of a day
PARTS = ("elapsed_days", "year", "month", "day", "weekday", "hour")
# Sine and cosine put December beside January; the length of each cycle is in the unit of its part.
CYCLES = {"year": 365.25, "weekday": 7.0, "hour": 24.0}
CYCLIC = tuple(f"{cycle}_{wave}" for cycle in CYCLES for wave in ("sin", "cos"))


@dataclass(frozen=True)
class DateParts:
    """Parts of one date/time column; only those that vary among the training rows."""

    column: str
    zone: str | None
    """Time zone on whose clock the parts are read, for columns that carry one."""
    origin: int
    """Microseconds since 1970 of the earliest training row, from which `elapsed_days` counts."""
    parts: tuple[str, ...]

    @classmethod
    def fit(cls, column: pl.Series, *, cyclic: bool, parts: bool, row_numbers: np.ndarray | None) -> Self:
        """Fit on training rows. `cyclic` adds sines and cosines; without `parts` days elapsed are all."""
        zone = getattr(column.dtype, "time_zone", None)
        ticks = casts.moments(column, row_numbers, zone=zone).to_physical().drop_nulls().to_numpy()
        everything = cls(column.name, zone, int(ticks.min()) if len(ticks) else 0, (*PARTS, *CYCLIC))
        values = everything.values(column, row_numbers)
        values = values[~np.isnan(values[:, 0])]
        varies = (values != values[:1]).any(axis=0).tolist()
        wanted = {"elapsed_days", *(PARTS if parts else ()), *(CYCLIC if parts and cyclic else ())}
        kept = [part for part, does in zip(everything.parts, varies, strict=True) if does and part in wanted]
        return cls(column.name, zone, everything.origin, tuple(kept))

    def feature_names(self) -> list[str]:
        """`column.month`, ..."""
        return [f"{self.column}.{part}" for part in self.parts]

    def values(self, column: pl.Series, row_numbers: np.ndarray | None = None) -> np.ndarray:
        """(n, parts) float64, NaN where the date is missing. Monday is 1; half past one is the hour 13.5."""
        moments = casts.moments(column, row_numbers, zone=self.zone)
        missing = moments.is_null().to_numpy()
        ticks = moments.to_physical().fill_null(0).to_numpy()
        hour = np.mod(ticks, MICROSECONDS) / (MICROSECONDS / 24)
        values = np.empty((len(moments), len(self.parts)), order="F")
        for place, part in enumerate(self.parts):
            if part == "elapsed_days":
                values[:, place] = (ticks - self.origin) / MICROSECONDS
            elif part == "hour":
                values[:, place] = hour
            elif part in PARTS:
                values[:, place] = getattr(moments.dt, part)().fill_null(0).to_numpy()
            else:
                values[:, place] = _wave(moments, hour, *part.rsplit("_", 1))
        values[missing] = np.nan
        return values

    def state(self) -> dict[str, Any]:
        """JSON values from which `from_state` makes an equal one."""
        zone = {} if self.zone is None else {"zone": self.zone}
        return {"column": self.column, "origin": self.origin, "parts": list(self.parts)} | zone

    @classmethod
    def from_state(cls, stored: Stored) -> Self:
        """What `state` gave, checked."""
        zone = stored.text("zone") if "zone" in stored else None
        if zone is not None and not _is_zone(zone):
            stored.fail("zone", "is no time zone")
        parts = stored.texts("parts")
        if not set(parts) <= {*PARTS, *CYCLIC}:
            stored.fail("parts", f"must be among {', '.join((*PARTS, *CYCLIC))}")
        return cls(stored.text("column"), zone, stored.whole("origin", -(2**62), 2**62), parts)


def _wave(moments: pl.Series, hour: np.ndarray, cycle: str, wave: str) -> np.ndarray:
    if cycle == "hour":
        position = hour
    else:
        days = moments.dt.ordinal_day() if cycle == "year" else moments.dt.weekday()
        position = days.fill_null(0).to_numpy().astype(np.float64)
    # One by one: a vectorised sine may differ in the last bit with the place in the array.
    distinct, inverse = np.unique(position, return_inverse=True)
    function = math.sin if wave == "sin" else math.cos
    return np.array([function(2 * math.pi * value / CYCLES[cycle]) for value in distinct.tolist()])[inverse]


def _is_zone(name: str) -> bool:
    import polars as pl

    try:
        pl.Series([0]).cast(pl.Datetime("us", name))
    except pl.exceptions.PolarsError:
        return False
    return True
