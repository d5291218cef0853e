"""The plots that belong to a predicted number: residuals, and whether its intervals keep their promise."""

from __future__ import annotations

from typing import Any

from danlu.report import metric_names as metrics
from danlu.report.bars import interval_strip
from danlu.report.charts import MOST_POINTS as POINTS_DRAWN
from danlu.report.charts import bins, histogram, scatter
from danlu.report.components import figure, grid, panel
from danlu.report.markup import Html, tag
from danlu.report.text import (
    between,
    count,
    is_number,
    number,
    percent,
    pick,
    say,
)


def residual_plots(record: dict[str, Any]) -> Html | None:
    """Observed beside predicted, what is left over, how large the misses are, and whether intervals hold."""
    observed, predicted = (
        pick(record, "evaluation", "residuals", key) or [] for key in ("observed", "predicted")
    )
    pairs = [(a, b) for a, b in zip(observed, predicted, strict=False) if is_number(a) and is_number(b)]
    target = str(record.get("target") or say("target"))
    if not pairs:
        return grid(_coverage(record))
    observed, predicted = [a for a, _ in pairs], [b for _, b in pairs]
    residuals = [a - b for a, b in pairs]
    num_rows = pick(record, "evaluation", "residuals", "num_rows") or len(pairs)
    num_drawn = min(len(pairs), POINTS_DRAWN)
    rows = count(num_rows, "row", "rows")
    note = (
        say("{shown} of {rows} are drawn.", shown=number(num_drawn), rows=rows)
        if num_drawn < num_rows
        else f"{rows}."
    )
    edges, counts = bins(residuals)
    slope = say(
        "Orange: the middle miss for ten groups of rows. Where it leaves 0, the model is one-sided there."
    )
    return grid(
        figure(
            say("Observed and predicted"),
            scatter(
                say("Observed and predicted {target}", target=target),
                note,
                predicted,
                observed,
                diagonal=True,
                x_label=say("predicted"),
                y_label=say("observed"),
            ),
            read=say("On the dashed line the prediction is exact; above it the model said too little."),
            note=note,
        ),
        figure(
            say("What is left over"),
            scatter(
                say("Observed minus predicted"),
                note,
                predicted,
                residuals,
                zero_line=True,
                trend=True,
                x_label=say("predicted"),
                y_label=say("observed − predicted"),
            ),
            read=slope if len(pairs) >= 50 else say("A good model leaves a cloud without shape around 0."),
            note=note,
        ),
        figure(
            say("How large the misses are"),
            histogram(
                say("Histogram of observed minus predicted"),
                "",
                edges,
                counts,
                x_label=say("observed − predicted"),
                y_label=say("rows"),
            ),
            read=say(
                "Narrow and centred on 0 is good; a long tail is a kind of row that the model does not get."
            ),
            note=say("The outermost 0.5 % on each side are counted in the last bars.")
            if len(pairs) >= 200
            else None,
        ),
        _coverage(record),
    )


def _coverage(record: dict[str, Any]) -> Html | None:
    interval = pick(record, "evaluation", "interval") or {}
    asked, covered = interval.get("asked"), interval.get("covered")
    if not is_number(covered):
        return None
    lines = [
        say(
            "{covered} of {rows} fell inside their interval; {asked} were promised.",
            covered=percent(covered),
            rows=count(interval.get("num_rows"), "row", "rows")
            if interval.get("num_rows")
            else say("the rows"),
            asked=percent(asked, 0),
        )
    ]
    if is_number(interval.get("mean_width")):
        lines.append(say("An interval is {width} wide on average.", width=number(interval["mean_width"])))
    bounds = interval.get("covered_interval")
    strip = None
    if metrics.is_interval(bounds):
        strip = interval_strip(bounds[0], covered, bounds[1], asked, percent)
        lines.append(
            say(
                "95 % interval of that share: {interval}.",
                interval=between(percent(bounds[0]), percent(bounds[1])),
            )
        )
        if is_number(asked):
            kept = bounds[0] <= asked <= bounds[1]
            lines.append(
                say("The promise is kept.")
                if kept
                else say("The intervals are too narrow.")
                if covered < asked
                else say("The intervals are wider than they need to be.")
            )
    return panel(
        say("Prediction intervals"),
        strip,
        tag("p", " ".join(lines)),
        read=say(
            "Each prediction comes with a range. Does the truth fall into it as often as promised? "
            "The dashed line is the promise."
        ),
    )
