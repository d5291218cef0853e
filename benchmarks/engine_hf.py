"""Hugging Face's Trainer (transformers, accelerate), without logs, progress bar and checkpoints."""

# pyright: reportMissingImports=false
from __future__ import annotations

import tempfile
from typing import Any

import torch
from engine_tasks import Job, Lap, Stopwatch, scores_of
from engine_torch import loss_function
from torch import nn
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

OPTIMIZERS = {
    "adam": "adamw_torch_fused",
    "adamw": "adamw_torch_fused",
    "sgd": "sgd",
}  # AdamW at decay 0 is Adam
FOLDER = tempfile.TemporaryDirectory()


def hf_trainer(job: Job) -> Lap:
    """`Trainer.train()`."""
    clock = Stopwatch(job)
    torch.manual_seed(job.seed)
    model = WithLoss(job)
    settings = TrainingArguments(
        output_dir=FOLDER.name,
        per_device_train_batch_size=job.batch_size,
        max_steps=job.warm + job.steps,
        learning_rate=job.rate,
        lr_scheduler_type="constant",
        optim=OPTIMIZERS[job.optimizer],
        weight_decay=0.01 if job.optimizer == "adamw" else 0.0,
        max_grad_norm=0.0,  # nobody else clips
        bf16=job.precision == "bf16",
        use_cpu=job.device == "cpu",
        dataloader_pin_memory=job.device == "cuda",
        seed=job.seed,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = Trainer(model=model, args=settings, train_dataset=Rows(job), callbacks=[Tick(clock)])
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return clock.lap(scores_of(model.network, job))


class WithLoss(nn.Module):
    """What the Trainer asks of a model: it gives its own loss."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.network, self.loss = job.build(), loss_function(job)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """Loss and scores."""
        scores = self.network(x)
        return {"loss": self.loss(scores, labels), "logits": scores}


class Rows(Dataset[dict[str, torch.Tensor]]):
    """Rows as the Trainer's collator takes them."""

    def __init__(self, job: Job) -> None:
        self._x, self._y = job.x, job.y

    def __len__(self) -> int:
        return len(self._x)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        return {"x": self._x[row], "labels": self._y[row]}


class Tick(TrainerCallback):
    """Tells the clock of each step."""

    def __init__(self, clock: Stopwatch) -> None:
        self._clock = clock

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """A step has ended."""
        self._clock.tick()
