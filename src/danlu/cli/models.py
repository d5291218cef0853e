"""The catalogue of parts: models, objectives, optimizers and more, what each is for, its source and its settings.

danlu models                     all models
danlu models --kind optimizer    all optimizers; also objective, schedule, activation, ...
danlu models boosting            the settings of one part
"""

from __future__ import annotations

import argparse
import textwrap

from danlu.core.files import dump_json

KINDS = (
    "model",
    "objective",
    "optimizer",
    "update",
    "schedule",
    "average",
    "activation",
    "initialisation",
    "normalisation",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("name", nargs="?", help="one part, with its settings")
    parser.add_argument("--kind", help=f"what to list: {', '.join(KINDS)} (default model)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print the catalogue or one entry of it."""
    from danlu.core.errors import RecipeError, closest
    from danlu.recipe.catalogue import entries, has, lookup, lookup_any

    if options.kind is not None and options.kind not in KINDS:
        raise RecipeError(
            f"There is no kind {options.kind!r}.{closest(options.kind, KINDS)} Known: {', '.join(KINDS)}."
        )
    if options.name:
        kinds = KINDS if options.kind is None else (options.kind,)
        found = [lookup(kind, options.name) for kind in kinds if has(kind, options.name)]
        chosen = found or [lookup_any(kinds, options.name)]  # which says what is near
    else:
        chosen = list(entries(options.kind or "model").values())
    if options.json:
        print(
            dump_json(
                [vars(entry) | {"settings": [vars(field) for field in entry.settings]} for entry in chosen]
            )
        )
        return 0
    for entry in chosen:
        if options.name and len(chosen) > 1:
            print(f"{entry.kind}:")
        learns = f" [{', '.join(entry.tasks)}]" if entry.kind in ("model", "objective") else ""
        print(textwrap.fill(f"{entry.name}: {entry.summary}{learns}", 100, subsequent_indent="    "))
        if entry.source:
            print(f"    {entry.source}")
        for field in entry.settings if options.name else ():
            print(
                textwrap.fill(
                    f"{field.name} = {field.default!r}  ({field.type})",
                    100,
                    initial_indent="  ",
                    subsequent_indent="      ",
                )
            )
            print(textwrap.fill(field.doc, 100, initial_indent="      ", subsequent_indent="      "))
    return 0
