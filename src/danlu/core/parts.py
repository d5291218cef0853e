"""How a model, an objective or another part says what it is, so that the registry can find it without importing it.

The decorator hangs a `Part` on the class. `danlu.recipe.catalogue` walks the packages, reads the parts and writes
them down in catalogue.json, which the command line reads instead of importing torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T", bound=type)


@dataclass(frozen=True)
class Settings:
    """Base of every group of settings: a frozen dataclass with one docstring a field. This one has none."""


@dataclass(frozen=True)
class Part:
    """What the catalogue says of a part."""

    kind: str
    """`model`, `objective`, `optimizer`, ..."""
    name: str
    """The word that a recipe uses."""
    summary: str
    """What it is for, in one line."""
    source: str
    """The paper or book that describes it."""
    settings: type[Settings]
    """Its settings; all of them have defaults."""
    tasks: tuple[str, ...]
    """The kinds of task that it can learn."""
    traits: dict[str, Any]
    """Further facts by kind, such as a model's encoding of the columns."""


def part(
    kind: str,
    name: str,
    *,
    summary: str,
    source: str = "",
    settings: type[Settings] = Settings,
    tasks: tuple[str, ...] = ("regression", "binary", "multiclass"),
    **traits: Any,
) -> Callable[[T], T]:
    """Mark a class as the part `name` of `kind`."""

    def mark(cls: T) -> T:
        cls.__part__ = Part(kind, name, summary, source, settings, tasks, traits)
        return cls

    return mark
