"""danlu's bare command on real tables, beside plain boosting: scores, seconds, memory.

    python benchmarks/tables.py                      all sets (about half an hour on 2 cores)
    python benchmarks/tables.py adult wine_quality   some of them
    python benchmarks/tables.py --quick              one seed, one repeat

The data are looked for in $DANLU_DATA or ../shared/data. Large sets: the bare command with seeds 0 to 4; `adult` has
its own test file, the others are split by the command itself. Small sets: outer cross-validation, 5 folds by
`--repeats` repeats, stratified; each outer training part is one run of the bare command, its held fold the test file.
A small set passes when its mean is not more than one standard error below its baseline (5-fold cross-validation of
plain boosting, from the data's README); the standard error is that of the mean over the outer folds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl


@dataclass(frozen=True)
class Set:
    """A data set, and what its result is held against."""

    name: str
    target: str
    metric: str
    bar: float
    is_small: bool = True
    test: str | None = None
    also: tuple[str, float] | None = None
    """A second metric and the largest value that it may have."""


SETS = [
    Set("adult", "income", "accuracy", 0.873, False, test="test.csv", also=("log_loss", 0.278)),
    Set("california_housing", "median_house_value", "r2", 0.845, False),
    Set("wine_quality", "quality", "r2", 0.38, False),
    Set("penguins", "species", "accuracy", 0.983),
    Set("mushroom", "type", "accuracy", 1.0),
    Set("breast_cancer_wdbc", "diagnosis", "accuracy", 0.970),
    Set("auto_mpg", "mpg", "r2", 0.874),
    Set("insurance", "charges", "r2", 0.837),
    Set("titanic", "survived", "accuracy", 0.815),
]


def main() -> int:
    """Run the sets that were asked for and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="sets to run (default: all)")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--budget", default="60s")
    parser.add_argument("--quick", action="store_true", help="one seed, one repeat")
    options = parser.parse_args()
    seeds, repeats = (1, 1) if options.quick else (options.seeds, options.repeats)
    folder = data_folder()
    chosen = [one for one in SETS if not options.names or one.name in options.names]
    print("| data | protocol | score | bar | held | second score | seconds (most) | memory (most) |")
    print("|---|---|---|---|---|---|---|---|", flush=True)
    all_held = True
    for one in chosen:
        runs = list(
            outer_folds(one, folder, repeats, options.budget)
            if one.is_small
            else by_seeds(one, folder, seeds, options.budget)
        )
        line, held = row(one, runs)
        all_held &= held
        print(line, flush=True)
    return 0 if all_held else 1


def data_folder() -> Path:
    """Where the data are."""
    folder = Path(os.environ.get("DANLU_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not folder.is_dir():
        sys.exit(f"The data sets are not in {folder}. Name their folder with DANLU_DATA.")
    return folder


def by_seeds(one: Set, folder: Path, seeds: int, budget: str) -> Iterator[dict[str, Any]]:
    """The bare command with seeds 0, 1, ..."""
    source = folder / one.name / ("train.csv" if one.test else f"{one.name}.csv")
    test = folder / one.name / one.test if one.test else None
    for seed in range(seeds):
        yield command(one, source, test, seed, budget)


def outer_folds(one: Set, folder: Path, repeats: int, budget: str) -> Iterator[dict[str, Any]]:
    """The bare command on each outer training part, tested on the fold that was held out."""
    frame = pl.read_csv(folder / one.name / f"{one.name}.csv", infer_schema_length=None)
    target = frame[one.target]
    with tempfile.TemporaryDirectory() as place:
        for repeat in range(repeats):
            order = np.random.default_rng(repeat).permutation(len(frame))
            if (
                one.metric == "accuracy"
            ):  # stratified: neighbours in the order of the target go to different folds
                order = order[np.argsort(target.rank("dense").to_numpy()[order], kind="stable")]
            fold_of = np.empty(len(frame), dtype=int)
            fold_of[order] = np.arange(len(frame)) % 5
            for fold in range(5):
                train, test = Path(place) / "train.csv", Path(place) / "test.csv"
                frame.filter(pl.Series(fold_of != fold)).write_csv(train)
                frame.filter(pl.Series(fold_of == fold)).write_csv(test)
                yield command(one, train, test, repeat * 5 + fold, budget)


def command(one: Set, source: Path, test: Path | None, seed: int, budget: str) -> dict[str, Any]:
    """One run of the bare command: what it printed, the wall seconds around it, and its peak memory in MB."""
    with tempfile.TemporaryDirectory() as out:
        words = [
            sys.executable,
            "-m",
            "danlu",
            "train",
            str(source),
            "--target",
            one.target,
            "--seed",
            str(seed),
        ]
        words += [
            "--budget",
            budget,
            "--out",
            f"{out}/run",
            "--json",
            "--quiet",
            *(["--test", str(test)] if test else []),
        ]
        started = time.monotonic()
        process = subprocess.Popen(words, stdout=subprocess.PIPE)
        output = process.stdout.read() if process.stdout else b""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{' '.join(words)} ended with status {process.returncode}")
        return json.loads(output) | {"wall": time.monotonic() - started, "memory": memory(usage)}


def memory(usage: resource.struct_rusage) -> float:
    """Peak memory of a process in MB."""
    return usage.ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)


def row(one: Set, runs: list[dict[str, Any]]) -> tuple[str, bool]:
    """A row of the table, and whether the bar was held."""
    scores = [run["metrics"]["test"][one.metric] for run in runs]
    if one.is_small:
        centre, error = (
            statistics.fmean(scores),
            statistics.stdev(scores) / len(scores) ** 0.5 if len(scores) > 1 else 0.0,
        )
        shown, held = f"{centre:.4f} ± {error:.4f} (mean, standard error)", centre >= one.bar - error
        protocol = f"outer CV, {len(runs)} folds"
    else:
        centre = statistics.median(scores)
        shown, held = f"{centre:.4f} (median; {min(scores):.4f} to {max(scores):.4f})", centre >= one.bar
        protocol = f"{len(runs)} seeds"
    second = ""
    if one.also:
        name, most = one.also
        values = [run["metrics"]["test"][name] for run in runs]
        second, held = (
            f"{name} {statistics.median(values):.4f} (at most {most})",
            held and statistics.median(values) <= most,
        )
    seconds, megabytes = max(run["wall"] for run in runs), max(run["memory"] for run in runs)
    middle = f"{statistics.median(run['wall'] for run in runs):.0f} ({seconds:.0f})"
    verdict = "yes" if held else "NO"
    cells = (
        one.name,
        protocol,
        f"{one.metric} {shown}",
        one.bar,
        verdict,
        second,
        middle,
        f"{megabytes:.0f} MB",
    )
    return f"| {' | '.join(map(str, cells))} |", held


if __name__ == "__main__":
    raise SystemExit(main())
