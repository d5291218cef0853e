"""docs/recipe.md, models.md and parts.md: every setting with its default, written from the code that reads it.

`python -m danlu.recipe.reference [FOLDER]` writes them (default `docs`); a test fails while they differ.
"""

from __future__ import annotations

import ast
import dataclasses
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from danlu.core.files import write_atomic
from danlu.data.preprocess import PreprocessSettings
from danlu.data.split import SplitSettings
from danlu.evaluate.settings import EvaluationSettings
from danlu.recipe.catalogue import Entry, entries
from danlu.recipe.recipe import ColumnSettings, Recipe
from danlu.recipe.settings import Field, fields
from danlu.updates.settings import EngineSettings, TrainingSettings

GROUPS = {
    "columns": ColumnSettings,
    "split": SplitSettings,
    "preprocessing": PreprocessSettings,
    "training": TrainingSettings,
    "engine": EngineSettings,
    "evaluation": EvaluationSettings,
}

RECIPE_INTRO = """\
# Every key of a recipe

<!-- Written by `python -m danlu.recipe.reference`; change the docstrings in the code, not this page. -->

A recipe is a YAML file for `danlu train --recipe FILE`, the keyword arguments of `danlu.train(...)`, or
`--set key=value` on the command line: the same keys everywhere, `training.duration` for a key inside a group.
Only `data` and `target` have no default. An unknown key is an error that names the closest one. Every run
writes its whole recipe, defaults and all, to `recipe.yaml`.
[The guide](guide.md#recipes-and-running-again-to-the-same-bits) shows one in use.
"""

MODELS_INTRO = """\
# The models

<!-- Written by `python -m danlu.recipe.reference`; change the docstrings in the code, not this page. -->

What `danlu models` lists and `danlu models NAME` explains. Name one or more with `--model NAME`; settings
go into a recipe, as in `models: [{random_forest: {num_trees: 200}}]`. Without any, danlu picks what suits the
data ([the default plan](decisions/0004-the-default-plan.md)).
"""

PARTS_INTRO = """\
# The parts of training

<!-- Written by `python -m danlu.recipe.reference`; change the docstrings in the code, not this page. -->

What `danlu models --kind KIND` lists. A setting that names a part takes its name, or a mapping with its name and its
settings: `--set training.optimizer=nesterov`, `--set 'training.optimizer={name: nesterov, momentum: 0.95}'`.
[How optimizers differ](optimizers.md), [activations and normalisations](activations.md).
"""

PART_KINDS = {
    "objective": "Objectives (`objective`)",
    "optimizer": "Optimizers (`training.optimizer`)",
    "update": "Updates over all rows (`training.optimizer`)",
    "schedule": "Schedules of the learning rate (`training.schedule`)",
    "average": "Averages of the weights (`training.average`)",
    "activation": "Activations (`activation` of a network)",
    "initialisation": "First weights (`initialisation` of a network)",
    "normalisation": "Normalisations (`normalisation` of a network)",
}

WORDS = {
    "int": "whole number",
    "float": "number",
    "bool": "true or false",
    "str": "text",
    "None": "empty",
    "Any": "any value",
}


def pages() -> dict[str, str]:
    """The pages by file name."""
    return {"recipe.md": recipe_page(), "models.md": models_page(), "parts.md": parts_page()}


def recipe_page() -> str:
    """Every key of a recipe: the top level, then group by group."""
    top = [field for field in fields(Recipe) if field.name not in GROUPS]
    required = {field.name for field in dataclasses.fields(Recipe) if _has_no_default(field)}
    parts = [RECIPE_INTRO, "## Top level\n", _table(top, required=required)]
    purpose = {field.name: field.doc for field in fields(Recipe)}
    for name, cls in GROUPS.items():
        parts += [f"## `{name}`\n", f"{purpose[name]}\n", _table(fields(cls))]
    return "\n".join(parts)


def models_page() -> str:
    """Every model: what it is for, where it comes from, its settings."""
    models = [entry for entry in entries("model").values() if entry.target.startswith("danlu.")]
    summaries = [(f"[{entry.name}](#{entry.name})", _tasks(entry), entry.summary) for entry in models]
    overview = _rows(("model", "predicts", "what it is for"), summaries)
    return "\n".join([MODELS_INTRO, overview, *(_model(entry) for entry in models)])


def parts_page() -> str:
    """Every other part by kind, with its settings."""
    sections: list[str] = [PARTS_INTRO]
    for kind, title in PART_KINDS.items():
        own = [entry for entry in entries(kind).values() if entry.target.startswith("danlu.")]
        rows = [(f"`{entry.name}`", entry.summary, entry.source, _settings(entry)) for entry in own]
        sections += [f"## {title}\n", _rows(("name", "what it is for", "source", "settings"), rows)]
    return "\n".join(sections)


def _settings(entry: Entry) -> str:
    return "<br>".join(f"`{f.name}` = `{_plain(f.default)}`: {f.doc}" for f in entry.settings) or "none"


def _model(entry: Entry) -> str:
    source = f" Source: {entry.source}." if entry.source else ""
    lines = [f"## {entry.name}", entry.summary, f"Predicts {_tasks(entry)}.{source}"]
    if entry.traits.get("gradient_form"):
        lines.append(
            "With `training.optimizer` sgd, adam or [another](parts.md) it is trained by gradient descent."
        )
    if entry.traits.get("keeps_rows"):
        lines.append("The model file holds rows of the training data.")
    return "\n\n".join([*lines, _table(entry.settings) if entry.settings else "No settings.\n"])


def _tasks(entry: Entry) -> str:
    kinds = {"regression": "numbers", "binary": "two classes", "multiclass": "several classes"}
    return ", ".join(kinds[task] for task in entry.tasks)


def _table(settings: Iterable[Field], *, required: Iterable[str] = ()) -> str:
    rows: list[Sequence[str]] = []
    for field in settings:
        default = "**required**" if field.name in required else f"`{_plain(field.default)}`"
        rows.append((f"`{field.name}`", default, words(field.type), field.doc))
    return _rows(("key", "default", "takes", "what it does"), rows)


def _rows(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def words(type_text: str) -> str:
    """An annotation as a person would say it: `Literal['a', 'b'] | int` is 'a, b or a whole number'."""
    return _words(ast.parse(type_text, mode="eval").body)


def _words(node: ast.expr) -> str:
    if isinstance(node, ast.BinOp):
        return f"{_words(node.left)} or {_words(node.right)}"
    if isinstance(node, ast.Subscript):
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if ast.unparse(node.value) == "Annotated":
            kind = ast.literal_eval(inner[1]).partition("|")[0]
            return f"[{kind}](parts.md), alone or with its settings"
        if ast.unparse(node.value) == "Literal":
            return ", ".join(f"`{ast.literal_eval(choice)}`" for choice in inner)
        if ast.unparse(node.value) in ("tuple", "list"):
            is_models = ast.unparse(inner[0]) == "ModelChoice"
            return "list of models" if is_models else f"list, each a {_words(inner[0])}"
        return "mapping"
    return WORDS[ast.unparse(node)]


def _plain(value: Any) -> str:
    """A default as YAML writes it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _has_no_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
    for name, text in pages().items():
        write_atomic(folder / name, text)
