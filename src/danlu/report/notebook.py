"""A short summary of a run for notebooks: the answer, key figures, best candidates, a link to the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from danlu.core.files import plain
from danlu.report import metric_names as metrics
from danlu.report.markup import Html, tag
from danlu.report.sections_models import candidate_name, ranked
from danlu.report.sections_summary import baseline_name, headline
from danlu.report.text import MISSING, count, entries, is_number, number, pick, say
from danlu.report.text import seconds as time

CANDIDATES_SHOWN = 8

# Every rule starts with the summary's class, so that the rest of the notebook keeps its looks; the colour of
# text is the notebook's own.
STYLE = """
.danlu-summary{font:14px/1.5 system-ui,sans-serif;max-width:60rem}
.danlu-summary .answer{font-size:1.1em;font-weight:600;margin:.2em 0 .6em}
.danlu-summary .cards{display:flex;flex-wrap:wrap;gap:.6em;margin:.4em 0 .8em}
.danlu-summary .card{border:1px solid rgba(128,128,128,.35);border-radius:8px;padding:.4em .8em}
.danlu-summary .card b{display:block;font-size:1.25em}
.danlu-summary .card span,.danlu-summary .card small{opacity:.75}
.danlu-summary table{border-collapse:collapse;margin:.2em 0 .6em}
.danlu-summary th,.danlu-summary td{text-align:left;padding:.2em .8em .2em 0}
.danlu-summary tr{border-bottom:1px solid rgba(128,128,128,.25)}
.danlu-summary tr.chosen td{font-weight:600}
"""


def summary_html(record: dict[str, Any], *, report: str | Path | None = None) -> str:
    """The run in a few lines of HTML for a notebook's cell; `report` is the path of the full report."""
    record = plain(record)
    return tag(
        "div",
        tag("style", Html(STYLE)),
        tag("p", headline(record), class_="answer"),
        _cards(record),
        _candidates(record),
        _findings(record),
        tag(
            "p",
            tag("a", say("Open the full report"), href=_address(report), target="_blank"),
            ": ",
            tag("code", str(report)),
        )
        if report
        else None,
        class_="danlu-summary",
    )


def _address(report: str | Path) -> str:
    path = Path(report)
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())


def _cards(record: dict[str, Any]) -> Html | None:
    part, scores = metrics.unseen(record)
    rare = "balanced_accuracy" if metrics.is_imbalanced(record) else None
    wanted = [metrics.headline_metric(record), rare, record.get("metric"), "roc_auc", "r2"]
    names = [name for name in dict.fromkeys(wanted) if name and is_number(scores.get(name))]
    cards: list[tuple[str, str, str]] = []
    for name in names[:3]:
        interval = metrics.show_interval(name, pick(record, "intervals", part, name))
        base = pick(record, "baseline", part, name)
        beside = f"{baseline_name(record)}: {metrics.show(name, base)}" if is_number(base) else ""
        cards.append(
            (
                say("{metric} ({part})", metric=metrics.title(name), part=part),
                metrics.show(name, scores[name]),
                beside if interval == MISSING else interval,
            )
        )
    rows = pick(record, "split", "rows", "test")
    if rows:
        cards.append((say("Unseen rows"), number(rows), ""))
    if is_number(pick(record, "run", "seconds")):
        cards.append((say("Time"), time(record["run"]["seconds"]), ""))
    drawn = [
        tag("div", tag("span", name), tag("b", value), tag("small", note), class_="card")
        for name, value, note in cards
    ]
    return tag("div", drawn, class_="cards") if drawn else None


def _candidates(record: dict[str, Any]) -> Html | None:
    every = [one for one in ranked(record) if is_number(one.get("score"))]
    if not every:
        return None
    name = str(record.get("metric") or "score")
    head = tag(
        "tr",
        [
            tag("th", text)
            for text in (
                say("Model"),
                say("{metric} (validation)", metric=metrics.title(name)),
                say("95 % interval"),
                say("Time"),
            )
        ],
    )
    rows = [
        tag(
            "tr",
            tag("td", candidate_name(one)),
            tag("td", metrics.show(name, one["score"])),
            tag("td", metrics.show_interval(name, one.get("score_interval"))),
            tag("td", time(one.get("seconds"))),
            class_="chosen" if one.get("status") == "chosen" else None,
        )
        for one in every[:CANDIDATES_SHOWN]
    ]
    return tag("table", head, rows)


def _findings(record: dict[str, Any]) -> Html | None:
    loud = [one for one in entries(record, "findings") if one.get("severity") in ("problem", "warning")]
    if not loud:
        return None
    return tag(
        "details",
        tag("summary", count(len(loud), "finding to look at", "findings to look at")),
        tag("ul", [tag("li", metrics.readable(one.get("message"))) for one in loud]),
    )
