"""A process that has imported everything and forks one child per line it is told: fits that a test kills.

Run as `python kill_zygote.py`. Each line of standard input is JSON {folder, kind, die, kill_after}; it forks a child
that fits `kind` with its checkpoints in `folder`, and answers with how that ended. `kill_after` kills it after so many
seconds; `die` makes it kill itself in the middle of a commit: at the n-th fsync or rename.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from danlu.core import checkpoint
from danlu.core.checkpoint import Checkpoints
from danlu.run.module import fit_module

STEPS = 60
KINDS: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": {"name": "momentum", "momentum": 0.9}, "learning_rate": 0.05},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.01, "clip_norm": 1.0},
    "muon": {"optimizer": "muon", "schedule": "one_cycle"},
    "lbfgs": {"optimizer": {"name": "lbfgs", "iterations": 2, "l2": 0.01}, "duration": "12 epochs"},
    "schedule": {"schedule": "cosine", "warmup": "7 steps", "optimizer": "rmsprop"},
    "plateau": {"schedule": {"name": "reduce_on_plateau", "patience": 1}, "optimizer": "adagrad"},
    "ema": {"average": {"name": "ema", "decay": 0.9}},
    "swa": {"average": {"name": "swa", "start": 0.5}, "optimizer": "sgd", "learning_rate": 0.1},
    "images": {"optimizer": "adamw", "learning_rate": 0.01},
    "mixup": {"mixup": 0.4, "noise": 0.05, "l1": 1e-4, "l2": 1e-4, "max_norm": 3.0},
}


def network(*, plain: bool) -> nn.Module:
    torch.manual_seed(3)
    first = (
        [nn.Linear(6, 16), nn.Tanh()]
        if plain
        else [nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Dropout(0.2)]
    )
    return nn.Sequential(*first, nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3))


def image_network() -> nn.Module:
    torch.manual_seed(3)
    convolution = nn.Conv2d(3, 6, 2)  # in channels_last its weights and moments are not contiguous
    pixels = [nn.Unflatten(1, (3, 1, 2)), nn.ZeroPad2d(1), convolution, nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*pixels, nn.Linear(36, 3))


def rows(name: int, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(name)
    x = rng.normal(size=(number, 6)).astype(np.float32)
    return torch.tensor(x), torch.tensor((x @ rng.normal(size=(6, 3))).argmax(1))


def fit(folder: Path, kind: str) -> dict[str, Any]:
    """One fit; the state in which it ends, to the bit."""
    torch.set_num_threads(1)
    training = {"batch_size": 16, "duration": f"{STEPS} steps", "patience": "off"} | KINDS[kind]
    whole = kind == "lbfgs"
    if whole:
        del training["batch_size"]
    fitted = fit_module(
        image_network() if kind == "images" else network(plain=whole),
        rows(0, 100),
        "cross_entropy",
        validation=rows(0, 40),
        training=training,
        engine={
            "checkpoint": "1 steps",
            "execution": "eager",
            "signals": 0.01,
            "threads": 1,
            "layout": "channels_last" if kind == "images" else "contiguous",
        },
        checkpoints=Checkpoints(folder),
        seed=5,
    )
    return {
        "model": fitted.model.state_dict(),
        "update": fitted.update.state(),
        "history": {
            name: value for name, value in vars(fitted.history).items() if name != "seconds"
        },  # wall time
        "position": list(fitted.outcome.position),
        "length": fitted.length,
    }


def die_within(times: int) -> None:
    """Kill this process at the `times`-th call that puts something onto the disk."""
    left = [times]

    def deadly(real: Any) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*given, **named)

        return call

    checkpoint.os.fsync = deadly(os.fsync)  # type: ignore[attr-defined]
    checkpoint.os.replace = deadly(os.replace)  # type: ignore[attr-defined]


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            if order.get("die"):
                die_within(order["die"])
            folder = Path(order["folder"])
            state = fit(folder / "checkpoints", order["kind"])
            Checkpoints(folder / "end").save(state, step=0)
            os._exit(0)
        until = time.monotonic() + order.get("kill_after", 1e9)
        while not (ended := os.waitpid(child, os.WNOHANG))[0]:
            if time.monotonic() > until:
                os.kill(child, signal.SIGKILL)
            time.sleep(0.001)
        sys.stdout.write(f"{ended[1]}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
