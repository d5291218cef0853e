"""MLflow's own client finds what was recorded, in the run's folder, and nothing is sent to anyone else."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from danlu.core.errors import MissingExtra, UserError
from danlu.core.ideas import Event, Position
from danlu.watch import mlflow as watch_mlflow
from danlu.watch.chosen import watchers_of
from danlu.watch.mlflow import MLflow

try:
    watch_mlflow._library()
    is_installed = True
except MissingExtra:
    is_installed = False
needs_mlflow = pytest.mark.skipif(not is_installed, reason='needs pip install "danlu[mlflow]"')

START = Event("start", Position(), 0.0)


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)


def step_at(number: int, loss: float = 0.5) -> Event:
    signals = {"gradient/layers.0.weight": 2.0}
    return Event("step", Position(0, 0, number), 0.5 * number, losses={"a": loss}, signals=signals)


def client(folder: Path) -> Any:
    address = f"sqlite:///{folder}/mlflow.db"
    return import_module("mlflow.tracking").MlflowClient(tracking_uri=address, registry_uri=address)


def runs(reader: Any, experiment: str = "danlu") -> list[Any]:
    found = reader.get_experiment_by_name(experiment).experiment_id
    return reader.search_runs([found], order_by=["start_time ASC"])


def points(reader: Any, run: Any, name: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in reader.get_metric_history(run.info.run_id, name)]


@needs_mlflow
def test_the_client_finds_what_was_recorded_and_a_resumed_fit_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "a run's"
    folder.mkdir()
    (watcher,) = watchers_of(["mlflow"], folder, part="mlp")
    for event in (START, *(step_at(number) for number in range(1, 1500))):  # more than a request holds
        watcher(event)
    watcher(Event("validation", Position(1, 0, 1499), 1.0, losses={"a": 0.5}, metrics={"rmse": 1.5}))
    watcher(Event("end", Position(1, 0, 1499), 1.0, reason="reached 1 epoch"))
    reader = client(folder)
    (run,) = runs(reader)
    assert run.info.run_name == "a run_s/mlp" and run.info.status == "FINISHED"
    assert run.data.tags["danlu.stop_reason"] == "reached 1 epoch"
    assert points(reader, run, "loss/a") == [(number, 0.5) for number in range(1, 1500)]
    assert points(reader, run, "validation/rmse") == [(1499, 1.5)]
    assert run.data.metrics["gradient/layers.0.weight"] == 2.0
    resumed = MLflow(folder, part="mlp")
    for event in (
        Event("start", Position(1, 0, 1499), 1.0),
        step_at(1500),
        Event("end", Position(2, 0, 1500), 1.5),
    ):
        resumed(event)
    MLflow(folder, part="ridge")(START)
    first, second = runs(reader)
    assert points(reader, first, "loss/a")[-1] == (1500, 0.5) and first.info.status == "FINISHED"
    assert second.info.run_name == "a run_s/ridge" and second.info.status == "RUNNING"
    assert sorted(path.name for path in folder.iterdir()) == ["mlflow.db"]
    assert watcher.problem == resumed.problem == ""  # type: ignore[attr-defined]


@needs_mlflow
def test_a_server_that_was_named_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "houses")
    watcher = MLflow(tmp_path / "run", part="mlp")
    for event in (START, step_at(1), Event("end", Position(0, 0, 1), 1.0)):
        watcher(event)
    reader = client(tmp_path)
    (run,) = runs(reader, "houses")
    assert points(reader, run, "loss/a") == [(1, 0.5)]
    assert list((tmp_path / "run").iterdir()) == []


@needs_mlflow
def test_a_server_that_is_not_there_is_named_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.raises(
        UserError, match=r"Cannot record in MLflow at http://127.0.0.1:9: .*Is its server running"
    ):
        MLflow(tmp_path)(START)


@needs_mlflow
def test_a_server_that_goes_away_ends_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watcher = MLflow(tmp_path, part="mlp")
    watcher(START)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("connection lost\nat some line")

    monkeypatch.setattr(watcher._client, "log_batch", fail)
    for event in (step_at(1), Event("end", Position(0, 0, 1), 1.0)):
        assert watcher(event) is None
    assert watcher.problem.endswith("mlflow.db stopped answering: connection lost")


@needs_mlflow
def test_mlflow_reports_nothing_to_its_makers(tmp_path: Path) -> None:
    """Every socket of the process is refused, and telemetry is off although this is no test machine to MLflow."""
    code = (
        "import socket, sys\n"
        "def refuse(*given): raise SystemExit(f'a connection was opened: {given}')\n"
        "socket.socket.connect = refuse; socket.getaddrinfo = refuse\n"
        "from pathlib import Path; from danlu.watch.mlflow import MLflow\n"
        "from danlu.core.ideas import Event, Position\n"
        "watcher = MLflow(Path(sys.argv[1]), part='a')\n"
        "watcher(Event('start', Position(), 0.0)); watcher(Event('end', Position(), 0.0))\n"
        "from mlflow.telemetry.client import get_telemetry_client\n"
        "from mlflow.telemetry.utils import _is_ci_env_or_testing\n"
        "print(get_telemetry_client(), _is_ci_env_or_testing(), 'torch' in sys.modules)"
    )
    hidden = ("PYTEST", "CI", "GITHUB", "MLFLOW", "DO_NOT_TRACK")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env=clean,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.stdout == "None False False\n", done.stderr
    assert done.stderr == ""


@needs_mlflow
def test_a_folder_that_no_address_can_hold(tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"cannot keep a database below .*what\?.* Name another folder with --out"
    ):
        MLflow(tmp_path / "what?")


def test_without_the_package_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    monkeypatch.setitem(sys.modules, "mlflow.entities", None)
    with pytest.raises(MissingExtra, match=r"'mlflow' needs the package mlflow-skinny.* \"danlu\[mlflow\]\""):
        MLflow(tmp_path)
