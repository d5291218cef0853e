"""The answer in one sentence, and whether it beats the baseline."""

from __future__ import annotations

from typing import Any

import pytest
from tests.report.records import RECORDS
from tests.report.wellformed import read_page

from danlu.report import headline, render
from danlu.report.sections_summary import verdict


def test_the_answer_for_classes() -> None:
    assert headline(RECORDS["binary"]()) == (
        "Predicts income (2 classes) right for 87.4 % of 16,281 unseen rows, "
        "but finds 65.6 % of those that are '>50K' (95 % interval 86.9–87.9 %; always saying '<=50K' gets 76.4 %)."
    )


def test_the_answer_for_a_number() -> None:
    assert headline(RECORDS["regression"]()) == (
        "Predicts median_house_value with an average error of 29,870 on 3,096 unseen rows "
        "(95 % interval 28,710–31,060; always saying 206,856 is off by 91,960)."
    )


def test_the_answer_without_a_test_part_says_so() -> None:
    record = RECORDS["multiclass"]() | {"baseline": {"name": "prior", "validation": {"accuracy": 0.44}}}
    del record["metrics"]["test"]
    assert headline(record) == (
        "Predicts species (3 classes) right for 97.6 % of the 293 rows that also chose the model "
        "(the baseline (prior) gets 44.0 %)."
    )
    assert "so a little flattering" in read_page(render(record)).text


def test_the_answer_in_a_metric_of_ones_own() -> None:
    record = {
        "target": "y",
        "task": "binary",
        "metrics": {"test": {"own_score": 0.5}},
        "split": {"rows": {"test": 1}},
    }
    assert headline(record) == "Predicts y with Own score 0.500 on 1 unseen row."


def test_an_empty_record_promises_nothing() -> None:
    assert headline({}) == "A model that predicts the target; there is no score for it."


@pytest.mark.parametrize(
    ("interval", "baseline", "expected"),
    [
        ([0.80, 0.90], 0.76, "better"),
        ([0.75, 0.90], 0.76, "unclear"),
        ([0.80, 0.90], 0.95, "worse"),
        (None, 0.76, "better"),
        (None, 0.95, "worse"),
        ([0.80, 0.90], None, None),
    ],
)
def test_the_verdict(interval: Any, baseline: Any, expected: str | None) -> None:
    record = {
        "task": "binary",
        "metrics": {"test": {"accuracy": 0.85}},
        "intervals": {"test": {"accuracy": interval}},
        "baseline": {"test": {"accuracy": baseline}},
    }
    assert verdict(record) == expected


def test_the_verdict_turns_round_for_errors() -> None:
    record: dict[str, Any] = {
        "task": "regression",
        "metrics": {"test": {"mae": 3.0}},
        "intervals": {"test": {"mae": [2.0, 4.0]}},
        "baseline": {"test": {"mae": 5.0}},
    }
    assert verdict(record) == "better"
    record["baseline"]["test"]["mae"] = 1.0
    assert verdict(record) == "worse"
    assert "No better than the baseline" in read_page(render(record)).text
    assert "the model's error is 200 % larger" in read_page(render(record)).text


def test_findings_stand_by_severity_and_many_notes_are_folded() -> None:
    record = {
        "findings": [
            *({"severity": "info", "message": f"note {place}"} for place in range(6)),
            {"severity": "warning", "message": "a warning"},
            {
                "severity": "problem",
                "message": "a problem",
                "evidence": {"share": 0.25, "many": list(range(30))},
            },
        ]
    }
    text = read_page(render(record)).text
    assert text.index("a problem") < text.index("a warning") < text.index("note 0")
    assert "Show 3 more notes" in text
    assert "1 problem 1 warning 6 notes" in text
    assert "share 25.0 %" in text and "and 18 more" in text


def test_evidence_by_column_keeps_the_columns_names() -> None:
    finding = {
        "severity": "info",
        "message": "m",
        "evidence": {"share": {"native_country": 0.0179}, "num_rows": 3},
    }
    text = read_page(render({"findings": [finding]})).text
    assert "share: native_country 1.8 %" in text and "rows 3" in text and "num rows" not in text


def test_no_findings_and_unknown_findings_differ() -> None:
    assert "Nothing stood out." in read_page(render({"findings": []})).text
    assert "Nothing stood out." not in read_page(render({})).text


@pytest.mark.parametrize(
    ("severity", "said"),
    [("problem", "No better than the baseline"), ("warning", "Not clearly better than the baseline")],
)
def test_the_badge_agrees_with_the_finding(severity: str, said: str) -> None:
    record = RECORDS["binary"]()
    record["findings"].append({"code": "no_skill", "severity": severity, "message": "m"})
    text = read_page(render(record)).text
    assert said in text and "Clearly better" not in text


def test_evidence_is_in_words_and_repeats_nothing() -> None:
    findings = [
        {
            "code": "a",
            "severity": "info",
            "message": "m",
            "evidence": {"num_rows": 4827, "num_other_target": 2},
        },
        {
            "code": "b",
            "severity": "info",
            "message": "It is so since why not.",
            "evidence": {"why": "why not"},
        },
        {
            "code": "no_skill",
            "severity": "warning",
            "message": "no better (r2 0.01 against -6.7e-06), 90% sure",
            "evidence": {"metric": "r2", "baseline": -6.7e-6},
        },
    ]
    text = read_page(render({"findings": findings})).text
    assert "rows 4,827 of them with another target 2" in text
    assert text.count("why not") == 1
    assert "(R² 0.01 against 0.000), 90 % sure" in text and "10⁻⁶" not in text
