"""YAML as recipes have it: `off`, `no` and `yes` are words, true and false are not."""

from __future__ import annotations

import pytest

from danlu.core.errors import RecipeError
from danlu.recipe.recipe import as_plain, resolve
from danlu.recipe.yaml_file import apply_sets, dump_yaml, parse_yaml

NEEDED = {"data": "a.csv", "target": "y"}


@pytest.mark.parametrize("word", ["off", "Off", "on", "yes", "no", "n", "Y", "NO"])
def test_words_are_words(word):
    assert parse_yaml(f"a: {word}", where="a") == {"a": word}


@pytest.mark.parametrize(
    ("word", "value"), [("true", True), ("True", True), ("false", False), ("FALSE", False)]
)
def test_true_and_false_are_not(word, value):
    assert parse_yaml(word, where="a") is value


def test_other_values_are_what_they_were():
    text = "{a: 1, b: 1.5, c: null, d: ~, e: 0x10, f: 1e-3, g: .inf, h: true story, i: 2024-01-01}"
    found = parse_yaml(text, where="a")
    assert [found[name] for name in "abcde"] == [1, 1.5, None, None, 16]
    assert found["g"] == float("inf") and found["h"] == "true story" and str(found["i"]) == "2024-01-01"


def test_every_off_of_a_recipe_can_be_said_on_the_command_line():
    words = [
        "ensemble=off", "training.patience=off", "training.average=off", "training.warmup=off",
        "engine.checkpoint=off", "evaluation.calibration=off", "evaluation.positive=no",
    ]  # fmt: skip
    recipe = resolve(apply_sets(NEEDED, words))
    assert recipe.ensemble == recipe.training.patience == recipe.engine.checkpoint == "off"
    assert recipe.evaluation.positive == "no"


def test_a_recipe_comes_back_from_its_file():
    recipe = resolve(apply_sets(NEEDED, ["ensemble=off", "refit=false", "evaluation.positive=yes"]))
    assert resolve(parse_yaml(dump_yaml(as_plain(recipe)), where="a")) == recipe


def test_a_word_where_true_or_false_is_wanted():
    with pytest.raises(RecipeError, match="refit must be true or false, got 'no'"):
        resolve(apply_sets(NEEDED, ["refit=no"]))
