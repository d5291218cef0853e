"""What the contestants of `engine.py` are given (model, rows, optimizer, batch size), and their stopwatch."""

from __future__ import annotations

import gzip
import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

Scores = Callable[[torch.Tensor], Any]
"""Rows in, (n, k) class scores or (n,) values out: a fitted contestant."""


@dataclass(frozen=True)
class Job:
    """One fit: every contestant trains this model on these rows with these settings, from its own fresh start."""

    kind: Literal["classes", "number"]
    build: Callable[[], nn.Module]
    x: torch.Tensor = field(repr=False)
    y: torch.Tensor = field(repr=False)
    x_test: torch.Tensor = field(repr=False)
    y_test: torch.Tensor = field(repr=False)
    batch_size: int
    optimizer: Literal["adam", "adamw", "sgd"]
    rate: float
    warm: int
    """Steps before the clock starts."""
    steps: int
    """Steps on the clock; together with `warm` they are whole epochs."""
    num_threads: int
    layers: str = ""
    """What a contestant that builds its own layers has to build: "mlp", "cnn", "linear"; else empty."""
    device: str = "cpu"
    precision: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = False
    seed: int = 0

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch; the last one may be smaller."""
        return math.ceil(len(self.x) / self.batch_size)

    @property
    def num_epochs(self) -> int:
        """Epochs in all, the warm ones included."""
        return math.ceil((self.warm + self.steps) / self.steps_per_epoch)

    @property
    def num_rows(self) -> int:
        """Rows that pass while the clock runs."""
        return self._rows_after(self.warm + self.steps) - self._rows_after(self.warm)

    def _rows_after(self, steps: int) -> int:
        epochs, rest = divmod(steps, self.steps_per_epoch)
        return epochs * len(self.x) + rest * self.batch_size


@dataclass(frozen=True)
class Lap:
    """One contestant's fit: its model, and what the clock said."""

    scores: Scores
    seconds: float
    cpu_seconds: float
    """Of all threads of the process: beside `seconds`, it shows how much others took of the machine."""
    num_rows: int


class Stopwatch:
    """Runs from the end of step `warm` to the end of step `warm + steps`."""

    def __init__(self, job: Job) -> None:
        self._job, self._step = job, 0
        self._started = self._stopped = (0.0, 0.0)
        if not job.warm:
            self.start()

    def tick(self) -> None:
        """A step has ended."""
        self._step += 1
        if self._step == self._job.warm:
            self.start()
        if self._step == self._job.warm + self._job.steps:
            self.stop()

    def start(self) -> None:
        """The last warm step has ended."""
        self._started = self._now()

    def stop(self) -> None:
        """The last step has ended."""
        self._stopped = self._now()

    def lap(self, scores: Scores) -> Lap:
        """What was measured."""
        if self._stopped == (0.0, 0.0):
            raise RuntimeError("The clock was never stopped: the fit took other steps than the job says.")
        wall, cpu = (stop - start for start, stop in zip(self._started, self._stopped, strict=True))
        return Lap(scores, wall, cpu, self._job.num_rows)

    def _now(self) -> tuple[float, float]:
        if self._job.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter(), time.process_time()


def scores_of(model: nn.Module, job: Job) -> Scores:
    """A torch model as a function of rows, in the precision that it was trained in."""

    @torch.no_grad()
    def scores(x: torch.Tensor) -> torch.Tensor:
        model.to(job.device).eval()
        with torch.autocast(job.device, torch.bfloat16, enabled=job.precision == "bf16"):
            return torch.cat([model(part.to(job.device)).float().cpu() for part in x.split(1024)])

    return scores


def held_out_score(job: Job, scores: Scores) -> float:
    """Accuracy or R2 on the rows that nobody trained on."""
    answer, truth = torch.as_tensor(np.asarray(scores(job.x_test))), job.y_test.cpu()
    if job.kind == "classes":
        labels = answer.argmax(1) if answer.ndim == 2 else answer
        return float((labels == truth).double().mean())
    residual, truth = truth.double() - answer.double().flatten(), truth.double()
    return float(1 - residual.square().sum() / (truth - truth.mean()).square().sum())


def digits(*, quick: bool) -> Job:
    """64-128-64-10 ReLU on scikit-learn's digits: 1,437 training rows, 360 held out."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    x, y = torch.as_tensor(pixels[order] / 16, dtype=torch.float32), torch.as_tensor(labels[order])
    job = Job("classes", mlp, x[:1437], y[:1437], x[1437:], y[1437:], 64, "adam", 1e-3, 46, 460, 1, "mlp")
    return replace(job, steps=92) if quick else job


def short(*, quick: bool) -> Job:
    """The same in one epoch of 28 full batches: the training rows, and the first 355 of them once more."""
    job = digits(quick=quick)
    num_rows = 28 * job.batch_size
    x, y = torch.cat([job.x, job.x])[:num_rows], torch.cat([job.y, job.y])[:num_rows]
    return replace(job, x=x, y=y, warm=0, steps=28)


def cnn(*, quick: bool) -> Job:
    """Two convolutions on MNIST: 4,096 training rows, 3 epochs on the clock after a warm one; 10,000 held out."""
    (x, y), (x_test, y_test) = mnist("train", 4096), mnist("t10k", 10_000)
    job = Job("classes", small_cnn, x, y, x_test, y_test, 128, "adam", 1e-3, 32, 96, 2, "cnn")
    return replace(job, warm=8, steps=24) if quick else job


def bert(*, quick: bool) -> Job:
    """An encoder of 4 layers x 256 on sequences of 64 tokens: 512 training rows, 256 held out.

    Made up: each row has one of 4 classes, and a token comes from the 50 tokens of its class with chance 0.5.
    """
    random, num_rows = np.random.default_rng(0), 512 + 256
    y = random.integers(4, size=num_rows)
    own = random.integers(50, size=(num_rows, 64)) + 50 * y[:, None]
    tokens = np.where(random.random((num_rows, 64)) < 0.5, own, random.integers(1000, size=(num_rows, 64)))
    x, y = torch.as_tensor(tokens), torch.as_tensor(y)
    job = Job("classes", TinyBert, x[:512], y[:512], x[512:], y[512:], 32, "adamw", 1e-4, 4, 12, 2)
    return replace(job, x=x[:256], y=y[:256], warm=2, steps=6) if quick else job


def linear(*, quick: bool) -> Job:
    """One epoch of plain SGD on a made-up linear regression of 1e6 x 50; 100,000 rows held out."""
    num_rows = 100_000 if quick else 1_000_000
    random = torch.Generator().manual_seed(0)
    x = torch.randn(num_rows + 100_000, 50, generator=random)
    truth = torch.randn(50, generator=random)
    y = x @ truth + 1 + 2 * torch.randn(len(x), generator=random)
    job = Job("number", linear_model, x[:num_rows], y[:num_rows], x[num_rows:], y[num_rows:],
              1024, "sgd", 0.05, 20, 0, 2, "linear")  # fmt: skip
    return replace(job, steps=job.steps_per_epoch - job.warm)


def exact(*, quick: bool) -> Job:
    """The same rows, solved at once."""
    return replace(linear(quick=quick), warm=0, steps=1)


def mlp() -> nn.Module:
    """64-128-64-10."""
    return nn.Sequential(
        nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)
    )  # fmt: skip


def small_cnn() -> nn.Module:
    """(n, 1, 28, 28) -> (n, 10)."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 5 * 5, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


class TinyBert(nn.Module):
    """Tokens (n, 64) -> scores (n, 4) from the first position; dropout 0.1 and GELU as in BERT."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(1000, 256), nn.Embedding(64, 256)
        self.norm, self.dropout = nn.LayerNorm(256), nn.Dropout(0.1)
        layer = nn.TransformerEncoderLayer(256, 4, 1024, 0.1, "gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 4, enable_nested_tensor=False)
        self.head = nn.Linear(256, 4)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.places.weight, std=0.02)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of the classes."""
        embedded = self.tokens(x) + self.places.weight[: x.shape[1]]
        return self.head(self.encoder(self.dropout(self.norm(embedded)))[:, 0])


def linear_model() -> nn.Module:
    """50 numbers in, (n,) values out."""
    return nn.Sequential(nn.Linear(50, 1), nn.Flatten(0))


def mnist(part: str, num_rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The first rows of MNIST's `train` or `t10k`: standardised images (n, 1, 28, 28), labels (n,)."""
    given = os.environ.get("DANLU_DATA")
    folder = (Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "data") / "mnist"
    if not folder.is_dir():
        sys.exit(
            f"MNIST's four .gz files are not in {folder}. Name the folder above `mnist` with DANLU_DATA."
        )
    images = np.frombuffer(gzip.decompress((folder / f"{part}-images-idx3-ubyte.gz").read_bytes()), np.uint8)
    labels = np.frombuffer(gzip.decompress((folder / f"{part}-labels-idx1-ubyte.gz").read_bytes()), np.uint8)
    x = torch.as_tensor(images[16 : 16 + num_rows * 784].reshape(-1, 1, 28, 28).astype(np.float32))
    y = torch.as_tensor(labels[8 : 8 + num_rows].astype(np.int64))
    return (x / 255 - 0.1307) / 0.3081, y
