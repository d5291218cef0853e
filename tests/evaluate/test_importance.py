"""Permutation importance against its exact value for a linear model and against scikit-learn; deadlines."""

from __future__ import annotations

import time

import numpy as np
import polars as pl
import pytest
from sklearn.inspection import permutation_importance as theirs
from sklearn.linear_model import LinearRegression

from danlu.core.duration import Deadline
from danlu.core.tasks import Task
from danlu.evaluate.importance import permutation_importance, predict_in_pieces

NUMBER = Task("regression")
BINARY = Task("binary", ("no", "yes"))


def draw(num_rows=4000):
    random = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "a": random.normal(size=num_rows),
            "b": random.normal(size=num_rows),
            "c": random.normal(size=num_rows),
        }
    )
    return frame, (2 * frame["a"] - frame["b"]).to_numpy() + 0.1 * random.normal(size=num_rows)


def linear(frame):
    return (2 * frame["a"] - frame["b"]).to_numpy()


def test_linear_model_has_known_importance():
    # Shuffling x with weight w adds 2 w^2 var(x) to the squared error.
    frame, observed = draw()
    found = permutation_importance(linear, frame, NUMBER, observed, columns=["c", "b", "a"], by="mse")
    assert [row["column"] for row in found.columns] == ["a", "b", "c"]
    assert [row["mean"] for row in found.columns] == pytest.approx([8.0, 2.0, 0.0], rel=0.06)
    assert found.columns[2] == {"column": "c", "mean": 0.0, "sd": 0.0}
    assert found.columns[0]["sd"] < 0.3
    assert (found.metric, found.num_rows, found.num_repeats, found.unmeasured) == ("mse", 4000, 5, ())
    assert found.score == pytest.approx(0.01, rel=0.1)


def test_agrees_with_sklearn():
    frame, observed = draw(1000)
    model = LinearRegression().fit(frame.to_numpy(), observed)
    found = permutation_importance(
        lambda rows: model.predict(rows.to_numpy()),
        frame,
        NUMBER,
        observed,
        columns=frame.columns,
        by="r2",
        num_repeats=20,
    )
    expected = theirs(model, frame.to_numpy(), observed, scoring="r2", n_repeats=20, random_state=0)
    by_name = {row["column"]: row for row in found.columns}
    assert [by_name[name]["mean"] for name in "abc"] == pytest.approx(
        expected.importances_mean, rel=0.03, abs=1e-3
    )


def test_classes_categories_and_weights():
    random = np.random.default_rng(0)
    frame = pl.DataFrame(
        {"city": [["x", "y", None][i] for i in random.integers(0, 3, 500)], "noise": random.normal(size=500)}
    )
    codes = (frame["city"] == "x").fill_null(False).cast(int).to_numpy()

    def predict(rows):
        positive = np.where((rows["city"] == "x").fill_null(False).to_numpy(), 0.9, 0.1)
        return np.column_stack([1 - positive, positive])

    found = permutation_importance(
        predict,
        frame,
        BINARY,
        codes,
        columns=frame.columns,
        by="accuracy",
        weight=np.ones(500),
        threshold=0.3,
    )
    assert found.columns[0]["column"] == "city"
    assert found.columns[0]["mean"] == pytest.approx(4 / 9, abs=0.05)  # 2 * 1/3 * 2/3 are decided wrong
    default = permutation_importance(predict, frame, BINARY, codes, columns=["city"], num_repeats=1)
    assert default.metric == "log_loss"
    assert default.columns[0]["mean"] > 0.5
    assert default.columns[0]["sd"] is None


def test_same_seed_same_numbers_whatever_the_other_columns():
    frame, observed = draw(300)
    some = permutation_importance(linear, frame, NUMBER, observed, columns=["a", "b"], seed=1)
    again = permutation_importance(linear, frame, NUMBER, observed, columns=["b", "c", "a"], seed=1)
    other = permutation_importance(linear, frame, NUMBER, observed, columns=["a", "b"], seed=2)
    assert some.columns == again.columns[:2]
    assert some.columns != other.columns


def test_each_column_is_shuffled_in_its_own_way():
    frame, observed = draw(300)
    twins = frame.with_columns(b=-2 * frame["a"])  # the model takes 2 a - b: both weigh the same
    found = permutation_importance(linear, twins, NUMBER, observed, columns=["a", "b"], num_repeats=1)
    first, second = (row["mean"] for row in found.columns)
    assert first != second
    assert first == pytest.approx(second, rel=0.3)


def test_rows_are_sampled():
    frame, observed = draw()
    found = permutation_importance(linear, frame, NUMBER, observed, columns=["a"], max_rows=500)
    assert found.num_rows == 500
    assert found.columns[0]["mean"] > 1


def test_a_deadline_leaves_a_rougher_answer():
    frame, observed = draw(5000)
    passed = permutation_importance(
        linear, frame, NUMBER, observed, columns=["a", "b"], deadline=Deadline.after(0)
    )
    assert passed.columns == []
    assert passed.unmeasured == ("a", "b")
    assert passed.num_repeats == 0

    def slow(rows):
        time.sleep(0.05)
        return linear(rows)

    start = time.monotonic()
    found = permutation_importance(
        slow, frame, NUMBER, observed, columns=["a", "b", "c"], num_repeats=1000, deadline=Deadline.after(0.4)
    )
    assert time.monotonic() - start < 3
    assert found.unmeasured == ()
    assert 1 <= found.num_repeats < 1000


def test_an_undefined_score_measures_nothing():
    found = permutation_importance(
        linear, pl.DataFrame({"a": [1.0], "b": [1.0]}), NUMBER, [2.0], columns=["a"], by="r2"
    )
    assert found.score is None
    assert found.unmeasured == ("a",)


def test_long_frames_are_predicted_in_pieces():
    sizes = []

    def predict(rows):
        sizes.append(rows.height)
        return rows["a"].to_numpy()

    frame = pl.DataFrame({"a": np.arange(120_000.0)})
    assert (predict_in_pieces(predict, frame) == np.arange(120_000.0)).all()
    assert sizes == [50_000, 50_000, 20_000]
