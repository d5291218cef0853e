"""The report in a real headless Chromium: no errors, no requests, it fits, and it answers the pointer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.report.multiclass_record import multiclass
from tests.report.records import RECORDS

from danlu.report import write_report

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WIDEST = "Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)"


def opened(browser: Browser, path: Path, *, width: int = 1280, dark: bool = False) -> tuple[Page, list[str]]:
    """A tab with the report, and a list that fills with whatever should not happen."""
    page = browser.new_page(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
    )
    bad: list[str] = []
    page.on("console", lambda message: bad.append(message.text))
    page.on("pageerror", lambda error: bad.append(str(error)))
    page.on("dialog", lambda dialog: bad.append(dialog.message))
    page.on("request", lambda request: bad.append(request.url) if request.url != path.as_uri() else None)
    page.goto(path.as_uri())
    page.wait_for_function("document.documentElement.dataset.ready === 'yes'")
    return page, bad


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("name", RECORDS)
def test_it_loads_without_errors_and_fits(browser: Browser, tmp_path: Path, name: str, width: int) -> None:
    path = tmp_path / "report.html"
    write_report(RECORDS[name](), path)
    page, bad = opened(browser, path, width=width)
    assert page.evaluate(WIDEST) <= width
    page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
    assert page.evaluate(WIDEST) <= width
    assert bad == []
    page.close()


def test_long_names_and_many_classes_fit_on_a_phone(browser: Browser, tmp_path: Path) -> None:
    record = multiclass(50)
    record["data"]["columns"] = [{"name": "n" * 300, "type": "number"}] * 200
    record["target"] = "t" * 300
    record["findings"] = [{"severity": "problem", "message": "m" * 500, "columns": ["c" * 300]}]
    write_report(record, tmp_path / "report.html")
    page, bad = opened(browser, tmp_path / "report.html", width=400)
    assert page.evaluate(WIDEST) <= 400
    assert bad == []
    page.close()


def test_hostile_names_do_nothing(browser: Browser, tmp_path: Path) -> None:
    hostile = "</script><img src=x onerror=alert(1)><script>document.title='owned'</script>"
    record = RECORDS["binary"]()
    record["target"] = hostile
    record["run"]["name"] = f"</title>{hostile}"
    record["data"]["columns"][0]["name"] = hostile
    record["candidates"][0]["name"] = hostile
    write_report(record, tmp_path / "report.html")
    page, bad = opened(browser, tmp_path / "report.html")
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 1
    assert page.title() != "owned"
    assert bad == []
    page.close()


def test_the_policy_stops_what_is_not_ours(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(RECORDS["multiclass"](), path)
    path.write_text(path.read_text().replace("</body>", "<script>document.title = 'owned'</script></body>"))
    page, bad = opened(browser, path)
    assert page.title() != "owned"
    assert "Content Security Policy" in " ".join(bad)
    page.close()


def test_pointing_at_a_part_of_a_chart_says_what_it_is(browser: Browser, tmp_path: Path) -> None:
    write_report(RECORDS["binary"](), tmp_path / "report.html")
    page, _ = opened(browser, tmp_path / "report.html")
    assert page.locator(".tip").is_hidden()
    cell = page.locator('[data-tip^="observed >50K, predicted <=50K"]')
    cell.scroll_into_view_if_needed()
    cell.hover()
    assert page.locator(".tip").inner_text() == (
        "observed >50K, predicted <=50K: 1,325 (34.5 % of the observed >50K)"
    )
    page.close()


def test_a_click_on_a_heading_sorts_by_value(browser: Browser, tmp_path: Path) -> None:
    write_report(RECORDS["binary"](), tmp_path / "report.html")
    page, _ = opened(browser, tmp_path / "report.html")
    table = page.locator("#models table")
    table.locator("th button", has_text="Time").click()
    first_cells = table.locator("tbody tr td:first-child")
    assert [text.split()[0] for text in first_cells.all_inner_texts()] == [
        "naive", "logistic", "kernel", "random", "mlp", "boosting", "k-nearest",
    ]  # fmt: skip
    table.locator("th button", has_text="Time").click()
    assert first_cells.first.inner_text().startswith("boosting")
    assert first_cells.last.inner_text().startswith("k-nearest")  # what is not known stays last
    page.close()


def test_print_opens_what_is_folded_and_hides_the_navigation(browser: Browser, tmp_path: Path) -> None:
    write_report(RECORDS["binary"](), tmp_path / "report.html")
    page, bad = opened(browser, tmp_path / "report.html")
    page.emulate_media(media="print")
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert page.locator("nav").is_hidden()
    assert len(page.pdf(format="A4")) > 10_000
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0
    assert bad == []
    page.close()


def test_text_is_readable_in_both_schemes(browser: Browser, tmp_path: Path) -> None:
    write_report(RECORDS["binary"](), tmp_path / "report.html")
    for dark in (False, True):
        page, _ = opened(browser, tmp_path / "report.html", dark=dark)
        for selector in ("h1", ".lead", ".card-note", ".badge.warning", ".finding .code", "td.why", ".read"):
            ratio = page.locator(selector).first.evaluate(CONTRAST)
            assert ratio >= 4.5, (selector, dark, ratio)
        page.close()


# Contrast of an element's text with the first background behind it (WCAG 2.2).
CONTRAST = """(element) => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (text) => {
    const [r, g, b] = numbers(text).map((v) => v / 255).map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  let behind = element;
  while (behind.parentElement && /rgba\\(.*, 0\\)/.test(getComputedStyle(behind).backgroundColor)) behind = behind.parentElement;
  const a = light(getComputedStyle(element).color), b = light(getComputedStyle(behind).backgroundColor);
  return (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
}"""  # noqa: E501
