"""Any `nn.Module` with any torch data on the one loop: `danlu.train(model=net, data=..., objective=...)`."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from danlu.core.checkpoint import Checkpoints
from danlu.core.device import choose_device
from danlu.core.duration import Deadline, parse_duration, parse_seconds
from danlu.core.errors import RecipeError, UserError
from danlu.core.files import dump_json, write_atomic, write_stream
from danlu.core.findings import Finding
from danlu.core.ideas import Context, Position, Watcher
from danlu.core.process_ranks import ProcessRanks
from danlu.core.runtime import environment, num_threads
from danlu.recipe.catalogue import lookup
from danlu.recipe.settings import from_plain, to_plain
from danlu.recipe.yaml_file import dump_yaml
from danlu.run.descent import Decisions, name_of, parallel_of, with_descent
from danlu.run.fitting import GRADIENT_PATIENCE
from danlu.run.folder import Lock, RunFolder, find_run, read_lock, sha256
from danlu.run.job import Fitted, Job, run_job
from danlu.run.processes import ranks_of
from danlu.run.torch_parts import (
    OnDevice,
    as_objective,
    batches_of,
    explained,
    findings_of,
    naming,
    steps_an_epoch,
    validation_of,
)
from danlu.updates.gradient import how_long
from danlu.updates.settings import EngineSettings, TrainingSettings
from danlu.watch.chosen import watchers_of
from danlu.watch.pace import cost
from danlu.watch.progress import Progress
from danlu.watch.store import RunStore

WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class ModuleRun:
    """What a run of a module left behind."""

    model: nn.Module
    """The module that was given, with the weights that were kept, in evaluation mode."""
    folder: Path
    record: dict[str, Any] = field(repr=False)
    fitted: Fitted = field(repr=False)

    @property
    def metrics(self) -> dict[str, list[float]]:
        """The validation scores in their order."""
        return {self.fitted.history.metric: self.fitted.history.validation}


def fit_module(
    model: nn.Module,
    data: Any,
    objective: Any,
    *,
    validation: Any = None,
    metric: str = "loss",
    greater_is_better: bool = False,
    training: Mapping[str, Any] | TrainingSettings | None = None,
    engine: Mapping[str, Any] | EngineSettings | None = None,
    seed: int = 0,
    deadline: Deadline | None = None,
    watchers: Sequence[Watcher] = (),
    checkpoints: Checkpoints | None = None,
    decisions: Decisions | None = None,
) -> Fitted:
    """Train `model` in this process and leave it with its best weights; nothing is written.

    `data` is a torch Dataset or DataLoader, (x, y), a dictionary of arrays or tensors, or a `Data`. `objective` is a
    name such as "cross_entropy", a torch criterion, a function loss(model, batch), or an `Objective`. `validation` is
    data, scored by the mean loss, or a function without arguments that gives {metric: score}; with it training stops
    early and keeps the best weights. `training` and `engine` are the groups of a recipe.
    """
    settings = _settings(TrainingSettings, training, "training")
    how = _settings(EngineSettings, engine, "engine")
    with ranks_of(how) as ranks:
        return _fit(
            model,
            data,
            objective=objective,
            validation=validation,
            metric=metric,
            greater_is_better=greater_is_better,
            settings=settings,
            how=how,
            context=Context(
                seed=seed, deadline=deadline or Deadline(), num_threads=num_threads(), ranks=ranks
            ),
            watchers=watchers,
            checkpoints=checkpoints,
            decisions=replace(decisions or Decisions(), ranks=ranks),
        )


def _fit(
    model: nn.Module,
    data: Any,
    *,
    objective: Any,
    validation: Any,
    metric: str,
    greater_is_better: bool,
    settings: TrainingSettings,
    how: EngineSettings,
    context: Context,
    watchers: Sequence[Watcher],
    checkpoints: Checkpoints | None,
    decisions: Decisions,
) -> Fitted:
    """`fit_module` with everything in its place."""
    ranks, seed = context.ranks, context.seed
    device = choose_device(how.device, local_rank=ranks.local_rank if isinstance(ranks, ProcessRanks) else 0)
    model.to(device.name)
    batches = batches_of(settings, data, seed)
    if device.name != "cpu":
        batches = OnDevice(batches, device.name)
    example = next(iter(batches.items(Position()))).batch
    with explained(model, example, context):
        loss = as_objective(objective, model, example, batches)
    findings = findings_of(model, loss)
    steps = steps_an_epoch(batches, settings)
    until = how_long(settings, steps, validated=validation is not None)
    validate = None
    if validation is not None:
        validate = naming(metric, validation_of(validation, model, loss, seed, device.name))
    elif lookup("schedule", name_of(settings.schedule)).traits.get("watches_scores"):
        raise RecipeError(
            f"training.schedule {name_of(settings.schedule)!r} follows the validation score. Give validation=..., or "
            "choose another schedule, such as cosine."
        )
    parallel = parallel_of(model, how, ranks)
    batches, mixed, update, until = with_descent(
        model,
        batches,
        loss,
        settings,
        how,
        until=until,
        steps_per_epoch=steps,
        context=context,
        decisions=decisions,
        greater_is_better=greater_is_better,
        parallel=parallel,
    )
    if parallel is not None and checkpoints is not None:
        checkpoints = parallel.checkpoints(checkpoints)
    stops = validate is not None and settings.patience != "off"
    with explained(model, example, context):
        fitted = run_job(
            Job(
                model if parallel is None else parallel.trained,
                batches,
                mixed,
                update,
                context,
                until,
                metric=metric,
                greater_is_better=greater_is_better,
                validate=validate,
                patience=(settings.patience if isinstance(settings.patience, int) else GRADIENT_PATIENCE)
                if stops
                else None,
                watchers=watchers,
                checkpoints=checkpoints,
                save_every=None if how.checkpoint == "off" else parse_duration(how.checkpoint),
                rows_per_epoch=getattr(batches, "num_rows", None),
                plans_memory=checkpoints is not None,
            )
        )
    model = model if parallel is None else parallel.finish()
    return replace(fitted, findings=findings, objective=loss, model=model)  # without what mixed its rows


def train_module(
    model: nn.Module,
    data: Any,
    objective: Any,
    *,
    validation: Any = None,
    metric: str = "loss",
    greater_is_better: bool = False,
    training: Mapping[str, Any] | None = None,
    engine: Mapping[str, Any] | None = None,
    budget: str | float | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    resume: str | Path | None = None,
    progress: bool = False,
) -> ModuleRun:
    """As `fit_module`, in a run's folder: settings, events, checkpoints, record and weights (safetensors).

    Under torchrun each process calls this with the same model and data; rank 0 writes, all have the result.
    """
    from safetensors.torch import save

    started = time.monotonic()
    settings = _settings(TrainingSettings, training, "training")
    how = _settings(EngineSettings, engine, "engine")
    what = {
        "model": type(model).__name__,
        "objective": objective if isinstance(objective, (str, dict)) else _name(objective),
        "training": to_plain(settings),
        # A run may go on with another number of processes.
        "engine": {name: value for name, value in to_plain(how).items() if name != "processes"},
        "budget": budget,
        "seed": seed,
        "metric": metric,
        "greater_is_better": greater_is_better,
        "is_validated": validation is not None,
    }
    fit = partial(
        fit_module,
        model,
        data,
        objective,
        validation=validation,
        metric=metric,
        greater_is_better=greater_is_better,
        training=settings,
        engine=how,
        seed=seed,
    )
    with ranks_of(how) as ranks:
        if ranks.rank:
            folder = RunFolder(Path(ranks.agree("")))
            fitted = fit(checkpoints=Checkpoints(folder.checkpoints / "model"))
            return ModuleRun(model, folder.path, json.loads(ranks.agree("")), fitted)
        folder, lock = _folder(what, out, resume)
        ranks.agree(str(folder.path.absolute()))
        started -= lock.seconds  # a resumed run has the rest of its budget
        seconds = None if budget is None else parse_seconds(budget)
        shown = Progress(enabled=progress)

        def write_lock() -> None:
            lock.seconds = time.monotonic() - started
            folder.write_lock(lock)

        passed_over: list[Finding] = []

        def pass_over(why: str) -> None:
            passed_over.append(Finding("damaged_checkpoint", "warning", why))

        taken = lock.decisions.setdefault("model", {})
        with RunStore(folder.events) as store:
            fitted = fit(
                deadline=Deadline.after(seconds, since=started),
                watchers=[
                    store.watcher("model"),
                    shown.watcher(
                        type(model).__name__, seconds_left=float("inf") if seconds is None else seconds
                    ),
                    *watchers_of(how.watch, folder.path),
                ],
                checkpoints=Checkpoints(folder.checkpoints / "model", warn=pass_over),
                decisions=Decisions(taken, write_lock),
            )
        fitted = replace(fitted, findings=(*passed_over, *fitted.findings))
        for finding in fitted.findings:
            shown.say(f"{finding.severity}: {finding.message}")
        weights = {
            name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()
        }
        write_stream(folder.path / WEIGHTS, lambda file: file.write(save(weights)))
        record = {
            "kind": "module",
            "model": {
                "class": type(model).__name__,
                "num_parameters": sum(p.numel() for p in model.parameters()),
            },
            "outcome": {
                "reason": fitted.outcome.reason,
                "fault": fitted.outcome.fault,
                "length": fitted.length,
            },
            "findings": [finding.as_dict() for finding in fitted.findings],
            "history": vars(fitted.history),
            "pace": fitted.pace,
            "decisions": taken,
            "memory": fitted.memory,
            "cost": cost(fitted.outcome.seconds, num_devices=ranks.number, price_per_hour=how.price_per_hour),
            "device": asdict(choose_device(how.device)),
            "processes": {"number": ranks.number, "sharding": how.sharding if ranks.number > 1 else None},
            "run": {
                "seconds": time.monotonic() - started,
                "created": datetime.now().astimezone().isoformat(),
            },
        }
        folder.write_record(record)
        lock.model_sha256 = sha256(folder.path / WEIGHTS)
        write_lock()
        ranks.agree(dump_json(record))
        return ModuleRun(model, folder.path, record, fitted)


def _settings(cls: Any, given: Any, where: str) -> Any:
    return given if isinstance(given, cls) else from_plain(cls, given, where=where)


def _name(objective: Any) -> str:
    return getattr(objective, "__name__", type(objective).__name__)


def _folder(
    what: dict[str, Any], out: str | Path | None, resume: str | Path | None
) -> tuple[RunFolder, Lock]:
    """A new folder for these settings, or that of the run that goes on with the same ones."""
    digest = hashlib.sha256(dump_json(what).encode()).hexdigest()
    if resume is None:
        folder = RunFolder.create(out, data=what["model"], target=str(_plain_name(what["objective"])))
        lock = Lock(environment=environment(), recipe_sha256=digest)
        note = "# Made by danlu.train(model=...): the model and the data are objects of a Python program.\n"
        write_atomic(folder.path / "recipe.yaml", note + dump_yaml(what))
        folder.write_lock(lock)
        return folder, lock
    if out is not None:
        raise RecipeError("A run that is resumed has its folder already; leave out `out`.")
    folder = find_run(resume)
    lock = read_lock(folder.path / "recipe.yaml")
    if lock is None or lock.recipe_sha256 != digest:
        raise UserError(
            f"The run in {folder.path} was made with other settings; see its recipe.yaml. "
            "Give the same model, objective, training, engine, budget and seed, or leave out `resume`."
        )
    if lock.model_sha256:
        raise UserError(f"The run in {folder.path} is finished; its weights are in {folder.path / WEIGHTS}.")
    return folder, lock


def _plain_name(objective: str | Mapping[str, Any]) -> str:
    return objective if isinstance(objective, str) else str(objective.get("name"))
