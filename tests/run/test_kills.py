"""A fit that is killed at any moment, as often as may be, ends in the bits of the one that was left alone."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from danlu.core.checkpoint import COMMIT, STATE, TENSORS
from danlu.core.seeds import derive

ZYGOTE = Path(__file__).with_name("kill_zygote.py")
KINDS = ["sgd", "adamw", "muon", "lbfgs", "schedule", "plateau", "ema", "swa", "images", "mixup"]
DISK_CALLS = 6  # of one commit: two files, two folders, a rename, the commit record


class Zygote:
    """The process that forks fits, so that torch is imported once and not once a kill."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(ZYGOTE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            text=True,
        )

    def fit(self, folder: Path, kind: str, *, die: int = 0, kill_after: float = 1e9) -> bool:
        """Run one fit; whether it was killed before its end."""
        folder.mkdir(parents=True, exist_ok=True)
        assert self._process.stdin is not None and self._process.stdout is not None
        order = {"folder": str(folder), "kind": kind, "die": die, "kill_after": kill_after}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        status = int(self._process.stdout.readline())
        assert status == 0 or os.WTERMSIG(status) == signal.SIGKILL, f"the fit ended with status {status}"
        return status != 0

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    made = Zygote()
    yield made
    made.close()


def end(folder: Path) -> tuple[bytes, bytes]:
    """Numbers and tensors in which a fit ended."""
    (path,) = (folder / "end").glob("step-*")
    assert (path / COMMIT).exists()
    return (path / STATE).read_bytes(), (path / TENSORS).read_bytes()


def kill_often(zygote: Zygote, folder: Path, kind: str, num_kills: int) -> int:
    """Start the fit again and again, killed at random moments and in the middle of commits; the number of kills."""
    alone = folder / "alone"
    started = time.monotonic()
    assert not zygote.fit(alone, kind)
    seconds = time.monotonic() - started
    draw = random.Random(derive(0, kind))
    kills = 0
    for attempt in range(50 * num_kills):
        if attempt % 2:  # in the middle of the n-th commit of this attempt, at any of its calls to the disk
            kills += zygote.fit(folder / "killed", kind, die=draw.randrange(1, 3 * DISK_CALLS))
        else:
            kills += zygote.fit(folder / "killed", kind, kill_after=draw.uniform(0.0, 0.5 * seconds))
        if kills >= num_kills:
            break
        if (folder / "killed" / "end").exists():  # it got to its end: begin anew
            assert end(folder / "killed") == end(alone)
            os.rename(folder / "killed", folder / f"done-{attempt}")
    zygote.fit(folder / "killed", kind)
    assert end(folder / "killed") == end(alone)
    return kills


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_fit_ends_in_the_bits_of_the_one_left_alone(
    zygote: Zygote, tmp_path: Path, kind: str
) -> None:
    assert kill_often(zygote, tmp_path, kind, 3) >= 3  # ten kinds: 30 kills


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", KINDS)
def test_three_hundred_kills(zygote: Zygote, tmp_path: Path, kind: str) -> None:
    assert kill_often(zygote, tmp_path, kind, 36) >= 36  # ten kinds: 360
