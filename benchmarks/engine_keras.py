"""Keras 3 on its torch backend, with layers of its own."""

# pyright: reportMissingImports=false
from __future__ import annotations

import os
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"  # read once, when keras is imported

import keras
import torch
from engine_tasks import Job, Lap, Stopwatch
from keras import layers


def keras_fit(job: Job) -> Lap:
    """`Model.fit()`."""
    clock = Stopwatch(job)
    keras.utils.set_random_seed(job.seed)
    policy = "mixed_bfloat16" if job.precision == "bf16" else "float32"
    keras.mixed_precision.set_dtype_policy(policy)
    with keras.device("cuda" if job.device == "cuda" else "cpu"):
        model = Ticking(LAYERS[job.layers]())
        model.clock = clock
        kinds = {"adam": keras.optimizers.Adam, "sgd": keras.optimizers.SGD}
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(kinds[job.optimizer](job.rate), loss if job.kind == "classes" else "mse")
        x, y = job.x.numpy(), job.y.numpy()
        model.fit(x, y, batch_size=job.batch_size, epochs=job.num_epochs, verbose=0)
    keras.mixed_precision.set_dtype_policy("float32")
    return clock.lap(lambda rows: model.predict(rows.numpy(), batch_size=1024, verbose=0).astype("float32"))


class Ticking(keras.Sequential):
    """Tells the clock of each step."""

    clock: Stopwatch

    def train_step(self, data: Any) -> dict[str, torch.Tensor]:
        """One step of the optimizer."""
        logs = super().train_step(data)
        self.clock.tick()
        return logs


def mlp() -> list[Any]:
    """64-128-64-10."""
    return [
        keras.Input((64,)), layers.Dense(128, "relu"), layers.Dense(64, "relu"), layers.Dense(10)
    ]  # fmt: skip


def cnn() -> list[Any]:
    """The two convolutions; channels first, which is torch's own order."""
    first = {"data_format": "channels_first"}
    return [
        keras.Input((1, 28, 28)),
        layers.Conv2D(32, 3, activation="relu", **first), layers.MaxPooling2D(2, **first),
        layers.Conv2D(64, 3, activation="relu", **first), layers.MaxPooling2D(2, **first),
        layers.Flatten(), layers.Dense(128, "relu"), layers.Dense(10),
    ]  # fmt: skip


def linear() -> list[Any]:
    """50 numbers in, one out."""
    return [keras.Input((50,)), layers.Dense(1)]


LAYERS = {"mlp": mlp, "cnn": cnn, "linear": linear}
