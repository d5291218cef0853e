"""Reads a page the way a strict parser would: every tag closed, every id once, nothing that loads or runs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"br", "col", "hr", "img", "input", "meta", "wbr"}


@dataclass
class Page:
    tags: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    headings: list[str] = field(default_factory=list)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    styles: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def read_page(html: str) -> Page:
    """The parts of a page; fails where it is not well-formed."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    assert not reader.open, f"never closed: {reader.open}"
    page = reader.page
    assert len(page.ids) == len(set(page.ids)), f"an id stands twice: {page.ids}"
    return page


def assert_self_contained(page: Page) -> None:
    """Nothing is fetched, nothing is run but the page's one script, and every link stays on the page."""
    assert not {"img", "iframe", "link", "object", "embed", "base", "form"} & set(page.tags)
    assert page.tags.count("script") <= 1
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), f"<{tag} {name}={value!r}>"
        assert name not in {"src", "srcset", "action", "style", "xlink:href", "background"}, f"<{tag} {name}>"
    for link in page.links:
        assert link.startswith("#"), link
        assert link[1:] in page.ids, f"{link} leads nowhere"
    for text in (*page.styles, *page.scripts):
        assert not re.search(r"https?:|ftp:|//\w+\.\w", text), "an address in a style or a script"
        assert "url(" not in text
        assert "@import" not in text


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.page = Page()
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute stands twice in <{tag}>: {names}"
        self.page.tags.append(tag)
        self.page.attributes += [(tag, name, value or "") for name, value in attrs]
        values = dict(attrs)
        if values.get("id"):
            self.page.ids.append(values["id"] or "")
        if "href" in values:
            self.page.links.append(values["href"] or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        where = self.open[-1] if self.open else ""
        if where == "script":
            self.page.scripts.append(data)
        elif where == "style":
            self.page.styles.append(data)
        else:
            self.page.texts.append(data)
            if where == "h2":
                self.page.headings.append(data)
