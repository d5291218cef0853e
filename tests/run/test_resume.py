"""`danlu.train(resume=...)`: tables of files and of Python, other versions, the budget that is left, decisions kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.run.tables import HOLDOUT, merged, table

import danlu
from danlu.core.checkpoint import Checkpoints
from danlu.core.files import dump_json
from danlu.run.folder import sha256

NETWORK: dict[str, Any] = merged(
    HOLDOUT,
    training={"duration": "20 epochs", "batch_size": 16, "patience": "off", "schedule": "cosine"},
    engine={"checkpoint": "7 steps", "threads": 1},
)


class Killed(Exception):
    """What stands for a kill."""


def kill_at(save_number: int, monkeypatch: pytest.MonkeyPatch, *given: Any, **named: Any) -> None:
    """Train until the checkpoint of this number has been committed."""
    real, saved = Checkpoints.save, []

    def save(self, state, *, step):
        saved.append(real(self, state, step=step))
        if len(saved) == save_number:
            raise Killed
        return saved[-1]

    with monkeypatch.context() as patched:
        patched.setattr(Checkpoints, "save", save)
        with pytest.raises(Killed):
            danlu.train(*given, **named)


def test_a_table_given_in_python_is_given_again(runs_dir, monkeypatch):
    frame = table("binary", 200)
    given: dict[str, Any] = {"model": "mlp", **NETWORK}
    alone = danlu.train(frame, "y", out="alone", **given)
    kill_at(6, monkeypatch, frame, "y", out="killed", **given)
    with pytest.raises(
        danlu.UserError, match=r"This run's table was given in Python: danlu.train\(table, resume=...\)"
    ):
        danlu.train(resume="killed")
    with pytest.raises(danlu.UserError, match="is not the data that killed began with"):
        danlu.train(frame[:-1], resume="killed")
    run = danlu.train(frame, resume="killed")
    assert sha256(run.folder / "model.danlu") == sha256(alone.folder / "model.danlu")
    assert run.metrics == alone.metrics


def test_killed_twice_and_on_from_the_second_time(runs_dir, monkeypatch):
    table("regression", 200).write_csv("data.csv")
    alone = danlu.train("data.csv", "y", model="mlp", out="alone", **NETWORK)
    kill_at(4, monkeypatch, "data.csv", "y", model="mlp", out="killed", **NETWORK)
    kill_at(5, monkeypatch, resume="killed")
    assert [path.name for path in sorted(Path("killed/checkpoints/mlp/0").iterdir())] == [
        "step-000000056",
        "step-000000063",
    ]
    run = danlu.train(resume="killed")
    assert sha256(run.folder / "model.danlu") == sha256(alone.folder / "model.danlu")


def test_other_settings_beside_it_are_refused(runs_dir, monkeypatch):
    table("binary", 120).write_csv("data.csv")
    kill_at(1, monkeypatch, "data.csv", "y", model="mlp", out="killed", **NETWORK)
    cases: list[tuple[dict[str, Any], str]] = [
        ({"seed": 0}, "seed"),
        ({"split": {"folds": 2}, "budget": "9s"}, "budget, split"),
        ({"out": "elsewhere"}, "out"),
        ({"recipe": "killed/recipe.yaml"}, "recipe"),
    ]
    for more, named in cases:
        with pytest.raises(danlu.RecipeError, match=f"keeps its recipe; leave out: {named}"):
            danlu.train(resume="killed", **more)


def test_other_versions_are_said(runs_dir, monkeypatch, capsys):
    table("binary", 120).write_csv("data.csv")
    kill_at(1, monkeypatch, "data.csv", "y", model="mlp", out="killed", **NETWORK)
    lock = Path("killed/plan.lock")
    content = json.loads(lock.read_text())
    assert content["environment"]["torch"]
    content["environment"]["torch"] = "2.0.0"
    lock.write_text(dump_json(content))
    danlu.train(resume="killed", progress=True)
    said = " ".join(capsys.readouterr().err.split())
    assert "warning: this run goes on under other versions: torch: 2.0.0 then, 2." in said


def test_the_budget_that_is_left_is_what_counts(runs_dir, monkeypatch):
    """Wall time before the kill counts: a run that had used up its budget ends as soon as it can, with a model."""
    table("binary", 200).write_csv("data.csv")
    long = merged(NETWORK, training={"duration": "100000 epochs"}, budget="20s")
    kill_at(3, monkeypatch, "data.csv", "y", model="mlp", out="killed", **long)
    lock = Path("killed/plan.lock")
    content = json.loads(lock.read_text())
    assert 0 < content["seconds"] < 20
    lock.write_text(dump_json(content | {"seconds": 19.5}))
    run = danlu.train(resume="killed")
    assert run.record["run"]["seconds"] < 30 and (run.folder / "model.danlu").exists()


def test_what_the_clock_decided_is_not_decided_again(runs_dir, monkeypatch):
    """A duration in seconds under a schedule becomes steps once; the resumed and the repeated run obey the lock."""
    from danlu.run import execution

    table("binary", 200).write_csv("data.csv")
    timed = merged(NETWORK, training={"duration": "1 seconds"}, refit=False)
    kill_at(5, monkeypatch, "data.csv", "y", model="mlp", out="killed", **timed)
    decisions = json.loads(Path("killed/plan.lock").read_text())["decisions"]
    total = decisions["mlp/0"]["total_steps"]
    assert isinstance(total, int) and total > 35

    def refuse(*given, **named):
        raise AssertionError("the clock was looked at")

    monkeypatch.setattr(execution, "seconds_per_step", refuse)
    run = danlu.train(resume="killed")
    lock = json.loads((run.folder / "plan.lock").read_text())
    assert lock["decisions"] == decisions and lock["fits"]["mlp"] == [total]
    again = danlu.train(recipe=run.folder / "recipe.yaml", out="again")
    assert sha256(again.folder / "model.danlu") == sha256(run.folder / "model.danlu")


def test_a_damaged_checkpoint_stands_in_the_record(runs_dir, monkeypatch):
    table("binary", 200).write_csv("data.csv")
    kill_at(6, monkeypatch, "data.csv", "y", model="mlp", out="killed", **NETWORK)
    (newest,) = Path("killed/checkpoints/mlp/0").glob("step-000000042")
    (newest / "state.json").write_text("{}")
    run = danlu.train(resume="killed")
    (found,) = [each for each in run.record["findings"] if each["code"] == "damaged_checkpoint"]
    assert (
        found["severity"] == "warning" and "state.json is not what was written (2 bytes" in found["message"]
    )
    assert found["message"] in " ".join(run.text().split())
