"""The reference pages say what the code says."""

from __future__ import annotations

from pathlib import Path

import pytest

from danlu.recipe.reference import pages, words

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.mark.parametrize("name", ["recipe.md", "models.md"])
def test_pages_are_fresh(name: str) -> None:
    text = (DOCS / name).read_text(encoding="utf-8")
    assert text == pages()[name], "run: python -m danlu.recipe.reference"


def test_every_key_of_a_written_recipe_is_explained() -> None:
    from danlu.recipe.recipe import as_plain, resolve

    page = pages()["recipe.md"]
    plain = as_plain(resolve({"data": "a.csv", "target": "b"}))
    groups = ("columns", "split", "preprocessing", "training", "engine", "evaluation")
    for name, value in plain.items():
        assert (f"## `{name}`" if name in groups else f"| `{name}` |") in page
        for key in value if name in groups else ():
            assert f"| `{key}` |" in page


def test_no_setting_is_without_an_explanation() -> None:
    assert not [line for page in pages().values() for line in page.splitlines() if line.endswith("|  |")]


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        ("int", "whole number"),
        ("str | None", "text or empty"),
        ("Literal['auto', 'all'] | int", "`auto`, `all` or whole number"),
        ("tuple[str, ...]", "list, each a text"),
        ("dict[str, str]", "mapping"),
    ],
)
def test_types_in_words(annotation: str, said: str) -> None:
    assert words(annotation) == said
