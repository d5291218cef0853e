"""From what a torch user has (a dataset, a loss, held-out rows) to the parts of a fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from danlu.core.duration import parse_duration
from danlu.core.errors import DataError, RecipeError
from danlu.core.findings import Finding
from danlu.core.ideas import Batch, Context, Data, Objective, Position
from danlu.core.memory_plan import is_out_of_memory
from danlu.core.tasks import Task
from danlu.data.torch_data import as_data
from danlu.objectives.criterion import Criterion, LossFunction
from danlu.objectives.links import double_softmax
from danlu.recipe.build import build_objective
from danlu.recipe.catalogue import lookup
from danlu.run.descent import wants_all_rows
from danlu.run.fitting import seen_at_start
from danlu.updates.gradient import first_rows, rows_per_step
from danlu.updates.settings import TrainingSettings

TAKE_LOGITS = (
    "CrossEntropy",
    "BinaryCrossEntropy",
    "Focal",
    "Hinge",
    "CrossEntropyLoss",
    "BCEWithLogitsLoss",
)


def steps_an_epoch(data: Data, training: TrainingSettings) -> int:
    """Batches of one epoch; 1 where that is not known, and nothing depends on it."""
    known = getattr(data, "num_batches", None)
    if known is not None:
        return known
    in_epochs = training.duration == "auto" or parse_duration(training.duration).unit == "epochs"
    measured = training.schedule != "constant" or training.warmup != "off" or training.average != "off"
    if training.duration == "auto" or (in_epochs and measured):
        raise RecipeError(
            "How many batches an epoch of this data has is not known. Give training.duration in steps, such as "
            "'2000 steps', or let the dataset have a length."
        )
    return 1


@contextmanager
def explained(model: nn.Module, example: Batch, context: Context) -> Iterator[None]:
    """Within it an error of torch or Python before the first step is done becomes a `DataError` with the shapes."""
    try:
        yield
    except (RuntimeError, IndexError, KeyError, TypeError, AttributeError) as error:
        if context.position.step or is_out_of_memory(error):
            raise
        words = (str(error).splitlines() or [""])[0]
        raise DataError(
            f"The model and its loss cannot take this data: {type(error).__name__}: {words}. {_facts(model, example)}"
        ) from error


def _facts(model: nn.Module, example: Batch) -> str:
    weights = {str(p.dtype).removeprefix("torch.") for p in model.parameters()}
    given = ", ".join(f"{name} is {_described(value)}" for name, value in example.items())
    return f"Of the first batch {given}; the weights of {type(model).__name__} are {' and '.join(sorted(weights))}."


def _described(value: Any) -> str:
    if not isinstance(value, torch.Tensor):
        return f"a {type(value).__name__}"
    return f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"


def as_objective(objective: Any, model: nn.Module, example: Batch, data: Data) -> Objective:
    """The objective that was named or given; a name takes the number of classes from the model's output."""
    if isinstance(objective, nn.Module):
        return Criterion(objective)
    if hasattr(objective, "sums") and hasattr(objective, "counts"):
        return objective
    if callable(objective):
        return LossFunction(objective)
    if not isinstance(objective, (str, Mapping)):
        raise RecipeError(
            "objective must be a name such as 'cross_entropy', a torch criterion, a function loss(model, batch) or an "
            f"Objective, got {type(objective).__name__}."
        )
    name = objective if isinstance(objective, str) else objective.get("name", "")
    kinds = lookup("objective", name).tasks
    task = Task("regression") if "regression" in kinds else _classes(model, example)
    balanced = isinstance(objective, Mapping) and objective.get("class_weights") == "balanced"
    y = _targets(data) if balanced else example["y"]
    return build_objective(task, y=y.detach().cpu().numpy(), weight=None, standardise=False, choice=objective)


def findings_of(model: nn.Module, objective: Objective) -> tuple[Finding, ...]:
    """What is wrong with a module before its first step."""
    loss = objective.criterion if isinstance(objective, Criterion) else objective
    found = list(seen_at_start(model))
    if type(loss).__name__ in TAKE_LOGITS and (why := double_softmax(model)):
        found.append(Finding("double_softmax", "warning", why))
    return tuple(found)


def _classes(model: nn.Module, example: Batch) -> Task:
    """Two classes for one score a row, k for k scores."""
    was_training = model.training
    model.eval()
    with torch.no_grad():
        scores = model(first_rows(example, 1)["x"])
    model.train(was_training)
    if scores.ndim == 1:
        return Task("binary", (0, 1))
    return Task("multiclass", tuple(range(scores.shape[-1])))


def _targets(data: Data) -> torch.Tensor:
    """The targets of one epoch."""
    found: list[torch.Tensor] = []
    for item in data.items(Position()):
        found.append(item.batch["y"])
        if item.after.epoch:
            return torch.cat(found)
    raise DataError("The data ended before an epoch was over.")


def validation_of(
    given: Any, model: nn.Module, objective: Objective, seed: int, device: str
) -> Callable[[], Mapping[str, float]]:
    """The user's own scores, or the mean loss over held-out rows."""
    if callable(given) and not hasattr(given, "__iter__") and not hasattr(given, "__getitem__"):
        return given  # type: ignore[return-value]
    makes_batches = isinstance(given, DataLoader) or (hasattr(given, "items") and hasattr(given, "load"))
    how: dict[str, Any] = {} if makes_batches else {"batch_size": VALIDATED_AT_ONCE, "shuffle": False}
    data = as_data(given, seed=seed, **how)
    held = data if device == "cpu" else OnDevice(data, device)

    def validate() -> dict[str, float]:
        totals: dict[str, Any] = {}
        counts: dict[str, float] = {}
        with torch.no_grad():
            for item in held.items(Position()):
                for term, count in objective.counts(item.batch).items():
                    counts[term] = counts.get(term, 0.0) + count
                for term, total in objective.sums(model, item.batch).items():
                    totals[term] = totals.get(term, 0.0) + total
                if item.after.epoch:
                    break
        return {"loss": sum(float(totals[term]) / (counts[term] or 1.0) for term in totals)}

    return validate


def naming(metric: str, validate: Callable[[], Mapping[str, float]]) -> Callable[[], Mapping[str, float]]:
    """`validate`, whose scores must hold the one that chooses."""

    def checked() -> Mapping[str, float]:
        scores = validate()
        if metric not in scores:
            raise RecipeError(
                f"The validation gives {', '.join(scores) or 'nothing'}, and metric is {metric!r}. Name one of these "
                "as metric, or let the validation give it."
            )
        return scores

    return checked


VALIDATED_AT_ONCE = 1024  # rows


class OnDevice:
    """Batches moved to a device."""

    def __init__(self, data: Data, device: str) -> None:
        self._data, self._device = data, device
        for name in ("num_rows", "num_batches", "deal"):  # what the data says of itself, where it does
            if hasattr(data, name):
                setattr(self, name, getattr(data, name))

    def items(self, start: Position, *, rank: int = 0, ranks: int = 1) -> Any:
        """The same batches, on the device."""
        for item in self._data.items(start, rank=rank, ranks=ranks):
            yield item._replace(batch=_moved(item.batch, self._device))

    def state(self) -> dict[str, Any]:
        """The data's own."""
        return self._data.state()

    def load(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        self._data.load(state)


def _moved(value: Any, device: str) -> Any:
    if isinstance(value, Mapping):
        return {name: _moved(item, device) for name, item in value.items()}
    return value.to(device, non_blocking=True) if hasattr(value, "to") else value


def batches_of(settings: TrainingSettings, data: Any, seed: int) -> Data:
    """The data with the batch size of the settings; an update that looks at all rows gets them in their order."""
    is_ready = all(hasattr(data, name) for name in ("items", "state", "load")) and not isinstance(
        data, Mapping
    )
    if is_ready or isinstance(data, DataLoader):
        if settings.batch_size != "auto":
            raise RecipeError(
                f"training.batch_size is {settings.batch_size}, but a {type(data).__name__} makes its own batches. "
                "Set the size there, or give the Dataset itself."
            )
        return as_data(data, seed=seed)
    first = data[0] if isinstance(data, tuple) else data
    while isinstance(first, Mapping):
        first = next(iter(first.values()))
    whole = wants_all_rows(settings)
    if not hasattr(first, "__len__"):  # a stream, or no data at all, which `as_data` refuses
        if isinstance(settings.batch_size, str) and isinstance(data, IterableDataset):
            raise RecipeError(
                f"How many rows a {type(data).__name__} has is not known. Give training.batch_size as a number."
            )
        return as_data(
            data, batch_size=1 if isinstance(settings.batch_size, str) else settings.batch_size, seed=seed
        )
    batch_size = len(first) if whole else rows_per_step(settings, len(first))
    return as_data(data, batch_size=batch_size, seed=seed, shuffle=not whole)
