"""A fit in a child process gives the same bits, and ends when it has to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from danlu.core.duration import Deadline
from danlu.core.errors import DanluError, DataError, OutOfTime
from danlu.core.ideas import Context
from danlu.core.tasks import Task
from danlu.models.linear import Ridge, RidgeSettings
from danlu.models.naive_bayes import CountSettings, MultinomialNB
from danlu.models.svm import SVM, SVMSettings
from danlu.updates import child
from danlu.updates.child import fit_in_child, load, save

BINARY = Task("binary", ("no", "yes"))


def noise(num_rows: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"x": rng.normal(size=(num_rows, 20)), "y": rng.integers(0, 2, num_rows)}


def endless() -> SVM:
    """A machine that takes minutes on 8,000 rows of noise."""
    return SVM(SVMSettings(c=1e6, kernel="poly", degree=5), BINARY, 20)


@pytest.mark.parametrize("sparse", [False, True])
def test_it_gives_the_bits_that_this_process_gives(sparse: bool) -> None:
    batch: dict[str, Any] = {**noise(100), "weight": np.random.default_rng(1).uniform(0.5, 2, 100)}
    x = batch["x"]
    if sparse:
        x = batch["x"] = csr_matrix(x)
    here, there = SVM(SVMSettings(), BINARY, 20, seed=5), SVM(SVMSettings(), BINARY, 20, seed=5)
    here.fit_round(batch, BINARY, Context())
    assert fit_in_child(there, batch, BINARY, Context()).done
    assert there(x).tobytes() == here(x).tobytes()


def test_signals_come_back() -> None:
    x = np.random.default_rng(2).normal(size=(50, 3))
    model = Ridge(RidgeSettings(strength=0.25), Task("regression"), 3)
    step = fit_in_child(model, {"x": x, "y": x[:, 0], "weight": None}, model.task, Context())
    assert step.signals == {"strength": 0.25, "converged": 1.0}
    assert model.affine.coefficients[0] > 0


def test_errors_come_back() -> None:
    model = MultinomialNB(CountSettings(), BINARY, 20)
    with pytest.raises(DataError, match="multinomial_nb counts things"):
        fit_in_child(model, noise(50), BINARY, Context())


def test_a_crash_is_one_clear_error() -> None:
    model = SVM(SVMSettings(), BINARY, 20)
    with pytest.raises(
        DanluError, match=r"The process that fitted SVM ended without a result: ValueError: .*NaN"
    ):
        fit_in_child(model, {"x": np.full((50, 20), np.nan), "y": np.arange(50) % 2}, BINARY, Context())


def test_it_is_ended_at_the_deadline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    started: list[Any] = []
    popen = subprocess.Popen

    def watched(*args: Any, **kwargs: Any) -> Any:
        started.append(popen(*args, **kwargs))
        return started[-1]

    monkeypatch.setattr(child.subprocess, "Popen", watched)
    before = time.monotonic()
    with pytest.raises(OutOfTime, match="SVM was still being fitted to 8,000 rows when its time was up"):
        fit_in_child(endless(), noise(8000), BINARY, Context(deadline=Deadline.after(1.5)))
    assert time.monotonic() - before < 5
    assert started[0].returncode == -signal.SIGKILL
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_it_ends_with_its_parent(how: signal.Signals, tmp_path: Path) -> None:
    script = (
        "import numpy as np\n"
        "from danlu.core.ideas import Context\n"
        "from danlu.core.tasks import Task\n"
        "from danlu.models.svm import SVM, SVMSettings\n"
        "from danlu.updates.child import fit_in_child\n"
        "import danlu.updates.child as child, subprocess\n"
        "popen = subprocess.Popen\n"
        "def tell(*args, **kwargs):\n"
        "    process = popen(*args, **kwargs)\n"
        "    print(process.pid, flush=True)\n"
        "    return process\n"
        "child.subprocess.Popen = tell\n"
        "rng = np.random.default_rng(0)\n"
        "batch = {'x': rng.normal(size=(8000, 20)), 'y': rng.integers(0, 2, 8000)}\n"
        "task = Task('binary', ('no', 'yes'))\n"
        "fit_in_child(SVM(SVMSettings(c=1e6, kernel='poly', degree=5), task, 20), batch, task, Context())\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    assert parent.stdout is not None
    with parent, parent.stdout:
        pid = int(parent.stdout.readline())
        wait_for(lambda: "libsvm" in maps(pid))  # it is well within its imports
        parent.send_signal(how)
        parent.wait(10)
        wait_for(lambda: not runs(pid))
    if how == signal.SIGINT:
        assert list(tmp_path.iterdir()) == []


def wait_for(condition: Any) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.05)


def maps(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")


def runs(pid: int) -> bool:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


def test_a_file_in_the_working_folder_is_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise RuntimeError('this is not ours')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(3).normal(size=(30, 2))
    model = Ridge(RidgeSettings(strength=0.1), Task("regression"), 2)
    assert fit_in_child(model, {"x": x, "y": x[:, 0]}, model.task, Context()).done


def test_values_travel_unchanged(tmp_path: Path) -> None:
    value = {
        "text": "a",
        "none": None,
        "number": 0.1 + 0.2,
        "infinite": float("inf"),
        "labels": [1, "b", True],
        "nested": {"array": np.arange(6).reshape(2, 3), "empty": np.zeros((0, 4))},
        "sparse": csr_matrix(np.eye(3)),
    }
    save(tmp_path / "box", value)
    back = load(tmp_path / "box")
    assert (back["sparse"] != value["sparse"]).nnz == 0
    assert np.array_equal(back["nested"]["array"], value["nested"]["array"])
    assert back["nested"]["empty"].shape == (0, 4)
    assert {name: back[name] for name in list(value)[:5]} == {name: value[name] for name in list(value)[:5]}


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "box", {"a": np.zeros(2)})
    np.save(tmp_path / "box" / "1.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        load(tmp_path / "box")
