"""Tests of models/lightgbm_trees.py: the arrays give LightGBM's own predictions, to the last bits."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import pytest

from danlu.models.lightgbm_trees import ZERO, from_lightgbm

QUIET = {
    "verbosity": -1,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "min_data_in_leaf": 2,
}


def awkward(rng: np.random.Generator, num_rows: int) -> np.ndarray:
    """Zeros of both signs, values about LightGBM's zero threshold, missing values in some columns."""
    x = rng.normal(size=(num_rows, 6)).round(1)
    x[rng.random(x.shape) < 0.15] = 0.0
    x[rng.random(x.shape) < 0.05] = -0.0
    tiny = rng.choice([1e-36, -1e-36, ZERO, -ZERO, 2 * ZERO, -2 * ZERO], size=x.shape)
    x[:, 3] = np.where(rng.random(num_rows) < 0.7, tiny[:, 3], x[:, 3])
    x[:, 4] *= 1e30
    x[rng.random(num_rows) < 0.3, 0] = np.nan
    x[rng.random(num_rows) < 0.9, 1] = np.nan
    return x


@pytest.mark.parametrize(
    ("objective", "num_outputs"), [("regression", 1), ("regression_l1", 1), ("binary", 1), ("multiclass", 3)]
)
@pytest.mark.parametrize(
    "changes", [{}, {"zero_as_missing": False, "max_bin": 4}, {"use_missing": False}, {"extra_trees": True}]
)
def test_predictions_are_lightgbms(objective: str, num_outputs: int, changes: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    x = awkward(rng, 800)
    signal = np.nan_to_num(x[:, 0]) + np.isnan(x[:, 1]) + (np.abs(x[:, 3]) > ZERO) + x[:, 2]
    y = (
        signal
        if objective.startswith("regression")
        else np.digitize(signal, [0.5, 1.5][: max(num_outputs - 1, 1)])
    )
    parameters = QUIET | {"objective": objective, "num_class": num_outputs} | changes
    booster = lightgbm.train(parameters, lightgbm.Dataset(x, y), 20)
    trees = from_lightgbm(booster.model_to_string(), 6, num_outputs)
    unseen = np.vstack([x, awkward(rng, 300), rng.choice([np.nan, 0.0, 1e-36, -ZERO, 1e300], size=(300, 6))])
    sums = np.zeros((len(unseen), num_outputs))
    trees.add_scores(unseen, sums)
    wanted = np.asarray(booster.predict(unseen, raw_score=True)).reshape(len(unseen), num_outputs)
    assert np.array_equal(sums, wanted)
    assert np.isfinite(trees.threshold).all()


def test_a_part_of_the_rounds_can_be_read() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(200, 3)), rng.normal(size=200)
    booster = lightgbm.train(QUIET | {"objective": "regression"}, lightgbm.Dataset(x, y), 9)
    sums = np.zeros((200, 1))
    for start, length in ((0, 4), (4, 5)):
        part = from_lightgbm(booster.model_to_string(start_iteration=start, num_iteration=length), 3, 1)
        assert part.num_trees == length
        part.add_scores(x, sums)
    assert np.array_equal(sums[:, 0], np.asarray(booster.predict(x)))


def test_a_tree_without_a_split_is_one_leaf() -> None:
    booster = lightgbm.Booster(QUIET, lightgbm.Dataset(np.ones((5, 1)), np.arange(5.0), params=QUIET))
    booster.update()
    trees = from_lightgbm(booster.model_to_string(), 1, 1)
    assert trees.sizes.tolist() == [1] and trees.values.tolist() == [[2.0]]
