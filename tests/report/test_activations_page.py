"""Tests of report/activations_page.py: every activation with its derivative, every normalisation, on one safe page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.report.wellformed import assert_self_contained, read_page

from danlu.models.activations import ACTIVATIONS
from danlu.models.normalisation import NORMALISATION_TABLE, NORMALISATIONS
from danlu.report.activations_page import render_activations, write_activations

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PAGE = render_activations()
PARTS = {**ACTIVATIONS, **NORMALISATIONS}


def panel(name: str) -> str:
    """The figure whose title is the part's name."""
    found = re.findall(r"<figure.*?</figure>", PAGE, flags=re.DOTALL)
    (one,) = [text for text in found if f"<h3>{name}</h3>" in text]
    return one


def test_the_page_is_whole_and_loads_nothing() -> None:
    page = read_page(PAGE)
    assert_self_contained(page)
    assert page.headings == ["Activations", "In numbers", "Normalisations", "Before and after"]
    assert len(PAGE) < 600_000


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_panel_draws_the_activation_and_its_derivative(name: str) -> None:
    figure = panel(name)
    for class_ in ("c0 stroke", "c1 stroke"):
        (line,) = re.findall(rf'<path d="([^"]+)" class="{class_}"', figure)
        assert line.count("L") >= 1
    part = ACTIVATIONS[name].__part__  # type: ignore[attr-defined]
    for text in (part.traits["formula"], part.summary, part.source):
        assert text in read_page(figure).text


def test_the_step_is_drawn_with_its_jump() -> None:
    lines = re.findall(r'<path d="([^"]+)" class="c0 stroke"', panel("step"))
    assert lines[0].count("M") == 2


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_every_normalisation_is_drawn_before_and_after(name: str) -> None:
    figure = panel(name)
    assert 'class="grey stroke"' in figure and 'class="c0 stroke"' in figure
    assert "All values together: mean " in figure
    is_of_values = NORMALISATIONS[name].__part__.traits["normalises"] == "values"  # type: ignore[attr-defined]
    assert ("Rows down, channels across" in figure) == is_of_values
    assert ("Largest singular value" in figure) != is_of_values


def test_the_tables_are_those_of_the_code() -> None:
    text = read_page(PAGE).text
    for row in NORMALISATION_TABLE:
        assert (
            f"{row.method} {row.normalises} {row.averages_over} {'yes' if row.depends_on_batch else 'no'}"
            in text
        )
        assert row.remark in text
    assert "sigmoid (0, 1) 0.1192 0.2689 0.5000 0.7311 0.8808 0.2500 0.0177" in text
    batch = re.search(r"batch 32 (\S+ to \S+) (\S+) 0\.000 1\.000", text)
    assert batch, "the batch's channels have mean 0 and variance 1 after it"


def test_the_advice_is_the_parts_own() -> None:
    text = read_page(PAGE).text
    for part in PARTS.values():
        for place in part.__part__.traits["first_choice_for"]:  # type: ignore[attr-defined]
            assert f"{place} {part.__part__.name}" in text  # type: ignore[attr-defined]


@pytest.mark.parametrize(("width", "dark"), [(400, False), (1280, False), (1280, True)])
def test_it_opens_without_errors_and_fits(browser: Browser, tmp_path: Path, width: int, dark: bool) -> None:
    path = tmp_path / "page.html"
    write_activations(path)
    page = browser.new_page(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
    )
    bad: list[str] = []
    page.on("console", lambda message: bad.append(message.text))
    page.on("pageerror", lambda error: bad.append(str(error)))
    page.on("request", lambda request: bad.append(request.url) if request.url != path.as_uri() else None)
    page.goto(path.as_uri())
    page.wait_for_function("document.documentElement.dataset.ready === 'yes'")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert bad == []
    page.close()
