"""The run of a torch module on the command line: listed and shown, and where a verb is for tables, that is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.cli.conftest import Command
from tests.run.tables import HOLDOUT, table

Refused = Callable[..., str]


@pytest.fixture
def runs(runs_dir: Path) -> Path:
    """`net`, a finished run of a module; `broken`, one that was killed; `tree`, the run of a table."""
    import torch
    from torch import nn

    import danlu
    from danlu.core.checkpoint import Checkpoints

    torch.manual_seed(0)
    x = torch.randn(60, 4)
    data = (x, (x[:, 0] > 0).long())
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    given: dict[str, Any] = {
        "model": model,
        "data": data,
        "objective": "cross_entropy",
        "training": {"duration": "4 epochs", "batch_size": 15},
    }
    danlu.train(validation=data, out=runs_dir / "net", **given)

    class Killed(Exception):
        pass

    def save(self, state, *, step):
        raise Killed

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Checkpoints, "save", save)
        with pytest.raises(Killed):
            danlu.train(engine={"checkpoint": "1 steps"}, out=runs_dir / "broken", **given)
    danlu.train(table("binary", 100), "y", model="decision_tree", out=runs_dir / "tree", **HOLDOUT)
    return runs_dir


def test_it_is_listed_beside_tables(danlu: Command, runs: Path) -> None:
    rows = {row["name"]: row for row in json.loads(danlu("runs", "--json").out)}
    facts = {
        "name": "net",
        "target": "",
        "task": "module",
        "chosen": "Sequential",
        "metric": "loss",
        "test": None,
    }
    assert {name: value for name, value in rows["net"].items() if name != "seconds"} == facts
    assert rows["net"]["seconds"] > 0 and rows["tree"]["task"] == "binary"
    assert rows["broken"]["chosen"] == "did not finish"
    listed = danlu("runs")
    assert listed.status == 0 and "Sequential" in listed.out and "decision_tree" in listed.out


@pytest.mark.parametrize("words", [("runs", "show"), ("inspect",)])
def test_it_is_shown_with_its_weights(danlu: Command, runs: Path, words: tuple[str, ...]) -> None:
    answer = danlu(*words, "net")
    assert answer.status == 0 and answer.err == ""
    assert "Sequential: 58 parameters, 4 epochs, 16 steps; reached 4 epochs" in answer.out
    assert "validation loss" in answer.out and "0.weight" in answer.out and "8x4" in answer.out
    assert str(Path("runs", "net", "model.safetensors")) in answer.out
    facts = json.loads(danlu(*words, "net", "--json").out)
    assert facts["kind"] == "module" and facts["num_values"] == 58 and facts["pace"]["steps"] == 16
    assert [tensor["count"] for tensor in facts["tensors"] if tensor["name"] == "2.weight"] == [16]


def test_what_is_for_tables_says_so(refused: Refused, runs: Path) -> None:
    pl.DataFrame({"a": [1]}).write_csv("new.csv")
    assert "net trained a torch module of a Python program, and reports are of tables" in refused(
        "report", "net"
    )
    assert "danlu runs show runs/net" in refused("report", "net")
    assert "the run 'net' trained a torch module, which has none" in refused("runs", "compare", "tree", "net")
    for verb in ("predict", "evaluate"):
        said = refused(verb, "net", "new.csv")
        assert (
            "which only its Python program can build again; its weights are in runs/net/model.safetensors"
            in said
        )


@pytest.mark.parametrize("name", ["net", "broken"])
def test_going_on_with_one_belongs_into_its_program(refused: Refused, runs: Path, name: str) -> None:
    said = refused("train", "--resume", name)
    assert f"The run runs/{name} trained a torch module" in said and f"resume='runs/{name}'" in said


def test_one_that_did_not_finish(refused: Refused, runs: Path) -> None:
    for words in (("runs", "show"), ("inspect",), ("report",)):
        assert "The run in runs/broken did not finish" in refused(*words, "broken")


def test_a_run_whose_weights_are_gone(refused: Refused, runs: Path) -> None:
    (runs / "net" / "model.safetensors").unlink()
    assert "has no model.safetensors any more" in refused("runs", "show", "net")


def test_it_is_deleted_like_any_other(danlu: Command, runs: Path) -> None:
    assert danlu("runs", "delete", "net").status == 0 and not (runs / "net").exists()
