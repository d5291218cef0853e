"""The pieces that hand-made run records are put together from; seeded numbers, no model behind them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


def common(task: str, target: str, labels: list[str], *, seed: int) -> dict[str, Any]:
    return {
        "format": 1,
        "task": task,
        "labels": labels,
        "target": target,
        "run": {
            "name": f"{target}-0007",
            "created": "2025-11-22T18:06:31",
            "seconds": 41.3,
            "version": "0.1.0",
            "seed": seed,
            "command": f"danlu train data.csv --target {target} --budget 60s",
            "budget_seconds": 60,
            "stop_reason": "every candidate of the plan was tried",
            "environment": {
                "python": "3.11.7",
                "system": "Linux x86_64",
                "cpus": 2,
                "packages": {"numpy": "2.4.6", "scikit-learn": "1.9.1", "lightgbm": "4.7.0"},
            },
            "plan": [
                "Five candidates suit these columns and a budget of 60 s; boosting comes first, since it is "
                "usually best on tables of this size.",
                "Each candidate was stopped when the choice rows saw no gain for 50 rounds.",
                "The chosen model was fitted again on all rows but the test.",
            ],
        },
    }


def candidate(
    name: str,
    model: str,
    status: str,
    score: float,
    half: float,
    seconds: float,
    rounds: int | None,
    unit: str | None,
    settings: dict[str, Any],
) -> dict[str, Any]:
    curve = None
    if unit:
        steps = np.arange(1, (rounds or 1) + 1)
        fall = 0.9 * np.exp(-steps / (len(steps) / 6))
        gap = 0.12 * steps / len(steps)
        curve = {
            "step": steps.tolist(),
            "train": (score * (1 + fall - gap)).tolist(),
            "validation": (score * (1 + fall + 0.02 * np.maximum(steps / len(steps) - 0.85, 0))).tolist(),
            "unit": unit,
            "metric": "log_loss" if score < 10 else "rmse",
            "best": int(len(steps) * 0.86) or 1,
        }
    return {
        "name": name,
        "model": model,
        "settings": settings,
        "status": status,
        "score": score,
        "seconds": seconds,
        "score_interval": [score - half, score + half],
        "num_rounds": rounds,
        "curve": curve,
        "metrics": {"train": {"log_loss" if score < 10 else "rmse": score * 0.9}, "validation": {}},
        "stop_reason": "no gain for 50 rounds" if unit else None,
        "why": None,
    }


def roc(label: str, observed: np.ndarray, probability: np.ndarray) -> dict[str, Any]:
    order = np.argsort(-probability)
    hits = observed[order]
    tpr = np.concatenate([[0], np.cumsum(hits) / max(hits.sum(), 1)])
    fpr = np.concatenate([[0], np.cumsum(1 - hits) / max((1 - hits).sum(), 1)])
    return {"label": label, "fpr": fpr.tolist(), "tpr": tpr.tolist(), "auc": float(np.trapezoid(tpr, fpr))}


def pr(label: str, observed: np.ndarray, probability: np.ndarray) -> dict[str, Any]:
    hits = observed[np.argsort(-probability)]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    recall = np.cumsum(hits) / max(hits.sum(), 1)
    average = float(np.sum(np.diff(np.concatenate([[0], recall])) * precision))
    return {
        "label": label,
        "recall": recall[::-1].tolist(),
        "precision": precision[::-1].tolist(),
        "average_precision": average,
        "share": float(observed.mean()),
    }


def calibration(
    label: str, observed: np.ndarray, probability: np.ndarray, num_bins: int = 10
) -> dict[str, Any]:
    result: dict[str, Any] = {
        "label": label,
        "predicted": [],
        "observed": [],
        "count": [],
        "lower": [],
        "upper": [],
    }
    for place in range(num_bins):
        inside = (probability >= place / num_bins) & (probability < (place + 1) / num_bins)
        if inside.sum() < 3:
            continue
        share, half = observed[inside].mean(), 1 / math.sqrt(inside.sum())
        for key, value in (
            ("predicted", probability[inside].mean()),
            ("observed", share),
            ("count", int(inside.sum())),
            ("lower", max(share - half, 0)),
            ("upper", min(share + half, 1)),
        ):
            result[key].append(float(value) if key != "count" else value)
    return result


def importance(names: list[str], rng: np.random.Generator, largest: float = 0.081) -> list[dict[str, Any]]:
    return [
        {"column": name, "mean": largest * 0.62**place, "sd": largest * 0.03 * rng.random()}
        for place, name in enumerate(names)
    ]


def effect(column: str, grid: Any, answer: Any, label: str | None = ">50K") -> dict[str, Any]:
    values = [float(value) for value in grid]
    return {
        "column": column,
        "type": "number",
        "label": label,
        "grid": values,
        "value": [float(answer(value)) for value in values],
    }


def group(column: str, value: str, num_rows: int, accuracy: float, recall: float) -> dict[str, Any]:
    return {
        "column": column,
        "value": value,
        "num_rows": num_rows,
        "metrics": {"accuracy": accuracy, "recall": recall},
    }


def number_column(name: str, rng: np.random.Generator, low: float, high: float) -> dict[str, Any]:
    values = low + (high - low) * rng.beta(2, 4, 2_000)
    counts, edges = np.histogram(values, bins=20)
    return {
        "name": name,
        "type": "number",
        "role": "feature",
        "num_missing": 0,
        "num_unique": 812,
        "why": "all values are numbers",
        "mean": float(values.mean()),
        "sd": float(values.std()),
        "min": low,
        "max": high,
        "median": float(np.median(values)),
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
        "top": None,
    }


def category_column(name: str, top: list[list[Any]], missing: int = 0) -> dict[str, Any]:
    return {
        "name": name,
        "type": "category",
        "role": "feature",
        "num_missing": missing,
        "num_unique": len(top),
        "why": f"text with {len(top)} different values",
        "top": top,
    }


def census_columns(rng: np.random.Generator) -> list[dict[str, Any]]:
    numbers = [
        ("age", 17, 90),
        ("fnlwgt", 12_285, 1_484_705),
        ("education_num", 1, 16),
        ("capital_gain", 0, 99_999),
        ("capital_loss", 0, 4_356),
        ("hours_per_week", 1, 99),
    ]
    return [
        *(number_column(name, rng, low, high) for name, low, high in numbers),
        category_column(
            "workclass", [["Private", 22_696], ["Self-emp-not-inc", 2_541], ["Local-gov", 2_093]], 1_836
        ),
        category_column("education", [["HS-grad", 10_501], ["Some-college", 7_291], ["Bachelors", 5_355]])
        | {"role": "ignore", "why": "says the same as education_num"},
        category_column(
            "marital_status", [["Married-civ-spouse", 14_976], ["Never-married", 10_683], ["Divorced", 4_443]]
        ),
        category_column(
            "occupation", [["Prof-specialty", 4_140], ["Craft-repair", 4_099], ["Sales", 3_650]], 1_843
        ),
        category_column(
            "relationship", [["Husband", 13_193], ["Not-in-family", 8_305], ["Own-child", 5_068]]
        ),
        category_column("race", [["White", 27_816], ["Black", 3_124], ["Asian-Pac-Islander", 1_039]]),
        category_column("sex", [["Male", 21_790], ["Female", 10_771]]),
        category_column("native_country", [["United-States", 29_170], ["Mexico", 643]], 583),
        category_column("income", [["<=50K", 24_720], [">50K", 7_841]]) | {"role": "target"},
    ]
