"""The short summary for notebooks."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.report.records import RECORDS
from tests.report.wellformed import read_page

from danlu.report import headline, summary_html


@pytest.mark.parametrize("name", RECORDS)
def test_it_holds_the_answer_and_the_candidates(name: str) -> None:
    record = RECORDS[name]()
    page = read_page(summary_html(record))
    assert headline(record) in page.text
    assert "script" not in page.tags
    for one in record.get("candidates", []):
        assert (one["name"] in page.text) == ("score" in one)


def test_it_links_to_the_report(tmp_path: Path) -> None:
    assert read_page(summary_html({}, report=tmp_path / "a b.html")).links == [
        (tmp_path / "a b.html").as_uri()
    ]
    assert read_page(summary_html({}, report="runs/a?b/report.html")).links == ["runs/a%3Fb/report.html"]
    assert read_page(summary_html({})).links == []


def test_its_styles_touch_nothing_else_in_the_notebook() -> None:
    (style,) = read_page(summary_html({})).styles
    for rule in style.strip().splitlines():
        selectors = rule.split("{")[0].split(",")
        assert all(selector.startswith(".danlu-summary") for selector in selectors), rule


def test_hostile_names_stay_text() -> None:
    record = RECORDS["binary"]() | {"target": "<img src=x onerror=alert(1)>"}
    assert "<img" not in summary_html(record)


def test_findings_that_matter_are_counted() -> None:
    assert "2 findings to look at" in summary_html(RECORDS["binary"]())


def test_it_says_which_rows_each_score_is_of() -> None:
    text = read_page(summary_html(RECORDS["binary"](), report="runs/a/report.html")).text
    assert "Accuracy (test)" in text and "Log loss (validation)" in text
    assert "Open the full report : runs/a/report.html" in text
