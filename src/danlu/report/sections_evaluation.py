"""How good the model is on rows that it never saw: scores beside the baseline, then the plots of the task."""

from __future__ import annotations

from typing import Any

from danlu.report import metric_names as metrics
from danlu.report.components import Cell, Section, badge, panel, section, table
from danlu.report.markup import Html, tag
from danlu.report.plots_classes import class_plots, per_class
from danlu.report.plots_regression import residual_plots
from danlu.report.text import (
    fixed,
    is_number,
    label,
    pick,
    say,
)


def evaluation(record: dict[str, Any]) -> Section | None:
    """Scores, then residuals and intervals for numbers; curves, confusion and calibration for classes."""
    part = metrics.unseen(record)[0]
    lead = {
        "test": say("Measured once, at the end, on rows that were used for nothing else."),
        "validation": say("Measured on rows that also chose the model, so a little flattering."),
    }[part]
    plots = residual_plots(record) if record.get("task") == "regression" else class_plots(record)
    return section(
        "evaluation",
        say("How good it is"),
        _scores(record),
        _threshold(record),
        plots,
        per_class(record),
        lead=lead,
    )


def _scores(record: dict[str, Any]) -> Html | None:
    part, scores = metrics.unseen(record)
    scored, base = record.get("metrics") or {}, record.get("baseline") or {}
    others = [name for name in ("validation", "train") if name != part and scored.get(name)]
    names = metrics.ordered([*scores, *(name for other in others for name in scored[other])], record)
    names = [
        name for name in names if any(is_number((scored.get(p) or {}).get(name)) for p in (part, *others))
    ]
    if not names:
        return None
    titles = {"test": say("Unseen rows"), "validation": say("Validation"), "train": say("Training")}
    headers = [
        say("Score"),
        titles[part],
        say("95 % interval"),
        say("Baseline"),
        *(titles[other] for other in others),
        say("What it says"),
    ]
    rows: list[list[Cell]] = []
    for name in names:
        metric = metrics.metric_of(name)
        mark = [" ", badge(say("chosen by"), "plain")] if name == record.get("metric") else None
        arrow = {True: "↑", False: "↓", None: ""}[metrics.greater_is_better(name, record)]
        way = {"↑": say("more is better"), "↓": say("less is better"), "": ""}[arrow]
        rows.append(
            [
                Cell(
                    [tag("b", metric.title), tag("span", f"\u00a0{arrow}", class_="quiet", title=way), mark],
                    metric.title,
                ),
                Cell(tag("b", metrics.show(name, scores.get(name))), class_="number"),
                Cell(metrics.show_interval(name, pick(record, "intervals", part, name)), class_="number"),
                Cell(metrics.show(name, pick(base, part, name)), class_="number"),
                *(Cell(metrics.show(name, scored[other].get(name)), class_="number") for other in others),
                Cell(metric.meaning, class_="why"),
            ]
        )
    return table(headers, rows, caption=say("Scores"), class_="scores")


def _threshold(record: dict[str, Any]) -> Html | None:
    threshold = pick(record, "evaluation", "threshold")
    if not threshold:
        return None
    value, sentence = threshold.get("value"), threshold.get("sentence")
    told = say(
        "A row is called {label} where its probability is at least {value}.",
        label=repr(label(record.get("positive"))),
        value=fixed(value, 3),
    )
    return (
        panel(
            say("Where the line is drawn"),
            tag("p", metrics.readable(sentence) if sentence else told),
            wide=True,
        )
        if is_number(value) or sentence
        else None
    )
