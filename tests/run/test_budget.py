"""The budget is the wall time of the whole command, from a process's start to its end."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.run.tables import QUICK, merged, table

import danlu
from danlu.core.seeds import generator


@pytest.mark.parametrize("budget", [6])
def test_a_table_that_could_take_minutes_ends_in_time(tmp_path: Path, budget: int) -> None:
    rng = generator(0, "budget")
    x = rng.normal(size=(20_000, 20))
    y = np.where(x[:, 0] * x[:, 1] + x[:, 2] + rng.normal(size=20_000) > 0, "yes", "no")
    pl.DataFrame(x).with_columns(y=pl.Series(y)).write_csv(tmp_path / "data.csv")
    words = [
        "train",
        "data.csv",
        "--target",
        "y",
        "--budget",
        f"{budget}s",
        "--out",
        "run",
        "--json",
        "--quiet",
    ]
    command = [sys.executable, "-c", "import sys; from danlu.cli import main; sys.exit(main())", *words]
    started = time.monotonic()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    assert done.returncode == 0, done.stderr
    assert seconds < budget * 1.1 + 1.0
    result = json.loads(done.stdout)
    assert (
        result["chosen"] != "baseline"
        and result["metrics"]["test"]["accuracy"] > result["baseline"]["accuracy"] + 0.05
    )


def test_no_time_at_all_still_leaves_a_model(runs_dir: Path) -> None:
    """The baseline is always there, and what was not tried says why."""
    run = danlu.train(table("binary"), "y", model=["decision_tree", "knn"], **merged(QUICK, budget="0.001s"))
    assert run.model.predict(table("binary").drop("y")).height == 120
    left = [row for row in run.record["candidates"] if row["status"] in ("skipped", "failed")]
    assert left and all("time" in row["why"] for row in left)
