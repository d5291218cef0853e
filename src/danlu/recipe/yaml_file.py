"""Recipes as YAML: the safe subset, without aliases and bounded in size, so that a file can only hold settings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from danlu.core.errors import RecipeError, closest

MAX_BYTES = 1_000_000
BOOL = "tag:yaml.org,2002:bool"


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The settings in a recipe file."""
    file = Path(path)
    if not file.is_file():
        near = closest(
            file.name, [f.name for f in file.parent.glob("*.y*ml")] if file.parent.is_dir() else []
        )
        raise RecipeError(f"There is no recipe file {path}.{near}")
    if file.stat().st_size > MAX_BYTES:
        raise RecipeError(f"{path} has {file.stat().st_size:,} bytes; a recipe has at most {MAX_BYTES:,}.")
    try:
        value = parse_yaml(file.read_text(encoding="utf-8"), where=str(path))
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}).") from error
    if not isinstance(value, dict):
        raise RecipeError(f"{path} must hold settings as 'name: value' lines, got {type(value).__name__}.")
    return value


def parse_yaml(text: str, *, where: str) -> Any:
    """The value that a YAML text stands for; aliases, tags and duplicate keys are refused."""
    import yaml

    class Loader(yaml.SafeLoader):
        """SafeLoader that refuses what a recipe does not need; `off` and `no` are words, as in YAML 1.2."""

        yaml_implicit_resolvers = {  # noqa: RUF012  (as PyYAML has it)
            first: [(tag, pattern) for tag, pattern in found if tag != BOOL]
            for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise RecipeError(
                    f"{where}: YAML aliases (*name) are not used in recipes; write the value out."
                )
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            twice = next((key for index, key in enumerate(keys) if key in keys[:index]), None)
            if twice is not None:
                raise RecipeError(f"{where}: the setting {twice!r} stands there twice.")
            return super().construct_mapping(node, deep)

    Loader.add_implicit_resolver(BOOL, re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
    try:
        return yaml.load(text, Loader)  # noqa: S506  (a SafeLoader)
    except RecursionError as error:
        raise RecipeError(f"{where}: nested too deeply for a recipe.") from error
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, RecipeError):
            raise
        raise RecipeError(f"{where} is not valid YAML: {error}") from error


def dump_yaml(value: Any) -> str:
    """`value` as YAML text, in the order of its keys."""
    import yaml

    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)


def apply_sets(settings: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """`settings` with each `a.b.c=value` of the command line put in its place."""
    result: dict[str, Any] = _copy(settings)
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        keys = name.strip().split(".")
        if not equals or not all(keys):
            raise RecipeError(
                f'--set takes name=value, like --set training.duration="60 epochs", got {assignment!r}.'
            )
        place = result
        for key in keys[:-1]:
            place = place.setdefault(key, {})
            if not isinstance(place, dict):
                raise RecipeError(f"--set {assignment}: {key!r} is not a group of settings.")
        place[keys[-1]] = parse_yaml(text, where=f"--set {name}") if text.strip() else None
    return result


def _copy(value: Any) -> Any:
    return {key: _copy(item) for key, item in value.items()} if isinstance(value, Mapping) else value
