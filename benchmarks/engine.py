"""The engine beside its peers: the same model, rows, optimizer and batch size, side by side in one run, as ratios.

    python -m venv .bench
    .bench/bin/pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu   # or a CUDA build
    .bench/bin/pip install -r benchmarks/requirements-engine.txt -e .
    .bench/bin/python benchmarks/engine.py                         everything (about half an hour on 2 cores)
    .bench/bin/python benchmarks/engine.py --tasks digits,short    some of it
    .bench/bin/python benchmarks/engine.py --quick                 little work, two rounds: does it run?

The peers live in an environment of their own. One that is not installed there is left out, and said so.

The contestants of a task take turns (A B C, B C A, ...), each from a fresh start in every round, all in this one
process, after one round that does not count. A ratio is taken within a round, where both had the same neighbours on
the machine; the tables show its median and its 10 % and 90 % quantiles over the rounds. "Steady" seconds run from the
end of a step to the end of a later one; "whole fit" is everything from the model's construction to the end.

Peers run as they come, without logs, progress bars, checkpoints and clipping, and with torch's fused optimizer where
they take one. bf16 takes part where the processor computes it itself; `--precisions fp32,bf16` insists. Scores on
held-out rows show that the work was done: the median over the rounds, and for classes its 95 % interval (Wilson).
On a machine that others use meanwhile, `--threads 1 --clock cpu` gives steadier ratios than wall time.
MNIST is looked for in $DANLU_DATA or ../shared/data.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

import numpy as np
import torch
from engine_tasks import Job, Lap, bert, cnn, digits, exact, held_out_score, linear, short
from threadpoolctl import threadpool_limits

PACKAGES = (
    *("torch", "danlu", "transformers", "accelerate", "lightning"),
    *("skorch", "scikit-learn", "keras", "numpy"),
)
BF16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""A processor that computes bf16 itself names one of these."""


@dataclass(frozen=True)
class Contestant:
    """Who takes part: a function from a job to a lap."""

    name: str
    function: str
    """`module:function`; the module is imported when its task runs."""
    precision: str = "fp32"
    channels_last: bool = False


@dataclass(frozen=True)
class Measured:
    """One turn of a contestant."""

    cost: float
    """Seconds a row where the fit was steady, seconds in all otherwise."""
    cpu_share: float
    """CPU seconds of the process for each second on the clock."""
    others: float
    """Cores that other processes were busy on meanwhile; NaN where the system does not say."""
    score: float


@dataclass(frozen=True)
class Task:
    """A job, and who does it. The first contestant is the one that the others are held against."""

    name: str
    title: str
    job: Callable[..., Job]
    contestants: tuple[Contestant, ...]
    is_steady: bool = True


MLP = (
    Contestant("raw torch, eager, fused", "engine_torch:indexed"),
    Contestant("raw torch with DataLoader", "engine_torch:loaded"),
    Contestant("scikit-learn MLP", "engine_sklearn:mlp"),
    Contestant("skorch", "engine_skorch:skorch"),
    Contestant("Lightning", "engine_lightning:lightning"),
    Contestant("HF Trainer", "engine_hf:hf_trainer"),
    Contestant("Keras 3 (torch)", "engine_keras:keras_fit"),
    Contestant("danlu", "engine_danlu:danlu"),
    Contestant("danlu, compiled", "engine_danlu:compiled"),
)
CNN = (
    Contestant("raw torch, eager, fused", "engine_torch:indexed"),
    Contestant("raw torch, channels_last", "engine_torch:indexed", channels_last=True),
    Contestant("raw torch, bf16", "engine_torch:indexed", "bf16"),
    Contestant("raw torch, channels_last, bf16", "engine_torch:indexed", "bf16", True),
    Contestant("skorch", "engine_skorch:skorch"),
    Contestant("Lightning", "engine_lightning:lightning"),
    Contestant("Lightning, bf16", "engine_lightning:lightning", "bf16"),
    Contestant("HF Trainer", "engine_hf:hf_trainer"),
    Contestant("HF Trainer, bf16", "engine_hf:hf_trainer", "bf16"),
    Contestant("Keras 3 (torch)", "engine_keras:keras_fit"),
    Contestant("danlu", "engine_danlu:danlu"),
    Contestant("danlu, bf16", "engine_danlu:danlu", "bf16"),
    Contestant("danlu, compiled", "engine_danlu:compiled"),
    Contestant("danlu, compiled, bf16", "engine_danlu:compiled", "bf16"),
)
BERT = (
    Contestant("raw torch, eager, fused", "engine_torch:indexed"),
    Contestant("raw torch, bf16", "engine_torch:indexed", "bf16"),
    Contestant("Lightning", "engine_lightning:lightning"),
    Contestant("Lightning, bf16", "engine_lightning:lightning", "bf16"),
    Contestant("HF Trainer", "engine_hf:hf_trainer"),
    Contestant("HF Trainer, bf16", "engine_hf:hf_trainer", "bf16"),
    Contestant("danlu", "engine_danlu:danlu"),
    Contestant("danlu, bf16", "engine_danlu:danlu", "bf16"),
    Contestant("danlu, compiled", "engine_danlu:compiled"),
    Contestant("danlu, compiled, bf16", "engine_danlu:compiled", "bf16"),
)
EXACT = (
    Contestant("scikit-learn LinearRegression", "engine_sklearn:linear_regression"),
    Contestant("scikit-learn LinearRegression, fp64", "engine_sklearn:linear_regression_fp64"),
    Contestant("torch.linalg.lstsq", "engine_torch:least_squares"),
    Contestant("normal equations in torch, fp64", "engine_torch:normal_equations"),
    Contestant("danlu", "engine_danlu:least_squares"),
)
SIGNALS = (
    Contestant("danlu, signals and watchers off", "engine_danlu:unwatched"),
    Contestant("danlu, signals and watchers on", "engine_danlu:watched"),
)
TASKS = (
    Task("digits", "Digits: MLP 64-128-64-10, batch 64, Adam", digits, MLP),
    Task("short", "Digits, a short fit: 28 steps with the set-up, warm process", short, MLP, False),
    Task("cnn", "MNIST: two convolutions, batch 128, Adam", cnn, CNN),
    Task("bert", "Tiny BERT: 4 layers x 256, sequence 64, batch 32, AdamW", bert, BERT),
    Task("linear", "Linear regression 1e6 x 50: SGD, batch 1024", linear, MLP),
    Task("exact", "Linear regression 1e6 x 50: exact", exact, EXACT, False),
    Task("signals", "Signals and watchers, on the digits", digits, SIGNALS),
)


def main() -> None:
    """Run the tasks that were asked for and print their tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [task.name for task in TASKS]
    parser.add_argument("--tasks", default=",".join(names), help=f"of {', '.join(names)} (default: all)")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="little work and two rounds")
    parser.add_argument("--peers-only", action="store_true", help="without danlu")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--precisions", help="fp32, bf16 or both (default: bf16 too where the machine has it)"
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=0,
        metavar="SECONDS",
        help="wait so long for a quiet moment, each turn",
    )
    parser.add_argument("--threads", type=int, help="threads, instead of each task's own number")
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: seconds that the process worked; for one thread on a machine that others share",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep every single measurement")
    options = parser.parse_args()
    asked = options.tasks.split(",")
    if unknown := set(asked) - set(names):
        parser.error(f"there is no task {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("torch sees no CUDA device here; leave --device out")
    has_bf16 = options.device == "cuda" or bool(BF16 & processor_flags())
    precisions = (options.precisions or ("fp32,bf16" if has_bf16 else "fp32")).split(",")
    if options.clock == "cpu" and (options.threads != 1 or options.device == "cuda"):
        parser.error(
            "--clock cpu needs --threads 1 and no GPU: threads that wait for each other count as work"
        )
    about = machine(options.device)
    print(f"    python {' '.join([os.path.relpath(sys.argv[0]), *sys.argv[1:]])}\n\n{about}\n", flush=True)
    kept: dict[str, dict[str, list[dict[str, float]]]] = {}
    for task in (task for task in TASKS if task.name in asked):
        entries = [one for one in task.contestants if one.precision in precisions]
        entries = [one for one in entries if not (options.peers_only and "danlu" in one.function)]
        if not entries:
            continue
        task = replace(task, title=f"{task.title} (quick: less work than that)") if options.quick else task
        job = replace(task.job(quick=options.quick), device=options.device)
        job = replace(job, num_threads=options.threads or job.num_threads)
        rounds = 2 if options.quick else options.rounds
        results = compete(task, job, entries, rounds=rounds, patience=options.patience)
        print("\n".join(table(task, job, results, clock=options.clock)), end="\n\n", flush=True)
        kept[task.name] = {name: [vars(turn) for turn in turns] for name, turns in results.items()}
        if options.json:
            words = {"command": sys.argv, "machine": about, "tasks": kept}
            options.json.write_text(json.dumps(words, indent=1), encoding="utf-8")


def compete(
    task: Task, job: Job, entries: Sequence[Contestant], *, rounds: int, patience: float
) -> dict[str, list[Measured]]:
    """Let the contestants take turns; what each was measured at, round by round."""
    present: dict[Contestant, Callable[[Job], Lap]] = {}
    for entry in entries:
        module, name = entry.function.split(":")
        try:
            present[entry] = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError as error:
            print(f"{entry.name} is left out: {error}", file=sys.stderr)
    order = list(present)
    results: dict[str, list[Measured]] = {entry.name: [] for entry in order}
    for turn in range(rounds + 1):
        for entry in order:
            own = replace(job, precision=entry.precision, channels_last=entry.channels_last, seed=turn)
            wait_for_quiet(patience)
            measured = measure(present[entry], own, is_steady=task.is_steady)
            said = f"{measured.cost:.3g} s on {measured.cpu_share:.2f} cores, others {measured.others:.2f}"
            said += f", score {measured.score:.4f}"
            print(f"{task.name} {turn}/{rounds} {entry.name}: {said}", file=sys.stderr, flush=True)
            if turn:  # the first round is for warming up
                results[entry.name].append(measured)
        order = [*order[1:], order[0]]
    return results


def measure(function: Callable[[Job], Lap], job: Job, *, is_steady: bool) -> Measured:
    """One turn."""
    gc.collect()
    torch.set_num_threads(job.num_threads)
    with threadpool_limits(job.num_threads) if job.device == "cpu" else nullcontext():
        busy_started, started, cpu_started = busy_seconds(), time.perf_counter(), time.process_time()
        lap = function(job)
        if job.device == "cuda":
            torch.cuda.synchronize()
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
        others = max(0.0, (busy_seconds() - busy_started - cpu_seconds) / seconds)
        score = held_out_score(job, lap.scores)
    if is_steady:
        return Measured(lap.seconds / lap.num_rows, lap.cpu_seconds / lap.seconds, others, score)
    return Measured(seconds, cpu_seconds / seconds, others, score)


def wait_for_quiet(patience: float) -> None:
    """Wait until other processes leave all but a tenth of a core alone, or until the patience has ended."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        busy = busy_seconds()
        time.sleep(0.3)
        if not busy_seconds() - busy > 0.03:
            return


def busy_seconds() -> float:
    """Seconds that all cores together have worked since the machine started; NaN outside Linux."""
    told = Path("/proc/stat")
    if not told.is_file():
        return float("nan")
    user, nice, system, _, _, irq, softirq, steal = map(int, told.read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def table(task: Task, job: Job, results: dict[str, list[Measured]], *, clock: str) -> list[str]:
    """The task's table in Markdown, fastest first."""
    cost = {
        name: np.array([turn.cost * (turn.cpu_share if clock == "cpu" else 1) for turn in turns])
        for name, turns in results.items()
    }
    first = next(iter(results))
    ours = [name for name in results if name.startswith("danlu") and name != first]
    score = "accuracy (95 % interval)" if job.kind == "classes" else "R2"
    speed = "samples/s" if task.is_steady else "ms a fit"
    cells = ["contestant", speed, score, f"against {first}: median (10 % to 90 %)"]
    cells += [f"{name} against it: median (10 %)" for name in ours]
    threads = "" if job.device == "cuda" else f", {job.num_threads} thread{'s'[: job.num_threads - 1]}"
    rounds = len(cost[first])
    others = np.median([turn.others for turns in results.values() for turn in turns])
    loud = "" if np.isnan(others) else f" Other processes were busy on {others:.1f} cores meanwhile (median)."
    what = f"{'steady' if task.is_steady else 'whole fit'}, {clock} time"
    lines = [
        f"### {task.title}", "",
        f"{job.device}{threads}, {rounds} rounds; {what}.{loud}", "",
        f"| {' | '.join(cells)} |", f"|{'---|' * len(cells)}",
    ]  # fmt: skip
    for name in sorted(results, key=lambda one: float(np.median(cost[one]))):
        middle = float(np.median(cost[name]))
        row = [name, f"{1 / middle:,.0f}" if task.is_steady else f"{middle * 1000:,.2f}"]
        row.append(shown(job, float(np.median([turn.score for turn in results[name]]))))
        low, half, high = np.quantile(cost[first] / cost[name], [0.1, 0.5, 0.9])
        row.append("1" if name == first else f"{half:.2f}x ({low:.2f} to {high:.2f})")
        for own in ours:
            low, half = np.quantile(cost[name] / cost[own], [0.1, 0.5])
            row.append("" if name == own else f"{half:.2f}x ({low:.2f})")
        lines.append(f"| {' | '.join(row)} |")
    return lines


def shown(job: Job, score: float) -> str:
    """A score; of classes with Wilson's 95 % interval."""
    if job.kind == "number":
        return f"{score:.6f}"
    n, z = len(job.y_test), 1.96
    centre = (score + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (score * (1 - score) / n + z**2 / (4 * n**2)) ** 0.5
    return f"{score:.4f} ({centre - half:.4f} to {centre + half:.4f})"


def machine(device: str) -> str:
    """The machine and the versions in two sentences."""
    names = [line.split(":", 1)[1].strip() for line in cpu_lines() if line.startswith("model name")]
    processor = names[0] if names else platform.processor() or platform.machine()
    flags = ", ".join(flag for flag in ("avx2", "avx512f", *sorted(BF16)) if flag in processor_flags())
    cuda = f"; {torch.cuda.get_device_name()}" if device == "cuda" else ""
    load = f"; load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            versions.append(f"no {name}")
    where = f"{processor} ({flags}), {os.cpu_count()} cores{cuda}{load}"
    return f"{where}. Python {platform.python_version()}, {', '.join(versions)}."


def processor_flags() -> set[str]:
    """What the processor says it can do; empty outside Linux."""
    return {
        flag for line in cpu_lines() if line.startswith(("flags", "Features")) for flag in line.split()[2:]
    }


def cpu_lines() -> list[str]:
    """What the system tells of its processor."""
    told = Path("/proc/cpuinfo")
    return told.read_text().splitlines() if told.is_file() else []


if __name__ == "__main__":
    warnings.filterwarnings("ignore", category=FutureWarning)  # of the peers about themselves
    main()
