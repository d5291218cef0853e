"""skorch's nets: scikit-learn's interface to torch modules; no validation split and no printed log."""

# pyright: reportMissingImports=false
from __future__ import annotations

from typing import Any

import torch
from engine_tasks import Job, Lap, Stopwatch, scores_of
from skorch import NeuralNet


def skorch(job: Job) -> Lap:
    """`NeuralNet.fit()`."""
    clock = Stopwatch(job)
    torch.manual_seed(job.seed)
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    net = Net(
        job.build(),
        clock=clock,
        criterion=torch.nn.CrossEntropyLoss if job.kind == "classes" else torch.nn.MSELoss,
        optimizer=kinds[job.optimizer],
        optimizer__fused=True,
        lr=job.rate,
        batch_size=job.batch_size,
        max_epochs=job.num_epochs,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
        device=job.device,
    )
    net.fit(job.x, job.y)
    return clock.lap(scores_of(net.module_, job))


class Net(NeuralNet):
    """Tells the clock of each step."""

    def __init__(self, module: torch.nn.Module, *, clock: Stopwatch, **settings: Any) -> None:
        self.clock = clock
        super().__init__(module, **settings)

    def train_step(self, batch: Any, **settings: Any) -> dict[str, Any]:
        """One step of the optimizer."""
        step = super().train_step(batch, **settings)
        self.clock.tick()
        return step
