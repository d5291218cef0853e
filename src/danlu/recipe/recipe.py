"""The recipe: data, target, split, models, training, evaluation. Options, YAML and Python all become this object."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from danlu.core.duration import parse_seconds
from danlu.core.errors import RecipeError
from danlu.data.preprocess import PreprocessSettings
from danlu.data.split import SplitSettings
from danlu.evaluate.settings import EvaluationSettings
from danlu.recipe.catalogue import lookup
from danlu.recipe.settings import from_plain, to_plain
from danlu.updates.settings import EngineSettings, TrainingSettings


@dataclass(frozen=True)
class ColumnSettings:
    """The `columns` group of a recipe: what danlu cannot know from the values alone."""

    types: dict[str, str] = field(default_factory=dict[str, str])
    """Column types that override what was inferred, such as `{zip: category}`."""
    ignore: tuple[str, ...] = ()
    """Columns that the model must not see."""
    keep: tuple[str, ...] = ()
    """Columns to use although danlu would leave them out (an identifier, a suspected leak)."""
    weight: str | None = None
    """How much each row counts; numbers >= 0."""


@dataclass(frozen=True)
class ModelChoice:
    """One model to try, with the settings that differ from its defaults."""

    name: str
    """A name from `danlu models`."""
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    """Settings of that model, as `danlu models NAME` lists them."""


@dataclass(frozen=True)
class Recipe:
    """What a run does, and nothing else."""

    data: str
    """A file, `sklearn/NAME`, `danlu/NAME`, or a name for a table given in Python."""
    target: str
    """The column to predict."""
    test: str | None = None
    """A file of test rows; without it, a part of `data` is kept for the test."""
    query: str | None = None
    """SQL to run on a SQLite file."""
    task: Literal["auto", "regression", "classification"] = "auto"
    """Predict a number or a class; `auto` looks at the target."""
    columns: ColumnSettings = field(default_factory=ColumnSettings)
    """Types and roles of columns."""
    split: SplitSettings = field(default_factory=SplitSettings)
    """How rows are kept apart for training, choosing, calibrating and testing."""
    preprocessing: PreprocessSettings = field(default_factory=PreprocessSettings)
    """How columns become numbers."""
    models: tuple[ModelChoice, ...] = ()
    """Models to try; without any, danlu picks what suits the data and the budget."""
    objective: Literal["auto"] | Annotated[str | dict[str, Any], "objective"] = "auto"
    """The loss of gradient-trained models, such as huber or {name: focal, gamma: 2}; `auto` is squared error for
    numbers and cross-entropy for classes."""
    training: TrainingSettings = field(default_factory=TrainingSettings)
    """How gradient-trained models are trained."""
    engine: EngineSettings = field(default_factory=EngineSettings)
    """Where and how fast it runs."""
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    """What the result is judged by."""
    ensemble: Literal["auto", "off"] = "auto"
    """Whether models may be averaged where the choice rows say that it helps."""
    refit: bool = True
    """Whether what was chosen is fitted again on all rows but the test rows."""
    budget: str = "60s"
    """Wall time of the whole command."""
    seed: int = 0
    """Everything random is a pure function of it."""

    def __post_init__(self) -> None:
        parse_seconds(self.budget)
        if self.seed < 0:
            raise RecipeError(f"seed must not be negative, got {self.seed}.")


def resolve(settings: Mapping[str, Any]) -> Recipe:
    """The validated recipe that plain settings stand for."""
    given = dict(settings)
    for name, purpose in (("data", "the table to learn from"), ("target", "the column to predict")):
        if not given.get(name):
            raise RecipeError(f"A recipe needs {name!r}: {purpose}.")
    if isinstance(given.get("budget"), (int, float)) and not isinstance(given["budget"], bool):
        given["budget"] = f"{given['budget']}s"
    given["models"] = [_choice(entry) for entry in _as_list(given.get("models"))]
    return from_plain(Recipe, given)


def as_plain(recipe: Recipe) -> dict[str, Any]:
    """The recipe as `resolve` takes it: plain values, every default written out."""
    return to_plain(recipe) | {
        "models": [{"name": model.name, **to_plain(model.settings)} for model in recipe.models]
    }


IN_MEMORY = "(a table given in Python)"
"""What stands for the data in the recipe of a run whose table was no file."""


def command_of(recipe: Recipe) -> str:
    """The command that makes this run: the bare one, and `--set` for each setting that is not the default."""
    plain, defaults = as_plain(recipe), as_plain(Recipe(data=recipe.data, target=recipe.target))
    words = ["danlu", "train", recipe.data, "--target", recipe.target]
    for name in ("test", "seed", "budget"):
        words += [f"--{name}", str(plain[name])] if plain[name] != defaults[name] else []
        defaults[name] = plain[name]
    for name, value in _changed(plain, defaults, ""):
        words += ["--set", f"{name}={json.dumps(value, ensure_ascii=False)}"]
    return shlex.join(words)


def _changed(plain: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """(name, value) of every setting that differs, groups taken apart."""
    for key, value in plain.items():
        if isinstance(value, Mapping) and isinstance(defaults.get(key), Mapping) and defaults[key]:
            yield from _changed(value, defaults[key], f"{prefix}{key}.")
        elif value != defaults.get(key):
            yield f"{prefix}{key}", value


def _as_list(models: Any) -> list[Any]:
    if models is None:
        return []
    return list(models) if isinstance(models, (list, tuple)) else [models]


def _choice(entry: Any) -> ModelChoice:
    """`forest`, `{name: forest, num_trees: 200}` or `{forest: {num_trees: 200}}`."""
    if isinstance(entry, ModelChoice):
        name, settings = entry.name, entry.settings
    elif isinstance(entry, str):
        name, settings = entry, {}
    elif isinstance(entry, Mapping) and "name" in entry:
        name, settings = entry["name"], {key: value for key, value in entry.items() if key != "name"}
    elif isinstance(entry, Mapping) and len(entry) == 1:
        name, settings = next(iter(entry.items()))
        settings = {} if settings is None else settings
        if not isinstance(settings, Mapping):
            raise RecipeError(
                f"The settings of the model {name!r} must be a mapping, like {{num_trees: 200}}, got {settings!r}."
            )
    else:
        raise RecipeError(
            f"A model is a name or a mapping with a name, like {{name: random_forest}}, got {entry!r}."
        )
    part = lookup("model", str(name))
    return ModelChoice(part.name, part.checked(settings, where=f"models.{name}"))
