from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from danlu.core.checkpoint import Checkpoints
from danlu.core.errors import BundleError, UserError
from danlu.core.process_ranks import ProcessRanks, joined
from danlu.core.shards import SharedCheckpoints, SlicedCheckpoints, read_joined, rows_of


@pytest.fixture
def ranks(tmp_path: Path) -> Iterator[ProcessRanks]:
    """A group of this process alone; tests/run/test_processes.py has several."""
    with joined(sync_file=tmp_path / "meeting", number=1) as group:
        yield group


@pytest.fixture
def mesh(ranks: ProcessRanks) -> DeviceMesh:
    return DeviceMesh("cpu", [0])


def state(mesh: DeviceMesh, value: float) -> dict[str, Any]:
    whole = torch.arange(15, dtype=torch.float64).reshape(5, 3) + value
    return {
        "model": {"w": distribute_tensor(whole, mesh, [Shard(0)]), "b": torch.tensor([value])},
        "nested": [{"moment": distribute_tensor(whole.bfloat16()[:, 0], mesh, [Shard(0)])}, None, value],
    }


def test_slices_come_back_as_slices_and_joined(tmp_path: Path, ranks: ProcessRanks, mesh: DeviceMesh) -> None:
    checkpoints = SlicedCheckpoints(tmp_path / "c", ranks=ranks, mesh=mesh)
    assert checkpoints.newest() is None
    given = state(mesh, 1.0)
    path = checkpoints.save(given, step=4)
    found = checkpoints.newest()
    assert found is not None
    assert isinstance(found["model"]["w"], DTensor) and found["nested"][1:] == [None, 1.0]
    assert torch.equal(found["model"]["w"].full_tensor(), given["model"]["w"].full_tensor())
    joined_ = read_joined(path)
    assert torch.equal(joined_["model"]["w"], given["model"]["w"].full_tensor())
    assert torch.equal(joined_["nested"][0]["moment"], given["nested"][0]["moment"].full_tensor())
    assert joined_["nested"][0]["moment"].dtype == torch.bfloat16
    assert torch.equal(joined_["model"]["b"], torch.tensor([1.0]))


@pytest.mark.parametrize("damage", ["bytes", "gone", "record"])
def test_a_damaged_slice_is_passed_over_for_the_checkpoint_before(
    tmp_path: Path, ranks: ProcessRanks, mesh: DeviceMesh, damage: str
) -> None:
    said: list[str] = []
    checkpoints = SlicedCheckpoints(tmp_path / "c", ranks=ranks, mesh=mesh, warn=said.append)
    checkpoints.save(state(mesh, 1.0), step=1)
    newest = checkpoints.save(state(mesh, 2.0), step=2)
    file = next((tmp_path / "c").glob("slices-000000002-*/*.safetensors"))
    if damage == "bytes":
        content = bytearray(file.read_bytes())
        content[-3] ^= 1
        file.write_bytes(content)
    elif damage == "gone":
        file.unlink()
    else:
        (newest / "state.json").write_text("{}")
    found = checkpoints.newest()
    assert found is not None and found["nested"][2] == 1.0
    assert len(said) == 1 and "step-000000002 is passed over" in said[0]
    with pytest.raises(BundleError, match=r"is not what was written|cannot be read"):
        read_joined(newest)


def test_slices_that_no_checkpoint_names_are_cleared(
    tmp_path: Path, ranks: ProcessRanks, mesh: DeviceMesh
) -> None:
    checkpoints = SlicedCheckpoints(tmp_path / "c", ranks=ranks, mesh=mesh)
    (tmp_path / "c" / "slices-000000001-killed00").mkdir(parents=True)
    for step in range(1, 5):
        checkpoints.save(state(mesh, float(step)), step=step)
    kept = sorted(path.name[:16] for path in (tmp_path / "c").glob("slices-*"))
    assert kept == ["slices-000000003", "slices-000000004"]
    checkpoints.remove()
    assert not (tmp_path / "c").exists()


def test_a_full_disk_leaves_the_checkpoint_before(
    tmp_path: Path, ranks: ProcessRanks, mesh: DeviceMesh, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = SlicedCheckpoints(tmp_path / "c", ranks=ranks, mesh=mesh)
    checkpoints.save(state(mesh, 1.0), step=1)

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="the disk is full"):
        checkpoints.save(state(mesh, 2.0), step=2)
    with pytest.raises(UserError, match="the disk is full"):
        SharedCheckpoints(tmp_path / "whole", ranks=ranks).save({"a": 1}, step=1)
    monkeypatch.undo()
    found = checkpoints.newest()
    assert found is not None and found["nested"][2] == 1.0
    assert len(list((tmp_path / "c").glob("slices-*"))) == 1


def test_a_whole_checkpoint_is_rank_0s_and_is_no_sliced_one(tmp_path: Path, ranks: ProcessRanks) -> None:
    shared = SharedCheckpoints(tmp_path / "c", ranks=ranks)
    assert shared.newest() is None
    path = shared.save({"a": torch.ones(2)}, step=3)
    for found in (shared.newest(), Checkpoints(tmp_path / "c").newest()):
        assert found is not None and torch.equal(found["a"], torch.ones(2))
    with pytest.raises(BundleError, match="is a whole checkpoint"):
        read_joined(path)
    shutil.rmtree(path)


@pytest.mark.parametrize(("rows", "number"), [(7, 2), (7, 3), (2, 4), (0, 2), (8, 4), (5, 4)])
def test_rows_are_dealt_as_torch_chunks_them(rows: int, number: int) -> None:
    chunks = [len(chunk) for chunk in torch.arange(rows).chunk(number)] if rows else [0]
    wanted = [*chunks, *[0] * (number - len(chunks))]
    assert [rows_of(rows, rank, number)[1] for rank in range(number)] == wanted
    firsts = [rows_of(rows, rank, number)[0] for rank in range(number)]
    assert firsts == [sum(wanted[:rank]) for rank in range(number)]
