"""From the training and engine settings of a recipe to the gradient update that obeys them."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, cast

from danlu.core.duration import Duration
from danlu.core.errors import RecipeError
from danlu.core.ideas import Batch, Context, Data, Objective, Position, Ranks, Update
from danlu.recipe.build import build_part
from danlu.recipe.catalogue import has, lookup
from danlu.updates.settings import EngineSettings, TrainingSettings

if TYPE_CHECKING:
    from danlu.updates.compiled import CompiledSteps
    from danlu.updates.gradient import StepParts
    from danlu.updates.parallel import Parallel

RANGE_STEPS = 100
ONE_SLICE = (
    "engine.sharding 'fsdp' slices a model over processes, and there is one: add --processes 2 or more, or "
    "start it with torchrun."
)


@dataclass
class Decisions:
    """What the clock or a probe decided about one fit, so that a resumed or repeated run decides nothing anew."""

    taken: dict[str, Any] = field(default_factory=dict[str, Any])
    changed: Callable[[], None] = lambda: None
    """Called after each new decision, to write it down before it is acted upon."""
    ranks: Ranks = field(default_factory=Ranks)
    """Rank 0 decides for all of them."""

    def decide(self, name: str, make: Callable[[], Any]) -> Any:
        """The decision called `name`, made now unless it was made before."""
        if self.ranks.rank == 0 and name not in self.taken:
            self.taken[name] = make()
            self.changed()
        if self.ranks.number == 1:
            return self.taken[name]
        return json.loads(self.ranks.agree(json.dumps(self.taken[name]) if self.ranks.rank == 0 else ""))


def name_of(choice: str | Mapping[str, Any]) -> str:
    """The name in a setting that names a part, with settings or without."""
    return choice if isinstance(choice, str) else choice["name"]


def with_descent(
    model: Any,
    data: Data,
    objective: Objective,
    training: TrainingSettings,
    engine: EngineSettings,
    *,
    until: Duration,
    steps_per_epoch: int,
    context: Context,
    decisions: Decisions,
    greater_is_better: bool = False,
    parallel: Parallel | None = None,
) -> tuple[Data, Objective, Update, Duration]:
    """The data and the objective with what mixes their rows, the update, and how long the fit lasts.

    `parallel` spreads the model over several ranks; what is trained afterwards is `parallel.trained`.
    """
    from danlu.data.mixing import Mixed, Noisy
    from danlu.objectives.mixup import Mixup

    if training.noise:
        data = Noisy(data, deviation=training.noise, seed=context.seed)
    if training.mixup:
        data, objective = (
            Mixed(data, alpha=training.mixup, seed=context.seed),
            Mixup(cast(Any, objective)),
        )  # refuses what it cannot mix
    update, until = build_descent(
        model,
        objective,
        training,
        engine,
        until=until,
        steps_per_epoch=steps_per_epoch,
        rows_per_epoch=getattr(data, "num_rows", None),
        examples=lambda number: [item.batch for item in islice(data.items(Position()), number)],
        context=context,
        decisions=decisions,
        greater_is_better=greater_is_better,
        parallel=parallel,
    )
    return data, objective, update, until


def parallel_of(model: Any, engine: EngineSettings, ranks: Ranks) -> Parallel | None:
    """How the model is spread over several ranks; None where there is one."""
    if ranks.number == 1:
        return None
    from danlu.core.process_ranks import ProcessRanks
    from danlu.updates.parallel import Parallel

    assert isinstance(ranks, ProcessRanks)
    return Parallel(model, sharding=engine.sharding, ranks=ranks)


def build_descent(
    model: Any,
    objective: Objective,
    training: TrainingSettings,
    engine: EngineSettings,
    *,
    until: Duration,
    steps_per_epoch: int,
    rows_per_epoch: int | None,
    examples: Callable[[int], list[Batch]],
    context: Context,
    decisions: Decisions,
    greater_is_better: bool = False,
    parallel: Parallel | None = None,
) -> tuple[Update, Duration]:
    """The update that `training` asks for, and how long the fit lasts: minutes become steps where a schedule counts.

    `examples(n)` gives n batches as they will come, for timing and probing.
    """
    from danlu.run.execution import (
        Execution,
        apply_layout,
        choose_execution,
        is_short,
        plain_execution,
        seconds_per_step,
    )
    from danlu.updates.gradient import GradientUpdate, steps_of
    from danlu.updates.rate_range import rate_range

    choice = "adamw" if training.optimizer == "auto" else training.optimizer
    check_parts(training, engine, model, objective, context.ranks.number)
    if has("update", name_of(choice)):
        if isinstance(engine.threads, int):
            context.num_threads = engine.threads
        return build_part("update", choice), until
    optimizer = optimizer_of(training, choice)

    def tested_rate() -> dict[str, Any]:
        found = rate_range(model, optimizer(model, 1.0), objective, examples(RANGE_STEPS), seed=context.seed)
        return dataclasses.asdict(found)

    rate: Any = training.learning_rate
    if rate == "auto":
        rate = lookup("optimizer", name_of(choice)).traits["default_rate"]
    elif rate == "range_test":
        rate = decisions.decide("range_test", tested_rate)["suggestion"]
    parts = parts_of(training, engine, steps_per_epoch, greater_is_better=greater_is_better)

    def at_rate(of: Any) -> Any:
        return optimizer(of, rate)

    plain = plain_execution(model, parts, engine, examples, context)
    if until.unit == "seconds" and (parts.schedule is not None or parts.average is not None):

        def counted() -> int:
            took = seconds_per_step(model, objective, at_rate, parts, plain, examples(8), context)
            return max(int(until.amount / took), 1)

        until = Duration(decisions.decide("total_steps", counted), "steps")
    total = None if until.unit == "seconds" else steps_of(until, steps_per_epoch)
    parts.total_steps = total or 1
    if parts.schedule is not None:
        parts.schedule.check(parts.total_steps)
    way = plain
    if not is_short(model, total, examples):

        def chosen() -> dict[str, Any]:
            return dataclasses.asdict(
                choose_execution(
                    model,
                    objective,
                    at_rate,
                    parts,
                    engine,
                    plain,
                    examples=examples,
                    total_steps=total,
                    seconds_at_most=until.amount if until.unit == "seconds" else float("inf"),
                    context=context,
                )
            )

        way = Execution(**decisions.decide("execution", chosen))
    apply_layout(model, way)
    parts.channels_last = way.layout == "channels_last"
    context.num_threads = way.threads
    if parallel is not None:
        from danlu.updates.parallel import one_row

        parts.parallel = parallel
        parts.spare = one_row(checked_for_ranks(examples(1)[0], context.ranks.number))
        parts.probe = None if parallel.is_sliced else parts.probe  # it looks at whole layers
        model = parallel.start(objective, parts.spare)
    built = optimizer(model, rate)
    if parallel is not None:
        parallel.suit(built)
    if parts.average is not None:
        parts.average.start(model, num_epochs=None if total is None else total / steps_per_epoch)
    if way.execution == "compiled":
        layouts = epoch_layouts(examples, steps_per_epoch, rows_per_epoch)
        parts.compiled = compiled(model, objective, built, parts, layouts, context)
        parts.chunk = way.steps_per_call
    return GradientUpdate(built, parts), until


def optimizer_of(training: TrainingSettings, choice: str | Mapping[str, Any]) -> Callable[[Any, float], Any]:
    """(model, learning rate) -> the optimizer that was chosen, over that model's parameters."""
    from danlu.updates.parameter_groups import parameter_groups

    part, by_role = (
        build_part("optimizer", choice),
        lookup("optimizer", name_of(choice)).traits.get("by_role"),
    )

    def optimizer(of: Any, rate: float) -> Any:
        groups = parameter_groups(of, weight_decay=training.weight_decay)
        return part.build(groups if by_role else merged(groups), rate=rate)

    return optimizer


def parts_of(
    training: TrainingSettings, engine: EngineSettings, steps_per_epoch: int, *, greater_is_better: bool
) -> StepParts:
    """What a step is made of beside the optimizer, as the settings say; how it is run is decided later."""
    from danlu.updates.gradient import StepParts
    from danlu.updates.signals import Probe

    return StepParts(
        schedule=schedule_of(training, steps_per_epoch),
        greater_is_better=greater_is_better,
        clip_norm=training.clip_norm,
        clip_value=training.clip_value,
        l1=training.l1,
        l2=training.l2,
        max_norm=training.max_norm,
        average=None if training.average == "off" else build_part("average", training.average),
        micro_batch=engine.micro_batch,
        precision=training.precision,
        probe=Probe(share=engine.signals) if engine.signals else None,
    )


def compiled(
    model: Any, objective: Objective, optimizer: Any, parts: StepParts, layouts: list[Batch], context: Context
) -> CompiledSteps:
    """The compiled step for batches like `layouts`; `RecipeError` where it cannot be had."""
    from danlu.run.execution import compiled_steps, why_not_compiled, with_threads
    from danlu.updates.step_graph import CannotCompile

    if blocked := why_not_compiled(model, parts, context):
        raise RecipeError(f"plan.lock says that the steps are compiled, which does not go with {blocked}.")
    if not model.training:
        model.train()
    try:
        with with_threads(context.num_threads):
            return compiled_steps(model, objective, optimizer, parts, layouts)
    except CannotCompile as error:
        raise RecipeError(f"engine.execution 'compiled' cannot be had: {error}. Use 'eager'.") from error


def merged(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Groups of equal weight decay as one: an optimizer takes one pass over each group."""
    found: dict[float, dict[str, Any]] = {}
    for group in groups:
        own = found.setdefault(group["weight_decay"], {"params": [], "weight_decay": group["weight_decay"]})
        own["params"] = [*own["params"], *group["params"]]
        own["name"] = f"{own['name']}, {group['name']}" if "name" in own else group["name"]
    return list(found.values())


def checked_for_ranks(batch: Batch, number: int) -> Batch:
    """A batch of all ranks together; `RecipeError` where it has fewer rows than there are ranks."""
    from danlu.updates.parallel import num_rows

    if num_rows(batch) < number:
        raise RecipeError(
            f"engine.processes is {number}, but a batch has {num_rows(batch)} rows, and each process needs one at "
            "least. Use fewer processes, or a larger training.batch_size."
        )
    return batch


def epoch_layouts(
    examples: Callable[[int], list[Batch]], steps_per_epoch: int, rows_per_epoch: int | None
) -> list[Batch]:
    """A full batch, and one like the last of an epoch, which may have fewer rows."""
    from danlu.updates.gradient import first_rows
    from danlu.updates.parallel import num_rows

    if rows_per_epoch is None:
        batches = examples(steps_per_epoch)
        return [batches[0], batches[-1]]
    first = examples(1)[0]
    rest = rows_per_epoch % num_rows(first)
    return [first, first_rows(first, rest)] if rest else [first]


def wants_all_rows(training: TrainingSettings) -> bool:
    """Whether the update looks at every row in each step; `RecipeError` where a batch size says otherwise."""
    if not has("update", name_of(training.optimizer)):
        return False
    if training.batch_size not in ("auto", "all"):
        raise RecipeError(
            f"training.optimizer {name_of(training.optimizer)!r} looks at all rows in each step; "
            f"leave out training.batch_size, got {training.batch_size}."
        )
    return True


def schedule_of(training: TrainingSettings, steps_per_epoch: int) -> Any:
    """The schedule with its warm-up, or None where the learning rate stays as it is."""
    from danlu.updates.gradient import steps_of
    from danlu.updates.schedules import Warmup

    warmup = 0 if training.warmup == "off" else steps_of(training.warmup, steps_per_epoch)
    if training.schedule == "constant" and not warmup:
        return None
    schedule = build_part("schedule", training.schedule)
    return Warmup(schedule, warmup) if warmup else schedule


def check_parts(
    training: TrainingSettings, engine: EngineSettings, model: Any, objective: Objective, num_ranks: int
) -> None:
    """Refuse settings that contradict each other, or that this model or objective cannot obey."""
    from danlu.models.normalisation import unsplittable_layers

    check_combination(training, engine, num_ranks)
    if engine.micro_batch is None and num_ranks == 1:
        return
    why = "engine.micro_batch" if engine.micro_batch is not None else "engine.processes"
    if not objective.splittable:
        raise RecipeError(
            f"{why} splits a batch, and the loss of {type(objective).__name__} is no sum over its rows. "
            "Use a smaller training.batch_size instead."
        )
    if layers := unsplittable_layers(model):
        raise RecipeError(
            f"{why} splits a batch, and the normalisation {layers[0]} of this {type(model).__name__} depends on the "
            "whole of it. Use layer or group normalisation, or leave it out."
        )


def check_settings(
    training: TrainingSettings, engine: EngineSettings, *, num_rows: int, num_ranks: int
) -> None:
    """Refuse, before anything is fitted, what contradicts itself or the number of training rows."""
    from danlu.updates.gradient import how_long, rows_per_step, steps_of

    check_combination(training, engine, num_ranks)
    steps = 1 if wants_all_rows(training) else math.ceil(num_rows / rows_per_step(training, num_rows))
    until = how_long(training, steps, validated=True)
    schedule = schedule_of(training, steps)
    if schedule is not None and until.unit != "seconds":
        schedule.check(steps_of(until, steps))


def check_combination(training: TrainingSettings, engine: EngineSettings, num_ranks: int) -> None:
    """Refuse settings of which one rules the other out."""
    whole = has("update", name_of(training.optimizer))
    if whole:
        obeyed = ("duration", "batch_size", "optimizer", "patience")
        others = [field.name for field in dataclasses.fields(training) if field.name not in obeyed]
        for name in others:
            if getattr(training, name) != getattr(TrainingSettings(), name):
                raise RecipeError(
                    f"training.{name} is for gradient steps on mini-batches, and training.optimizer is "
                    f"{name_of(training.optimizer)!r}. Leave one of the two out; what that update can be told "
                    f"stands beside its name: danlu models {name_of(training.optimizer)}."
                )
        if engine.micro_batch is not None or engine.execution == "compiled":
            raise RecipeError(
                f"training.optimizer {name_of(training.optimizer)!r} computes all rows at once, eagerly; leave out "
                "engine.micro_batch and engine.execution."
            )
    if engine.sharding == "fsdp" and num_ranks == 1:
        raise RecipeError(ONE_SLICE)
    if engine.sharding == "fsdp" and name_of(training.optimizer) == "muon":
        raise RecipeError(
            "training.optimizer 'muon' looks at whole matrices, and engine.sharding 'fsdp' slices them. "
            "Use engine.sharding=ddp, or training.optimizer=adamw."
        )
    if engine.sharding == "fsdp" and engine.signals not in (0, EngineSettings().signals):
        raise RecipeError(
            f"engine.signals looks at whole layers in one process, got {engine.signals}, and engine.sharding 'fsdp' "
            "slices them. Use engine.signals=0, or engine.sharding=ddp."
        )
    if num_ranks > 1 and whole:
        raise RecipeError(f"training.optimizer {name_of(training.optimizer)!r} runs in one process only.")
