"""Partial dependence against closed forms and scikit-learn; the grid of a decision boundary."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.inspection import partial_dependence as theirs

from danlu.core.duration import Deadline
from danlu.core.tasks import Task
from danlu.evaluate.effects import decision_boundary, partial_dependence

NUMBER = Task("regression")
BINARY = Task("binary", ("no", "yes"))
THREE = Task("multiclass", ("a", "b", "c"))


def draw(num_rows=300):
    random = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "x": random.normal(size=num_rows),
            "age": random.integers(0, 90, num_rows),
            "city": random.choice(["Rome", "Oslo", "Bonn"], num_rows, p=[0.6, 0.3, 0.1]),
            "member": random.random(num_rows) < 0.3,
        }
    )


def test_additive_model_by_hand():
    frame = draw()
    bonus = {"Rome": 0.0, "Oslo": 5.0, "Bonn": 9.0}

    def predict(rows):
        return 3 * rows["x"].to_numpy() + np.array([bonus[city] for city in rows["city"]])

    number, category, unused = partial_dependence(
        predict,
        frame,
        NUMBER,
        columns=[("x", "number"), ("city", "category"), ("member", "boolean")],
        sample_rows=1000,
    )
    assert number["column"] == "x"
    assert number["label"] is None
    assert len(number["grid"]) == 20
    assert np.diff(number["value"]) == pytest.approx(3 * np.diff(number["grid"]))
    assert number["grid"][0] == pytest.approx(np.quantile(frame["x"], 0.05))
    assert category["grid"] == ["Rome", "Oslo", "Bonn"]
    assert np.subtract(category["value"], category["value"][0]) == pytest.approx([0, 5, 9])
    assert unused["grid"] == [False, True]
    assert unused["value"][0] == pytest.approx(unused["value"][1])


def test_equals_sklearn_for_a_forest():
    random = np.random.default_rng(1)
    x = random.normal(size=(200, 3))
    frame = pl.DataFrame(x, schema=["a", "b", "c"])
    model = RandomForestRegressor(20, random_state=0).fit(x, x[:, 0] * x[:, 1])
    (entry,) = partial_dependence(
        lambda rows: model.predict(rows.to_numpy()), frame, NUMBER, columns=[("a", "number")], sample_rows=200
    )
    expected = theirs(
        model, x, [0], custom_values={0: np.array(entry["grid"])}, method="brute", kind="average"
    )
    assert entry["value"] == pytest.approx(expected["average"][0])


def test_classes_have_an_entry_each_or_the_positive_one():
    frame = draw()

    def two(rows):
        positive = 1 / (1 + np.exp(-rows["x"].to_numpy()))
        return np.column_stack([1 - positive, positive])

    (entry,) = partial_dependence(two, frame, BINARY, columns=[("x", "number")])
    assert entry["label"] == "yes"
    assert entry["value"] == pytest.approx(1 / (1 + np.exp(-np.array(entry["grid"]))))

    def three(rows):
        return np.tile([0.2, 0.3, 0.5], (rows.height, 1))

    entries = partial_dependence(three, frame, THREE, columns=[("x", "number")])
    assert [each["label"] for each in entries] == ["a", "b", "c"]
    assert [each["value"][0] for each in entries] == pytest.approx([0.2, 0.3, 0.5])
    json.dumps(entries, allow_nan=False)


def test_types_are_kept_and_odd_columns_survive():
    frame = draw().with_columns(
        empty=pl.lit(None, dtype=pl.Float64), one=pl.lit(3), holes=pl.Series([None, np.nan, 2.0] * 100)
    )
    schemas = []

    def predict(rows):
        schemas.append(dict(rows.schema))
        return rows["age"].to_numpy().astype(float)

    columns = [(name, "number") for name in ("age", "empty", "one", "holes")] + [("city", "category")]
    entries = partial_dependence(predict, frame, NUMBER, columns=columns)
    assert [entry["column"] for entry in entries] == ["age", "city"]  # the others have nothing to vary over
    assert all(schema == dict(frame.schema) for schema in schemas)
    assert all(isinstance(value, int) for value in entries[0]["grid"])
    quantiles = np.quantile(frame["age"], np.linspace(0.05, 0.95, 20))
    assert entries[0]["grid"] == np.unique(np.round(quantiles)).tolist()
    assert entries[0]["value"] == pytest.approx(entries[0]["grid"])


def test_a_deadline_ends_it():
    assert (
        partial_dependence(
            lambda rows: np.zeros(rows.height),
            draw(),
            NUMBER,
            columns=[("x", "number")],
            deadline=Deadline.after(0),
        )
        == []
    )


def test_boundary_of_two_classes():
    frame = pl.DataFrame({"u": [0.0, 1.0, None, 4.0], "v": [0.0, 2.0, 1.0, -2.0]})

    def predict(rows):
        positive = (rows["u"] > rows["v"]).cast(float).to_numpy()
        return np.column_stack([1 - positive, positive])

    found = decision_boundary(predict, frame, BINARY, [0, 0, 1, 1], x="u", y="v", grid_size=11)
    value = np.array(found["value"])
    assert value.shape == (11, 11)
    expected = np.array(found["x_grid"])[None, :] > np.array(found["y_grid"])[:, None]
    assert (value == expected).all()
    assert (found["x_grid"][0], found["x_grid"][-1]) == pytest.approx((-0.2, 4.2))
    assert found["points"] == {"x": [0.0, 1.0, 4.0], "y": [0.0, 2.0, -2.0], "label": ["no", "no", "yes"]}
    json.dumps(found, allow_nan=False)


def test_boundary_of_several_classes_of_numbers_and_of_scores():
    frame = pl.DataFrame({"u": np.arange(1000.0), "v": np.arange(1000.0)})
    third = decision_boundary(
        lambda rows: np.tile([0.1, 0.2, 0.7], (rows.height, 1)),
        frame,
        THREE,
        [0] * 1000,
        x="u",
        y="v",
        grid_size=5,
    )
    assert third["value"] == [[2] * 5] * 5
    assert len(third["points"]["x"]) == 400
    none = decision_boundary(
        lambda rows: rows["u"].to_numpy() - 3,
        frame,
        BINARY,
        [0] * 1000,
        x="u",
        y="v",
        grid_size=5,
        max_points=0,
    )
    assert none["value"][0] == pytest.approx(np.array(none["x_grid"]) - 3)
    assert none["points"] == {"x": [], "y": [], "label": []}
