"""One fit of one candidate on given rows through the one loop, with its best state restored."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from danlu.bundle.predictor import answer
from danlu.core.checkpoint import Checkpoints
from danlu.core.device import choose_device
from danlu.core.duration import Deadline, Duration, parse_duration
from danlu.core.errors import RecipeError
from danlu.core.findings import Finding
from danlu.core.ideas import Batch, Context, Data, Objective, Update, Watcher
from danlu.core.tasks import Task
from danlu.data.batches import ShuffledRows, WholeTable, take
from danlu.evaluate.metrics import Metric, score
from danlu.recipe.build import DEFAULT_OBJECTIVE, build_model, build_objective, objective_for
from danlu.recipe.catalogue import lookup
from danlu.recipe.planning import ASKED, Candidate
from danlu.recipe.recipe import Recipe
from danlu.run.descent import Decisions, check_settings, name_of, parallel_of, wants_all_rows, with_descent
from danlu.run.job import Fitted, Job, run_job
from danlu.updates.settings import EngineSettings, TrainingSettings

if TYPE_CHECKING:
    from danlu.updates.parallel import Parallel

FOREVER = Duration(1e9, "epochs")
SEEN_ROWS = 1000  # training rows that are scored beside the validation rows, for the learning curve
GRADIENT_PATIENCE = 15  # validations, one an epoch
FOR_ALL = ("duration", "patience")  # training settings that estimators obey as well


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


def check_recipe(
    recipe: Recipe, task: Task, candidates: Sequence[Candidate], *, num_rows: int, num_processes: int
) -> None:
    """Refuse, before anything is fitted, settings that no candidate would obey or that contradict each other.

    `num_rows` is the number of rows that a fit is trained on.
    """
    models = [candidate for candidate in candidates if candidate.model != "baseline"]
    check_training(recipe.training, models)
    check_objective(recipe.objective, recipe.training, task, models)
    if not any(is_by_gradient(candidate, recipe.training) for candidate in models):
        for name in OF_STEPS:
            if getattr(recipe.engine, name) != getattr(EngineSettings(), name):
                raise RecipeError(
                    f"engine.{name} is for models that gradient steps train, and none of this run's is "
                    f"({_names(models)}). Use --model mlp, or leave it out."
                )
    else:
        check_watched_schedule(recipe)
        check_settings(recipe.training, recipe.engine, num_rows=num_rows, num_ranks=num_processes)


OF_STEPS = ("execution", "steps_per_call", "layout", "micro_batch")  # settings that only gradient steps obey


def check_watched_schedule(recipe: Recipe) -> None:
    """Refuse a schedule that follows validation scores where a fit has none to follow."""
    name = name_of(recipe.training.schedule)
    if not lookup("schedule", name).traits.get("watches_scores"):
        return
    if recipe.training.patience == "off" or recipe.refit:
        why = (
            "training.patience is 'off'"
            if recipe.training.patience == "off"
            else "the last fit is on all rows"
        )
        raise RecipeError(
            f"training.schedule {name!r} follows the validation score, and there is none where {why}. Use --set "
            "refit=false without training.patience=off, or another schedule, such as cosine."
        )


def check_training(training: TrainingSettings, models: Sequence[Candidate]) -> None:
    """Refuse a setting that no candidate would obey."""
    names = _names(models)
    usual = TrainingSettings()
    names_of = [field.name for field in dataclasses.fields(training) if field.name not in FOR_ALL]
    given = [name for name in names_of if getattr(training, name) != getattr(usual, name)]
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


def check_objective(
    objective: str | Mapping[str, Any], training: TrainingSettings, task: Task, models: Sequence[Candidate]
) -> None:
    """Refuse an objective that no candidate would obey, or that is not for this target."""
    name = name_of(objective)
    if name == "auto":
        return
    objective_for(task, name)
    if lookup("objective", name).traits.get("needs") == "query":
        raise RecipeError(
            f"The objective {name!r} orders rows within their queries, and a table's rows are judged one by one. "
            "Train a torch module with it, on data that name the query of each row: danlu.train(model=net, "
            f"objective={name!r}, data={{'x': ..., 'y': ..., 'query': ...}})."
        )
    is_usual = objective in DEFAULT_OBJECTIVE.values()  # what every model learns by itself
    if not is_usual and not any(is_by_gradient(candidate, training) for candidate in models):
        raise RecipeError(
            f"The objective {name!r} is for models that gradient steps train, and none of this run's is "
            f"({_names(models)}). Use --model mlp, or --model linear or logistic with --set training.optimizer=sgd; "
            "the losses of other models are settings of theirs: danlu models NAME."
        )


def _names(models: Sequence[Candidate]) -> str:
    return ", ".join(dict.fromkeys(candidate.model for candidate in models)) or "baseline"


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
    """Fit `candidate` on `train`, watching `validation` where its length is not yet known.

    The state with the best validation score is the one that is kept. `candidate.length` is the number of epochs
    where it is known, and needs no validation. `locked` is how many steps the same fit took in an earlier run: it
    then takes as many and never looks at the clock, so that it gives the same bits. A fit by gradient steps goes on
    from the newest of `checkpoints`.
    """
    training = recipe.training
    is_gradient = is_by_gradient(candidate, training)
    model = _model(candidate, training, task, train, is_gradient=is_gradient, seed=context.seed)
    findings = seen_at_start(model) if candidate.update == "gradient" else ()
    objective = build_objective(
        task,
        y=train["y"],
        weight=train.get("weight"),
        standardise=is_gradient,
        choice=recipe.objective if is_gradient else "auto",
    )
    if is_gradient:
        # A length was found on validation rows: the rate then falls along the same curve as it did there.
        validated = validation is not None or candidate.length is not None
        model.to(choose_device(recipe.engine.device, local_rank=context.ranks.rank).name)
        parallel = parallel_of(model, recipe.engine, context.ranks)
        data, loss, update, until = _descent(
            model,
            objective,
            recipe,
            train,
            judge,
            context,
            decisions or Decisions(ranks=context.ranks),
            validated=validated,
            parallel=parallel,
        )
        patience = GRADIENT_PATIENCE
    else:
        from danlu.updates.estimator import EstimatorUpdate

        data, loss, update, parallel = WholeTable(train), objective, EstimatorUpdate(), None
        traits = lookup("model", candidate.model).traits
        until = FOREVER if training.duration == "auto" else parse_duration(training.duration)
        patience = traits.get("patience")
        if patience is not None and validation is None and training.duration == "auto":
            until = Duration(traits["unwatched"], "epochs")
    if candidate.length is not None:
        until, validation = _until_length(candidate.length, until, training, train), None
    if locked is not None:
        until, context.deadline = Duration(locked, "steps"), Deadline()
    is_watched = validation is not None and patience is not None and training.patience != "off"
    rounds = training.patience if isinstance(training.patience, int) else patience
    validate = _validation(model, objective, train, validation, judge) if validation is not None else None
    if parallel is not None and checkpoints is not None:
        checkpoints = parallel.checkpoints(checkpoints)
    fitted = run_job(
        Job(
            model if parallel is None else parallel.trained,
            data,
            loss,
            update,
            context,
            until,
            metric=judge.metric.name,
            greater_is_better=judge.metric.greater_is_better,
            validate=validate if is_watched else None,
            patience=rounds if is_watched else None,
            watchers=watchers,
            checkpoints=checkpoints,
            save_every=_save_every(recipe.engine) if is_gradient else None,  # an estimator begins anew
            rows_per_epoch=len(train["y"]),
            plans_memory=is_gradient,
        )
    )
    if parallel is not None:
        fitted = dataclasses.replace(fitted, model=parallel.finish())
    if is_gradient and training.precision == "bf16" and validation is not None and context.ranks.rank == 0:
        from danlu.run.precision import precision_finding

        findings += (precision_finding(fitted.model, objective, validation, task, judge.metric),)
    if is_gradient:
        fitted.model.cpu()
    return dataclasses.replace(fitted, objective=objective, findings=findings)  # without what mixed its rows


def seen_at_start(model: Any) -> tuple[Finding, ...]:
    """What is wrong with a network before its first step."""
    from danlu.models.initialisation import symmetry_finding

    found = symmetry_finding(model)
    return () if found is None else (found,)


def _validation(
    model: Any, objective: Objective, train: Batch, validation: Batch, judge: Judge
) -> Callable[[], dict[str, float]]:
    """Scores the model on the validation rows and, for the learning curve, on some of the training rows."""
    some = np.linspace(0, len(train["y"]) - 1, min(len(train["y"]), SEEN_ROWS)).astype(np.int64)
    seen = take(train, some)

    def validate() -> dict[str, float]:
        scores = {
            name: judge.score(rows["y"], answer(objective, model, rows["x"]), rows.get("weight"))
            for name, rows in ((judge.metric.name, validation), (f"train_{judge.metric.name}", seen))
        }
        return {name: value for name, value in scores.items() if value is not None}

    return validate


def _save_every(engine: EngineSettings) -> Duration | None:
    return None if engine.checkpoint == "off" else parse_duration(engine.checkpoint)


def _until_length(length: int, until: Duration, training: TrainingSettings, train: Batch) -> Duration:
    """So many epochs, but never more steps than were asked for: an epoch of more rows has more of them."""
    if until.unit != "steps":
        return Duration(length, "epochs")
    from danlu.updates.gradient import rows_per_step

    num_rows = len(train["y"])
    return Duration(
        min(until.amount, length * math.ceil(num_rows / rows_per_step(training, num_rows))), "steps"
    )


def _descent(
    model: Any,
    objective: Objective,
    recipe: Recipe,
    train: Batch,
    judge: Judge,
    context: Context,
    decisions: Decisions,
    *,
    validated: bool,
    parallel: Parallel | None = None,
) -> tuple[Data, Objective, Update, Duration]:
    """Batches as tensors, the objective with what mixes its rows, the update, and the longest duration."""
    import torch

    from danlu.updates.gradient import how_long, rows_per_step

    training = recipe.training
    weight = next(model.parameters())
    num_rows = len(train["y"])
    batch_size = num_rows if wants_all_rows(training) else rows_per_step(training, num_rows)

    def tensor(value: Any) -> Any:
        if hasattr(value, "toarray"):
            return _SparseRows(value, weight)
        made = torch.as_tensor(value)
        return made.to(weight.dtype if made.is_floating_point() else made.dtype).to(weight.device)

    batch = {name: tensor(value) for name, value in train.items()}
    # The objective shifts and scales the target: in float32 a large mean would swallow what varies around it.
    batch["y"] = torch.as_tensor(train["y"]).to(weight.device)
    whole = batch_size >= num_rows and not isinstance(batch["x"], _SparseRows)
    data: Any = WholeTable(batch) if whole else ShuffledRows(batch, batch_size=batch_size, seed=context.seed)
    steps = math.ceil(num_rows / batch_size)
    return with_descent(
        model,
        data,
        objective,
        recipe.training,
        recipe.engine,
        until=how_long(training, steps, validated=validated),
        steps_per_epoch=steps,
        context=context,
        decisions=decisions,
        greater_is_better=judge.metric.greater_is_better,
        parallel=parallel,
    )


@dataclass(frozen=True)
class _SparseRows:
    """Rows of a CSR matrix, spread out into a tensor like `weight` batch by batch."""

    rows: Any
    weight: Any

    def __getitem__(self, index: np.ndarray) -> Any:
        import torch

        return torch.as_tensor(self.rows[index].toarray()).to(self.weight)


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
