from __future__ import annotations

import pytest

from danlu.core.duration import Duration, parse_duration, parse_seconds
from danlu.core.errors import RecipeError


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("3 epochs", 3, "epochs"),
        ("1 epoch", 1, "epochs"),
        ("2000 steps", 2000, "steps"),
        ("10 minutes", 600, "seconds"),
        ("60s", 60, "seconds"),
        ("1.5h", 5400, "seconds"),
    ],
)
def test_reads(text, amount, unit):
    assert parse_duration(text) == Duration(amount, unit)


@pytest.mark.parametrize(
    "text", ["", "ten epochs", "3", "3 weeks", "-1 s", "0 steps", "1.5 epochs", "nan s", "9 rounds"]
)
def test_refuses(text):
    with pytest.raises(RecipeError):
        parse_duration(text)


def test_says_what_to_write():
    with pytest.raises(RecipeError, match="Write a number and a unit, like '60 epochs'"):
        parse_duration("soon")


def test_seconds_of_a_budget():
    assert parse_seconds("2m") == 120
    assert parse_seconds(30) == 30
    assert parse_seconds("45") == 45
    with pytest.raises(RecipeError, match="A budget is wall time"):
        parse_seconds("3 epochs")


def test_prints_as_it_is_read():
    assert str(Duration(1, "epochs")) == "1 epoch"
    assert str(Duration(600, "seconds")) == "600 seconds"
    for duration in (Duration(1_234_567, "steps"), Duration(0.25, "seconds")):
        assert parse_duration(str(duration)) == duration
    assert parse_seconds(1_234_567.5) == 1_234_567.5
