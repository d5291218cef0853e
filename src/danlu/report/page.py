"""From a run's record to one HTML file that needs no network: `write_report` and `render`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from danlu.core.files import plain, write_atomic
from danlu.report.components import Section
from danlu.report.document import document
from danlu.report.markup import Html, tag
from danlu.report.sections_data import data, done
from danlu.report.sections_evaluation import evaluation
from danlu.report.sections_explanation import explanation
from danlu.report.sections_models import candidates, learning
from danlu.report.sections_rows import groups, worst_rows
from danlu.report.sections_summary import answer, findings
from danlu.report.sections_training import training
from danlu.report.sections_use import privacy, reproduce, use
from danlu.report.text import pick, say

SECTIONS = (
    findings,
    evaluation,
    candidates,
    learning,
    training,
    explanation,
    groups,
    worst_rows,
    data,
    done,
    use,
    reproduce,
    privacy,
)


def write_report(record: dict[str, Any], path: str | Path) -> None:
    """Write the report of one run to `path`, wholly or not at all."""
    write_atomic(path, render(record))


def render(record: dict[str, Any]) -> str:
    """The report of one run as the text of an HTML page; parts whose keys are absent or None are left out."""
    record = plain(record)
    sections = [made for make in SECTIONS if (made := make(record)) is not None]
    name = pick(record, "run", "name") or record.get("target") or say("report")
    return document(
        say("{name}: danlu report", name=name),
        opening=Section("answer", say("The answer"), answer(record)),
        sections=sections,
        footer=_footer(record),
        skip=say("Skip to the report"),
    )


def _footer(record: dict[str, Any]) -> Html:
    version = pick(record, "run", "version")
    made = say("Made by danlu {version}.", version=version) if version else say("Made by danlu.")
    return tag("footer", tag("p", made, " ", say("This file needs no network and sends nothing.")))
