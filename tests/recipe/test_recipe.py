from __future__ import annotations

import shlex

import pytest

from danlu.core.errors import RecipeError
from danlu.recipe.planning import BASELINE, plan
from danlu.recipe.recipe import ModelChoice, as_plain, command_of, resolve
from danlu.recipe.yaml_file import apply_sets

BASE = {"data": "houses.csv", "target": "price"}


def test_three_ways_of_naming_a_model_are_one():
    for models in ("knn", ["knn"], [{"name": "knn"}], [{"knn": None}], [{"knn": {}}]):
        assert resolve(BASE | {"models": models}).models == (ModelChoice("knn"),)
    assert resolve(BASE | {"models": [{"knn": {"k": 3}}]}) == resolve(
        BASE | {"models": [{"name": "knn", "k": 3}]}
    )


def test_a_resolved_recipe_says_every_setting_and_resolves_to_itself():
    recipe = resolve(BASE | {"budget": 90, "split": {"method": "random"}, "models": ["ridge"]})
    plain = as_plain(recipe)
    assert (plain["budget"], plain["split"]["train"], plain["models"]) == ("90s", 0.7, [{"name": "ridge"}])
    assert resolve(plain) == recipe


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": "price"}, "A recipe needs 'data': the table to learn from."),
        ({"data": "x.csv"}, "A recipe needs 'target': the column to predict."),
        (BASE | {"modles": ["knn"]}, "Unknown setting 'modles'. Did you mean 'models'?"),
        (BASE | {"models": ["kn"]}, "There is no model 'kn'. Did you mean 'knn'?"),
        (
            BASE | {"models": [{"name": "knn", "kk": 3}]},
            "Unknown setting 'kk' in 'models.knn'. Did you mean 'k'?",
        ),
        (BASE | {"models": [{"name": "knn", "k": "three"}]}, "models.knn.k must be"),
        (BASE | {"models": [3]}, "A model is a name or a mapping with a name"),
        (BASE | {"budget": "3 epochs"}, "A budget is wall time"),
        (BASE | {"seed": -1}, "seed must not be negative, got -1"),
        (BASE | {"training": {"learning_rate": 0}}, "training.learning_rate must be above 0"),
        (BASE | {"evaluation": {"cost_false_positive": 1.0}}, "Costs come in pairs"),
        (BASE | {"evaluation": {"interval": 1.5}}, "evaluation.interval must lie between 0 and 1"),
    ],
)
def test_mistakes_are_named_before_anything_is_read(settings, message):
    with pytest.raises(RecipeError) as error:
        resolve(settings)
    assert message in str(error.value)


def test_the_command_makes_the_same_recipe():
    recipe = resolve(
        BASE
        | {
            "test": "new houses.csv",
            "seed": 3,
            "models": [{"name": "knn", "k": 3}],
            "split": {"time": "sold on"},
        }
        | {"evaluation": {"positive": "yes", "groups": ["区"]}, "columns": {"types": {"zip": "category"}}}
    )
    words = shlex.split(command_of(recipe))
    assert words[:5] == ["danlu", "train", "houses.csv", "--target", "price"]
    assert words[5:9] == ["--test", "new houses.csv", "--seed", "3"]
    sets = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
    given = BASE | {"test": "new houses.csv", "seed": 3}
    assert resolve(apply_sets(given, sets)) == recipe
    assert command_of(resolve(BASE)) == "danlu train houses.csv --target price"


@pytest.mark.parametrize("num_rows", [10, 500, 2_000, 6_000, 50_000])
@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_a_plan_starts_with_the_baseline_and_a_linear_model(num_rows, kind):
    from danlu.core.tasks import Task

    task = Task("regression") if kind == "regression" else Task("binary", (0, 1))
    candidates = plan(resolve(BASE), task, num_rows=num_rows)
    names = [candidate.name for candidate in candidates]
    assert candidates[0] == BASELINE
    assert names[1] in ("ridge", "logistic")
    assert len(set(names)) == len(names)
    without_rows = plan(resolve(BASE | {"evaluation": {"keep_rows": False}}), task, num_rows=num_rows)
    assert not {"knn", "svm"} & {candidate.model for candidate in without_rows}


def test_models_named_twice_get_numbers():
    from danlu.core.tasks import Task

    recipe = resolve(BASE | {"models": [{"name": "knn", "k": 3}, "ridge", {"name": "knn", "k": 9}]})
    names = [candidate.name for candidate in plan(recipe, Task("regression"), num_rows=100)]
    assert names == ["baseline", "knn_1", "ridge", "knn_2"]
