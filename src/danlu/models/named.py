"""The part that a model's setting names: `relu`, or with settings of its own {"name": "leaky_relu", "slope": 0.2}."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from danlu.core.errors import RecipeError, closest


def named(kind: str, chosen: str | Mapping[str, Any], own: Mapping[str, type]) -> Any:
    """The object that `chosen` names among our `own` parts of a kind, or among those of third parties.

    Names and settings of a recipe have been checked by the catalogue before; here they are for those who build a
    model in Python (`RecipeError`).
    """
    given = {"name": chosen} if isinstance(chosen, str) else dict(chosen)
    name = given.pop("name", None)
    if not isinstance(name, str):
        raise RecipeError(
            f'A setting that names the {kind} is a name or a mapping with "name", got {chosen!r}. '
            f"Known: {', '.join(own)}."
        )
    cls: Any = own.get(name) or _foreign(kind, name)
    if cls is None:
        raise RecipeError(f"There is no {kind} {name!r}.{closest(name, own)} Known: {', '.join(own)}.")
    settings = cls.__part__.settings
    known = list(settings.__dataclass_fields__)
    for key in given:
        if key not in known:
            raise RecipeError(
                f"The {kind} {name!r} has no setting {str(key)!r}.{closest(str(key), known)} "
                f"Known settings: {', '.join(known) or 'none'}."
            )
    return cls(settings(**given))


def parts_among(namespace: Mapping[str, Any], kind: str) -> dict[str, type]:
    """The parts of a kind that a module defines, by name and in the order of the file."""
    classes = (value for value in namespace.values() if "__part__" in getattr(value, "__dict__", ()))
    return {cls.__part__.name: cls for cls in classes if cls.__part__.kind == kind}


def _foreign(kind: str, name: str) -> type | None:
    """A third party's part, by the entry points that the catalogue reads too."""
    from importlib.metadata import entry_points

    for point in entry_points(group="danlu.parts", name=name):
        found = point.load()
        if found.__part__.kind == kind:
            return found
    return None
