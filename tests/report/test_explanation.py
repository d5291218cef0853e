"""Importance, partial dependence, rules, groups and worst rows."""

from __future__ import annotations

from tests.report.records import RECORDS
from tests.report.wellformed import read_page

from danlu.report import render
from danlu.report.sections_explanation import tree

PRINTED: str = """|--- x1 <= 0.50
|   |--- x2 <= 0.50
|   |   |--- class: no
|   |--- x2 >  0.50
|   |   |--- class: yes
|--- x1 >  0.50
|   |--- class: no
"""


def test_a_printed_tree_keeps_its_levels_and_marks_its_leaves() -> None:
    drawn = tree(list(PRINTED.splitlines()))
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


def test_sparse_effects_show_which_places_are_known() -> None:
    effect = {"column": "gain", "type": "number", "label": ">50K", "grid": [0, 5013], "value": [0.2, 0.1]}
    page = read_page(render({"task": "binary", "evaluation": {"partial_dependence": [effect]}}))
    assert page.tags.count("circle") == 2


def test_effects_of_categories_name_each_value_once_for_all_classes() -> None:
    effects = [
        {
            "column": "island",
            "type": "category",
            "label": name,
            "grid": ["Biscoe", "Dream"],
            "value": [0.5, 0.25],
        }
        for name in ("Adelie", "Gentoo")
    ]
    page = read_page(render({"task": "multiclass", "evaluation": {"partial_dependence": effects}}))
    assert page.tags.count("circle") == 4
    assert page.texts.count("Biscoe") == 2  # on the row, and where the row is pointed at


def test_gaps_between_groups_name_the_ends() -> None:
    record = RECORDS["binary"]()
    record["evaluation"]["groups"][6]["is_small"] = True
    record["evaluation"]["group_gaps"] = [
        {"column": "sex", "metric": "selection_rate", "gap": 0.196, "interval": [0.176, 0.216]}
        | {"highest": "Male", "lowest": "Female"}
    ]
    text = read_page(render(record)).text
    assert "sex Selection rate 19.6 % 17.6–21.6 % Male Female" in text
    assert "Other (few rows)" in text


def test_worst_rows_show_what_the_truth_was_given() -> None:
    record = RECORDS["binary"]()
    record["evaluation"]["worst_rows"][0]["probability"] = 0.0072
    text = read_page(render(record)).text
    assert "Probability of the true class" in text and "0.7 %" in text


def test_groups_show_the_gap_and_worst_rows_their_values() -> None:
    text = read_page(render(RECORDS["binary"]())).text
    assert "Accuracy runs from 84.1 % (Male) to 93.2 % (Female)." in text
    assert "Amer-Indian-Eskimo" in text
    assert "4 more columns of these rows are not shown." in text


def test_a_perfect_model_has_no_misses() -> None:
    rows = [{"row": 1, "observed": "a", "predicted": "a", "loss": 0.1, "values": {"note": "x" * 90}}]
    columns = [{"name": "note", "type": "text"}]
    record = {"task": "binary", "evaluation": {"worst_rows": rows}, "data": {"columns": columns}}
    text = read_page(render(record)).text
    assert "No unseen row was decided wrongly; these were the least sure." in text
    assert "x" * 90 in text
    rows[0]["predicted"] = "b"
    assert "The worst misses" in read_page(render(record)).text


def test_what_cannot_be_judged_says_so_instead_of_nothing() -> None:
    note = "only one value among these rows: cannot be judged"
    noted = {"column": "city", "mean": 0.0, "sd": 0.0, "note": note}
    effect = {"column": "town", "note": note}
    record = {"task": "binary", "evaluation": {"importance": [noted], "partial_dependence": [effect]}}
    text = read_page(render(record)).text
    assert f"city: {note}." in text and f"town {note}" in text


def test_a_flat_effect_is_not_blown_up() -> None:
    effect = {"column": "age", "label": "yes", "grid": [1, 2, 3], "value": [0.4953825, 0.4953826, 0.4953825]}
    page = read_page(render({"task": "binary", "evaluation": {"partial_dependence": [effect]}}))
    assert "48 %" in page.texts and "50 %" in page.texts
    assert {"1", "2", "3"} <= set(page.texts)
