"""Metrics by the names that scikit-learn and the record give them."""

from __future__ import annotations

import pytest

from danlu.report import metric_names as metrics
from danlu.report.metric_names import readable


@pytest.mark.parametrize(
    ("name", "title", "value", "shown"),
    [
        ("accuracy", "Accuracy", 0.8743, "87.4 %"),
        ("roc_auc", "ROC AUC", 0.92871, "0.929"),
        ("roc_auc_ovr", "ROC AUC (ovr)", 1.0, "1.000"),
        ("f1_macro", "F1 (macro)", 0.5, "0.500"),
        ("pr_auc", "PR AUC", None, "–"),
        ("root_mean_squared_error", "RMSE", 45330.4, "45,330"),
        ("rmse", "RMSE", 4.1e9, "4.1 × 10⁹"),
        ("r2", "R²", -0.0002, "0.000"),
        ("selection_rate", "Selection rate", 0.2702, "27.0 %"),
        ("neg_own_score", "Own score", 1.5, "1.500"),
    ],
)
def test_titles_and_values(name: str, title: str, value: float | None, shown: str) -> None:
    assert metrics.title(name) == title
    assert metrics.show(name, value) == shown


def test_intervals() -> None:
    assert metrics.show_interval("accuracy", [0.8692, 0.8794]) == "86.9–87.9 %"
    assert metrics.show_interval("r2", [-0.1, 0.2]) == "−0.100 to 0.200"
    assert metrics.show_interval("r2", [None, 0.2]) == "–"
    assert metrics.show_interval("r2", None) == "–"


def test_which_way_is_better() -> None:
    record = {"metric": "profit", "greater_is_better": True}
    assert metrics.greater_is_better("profit", record) is True
    assert metrics.greater_is_better("log_loss", record) is False
    assert metrics.greater_is_better("own_score", record) is None


def test_the_metric_that_chose_comes_first_then_the_catalogues_order() -> None:
    names = ["log_loss", "own", "roc_auc", "accuracy"]
    assert metrics.ordered(names, {"metric": "roc_auc"}) == ["roc_auc", "accuracy", "log_loss", "own"]


def test_scores_of_validation_rows_stand_in_where_there_is_no_test_part() -> None:
    record = {"metrics": {"validation": {"r2": 0.4}, "test": {}}, "task": "regression"}
    assert metrics.unseen(record) == ("validation", {"r2": 0.4})
    assert metrics.headline_metric(record) == "r2"
    assert metrics.headline_metric({}) is None


def test_sentences_of_the_record_read_as_the_page_writes() -> None:
    assert readable("svm has the best log_loss on 5160 rows (0.0764 nats without): 72%, 90%.") == (
        "svm has the best log loss on 5,160 rows (0.0764 without): 72 %, 90 %."
    )
    kept = "--metric log_loss, 'rmse', metric=log_loss, in 2011"
    assert readable(kept) == kept
    assert readable("best rmse and r2") == "best RMSE and R²"
