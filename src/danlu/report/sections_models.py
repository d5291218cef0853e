"""The comparison of candidates, why one was chosen, and how each of them learnt."""

from __future__ import annotations

from typing import Any

from danlu.report import metric_names as metrics
from danlu.report.bars import Row, row_chart
from danlu.report.charts import SMALL, Series, legend, line_chart
from danlu.report.components import (
    Cell,
    Section,
    badge,
    figure,
    folded,
    grid,
    numeric,
    plain_value,
    section,
    table,
)
from danlu.report.markup import Html, tag
from danlu.report.text import MISSING, count, entries, finite, is_number, number, percent, pick, say
from danlu.report.text import seconds as time

STATUSES = ("chosen", "member", "tried", "failed", "skipped")
CURVES_SHOWN = 6
ROWS_SHOWN = 25


def candidates(record: dict[str, Any]) -> Section | None:
    """Every model that was tried, failed or left out, best first."""
    every = ranked(record)
    if not every:
        return None
    name = str(record.get("metric") or "score")
    scored = [one for one in every if is_number(one.get("score"))]
    better = {True: say("More is better."), False: say("Less is better."), None: ""}[
        metrics.greater_is_better(name, record)
    ]
    lead = say(
        "{tried} compared by {metric} on rows that they had not learnt from. {better}",
        tried=count(len(scored), "model was", "models were"),
        metric=metrics.inline(name),
        better=better,
    )
    rivals = [
        one for one in scored if one.get("model") != "baseline"
    ]  # the baseline is a line of the picture
    chart = _dots(rivals[:ROWS_SHOWN], record, name) if len(rivals) > 1 else None
    return section(
        "models", say("Models compared"), grid(chart, _members(record)), _table(every, name), lead=lead
    )


def learning(record: dict[str, Any]) -> Section | None:
    """Learning curves: what each round or epoch brought, on rows learnt from and on rows held back."""
    every = ranked(record)
    drawn = [chart for one in every if (chart := _curve(one))]
    if not drawn:
        return None
    curves = [one["curve"] for one in every if isinstance(one.get("curve"), dict)]
    is_held, is_seen = (any(finite(curve.get(key)) for curve in curves) for key in ("validation", "train"))
    lines = [("c0", say("validation rows"))] * is_held + [("c1", say("training rows"))] * is_seen
    told = [
        say("The dashed line marks the round whose model was kept.")
        if any(is_number(curve.get("best")) for curve in curves)
        else None,
        say(
            "A training line that keeps improving while the validation line does not is overfitting; two lines "
            "that still improve ask for more training."
        )
        if is_held and is_seen
        else say("A line that still improves at its end asks for more training."),
        say("Of a model that was fitted once a fold, only the fold named below is drawn.")
        if any(curve.get("fold") for curve in curves)
        else None,
    ]
    rest = drawn[CURVES_SHOWN:]
    more = folded(
        say("Show {more}", more=count(len(rest), "more curve", "more curves")), grid(rest, class_="grid-3")
    )
    return section(
        "learning",
        say("Learning curves"),
        legend(lines, least=1),
        grid(drawn[:CURVES_SHOWN], class_="grid-3"),
        more if rest else None,
        lead=" ".join(text for text in told if text),
    )


def candidate_name(one: dict[str, Any]) -> str:
    """What a candidate is called."""
    return str(one.get("name") or one.get("model") or MISSING)


def ranked(record: dict[str, Any]) -> list[dict[str, Any]]:
    """The candidates: the chosen one, then the others by their score, then those without one."""
    greater = metrics.greater_is_better(str(record.get("metric") or ""), record)
    sign = 1 if greater is False else -1

    def key(one: dict[str, Any]) -> tuple[int, int, float]:
        status, score = one.get("status"), one.get("score")
        is_scored = is_number(score)
        return (
            0 if status == "chosen" else 1 if is_scored else 2,
            STATUSES.index(status) if status in STATUSES and not is_scored else 0,
            sign * score if is_scored else 0.0,
        )

    return sorted(entries(record, "candidates"), key=key)


def _dots(scored: list[dict[str, Any]], record: dict[str, Any], name: str) -> Html:
    base = pick(record, "baseline", "validation", name)
    rows = [_row(one, name) for one in scored]
    guides = (
        [(float(base), say("baseline {value}", value=metrics.show(name, base)))] if is_number(base) else []
    )
    focus = _focus([row.value for row in rows], base, [end for row in rows for end in (row.low, row.high)])
    chart = row_chart(
        say("Score of each model"),
        say("Best: {name} with {value}.", name=rows[0].name, value=metrics.show(name, rows[0].value)),
        rows,
        x_label=metrics.title(name),
        guides=guides,
        show=lambda value: metrics.show(name, value),
        focus=focus,
        is_share=metrics.metric_of(name).form == "percent",
    )
    far = say(" An arrow points to what lies outside the picture.") if focus else ""
    return figure(
        say("Score of each model"),
        chart,
        read=say(
            "The bar around a dot is its 95 % interval: models whose bars overlap much are about as good."
        )
        + far,
    )


def _row(one: dict[str, Any], name: str) -> Row:
    interval = one.get("score_interval")
    low, high = interval if metrics.is_interval(interval) else (None, None)
    told = f"{candidate_name(one)}: {metrics.show(name, one['score'])}"
    told += say(" (95 % interval {it})", it=metrics.show_interval(name, interval)) if low is not None else ""
    classes = {"chosen": "c0", "member": "c0 half"}
    return Row(
        candidate_name(one), one["score"], low, high, classes.get(one.get("status") or "", "grey"), told
    )


def _focus(values: list[float], base: Any, ends: list[float | None]) -> tuple[float, float] | None:
    """The range to draw where a bad score or the baseline is so far off that all others would be one dot."""
    best = values[0]
    distances = sorted(abs(value - best) for value in values)
    bars = [
        abs(end - value)
        for value, low, high in zip(values, ends[::2], ends[1::2], strict=True)
        for end in (low, high)
        if end is not None
    ]
    usual = max(distances[len(distances) // 2], 3 * min(bars, default=0.0), 1e-12)
    if max(distances[-1], abs(base - best) if is_number(base) else 0.0) <= 4 * usual:
        return None
    near = [value for value in finite([*values, *ends, base]) if abs(value - best) <= 2.5 * usual]
    margin = 0.06 * (max(near) - min(near) or abs(best) or 1.0)
    return min(near) - margin, max(near) + margin


def _members(record: dict[str, Any]) -> Html | None:
    weights: dict[str, list[float]] = {}
    for one in entries(record, "chosen", "members"):
        if is_number(one.get("weight")):
            weights.setdefault(str(one.get("name")), []).append(one["weight"])
    if len(weights) < 2:
        return None
    rows = [
        Row(
            name if len(each) == 1 else say("{name} ({number} models)", name=name, number=len(each)),
            sum(each),
        )
        for name, each in weights.items()
    ]
    chart = row_chart(
        say("Weights of the members"),
        "",
        rows,
        bars=True,
        is_share=True,
        show=lambda value: percent(value, 0),
    )
    return figure(
        say("What the chosen model is made of"),
        chart,
        read=say("The answers of these models are averaged with these weights."),
    )


def _table(every: list[dict[str, Any]], name: str) -> Html:
    headers = [
        say("Model"),
        say("Status"),
        metrics.title(name),
        say("95 % interval"),
        say("On training rows"),
        say("Time"),
        say("Rounds"),
        say("Remarks"),
    ]
    rows = [_table_row(one, name) for one in every]
    return table(
        headers,
        rows,
        sortable=True,
        visible=ROWS_SHOWN,
        caption=say("Models compared"),
        noun=("model", "models"),
    )


def _table_row(one: dict[str, Any], name: str) -> list[Cell]:
    status = str(one.get("status") or "tried")
    words = {
        "chosen": say("chosen"),
        "member": say("member"),
        "tried": say("tried"),
        "failed": say("failed"),
        "skipped": say("skipped"),
    }
    score, train = one.get("score"), pick(one, "metrics", "train", name)
    remarks = "; ".join(
        metrics.readable(text) for text in (one.get("why"), one.get("stop_reason")) if text and text != "done"
    )
    title = candidate_name(one)
    model = (
        tag("span", one["model"], class_="quiet code") if one.get("model") and one["model"] != title else None
    )
    return [
        Cell([tag("b", title) if status == "chosen" else title, " " if model else None, model], title),
        Cell(badge(words.get(status, status), status), status),
        numeric(score, metrics.show(name, score)),
        Cell(metrics.show_interval(name, one.get("score_interval")), class_="number"),
        numeric(train, metrics.show(name, train)),
        numeric(one.get("seconds"), time(one.get("seconds") or (None if status == "skipped" else 0))),
        numeric(one.get("num_rounds")),
        Cell([remarks, _settings(one)], class_="why"),
    ]


def _settings(one: dict[str, Any]) -> Html | None:
    settings = one.get("settings") or {}
    if not settings:
        return None
    text = "\n".join(f"{key} = {plain_value(value)}" for key, value in settings.items())
    return folded(say("settings"), tag("pre", text))


def _curve(one: dict[str, Any]) -> Html | None:
    curve = one.get("curve") or {}
    steps = curve.get("step") or []
    if len(finite(steps)) < 2:
        return None
    held, seen = curve.get("validation") or [], curve.get("train") or []
    series = [Series(say("training"), steps, seen, "c1"), Series(say("validation"), steps, held, "c0")]
    series = [line for line in series if finite(line.ys)]
    if not series:
        return None
    metric = str(curve.get("metric") or "loss")
    known = [value for line in series for value in finite(line.ys)]
    log = min(known) > 0 and max(known) / min(known) > 100
    best, unit = curve.get("best"), str(curve.get("unit") or "round")
    at = {step: value for step, value in zip(steps, held, strict=False) if is_number(value)}.get(best)
    told = say("best at {unit} {best}", unit=unit, best=number(best)) if is_number(best) else ""
    told += f": {metrics.show(metric, at)}" if told and is_number(at) else ""
    chart = line_chart(
        say("Learning curve of {name}", name=candidate_name(one)),
        told,
        series,
        size=SMALL,
        x_label=unit,
        y_label=metrics.title(metric) + (say(" (logarithmic)") if log else ""),
        log=log,
        best=best,
        is_whole=True,
        show=lambda value: metrics.show(metric, value),
        is_share=metrics.metric_of(metric).form == "percent",
    )
    fold = str(curve["fold"]) if curve.get("fold") else ""
    return figure(
        say("{name} ({fold})", name=candidate_name(one), fold=fold) if fold else candidate_name(one),
        chart,
        read=told,
    )
