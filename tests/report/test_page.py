"""The report as a whole: parts, safety, what is absent, extreme values, size and speed."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.report.multiclass_record import multiclass
from tests.report.records import RECORDS
from tests.report.wellformed import assert_self_contained, read_page

from danlu.core.errors import UserError
from danlu.report import render, write_report

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&\x00\ud800"
ENUMERATIONS = {"format", "task", "status", "severity", "role", "type", "method", "metric", "unit"}


def change(value: Any, edit: Callable[[Any], Any], key: str = "") -> Any:
    """`value` with every leaf, but names of kinds, passed through `edit`."""
    if isinstance(value, dict):
        return {name: change(item, edit, name) for name, item in value.items()}
    if isinstance(value, list):
        return [change(item, edit, key) for item in value]
    return value if key in ENUMERATIONS else edit(value)


def is_plain_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@pytest.mark.parametrize("name", RECORDS)
def test_a_report_is_one_well_formed_file_that_loads_nothing(name: str) -> None:
    html = render(RECORDS[name]())
    assert html.startswith("<!doctype html>")
    assert "default-src 'none'" in html
    page = read_page(html)
    assert_self_contained(page)
    assert page.tags.count("svg") > 0


def test_the_parts_of_a_full_report_stand_in_order() -> None:
    assert read_page(render(RECORDS["binary"]())).headings == [
        "Findings",
        "How good it is",
        "Models compared",
        "Learning curves",
        "What it looks at",
        "Group by group",
        "The worst misses",
        "The data",
        "What was done",
        "Use the model",
        "Get the same again",
        "Before you pass it on",
    ]


def test_what_the_record_says_is_on_the_page() -> None:
    text = read_page(render(RECORDS["binary"]())).text
    for said in (
        "Predicts income (2 classes) right for 87.4 % of 16,281 unseen rows",
        "Clearly better than the baseline",
        "3 columns have missing values",  # a finding,
        "Find out why they are missing",  # its remedy,
        "5.7 %",  # and its evidence
        "0.268–0.284",  # interval of the log loss
        "Comparing 4,884 rows with 23,442 others would take about 70 s",  # why skipped
        "marital_status",
        "no gain for 50 rounds",
        "sha256:9f2c1e07ab34",
        "danlu train data.csv --target income --budget 60s",
        "shows 12 rows of the test file",
        "scikit-learn",
    ):
        assert said in text, said
    assert "Prediction intervals" not in text


def test_regression_shows_residuals_and_whether_intervals_hold() -> None:
    text = read_page(render(RECORDS["regression"]())).text
    assert "What is left over" in text
    assert "1,500 of 3,096 rows are drawn." in text
    assert "90.4 % of 3,096 rows fell inside their interval; 90 % were promised." in text
    assert "The promise is kept." in text
    assert "ROC" not in text


@pytest.mark.parametrize(
    ("bounds", "covered", "said"),
    [
        ([0.80, 0.86], 0.83, "The intervals are too narrow."),
        ([0.93, 0.97], 0.95, "The intervals are wider than they need to be."),
    ],
)
def test_intervals_that_miss_their_promise_say_so(bounds: list[float], covered: float, said: str) -> None:
    record = RECORDS["regression"]()
    record["evaluation"]["interval"] |= {"covered": covered, "covered_interval": bounds}
    assert said in read_page(render(record)).text


@pytest.mark.parametrize("name", RECORDS)
def test_nothing_in_the_data_becomes_code(name: str) -> None:
    record = change(RECORDS[name](), lambda value: value + HOSTILE if isinstance(value, str) else value)
    html = render(record)
    html.encode()  # a lone surrogate cannot be written
    assert "<img" not in html
    page = read_page(html)
    assert_self_contained(page)
    assert "</script><img src=x onerror=alert(1)>" in page.text  # as text, for all to see


def test_a_column_with_a_hostile_name_is_only_a_name() -> None:
    record = RECORDS["binary"]()
    record["data"]["columns"][0]["name"] = "</script><img src=x onerror=alert(1)>"
    html = render(record)
    assert "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;" in html
    assert "<img" not in html
    assert_self_contained(read_page(html))


@pytest.mark.parametrize("name", RECORDS)
def test_every_key_may_be_absent_or_none(name: str) -> None:
    record = cut_short(RECORDS[name]())
    for path in key_paths(record, depth=3):
        assert render(edited(record, path, remove=True)).endswith("</html>\n")
    for path in key_paths(record, depth=2):
        assert_self_contained(read_page(render(edited(record, path, remove=False))))


def test_an_empty_record_is_still_a_page() -> None:
    page = read_page(render({}))
    assert_self_contained(page)
    assert page.headings == ["Use the model"]


@pytest.mark.parametrize("name", RECORDS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, 0, -1, 1e308, -1e308, 5e-324, 10**40])
def test_extreme_numbers_never_reach_the_page_as_nan(name: str, value: Any) -> None:
    page = read_page(render(change(RECORDS[name](), lambda old: value if is_plain_number(old) else old)))
    assert_self_contained(page)
    for text in (page.text, *(drawn for _, _, drawn in page.attributes)):
        assert not re.search(r"(?<![a-z])(inf|nan)(?![a-z])", text, re.IGNORECASE), text


def test_one_row_and_one_class() -> None:
    record: dict[str, Any] = RECORDS["multiclass"]() | {"labels": ["Adelie"]}
    record["evaluation"] |= {
        "confusion": {"labels": ["Adelie"], "matrix": [[1]]},
        "residuals": {"observed": [1.0], "predicted": [1.0]},
        "roc": [{"label": "Adelie", "fpr": [0.0], "tpr": [1.0], "auc": None}],
    }
    record["split"]["rows"] = {"train": 1, "test": 1}
    page = read_page(render(record))
    assert_self_contained(page)
    assert "1 unseen row" in page.text
    assert_self_contained(read_page(render(record | {"task": "regression"})))


def test_long_labels_two_hundred_columns_and_fifty_classes() -> None:
    record = multiclass(50)
    columns = record["data"]["columns"]
    record["data"]["columns"] = [
        columns[1] | {"name": f"column {place} " + "long " * 30} for place in range(200)
    ]
    html = render(change(record, lambda value: f"{value} {'x' * 200}" if value == "class 7" else value))
    page = read_page(html)
    assert_self_contained(page)
    assert "Show 170 more columns" in page.text
    assert "44 other classes" in page.text
    assert len(html.encode()) < 1_500_000


def test_a_report_of_a_large_run_is_small_and_quick() -> None:
    record = RECORDS["binary"]()
    sizes, seconds = [], []
    for _ in range(5):
        started = time.process_time()
        sizes.append(len(render(record).encode()))
        seconds.append(time.process_time() - started)
    assert sizes[0] < 300_000
    assert min(seconds) < 0.3


def test_the_same_record_gives_the_same_bytes() -> None:
    assert render(RECORDS["regression"]()) == render(RECORDS["regression"]())


def test_rendering_leaves_the_record_alone() -> None:
    record = RECORDS["multiclass"]()
    render(record)
    assert record == RECORDS["multiclass"]()


def test_write_report_writes_the_page(tmp_path: Any) -> None:
    path = tmp_path / "deep" / "report.html"
    write_report(RECORDS["multiclass"](), path)
    assert path.read_text("utf-8") == render(RECORDS["multiclass"]())


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write into read-only folders")
def test_a_folder_that_cannot_be_written_is_said(tmp_path: Any) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="Cannot write"):
        write_report({}, tmp_path / "report.html")


def cut_short(value: Any) -> Any:
    """`value` with at most three items in every list."""
    if isinstance(value, dict):
        return {key: cut_short(item) for key, item in value.items()}
    return [cut_short(item) for item in value[:3]] if isinstance(value, list) else value


def key_paths(value: Any, depth: int, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to all keys down to `depth`; of a list of mappings, the first."""
    if not depth:
        return []
    if isinstance(value, dict):
        below = [(*path, key) for key in value]
        return below + [
            deep for key, item in value.items() for deep in key_paths(item, depth - 1, (*path, key))
        ]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return key_paths(value[0], depth, (*path, 0))
    return []


def edited(value: Any, path: tuple[Any, ...], *, remove: bool) -> Any:
    """`value` with what stands at `path` taken out, or set to None; the rest is shared."""
    first, *rest = path
    copy = value.copy()
    if rest:
        copy[first] = edited(value[first], tuple(rest), remove=remove)
    elif remove:
        del copy[first]
    else:
        copy[first] = None
    return copy
