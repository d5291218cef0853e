"""What the model looks at: importance, partial dependence, decision boundary, rules of a tree."""

from __future__ import annotations

import re
from typing import Any

from danlu.report import metric_names as metrics
from danlu.report.bars import Row, row_chart
from danlu.report.charts import SMALL, Series, legend, line_chart
from danlu.report.components import Section, figure, folded, grid, panel, section
from danlu.report.maps import border_of, boundary_map, disagreement, is_plane, margin_levels, value_key
from danlu.report.markup import Html, tag
from danlu.report.text import (
    count,
    entries,
    finite,
    fixed,
    is_number,
    label,
    number,
    percent,
    pick,
    say,
    shorten,
)

IMPORTANCES_SHOWN = 15
EFFECTS_SHOWN = 9
CLASSES_DRAWN = 6
VISIBLE = 0.02  # share of a map that must differ before it is worth a word
LEAST_SPAN = 0.05  # of probability, or of the target's range: a flat effect is drawn no nearer
RULE = re.compile(r"^((?:[|│] {3}|[ \t])*)(?:[|├└+`][-─]+ ?)?(.*)$")


def explanation(record: dict[str, Any]) -> Section | None:
    """Importance and partial dependence, then the whole model where it can be drawn or printed."""
    return section(
        "explanation",
        say("What it looks at"),
        grid(_importance(record), _boundary(record)),
        _dependence(record),
        _rules(record),
        lead=say("What moves the predictions. It shows what the model uses, not what causes what."),
    )


def _importance(record: dict[str, Any]) -> Html | None:
    found = entries(record, "evaluation", "importance")
    every = [one for one in found if is_number(one.get("mean")) and not one.get("note")]
    noted = [f"{one.get('column')}: {one['note']}." for one in found if one.get("note")]
    if not every:
        return panel(say("Which columns matter"), [tag("p", text) for text in noted]) if noted else None
    ranked = sorted(every, key=lambda one: -one["mean"])
    rows = [_importance_row(one) for one in ranked[:IMPORTANCES_SHOWN]]
    top = ", ".join(row.name for row in rows[:3])
    metric = metrics.title(str(record.get("metric") or say("score")))
    chart = row_chart(
        say("Importance of the columns"),
        say("Most important: {top}", top=top),
        rows,
        bars=True,
        x_label=say("how much worse {metric} gets", metric=metric),
        show=lambda value: number(value, 2),
    )
    rest = len(ranked) - len(rows)
    more = say("{rest} matter less. ", rest=count(rest, "more column", "more columns")) if rest else ""
    return figure(
        say("Which columns matter"),
        chart,
        read=say("How much worse the score gets when a column's values are shuffled between rows."),
        note=" ".join([more + say("Columns that say the same thing share their importance."), *noted]),
    )


def _importance_row(one: dict[str, Any]) -> Row:
    mean, sd = one["mean"], one.get("sd")
    low, high = (mean - sd, mean + sd) if is_number(sd) else (None, None)
    spread = f" ± {number(sd, 2)}" if is_number(sd) else ""
    return Row(
        str(one.get("column")), mean, low, high, "c0", f"{one.get('column')}: {number(mean, 3)}{spread}"
    )


def _dependence(record: dict[str, Any]) -> Html | None:
    by_column: dict[str, list[dict[str, Any]]] = {}
    for one in entries(record, "evaluation", "partial_dependence"):
        if finite(one.get("value")) or one.get("note"):
            by_column.setdefault(str(one.get("column")), []).append(one)
    if not by_column:
        return None
    names = list(
        dict.fromkeys(
            label(one["label"])
            for curves in by_column.values()
            for one in curves
            if one.get("label") is not None
        )
    )
    colours = {name: f"c{index}" for index, name in enumerate(names[:CLASSES_DRAWN])}
    every = [value for curves in by_column.values() for one in curves for value in finite(one.get("value"))]
    every += _least_range(every, record)
    drawn = [_effect(column, curves, colours, every, record) for column, curves in by_column.items()]
    rest = drawn[EFFECTS_SHOWN:]
    shape = say(
        "What the model would say on average if every row had this value, all else left as it is. "
        "All pictures share one scale: a flat one hardly matters."
    )
    return tag(
        "div",
        tag("h3", say("How the prediction moves with a column")),
        tag("p", shape, class_="read"),
        legend([(colours[name], name) for name in colours]),
        grid(drawn[:EFFECTS_SHOWN], class_="grid-3"),
        folded(
            say("Show {more}", more=count(len(rest), "more column", "more columns")),
            grid(rest, class_="grid-3"),
        )
        if rest
        else None,
    )


def _effect(
    column: str,
    curves: list[dict[str, Any]],
    colours: dict[str, str],
    every: list[float],
    record: dict[str, Any],
) -> Html:
    noted = next((one["note"] for one in curves if one.get("note")), None)
    if noted:
        return panel(column, tag("p", noted))
    is_share = record.get("task") != "regression"
    shown = [one for one in curves if one.get("label") is None or label(one["label"]) in colours] or curves[
        :1
    ]
    show = percent if is_share else number
    said = label(shown[0]["label"]) if shown[0].get("label") is not None else str(record.get("target") or "")
    y_label = (
        say("probability")
        if len(colours) > 1
        else say("probability of {label}", label=said)
        if is_share
        else said
    )
    numeric_grid = all(is_number(value) for value in shown[0].get("grid") or [])
    if numeric_grid and len(shown[0].get("grid") or []) > 1:
        series = [
            Series(
                label(one.get("label")) if one.get("label") is not None else said,
                one["grid"],
                one["value"],
                colours.get(label(one.get("label")), "c0"),
            )
            for one in shown
        ]
        chart = line_chart(
            say("Effect of {column}", column=column),
            "",
            series,
            size=SMALL,
            y_label=shorten(y_label, 22),
            y_range=every,
            is_whole=_is_whole(column, shown[0]["grid"], record),
            show=show,
            is_share=is_share,
        )
        return figure(column, chart)
    rows = [
        Row(
            label(value) if one is shown[0] else "",  # one row a class, the first of them named
            one["value"][place],
            class_=colours.get(label(one.get("label")), "c0"),
            tip=f"{label(value)}: {show(one['value'][place])}",
        )
        for place, value in enumerate(shown[0].get("grid") or [])
        for one in shown
        if place < len(one["value"]) and is_number(one["value"][place])
    ]
    spread = (max(every) - min(every)) or 1.0
    chart = row_chart(
        say("Effect of {column}", column=column),
        "",
        rows[:24],
        x_label=y_label,
        show=show,
        wide=SMALL[0],
        is_share=is_share,
        focus=(min(every) - 0.04 * spread, max(every) + 0.04 * spread),
    )
    left_out = (
        say("{more} are not drawn.", more=count(len(rows) - 24, "more value", "more values"))
        if len(rows) > 24
        else None
    )
    return figure(column, chart, note=left_out)


def _least_range(every: list[float], record: dict[str, Any]) -> list[float]:
    """Ends that keep a flat effect from being blown up until rounding errors look like hills."""
    if not every:
        return []
    middle = (min(every) + max(every)) / 2
    if record.get("task") != "regression":
        low = min(max(middle - LEAST_SPAN / 2, 0.0), 1 - LEAST_SPAN)
        return [low, low + LEAST_SPAN]
    target = next((one for one in entries(record, "data", "columns") if one.get("role") == "target"), {})
    ends = finite([target.get("min"), target.get("max")])
    half = LEAST_SPAN / 2 * (ends[1] - ends[0] if len(ends) == 2 else abs(middle))
    return [middle - half, middle + half]


def _is_whole(column: str, grid: list[Any], record: dict[str, Any]) -> bool:
    """Whether a column holds whole numbers only, as far as its type or its grid tells."""
    described = next((one for one in entries(record, "data", "columns") if one.get("name") == column), {})
    is_integer = str(described.get("dtype") or "").startswith(("Int", "UInt"))
    return is_integer or all(float(value).is_integer() for value in grid)


def _boundary(record: dict[str, Any]) -> Html | None:
    boundary = pick(record, "evaluation", "boundary") or {}
    if not is_plane(boundary):
        return None
    task, labels = str(record.get("task")), record.get("labels") or []
    title = say("{x} and {y}", x=boundary.get("x"), y=boundary.get("y"))
    chart = boundary_map(
        title,
        say("What the model says at each place"),
        boundary,
        task=task,
        labels=labels,
        positive=record.get("positive"),
    )
    read = {
        "regression": say(
            "The darker a place, the larger the prediction; points are rows, coloured by what was observed."
        ),
        "binary": say(
            "The colour is the class that the model says there, the darker the surer; points are rows."
        ),
    }.get(task, say("The colour is the class that the model says there; points are rows."))
    is_number_map = task not in ("binary", "multiclass")
    return figure(
        say("What it predicts across the two columns")
        if is_number_map
        else say("Where the model draws the line"),
        chart,
        read=read + (_borders(boundary) if task == "binary" else ""),
        key=value_key(boundary)
        if is_number_map
        else legend([(f"c{code % 8}", label(name)) for code, name in enumerate(labels)]),
    )


def _borders(boundary: dict[str, Any]) -> str:
    """What the lines on a map of two classes are."""
    told = say(
        " The solid line is where the probability reaches {border}", border=fixed(border_of(boundary), 2)
    )
    told += say(", the dashed ones are the margin.") if margin_levels(boundary) else "."
    share = disagreement(boundary)
    if share > VISIBLE:
        told += say(
            " The machine's own border, where its distance is 0, lies elsewhere: probabilities are worked out "
            "from distances afterwards, and on {share} of the plane the two disagree.",
            share=percent(share, 0),
        )
    return told


def _rules(record: dict[str, Any]) -> Html | None:
    text = record.get("rules")
    if not isinstance(text, str) or not text.strip():
        return None
    lines = [line for line in text.splitlines() if line.strip()]
    drawn = tree(lines)
    return panel(
        say("The tree as rules"),
        drawn
        if len(lines) <= 40
        else folded(say("Show {lines}", lines=count(len(lines), "rule", "rules")), drawn),
        read=say("Follow the first condition that holds, from the top to a leaf."),
        wide=True,
    )


def tree(lines: list[str]) -> Html:
    """A printed tree with a guide line for every level; leaves (lines that nothing hangs on) stand out."""
    parsed = [match.groups() for text in lines if (match := RULE.match(text))]
    indents = [len(before.replace("\t", "    ").replace("│", "|")) for before, _ in parsed]
    levels = {indent: level for level, indent in enumerate(sorted(set(indents)))}
    rows: list[Html] = []
    for index, (_, text) in enumerate(parsed):
        is_leaf = index + 1 == len(parsed) or indents[index + 1] <= indents[index]
        guides = [tag("span", class_="guide-line") for _ in range(levels[indents[index]])]
        rows.append(tag("li", guides, tag("span", text, class_="leaf" if is_leaf else "condition")))
    return tag("div", tag("ol", rows, class_="tree"), class_="scroll", tabindex=0)
