"""The record that a run on house prices would leave, with an ensemble and prediction intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
from tests.report.record_parts import candidate, category_column, common, effect, importance, number_column


def regression(num_test: int = 3_096) -> dict[str, Any]:
    """A record as a run on house prices would leave it, with prediction intervals and an ensemble."""
    rng = np.random.default_rng(1)
    observed = np.clip(rng.lognormal(12.1, 0.5, num_test), 15_000, 500_001)
    predicted = np.clip(
        observed * rng.normal(1, 0.17, num_test) + rng.normal(0, 22_000, num_test), 20_000, 520_000
    )
    columns = [
        number_column(name, rng, low, high)
        for name, low, high in (
            ("longitude", -124.3, -114.3),
            ("latitude", 32.5, 42),
            ("housing_median_age", 1, 52),
            ("total_rooms", 2, 39_320),
            ("total_bedrooms", 1, 6_445),
            ("population", 3, 35_682),
            ("households", 1, 6_082),
            ("median_income", 0.5, 15),
        )
    ]
    columns[4]["num_missing"] = 207
    columns.append(
        category_column(
            "ocean_proximity",
            [["<1H OCEAN", 9136], ["INLAND", 6551], ["NEAR OCEAN", 2658], ["NEAR BAY", 2290], ["ISLAND", 5]],
        )
    )
    target = number_column("median_house_value", rng, 14_999, 500_001) | {"role": "target"}
    return {
        **common("regression", "median_house_value", [], seed=1),
        "metric": "rmse",
        "greater_is_better": False,
        "data": {
            "source": "california_housing.csv",
            "fingerprint": "sha256:52aa90c1",
            "num_rows": 20_640,
            "num_duplicates": 0,
            "columns": [*columns, target],
        },
        "split": {
            "method": "holdout",
            "rows": {"train": 14_448, "choice": 2_064, "calibration": 1_032, "test": num_test},
            "sentence": "70 % of the rows were learnt from, 15 % chose the model and set its intervals "
            "(two parts that share no row), and 15 % were kept for the end.",
        },
        "candidates": [
            candidate("ensemble", "ensemble", "chosen", 46_210, 1_300, 0.2, None, None, {}),
            candidate(
                "boosting", "lightgbm", "member", 46_900, 1_350, 11.8, 640, "round", {"num_leaves": 63}
            ),
            candidate(
                "extra trees", "extra_trees", "member", 49_480, 1_400, 8.1, 400, None, {"num_trees": 400}
            ),
            candidate("ridge", "ridge", "tried", 68_900, 1_900, 0.1, 1, None, {"l2": 1.0}),
            candidate(
                "gradient descent", "linear", "failed", 4.1e9, 1e8, 0.4, 60, "epoch", {"learning_rate": 0.6}
            ),
        ],
        "chosen": {
            "name": "ensemble",
            "members": [{"name": "boosting", "weight": 0.68}, {"name": "extra trees", "weight": 0.32}],
            "sentence": "The average of boosting (68 %) and extra trees (32 %) was chosen: lowest RMSE.",
        },
        "metrics": {
            "train": {"rmse": 27_900.0, "mae": 18_700.0, "r2": 0.941},
            "validation": {"rmse": 46_210.0, "mae": 30_220.0, "r2": 0.842},
            "test": {"rmse": 45_330.0, "mae": 29_870.0, "r2": 0.8494, "mape": 0.1692},
        },
        "intervals": {
            "test": {"mae": [28_710.0, 31_060.0], "rmse": [43_240.0, 47_540.0], "r2": [0.834, 0.863]}
        },
        "baseline": {
            "name": "mean",
            "answer": 206_856.0,
            "validation": {"rmse": 115_600.0, "mae": 91_400.0, "r2": 0.0},
            "test": {"rmse": 116_800.0, "mae": 91_960.0, "r2": -0.0002, "mape": 0.6231},
        },
        "evaluation": {
            "residuals": {"observed": observed.tolist(), "predicted": predicted.tolist()},
            "importance": importance([column["name"] for column in reversed(columns)], rng, 61_000),
            "partial_dependence": [
                effect(
                    "median_income", np.linspace(0.5, 12, 24), lambda v: 120_000 + 32_000 * min(v, 8), None
                ),
                effect("latitude", np.linspace(32.5, 42, 24), lambda v: 245_000 - 14_000 * abs(v - 34), None),
                {
                    "column": "ocean_proximity",
                    "type": "category",
                    "label": None,
                    "grid": ["INLAND", "<1H OCEAN", "NEAR BAY"],
                    "value": [171_000.0, 221_000.0, 226_000.0],
                },
            ],
            "worst_rows": [
                {
                    "row": 10 * place + 7,
                    "observed": 500_001.0,
                    "predicted": 171_200.0 + 9_000 * place,
                    "loss": 3.3e5,
                    "values": {"median_income": 2.1, "latitude": 34.07, "ocean_proximity": "INLAND"},
                }
                for place in range(6)
            ],
            "interval": {
                "asked": 0.9,
                "covered": 0.9041,
                "covered_interval": [0.8931, 0.9146],
                "mean_width": 138_400.0,
                "num_rows": num_test,
            },
        },
        "findings": [
            {
                "code": "capped_target",
                "severity": "warning",
                "message": "965 rows have the target's largest value, 500,001: it "
                "looks capped. The model cannot know what lies beyond.",
                "evidence": {"share": 0.0468, "value": 500_001},
                "columns": ["median_house_value"],
                "rows": [90, 460, 494],
                "remedies": ["Leave capped rows out, or say so."],
            }
        ],
        "privacy": {"bundle_has_rows": False, "report_has_rows": False, "sentence": None},
    }
