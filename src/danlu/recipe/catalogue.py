"""The catalogue of parts: names, what they are for, their settings. Generated from the code, checked in as JSON.

`python -m danlu.recipe.catalogue` writes it anew; a test fails while it does not say what the code says.
Third parties add parts through the entry point group `danlu.parts`: each entry has the part's name and names a class
marked by `part`. It is loaded when its name is asked for, or for a list of all.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from danlu.core.errors import RecipeError, closest
from danlu.recipe.settings import Field, check, check_names

FILE = Path(__file__).with_name("catalogue.json")
PACKAGES = ("models", "objectives", "updates")


@dataclass(frozen=True)
class Entry:
    """A part as the catalogue knows it."""

    kind: str
    name: str
    target: str
    """`module:Class`; only names that the catalogue or an entry point gives are ever imported."""
    summary: str
    source: str
    tasks: tuple[str, ...]
    settings: tuple[Field, ...]
    traits: Mapping[str, Any]

    def checked(self, given: Mapping[str, Any], *, where: str) -> dict[str, Any]:
        """The settings in `given` after a check of names and types, without importing the part."""
        types = {field.name: field.type for field in self.settings}
        check_names(given, types, where=where)
        return {name: check(value, types[name], where=f"{where}.{name}") for name, value in given.items()}


def entries(kind: str) -> dict[str, Entry]:
    """Every part of one kind by its name, our own first."""
    own = {entry.name: entry for entry in _own() if entry.kind == kind}
    return own | {entry.name: entry for entry in _foreign() if entry.kind == kind and entry.name not in own}


def lookup(kind: str, name: str) -> Entry:
    """The part called `name`; an unknown name fails and names the closest one."""
    for entry in _own():
        if entry.kind == kind and entry.name == name:
            return entry
    for entry in _foreign(name):
        if entry.kind == kind and entry.name == name:
            return entry
    known = entries(kind)
    if name not in known:
        raise RecipeError(f"There is no {kind} {name!r}.{closest(name, known)} Known: {', '.join(known)}.")
    return known[name]


def lookup_any(kinds: Sequence[str], name: str, *, where: str = "") -> Entry:
    """The part called `name` of the first of these kinds that has it; `where` is the setting that names it."""
    for kind in kinds:
        if has(kind, name):
            return lookup(kind, name)
    names = [other for kind in kinds for other in entries(kind)]
    said = f"{where}: there" if where else "There"
    raise RecipeError(
        f"{said} is no {kinds[0]} {name!r}.{closest(name, names)} Known: {', '.join(entries(kinds[0]))}."
    )


def has(kind: str, name: str) -> bool:
    """Whether there is a part of this kind and name; third parties' are looked for where we have none so called."""
    own = [entry.kind for entry in _own() if entry.name == name]
    return kind in (own or [entry.kind for entry in _foreign(name)])


def load(entry: Entry) -> type:
    """The class behind an entry."""
    import importlib

    module, _, attribute = entry.target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def entry_of(cls: Any, target: str) -> Entry:
    """What the catalogue says of a class marked by `danlu.core.parts.part`."""
    from danlu.recipe.settings import fields

    part = cls.__part__
    return Entry(
        part.kind,
        part.name,
        target,
        part.summary,
        part.source,
        tuple(part.tasks),
        fields(part.settings),
        dict(part.traits),
    )


def generate() -> list[dict[str, Any]]:
    """The catalogue read off the code: imports every module of the packages that hold parts."""
    import importlib
    import pkgutil

    found: dict[tuple[str, str], Entry] = {}
    for package in PACKAGES:
        root = importlib.import_module(f"danlu.{package}")
        for info in pkgutil.walk_packages(root.__path__, f"danlu.{package}."):
            module = importlib.import_module(info.name)
            for name, value in vars(module).items():
                if isinstance(value, type) and "__part__" in vars(value) and value.__module__ == info.name:
                    entry = entry_of(value, f"{info.name}:{name}")
                    found[entry.kind, entry.name] = entry
    return [_plain(found[key]) for key in sorted(found)]


def _plain(entry: Entry) -> dict[str, Any]:
    return vars(entry) | {
        "tasks": list(entry.tasks),
        "settings": [vars(field) for field in entry.settings],
        "traits": dict(entry.traits),
    }


@functools.cache
def _own() -> tuple[Entry, ...]:
    rows = json.loads(FILE.read_text(encoding="utf-8"))
    return tuple(
        Entry(
            **row
            | {"tasks": tuple(row["tasks"]), "settings": tuple(Field(**field) for field in row["settings"])}
        )
        for row in rows
    )


def _foreign(name: str | None = None) -> list[Entry]:
    """Parts of third parties, all or those whose entry point has this name."""
    from importlib.metadata import entry_points

    points = (
        entry_points(group="danlu.parts") if name is None else entry_points(group="danlu.parts", name=name)
    )
    return [entry_of(point.load(), point.value) for point in points]


if __name__ == "__main__":
    FILE.write_text(json.dumps(generate(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
