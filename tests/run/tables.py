"""Small generated tables whose target follows from two columns, and settings that make a run short."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from danlu.core.seeds import generator

QUICK: dict[str, Any] = {
    "split": {"folds": 3, "repeats": 1},
    "evaluation": {"bootstrap": 50},
    "budget": "60s",
}
"""A run by cross-validation in about half a second."""
HOLDOUT: dict[str, Any] = {"split": {"small_rows": 0}, "evaluation": {"bootstrap": 50}, "budget": "60s"}
"""The same by one holdout."""
KINDS = ("regression", "binary", "multiclass")


def table(kind: str, num_rows: int = 120, *, seed: int = 0) -> pl.DataFrame:
    """Columns `a`, `b` (numbers), `c` (a category that says nothing) and the target `y`, about 2 a - b."""
    rng = generator(seed, kind)
    a, b = rng.normal(size=(2, num_rows))
    score = 2 * a - b
    if kind == "regression":
        y: Any = score + 0.1 * rng.normal(size=num_rows)
    elif kind == "binary":
        y = np.where(score > 0, "yes", "no")
    else:
        y = np.array(["low", "middle", "high"])[np.digitize(score, [-1.0, 1.0])]
    return pl.DataFrame({"a": a, "b": b, "c": rng.choice(["p", "q", "r"], num_rows), "y": y})


def merged(base: dict[str, Any], **more: Any) -> dict[str, Any]:
    """`base` with groups of settings added to its groups."""
    result = dict(base)
    for name, value in more.items():
        result[name] = (
            base[name] | value if isinstance(value, dict) and isinstance(base.get(name), dict) else value
        )
    return result
