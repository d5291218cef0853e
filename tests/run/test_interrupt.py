"""Ctrl-C at any moment: exit status 130, never a traceback, and the best model so far where there is one."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.run.tables import table

import danlu
from danlu.core.seeds import generator

CODE = "import sys; from danlu.cli import main; print('up', flush=True); sys.exit(main(sys.argv[1:]))"
WORDS = ["train", "data.csv", "--target", "y", "--budget", "60s", "--out", "run"]
MODELS = ["--model", "logistic", "--model", "gaussian_nb", "--model", "boosting", "--model", "random_forest"]
RANDOM = generator(0, "moments").uniform(0.05, 6.0, 12).round(2).tolist()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    table("binary", 3000).write_csv(tmp_path / "data.csv")
    return tmp_path


def start(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", CODE, *WORDS, *MODELS],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "up\n"
    return process


def check(folder: Path, status: int, out: str, err: str) -> None:
    assert "Traceback" not in err and "Traceback" not in out, err
    model = folder / "run" / "model.danlu"
    if model.exists():
        answers = danlu.load(model).predict(table("binary", 5, seed=3).drop("y"))
        assert answers.columns == ["y", "probability_no", "probability_yes"]
    else:
        assert status == 130 and "nterrupted" in err, err
    if status == 130 and out:  # a result: the run was cut short and brought to its end
        assert model.exists() and (folder / "run" / "report.html").exists()
    assert status in (0, 130), (status, err)  # 0: it was done before the signal came
    assert not list(folder.rglob("*.part"))


def interrupt_after(folder: Path, seconds: float) -> tuple[int, str, str]:
    process = start(folder)
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.mark.parametrize("seconds", [0.05, 1.5])
def test_at_a_moment(folder: Path, seconds: float) -> None:
    check(folder, *interrupt_after(folder, seconds))


@pytest.mark.slow
@pytest.mark.parametrize("seconds", RANDOM)
def test_at_a_random_moment(folder: Path, seconds: float) -> None:
    check(folder, *interrupt_after(folder, seconds))


def model_of(event: dict) -> str:
    """The candidate in the name of a fit, CANDIDATE/FOLD."""
    return event["part"].partition("/")[0]


def wait_for_models(folder: Path) -> Path:
    """Wait until one model has been fitted and the next one is tried; the run's events."""
    from danlu.watch.store import read_events

    events = folder / "run" / "events.sqlite"
    for _ in range(600):
        time.sleep(0.05)
        if events.exists() and "gaussian_nb" in {model_of(event) for event in _events(events, read_events)}:
            break
    return events


def test_while_models_are_tried(folder: Path) -> None:
    """Once the baseline and one model have been fitted, the run ends early with a model."""
    from danlu.watch.store import read_events

    process = start(folder)
    events = wait_for_models(folder)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    check(folder, process.returncode, out, err)
    assert process.returncode == 130 and (folder / "run" / "model.danlu").exists()
    tried = {model_of(event) for event in read_events(events)}
    assert {"baseline", "logistic"} <= tried and "random_forest" not in tried
    assert "tested on" in out


def test_the_second_one_ends_it_at_once(folder: Path) -> None:
    process = start(folder)
    wait_for_models(folder)
    process.send_signal(signal.SIGINT)
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    started = time.monotonic()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err
    assert time.monotonic() - started < 10


def _events(path: Path, read: object) -> list[dict[str, object]]:
    try:
        return read(path)  # type: ignore[operator]
    except danlu.UserError:  # its tables are being made
        return []
