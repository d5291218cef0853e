"""Checkpoints come back to the bit, damaged ones are passed over, and a full disk or a kill spares the last one."""

from __future__ import annotations

import errno
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from danlu.core import checkpoint
from danlu.core.checkpoint import COMMIT, KEPT, STATE, TENSORS, Checkpoints, read_checkpoint
from danlu.core.errors import BundleError, UserError

FILES = (STATE, TENSORS, COMMIT)
DISK_CALLS = {"fsync": 6, "replace": 2}  # of one commit: three files, three times a folder; two renames


def nested():
    generator = torch.Generator().manual_seed(0)
    return {
        "texts": ["", "丹炉", 'a "quoted" line\n'],
        "plain": {
            "none": None,
            "yes": True,
            "no": False,
            "big": 2**62,
            "third": 1 / 3,
            "empty": {},
            "void": [],
        },
        "odd": {"nan": math.nan, "inf": math.inf, "minus": -math.inf, "zero": -0.0},
        "torch": {
            "fp32": torch.randn(3, 4, generator=generator),
            "fp64": torch.tensor([math.nan, math.inf, -0.0, 5e-324], dtype=torch.float64),
            "bf16": torch.randn(5, generator=generator).bfloat16(),
            "fp16": torch.randn(5, generator=generator).half(),
            "bool": torch.tensor([True, False]),
            "int64": torch.tensor([-(2**63), 2**63 - 1]),
            "uint8": torch.arange(256).to(torch.uint8),
            "scalar": torch.tensor(7, dtype=torch.int64),
            "none": torch.zeros(0, 3),
            "transposed": torch.randn(3, 4, generator=generator).T,
            "parameter": torch.nn.Parameter(torch.ones(2)),
        },
        "numpy": [
            {"a": np.linspace(0, 1, 7), "b": np.arange(6).reshape(2, 3).T, "c": np.array(3.5)},
            [np.array([], dtype=np.float32), np.array([True]), np.array([-1], dtype=np.int8)],
        ],
        "scalars": {"np": np.float64(0.1), "int": np.int64(3), "flag": np.bool_(True)},
    }


def same(one, two):
    """Equal to the bit, and of equal kinds: torch stays torch, NumPy stays NumPy; its scalars become plain."""
    if isinstance(one, torch.Tensor):
        assert type(two) is torch.Tensor and one.dtype == two.dtype and one.shape == two.shape
        as_bytes = [tensor.detach().contiguous().flatten().view(torch.uint8) for tensor in (one, two)]
        assert torch.equal(*as_bytes)
    elif isinstance(one, np.ndarray):
        assert isinstance(two, np.ndarray) and one.dtype == two.dtype and one.shape == two.shape
        assert one.tobytes() == two.tobytes()
    elif isinstance(one, dict):
        assert isinstance(two, dict) and list(one) == list(two)
        for key in one:
            same(one[key], two[key])
    elif isinstance(one, (list, tuple)):
        assert isinstance(two, list) and len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            same(a, b)
    elif isinstance(one, float) and not isinstance(one, np.generic):
        assert isinstance(two, float) and np.float64(one).tobytes() == np.float64(two).tobytes()
    else:
        assert one == two and not isinstance(two, np.generic)


def make(folder, *steps, warn=lambda text: None):
    made = Checkpoints(folder, warn=warn)
    for step in steps:
        made.save({"step": step, "weight": torch.full((50,), float(step))}, step=step)
    return made


def newest(made):
    found = made.newest()
    assert found is not None
    return found


def steps(folder):
    return sorted(int(path.name.removeprefix("step-")) for path in folder.glob("step-*"))


def test_a_nested_state_comes_back_to_the_bit(tmp_path):
    path = Checkpoints(tmp_path).save(nested(), step=3)
    same(nested(), Checkpoints(tmp_path).newest())
    same(nested(), read_checkpoint(path))
    assert sorted(file.name for file in path.iterdir()) == sorted(FILES)


def test_what_comes_back_can_be_written_to(tmp_path):
    Checkpoints(tmp_path).save({"t": torch.zeros(3), "a": np.zeros(3)}, step=1)
    found = newest(Checkpoints(tmp_path))
    found["t"] += 1
    found["a"] += 1
    assert found["t"].tolist() == found["a"].tolist() == [1, 1, 1]


def test_arrays_alone_need_no_torch(tmp_path):
    code = (
        "import sys, numpy as np; from danlu.core.checkpoint import Checkpoints\n"
        f"made = Checkpoints({str(tmp_path)!r})\n"
        "state = {'a': np.arange(6.).reshape(2, 3).T, 'b': np.array(2), 'c': np.array([], dtype=bool)}\n"
        "made.save(state, step=1); found = made.newest()\n"
        "assert all(found[k].tobytes() == state[k].tobytes() and found[k].dtype == state[k].dtype"
        " and found[k].shape == state[k].shape for k in state)\n"
        "sys.exit(9 if 'torch' in sys.modules else 0)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert newest(Checkpoints(tmp_path))["a"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_tensors_that_share_memory_are_kept_each(tmp_path):
    base = torch.arange(10.0)
    Checkpoints(tmp_path).save({"whole": base, "half": base[:5], "again": base}, step=1)
    found = newest(Checkpoints(tmp_path))
    assert found["half"].tolist() == [0, 1, 2, 3, 4] and torch.equal(found["whole"], found["again"])


def test_no_checkpoint_is_none(tmp_path):
    assert Checkpoints(tmp_path / "absent").newest() is None


def test_what_cannot_be_held_is_named(tmp_path):
    with pytest.raises(ValueError, match="state/optimizer is a object; a state holds mappings, lists"):
        Checkpoints(tmp_path).save({"optimizer": object()}, step=1)
    assert list(tmp_path.iterdir()) == []


def test_the_newest_are_kept(tmp_path):
    make(tmp_path, 1, 2, 3, 10, 200)
    assert steps(tmp_path) == [10, 200] and KEPT == 2
    assert newest(Checkpoints(tmp_path))["step"] == 200


def test_they_are_ordered_by_step_and_not_by_name(tmp_path):
    made = make(tmp_path, 999_999_999, 1_000_000_000)
    assert steps(tmp_path) == [999_999_999, 1_000_000_000]
    assert newest(made)["step"] == 1_000_000_000
    made.save({"step": 1_000_000_001}, step=1_000_000_001)
    assert steps(tmp_path) == [1_000_000_000, 1_000_000_001]


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-4])


@pytest.mark.parametrize("damage", [flip, cut, Path.unlink, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_one_is_passed_over_with_a_warning(tmp_path, name, damage):
    said: list[str] = []
    made = make(tmp_path, 100, 200, warn=said.append)
    damage(tmp_path / "step-000000200" / name)
    assert newest(made)["step"] == 100
    if damage is Path.unlink and name == COMMIT:  # this is what a kill leaves: no damage
        assert said == []
        return
    assert len(said) == 1
    assert said[0].startswith(f"The checkpoint {tmp_path / 'step-000000200'} is passed over: ")
    assert ("its commit record cannot be read" if name == COMMIT else f"{name} ") in said[0]


def test_where_all_are_damaged_there_is_none(tmp_path):
    said: list[str] = []
    made = make(tmp_path, 100, 200, warn=said.append)
    for step in (100, 200):
        flip(tmp_path / f"step-{step:09d}" / TENSORS)
    assert made.newest() is None and len(said) == 2


def test_any_flipped_bit_is_found_or_harmless(tmp_path):
    """Each byte of each file: what is read all the same is what was written."""
    (path,) = (make(tmp_path, 7).folder / "step-000000007",)
    was = read_checkpoint(path)
    for name in FILES:
        content = (path / name).read_bytes()
        for place in range(len(content)):
            broken = bytearray(content)
            broken[place] ^= 1 << place % 7
            (path / name).write_bytes(broken)
            try:
                found = read_checkpoint(path)
            except BundleError:
                continue
            same(was, found)
        (path / name).write_bytes(content)


def test_a_format_of_the_future_is_passed_over(tmp_path):
    said: list[str] = []
    made = make(tmp_path, 1, 2, warn=said.append)
    commit = tmp_path / "step-000000002" / COMMIT
    commit.write_text(commit.read_text().replace('"format": 1', '"format": 2'))
    assert newest(made)["step"] == 1
    assert "its format is 2, and this version of danlu reads 1" in said[0]


def test_going_on_from_an_older_one_replaces_what_lies_ahead(tmp_path):
    """After a damaged newest one the run goes on from the older: what is ahead of it is of another path."""
    made = make(tmp_path, 100, 200)
    flip(tmp_path / "step-000000200" / STATE)
    assert newest(made)["step"] == 100
    made.save({"step": 150}, step=150)
    assert steps(tmp_path) == [100, 150]
    make(tmp_path, 200)
    flip(tmp_path / "step-000000200" / STATE)
    made.save({"step": 200}, step=200)
    assert Checkpoints(tmp_path).newest() == {"step": 200} and steps(tmp_path) == [150, 200]


def test_what_a_kill_left_is_cleaned_up(tmp_path):
    made = make(tmp_path, 100, 200)
    (tmp_path / ".part-abc").mkdir()
    (tmp_path / ".part-abc" / STATE).write_text("half of it")
    shutil.copytree(tmp_path / "step-000000200", tmp_path / "step-000000250")
    (tmp_path / "step-000000250" / COMMIT).unlink()  # killed just before the commit
    assert newest(made)["step"] == 200
    make(tmp_path, 300)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000000200", "step-000000300"]
    made.remove()
    assert not tmp_path.exists()


@pytest.mark.parametrize(
    ("call", "number"), [(call, n) for call, times in DISK_CALLS.items() for n in range(1, times + 1)]
)
def test_the_disk_may_fill_up_at_any_call(tmp_path, monkeypatch, call, number):
    made, calls = make(tmp_path, 1), []
    real = getattr(os, call)

    def full(*given, **named):
        calls.append(1)
        if len(calls) == number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*given, **named)

    monkeypatch.setattr(checkpoint.os, call, full)
    with pytest.raises(UserError, match=r"Cannot write .*: the disk is full. Free some space"):
        make(tmp_path, 2)
    monkeypatch.undo()
    found = newest(made)
    last = 2 if (call, number) == ("fsync", 6) else 1  # by then the commit record stands
    assert found["step"] == last and torch.equal(found["weight"], torch.full((50,), float(last)))
    assert len(list(tmp_path.iterdir())) == last  # nothing takes up space in vain
    make(tmp_path, 3)
    assert steps(tmp_path) == [last, 3]


def test_the_calls_to_the_disk_are_those_of_the_test_above(tmp_path, monkeypatch):
    seen: list[str] = []
    for call in DISK_CALLS:
        real = getattr(os, call)
        monkeypatch.setattr(
            checkpoint.os, call, lambda *given, call=call, real=real: (seen.append(call), real(*given))[1]
        )
    make(tmp_path, 1)
    assert {call: seen.count(call) for call in DISK_CALLS} == DISK_CALLS


def test_a_disk_that_is_really_full(tmp_path):
    """A file system of 256 KiB: the second checkpoint does not fit, the first one stands."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a file system of its own can be mounted by root only")
    try:
        made = Checkpoints(disk)
        made.save({"weight": torch.ones(25_000)}, step=1)
        for step in (2, 3):
            with pytest.raises(UserError, match="the disk is full"):
                made.save({"weight": torch.ones(50_000)}, step=step)
        assert torch.equal(newest(made)["weight"], torch.ones(25_000))
        made.save({"weight": torch.zeros(25_000)}, step=4)  # small enough
        assert torch.equal(newest(made)["weight"], torch.zeros(25_000))
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_file_may_not_grow_as_large(tmp_path):
    """A limit on the size of files, which any user may set, in a process of its own."""
    made = make(tmp_path, 1)
    code = (
        "import resource, signal, torch\n"
        "from danlu.core.checkpoint import Checkpoints\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        f"Checkpoints({str(tmp_path)!r}).save({{'weight': torch.ones(5_000)}}, step=2)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (
        done.returncode == 1 and "UserError: Cannot write" in done.stderr and "File too large" in done.stderr
    )
    assert newest(made)["step"] == 1 and [path.name for path in tmp_path.iterdir()] == ["step-000000001"]
