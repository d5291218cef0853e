"""Text goes into HTML and comes out of a parser as it was; only what says that it is HTML is kept as HTML."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from danlu.report.markup import Html, escape, join, rich, tag


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, attrs))

    def handle_data(self, data):
        self.text += data


@given(
    st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn"])),
    st.text(st.characters(categories=["L", "P", "S"])),
)
def test_any_text_stays_text(inside: str, attribute: str) -> None:
    reader = Reader()
    reader.feed(tag("p", inside, title=attribute))
    reader.close()
    assert reader.tags == [("p", [("title", attribute)])]
    assert reader.text == inside


def test_what_html_forbids_is_replaced() -> None:
    assert escape("a\x00b\ud800c\x1b") == "a\ufffdb\ufffdc\ufffd"


def test_html_is_kept_and_nothing_else() -> None:
    assert tag("p", "<b>", Html("<b>x</b>"), None, ["&", 1, 2.5]) == "<p>&lt;b&gt;<b>x</b>&amp;12.5</p>"
    assert join(["<", Html("<i>")], ", ") == "&lt;, <i>"


def test_rich_sentences_escape_their_plain_values() -> None:
    sentence = rich("{a} & {b}", a="<{b}>", b=tag("code", "x"))
    assert sentence == "&lt;{b}&gt; &amp; <code>x</code>"


def test_attributes() -> None:
    assert tag("td", class_="a", data_sort="1", hidden=True, open=False, id=None) == (
        '<td class="a" data-sort="1" hidden></td>'
    )
    assert tag("rect", x=1.0, y=0.123456) == '<rect x="1" y="0.12"/>'
    assert tag("br") == "<br>"
