"""The ways to begin: a run of a recipe, one made again, one that was killed, and any torch module."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.core.errors import RecipeError, UserError
from danlu.core.process_ranks import is_under_torchrun, launched_rank
from danlu.core.runtime import calm_threads
from danlu.recipe.recipe import IN_MEMORY, Recipe, resolve
from danlu.run.folder import RunFolder, find_run, holds_module, read_lock, recipe_sha256
from danlu.run.result import Run
from danlu.run.run import make_run

if TYPE_CHECKING:
    from danlu.watch.progress import Progress


def train(
    data: Any = None,
    target: str | None = None,
    *,
    test: Any = None,
    model: Any = None,
    recipe: str | Path | None = None,
    resume: str | Path | None = None,
    budget: str | float | None = None,
    seed: int | None = None,
    out: str | Path | None = None,
    progress: bool = False,
    **settings: Any,
) -> Any:
    """Train, choose, evaluate and explain a model for `target`, and write what a run leaves behind.

    `data` and `test` are files, `sklearn/NAME`, or frames (Polars, pandas, Arrow, a dictionary of columns). Further
    `settings` are the groups of a recipe: `split={...}`, `training={...}`, `evaluation={...}`, `columns={...}`.
    `recipe` is a YAML file whose settings hold where nothing else is said; alone, with the plan.lock of its run beside
    it, it makes that run again to the same bits. `resume` is a run that was killed: it goes on from its newest
    checkpoint. The same words on the command line give the same run.

    `model` is a name from `danlu models`, several of them, or a torch module: then `data` is any torch Dataset,
    DataLoader or tensors, `objective` the loss, and what comes back is a `ModuleRun` (see `run.module.train_module`).
    """
    if is_module(model):
        from danlu.run.module import train_module

        given = {"budget": budget, "seed": seed, "out": out, "resume": resume}
        more = {name: value for name, value in given.items() if value is not None} | settings
        return train_module(model, data, progress=progress, **refused_for_modules(target, test, recipe, more))
    from danlu.recipe.yaml_file import read_yaml
    from danlu.watch.progress import Progress

    tables = {name: value for name, value in (("data", data), ("test", test)) if value is not None}
    frames = {name: value for name, value in tables.items() if not isinstance(value, (str, Path))}
    named = {name: IN_MEMORY if name in frames else str(value) for name, value in tables.items()}
    named |= {"target": target, "models": model, "budget": budget, "seed": seed}
    given = {name: value for name, value in named.items() if value is not None} | settings
    if resume is not None:
        beside = {"out": out, "recipe": recipe}
        others = sorted(
            (given.keys() - {"data"}) | {name for name, value in beside.items() if value is not None}
        )
        if others:
            raise RecipeError(f"A run that is resumed keeps its recipe; leave out: {', '.join(others)}.")
        return resume_run(
            resume, started=time.monotonic(), progress=Progress(enabled=progress), frames=frames
        )
    return train_recipe(
        given if recipe is None else read_yaml(recipe) | given,
        out=out,
        started=time.monotonic(),
        progress=Progress(enabled=progress),
        replay=str(recipe) if recipe is not None and not given else None,
        frames=frames,
    )


def is_module(model: Any) -> bool:
    """Whether `model` is a torch module; torch is not imported to find out."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


def refused_for_modules(target: Any, test: Any, recipe: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that a module is trained with; what belongs to a table is refused."""
    known = (
        "objective", "validation", "metric", "greater_is_better", "training", "engine", "budget", "seed", "out",
        "resume",
    )  # fmt: skip
    tables = {"target": target, "test": test, "recipe": recipe} | settings
    wrong = [name for name, value in tables.items() if value is not None and name not in known]
    if wrong:
        raise RecipeError(
            f"{wrong[0]!r} belongs to a table; a torch module is trained with {', '.join(known)}."
        )
    if settings.get("objective") is None:
        raise RecipeError(
            "A torch module needs an objective: a name such as 'cross_entropy', a torch criterion, or a function "
            "loss(model, batch)."
        )
    return settings


def train_recipe(
    settings: Mapping[str, Any],
    *,
    out: str | Path | None,
    started: float,
    progress: Progress,
    replay: str | None = None,
    frames: Mapping[str, Any] | None = None,
) -> Run:
    """Run a recipe. `replay` is the recipe file of a run that is to be made again to the same bits."""
    calm_threads()
    if launched_rank():
        return helped_run()
    recipe = with_launched(resolve(settings))
    lock = read_lock(replay) if replay else None
    if lock is not None and (why := lock.why_not_again(recipe)):
        progress.say(f"{why} This is a new run.")
        lock = None
    return make_run(recipe, out, started, progress, frames, replayed=lock)


def resume_run(
    name: str | Path,
    *,
    started: float,
    progress: Progress,
    frames: Mapping[str, Any] | None = None,
    processes: int | None = None,
) -> Run:
    """Go on with a run that was killed: finished fits are taken as they were, the others from their checkpoints.

    `processes` may be another number than before: the last bits then differ from those of a run left alone.
    """
    from danlu.recipe.yaml_file import read_yaml

    calm_threads()
    if launched_rank():
        return helped_run()
    folder = find_run(name)
    recipe_file = folder.path / "recipe.yaml"
    if holds_module(folder):
        raise UserError(
            f"The run {folder.path} trained a torch module, an object of a Python program. Go on with it there: "
            f"danlu.train(model=..., data=..., objective=..., resume={str(folder.path)!r})."
        )
    recipe, lock = resolve(read_yaml(recipe_file)), read_lock(recipe_file)
    if lock is None or lock.recipe_sha256 != recipe_sha256(recipe):
        raise UserError(f"The recipe of {folder.path} is not the one that ran. Start anew with --recipe.")
    if lock.model_sha256:
        raise UserError(f"The run {folder.path} is finished: see {folder.report}.")
    if recipe.data == IN_MEMORY and not frames:
        raise UserError("This run's table was given in Python: danlu.train(table, resume=...).")
    changed = lock.changed_environment()
    if changed:
        progress.say(f"warning: this run goes on under other versions: {'; '.join(changed)}.")
    wanted = recipe.engine if processes is None else replace(recipe.engine, processes=processes)
    number = with_launched(replace(recipe, engine=wanted)).engine.processes
    return make_run(recipe, folder, started - lock.seconds, progress, frames, resumed=lock, processes=number)


def with_launched(recipe: Recipe) -> Recipe:
    """The recipe with the number of processes that torchrun has started, where it has."""
    if not is_under_torchrun():
        return recipe
    from danlu.run.processes import processes_asked

    number = processes_asked(recipe.engine.processes)
    return replace(recipe, engine=replace(recipe.engine, processes=number))


def helped_run() -> Run:
    """What ranks above 0 do under torchrun: help with the fits of rank 0, whose run this is."""
    from danlu.run.processes import help_run

    folder = RunFolder(help_run())
    return Run(folder.path, folder.read_record())
