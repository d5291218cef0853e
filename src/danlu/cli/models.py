"""The catalogue of models: what each is for, its source, and its settings.

danlu models            all of them
danlu models boosting   the settings of one
"""

from __future__ import annotations

import argparse
import textwrap

from danlu.core.files import dump_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("name", nargs="?", help="one model, with its settings")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print the catalogue or one entry of it."""
    from danlu.recipe.catalogue import entries, lookup

    chosen = [lookup("model", options.name)] if options.name else list(entries("model").values())
    if options.json:
        print(
            dump_json(
                [vars(entry) | {"settings": [vars(field) for field in entry.settings]} for entry in chosen]
            )
        )
        return 0
    for entry in chosen:
        tasks = ", ".join(entry.tasks)
        print(textwrap.fill(f"{entry.name}: {entry.summary} [{tasks}]", 100, subsequent_indent="    "))
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
