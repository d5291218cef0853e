"""Tests of bundle/networks.py: shapes are those of the real network, and cost neither memory nor imports."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from danlu.bundle.networks import weight_shapes
from danlu.core.tasks import Task
from danlu.models.mlp import MLP, MLPSettings


@pytest.mark.parametrize(
    "settings",
    [
        MLPSettings(),
        MLPSettings(widths=(5, 3), activation="tanh", normalisation="batch"),
        MLPSettings(dropout=0.5),
    ],
)
def test_shapes_are_those_of_the_network(settings: MLPSettings) -> None:
    def build() -> torch.nn.Module:
        return MLP(settings, Task("binary", ("a", "b")), 7, seed=0)

    assert weight_shapes(build) == {name: tuple(each.shape) for name, each in build().state_dict().items()}


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is measured on Linux only")
def test_a_network_of_terabytes_takes_no_memory_and_no_imports() -> None:
    code = """
import sys
from pathlib import Path
import torch
from danlu.bundle.networks import weight_shapes
from danlu.core.tasks import Task
from danlu.models.mlp import MLP, MLPSettings
settings = MLPSettings(widths=(65_536,) * 100)
def peak():  # in kB
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
names, before = set(sys.modules), peak()
shapes = weight_shapes(lambda: MLP(settings, Task("regression"), 10, seed=0))
assert shapes["layers.2.weight"] == (65_536, 65_536)
print(len(set(sys.modules) - names), peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    num_modules, kilobytes = map(int, done.stdout.split())
    assert num_modules < 20
    assert kilobytes < 20_000
