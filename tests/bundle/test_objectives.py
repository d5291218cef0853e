"""Objectives in model files: files that name none, files that name one, files that lie."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from danlu.bundle.read import load
from danlu.bundle.strict_json import dump
from danlu.bundle.write import save
from danlu.core.errors import BundleError
from danlu.recipe.build import build_objective, stored_objective


def altered(workshop: Any, data: bytes, change: Any) -> Any:
    """The file with another objective in its first member."""
    members = workshop.members_of(data)
    model = json.loads(members["model.json"])
    change(model["members"][0]["objective"])
    return workshop.put(workshop.rebuilt(members | {"model.json": dump(model)}))


@pytest.mark.parametrize(
    ("kind", "models"), [("regression", ("ridge", "mlp")), ("binary", ("logistic", "mlp"))]
)
def test_files_that_were_written_before_objectives_had_names_answer_the_same(
    workshop: Any, kind: str, models: tuple[str, ...]
) -> None:
    fitted = workshop.fitted(kind, *models)
    members = workshop.members_of(workshop.file_of(kind, *models))
    model = json.loads(members["model.json"])
    for member in model["members"]:
        del member["objective"]["name"], member["objective"]["settings"]
        assert set(member["objective"]) == ({"shift", "scale"} if kind == "regression" else set())
    old = workshop.put(workshop.rebuilt(members | {"model.json": dump(model)}))
    found, expected = load(old).predict_frame(fitted.rows), fitted.predictor.predict_frame(fitted.rows)
    assert found.main.tobytes() == expected.main.tobytes()


@pytest.mark.parametrize(
    "choice",
    ["poisson", "absolute_error", {"name": "quantile", "level": 0.9}, {"name": "huber", "delta": 3.0}],
)
def test_another_objective_comes_back_with_its_settings_and_answers_the_same(
    workshop: Any, choice: Any
) -> None:
    fitted = workshop.fitted("regression", "mlp")
    predictor = fitted.predictor
    objective: Any = build_objective(
        predictor.task, y=np.array([0.0, 2.0, 9.0]), weight=None, standardise=True, choice=choice
    )
    (member,) = predictor.members
    predictor = replace(predictor, members=(replace(member, objective=objective),), interval=None)
    path = workshop.folder / "model.danlu"
    save(predictor, path, check_rows=fitted.rows)
    loaded = load(path)
    assert stored_objective(loaded.members[0].objective) == stored_objective(objective)
    assert (
        loaded.predict_frame(fitted.rows).main.tobytes()
        == predictor.predict_frame(fitted.rows).main.tobytes()
    )


def test_class_weights_are_stored_as_an_array(workshop: Any) -> None:
    fitted = workshop.fitted("binary", "logistic")
    predictor = fitted.predictor
    objective = build_objective(
        predictor.task,
        y=np.array([0, 1, 1, 1]),
        weight=None,
        standardise=True,
        choice={"name": "cross_entropy", "class_weights": "balanced"},
    )
    (member,) = predictor.members
    path = workshop.folder / "model.danlu"
    save(replace(predictor, members=(replace(member, objective=objective),)), path, check_rows=fitted.rows)
    state: Any = stored_objective(load(path).members[0].objective)
    np.testing.assert_allclose(state["class_weights"], [2.0, 4 / 6])
    assert state["settings"] == {"class_weights": "balanced"}


LIES: list[tuple[dict[str, Any], str]] = [
    ({"name": "os.system"}, "There is no objective 'os.system'"),
    ({"name": "cross_entropy"}, "'cross_entropy' is for binary and multiclass targets"),
    ({"name": "ridge"}, "There is no objective 'ridge'"),
    ({"name": None}, "an objective has a name and settings"),
    ({"settings": {"delta": 1.0}}, "Unknown setting 'delta'"),
    ({"settings": None}, "an objective has a name and settings"),
    ({"name": "huber", "settings": {"delta": -1.0}}, "huber.delta must be above 0"),
    ({"name": "poisson"}, "is damaged"),
    ({"scale": 0.0}, "its scale above 0"),
    ({"scale": None}, "its scale above 0"),
    ({"scale": "much"}, "is damaged"),
    ({"shift": [1.0, 2.0], "scale": [1.0, 2.0]}, "one number for a target's shift"),
    ({"task": "regression"}, "is damaged"),
    ({"more": 1}, "is damaged"),
]


@pytest.mark.parametrize(("lie", "told"), LIES, ids=[str(lie) for lie, _ in LIES])
def test_an_objective_that_danlu_did_not_write_is_refused(
    workshop: Any, lie: dict[str, Any], told: str
) -> None:
    data = workshop.file_of("regression", "ridge")
    with pytest.raises(BundleError) as error:
        load(altered(workshop, data, lambda objective: objective.update(lie)))
    assert told in str(error.value)


def test_an_objective_without_one_of_its_numbers_is_refused(workshop: Any) -> None:
    data = workshop.file_of("regression", "ridge")
    with pytest.raises(BundleError, match=r"objective 'squared_error' keeps shift, scale, got scale"):
        load(altered(workshop, data, lambda objective: objective.pop("shift")))
