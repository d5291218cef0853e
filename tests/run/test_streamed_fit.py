"""A fit on Parquet shards goes on from a checkpoint to the same bits as one that was not stopped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import nn

from danlu.core.checkpoint import Checkpoints
from danlu.data.parquet_stream import ParquetStream
from danlu.run.module import fit_module


def shards(folder: Path) -> str:
    rng = np.random.default_rng(0)
    for number in range(3):
        x = rng.normal(size=(90, 4))
        frame = pl.DataFrame({f"c{i}": x[:, i] for i in range(4)} | {"y": x @ [1.0, -2.0, 0.5, 0.0]})
        frame.write_parquet(folder / f"part-{number}.parquet", row_group_size=20)
    return str(folder / "part-*.parquet")


def fit(paths: str, steps: int, checkpoints: Checkpoints | None) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, 1), nn.Flatten(0))
    data = ParquetStream(paths, target="y", batch_size=16, seed=3, window_rows=50)
    training = {"duration": f"{steps} steps", "optimizer": "adamw", "mixup": 0.3}
    engine = {"checkpoint": "3 steps", "execution": "eager"}
    return fit_module(
        model, data, "squared_error", training=training, engine=engine, checkpoints=checkpoints
    ).model.state_dict()


def test_a_streamed_fit_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    paths = shards(tmp_path)
    alone = fit(paths, 40, None)
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for steps in (7, 22, 31):  # twice within an epoch of 17 batches, and over its edge
        fit(paths, steps, checkpoints)
    resumed = fit(paths, 40, checkpoints)
    assert all(torch.equal(alone[name], resumed[name]) for name in alone)
    saved = checkpoints.newest()
    assert saved is not None and saved["position"][2] == 39
