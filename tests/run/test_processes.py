from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.run.process_cases import SETTINGS
from tests.run.tables import table

from danlu.core.shards import read_joined
from danlu.recipe.planning import BASELINE, Candidate
from danlu.recipe.recipe import resolve
from danlu.run.processes import check_processes

CASES = Path(__file__).with_name("process_cases.py")
REPOSITORY = CASES.parent.parent.parent
SECONDS = 110.0  # that the processes of one test may take on a loaded machine


def launch(number: int, command: list[str], **environment: str) -> list[subprocess.Popen[str]]:
    """`number` processes with torchrun's variables; one alone has none of them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started: list[subprocess.Popen[str]] = []
    for rank in range(number):
        own = {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": number,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }
        launched = {name: str(value) for name, value in own.items()} if number > 1 else {}
        started.append(
            subprocess.Popen(
                [sys.executable, *command],
                env=os.environ
                | {"PYTHONPATH": str(REPOSITORY), "GLOO_SOCKET_IFNAME": "lo"}
                | launched
                | environment,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return started


def answers(number: int, cases: str, folder: Path, **environment: str) -> dict[str, Any]:
    """What the cases found; an error of any process is an error of the test."""
    folder.mkdir(parents=True, exist_ok=True)
    started = launch(number, [str(CASES), cases, str(folder)], **environment)
    errors = finish(started)
    assert [process.returncode for process in started] == [0] * number, "\n".join(errors)
    return json.loads((folder / "found.json").read_text())


def finish(started: list[subprocess.Popen[str]]) -> list[str]:
    try:
        return [process.communicate(timeout=SECONDS)[1] for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()


@pytest.fixture(scope="session")
def found(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], dict[str, Any]]:
    """Number of processes -> what every case found there."""

    @cache
    def of(number: int) -> dict[str, Any]:
        folder = tmp_path_factory.mktemp(f"ranks-{number}")
        cases = "exactness,idle,module" + (",talk,slices,fault,resumed" if number > 1 else "")
        return answers(number, cases, folder, SHARDINGS="ddp,fsdp")

    return of


def flat(weights: dict[str, Any]) -> np.ndarray:
    return np.concatenate([np.asarray(value, dtype=np.float64).ravel() for value in weights.values()])


@pytest.mark.parametrize("number", [2, 4])
@pytest.mark.parametrize("name", SETTINGS)
def test_any_number_of_processes_gives_the_model_of_one(
    found: Callable[[int], dict[str, Any]], name: str, number: int
) -> None:
    alone = found(1)["exactness"]
    for way in ("", "/pieces", "/fsdp"):
        there = found(number)["exactness"][name + way]
        assert there["steps"] == alone[name]["steps"]
        assert np.abs(flat(there["weights"]) - flat(alone[name]["weights"])).max() < 1e-12
        assert there["scores"] == pytest.approx(alone[name]["scores"], abs=1e-12)


def test_pieces_in_one_process_give_the_same_model_as_the_whole_batch(
    found: Callable[[int], dict[str, Any]],
) -> None:
    alone = found(1)["exactness"]
    for name in SETTINGS:
        difference = flat(alone[f"{name}/pieces"]["weights"]) - flat(alone[name]["weights"])
        assert 0 < np.abs(difference).max() < 1e-12  # another order of sums: not the same computation twice


@pytest.mark.parametrize("number", [2, 4])
def test_muon_sees_whole_matrices_on_every_process(
    found: Callable[[int], dict[str, Any]], number: int
) -> None:
    one, several = found(1)["exactness"]["muon"], found(number)["exactness"]["muon"]
    assert np.abs(flat(one["weights"]) - flat(several["weights"])).max() < 1e-9


def test_a_weight_that_the_loss_does_not_reach_stays(found: Callable[[int], dict[str, Any]]) -> None:
    one, two = found(1)["idle"], found(2)["idle"]
    assert one["same"] and two["same"]
    assert np.abs(flat(one["weights"]) - flat(two["weights"])).max() < 1e-12


@pytest.mark.parametrize("sharding", ["ddp", "fsdp"])
def test_a_program_under_torchrun_has_the_trained_module_in_every_process(
    found: Callable[[int], dict[str, Any]], sharding: str
) -> None:
    alone = found(1)["module"]["ddp"][0]
    said = found(2)["module"][sharding]
    assert len(said) == 2
    for own in said:
        assert np.abs(flat(own["weights"]) - flat(alone["weights"])).max() < 1e-12
        assert own["record"] == {"number": 2, "sharding": sharding}
        assert own["metrics"]["loss"] == pytest.approx(alone["metrics"]["loss"], abs=1e-12)
        share = 2 if sharding == "fsdp" else 1
        for part in ("parameters", "gradients", "optimizer"):
            assert own["memory"][part] == -(-alone["memory"][part] // share)
        assert own["memory"]["rows_per_rank"] == alone["memory"]["rows_per_rank"] / 2 == 32


@pytest.mark.parametrize("number", [2, 4])
def test_each_process_holds_its_share_of_the_weights_and_no_more(
    found: Callable[[int], dict[str, Any]], number: int
) -> None:
    slices = found(number)["slices"]
    assert slices["own"] == slices["whole"] and slices["shell"] == 0
    assert slices["same"], "joined again they are what they were"
    assert slices["kinds"] == ["FSDPSequential", "FSDPLinear", "FSDPLinear"]  # large layers are units


def test_what_ranks_tell_each_other_arrives(found: Callable[[int], dict[str, Any]]) -> None:
    talk = found(4)["talk"]
    assert talk["nobody"] == "" and talk["first"] == "rank 1 丹"
    assert talk["all"] == ["", "x", "xx", "xxx"]
    assert talk["total"] == {"b": 4.0, "a": 6.0}
    assert len(set(talk["share"])) == 1 and "bfloat16" in talk["share"][0]


@pytest.mark.parametrize("sharding", ["ddp", "fsdp"])
def test_a_fault_is_named_alike_by_every_process(
    found: Callable[[int], dict[str, Any]], sharding: str
) -> None:
    said = found(4)["fault"][sharding]
    assert len(said) == 4 and len(set(said)) == 1
    assert "Diverged: Training broke down: the output of 0 (Linear) is not finite, at step 1." in said[0]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("lbfgs", "training.optimizer 'lbfgs' runs in one process only."),
        ("muon in slices", "'muon' looks at whole matrices, and engine.sharding 'fsdp' slices them"),
        ("signals in slices", "engine.signals looks at whole layers in one process, got 0.5"),
        ("few rows", "engine.processes is 2, but a batch has 1 rows, and each process needs one at least."),
        ("compiled", "engine.execution 'compiled' does not go with several processes."),
        ("another number", "engine.processes is 7, but torchrun has started 2."),
        ("module", "engine.processes is 9, but torchrun has started 2."),
        ("batch norm", "engine.processes splits a batch, and"),
        ("no sum", "engine.processes splits a batch, and the loss of LossFunction is no sum over its rows."),
    ],
)
def test_what_several_processes_cannot_do_is_refused_before_training(
    found: Callable[[int], dict[str, Any]], name: str, words: str
) -> None:
    assert words in found(2)["exactness"]["refused"][name]


def test_slices_need_several_processes_and_several_processes_need_a_network() -> None:
    given = {"data": "x.csv", "target": "y"}
    mlp, ridge = Candidate("mlp", "mlp"), Candidate("ridge", "ridge")
    with pytest.raises(
        ValueError, match="engine.sharding 'fsdp' slices a model over processes, and there is one"
    ):
        check_processes(1, [BASELINE, mlp], resolve(given | {"engine": {"sharding": "fsdp"}}))
    with pytest.raises(
        ValueError, match=r"engine.processes is 2, and .* none of this run's models is \(ridge\)"
    ):
        check_processes(2, [BASELINE, ridge], resolve(given))
    check_processes(2, [BASELINE, ridge, mlp], resolve(given))


@pytest.mark.parametrize("sharding", ["ddp", "fsdp"])
@pytest.mark.parametrize("number", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_processes_that_were_killed_go_on_to_the_same_bits(
    found: Callable[[int], dict[str, Any]], tmp_path: Path, number: int, sharding: str
) -> None:
    for step in ("5", "13") if number == 4 else ("9",):
        started = launch(number, [str(CASES), "resumed", str(tmp_path)], SHARDINGS=sharding, KILL_STEP=step)
        finish(started)
        assert any(process.returncode == -signal.SIGKILL for process in started)
        assert list((tmp_path / sharding).glob("step-*/commit.json"))
    again = answers(number, "resumed", tmp_path, SHARDINGS=sharding)["resumed"]
    assert again[sharding] == found(number)["resumed"][sharding]


def test_slices_of_two_processes_are_read_by_three_and_by_one(
    found: Callable[[int], dict[str, Any]], tmp_path: Path
) -> None:
    finish(launch(2, [str(CASES), "resumed", str(tmp_path)], KILL_STEP="9", SHARDINGS="fsdp"))
    newest = max((tmp_path / "fsdp").glob("step-*"))
    state = read_joined(newest)
    assert {name: tuple(value.shape) for name, value in state["model"].items()}["0.weight"] == (16, 7)
    first = state["update"]["optimizer"]["parameters"]["0"]
    assert tuple(first["exp_avg"].shape) in {(16, 7), (3, 16), (16, 16)} and bool(first["exp_avg"].any())
    whole = found(2)["resumed"]["fsdp"]
    three = answers(3, "resumed", tmp_path, SHARDINGS="fsdp")["resumed"]["fsdp"]
    assert three["steps"] == whole["steps"]
    assert three["scores"] == pytest.approx(whole["scores"], abs=1e-12)
    for name, value in whole["weights"].items():
        one, other = (np.frombuffer(bytes.fromhex(text)) for text in (value, three["weights"][name]))
        np.testing.assert_allclose(one, other, atol=1e-12)


RUN = [
    "--target",
    "y",
    "--model",
    "mlp",
    "--seed",
    "3",
    "--budget",
    "600s",
    "--quiet",
    "--set",
    "refit=false",
]
RUN += ["--set", 'training.duration="3 epochs"', "--set", "split.folds=3", "--set", "evaluation.bootstrap=50"]


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one process, with its data beside it."""
    folder = tmp_path_factory.mktemp("tables")
    table("binary", 160).write_csv(folder / "data.csv")
    command(folder, "one")
    return folder


def command(folder: Path, out: str, *more: str, launcher: list[str] | None = None) -> dict[str, Any]:
    words = [
        *(launcher or [sys.executable]),
        "-m",
        "danlu",
        "train",
        "data.csv",
        *RUN,
        "--out",
        out,
        "--json",
        *more,
    ]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)  # one object, whoever else was there
    return json.loads((folder / out / "record.json").read_text())


@pytest.mark.parametrize("how", ["processes", "torchrun", "fsdp"])
def test_a_table_gives_the_same_model_on_two_processes(alone: Path, how: str) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    if how == "torchrun":
        record = command(alone, how, launcher=torchrun)
    else:
        record = command(
            alone, how, "--processes", "2", "--set", f"engine.sharding={'fsdp' if how == 'fsdp' else 'ddp'}"
        )
    one = json.loads((alone / "one" / "record.json").read_text())
    assert record["run"]["processes"] == 2 and record["recipe"]["engine"]["processes"] == 2
    assert record["run"]["started_by"] == ("torchrun" if how == "torchrun" else "danlu")
    for name, value in one["metrics"]["test"].items():
        assert record["metrics"]["test"][name] == pytest.approx(value, abs=1e-4), name
    assert (
        json.loads((alone / how / "plan.lock").read_text())["fits"]
        == (json.loads((alone / "one" / "plan.lock").read_text())["fits"])
    )


def test_helpers_end_with_a_killed_run_which_goes_on_to_the_same_model(alone: Path) -> None:
    words = [sys.executable, "-m", "danlu", "train", "data.csv", *RUN, "--processes", "2", "--set"]
    words += ["engine.checkpoint=2 steps", "--out"]
    subprocess.run([*words, "whole"], cwd=alone, check=True, timeout=SECONDS, stdout=subprocess.DEVNULL)
    killed = subprocess.Popen([*words, "killed"], cwd=alone, stdout=subprocess.DEVNULL)
    end = time.monotonic() + SECONDS
    while (
        not list((alone / "killed").glob("checkpoints/mlp/*/step-*/commit.json")) and time.monotonic() < end
    ):
        time.sleep(0.02)
    helpers = children(killed.pid)
    killed.kill()
    killed.wait()
    assert helpers, "a helper was there"
    end = time.monotonic() + 10
    while any(is_alive(pid) for pid in helpers) and time.monotonic() < end:
        time.sleep(0.05)
    assert not any(is_alive(pid) for pid in helpers)
    again = [sys.executable, "-m", "danlu", "train", "--resume", "killed", "--quiet"]
    subprocess.run(again, cwd=alone, check=True, timeout=SECONDS, stdout=subprocess.DEVNULL)
    locks = [json.loads((alone / name / "plan.lock").read_text()) for name in ("whole", "killed")]
    assert locks[0]["model_sha256"] == locks[1]["model_sha256"]


def test_a_helper_that_dies_fails_the_fit_and_says_so(alone: Path) -> None:
    words = [sys.executable, "-m", "danlu", "train", "data.csv", *RUN, "--processes", "2", "--set"]
    words += ["engine.checkpoint=1 steps", "--out", "hurt"]
    running = subprocess.Popen(words, cwd=alone, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + SECONDS
    while not list((alone / "hurt").glob("checkpoints/mlp/*/step-*")) and time.monotonic() < end:
        time.sleep(0.02)
    for pid in children(running.pid):
        os.kill(pid, signal.SIGKILL)
    out, errors = running.communicate(timeout=SECONDS)
    assert "Traceback" not in errors
    assert "A process that helped with this fit has ended: process 1 was ended by signal 9" in out + errors


def children(pid: int) -> list[int]:
    """Processes that a process has started and that run danlu."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            words = (folder / "cmdline").read_text()
        except OSError:
            continue
        if parent == pid and "danlu.run.processes" in words:
            found.append(int(folder.name))
    return found


def is_alive(pid: int) -> bool:
    try:
        return (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]) != "Z"
    except OSError:
        return False


def test_processes_that_nothing_would_use_are_refused_in_one_clear_paragraph(alone: Path) -> None:
    words = [sys.executable, "-m", "danlu", "train", "data.csv", "--target", "y", "--model", "logistic"]
    done = subprocess.run(
        [*words, "--processes", "2"], cwd=alone, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "several processes train only what gradient steps train" in " ".join(done.stderr.split())


def test_a_module_in_one_process_says_how_to_start_several() -> None:
    from danlu.run.module import fit_module

    with pytest.raises(ValueError, match="start it with torchrun --nproc_per_node 4 PROGRAM.py"):
        fit_module(torch.nn.Linear(2, 1), {}, "squared_error", engine={"processes": 4})
