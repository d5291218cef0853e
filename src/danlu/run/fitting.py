"""One fit of one candidate on given rows through the one loop, with its best state restored."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from danlu.bundle.predictor import answer
from danlu.core.duration import Deadline, Duration, parse_duration
from danlu.core.errors import RecipeError
from danlu.core.ideas import Batch, Context, Data, Model, Objective, Update, Watcher
from danlu.core.loop import Outcome, fit
from danlu.core.tasks import Task
from danlu.data.batches import ShuffledRows, WholeTable, take
from danlu.evaluate.metrics import Metric, score
from danlu.recipe.build import build_model, build_objective
from danlu.recipe.catalogue import lookup
from danlu.recipe.planning import ASKED, Candidate
from danlu.updates.settings import TrainingSettings
from danlu.watch.history import EarlyStopping, History

FOREVER = Duration(1e9, "epochs")
SEEN_ROWS = 1000  # training rows that are scored beside the validation rows, for the learning curve
GRADIENT_PATIENCE = 15  # validations, one an epoch
OF_GRADIENTS = (
    "optimizer",
    "learning_rate",
    "batch_size",
    "momentum",
    "weight_decay",
    "schedule",
    "clip_norm",
)
"""Training settings that only gradient steps obey."""


def load_libraries(candidate: Candidate, training: TrainingSettings) -> None:
    """Import what a candidate is fitted with, so that the seconds this takes are no part of its first fit."""
    library = lookup("model", candidate.model).traits.get("library")
    if library is not None:
        import_module(library)
    if _trains_linear_by_gradient(candidate, training):
        import_module("torch")


def is_watched(candidate: Candidate, training: TrainingSettings) -> bool:
    """Whether a fit of this candidate looks at validation rows to know when to stop."""
    has_rounds = "patience" in lookup("model", candidate.model).traits
    return candidate.length is None and (has_rounds or is_by_gradient(candidate, training))


def is_by_gradient(candidate: Candidate, training: TrainingSettings) -> bool:
    """Whether gradient steps train this candidate: a network, or a linear model by an optimizer that was named."""
    return candidate.update == "gradient" or _trains_linear_by_gradient(candidate, training)


def check_training(training: TrainingSettings, candidates: Sequence[Candidate]) -> None:
    """Refuse a setting that no candidate would obey."""
    models = [candidate for candidate in candidates if candidate.model != "baseline"]
    names = ", ".join(dict.fromkeys(candidate.model for candidate in models)) or "baseline"
    usual = TrainingSettings()
    given = [name for name in OF_GRADIENTS if getattr(training, name) != getattr(usual, name)]
    if training.optimizer == "exact":  # what linear models do by themselves
        given.remove("optimizer")
    if given and not any(is_by_gradient(candidate, training) for candidate in models):
        raise RecipeError(
            f"training.{given[0]} is for models that gradient steps train, and none of this run's is ({names}). "
            "Use --model mlp, or --model linear or logistic with --set training.optimizer=sgd; "
            "settings of one model stand beside its name: danlu models NAME."
        )
    if isinstance(training.patience, int) and not any(is_watched(c, training) for c in models):
        raise RecipeError(
            f"training.patience is for models that grow better round by round, and none of this run's does ({names})."
        )
    for candidate in models:
        if candidate.settings and candidate.why == ASKED and _trains_linear_by_gradient(candidate, training):
            raise RecipeError(
                f"{candidate.model}.{next(iter(candidate.settings))} is for its own solver, and training.optimizer is "
                f"{training.optimizer!r}. Use training.weight_decay, or leave training.optimizer out."
            )


@dataclass(frozen=True)
class Fitted:
    """A fitted model and how it came about."""

    model: Model
    objective: Objective
    outcome: Outcome
    history: History
    length: int
    """Epochs of the loop that gave the state that was kept."""


@dataclass(frozen=True)
class Judge:
    """How answers for held-out rows are scored: the metric of the run on its task."""

    task: Task
    metric: Metric

    def score(self, observed: np.ndarray, answers: np.ndarray, weight: np.ndarray | None) -> float | None:
        """The metric, or None where these rows leave it undefined."""
        return score(self.task, observed, answers, weight=weight, names=[self.metric.name])[self.metric.name]


def fit_candidate(
    candidate: Candidate,
    training: TrainingSettings,
    task: Task,
    train: Batch,
    *,
    validation: Batch | None,
    judge: Judge,
    seed: int,
    deadline: Deadline,
    num_threads: int,
    locked: int | None = None,
    watchers: Sequence[Watcher] = (),
) -> Fitted:
    """Fit `candidate` on `train`, watching `validation` where its length is not yet known.

    The state with the best validation score is the one that is kept. `candidate.length` is the number of epochs
    where it is known, and needs no validation. `locked` is how many steps the same fit took in an earlier run: it
    then takes as many and never looks at the clock, so that it gives the same bits.
    """
    is_gradient = is_by_gradient(candidate, training)
    model = _model(candidate, training, task, train, is_gradient=is_gradient, seed=seed)
    objective = build_objective(task, y=train["y"], weight=train.get("weight"), standardise=is_gradient)
    if is_gradient:
        # A length was found on validation rows: the rate then falls along the same curve as it did there.
        validated = validation is not None or candidate.length is not None
        data, update, until = _by_gradient(model, training, train, seed=seed, validated=validated)
        patience = GRADIENT_PATIENCE
    else:
        from danlu.updates.estimator import EstimatorUpdate

        data, update = WholeTable(train), EstimatorUpdate()
        traits = lookup("model", candidate.model).traits
        until = FOREVER if training.duration == "auto" else parse_duration(training.duration)
        patience = traits.get("patience")
        if patience is not None and validation is None and training.duration == "auto":
            until = Duration(traits["unwatched"], "epochs")
    if candidate.length is not None:
        until, validation = _until_length(candidate.length, until, training, train), None
    if locked is not None:
        until, deadline = Duration(locked, "steps"), Deadline()
    context = Context(seed=seed, deadline=deadline, num_threads=num_threads)
    history = History(judge.metric.name)
    looking: list[Watcher] = [history, *watchers]
    keeps_best = (
        validation is not None and (is_gradient or patience is not None) and training.patience != "off"
    )
    if keeps_best:
        rounds = training.patience if isinstance(training.patience, int) else patience
        looking.append(EarlyStopping(judge.metric.name, rounds or 10, judge.metric.greater_is_better))
    best = _Best(judge)
    some = np.linspace(0, len(train["y"]) - 1, min(len(train["y"]), SEEN_ROWS)).astype(np.int64)
    seen = take(train, some) if keeps_best else {}

    def validate() -> dict[str, float]:
        assert validation is not None
        found = judge.score(
            validation["y"], answer(objective, model, validation["x"]), validation.get("weight")
        )
        best.offer(found, context.position.epoch, model)
        on_seen = judge.score(seen["y"], answer(objective, model, seen["x"]), seen.get("weight"))
        scores = {judge.metric.name: found, f"train_{judge.metric.name}": on_seen}
        return {name: value for name, value in scores.items() if value is not None}

    outcome = fit(
        model,
        data,
        objective,
        update,
        context=context,
        until=until,
        validate=validate if keeps_best else None,
        watchers=looking,
    )
    if keeps_best and best.kept is not None:
        restore(model, best.kept)
        return Fitted(model, objective, outcome, history, best.epoch)
    return Fitted(model, objective, outcome, history, max(context.position.epoch, 1))


def _until_length(length: int, until: Duration, training: TrainingSettings, train: Batch) -> Duration:
    """So many epochs, but never more steps than were asked for: an epoch of more rows has more of them."""
    if until.unit != "steps":
        return Duration(length, "epochs")
    from danlu.updates.gradient import rows_per_step

    num_rows = len(train["y"])
    return Duration(
        min(until.amount, length * math.ceil(num_rows / rows_per_step(training, num_rows))), "steps"
    )


class _Best:
    """The best state so far."""

    def __init__(self, judge: Judge) -> None:
        self._metric = judge.metric
        self._score: float | None = None
        self.kept: Any = None
        self.epoch = 1

    def offer(self, found: float | None, epoch: int, model: Any) -> None:
        if self._metric.better(found, self._score):
            self._score, self.epoch, self.kept = found, max(epoch, 1), snapshot(model)


def snapshot(model: Any) -> Any:
    """What `restore` needs to bring the model back to its present state; cheap for boosting, a copy for networks."""
    if hasattr(model, "snapshot"):
        return model.snapshot()
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def restore(model: Any, kept: Any) -> None:
    """Bring the model back to a state that `snapshot` took."""
    model.restore(kept) if hasattr(model, "restore") else model.load_state_dict(kept)


def _by_gradient(
    model: Any, training: TrainingSettings, train: Batch, *, seed: int, validated: bool
) -> tuple[Data, Update, Duration]:
    """Batches as tensors, the update and the longest duration that the settings ask for on these rows."""
    import torch

    from danlu.updates.gradient import (
        GradientUpdate,
        build_optimizer,
        build_schedule,
        how_long,
        rows_per_step,
    )

    dtype = next(model.parameters()).dtype
    num_rows = len(train["y"])
    batch_size = rows_per_step(training, num_rows)

    def tensor(value: Any) -> Any:
        if hasattr(value, "toarray"):
            return _SparseRows(value, dtype)
        made = torch.as_tensor(value)
        return made.to(dtype) if made.is_floating_point() else made

    batch = {name: tensor(value) for name, value in train.items()}
    # The objective shifts and scales the target: in float32 a large mean would swallow what varies around it.
    batch["y"] = torch.as_tensor(train["y"])
    whole = batch_size >= num_rows and not isinstance(batch["x"], _SparseRows)
    data = WholeTable(batch) if whole else ShuffledRows(batch, batch_size=batch_size, seed=seed)
    steps = math.ceil(num_rows / batch_size)
    until = how_long(training, steps, validated=validated)
    optimizer = build_optimizer(model, training)
    schedule = build_schedule(training, optimizer, until, steps)
    return data, GradientUpdate(optimizer, schedule=schedule, clip_norm=training.clip_norm), until


@dataclass(frozen=True)
class _SparseRows:
    """Rows of a CSR matrix, spread out into a tensor batch by batch."""

    rows: Any
    dtype: Any

    def __getitem__(self, index: np.ndarray) -> Any:
        import torch

        return torch.as_tensor(self.rows[index].toarray()).to(self.dtype)


def _trains_linear_by_gradient(candidate: Candidate, training: TrainingSettings) -> bool:
    can = lookup("model", candidate.model).traits.get("gradient_form", False)
    return can and training.optimizer not in ("auto", "exact")


def _model(
    candidate: Candidate,
    training: TrainingSettings,
    task: Task,
    train: Batch,
    *,
    is_gradient: bool,
    seed: int,
) -> Any:
    num_features = train["x"].shape[1]
    if is_gradient and candidate.update != "gradient":
        from danlu.models.linear_module import LinearModule

        return LinearModule(task, num_features, seed=seed)
    return build_model(candidate.model, candidate.settings, task, num_features, seed=seed)
