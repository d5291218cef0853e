"""Importance, partial dependence, rules, groups and worst rows."""

from __future__ import annotations

from tests.report.records import RECORDS
from tests.report.wellformed import read_page

from danlu.report import render
from danlu.report.sections_explanation import tree

PRINTED = """|--- x1 <= 0.50
|   |--- x2 <= 0.50
|   |   |--- class: no
|   |--- x2 >  0.50
|   |   |--- class: yes
|--- x1 >  0.50
|   |--- class: no
"""


def test_a_printed_tree_keeps_its_levels_and_marks_its_leaves() -> None:
    drawn = tree(PRINTED.splitlines())
    rows = drawn.split("<li>")[1:]
    assert [row.count("guide-line") for row in rows] == [0, 1, 2, 1, 2, 0, 1]
    assert ["leaf" in row for row in rows] == [False, False, True, False, True, False, True]
    assert read_page(drawn).texts[0] == "x1 <= 0.50"


def test_a_tree_that_is_indented_by_spaces_reads_the_same() -> None:
    drawn = tree(["if x < 1:", "    yes", "else:", "    no"])
    assert [row.count("guide-line") for row in drawn.split("<li>")[1:]] == [0, 1, 0, 1]


def test_only_the_most_important_columns_are_drawn_and_the_rest_counted() -> None:
    record = RECORDS["binary"]()
    record["evaluation"]["importance"] = [
        {"column": f"c{place}", "mean": place, "sd": 0} for place in range(20)
    ]
    text = read_page(render(record)).text
    assert "5 more columns matter less." in text
    assert text.index("c19") < text.index("c5")


def test_effects_share_one_scale_and_categories_have_rows() -> None:
    html = render(RECORDS["regression"]())
    assert "All pictures share one scale" in html
    assert ">INLAND</text>" in html


def test_groups_show_the_gap_and_worst_rows_their_values() -> None:
    text = read_page(render(RECORDS["binary"]())).text
    assert "Accuracy runs from 84.1 % (Male) to 93.2 % (Female)." in text
    assert "Amer-Indian-Eskimo" in text
    assert "4 more columns of these rows are not shown." in text
