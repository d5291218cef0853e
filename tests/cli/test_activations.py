"""Tests of cli/activations.py: the table, one activation, the advice, the page."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import Command

from danlu.recipe.catalogue import entries

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_table_names_every_activation_and_normalisation_with_its_words(danlu: Command) -> None:
    status, out, err = danlu("activations")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    for entry in entries("activation").values():
        (line,) = [line for line in lines if line.startswith(f"{entry.name} ")]
        assert entry.traits["formula"] in line and entry.traits["range"] in line
    for entry in entries("normalisation").values():
        (line,) = [line for line in lines if line.startswith(f"{entry.name} ")]
        assert ", ".join(entry.traits["averages_over"]) in line
        assert f" {'yes' if entry.traits['depends_on_batch'] else 'no'} " in line
    assert max(map(len, lines)) <= 112


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("hidden layers", "relu"),
        ("hidden layers with dead units", "leaky_relu"),
        ("output for two classes", "sigmoid"),
        ("output for several classes", "softmax"),
        ("output for a number", "identity"),
        ("Transformers", "layer (normalisation)"),
        ("convolutions with small batches", "group (normalisation)"),
    ],
)
def test_the_advice_is_that_of_the_texts(danlu: Command, place: str, name: str) -> None:
    advice = danlu("activations").out.partition("First choice")[2]
    assert f"  {place:<34}{name}\n" in advice


def test_one_activation_with_its_values_and_settings(danlu: Command) -> None:
    out = danlu("activations", "leaky_relu").out
    assert "  formula  max(slope · x, x)\n" in out
    assert [line.split()[1:] for line in out.splitlines() if line.startswith(("  f(x)", "  f'(x)"))] == [
        ["-0.2", "-0.1", "0", "1", "2"],
        ["0.1", "0.1", "0.1", "1", "1"],
    ]
    assert "slope = 0.1" in out
    assert "Drawn: the first of three classes" in danlu("activations", "softmax").out


def test_the_page_is_written(danlu: Command, tmp_path: Path) -> None:
    status, out, err = danlu("activations", "--out", "page.html")
    assert (status, out, err) == (0, "page.html\n", "")
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_mistakes_are_answered(refused: Callable[..., str]) -> None:
    assert "no activation 'rellu'. Did you mean 'relu'?" in refused("activations", "rellu")
    said = refused("activations", "relu", "--out", "page.html")
    assert "--out writes the page of all activations, and 'relu' names one" in said


def test_the_table_needs_no_torch() -> None:
    code = "import sys; from danlu.cli import main; main(['activations']); print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert "relu  " in done.stdout and done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("page", ["docs/activations.md", "docs/zh/activations.md"])
def test_the_documentation_says_what_the_parts_say(page: str) -> None:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"
    ]
    is_english = "zh" not in page
    for entry in entries("normalisation").values():
        (row,) = [row for row in rows if row[0] == f"`{entry.name}`"]
        is_value = entry.traits["normalises"] == "values"
        if is_value or is_english:
            assert row[1] == ", ".join(entry.traits["averages_over"])
        assert row[2] in (("yes", "是") if entry.traits["depends_on_batch"] else ("no", "否"))
        if is_english:
            assert row[3] == ", ".join(entry.traits["first_choice_for"])
    for entry in entries("activation").values():
        taken = [row[0] for row in rows if row[1] == f"`{entry.name}`"]
        wanted = entry.traits["first_choice_for"]
        assert taken == wanted if is_english else len(taken) == len(wanted)
    for entry in entries("initialisation").values():
        assert f"`{entry.name}`" in text
