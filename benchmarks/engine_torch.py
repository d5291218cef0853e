"""Hand-written torch: the training loop that a person writes, eager, with the fused optimizer."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from engine_tasks import Job, Lap, Stopwatch, scores_of
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

Batches = Iterator[tuple[torch.Tensor, torch.Tensor]]


def indexed(job: Job) -> Lap:
    """Rows on the device, batches by indexing whole tensors: as good as a plain loop gets."""
    x, y = job.x.to(job.device), job.y.to(job.device)
    if job.channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    return descend(job, batches(x, y, job.batch_size))


def loaded(job: Job) -> Lap:
    """Batches from torch's DataLoader, as in the tutorials."""
    return descend(job, endless(job))


def normal_equations(job: Job) -> Lap:
    """Least squares in fp64 through the normal equations."""
    clock = Stopwatch(job)
    x, y = job.x.to(job.device).double(), job.y.to(job.device).double()
    x_mean, y_mean = x.mean(0), y.mean()
    x, y = x - x_mean, y - y_mean
    weights = torch.linalg.solve(x.T @ x, x.T @ y)
    bias = y_mean - x_mean @ weights
    clock.tick()
    return clock.lap(lambda rows: (rows.to(job.device).double() @ weights + bias).cpu())


def least_squares(job: Job) -> Lap:
    """`torch.linalg.lstsq` in the precision of the rows."""
    clock = Stopwatch(job)
    x = torch.cat([job.x, torch.ones(len(job.x), 1)], 1).to(job.device)
    weights = torch.linalg.lstsq(x, job.y.to(job.device)[:, None]).solution[:, 0]
    clock.tick()
    return clock.lap(lambda rows: (rows.to(job.device) @ weights[:-1] + weights[-1]).cpu())


def descend(job: Job, source: Batches) -> Lap:
    """Forward, backward, step, again and again."""
    clock = Stopwatch(job)
    torch.manual_seed(job.seed)
    model = job.build().to(job.device).train()
    if job.channels_last:
        model = model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer, loss_of = optimizer_of(model, job), loss_function(job)
    for _ in range(job.warm + job.steps):
        x, y = next(source)
        with torch.autocast(job.device, torch.bfloat16, enabled=job.precision == "bf16"):
            loss = loss_of(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        clock.tick()
    return clock.lap(scores_of(model, job))


def optimizer_of(model: nn.Module, job: Job) -> torch.optim.Optimizer:
    """The job's optimizer, fused."""
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    return kinds[job.optimizer](model.parameters(), lr=job.rate, fused=True)


def loss_function(job: Job) -> nn.Module:
    """Cross-entropy or the mean squared error."""
    return nn.CrossEntropyLoss() if job.kind == "classes" else nn.MSELoss()


def batches(x: torch.Tensor, y: torch.Tensor, size: int) -> Batches:
    """Shuffled batches, epoch after epoch."""
    while True:
        for rows in torch.randperm(len(x), device=x.device).split(size):
            yield x[rows], y[rows]


def loader_of(job: Job) -> DataLoader[tuple[torch.Tensor, ...]]:
    """torch's loader over the job's rows."""
    rows = TensorDataset(job.x, job.y)
    return DataLoader(rows, batch_size=job.batch_size, shuffle=True, pin_memory=job.device == "cuda")


def endless(job: Job) -> Batches:
    """The loader's batches on the device, epoch after epoch."""
    loader = loader_of(job)
    while True:
        for x, y in loader:
            yield x.to(job.device, non_blocking=True), y.to(job.device, non_blocking=True)
