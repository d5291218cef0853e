"""Plain values (from YAML, options or Python) checked against the annotations of frozen dataclasses, and back.

A setting is declared once: a dataclass field with its type, its default and a docstring under it. The same text of
the type is checked here for dataclasses and for entries of the catalogue, so that a wrong setting of a network is
named without importing torch.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import re
import sys
import textwrap
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, TypeVar

from danlu.core.errors import RecipeError, closest

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Field:
    """One setting as the catalogue and the help show it."""

    name: str
    type: str
    default: Any
    doc: str


def from_plain(cls: type[T], value: Mapping[str, Any] | None, *, where: str = "") -> T:
    """An object of the dataclass `cls` from plain values; every mistake names the place and what would be right."""
    given = {} if value is None else value
    if not isinstance(given, Mapping):
        raise RecipeError(f"{where or 'A recipe'} must be a mapping of settings, got {_show(value)}.")
    spec = {field.name: field for field in fields(cls)}
    check_names(given, spec, where=where)
    scope = vars(sys.modules[cls.__module__])
    return cls(
        **{
            name: check(item, spec[name].type, where=_join(where, name), scope=scope)
            for name, item in given.items()
        }
    )


def to_plain(value: Any) -> Any:
    """The reverse of `from_plain`: dictionaries, lists and plain values only."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return value


def check_names(given: Iterable[str], known: Iterable[str], *, where: str) -> None:
    """Refuse a setting that does not exist, naming the closest one that does."""
    names = list(known)
    for name in given:
        if name not in names:
            place = f" in {where!r}" if where else ""
            listing = ", ".join(names) if names else "none"
            raise RecipeError(
                f"Unknown setting {str(name)!r}{place}.{closest(str(name), names)} Known settings: {listing}."
            )


def check(value: Any, type_text: str, *, where: str, scope: Mapping[str, Any] | None = None) -> Any:
    """`value` as the annotation `type_text` wants it (lists become tuples, whole numbers become floats)."""
    wanted = ast.parse(type_text, mode="eval").body
    outcome = _match(value, wanted, where, scope or {})
    if outcome is _NO:
        raise RecipeError(f"{where} must be {_say(wanted)}, got {_show(value)}.")
    return outcome


@functools.cache
def fields(cls: type) -> tuple[Field, ...]:
    """The settings of a dataclass, with the docstring that stands under each."""
    docs: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if dataclasses.is_dataclass(base):
            docs |= _field_docs(base)
    return tuple(
        Field(f.name, _written_out(str(f.type), cls), _default(f), docs.get(f.name, ""))
        for f in dataclasses.fields(cls)
        if f.init
    )


_NO = object()  # a value that does not fit, told apart from None
_SCIENTIFIC = re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+")
_PLAIN: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "str": (str,)}


def _match(value: Any, wanted: ast.expr, where: str, scope: Mapping[str, Any]) -> Any:
    if isinstance(wanted, ast.BinOp):  # X | Y: the first that fits
        left = _match(value, wanted.left, where, scope)
        return left if left is not _NO else _match(value, wanted.right, where, scope)
    if isinstance(wanted, ast.Constant) and wanted.value is None:
        return None if value is None else _NO
    if isinstance(wanted, ast.Subscript):
        return _match_container(value, wanted, where, scope)
    name = ast.unparse(wanted)
    if name == "Any":
        return value
    if name == "float" and isinstance(value, str) and _SCIENTIFIC.fullmatch(value):
        return float(value)  # YAML 1.1 takes 1e-3 for a text
    if name in _PLAIN:
        fits = isinstance(value, _PLAIN[name]) and (name == "bool" or not isinstance(value, bool))
        return (float(value) if name == "float" else value) if fits else _NO
    target = scope.get(name)
    if isinstance(target, type) and dataclasses.is_dataclass(target):
        if isinstance(value, target):
            return value
        return from_plain(target, value, where=where) if isinstance(value, Mapping) else _NO
    raise TypeError(f"settings cannot have the type {name!r} ({where})")


def _match_container(value: Any, wanted: ast.Subscript, where: str, scope: Mapping[str, Any]) -> Any:
    outer, inner = ast.unparse(wanted.value), wanted.slice
    if outer == "Literal":
        choices = ast.literal_eval(inner)
        choices = choices if isinstance(choices, tuple) else (choices,)
        return value if any(value == choice and type(value) is type(choice) for choice in choices) else _NO
    if outer == "Annotated":  # Annotated[str | dict[str, Any], "KIND"]: a part of that kind, or of KIND|KIND
        assert isinstance(inner, ast.Tuple)
        return _part(value, ast.literal_eval(inner.elts[1]), where)
    if outer in ("tuple", "list"):
        if not isinstance(value, (list, tuple)):
            return _NO
        of = inner.elts[0] if isinstance(inner, ast.Tuple) else inner
        items = [_match(item, of, f"{where}[{index}]", scope) for index, item in enumerate(value)]
        return _NO if _NO in items else tuple(items)
    if outer in ("dict", "Mapping"):
        if not isinstance(value, Mapping) or not isinstance(inner, ast.Tuple):
            return _NO
        pairs = {
            str(key): _match(item, inner.elts[1], _join(where, str(key)), scope)
            for key, item in value.items()
        }
        return _NO if _NO in pairs.values() else pairs
    raise TypeError(f"settings cannot have the type {outer!r} ({where})")


def _part(value: Any, kinds: str, where: str) -> Any:
    """`name`, or {"name": name, setting: value, ...}, with names and values that the catalogue knows."""
    from danlu.recipe.catalogue import lookup_any

    given = {"name": value} if isinstance(value, str) else value
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        return _NO
    entry = lookup_any(kinds.split("|"), given["name"], where=where)
    settings = entry.checked({key: item for key, item in given.items() if key != "name"}, where=where)
    return {"name": entry.name, **settings} if settings else entry.name


def _say(wanted: ast.expr) -> str:
    """The type in words, for a message."""
    words = {
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "str": "a text",
        "None": "empty (null)",
    }
    text = ast.unparse(wanted)
    if isinstance(wanted, ast.BinOp):
        return f"{_say(wanted.left)} or {_say(wanted.right)}"
    if isinstance(wanted, ast.Subscript):
        outer, inner = ast.unparse(wanted.value), wanted.slice
        if outer == "Literal":
            choices = ast.literal_eval(inner)
            return "one of " + ", ".join(map(str, choices if isinstance(choices, tuple) else (choices,)))
        if outer == "Annotated" and isinstance(inner, ast.Tuple):
            return (
                f"the name of an {ast.literal_eval(inner.elts[1])}, or a mapping with a name and its settings"
            )
        if outer in ("tuple", "list"):
            return f"a list, each {_say(inner.elts[0] if isinstance(inner, ast.Tuple) else inner)}"
        return "a mapping"
    return words.get(text, "a mapping of settings")


def _written_out(type_text: str, cls: type) -> str:
    """The annotation with aliases such as `Kind = Literal["a", "b"]` written out, so that it says all by itself."""
    scope = vars(sys.modules[cls.__module__])

    class WriteOut(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            choices = getattr(scope.get(node.id), "__args__", None)
            return node if choices is None else ast.parse(f"Literal{list(choices)!r}", mode="eval").body

    return ast.unparse(WriteOut().visit(ast.parse(type_text, mode="eval").body))


def _field_docs(cls: type) -> dict[str, str]:
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    except OSError:  # made in a console: no source to read
        return {}
    docs: dict[str, str] = {}
    statements = body.body if isinstance(body, ast.ClassDef) else []
    for statement, following in pairwise(statements):
        is_field = isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
        if is_field and isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            docs[statement.target.id] = " ".join(str(following.value.value).split())  # type: ignore[union-attr]
    return docs


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return to_plain(field.default)
    return None if field.default_factory is dataclasses.MISSING else to_plain(field.default_factory())


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _show(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"
