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


@pytest.mark.parametrize(
    ("budget", "allowance"),
    [
        (10, 4.0),  # beside the other tests, which want the same cores
        pytest.param(10, 0.0, marks=pytest.mark.slow),
        pytest.param(30, 0.0, marks=pytest.mark.slow),
    ],
)
def test_a_table_that_could_take_minutes_ends_in_time(tmp_path: Path, budget: int, allowance: float) -> None:
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
    assert seconds < budget * 1.1 + allowance
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


def test_ten_houses_take_less_than_five_seconds_and_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from danlu.cli import main; status = main(sys.argv[1:]); "
        "heavy = [name for name in ('torch', 'sklearn', 'lightgbm') if name in sys.modules]; "
        "print(heavy, file=sys.stderr); sys.exit(status)"
    )
    words = ["train", "danlu/houses", "--target", "price", "--out", "run"]
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=tmp_path, capture_output=True, text=True)
    assert time.monotonic() - started < 5
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1] == "[]"
    assert (tmp_path / "run" / "report.html").stat().st_size > 10_000


@pytest.mark.slow
def test_a_million_rows_end_in_time(tmp_path: Path) -> None:
    rng = generator(0, "million")
    x = rng.normal(size=(1_000_000, 8)).round(4)
    frame = pl.DataFrame(x).with_columns(y=pl.Series((x[:, 0] * 2 + np.sin(3 * x[:, 1])).round(4)))
    frame.write_csv(tmp_path / "data.csv")
    started = time.monotonic()
    run = danlu.train(tmp_path / "data.csv", "y", out=tmp_path / "run")
    assert time.monotonic() - started < 66
    assert run.metrics["test"]["r2"] > 0.85  # type: ignore[operator]
    assert sum(run.record["split"]["rows"].values()) == 1_000_000


@pytest.mark.slow
def test_adult_takes_less_than_two_gigabytes(tmp_path: Path, data_dir: Path) -> None:
    files = [str(data_dir / "adult" / name) for name in ("train.csv", "test.csv")]
    words = ["train", files[0], "--test", files[1], "--target", "income", "--out", "run", "--json", "--quiet"]
    done = subprocess.run(
        [sys.executable, "-m", "danlu", *words], cwd=tmp_path, capture_output=True, check=True
    )
    record = json.loads((tmp_path / "run" / "record.json").read_text(encoding="utf-8"))
    assert record["run"]["peak_memory_bytes"] < 2 << 30
    assert json.loads(done.stdout)["metrics"]["test"]["accuracy"] > 0.87
