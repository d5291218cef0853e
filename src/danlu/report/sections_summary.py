"""The top of the report: the answer in one sentence, the key figures, and what the run found out."""

from __future__ import annotations

import re
from typing import Any, Literal

from danlu.report import metric_names as metrics
from danlu.report.bars import interval_strip
from danlu.report.components import Section, badge, card, facts, flatten, folded, plain_value, section
from danlu.report.markup import Child, Html, join, tag
from danlu.report.text import (
    MISSING,
    between,
    count,
    entries,
    fixed,
    is_number,
    label,
    moment,
    number,
    percent,
    pick,
    say,
)
from danlu.report.text import seconds as time

Verdict = Literal["better", "unclear", "worse"]
SEVERITIES = ("problem", "warning", "info")
INFOS_SHOWN = 3
EVIDENCE = {
    "num_rows_with_target": "of them with the same target",
    "num_other_target": "of them with another target",
    "num_features": "features",
    "share_lost": "share lost",
}


def headline(record: dict[str, Any]) -> str:
    """The answer in one sentence: how good, on how many unseen rows, how sure, and against what."""
    claim, evidence = _headline(record)
    return f"{claim} {evidence}." if evidence else f"{claim}."


def verdict(record: dict[str, Any]) -> Verdict | None:
    """Whether the model beats the baseline: clearly, perhaps (its interval holds the baseline), or not.

    The rule of the finding `no_skill`, which has the last word where there is one: it is judged in the metric
    that the model was chosen by.
    """
    found = [one.get("severity") for one in entries(record, "findings") if one.get("code") == "no_skill"]
    if found:
        return "worse" if "problem" in found else "unclear"
    part, scores = metrics.unseen(record)
    own, other = record.get("metric"), metrics.headline_metric(record)
    name = (
        own
        if own and is_number(scores.get(own)) and is_number(pick(record, "baseline", part, own))
        else other
    )
    base = pick(record, "baseline", part, name) if name else None
    greater = metrics.greater_is_better(name, record) if name else None
    if name is None or greater is None or not is_number(base):
        return None
    gap = scores[name] - base if greater else base - scores[name]
    if gap <= 0:
        return "worse"
    interval = pick(record, "intervals", part, name)
    is_clear = not metrics.is_interval(interval) or not interval[0] <= base <= interval[1]
    return "better" if is_clear else "unclear"


def answer(record: dict[str, Any]) -> Html:
    """The head of the page."""
    run = record.get("run") or {}
    made = [
        run.get("name"),
        moment(run["created"]) if run.get("created") else None,
        pick(record, "data", "source"),
    ]
    judged = verdict(record)
    words = {
        "better": say("Clearly better than the baseline"),
        "unclear": say("Not clearly better than the baseline"),
        "worse": say("No better than the baseline"),
    }
    kinds = {"better": "good", "unclear": "warning", "worse": "problem"}
    claim, evidence = _headline(record)
    line = [badge(words[judged], kinds[judged])] if judged else []
    line += [tag("a", badge(text, kind), href="#findings") for kind, text in _counts(record)]
    return tag(
        "header",
        tag("p", join([tag("span", str(part)) for part in made if part]), class_="made"),
        tag("h1", claim, tag("span", f" {evidence}.", class_="evidence") if evidence else "."),
        tag("p", line, class_="badges") if line else None,
        tag("p", metrics.readable(pick(record, "chosen", "sentence")), class_="lead")
        if pick(record, "chosen", "sentence")
        else None,
        _cards(record),
        id="answer",
    )


def findings(record: dict[str, Any]) -> Section | None:
    """Problems first, then warnings, then notes; each with its evidence and what to try."""
    every = entries(record, "findings")
    by_severity = {kind: [one for one in every if one.get("severity") == kind] for kind in SEVERITIES}
    loud = [_finding(one) for kind in SEVERITIES[:2] for one in by_severity[kind]]
    notes = [_finding(one) for one in by_severity["info"]]
    if "findings" in record and not every:
        loud = [tag("p", say("Nothing stood out."))]
    kept = notes if len(notes) <= INFOS_SHOWN else notes[:INFOS_SHOWN]
    more = len(notes) - len(kept)
    hidden = (
        folded(say("Show {more}", more=count(more, "more note", "more notes")), notes[-more:])
        if more
        else None
    )
    lead = say("What stood out, and what to try next.") if every else None
    return section("findings", say("Findings"), loud, kept, hidden, lead=lead)


def baseline_name(record: dict[str, Any]) -> str:
    """What the model is measured against, in words."""
    said = pick(record, "baseline", "answer")
    if said is not None:
        shown = number(said) if is_number(said) else f"'{label(said)}'"
        return say("always saying {answer}", answer=shown)
    name = pick(record, "baseline", "name")
    return say("the baseline ({name})", name=name) if name and name != "baseline" else say("the baseline")


def _headline(record: dict[str, Any]) -> tuple[str, str]:
    target = str(record.get("target") or say("the target"))
    name = metrics.headline_metric(record)
    if name is None:
        return say("A model that predicts {target}; there is no score for it", target=target), ""
    part, scores = metrics.unseen(record)
    rows_of = pick(record, "split", "rows") or {}
    num_rows = rows_of.get("test") if part == "test" else rows_of.get("choice") or rows_of.get("train")
    rows = _rows(num_rows, part)
    if record.get("task") != "regression" and record.get("labels"):
        target = say("{target} ({number} classes)", target=target, number=len(record["labels"]))
    value = metrics.show(name, scores[name])
    if name == "accuracy":
        sentence = say("Predicts {target} right for {value} of {rows}", target=target, value=value, rows=rows)
        sentence += _rare_classes(record)
    elif name in ("mae", "mean_absolute_error"):
        sentence = say(
            "Predicts {target} with an average error of {value} on {rows}",
            target=target,
            value=value,
            rows=rows,
        )
    else:
        sentence = say(
            "Predicts {target} with {metric} {value} on {rows}",
            target=target,
            metric=metrics.title(name),
            value=value,
            rows=rows,
        )
    return sentence, _beside(record, part, name)


def _rare_classes(record: dict[str, Any]) -> str:
    """What accuracy hides where the classes are far from equally frequent."""
    scores = metrics.unseen(record)[1]
    if not metrics.is_imbalanced(record):
        return ""
    recall, balanced = scores.get("recall"), scores.get("balanced_accuracy")
    if record.get("task") == "binary" and is_number(recall) and record.get("positive") is not None:
        return say(
            ", but finds {share} of those that are {label}",
            share=metrics.show("recall", recall),
            label=f"'{label(record['positive'])}'",
        )
    if not is_number(balanced):
        return ""
    return say(
        ", or {share} where each class counts the same (balanced accuracy)",
        share=metrics.show("balanced_accuracy", balanced),
    )


def _rows(num_rows: Any, part: str) -> str:
    if part == "test":
        return count(num_rows, "unseen row", "unseen rows") if num_rows else say("unseen rows")
    return say(
        "the {rows} that also chose the model", rows=count(num_rows, "row", "rows") if num_rows else "rows"
    )


def _beside(record: dict[str, Any], part: str, name: str) -> str:
    notes: list[str] = []
    interval = pick(record, "intervals", part, name)
    if metrics.is_interval(interval):
        notes.append(say("95 % interval {interval}", interval=metrics.show_interval(name, interval)))
    base = pick(record, "baseline", part, name)
    if is_number(base):
        is_error = name in ("mae", "mean_absolute_error")
        template = "{baseline} is off by {value}" if is_error else "{baseline} gets {value}"
        notes.append(say(template, baseline=baseline_name(record), value=metrics.show(name, base)))
    return f"({'; '.join(notes)})" if notes else ""


def _counts(record: dict[str, Any]) -> list[tuple[str, str]]:
    nouns = {
        "problem": ("problem", "problems"),
        "warning": ("warning", "warnings"),
        "info": ("note", "notes"),
    }
    every = [one.get("severity") for one in entries(record, "findings")]
    return [(kind, count(every.count(kind), *nouns[kind])) for kind in SEVERITIES if every.count(kind)]


def _cards(record: dict[str, Any]) -> Html | None:
    cards = [
        _score_card(record),
        _second_card(record),
        _baseline_card(record),
        _rows_card(record),
        _time_card(record),
    ]
    kept = [one for one in cards if one]
    return tag("div", kept, class_="cards") if kept else None


def _score_card(record: dict[str, Any]) -> Html | None:
    name = metrics.headline_metric(record)
    if name is None:
        return None
    part, scores = metrics.unseen(record)
    interval = pick(record, "intervals", part, name)
    strip = note = None
    if metrics.is_interval(interval):
        base = pick(record, "baseline", part, name)
        strip = interval_strip(
            interval[0], scores[name], interval[1], base, lambda value: metrics.show(name, value)
        )
        note = say("95 % interval {interval}", interval=metrics.show_interval(name, interval))
    warned = (
        say("Flattering: the classes are far from equally frequent.")
        if name == "accuracy" and metrics.is_imbalanced(record)
        else None
    )
    return card(metrics.title(name), metrics.show(name, scores[name]), strip, note, warned, class_="main")


def _second_card(record: dict[str, Any]) -> Html | None:
    _, scores = metrics.unseen(record)
    wanted = (
        ["r2", "rmse"]
        if record.get("task") == "regression"
        else ["roc_auc", "roc_auc_ovr", "balanced_accuracy"]
    )
    if metrics.is_imbalanced(record):
        wanted = ["balanced_accuracy", "f1", "recall", *wanted]
    names = [
        name for name in [*wanted, record.get("metric"), "log_loss"] if name and is_number(scores.get(name))
    ]
    names = [name for name in names if name != metrics.headline_metric(record)]
    if not names:
        return None
    return card(
        metrics.title(names[0]), metrics.show(names[0], scores[names[0]]), metrics.metric_of(names[0]).meaning
    )


def _baseline_card(record: dict[str, Any]) -> Html | None:
    name = metrics.headline_metric(record)
    part, scores = metrics.unseen(record)
    base = pick(record, "baseline", part, name) if name else None
    greater = metrics.greater_is_better(name, record) if name else None
    if name is None or not is_number(base):
        return None
    gap = scores[name] - base if greater else base - scores[name]
    if greater is None:
        note = ""
    elif metrics.metric_of(name).form == "percent":
        better = say("the model is {points} points better", points=fixed(100 * gap, 1))
        note = better if gap >= 0 else say("the model is {points} points worse", points=fixed(-100 * gap, 1))
    elif not greater and base > 0:
        share = percent(abs(gap) / base, 0)
        note = (
            say("the model's error is {share} smaller", share=share)
            if gap >= 0
            else say("the model's error is {share} larger", share=share)
        )
    else:
        note = (
            say("the model is {gap} better", gap=number(gap))
            if gap >= 0
            else say("the model is {gap} worse", gap=number(-gap))
        )
    named = baseline_name(record)
    return card(
        say("Baseline"), metrics.show(name, base), named if named != say("the baseline") else None, note
    )


def _rows_card(record: dict[str, Any]) -> Html | None:
    rows = pick(record, "split", "rows") or {}
    test, train = rows.get("test"), rows.get("train")
    total = pick(record, "data", "num_rows")
    notes = [
        say("learnt from {rows}", rows=count(train, "row", "rows")) if train else None,
        say("{rows} in all", rows=count(total, "row", "rows")) if total else None,
    ]
    if test:
        return card(say("Unseen rows"), number(test), *notes)
    return card(say("Rows"), number(total), notes[0]) if total else None


def _time_card(record: dict[str, Any]) -> Html | None:
    run = record.get("run") or {}
    if not is_number(run.get("seconds")):
        return None
    budget = run.get("budget_seconds")
    notes = [
        say("of a budget of {budget}", budget=time(budget)) if is_number(budget) else None,
        run.get("stop_reason"),
    ]
    return card(say("Time"), time(run["seconds"]), *notes)


def _finding(one: dict[str, Any]) -> Html:
    kind = one.get("severity") or "info"
    evidence = one.get("evidence") or {}
    message = metrics.readable(_plainly(str(one.get("message") or ""), evidence.get("metric")))
    names = {"problem": say("Problem"), "warning": say("Warning"), "info": say("Note")}
    columns = one.get("columns") or []
    rows = one.get("rows") or []
    shown_rows = ", ".join(number(row) for row in rows[:12]) + (" …" if len(rows) > 12 else "")
    about: list[tuple[str, Child]] = [
        (say("Columns"), _chips(columns) if columns else None),
        (say("Rows"), shown_rows or None),
        *_evidence(evidence, message),
    ]
    remedies = one.get("remedies") or []
    return tag(
        "article",
        tag(
            "p",
            badge(names.get(kind, kind), kind),
            tag("span", one.get("code"), class_="code"),
            class_="badges",
        ),
        tag("p", message, class_="message"),
        facts(about),
        [tag("p", say("What to try"), class_="try"), tag("ul", [tag("li", text) for text in remedies])]
        if remedies
        else None,
        class_=f"finding {kind}",
    )


def _chips(names: list[Any]) -> Html:
    shown = [tag("span", name, class_="chip") for name in names[:12]]
    more = say(" and {more} more", more=number(len(names) - 12)) if len(names) > 12 else None
    return tag("span", join(shown, " "), more)


def _plainly(message: str, metric: Any) -> str:
    """A metric's value that is next to nothing as its own form shows it: -6.7e-06 -> 0.000."""
    if not isinstance(metric, str):
        return message
    return re.sub(
        r"(?<![\w.])-?\d+(?:\.\d+)?e-\d+", lambda match: metrics.show(metric, float(match[0])), message
    )


def _evidence(evidence: dict[str, Any], message: str) -> list[tuple[str, Child]]:
    """Names and values that the message has not told already."""
    metric = evidence.get("metric")
    pieces: list[tuple[str, str, bool]] = []
    for key, value in evidence.items():
        name = EVIDENCE.get(key, key.removeprefix("num_").replace("_", " "))
        for inner, item in flatten(value):
            shown = _piece(key, item, metric)
            pieces.append((f"{name}: {inner}" if inner else name, shown, is_number(item)))
    numbers = [shown for _, shown, is_amount in pieces if is_amount]
    is_told = all(re.search(rf"(?<![\w.,]){re.escape(shown)}(?![\w]|[.,]\d)", message) for shown in numbers)
    return [
        (name, shown)
        for name, shown, is_amount in pieces
        if not (is_told if is_amount else len(shown) > 2 and shown in message)
    ]


def _piece(key: str, value: Any, metric: Any) -> str:
    if isinstance(metric, str) and key == "metric":
        return metrics.inline(metric)
    if isinstance(metric, str) and key in ("model", "baseline", "score") and is_number(value):
        return metrics.show(metric, value)
    if is_number(value) and key in ("share", "shares", "fraction", "rate", "share_lost"):
        return percent(value)
    if metrics.is_interval(value) and "interval" in key:
        return (
            metrics.show_interval(metric, value)
            if isinstance(metric, str)
            else between(number(value[0]), number(value[1]))
        )
    return MISSING if value is None else plain_value(value)
