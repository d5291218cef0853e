"""The comparison of candidates: order, focus of the picture, what failed and why."""

from __future__ import annotations

from tests.report.records import RECORDS
from tests.report.wellformed import read_page

from danlu.report import render
from danlu.report.sections_models import ranked


def test_the_chosen_one_comes_first_then_the_better_scores_then_those_without() -> None:
    record = RECORDS["binary"]()
    record["candidates"].reverse()
    assert [one["name"] for one in ranked(record)] == [
        "boosting", "random forest", "mlp 128-64", "logistic regression", "naive Bayes", "kernel SVM",
        "k-nearest neighbours",
    ]  # fmt: skip
    higher = {"metric": "r2", "candidates": [{"name": "a", "score": 0.1}, {"name": "b", "score": 0.9}]}
    assert [one["name"] for one in ranked(higher)] == ["b", "a"]


def test_a_bad_score_does_not_squeeze_the_others() -> None:
    html = render(RECORDS["binary"]())
    assert "baseline 0.552 →" in html
    assert "An arrow points to what lies outside the picture." in html
    close = RECORDS["binary"]()
    close["candidates"] = [one for one in close["candidates"] if one["name"] != "naive Bayes"]
    close["baseline"]["validation"]["log_loss"] = 0.33
    assert "An arrow" not in render(close)


def test_members_of_an_ensemble_show_their_weights() -> None:
    text = read_page(render(RECORDS["regression"]())).text
    assert "What the chosen model is made of" in text
    assert "68 %" in text and "32 %" in text


def test_models_of_one_name_are_counted_and_one_alone_needs_no_picture() -> None:
    record = RECORDS["regression"]()
    record["chosen"]["members"] = [{"name": "boosting", "weight": 0.2}] * 4 + [
        {"name": "ridge", "weight": 0.2}
    ]
    text = read_page(render(record)).text
    assert "boosting (4 models)" in text and "80 %" in text
    record["chosen"]["members"].pop()
    assert "What the chosen model is made of" not in read_page(render(record)).text


def test_the_baseline_is_a_line_of_the_picture_not_a_row() -> None:
    record = RECORDS["regression"]()
    record["candidates"].append(
        {"name": "naive", "model": "baseline", "score": 115_600.0, "stop_reason": "done"}
    )
    page = read_page(render(record))
    assert page.text.split().count("naive") == 1  # in the table only
    assert "baseline 115,600" in page.text


def test_settings_and_reasons_are_told() -> None:
    text = read_page(render(RECORDS["binary"]())).text
    assert "num_leaves = 15 learning_rate = 0.05" in text
    assert "widths = 128, 64" in text
    assert "Stopped after 8 s" in text


def test_a_learning_curve_names_its_best_round() -> None:
    text = read_page(render(RECORDS["binary"]())).text
    assert "best at round 354: 0.281" in text
    assert "best at epoch 32" in text


def test_a_curve_of_one_fold_says_so_and_its_lines_are_named() -> None:
    curve = {"step": [1, 2], "validation": [0.5, 0.4], "metric": "log_loss", "fold": "first of 5 folds"}
    text = read_page(render({"candidates": [{"name": "net", "curve": curve}]})).text
    assert "net (first of 5 folds)" in text
    assert "validation rows" in text and "training line" not in text and "dashed line" not in text
