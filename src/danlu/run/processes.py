"""Several processes that fit the networks of one run together: rank 0 does the run, the others help with its fits.

    danlu train DATA --processes 4            rank 0 starts three helpers on this machine
    torchrun --nproc_per_node 4 -m danlu train DATA ...    all four are there; ranks 1 to 3 become helpers

Rank 0 loads, splits, judges, saves and reports. For each fit by gradient steps it hands on the candidate, the recipe
and the training rows (JSON and raw arrays, nothing pickled); every rank then builds the same fit and runs it.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from danlu.core.checkpoint import Checkpoints
from danlu.core.errors import DanluError, RecipeError
from danlu.core.ideas import Batch, Context, Ranks, State, Watcher
from danlu.core.process_ranks import LostRanks, ProcessRanks, is_lost, is_under_torchrun, joined
from danlu.core.runtime import num_threads
from danlu.core.tasks import Task
from danlu.evaluate.metrics import metrics_for
from danlu.recipe.planning import Candidate
from danlu.recipe.recipe import Recipe, as_plain, resolve
from danlu.run.descent import ONE_SLICE, Decisions
from danlu.run.fitting import Judge, fit_candidate, is_by_gradient
from danlu.run.job import Fitted
from danlu.updates.settings import EngineSettings

START_SECONDS = 120.0  # for the helpers to import torch; a loaded machine is slow

MOST_PER_PROCESSOR = 4  # processes of one run


class Team:
    """Rank 0's view of the processes: they wait, fit with it, and end with it in every case."""

    def __init__(self, number: int) -> None:
        self.number, self.threads = number, max(num_threads() // number, 1)
        self._is_launched = is_under_torchrun()
        self._helpers: _Helpers | None = None
        self._open = ExitStack()
        self._ranks: ProcessRanks | None = None
        self._broken = ""
        if not self._is_launched:
            self._helpers = _Helpers(number, self.threads)  # they import while rank 0 loads the data

    def fit(
        self,
        candidate: Candidate,
        recipe: Recipe,
        task: Task,
        train: Batch,
        *,
        validation: Batch | None,
        judge: Judge,
        context: Context,
        locked: int | None = None,
        watchers: Sequence[Watcher] = (),
        checkpoints: Checkpoints | None = None,
        decisions: Decisions | None = None,
    ) -> Fitted:
        """As `fit_candidate`, on all processes. After a fit that failed the helpers are started anew."""
        ranks = self.join()
        try:
            ranks.share(
                {
                    "kind": "fit",
                    "candidate": dataclasses.asdict(candidate),
                    "recipe": as_plain(recipe),
                    "task": task.as_dict(),
                    "train": {name: _packed(value) for name, value in train.items()},
                    "is_validated": validation is not None,
                    "metric": judge.metric.name,
                    "seed": context.seed,
                    "num_threads": self.threads,
                    "locked": locked,
                    "saves": None if checkpoints is None else str(checkpoints.folder.absolute()),
                }
            )
            context.ranks, context.num_threads = ranks, self.threads
            given = decisions or Decisions()
            return fit_candidate(
                candidate,
                recipe,
                task,
                train,
                validation=validation,
                judge=judge,
                context=context,
                locked=locked,
                watchers=watchers,
                checkpoints=checkpoints,
                decisions=dataclasses.replace(given, ranks=ranks),
            )
        except BaseException as error:  # also Ctrl-C: the helpers wait for a step that will not come
            lost = isinstance(error, LostRanks) or (isinstance(error, RuntimeError) and is_lost(error))
            words = "" if self._helpers is None or not lost else self._helpers.last_words()
            self._part(f"{type(error).__name__}: {error}")
            if lost:
                raise DanluError(
                    f"A process that helped with this fit has ended: {words or error}"
                ) from error
            raise

    def join(self) -> ProcessRanks:
        """The group, made before the first fit and after one that failed."""
        if self._broken and self._is_launched:
            raise DanluError(
                f"The processes parted in an earlier fit ({self._broken}), and torchrun does not start them anew. "
                "Run the command again, or use --processes instead."
            )
        if self._ranks is None:
            if self._is_launched:
                self._ranks = self._open.enter_context(joined())
            else:
                if self._helpers is None:
                    self._helpers = _Helpers(self.number, self.threads)
                file = self._helpers.wait()
                self._ranks = self._open.enter_context(joined(sync_file=file, number=self.number))
            self._broken = ""
        return self._ranks

    def as_dict(self) -> dict[str, Any]:
        """For the record of a run."""
        return {
            "processes": self.number,
            "started_by": "torchrun" if self._is_launched else "danlu",
            "threads_each": self.threads,
        }

    def close(self, folder: Path | None = None) -> None:
        """End the helpers; those of torchrun are sent home with the folder of the run that went well."""
        if self._is_launched and folder is not None and not self._broken:
            self.join().share({"kind": "end", "folder": str(folder)})
        self._open.close()
        self._ranks = None
        if self._helpers is not None:
            self._helpers.end()

    def _part(self, why: str) -> None:
        """Leave the group after a failure: who still waits in it cannot be reached any more."""
        self._broken = why
        if self._helpers is not None:
            self._helpers.end()
            self._helpers = None
        if not self._is_launched:
            self._open.close()
        self._ranks = None


def help_run() -> Path:
    """What ranks above 0 do under torchrun: help until the run is over; its folder."""
    with joined() as ranks:
        return serve(ranks)


def serve(ranks: ProcessRanks) -> Path:
    """Take part in every fit that rank 0 asks for; the folder of the run when it is over."""
    while True:
        request = ranks.share(None)
        if request["kind"] == "end":
            return Path(request["folder"])
        _take_part(request, ranks)


def ranks_of(engine: EngineSettings) -> AbstractContextManager[Ranks]:
    """A context of the processes that run this very program under torchrun; of this one alone where there are none."""
    number = int(os.environ["WORLD_SIZE"]) if is_under_torchrun() else 1
    if number == 1 and engine.processes > 1:
        raise RecipeError(
            f"engine.processes is {engine.processes}, and a module trains in the processes that run your program: "
            f"start it with torchrun --nproc_per_node {engine.processes} PROGRAM.py."
        )
    if engine.processes not in (1, number):
        raise RecipeError(
            f"engine.processes is {engine.processes}, but torchrun has started {number}. Leave engine.processes out."
        )
    return _alone() if number == 1 else joined()


def processes_asked(asked: int) -> int:
    """How many processes a run of a table has: torchrun's, or as many as were asked for."""
    if not is_under_torchrun():
        most = MOST_PER_PROCESSOR * (os.cpu_count() or 1)
        if asked > most:
            raise RecipeError(
                f"engine.processes is {asked}, and this machine has {os.cpu_count()} processors: more than {most} "
                "processes would only wait for each other. Use fewer, or start them on several machines with torchrun."
            )
        return asked
    number = int(os.environ["WORLD_SIZE"])
    if asked not in (1, number):
        raise RecipeError(
            f"engine.processes is {asked}, but torchrun has started {number}. Leave --processes out."
        )
    return number


def check_processes(number: int, candidates: Sequence[Candidate], recipe: Recipe) -> None:
    """Refuse several processes where no candidate would use them, and slices of a model in one process."""
    training = recipe.training
    if number == 1 and recipe.engine.sharding == "fsdp":
        raise RecipeError(ONE_SLICE)
    if number > 1 and not any(is_by_gradient(candidate, training) for candidate in candidates):
        names = ", ".join(dict.fromkeys(c.model for c in candidates if c.model != "baseline")) or "baseline"
        raise RecipeError(
            f"engine.processes is {number}, and several processes train only what gradient steps train, which none of "
            f"this run's models is ({names}). Use --model mlp, or one process, whose threads all models use."
        )


def _take_part(request: State, ranks: ProcessRanks) -> None:
    """Build the fit of a request and run it with the others."""
    task = Task.from_dict(request["task"])
    recipe = resolve(request["recipe"])
    folder = request["saves"]
    fit_candidate(
        Candidate(**request["candidate"]),
        recipe,
        task,
        {name: _unpacked(value) for name, value in request["train"].items()},
        validation={} if request["is_validated"] else None,  # rank 0 has the rows
        judge=Judge(task, metrics_for(task, [request["metric"]])[0]),
        context=Context(seed=request["seed"], num_threads=request["num_threads"], ranks=ranks),
        locked=request["locked"],
        checkpoints=None if folder is None else Checkpoints(folder),
        decisions=Decisions(ranks=ranks),
    )


def _packed(value: Any) -> Any:
    """A column as what travels: an array, or the three arrays of a CSR matrix."""
    if hasattr(value, "tocsr"):
        rows = value.tocsr()
        return {"data": rows.data, "indices": rows.indices, "indptr": rows.indptr, "shape": list(rows.shape)}
    return np.asarray(value)


def _unpacked(value: Any) -> Any:
    if isinstance(value, dict):
        from scipy.sparse import csr_matrix

        return csr_matrix((value["data"], value["indices"], value["indptr"]), shape=tuple(value["shape"]))
    return value


@contextmanager
def _alone() -> Iterator[Ranks]:
    yield Ranks()


class _Helpers:
    """The processes that rank 0 has started on this machine, each with a pipe that closes when rank 0 is gone."""

    def __init__(self, number: int, threads: int) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="danlu-processes-"))
        environment = {
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "OMP_NUM_THREADS": str(threads),
        }
        self._processes: list[subprocess.Popen[bytes]] = []
        self._errors: list[IO[bytes]] = []
        for rank in range(1, number):
            self._errors.append((self._folder / f"errors-{rank}").open("w+b"))
            self._processes.append(
                subprocess.Popen(
                    # -P: a json.py in the person's working folder is not ours. Its own session: Ctrl-C is for rank 0.
                    [
                        sys.executable,
                        "-P",
                        "-m",
                        "danlu.run.processes",
                        str(self._folder),
                        str(rank),
                        str(number),
                    ],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                    stderr=self._errors[-1],
                    env=os.environ | environment,
                    start_new_session=True,
                )
            )

    def wait(self) -> Path:
        """Wait until all have started; the file over which they find each other."""
        end = time.monotonic() + START_SECONDS
        wanted = [self._folder / f"ready-{rank + 1}" for rank in range(len(self._processes))]
        while not all(path.exists() for path in wanted):
            if any(process.poll() is not None for process in self._processes) or time.monotonic() > end:
                raise LostRanks(self.last_words() or f"it did not start within {START_SECONDS:.0f} s.")
            time.sleep(0.01)
        return self._folder / "meeting"

    def last_words(self) -> str:
        """The error that a helper ended with."""
        for process in self._processes:
            try:
                process.wait(1.0)
            except subprocess.TimeoutExpired:
                continue
        for file in self._errors:
            file.seek(0)
            lines = file.read().decode("utf-8", errors="replace").splitlines()
            lines = [re.sub(r"^\[rank\d+\]: ", "", line) for line in lines]  # as torch marks them
            found = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Ranks)\b", line)]
            own = [line for line in found if "LostRanks" not in line]
            if own:
                return own[-1]
        codes = {rank: process.returncode or 0 for rank, process in enumerate(self._processes, 1)}
        killed = [f"process {rank} was ended by signal {-code}" for rank, code in codes.items() if code < 0]
        return f"{killed[0]} (9 is what a machine without memory left sends)." if killed else ""

    def end(self) -> None:
        """End them, whatever they do."""
        for process in self._processes:
            process.kill()
            process.communicate()
        for file in self._errors:
            file.close()
        shutil.rmtree(self._folder, ignore_errors=True)


def _main(folder: Path, rank: int, number: int) -> None:
    """A helper's life: say that it is there, help, and end with rank 0."""
    threading.Thread(target=_end_with_rank_0, daemon=True).start()
    import torch  # noqa: F401  # what takes long, before it says that it is ready

    (folder / f"ready-{rank}").touch()
    with joined(sync_file=folder / "meeting", rank=rank, number=number) as ranks:
        serve(ranks)


def _end_with_rank_0() -> None:
    """Rank 0 holds the other end of stdin: it closes when rank 0 is gone, whatever ended it."""
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
