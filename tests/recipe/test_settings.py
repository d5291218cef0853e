from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from danlu.core.errors import RecipeError
from danlu.recipe.settings import check, fields, from_plain, to_plain
from danlu.recipe.yaml_file import apply_sets, dump_yaml, parse_yaml, read_yaml


@dataclass(frozen=True)
class Inner:
    """A group."""

    rate: float | Literal["auto"] = "auto"
    """Step size of
    the optimizer."""
    widths: tuple[int, ...] = ()
    """Neurons."""


@dataclass(frozen=True)
class Outer:
    """A recipe."""

    name: str
    """What to call it."""
    kind: Literal["a", "b"] = "a"
    """Which one."""
    inner: Inner = field(default_factory=Inner)
    """A group."""
    types: dict[str, str] = field(default_factory=dict)
    """By column."""
    flag: bool = True
    """On or off."""
    limit: int | None = None
    """At most."""
    anything: Any = None
    """What you like."""


def test_plain_values_become_a_checked_object_and_back():
    plain = {
        "name": "x",
        "kind": "b",
        "inner": {"rate": 1, "widths": [64, 32]},
        "types": {"zip": "category"},
        "limit": 3,
    }
    made = from_plain(Outer, plain)
    assert made == Outer("x", "b", Inner(1.0, (64, 32)), {"zip": "category"}, True, 3)
    assert isinstance(made.inner.rate, float)
    assert to_plain(made)["inner"] == {"rate": 1.0, "widths": [64, 32]}
    assert from_plain(Outer, to_plain(made)) == made


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({"name": "x", "kinds": "a"}, "Unknown setting 'kinds'. Did you mean 'kind'?"),
        ({"name": "x", "inner": {"rat": 1}}, "Unknown setting 'rat' in 'inner'. Did you mean 'rate'?"),
        ({"name": "x", "kind": "c"}, "kind must be one of a, b, got 'c' (str)."),
        (
            {"name": "x", "inner": {"rate": "fast"}},
            "inner.rate must be a number or one of auto, got 'fast' (str).",
        ),
        (
            {"name": "x", "inner": {"rate": True}},
            "inner.rate must be a number or one of auto, got True (bool).",
        ),
        ({"name": "x", "inner": {"widths": [1, "b"]}}, "inner.widths must be a list, each a whole number"),
        ({"name": "x", "inner": 3}, "inner must be a mapping of settings, got 3 (int)."),
        ({"name": 3}, "name must be a text, got 3 (int)."),
        ({"name": "x", "flag": "yes"}, "flag must be true or false, got 'yes' (str)."),
        ({"name": "x", "limit": 1.5}, "limit must be a whole number or empty (null), got 1.5 (float)."),
        ([1], "A recipe must be a mapping of settings, got [1] (list)."),
    ],
)
def test_mistakes_are_named(plain, message):
    with pytest.raises(RecipeError) as error:
        from_plain(Outer, plain)
    assert message in str(error.value)


def test_fields_carry_type_default_and_docstring():
    found = {entry.name: entry for entry in fields(Inner)}
    assert found["rate"].doc == "Step size of the optimizer."
    assert found["rate"].type == "float | Literal['auto']"
    assert (found["rate"].default, found["widths"].default) == ("auto", [])


def test_check_without_a_dataclass():
    assert check([1, 2], "tuple[int, ...]", where="x") == (1, 2)
    assert check(2, "float | None", where="x") == 2.0
    assert check(None, "float | None", where="x") is None


def test_sets_reach_every_depth():
    start = {"training": {"duration": "auto", "optimizer": "sgd"}}
    found = apply_sets(
        start, ["training.duration=60 epochs", "training.learning_rate=0.1", "models=[ridge, knn]", "seed=3"]
    )
    assert found == {
        "training": {"duration": "60 epochs", "optimizer": "sgd", "learning_rate": 0.1},
        "models": ["ridge", "knn"],
        "seed": 3,
    }
    assert start == {"training": {"duration": "auto", "optimizer": "sgd"}}
    for wrong in ("training", "=3", "a..b=1"):
        with pytest.raises(RecipeError, match="--set takes name=value"):
            apply_sets({}, [wrong])
    with pytest.raises(RecipeError, match="'seed' is not a group of settings"):
        apply_sets({"seed": 1}, ["seed.x=1"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x [1]\nb: *x", "YAML aliases"),
        ("a: 1\na: 2", "the setting 'a' stands there twice"),
        ("a: !!python/object/apply:os.system [ls]", "is not valid YAML"),
        ("a: [1", "is not valid YAML"),
        ("[" * 5000, "nested too deeply"),
    ],
)
def test_yaml_holds_settings_only(text, message):
    with pytest.raises(RecipeError, match=message):
        parse_yaml(text, where="recipe.yaml")


def test_recipe_files(tmp_path):
    good = tmp_path / "recipe.yaml"
    good.write_text(dump_yaml({"target": "价格", "models": [{"name": "knn", "k": 3}]}), encoding="utf-8")
    assert read_yaml(good) == {"target": "价格", "models": [{"name": "knn", "k": 3}]}
    with pytest.raises(
        RecipeError, match="There is no recipe file .*recipes.yaml. Did you mean 'recipe.yaml'?"
    ):
        read_yaml(tmp_path / "recipes.yaml")
    (tmp_path / "list.yaml").write_text("- a\n")
    with pytest.raises(RecipeError, match="must hold settings as 'name: value' lines, got list"):
        read_yaml(tmp_path / "list.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(RecipeError, match="is not UTF-8 text"):
        read_yaml(tmp_path / "bytes.yaml")
    (tmp_path / "huge.yaml").write_text("a" * 1_000_001)
    with pytest.raises(RecipeError, match="a recipe has at most 1,000,000"):
        read_yaml(tmp_path / "huge.yaml")


def test_a_number_as_yaml_reads_it_in_scientific_notation():
    assert check("1e-3", "float | Literal['auto']", where="rate") == 1e-3
    assert check("2.5E+4", "float", where="rate") == 25_000.0
    assert check("1e-3", "str", where="name") == "1e-3"
