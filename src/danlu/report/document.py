"""The frame of every page: one HTML file with its style and script inside, which loads nothing and sends nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources

from danlu.report.components import Section
from danlu.report.markup import Html, tag
from danlu.report.text import say


def document(
    title: str, *, opening: Section, sections: Sequence[Section], footer: Html, skip: str = ""
) -> str:
    """The text of a page: the opening with its h1, the sections, and a navigation to all of them.

    `skip` is the text of the link that jumps over the navigation, for those who go by keyboard.
    """
    style, script = _packaged("style.css"), _packaged("page.js")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(style, script)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="referrer", content="no-referrer"),
        tag("title", title),
        tag("style", Html(style)),
    )
    body = tag(
        "body",
        tag("a", skip or say("Skip to the page"), href=f"#{opening.anchor}", class_="skip"),
        _navigation([opening, *sections]),
        tag("main", opening.body, [section.body for section in sections], footer),
        tag("script", Html(script)),
    )
    return f'<!doctype html>\n<html lang="en">\n{head}\n{body}\n</html>\n'


def _navigation(sections: Sequence[Section]) -> Html:
    links = [tag("a", section.title, href=f"#{section.anchor}") for section in sections]
    brand = tag("p", "danlu", class_="brand")
    return tag("nav", brand, tag("div", links, class_="links"), aria_label=say("Parts of the report"))


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
