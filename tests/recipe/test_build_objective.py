"""From the name of an objective to the object, and from what a bundle holds back to it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from danlu.core.errors import BundleError, DataError, RecipeError
from danlu.core.tasks import Task
from danlu.objectives.classification import CrossEntropy
from danlu.objectives.mixup import Mixup
from danlu.objectives.regression import Huber, HuberSettings, Quantile, SquaredError
from danlu.objectives.several import Several
from danlu.recipe.build import build_objective, restore_objective, stored_objective

NUMBER, TWO, THREE = Task("regression"), Task("binary", ("no", "yes")), Task("multiclass", ("a", "b", "c"))
Y = np.array([1.0, 2.0, 3.0, 10.0])
CODES = np.array([0, 0, 0, 1])


def built(task: Task, y: np.ndarray, choice: Any = "auto", *, standardise: bool = True) -> Any:
    return build_objective(task, y=y, weight=None, standardise=standardise, choice=choice)


def test_without_a_choice_it_is_squared_error_or_cross_entropy():
    number = built(NUMBER, Y)
    assert type(number) is SquaredError and (number.shift, number.scale) == (4.0, np.std(Y))
    assert built(NUMBER, Y, standardise=False).state() == {"shift": 0.0, "scale": 1.0}
    for task in (TWO, THREE):
        assert type(built(task, CODES)) is CrossEntropy


def test_a_name_or_a_mapping_with_settings_chooses():
    huber = built(NUMBER, Y, {"name": "huber", "delta": 2})
    assert type(huber) is Huber and huber.settings.delta == 2.0 and huber.shift == 2.0
    assert type(built(NUMBER, Y, "quantile")) is Quantile
    weighted = built(TWO, CODES, {"name": "auto", "class_weights": "balanced"})
    np.testing.assert_allclose(weighted.state()["class_weights"], [4 / 6, 4 / 2])
    named = built(TWO, CODES, {"name": "cross_entropy", "class_weights": {"yes": 5}})
    np.testing.assert_allclose(named.state()["class_weights"], [1.0, 5.0])


def test_what_cannot_be_chosen_is_told():
    with pytest.raises(
        RecipeError, match=r"'huber' is for regression targets; .* binary task, .* there are: .*focal"
    ):
        built(TWO, CODES, "huber")
    with pytest.raises(RecipeError, match=r"There is no objective 'hubber'\. Did you mean 'huber'\?"):
        built(NUMBER, Y, "hubber")
    with pytest.raises(
        RecipeError, match=r"Unknown setting 'detla' in 'objective\.huber'\. Did you mean 'delta'\?"
    ):
        built(NUMBER, Y, {"name": "huber", "detla": 2})
    with pytest.raises(RecipeError, match=r"objective\.huber\.delta must be a number, got 'big'"):
        built(NUMBER, Y, {"name": "huber", "delta": "big"})
    with pytest.raises(
        RecipeError, match=r"needs a name, like \{name: huber, delta: 2\}, got \{'delta': 2\}"
    ):
        built(NUMBER, Y, {"delta": 2})
    with pytest.raises(RecipeError, match=r"names the class 'maybe', which is not there"):
        built(TWO, CODES, {"name": "cross_entropy", "class_weights": {"maybe": 5}})
    with pytest.raises(DataError, match=r"'poisson' is for targets from 0 on, got -1"):
        built(NUMBER, Y - 2, "poisson")


def test_bundles_of_the_first_version_name_no_objective():
    old = restore_objective(NUMBER, {"shift": 3.0, "scale": 2.0})
    assert type(old) is SquaredError and (old.shift, old.scale) == (3.0, 2.0)
    for task in (TWO, THREE):
        assert type(restore_objective(task, {})) is CrossEntropy


def test_what_is_stored_names_the_objective_and_its_own_settings():
    assert stored_objective(SquaredError(NUMBER, shift=3.0)) == {
        "name": "squared_error", "settings": {}, "shift": 3.0, "scale": 1.0,
    }  # fmt: skip
    assert stored_objective(CrossEntropy(TWO)) == {
        "name": "cross_entropy", "settings": {},
    }  # fmt: skip
    assert stored_objective(Huber(NUMBER, HuberSettings(delta=2.0)))["settings"] == {"delta": 2.0}
    with pytest.raises(BundleError, match=r"and Several is no part of the catalogue\. Register it"):
        stored_objective(Several({"price": SquaredError(NUMBER)}))
    assert stored_objective(Mixup(SquaredError(NUMBER))) == stored_objective(SquaredError(NUMBER))


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"shift": 1.0}, "the objective 'squared_error' keeps shift, scale, got shift"),
        ({}, "keeps shift, scale, got nothing"),
        ({"name": 3, "shift": 1.0, "scale": 1.0}, "an objective has a name and settings, got '3'"),
        (
            {"name": "huber", "settings": [], "shift": 1.0, "scale": 1.0},
            "has a name and settings, got 'huber'",
        ),
        ({"name": "huber", "settings": {}, "shift": 1.0, "scale": 0.0}, "its scale above 0, got 1.0 and 0.0"),
    ],
)
def test_a_state_that_nobody_wrote_is_refused(state, told):
    with pytest.raises(BundleError, match=told):
        restore_objective(NUMBER, state)


def test_weights_that_are_missing_or_too_many_are_refused():
    named = stored_objective(built(TWO, CODES, {"name": "cross_entropy", "class_weights": {"yes": 5}}))
    del named["class_weights"]  # they follow from the settings, but a bundle says them
    with pytest.raises(BundleError, match=r"'cross_entropy' keeps class_weights, got nothing"):
        restore_objective(TWO, named)
    with pytest.raises(BundleError, match=r"Weights of 2 classes"):
        restore_objective(TWO, named | {"class_weights": np.ones(3)})
    with pytest.raises(RecipeError, match=r"'cross_entropy' is for binary and multiclass targets"):
        restore_objective(NUMBER, stored_objective(CrossEntropy(TWO)))


def test_the_defaults_need_no_torch():
    code = (
        "import sys, numpy as np\n"
        "from danlu.core.tasks import Task\n"
        "from danlu.recipe.build import build_objective, restore_objective, stored_objective\n"
        "for task in (Task('regression'), Task('binary', ('a', 'b'))):\n"
        "    made = build_objective(task, y=np.array([0, 1]), weight=None, standardise=True)\n"
        "    restore_objective(task, stored_objective(made))\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
