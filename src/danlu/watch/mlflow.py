"""MLflow: losses, scores and signals as MLflow runs, in a database inside the run's folder unless told otherwise.

Look at them with `mlflow ui --backend-store-uri sqlite:///RUN/mlflow.db`. Where MLFLOW_TRACKING_URI is set, its server
gets them, in the experiment that MLFLOW_EXPERIMENT_NAME says. MLflow's reports of its own use to its makers
are switched off.
"""

from __future__ import annotations

import logging
import os
import queue
import re
import threading
import time
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from danlu.core.errors import MissingExtra, UserError
from danlu.core.ideas import Event

SEND_SECONDS = 2.0  # between two requests
END_SECONDS = 30.0  # that the end of a fit waits for the last request
MOST_METRICS = 1000  # in a request: MLflow's limit


class MLflow:
    """Records one candidate of the run in `run_folder` as an MLflow run named RUN/PART, one for each fit of it.

    Metrics are loss/TERM, validation/METRIC and the names of signals. A thread sends them, so that training does not
    wait for a server. A server that is not there at the start is a `UserError`; one that goes away later ends no
    training: `problem` says what was lost. A fit that is resumed goes on in the MLflow run of the killed attempt.
    """

    def __init__(self, run_folder: str | Path, *, part: str = "") -> None:
        self._folder = Path(run_folder).resolve()
        # Quotes would end the value in MLflow's language of searches.
        self._tags = {"danlu.run": self._folder.name.replace("'", "_"), "danlu.part": part.replace("'", "_")}
        self._library = _library()
        self._is_local = not os.environ.get("MLFLOW_TRACKING_URI")
        self.address = os.environ.get("MLFLOW_TRACKING_URI") or _database(self._folder)
        self.problem = ""
        self._client: Any = None
        self._run_id = ""
        self._queue: queue.SimpleQueue[list[Any]] = queue.SimpleQueue()
        self._over = threading.Event()
        self._sender: threading.Thread | None = None

    def __call__(self, event: Event) -> None:
        """Hand the event's numbers to the thread that sends them."""
        if event.kind == "start" or self._sender is None:
            self._start(is_resumed=event.position.step > 0)
        numbers = {f"loss/{name}": value for name, value in event.losses.items() if event.kind == "step"}
        numbers |= {f"validation/{name}": value for name, value in event.metrics.items()} | dict(
            event.signals
        )
        if numbers:
            self._queue.put(self._metrics(numbers, step=event.position.step))
        if event.kind == "end":
            self._end(event.reason)

    def _start(self, *, is_resumed: bool) -> None:
        with self._told("Cannot record in MLflow at {address}: {error}. Is its server running?"), _quiet():
            # Both stores are named: without the second MLflow would look for models elsewhere.
            self._client = self._library["client"](tracking_uri=self.address, registry_uri=self.address)
            experiment = self._experiment(os.environ.get("MLFLOW_EXPERIMENT_NAME", "danlu"))
            former = self._former(experiment) if is_resumed else None
            if former is None:
                name = "/".join(filter(None, self._tags.values()))
                self._run_id = self._client.create_run(experiment, run_name=name, tags=self._tags).info.run_id
            else:
                self._run_id = former
                self._client.update_run(former, status="RUNNING")
        self._over.clear()
        self._sender = threading.Thread(target=self._send_on, name="danlu-mlflow", daemon=True)
        self._sender.start()

    def _experiment(self, name: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return found.experiment_id
        place = (self._folder / "mlflow-artifacts").as_uri() if self._is_local else None
        return self._client.create_experiment(name, artifact_location=place)

    def _former(self, experiment: str) -> str | None:
        """The MLflow run of the attempt that was killed."""
        which = " and ".join(f"tags.`{tag}` = '{value}'" for tag, value in self._tags.items())
        found = self._client.search_runs([experiment], which, max_results=1, order_by=["start_time DESC"])
        return found[0].info.run_id if found else None

    def _metrics(self, numbers: Mapping[str, float], *, step: int) -> list[Any]:
        now = round(time.time() * 1000)
        return [
            self._library["metric"](re.sub(r"[^\w\-. :/]", "_", name), float(value), now, step)
            for name, value in numbers.items()
        ]

    def _end(self, reason: str) -> None:
        self._over.set()
        assert self._sender is not None
        self._sender.join(END_SECONDS)
        if self._sender.is_alive():
            self.problem = (
                f"MLflow at {self.address} did not take the last numbers within {END_SECONDS:.0f} s"
            )
        elif not self.problem:
            try:
                self._client.set_tag(self._run_id, "danlu.stop_reason", reason)
                self._client.set_terminated(self._run_id)
            except self._library["errors"] as error:
                self.problem = f"MLflow at {self.address} did not answer: {_first_line(error)}"
        self._sender = None

    def _send_on(self) -> None:
        """The sender's thread: what has come together since the last request."""
        is_over = False
        while not is_over:
            is_over = self._over.wait(SEND_SECONDS)
            waiting: list[Any] = []
            while not self._queue.empty():
                waiting += self._queue.get()
            try:
                for start in range(0, len(waiting), MOST_METRICS):
                    self._client.log_batch(self._run_id, metrics=waiting[start : start + MOST_METRICS])
            except self._library["errors"] as error:
                self.problem = f"MLflow at {self.address} stopped answering: {_first_line(error)}"
                return

    @contextmanager
    def _told(self, text: str) -> Generator[None]:
        try:
            yield
        except self._library["errors"] as error:
            raise UserError(text.format(address=self.address, error=_first_line(error))) from error


def _library() -> dict[str, Any]:
    """MLflow's client, without its reports to its makers."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before the import, which would start them
    os.environ.setdefault(
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2"
    )  # seven take four minutes to say "not there"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of its own dependencies
            for needed in ("sqlalchemy", "alembic"):  # of its databases; mlflow-skinny does not bring them
                import_module(needed)
            entities, errors, tracking = (
                import_module(f"mlflow.{name}") for name in ("entities", "exceptions", "tracking")
            )
    except ImportError as error:
        raise MissingExtra("mlflow-skinny", "mlflow", purpose="The watcher 'mlflow'") from error
    return {
        "client": tracking.MlflowClient,
        "metric": entities.Metric,
        "errors": (errors.MlflowException, OSError),
    }


def _database(folder: Path) -> str:
    """The address of the database in a folder."""
    if wrong := next((character for character in "?#%" if character in str(folder)), ""):
        raise UserError(
            f"MLflow cannot keep a database below {folder}: its addresses have no {wrong!r}. "
            "Name another folder with --out."
        )
    return f"sqlite:///{folder.as_posix()}/mlflow.db"


@contextmanager
def _quiet() -> Generator[None]:
    """Without MLflow's lines about the tables that it makes."""
    logger = logging.getLogger("mlflow")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300].rstrip(".")
