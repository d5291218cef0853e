"""Activations and normalisations: what each does, where it belongs, and a page that draws them.

danlu activations                    all of them, and what to take where
danlu activations relu               one, with its values, its derivative and its settings
danlu activations --out page.html    a page with every curve, and what normalisations do to a batch
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from danlu.recipe.catalogue import Entry

WIDTH = 110
PLACES = [-2.0, -1.0, 0.0, 1.0, 2.0]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("name", nargs="?", help="one activation")
    parser.add_argument(
        "--out", metavar="FILE.html", help="write the page with all curves and normalisations there"
    )


def run(options: argparse.Namespace) -> int:
    """Print the table or one entry of it, or write the page."""
    from danlu.core.errors import UserError

    if options.out is not None:
        if options.name:
            raise UserError(
                f"--out writes the page of all activations, and {options.name!r} names one. Leave one of them out."
            )
        from danlu.report.activations_page import write_activations

        write_activations(options.out)
        print(options.out)
        return 0
    from danlu.recipe.catalogue import entries, lookup

    if options.name:
        print(_one(lookup("activation", options.name)))
        return 0
    print(_overview(entries("activation"), entries("normalisation")))
    return 0


def _overview(activations: dict[str, Entry], normalisations: dict[str, Entry]) -> str:
    """The table of activations, that of normalisations, and the advice, all from the parts' own words."""
    advice = [
        (place, f"{name} ({kind})" if kind == "normalisation" else name)
        for kind, parts in (("activation", activations), ("normalisation", normalisations))
        for place, name in sorted(
            (place, name)
            for name, entry in parts.items()
            for place in entry.traits.get("first_choice_for", ())
        )
    ]
    curves = [
        [name, entry.traits.get("formula", ""), entry.traits.get("range", ""), entry.summary]
        for name, entry in activations.items()
    ]
    means = [
        [
            name,
            ", ".join(entry.traits.get("averages_over", ())),
            "yes" if entry.traits.get("depends_on_batch") else "no",
            f"{entry.traits.get('belongs', entry.summary)}; {entry.traits.get('remark', '')}".removesuffix(
                "; "
            ),
        ]
        for name, entry in normalisations.items()
    ]
    return "\n\n".join(
        [
            _table(["activation", "formula", "range", "where it belongs"], curves),
            _table(["normalisation", "averages over", "batch?", "where it belongs"], means)
            + "\n  N: rows of a batch, C: units or channels, C/G: those of a group, H and W: places of an image; "
            "batch?: whether\n  a row's result depends on the other rows while training",
            "First choice, unless something speaks against it:\n"
            + "\n".join(f"  {place:<34}{name}" for place, name in advice)
            + "\n  The output's activation belongs to the objective: a model of danlu gives scores.",
            "In a recipe: models: [{mlp: {activation: {name: leaky_relu, slope: 0.2}, normalisation: layer}}]\n"
            "Curves and measurements: danlu activations --out page.html",
        ]
    )


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their texts; the last one is wrapped."""
    widths = [max(len(row[place]) for row in [headers, *rows]) + 2 for place in range(len(headers) - 1)]
    indent = sum(widths)
    lines: list[str] = []
    for row in [headers, *rows]:
        start = "".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False))
        first, *more = textwrap.wrap(row[-1], max(WIDTH - indent, 40)) or [""]
        lines += [f"{start}{first}".rstrip(), *[f"{'':<{indent}}{text}" for text in more]]
    return "\n".join(lines)


def _one(entry: Entry) -> str:
    """Everything about one activation."""
    facts = {key: entry.traits.get(key) for key in ("formula", "range")}
    lines = [
        textwrap.fill(f"{entry.name}: {entry.summary}", WIDTH),
        *[f"  {key:<9}{value}" for key, value in facts.items() if value],
        f"  {'source':<9}{entry.source}",
        *_values(entry),
    ]
    for field in entry.settings:
        lines.append(f"  {field.name} = {field.default!r}  ({field.type})")
        lines.append(textwrap.fill(field.doc, WIDTH, initial_indent="      ", subsequent_indent="      "))
    return "\n".join(lines)


def _values(entry: Entry) -> list[str]:
    """The activation and its derivative at a few places; a third party's is not probed."""
    if not entry.target.startswith("danlu."):
        return []
    from danlu.report.layer_measures import PROBES, values_at

    values, slopes = values_at(entry.name, PLACES)
    rows: list[tuple[str, list[Any]]] = [("x", PLACES), ("f(x)", values), ("f'(x)", slopes)]
    lines = [f"  {name:<9}" + "".join(f"{value + 0.0:>11.6g}" for value in row) for name, row in rows]
    _, note = PROBES.get(entry.name, (None, ""))
    return [*lines, f"  {note}"] if note else lines
