"""`danlu models --kind`: every part of every kind is listed with its paper, and found by its name."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tests.cli.conftest import Command

from danlu.cli.models import KINDS
from danlu.recipe.catalogue import entries, generate

Refused = Callable[..., str]


def test_every_kind_of_the_catalogue_can_be_listed() -> None:
    assert {entry["kind"] for entry in generate()} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind(danlu: Command, kind: str) -> None:
    answer = danlu("models", "--kind", kind)
    assert answer.status == 0 and answer.err == ""
    lines = [line for line in answer.out.splitlines() if not line.startswith(" ")]
    assert [line.partition(":")[0] for line in lines] == list(entries(kind))
    words = " ".join(answer.out.split())
    for entry in entries(kind).values():
        assert entry.summary in words and " ".join(entry.source.split()) in words
    listed = json.loads(danlu("models", "--kind", kind, "--json").out)
    assert [row["name"] for row in listed] == list(entries(kind)) and {row["kind"] for row in listed} == {
        kind
    }


@pytest.mark.parametrize("kind", KINDS)
def test_each_part_shows_its_settings(danlu: Command, kind: str) -> None:
    for name, entry in entries(kind).items():
        text = danlu("models", name, "--kind", kind).out
        assert text.startswith(f"{name}: ")
        assert all(f"\n  {field.name} = {field.default!r}  (" in text for field in entry.settings)


def test_a_name_is_found_in_whatever_kind_it_is(danlu: Command) -> None:
    assert danlu("models", "leaky_relu").out.startswith("leaky_relu: ")
    assert "slope = " in danlu("models", "leaky_relu").out
    assert "decay = 0.999" in danlu("models", "ema").out


def test_a_name_of_two_kinds_shows_both(danlu: Command) -> None:
    text = danlu("models", "constant").out
    assert text.startswith("schedule:\nconstant: ") and "\ninitialisation:\nconstant: " in text
    assert danlu("models", "constant", "--kind", "schedule").out.startswith("constant: ")
    listed = json.loads(danlu("models", "constant", "--json").out)
    assert [row["kind"] for row in listed] == ["schedule", "initialisation"]


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (
            ["--kind", "optimizr"],
            "There is no kind 'optimizr'. Did you mean 'optimizer'? Known: model, objective",
        ),
        (["momentun", "--kind", "optimizer"], "There is no optimizer 'momentun'. Did you mean 'momentum'?"),
        (["momentum", "--kind", "schedule"], "There is no schedule 'momentum'. Known: constant, cosine"),
        (["boostin"], "Did you mean 'boosting'?"),
    ],
)
def test_a_wrong_word_names_the_right_one(refused: Refused, words: list[str], answer: str) -> None:
    assert answer in refused("models", *words)
