"""Lightning's Trainer in its `barebones` mode: no logger, checkpoints, progress bar or sanity checks."""

# pyright: reportMissingImports=false
from __future__ import annotations

import logging
import warnings
from typing import Any

import torch
from engine_tasks import Job, Lap, Stopwatch, scores_of
from engine_torch import loader_of, loss_function, optimizer_of
from lightning.pytorch import LightningModule, Trainer

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


def lightning(job: Job) -> Lap:
    """`Trainer.fit()`."""
    clock = Stopwatch(job)
    torch.manual_seed(job.seed)
    module = Module(job, clock)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that more workers could read the data; that barebones is on
        trainer = Trainer(
            max_steps=job.warm + job.steps,
            barebones=True,
            accelerator="gpu" if job.device == "cuda" else "cpu",
            devices=1,
            precision="bf16-mixed" if job.precision == "bf16" else "32-true",
        )
        trainer.fit(module, loader_of(job))
    return clock.lap(scores_of(module.network, job))


class Module(LightningModule):
    """The job's model with its loss and optimizer."""

    def __init__(self, job: Job, clock: Stopwatch) -> None:
        super().__init__()
        self.network, self.loss = job.build(), loss_function(job)
        self._job, self._clock = job, clock

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], _: int) -> torch.Tensor:
        """The loss of a batch."""
        x, y = batch
        return self.loss(self.network(x), y)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The fused optimizer."""
        return optimizer_of(self.network, self._job)

    def on_train_batch_end(self, *_: Any) -> None:
        """A step has ended."""
        self._clock.tick()
