"""What this run stands on: processor, threads, memory, versions. Written into plan.lock and the report."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path

PACKAGES = ("danlu", "numpy", "scipy", "polars", "scikit-learn", "scikit-learn-intelex", "lightgbm", "torch")


def calm_threads() -> None:
    """Let idle OpenMP threads sleep soon instead of spinning; call it before a library that uses them is loaded.

    By default GNU OpenMP spins for a long while at each barrier. Beside any other busy process that made boosting 3 to
    20 times slower on two cores; a thousand turns cost nothing measurable on an idle machine.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def environment() -> dict[str, str | int]:
    """Facts that can change the last bits of a result: versions, processor class, threads."""
    facts: dict[str, str | int] = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor_features(),
        "threads": num_threads(),
    }
    return facts | {name: version for name in PACKAGES if (version := installed(name))}


def installed(package: str) -> str | None:
    """Version of an installed package, found without importing it."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def num_threads() -> int:
    """Threads to compute with: OMP_NUM_THREADS where it is set, else the processors that this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def processor_features() -> str:
    """The vector instructions that kernels choose by, such as `avx2 avx512f`; the machine's name elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    lines = [line for line in text.splitlines() if line.startswith(("flags", "Features"))]
    flags = lines[0].partition(":")[2].split() if lines else []
    known = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve")
    return " ".join(name for name in known if name in flags) or platform.machine()


def memory_available() -> int:
    """Bytes of memory that can be taken without swapping."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        free = int(next(line.split()[1] for line in lines if line.startswith("MemAvailable"))) * 1024
    except (OSError, StopIteration):
        return 4 << 30
    limit = _container_limit()
    return free if limit is None else min(free, limit)


def peak_memory() -> int:
    """Largest memory that this process has held, in bytes; what a parent held before a fork does not count."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) * 1024
    except (OSError, StopIteration):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def _container_limit() -> int | None:
    try:
        text = Path("/sys/fs/cgroup/memory.max").read_text(encoding="utf-8").strip()
        used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return max(int(text) - used, 0) if text.isdigit() else None
