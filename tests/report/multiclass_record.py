"""Records of small runs on two columns: several classes with a printed tree, and a linear SVM."""

from __future__ import annotations

from typing import Any

import numpy as np
from tests.report.record_parts import (
    calibration,
    candidate,
    category_column,
    common,
    effect,
    importance,
    number_column,
    pr,
    roc,
)


def multiclass(num_classes: int = 3) -> dict[str, Any]:
    """A record as a small cross-validated run with a printed tree and a decision boundary would leave it."""
    rng = np.random.default_rng(2)
    labels = ["Adelie", "Chinstrap", "Gentoo"][:num_classes] + [
        f"class {code}" for code in range(3, num_classes)
    ]
    rows = 51 if num_classes == 3 else 40 * num_classes
    observed = rng.integers(0, num_classes, rows)
    scores = rng.normal(0, 1, (rows, num_classes)) + 3.2 * np.eye(num_classes)[observed]
    probability = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    matrix = np.zeros((num_classes, num_classes), dtype=int)
    np.add.at(matrix, (observed, probability.argmax(axis=1)), 1)
    x, y = np.linspace(32, 60, 50), np.linspace(13, 22, 50)
    codes = np.where(x[None, :] < 43.2, 0, np.where(y[:, None] > 16.4, 1, 2)) % num_classes
    one = [
        (labels[code], (observed == code).astype(int), probability[:, code]) for code in range(num_classes)
    ]
    points = rng.integers(0, 3, 200)
    return {
        **common("multiclass", "species", labels, seed=2),
        "metric": "log_loss",
        "greater_is_better": False,
        "data": {
            "source": "penguins.csv",
            "fingerprint": "sha256:11",
            "num_rows": 344,
            "num_duplicates": 0,
            "columns": [
                category_column("species", [["Adelie", 152], ["Gentoo", 124], ["Chinstrap", 68]])
                | {"role": "target"},
                number_column("bill_length_mm", rng, 32, 60),
                number_column("bill_depth_mm", rng, 13, 22),
                {
                    "name": "rowid",
                    "type": "identifier",
                    "role": "ignore",
                    "num_missing": 0,
                    "num_unique": 344,
                    "why": "every value is different",
                },
            ],
        },
        "split": {
            "method": "cross-validation",
            "rows": {"train": 293, "test": rows},
            "folds": 5,
            "repeats": 3,
            "sentence": "There are few rows, so models were compared by cross-validation on 293 rows.",
        },
        "candidates": [
            candidate("softmax regression", "logistic", "chosen", 0.081, 0.03, 0.3, 30, "round", {"l2": 1.0}),
            candidate("decision tree", "tree", "tried", 0.21, 0.08, 0.1, 1, None, {"depth": 2}),
        ],
        "chosen": {"name": "softmax regression", "members": [], "sentence": "Softmax regression was chosen."},
        "metrics": {
            "train": {"accuracy": 0.99},
            "validation": {"accuracy": 0.976, "log_loss": 0.081},
            "test": {
                "accuracy": float((observed == probability.argmax(axis=1)).mean()),
                "log_loss": 0.31,
                "f1_macro": 0.94,
                "roc_auc_ovr": 0.991,
            },
        },
        "intervals": {"test": {"accuracy": [0.84, 0.98]}},
        "baseline": {
            "name": "prior",
            "answer": labels[0],
            "validation": {"log_loss": 1.05, "accuracy": 0.44},
            "test": {"log_loss": 1.06, "accuracy": 0.43},
        },
        "evaluation": {
            "roc": [roc(*each) for each in one],
            "pr": [pr(*each) for each in one],
            "confusion": {"labels": labels, "matrix": matrix.tolist()},
            "calibration": [calibration(*each, num_bins=5) for each in one],
            "importance": importance(["bill_length_mm", "bill_depth_mm"], rng),
            "partial_dependence": [
                effect(
                    "bill_length_mm",
                    np.linspace(32, 60, 20),
                    lambda v, c=code: 1 / (1 + abs(v - 38 - 5 * c)),
                    labels[code],
                )
                for code in range(num_classes)
            ],
            "boundary": {
                "x": "bill_length_mm",
                "y": "bill_depth_mm",
                "x_grid": x.tolist(),
                "y_grid": y.tolist(),
                "value": codes.tolist(),
                "margin": False,
                "points": {
                    "x": (38.8 + 8.5 * (points > 0) + rng.normal(0, 2.4, 200)).tolist(),
                    "y": (18.4 - 3.4 * (points == 2) + rng.normal(0, 1, 200)).tolist(),
                    "label": [labels[code % num_classes] for code in points],
                },
            },
        },
        "rules": "|--- bill_length_mm <= 43.25\n|   |--- class: Adelie\n|--- bill_length_mm >  43.25\n"
        "|   |--- bill_depth_mm <= 16.40\n|   |   |--- class: Gentoo\n|   |--- bill_depth_mm >  16.40\n"
        "|   |   |--- class: Chinstrap\n",
        "findings": [],
        "privacy": {"bundle_has_rows": False, "report_has_rows": True, "sentence": None},
    }


def support_vectors() -> dict[str, Any]:
    """A record of a linear SVM on two columns: probabilities, and distances whose margin is at -1 and 1."""
    rng = np.random.default_rng(3)
    grid = np.linspace(-3, 3, 40)
    side = np.repeat([0, 1], 40)
    points = rng.normal(0, 0.7, (80, 2)) + np.where(side[:, None] == 1, 1.3, -1.3)
    return {
        **common("binary", "side", ["left", "right"], seed=3),
        "metrics": {"test": {"accuracy": 0.975}},
        "evaluation": {
            "boundary": {
                "x": "x1",
                "y": "x2",
                "x_grid": grid.tolist(),
                "y_grid": grid.tolist(),
                "margin": True,
                "border": 0.5,
                "distance": (grid[None, :] + grid[:, None]).tolist(),
                "value": (1 / (1 + np.exp(-grid[None, :] - grid[:, None]))).tolist(),
                "points": {
                    "x": points[:, 0].tolist(),
                    "y": points[:, 1].tolist(),
                    "label": ["right" if one else "left" for one in side],
                },
            }
        },
    }
