"""`danlu train --resume RUN`: a killed command goes on to the same bits; what cannot go on is said in a sentence."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import Command
from tests.run.tables import table

from danlu.run.folder import sha256

Refused = Callable[..., str]
WORDS = [
    "data.csv", "--target", "y", "--model", "mlp", "--budget", "300s", "--seed", "3",
    "--set", "split.small_rows=0", "--set", "evaluation.bootstrap=50", "--set", "training.duration=40 epochs",
    "--set", "training.batch_size=16", "--set", "training.schedule=cosine", "--set", "training.average=ema",
    "--set", "training.patience=off", "--set", "engine.checkpoint=20 steps", "--set", "engine.threads=1",
]  # fmt: skip
FIT = Path("runs", "killed", "checkpoints", "mlp", "0")


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data.csv, the finished run `alone` and `killed`, which SIGKILL ended in the midst of its fit."""
    folder = tmp_path_factory.mktemp("resume")
    table("binary", 400).write_csv(folder / "data.csv")
    command = [sys.executable, "-m", "danlu", "train", *WORDS, "--quiet", "--out"]
    process = subprocess.Popen([*command, "runs/killed"], cwd=folder, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while len(list((folder / FIT).glob("step-*/commit.json"))) < 2 and time.monotonic() < until:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (folder / "runs" / "killed" / "model.danlu").exists()
    subprocess.run([*command, "runs/alone"], cwd=folder, stdout=subprocess.DEVNULL, check=True)
    return folder


@pytest.fixture
def here(killed: Path, runs_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of all that, which is the working folder."""
    copied = tmp_path / "work"
    shutil.copytree(killed, copied)
    monkeypatch.chdir(copied)
    return copied


def steps(fit: Path) -> list[int]:
    """Steps of the committed checkpoints."""
    return sorted(int(path.parent.name.removeprefix("step-")) for path in fit.glob("step-*/commit.json"))


def test_a_killed_command_ends_in_the_bits_of_the_one_left_alone(here: Path, danlu: Command) -> None:
    saved = steps(FIT)
    assert len(saved) == 2 and saved[-1] < 40 * 15
    answer = danlu("train", "--resume", "killed", "--json")
    assert answer.status == 0, answer.err
    assert sha256(Path("runs/killed/model.danlu")) == sha256(Path("runs/alone/model.danlu"))
    one, two = (json.loads(Path("runs", name, "record.json").read_text()) for name in ("alone", "killed"))
    assert one["metrics"] == two["metrics"] and json.loads(answer.out)["metrics"] == one["metrics"]
    assert not Path("runs/killed/checkpoints").exists()
    fits = [
        lock["fits"]
        for lock in (json.loads(Path("runs", n, "plan.lock").read_text()) for n in ("alone", "killed"))
    ]
    assert fits[0] == fits[1]


def test_a_damaged_newest_checkpoint_is_passed_over_with_a_warning(here: Path, danlu: Command) -> None:
    newest = FIT / f"step-{steps(FIT)[-1]:09d}" / "tensors.safetensors"
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(content)
    answer = danlu("train", "--resume", "runs/killed")
    assert answer.status == 0
    said = " ".join(answer.err.split())
    assert (
        f"warning: The checkpoint {newest.parent} is passed over: tensors.safetensors is not what was" in said
    )
    assert sha256(Path("runs/killed/model.danlu")) == sha256(Path("runs/alone/model.danlu"))
    found = json.loads(Path("runs/killed/record.json").read_text())["findings"]
    assert "damaged_checkpoint" in {finding["code"] for finding in found}


def test_a_finished_run(here: Path, refused: Refused) -> None:
    before = sha256(Path("runs/alone/model.danlu"))
    assert "The run runs/alone is finished: see runs/alone/report.html." in refused(
        "train", "--resume", "alone"
    )
    assert sha256(Path("runs/alone/model.danlu")) == before


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--seed", "4"], "seed"),
        (["--seed", "0"], "seed"),
        (["data.csv"], "data"),
        (["--model", "ridge", "--set", "training.l1=0.1"], "model, set"),
        (["--out", "elsewhere"], "out"),
        (["--recipe", "recipe.yaml"], "recipe"),
    ],
)
def test_options_beside_it(here: Path, refused: Refused, words: list[str], named: str) -> None:
    said = refused("train", "--resume", "killed", *words)
    assert f"--resume keeps the recipe of its run; leave out: {named}." in said


def test_an_edited_recipe(here: Path, refused: Refused) -> None:
    recipe = Path("runs/killed/recipe.yaml")
    recipe.write_text(recipe.read_text().replace("40 epochs", "41 epochs"))
    said = refused("train", "--resume", "killed")
    assert "The recipe of runs/killed is not the one that ran. Start anew with --recipe." in said


def test_changed_data(here: Path, refused: Refused) -> None:
    data = Path("data.csv")
    lines = data.read_text().splitlines(keepends=True)
    data.write_text("".join(lines[:-1]))
    assert "data.csv is not the data that runs/killed began with." in refused("train", "--resume", "killed")
    assert steps(FIT), "the checkpoints stay"


def test_a_run_that_is_not_there(here: Path, refused: Refused) -> None:
    assert "There is no run 'kiled'. Did you mean 'killed'?" in refused("train", "--resume", "kiled")


def test_a_run_without_its_lock(here: Path, refused: Refused) -> None:
    Path("runs/killed/plan.lock").unlink()
    assert "is not the one that ran" in refused("train", "--resume", "killed")


def test_a_damaged_lock(here: Path, refused: Refused) -> None:
    lock = Path("runs/killed/plan.lock")
    lock.write_text(lock.read_text()[:-20])
    assert "plan.lock cannot be read" in refused("train", "--resume", "killed")


def test_with_all_checkpoints_gone_it_begins_again_to_the_same_bits(here: Path, danlu: Command) -> None:
    shutil.rmtree("runs/killed/checkpoints")
    assert danlu("train", "--resume", "killed", "--quiet").status == 0
    assert sha256(Path("runs/killed/model.danlu")) == sha256(Path("runs/alone/model.danlu"))
