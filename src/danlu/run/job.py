"""One fit, from its newest checkpoint on if there is one, to the best state that validation saw."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

from danlu.core.checkpoint import Checkpoints
from danlu.core.duration import Duration
from danlu.core.errors import DanluError, UserError
from danlu.core.files import plain
from danlu.core.findings import Finding
from danlu.core.ideas import Context, Data, Objective, Position, Ranks, State, Update, Watcher
from danlu.core.loop import Outcome, fit
from danlu.core.memory_plan import is_out_of_memory, out_of_memory_message, plan_memory
from danlu.core.runtime import memory_available
from danlu.data.batches import num_rows
from danlu.watch.history import EarlyStopping, History
from danlu.watch.pace import Pace

FINISHED_SECONDS = 2.0  # a fit of less is made again sooner than it is read


class OutOfMemory(UserError):
    """A step did not fit into memory; the message says which batch size would."""


class Diverged(DanluError):
    """A loss was no longer finite before there was any good state to go back to."""


@dataclass(frozen=True)
class Fitted:
    """A fitted model and how it came about."""

    model: Any
    objective: Objective
    outcome: Outcome
    history: History
    length: int
    """Epochs of the loop that gave the state that was kept."""
    update: Update
    """What moved it, with the moments and averages in which it ended."""
    pace: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Steps, epochs, learning rate, seconds an epoch and signals by layer (`watch.pace.Pace`)."""
    memory: Mapping[str, Any] | None = None
    """Bytes of weights, gradients, moments and activations that a step takes, per process."""
    findings: tuple[Finding, ...] = ()
    """What was seen of the model before the first step."""


@dataclass
class Job:
    """Everything that a fit needs."""

    model: Any
    data: Data
    objective: Objective
    update: Update
    context: Context
    until: Duration
    metric: str = "loss"
    greater_is_better: bool = False
    validate: Callable[[], Mapping[str, float]] | None = None
    """Scores on held-out rows; the one called `metric` chooses the state that is kept."""
    validate_every: Duration = Duration(1, "epochs")
    patience: int | None = None
    """Validations without a better score after which the fit ends; None for no early stopping."""
    keeps_best: bool = True
    """Whether the state with the best validation score is the one that is kept, and not the last."""
    watchers: Sequence[Watcher] = ()
    checkpoints: Checkpoints | None = None
    save_every: Duration | None = Duration(30, "seconds")
    """How often a checkpoint is made; None for never."""
    rows_per_epoch: int | None = None
    plans_memory: bool = False
    """Whether to measure what a step needs, for the record."""


def run_job(job: Job) -> Fitted:
    """Fit, going on from the newest whole checkpoint; the model ends in the state that is to be kept.

    After a step that is not finite the best validated state stands, or else the newest checkpoint, or else
    `Diverged` says which module broke at which step.
    """
    progress = _Progress(job)
    job.context.metric = job.metric
    saved = None if job.checkpoints is None else job.checkpoints.newest()
    if saved is not None and saved["finished"]:
        return progress.take_finished(saved)
    if saved is not None:
        progress.load(saved)
    if hasattr(job.model, "train") and not job.model.training:  # parts that their owner froze stay so
        job.model.train()
    with _random_streams(), _threads(job.model, job.context.num_threads), _explained(job):
        outcome = fit(
            job.model,
            job.data,
            job.objective,
            job.update,
            context=job.context,
            until=job.until,
            validate=None if job.validate is None else progress.validate,
            validate_every=job.validate_every,
            save=None if job.checkpoints is None or job.save_every is None else progress.save,
            save_every=job.save_every or Duration(1, "epochs"),
            watchers=progress.watchers,
        )
    if not outcome.fault and progress.best is None and hasattr(job.model, "parameters"):
        broken = "" if is_finite(job.model) else "the weights are no longer finite, since a gradient was not"
        if fault := job.context.ranks.agree(broken):
            outcome = replace(outcome, fault=fault, reason=fault)
    if outcome.fault and progress.best is None:
        progress.go_back(outcome.fault)
    if progress.best is not None:
        restore(job.model, progress.best)
    elif hasattr(job.model, "state_dict"):
        with job.update.evaluating(job.model):  # averaged weights, where there are any
            kept = snapshot(job.model)
        restore(job.model, kept)
    if hasattr(job.model, "eval"):
        job.model.eval()
    is_earlier = outcome.fault or progress.best is not None
    length = progress.best_epoch if is_earlier else max(job.context.position.epoch, 1)
    pace = progress.pace.as_dict()
    memory = memory_of(job) if job.plans_memory else None
    fitted = Fitted(job.model, job.objective, outcome, progress.history, length, job.update, pace, memory)
    if job.checkpoints is not None and job.context.ranks.agree(
        "keep" if outcome.seconds >= FINISHED_SECONDS else ""
    ):
        progress.save_finished(fitted)
    return fitted


def averages_of(job: Job) -> int:
    """Copies of the weights that are kept for their average."""
    parts = getattr(job.update, "parts", None)
    return int(parts is not None and parts.average is not None)


def memory_of(job: Job) -> dict[str, Any] | None:
    """The memory plan of a fit by gradient steps, of each rank, on rank 0; None for other updates."""
    optimizer, ranks = getattr(job.update, "optimizer", None), job.context.ranks
    if optimizer is None:
        return None
    batch = next(iter(job.data.items(Position(), rank=ranks.rank, ranks=ranks.number))).batch
    parallel = parallel_in(job)
    if parallel is None:
        plan = plan_memory(
            job.model, job.objective, batch, optimizer=optimizer, num_averages=averages_of(job)
        )
        return plan.as_dict(num_rows(batch))
    with parallel.whole():  # all ranks come here
        if ranks.rank:
            return None
        plan = plan_memory(
            parallel.model,
            job.objective,
            batch,
            num_averages=averages_of(job),
            optimizer=optimizer,
            num_ranks=ranks.number,
            is_sharded=parallel.is_sliced,
        )
    return plan.as_dict(num_rows(batch))


def parallel_in(job: Job) -> Any:
    """How the model of a job is spread over several ranks; None where there is one."""
    return getattr(getattr(job.update, "parts", None), "parallel", None)


class _Progress:
    """How far a job has come: what a checkpoint holds beside the parts' own states."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.history = History(job.metric)
        self.pace = Pace(rows_per_epoch=job.rows_per_epoch)
        self._stopping = (
            None if job.patience is None else EarlyStopping(job.metric, job.patience, job.greater_is_better)
        )
        self.best: Any = None
        self.best_epoch = 1
        self._best_score: float | None = None

    @property
    def watchers(self) -> list[Watcher]:
        stopping = [] if self._stopping is None else [self._stopping]
        return [self.history, self.pace, *self._job.watchers, *stopping]

    def validate(self) -> dict[str, float]:
        """Score the model, and keep its state if it is the best so far."""
        job = self._job
        assert job.validate is not None
        scores = shared_scores(job.validate, job.context.ranks)
        found = scores.get(job.metric)
        if job.keeps_best and found is not None and found == found and self._is_better(found):
            self._best_score, self.best = found, snapshot(job.model)
            self.best_epoch = max(job.context.position.epoch, 1)
        return scores

    def _is_better(self, found: float) -> bool:
        if self._best_score is None:
            return True
        return found > self._best_score if self._job.greater_is_better else found < self._best_score

    def save(self) -> None:
        """Commit a checkpoint, unless a weight is no longer finite: then the one before it stands."""
        job = self._job
        assert job.checkpoints is not None
        if not job.context.ranks.agree("" if is_finite(job.model) else "broken"):
            job.checkpoints.save(self.state(), step=job.context.position.step)

    def state(self) -> State:
        """All that a later process needs to go on from here to the same bits."""
        job = self._job
        return {
            "finished": False,
            "position": list(job.context.position),
            "seconds": job.context.seconds,
            "metrics": dict(job.context.metrics),
            "scored_at": job.context.scored_at,
            "model": dict(job.model.state_dict()),
            "update": job.update.state(),
            "data": job.data.state(),
            "history": vars(self.history),
            "stopping": {} if self._stopping is None else vars(self._stopping),
            "best": self.best,
            "best_epoch": self.best_epoch,
            "best_score": self._best_score,
        }

    def load(self, state: State) -> None:
        """Take over what `state` gave."""
        job = self._job
        check_same(job.model, state["model"])
        job.context.position = Position(*state["position"])
        job.context.seconds = state["seconds"]
        job.context.metrics, job.context.scored_at = state["metrics"], state["scored_at"]
        job.model.load_state_dict(state["model"])
        job.update.load(state["update"])
        job.data.load(state["data"])
        vars(self.history).update(state["history"])
        if self._stopping is not None:
            vars(self._stopping).update(state["stopping"])
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        self._best_score = state["best_score"]

    def save_finished(self, fitted: Fitted) -> None:
        """Keep the result of a fit, for a run that is killed in a later one."""
        job, outcome = self._job, fitted.outcome
        assert job.checkpoints is not None
        model = job.model.state_dict() if hasattr(job.model, "state_dict") else job.model.state()
        state = {
            "finished": True,
            "model": dict(model),
            "history": vars(fitted.history),
            "length": fitted.length,
            "pace": plain(fitted.pace),
            "memory": plain(fitted.memory),
            "outcome": vars(outcome) | {"position": list(outcome.position)},
        }
        job.checkpoints.save(state, step=outcome.position.step)

    def take_finished(self, saved: State) -> Fitted:
        """The result that `save_finished` kept."""
        job = self._job
        if hasattr(job.model, "load_state_dict"):
            job.model.load_state_dict(saved["model"])
            job.model.eval()
        else:
            job.model.load(saved["model"])
        vars(self.history).update(saved["history"])
        outcome = Outcome(**saved["outcome"] | {"position": Position(*saved["outcome"]["position"])})
        return Fitted(
            job.model,
            job.objective,
            outcome,
            self.history,
            saved["length"],
            job.update,
            saved["pace"],
            saved["memory"],
        )

    def go_back(self, fault: str) -> None:
        """Bring the model back to the newest checkpoint after a fault."""
        checkpoints = self._job.checkpoints
        saved = None if checkpoints is None else checkpoints.newest()
        if saved is None:
            advice = "Use a smaller training.learning_rate, or clip the gradients: training.clip_norm=1."
            in_data = fault.startswith("the batch") or not hasattr(self._job.update, "parts")
            raise Diverged(f"Training broke down: {fault}. {'Clean the data.' if in_data else advice}")
        self._job.model.load_state_dict(saved["model"])
        self._job.update.load(saved["update"])  # with its averages, which are what is kept
        self.best_epoch = max(saved["position"][0], 1)


def snapshot(model: Any) -> Any:
    """What `restore` needs to bring the model back to its present state; cheap for boosting, a copy for networks."""
    if hasattr(model, "snapshot"):
        return model.snapshot()
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def restore(model: Any, kept: Any) -> None:
    """Bring the model back to a state that `snapshot` took."""
    model.restore(kept) if hasattr(model, "restore") else model.load_state_dict(kept)


def check_same(model: Any, saved: Mapping[str, Any]) -> None:
    """`UserError` where a checkpoint holds the weights of another model."""
    own = {name: list(value.shape) for name, value in model.state_dict().items()}
    kept = {name: list(value.shape) for name, value in saved.items()}
    differs = next((name for name in own | kept if own.get(name) != kept.get(name)), None)
    if differs is not None:
        shapes = [str(found.get(differs, "absent")) for found in (own, kept)]
        raise UserError(
            f"This {type(model).__name__} is not the model whose checkpoint is to be gone on with: {differs} is "
            f"{shapes[0]} here and {shapes[1]} there. Give the same model, or begin a new run."
        )


def is_finite(model: Any) -> bool:
    """Whether every weight of a module, or this rank's slice of it, is a finite number."""
    weights = (weight.detach() for weight in model.parameters())
    own = (weight.to_local() if hasattr(weight, "to_local") else weight for weight in weights)
    return all(bool(weight.isfinite().all()) for weight in own)


def shared_scores(validate: Callable[[], Mapping[str, float]], ranks: Ranks) -> dict[str, float]:
    """The scores that rank 0 finds, on every rank, so that all of them decide alike."""
    if ranks.number == 1:
        return dict(validate())
    if ranks.rank == 0:
        scores = {name: float(value) for name, value in validate().items()}
        return json.loads(ranks.agree(json.dumps(scores)))
    return json.loads(ranks.agree(""))


@contextmanager
def _explained(job: Job) -> Iterator[None]:
    """Where memory runs out, say which batch size would fit."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        optimizer = getattr(job.update, "optimizer", None)
        parallel = parallel_in(job)
        if optimizer is None or not is_out_of_memory(error) or (parallel and parallel.is_sliced):
            raise  # slices cannot be measured while the other ranks wait
        batch = next(iter(job.data.items(Position()))).batch
        ranks = job.context.ranks.number
        averages = averages_of(job)
        plan = plan_memory(
            job.model, job.objective, batch, optimizer=optimizer, num_averages=averages, num_ranks=ranks
        )
        raise OutOfMemory(out_of_memory_message(error, plan, num_rows(batch), memory_available())) from error


def _threads(model: Any, number: int) -> AbstractContextManager[None]:
    """torch computes a module's steps with so many threads."""
    if not hasattr(model, "state_dict"):
        return nullcontext()
    from danlu.run.execution import with_threads

    return with_threads(number)


@contextmanager
def _random_streams() -> Iterator[None]:
    """torch's random streams, which steps seed anew, are given back as they were; nothing where torch is not used."""
    if "torch" not in sys.modules:
        yield
        return
    import torch

    with torch.random.fork_rng():
        yield
