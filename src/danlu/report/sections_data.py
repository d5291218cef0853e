"""What the data are, column by column, and what was done with them: split, plan, preprocessing."""

from __future__ import annotations

from typing import Any

from danlu.report import metric_names as metrics
from danlu.report.bars import folds_chart, mini_histogram, mini_shares, split_bar
from danlu.report.components import Cell, Section, badge, grid, numeric, panel, section, sentences, table
from danlu.report.markup import Html, rich, tag
from danlu.report.text import (
    between,
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

COLUMNS_SHOWN = 30
MOST_FOLDS = 10
SPLIT_PARTS = (("train", "c0"), ("choice", "c4"), ("calibration", "c2"), ("test", "c1"))


def data(record: dict[str, Any]) -> Section | None:
    """The columns with their types, gaps and distributions."""
    described = record.get("data") or {}
    columns = entries(described, "columns")
    num_rows = described.get("num_rows")
    lead = [
        count(num_rows, "row", "rows") if num_rows is not None else None,
        count(len(columns), "column", "columns") if columns else None,
        _duplicates(described.get("num_duplicates")),
    ]
    source = described.get("source")
    told = ", ".join(part for part in lead if part)
    body = (
        rich("{told}, read from {source}.", told=told, source=tag("code", source)) if source else f"{told}."
    )
    return section(
        "data",
        say("The data"),
        _columns(columns, num_rows) if columns else None,
        None if columns or not told else tag("p", body),
        lead=body if columns else None,
    )


def done(record: dict[str, Any]) -> Section | None:
    """How the rows were split and what was done, in sentences."""
    said = pick(record, "split", "sentence")
    plan = sentences(
        [metrics.readable(line) for line in pick(record, "run", "plan") or [] if line and line != said]
    )
    preparation = sentences([metrics.readable(line) for line in _lines(record.get("preprocessing"))])
    return section(
        "done",
        say("What was done"),
        _split(record.get("split") or {}),
        grid(
            panel(say("The plan"), plan) if plan else None,
            panel(say("How columns are prepared"), preparation) if preparation else None,
        ),
    )


def _duplicates(amount: Any) -> str | None:
    if not is_number(amount):
        return None
    return say("no repeated rows") if amount == 0 else count(amount, "repeated row", "repeated rows")


def _columns(columns: list[dict[str, Any]], num_rows: Any) -> Html:
    order = {"target": 0, "feature": 1}
    ranked = sorted(columns, key=lambda column: order.get(column.get("role") or "feature", 2))
    headers = [
        say("Column"),
        say("Type"),
        say("Missing"),
        say("Different values"),
        say("Distribution"),
        say("In figures"),
        say("Why this type and role"),
    ]
    return table(
        headers,
        [_column(column, num_rows) for column in ranked],
        sortable=True,
        visible=COLUMNS_SHOWN,
        class_="columns",
        caption=say("The columns of the data"),
        noun=("column", "columns"),
    )


def _column(column: dict[str, Any], num_rows: Any) -> list[Cell]:
    name, role = str(column.get("name")), column.get("role") or "feature"
    missing = column.get("num_missing")
    share = missing / num_rows if is_number(missing) and num_rows else None
    gap = say("none") if missing == 0 else percent(share) if share is not None else number(missing)
    shown_name = [
        tag("span", shorten(name, 24), class_="column-name"),
        " " if role != "feature" else None,
        badge(role, role) if role != "feature" else None,
    ]
    return [
        Cell(shown_name, name, tip=name if len(name) > 40 else ""),
        Cell(column.get("type") or "–", column.get("type")),
        numeric(missing, gap, tip=count(missing, "row", "rows") if missing else ""),
        numeric(column.get("num_unique")),
        Cell(_picture(column, num_rows)),
        Cell(_figures(column, num_rows), class_="figures"),
        Cell(metrics.readable(column.get("why") or ""), class_="why"),
    ]


def _picture(column: dict[str, Any], num_rows: Any) -> Html | None:
    drawn = column.get("histogram")
    if drawn and drawn.get("counts"):
        return mini_histogram(drawn.get("edges") or [], drawn["counts"])
    top = _top(column)
    return mini_shares(top, num_rows or sum(pair[1] for pair in top)) if top else None


def _figures(column: dict[str, Any], num_rows: Any) -> str:
    mean, sd, median = column.get("mean"), column.get("sd"), column.get("median")
    low, high = column.get("min"), column.get("max")
    parts: list[str] = []
    if is_number(mean):
        parts.append(say("mean {mean}", mean=number(mean, 4)))
    if is_number(sd):
        parts.append(say("sd {sd}", sd=number(sd, 3)))
    if median is not None:
        parts.append(say("median {median}", median=_figure(median)))
    if low is not None and high is not None:
        parts.append(between(_figure(low), _figure(high)))
    if not parts and num_rows:
        top = _top(column)
        parts = [f"{shorten(label(value), 16)} {percent(amount / num_rows, 0)}" for value, amount in top[:3]]
    return ", ".join(parts)


def _figure(value: Any) -> str:
    return number(value, 4) if is_number(value) else day(value)


def _top(column: dict[str, Any]) -> list[list[Any]]:
    """The commonest values and how often each occurs."""
    pairs = column.get("top") or []
    return [pair for pair in pairs if isinstance(pair, list) and len(pair) == 2 and is_number(pair[1])]


def _split(split: dict[str, Any]) -> Html | None:
    rows = split.get("rows") or {}
    names = {
        "train": say("learning"),
        "choice": say("choosing the model"),
        "calibration": say("calibration"),
        "test": say("final test"),
    }
    # In a cross-validation the same rows learn, choose and calibrate, each time in another part.
    shared = ("choice", "calibration") if split.get("folds") else ()
    kept = [
        (key, class_, rows[key])
        for key, class_ in SPLIT_PARTS
        if is_number(rows.get(key)) and rows[key] > 0 and key not in shared
    ]
    if shared:
        names["train"] = say("learning and choosing, in turns")
    sentence = tag("p", metrics.readable(split["sentence"])) if split.get("sentence") else None
    total = sum(amount for _, _, amount in kept)
    bar = None
    if kept:
        told = ", ".join(f"{names[key]} {number(amount)}" for key, _, amount in kept)
        bar = [
            split_bar(
                say("How the rows were split"),
                told,
                [(names[key], amount, class_) for key, class_, amount in kept],
            ),
            tag(
                "ul",
                [
                    tag(
                        "li",
                        tag("span", class_=f"swatch {class_}"),
                        tag("b", number(amount)),
                        " ",
                        names[key],
                        tag("span", f" {percent(amount / total)}", class_="quiet"),
                    )
                    for key, class_, amount in kept
                ],
                class_="legend",
            ),
        ]
    return (
        panel(say("Which rows did what"), bar, _folds(split), sentence, wide=True)
        if bar or sentence
        else None
    )


def _folds(split: dict[str, Any]) -> Html | None:
    folds, repeats = split.get("folds"), split.get("repeats")
    if not is_number(folds) or folds < 2:
        return None
    told = say("Cross-validation in {folds} parts", folds=number(folds))
    if is_number(repeats) and repeats > 1:
        told += say(", done {repeats} times with other cuts", repeats=number(repeats))
    told += say(": each part is predicted by a model that learnt from the others.")
    drawn = folds_chart(say("Folds"), told, int(folds)) if folds <= MOST_FOLDS else None
    return tag("div", tag("p", told), drawn, class_="folds-panel")


def _lines(value: Any) -> list[str]:
    if isinstance(value, dict):
        value = value.get("sentences") or value.get("sentence")
    return [value] if isinstance(value, str) else list(value or [])
