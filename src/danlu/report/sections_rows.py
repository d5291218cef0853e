"""Whom the model serves well and badly: scores by group, and the rows with the worst misses."""

from __future__ import annotations

from typing import Any

from danlu.report import metric_names as metrics
from danlu.report.bars import Row, row_chart
from danlu.report.components import Cell, Section, figure, grid, numeric, section, table
from danlu.report.markup import Html, tag
from danlu.report.text import (
    MISSING,
    count,
    day,
    entries,
    is_number,
    label,
    number,
    percent,
    pick,
    say,
    shorten,
)

VALUES_SHOWN = 6
WORST_SHOWN = 10
TEXT_EMS = 68  # about 120 letters
GROUPS_SHOWN = 30


def groups(record: dict[str, Any]) -> Section | None:
    """Scores by group: does the model serve everybody equally well?"""
    every = [one for one in entries(record, "evaluation", "groups") if one.get("metrics")]
    if not every:
        return None
    drawn = [
        _group_chart(column, [one for one in every if one.get("column") == column], record)
        for column in dict.fromkeys(one.get("column") for one in every)
    ]
    return section(
        "groups",
        say("Group by group"),
        grid(drawn),
        _gaps(record),
        tag("h3", say("Scores of each group")),
        _group_table(every, record),
        lead=say("The same score for each group of rows. Small groups swing by chance."),
    )


def worst_rows(record: dict[str, Any]) -> Section | None:
    """The rows that cost most: often wrong labels, rare cases, or a column that is missing."""
    rows = entries(record, "evaluation", "worst_rows")
    if not rows:
        return None
    ranked = [one.get("column") for one in entries(record, "evaluation", "importance")]
    known = list(dict.fromkeys(name for row in rows for name in row.get("values") or {}))
    shown = sorted(known, key=lambda name: ranked.index(name) if name in ranked else len(ranked))[
        :VALUES_SHOWN
    ]
    numeric_columns = {name for name in shown if _is_numeric(rows, name)}
    has_chance = any(is_number(row.get("probability")) for row in rows)
    chance = [say("Probability of the true class")] if has_chance else []
    headers = [say("Row"), say("Observed"), say("Predicted"), *chance, say("Loss"), *shown]
    types = {str(one.get("name")): one.get("type") for one in entries(record, "data", "columns")}
    body = [
        [
            numeric(row.get("row")),
            Cell(tag("b", label(row.get("observed")))),
            Cell(label(row.get("predicted"))),
            *([numeric(row.get("probability"), percent(row.get("probability")))] if has_chance else []),
            numeric(row.get("loss"), number(row.get("loss"), 3)),
            *(
                Cell(_value(row, name, types.get(name)), class_="number" if name in numeric_columns else "")
                for name in shown
            ),
        ]
        for row in rows
    ]
    left_out = len(known) - len(shown)
    note = say("{more} of these rows are not shown.", more=count(left_out, "more column", "more columns"))
    title, lead = _title_and_lead(rows, record)
    return section(
        "worst",
        title,
        table(
            headers,
            body,
            sortable=True,
            visible=WORST_SHOWN,
            class_="tight",
            caption=say("Rows with the largest loss"),
        ),
        tag("p", note, class_="note") if left_out > 0 else None,
        lead=lead,
    )


def _title_and_lead(rows: list[dict[str, Any]], record: dict[str, Any]) -> tuple[str, str]:
    is_right = record.get("task") != "regression" and all(
        row.get("observed") is not None and label(row["observed"]) == label(row.get("predicted"))
        for row in rows
    )
    if not is_right:
        lead = (
            "Unseen rows where the model was most wrong: look for wrong labels, rare cases, missing causes."
        )
        return say("The worst misses"), say(lead)
    accuracy = metrics.unseen(record)[1].get("accuracy")
    if (
        is_number(accuracy) and accuracy < 1
    ):  # with a threshold, a row that is wrong may cost less than one that is right
        lead = "The model was least sure of these unseen rows, but decided each of them rightly."
    else:
        lead = "No unseen row was decided wrongly; these were the least sure."
    return say("The least sure rows"), say(lead)


def _is_numeric(rows: list[dict[str, Any]], name: str) -> bool:
    values = [value for row in rows if (value := pick(row, "values", name)) is not None]
    return bool(values) and all(is_number(value) for value in values)


def _gaps(record: dict[str, Any]) -> Html | None:
    """The largest difference between two groups of a column, for what fairness is usually judged by."""
    every = entries(record, "evaluation", "group_gaps")
    if not every:
        return None
    rows = [
        [
            Cell(str(one.get("column"))),
            Cell(metrics.title(str(one.get("metric")))),
            numeric(one.get("gap"), metrics.show(str(one.get("metric")), one.get("gap"))),
            Cell(metrics.show_interval(str(one.get("metric")), one.get("interval")), class_="number"),
            Cell(label(one.get("highest"))),
            Cell(label(one.get("lowest"))),
            Cell(metrics.metric_of(str(one.get("metric"))).meaning, class_="why"),
        ]
        for one in every
    ]
    headers = [
        say("Column"),
        say("Measure"),
        say("Largest gap"),
        say("95 % interval"),
        say("Highest"),
        say("Lowest"),
    ]
    drawn = table(
        [*headers, say("What it says")], rows, caption=say("Gaps between groups"), visible=GROUPS_SHOWN
    )
    return Html(tag("h3", say("Gaps between groups")) + drawn)


def _group_chart(column: Any, every: list[dict[str, Any]], record: dict[str, Any]) -> Html | None:
    name = _group_metric(every, record)
    ranked = sorted(
        (one for one in every if is_number(pick(one, "metrics", name))), key=lambda one: -one["metrics"][name]
    )
    if not ranked:
        return None
    rows = [_group_row(one, name) for one in ranked[:GROUPS_SHOWN]]
    overall = pick(record, "metrics", metrics.unseen(record)[0], name)
    guides = (
        [(float(overall), say("all rows {value}", value=metrics.show(name, overall)))]
        if is_number(overall)
        else []
    )
    ends = [
        (label(one.get("value")), metrics.show(name, one["metrics"][name])) for one in (ranked[-1], ranked[0])
    ]
    told = say(
        "{metric} runs from {low} ({low_group}) to {high} ({high_group}).",
        metric=metrics.title(name),
        low=ends[0][1],
        low_group=ends[0][0],
        high=ends[1][1],
        high_group=ends[1][0],
    )
    chart = row_chart(
        say("{metric} by {column}", metric=metrics.title(name), column=column),
        told,
        rows,
        guides=guides,
        x_label=metrics.title(name),
        show=lambda value: metrics.show(name, value),
        is_share=metrics.metric_of(name).form == "percent",
    )
    return figure(str(column), chart, read=told)


def _group_row(one: dict[str, Any], name: str) -> Row:
    value, interval = one["metrics"][name], pick(one, "intervals", name)
    low, high = interval if metrics.is_interval(interval) else (None, None)
    rows = count(one.get("num_rows"), "row", "rows")
    return Row(
        label(one.get("value")),
        value,
        low,
        high,
        tip=f"{label(one.get('value'))}: {metrics.show(name, value)}, {rows}",
    )


def _group_table(every: list[dict[str, Any]], record: dict[str, Any]) -> Html:
    names = metrics.ordered((name for one in every for name in one["metrics"]), record)[:6]
    rows = [
        [
            Cell(str(one.get("column"))),
            Cell(
                [
                    label(one.get("value")),
                    tag("span", say(" (few rows)"), class_="quiet") if one.get("is_small") else None,
                ]
            ),
            numeric(one.get("num_rows")),
            *(
                numeric(one["metrics"].get(name), metrics.show(name, one["metrics"].get(name)))
                for name in names
            ),
        ]
        for one in every
    ]
    headers = [say("Column"), say("Group"), say("Rows"), *(metrics.title(name) for name in names)]
    return table(
        headers,
        rows,
        sortable=True,
        visible=GROUPS_SHOWN,
        caption=say("Scores by group"),
        noun=("group", "groups"),
    )


def _group_metric(every: list[dict[str, Any]], record: dict[str, Any]) -> str:
    names = [name for one in every for name in one["metrics"]]
    wanted = metrics.headline_metric(record)
    return wanted if wanted and wanted in names else metrics.ordered(names, record)[0]


def _value(row: dict[str, Any], name: str, kind: Any) -> str:
    value = pick(row, "values", name)
    if value is None:
        return MISSING
    if kind == "datetime":
        return day(value)
    return shorten(label(value), TEXT_EMS if kind == "text" else 20)
