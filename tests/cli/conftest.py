"""Calls the command in this process, and checks that a person's mistake gets one clear paragraph."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.run.tables import table

from danlu.cli import main


class Answer(NamedTuple):
    """What a command left: exit status and both streams."""

    status: int
    out: str
    err: str


Command = Callable[..., Answer]
QUICK = ["--set", "split.folds=3", "--set", "split.repeats=1", "--set", "evaluation.bootstrap=50"]


@pytest.fixture
def danlu(runs_dir: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    """`danlu("train", "x.csv", ...)` in an empty folder; the streams are those of this call alone."""

    def call(*words: object) -> Answer:
        capsys.readouterr()
        try:
            status = main([str(word) for word in words])
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else 1
        out, err = capsys.readouterr()
        return Answer(status, out, err)

    return call


@pytest.fixture
def refused(danlu: Command) -> Callable[..., str]:
    """The one paragraph, as one line, with which a command is refused; anything else fails the test."""

    def call(*words: object) -> str:
        status, out, err = danlu(*words)
        assert status == 2, (status, out, err)
        assert out == "" and "Traceback" not in err
        *said, complaint = err.split("danlu: ", 1)  # what was noticed on the way stands before it
        assert said and "\n\n" not in complaint and complaint.endswith("\n")
        text = " ".join(complaint.split())
        assert len(text) > 30
        return text

    return call


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with houses.csv, people.csv and the runs `houses` (regression) and `people` (two classes)."""
    folder = tmp_path_factory.mktemp("trained")
    for name, kind, model in (("houses", "regression", "decision_tree"), ("people", "binary", "gaussian_nb")):
        data = folder / f"{name}.csv"
        table(kind, 100).write_csv(data)
        words = ["train", data, "--target", "y", "--model", model, "--out", folder / name, "--quiet", *QUICK]
        assert main([str(word) for word in words]) == 0
    return folder
