"""The page of `danlu activations --out`: each activation with its derivative, and what normalisations do to values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from danlu.core.files import write_atomic
from danlu.models.activations import ACTIVATIONS
from danlu.models.normalisation import NORMALISATION_TABLE, NORMALISATIONS
from danlu.report.charts import SMALL, Series, legend, line_chart
from danlu.report.components import Cell, Section, facts, figure, grid, numeric, panel, section, table
from danlu.report.document import document
from danlu.report.layer_measures import NUM_CHANNELS, NUM_ROWS, Curve, Effect, curves, effects, values_at
from danlu.report.markup import Html, tag
from danlu.report.text import between, fixed, number, say

FAR = 4.0  # where the table says how much of the gradient is left


def write_activations(path: str | Path) -> None:
    """Write the page to `path`, wholly or not at all."""
    write_atomic(path, render_activations())


def render_activations() -> str:
    """The page as the text of one HTML file; every curve and number on it is computed from the parts."""
    drawn, measured = curves(), effects()
    sections = [_gallery(drawn), _figures(), _comparison(), _normalised(measured)]
    footer = tag("footer", tag("p", say("Made by danlu. This file needs no network and sends nothing.")))
    return document(
        say("Activations and normalisations: danlu"),
        opening=_opening(),
        sections=[one for one in sections if one is not None],
        footer=footer,
    )


def _opening() -> Section:
    """What to take where, from the parts' own advice."""
    panels = [
        panel(
            title,
            facts(sorted((place, tag("b", name)) for name, cls in parts.items() for place in _first(cls))),
        )
        for title, parts in ((say("Activation"), ACTIVATIONS), (say("Normalisation"), NORMALISATIONS))
    ]
    body = tag(
        "header",
        tag("h1", say("Activations and normalisations")),
        tag(
            "p",
            say(
                "A network repeats two things: a linear map and an activation that bends it. Without the "
                "activation all layers collapse to one. Take these unless something speaks against them. The "
                "output's activation belongs to the objective: a model of danlu gives scores."
            ),
            class_="lead",
        ),
        grid(*panels),
        id="choice",
    )
    return Section("choice", say("What to take where"), body)


def _gallery(drawn: dict[str, Curve]) -> Section | None:
    panels = [_panel(name, one) for name, one in drawn.items()]
    key = legend([("c0", say("the activation f(x)")), ("c1", say("its derivative f′(x)"))])
    return section(
        "activations",
        say("Activations"),
        key,
        grid(*panels, class_="grid-3"),
        lead=say(
            "Where the derivative is near 0, the layers below learn nothing: gradients fade through sigmoid and "
            "tanh, and a ReLU unit that is always below 0 is dead. A gap in a line is a jump."
        ),
    )


def _panel(name: str, one: Curve) -> Html:
    part: Any = ACTIVATIONS[name].__part__  # type: ignore[attr-defined]
    chart = line_chart(
        say("{name} and its derivative", name=name),
        part.traits["formula"],
        [
            Series(say("f"), one.xs, one.ys, "c0"),
            Series(say("f′"), one.xs, one.slopes, "c1"),
        ],
        size=SMALL,
        y_range=(-1, 1),
        guides=[((one.xs[0], 0.0), (one.xs[-1], 0.0))],
    )
    return figure(
        name,
        chart,
        read=tag("span", "f(x) = ", part.traits["formula"], tag("br"), part.summary),
        note=" ".join(filter(None, [one.note, f"{part.source}."])),
    )


def _figures() -> Section | None:
    """Values of each activation in numbers."""
    rows: list[list[Any]] = []
    for name, cls in ACTIVATIONS.items():
        part: Any = cls.__part__  # type: ignore[attr-defined]
        values, slopes = values_at(name, [-FAR, -2.0, -1.0, 0.0, 1.0, 2.0, FAR])
        far = min(abs(slopes[0]), abs(slopes[-1]))
        rows.append(
            [
                Cell(tag("b", name), name),
                part.traits["range"],
                *[numeric(value, fixed(value, 4)) for value in values[1:-1]],
                numeric(slopes[3], fixed(slopes[3], 4)),
                numeric(far, fixed(far, 4)),
            ]
        )
    headers = [
        say("activation"),
        say("range"),
        *[f"f({number(place)})" for place in (-2, -1, 0, 1, 2)],
        "f′(0)",
        say("least |f′(±4)|"),
    ]
    return section(
        "figures",
        say("In numbers"),
        table(headers, rows, sortable=True, caption=say("Values of the activations"), class_="tight"),
        lead=say("The last column is what is left of a gradient that passes a unit far from 0."),
    )


def _comparison() -> Section | None:
    rows = [
        [
            Cell(tag("b", row.method), row.method),
            row.normalises,
            row.averages_over,
            say("yes") if row.depends_on_batch else say("no"),
            row.belongs,
            row.remark,
        ]
        for row in NORMALISATION_TABLE
    ]
    headers = [
        say("method"),
        say("normalises"),
        say("averages over"),
        say("depends on the batch"),
        say("where it belongs"),
        say("remark"),
    ]
    return section(
        "normalisations",
        say("Normalisations"),
        table(headers, rows, caption=say("What each normalisation averages over, and where it belongs")),
        lead=say(
            "Normalisation changes the distribution of values inside a network; regularisation changes the loss. "
            "N are the rows of a batch, C the channels or units, H and W the places of an image, C/G the channels of "
            "a group."
        ),
    )


def _normalised(measured: list[Effect]) -> Section | None:
    rows = [
        [
            Cell(tag("b", one.name), one.name),
            numeric(len(one.before.means)),
            *[
                Cell(_span(values), class_="number")
                for moments in (one.before, one.after)
                for values in (moments.means, moments.variances)
            ],
        ]
        for one in measured
    ]
    headers = [
        say("method"),
        say("groups"),
        say("means before"),
        say("variances before"),
        say("means after"),
        say("variances after"),
    ]
    key = legend([("grey", say("before")), ("c0", say("after"))])
    return section(
        "measured",
        say("Before and after"),
        table(headers, rows, caption=say("Mean and variance around each normalisation"), class_="tight"),
        key,
        grid(*[_effect_panel(one) for one in measured], class_="grid-3"),
        lead=say(
            "Measured: {rows} seeded images of different brightness and contrast through a convolution with "
            "{channels} channels, while training. A group is what shares one mean and one variance; from the least to "
            "the largest of them. Where the weights are normalised, all values are one group.",
            rows=NUM_ROWS,
            channels=NUM_CHANNELS,
        ),
    )


def _effect_panel(one: Effect) -> Html:
    part: Any = NORMALISATIONS[one.name].__part__  # type: ignore[attr-defined]
    middles = [(low + high) / 2 for low, high in zip(one.edges, one.edges[1:], strict=False)]
    chart = line_chart(
        say("Values before and after {name}", name=one.name),
        part.summary,
        [
            Series(say("after"), middles, one.shares_after, "c0"),
            Series(say("before"), middles, one.shares_before, "grey"),
        ],
        size=SMALL,
        is_share=True,
        y_range=(0,),
    )
    if part.traits["normalises"] == "values":
        below = [
            tag(
                "p",
                say("Rows down, channels across: what shares its mean and variance with the first."),
                class_="note",
            ),
            _map(one),
        ]
    else:
        below = [tag("p", _weight_note(one), class_="note")]
    whole = say(
        "All values together: mean {mean}, variance {variance} before; mean {new_mean}, variance {new_variance} after.",
        mean=fixed(one.whole_before[0], 3),
        variance=fixed(one.whole_before[1], 3),
        new_mean=fixed(one.whole_after[0], 3),
        new_variance=fixed(one.whole_after[1], 3),
    )
    return figure(
        one.name,
        Html(chart + tag("p", whole, class_="note") + tag("div", below)),
        read=part.summary,
        note=f"{part.source}.",
    )


def _weight_note(one: Effect) -> str:
    (lengths, new_lengths), (largest, new_largest) = one.lengths, one.largest_singular
    return say(
        "Lengths of the units' weights: {lengths} before, {new_lengths} after. Largest singular value: {largest} "
        "before, {new_largest} after.",
        lengths=_span(lengths),
        new_lengths=_span(new_lengths),
        largest=fixed(largest, 3),
        new_largest=fixed(new_largest, 3),
    )


def _map(one: Effect) -> Html:
    """A square for each row and channel, filled where the first result depends on it."""
    size, gap = 8, 1
    cells = [
        tag(
            "rect",
            x=channel * size,
            y=row * size,
            width=size - gap,
            height=size - gap,
            class_="c0 fill" if is_reached else "c0 fill faint",
        )
        for row, line in enumerate(one.reached)
        for channel, is_reached in enumerate(line)
    ]
    width, height = len(one.reached[0]) * size, len(one.reached) * size
    title = tag("title", say("What {name} averages over", name=one.name))
    return tag(
        "svg",
        title,
        cells,
        viewBox=f"0 0 {width} {height}",
        width=f"{width}",
        height=f"{height}",
        role="img",
        class_="chart cells",
    )


def _first(part: type) -> list[str]:
    """Where a part is the one to take."""
    return part.__part__.traits["first_choice_for"]  # type: ignore[attr-defined]


def _span(values: list[float]) -> str:
    """The smallest and the largest, or the one value where they agree in the decimals shown."""
    low, high = fixed(min(values), 3), fixed(max(values), 3)
    return low if low == high else between(low, high)
