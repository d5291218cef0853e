"""From a run's record to one HTML file that needs no network: `write_report` and `render`."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from pathlib import Path
from typing import Any

from danlu.core.files import plain, write_atomic
from danlu.report.components import Section
from danlu.report.markup import Html, tag
from danlu.report.sections_data import data, done
from danlu.report.sections_evaluation import evaluation
from danlu.report.sections_explanation import explanation
from danlu.report.sections_models import candidates, learning
from danlu.report.sections_rows import groups, worst_rows
from danlu.report.sections_summary import answer, findings
from danlu.report.sections_use import privacy, reproduce, use
from danlu.report.text import pick, say

SECTIONS = (
    findings,
    evaluation,
    candidates,
    learning,
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
    style, script = _packaged("style.css"), _packaged("page.js")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", say("{name}: danlu report", name=name)),
        tag("style", Html(style)),
    )
    body = tag(
        "body",
        tag("a", say("Skip to the report"), href="#answer", class_="skip"),
        _navigation(sections),
        tag("main", answer(record), [section.body for section in sections], _footer(record)),
        tag("script", Html(script)),
    )
    return f'<!doctype html>\n<html lang="en">\n{head}\n{body}\n</html>\n'


def _navigation(sections: list[Section]) -> Html:
    links = [tag("a", say("The answer"), href="#answer")]
    links += [tag("a", section.title, href=f"#{section.anchor}") for section in sections]
    brand = tag("p", "danlu", class_="brand")
    return tag("nav", brand, tag("div", links, class_="links"), aria_label=say("Parts of the report"))


def _footer(record: dict[str, Any]) -> Html:
    version = pick(record, "run", "version")
    made = say("Made by danlu {version}.", version=version) if version else say("Made by danlu.")
    return tag("footer", tag("p", made, " ", say("This file needs no network and sends nothing.")))


def _policy(style: str, script: str) -> str:
    """Only this very style and this very script may be used; nothing may be loaded from anywhere."""
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _packaged(name: str) -> str:
    return resources.files("danlu.report").joinpath(name).read_text(encoding="utf-8")
