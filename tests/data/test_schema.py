"""Schemas: types and roles inferred on real tables, overridden and checked, written and read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from danlu.core.errors import DataError
from danlu.data.schema import Schema, conform, infer, task_of
from danlu.data.sources import chunks, read
from danlu.data.text_values import Reading

HOUSES = pl.DataFrame(
    {
        "id": [11, 12, 13, 14],
        "area": [2104.0, 1600.0, None, 1416.0],
        "town": ["Rome", "Oslo", "Rome", None],
        "sold": ["2020-01-05", "2020-02-05", "2020-03-05", "2020-04-05"],
        "land": ["x", "x", "x", "x"],
        "price": [399.9, 329.9, 369.0, 232.0],
    }
)


def roles(schema: Schema) -> dict[str, tuple[str, str]]:
    return {column.name: (column.type, column.role) for column in schema.columns}


def test_types_and_roles():
    schema = infer(HOUSES, target="price")
    assert roles(schema) == {
        "id": ("identifier", "ignore"),
        "area": ("number", "feature"),
        "town": ("category", "feature"),
        "sold": ("datetime", "feature"),
        "land": ("constant", "ignore"),
        "price": ("number", "target"),
    }
    assert [column.name for column in schema.features] == ["area", "town", "sold"]
    assert schema.target is not None
    assert schema.target.name == "price"
    assert (schema["area"].num_missing, schema["area"].num_unique, schema["area"].dtype) == (1, 3, "Float64")
    assert (schema["town"].num_missing, schema["town"].num_unique) == (1, 2)
    assert schema["sold"].format == "%Y-%m-%d"
    assert schema.num_rows == 4


def test_through_json_and_back():
    schema = infer(HOUSES, target="price")
    assert Schema.from_dict(json.loads(json.dumps(schema.as_dict()))) == schema


@pytest.mark.parametrize(("key", "value"), [("type", "numbr"), ("role", "featur")])
def test_a_schema_from_a_file_is_checked(key: str, value: str):
    plain = infer(HOUSES, target="price").as_dict()
    plain["columns"][1][key] = value
    with pytest.raises(DataError, match=f"'{value}' is no {key} for column 'area'. Did you mean"):
        Schema.from_dict(plain)


def test_overrides():
    schema = infer(
        HOUSES, target="price", types={"area": "category"}, roles={"id": "feature", "town": "ignore"}
    )
    assert roles(schema)["area"] == ("category", "feature")
    assert roles(schema)["town"] == ("category", "ignore")
    assert roles(schema)["id"] == ("number", "feature")
    assert schema["area"].why == "set by you"
    assert infer(HOUSES, roles={"sold": "time", "town": "group", "area": "ignore"})["sold"].role == "time"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"target": "prize"},
            "The target 'prize' is not in the data. Did you mean 'price'? Columns: id, area, town,",
        ),
        (
            {"types": {"are": "number"}},
            "A type is set for a column that does not exist: 'are' is not in the data. Did",
        ),
        (
            {"roles": {"are": "ignore"}},
            "A role is set for a column that does not exist: 'are' is not in the data.",
        ),
        ({"types": {"area": "numbers"}}, "'numbers' is no type for column 'area'. Did you mean 'number'?"),
        ({"roles": {"area": "wait"}}, "'wait' is no role for column 'area'. Did you mean 'weight'?"),
        ({"types": {"town": "number"}}, "Column 'town' cannot have the type number: row 1 holds 'Rome'."),
        ({"types": {"town": "datetime"}}, "Column 'town' cannot have the type datetime: row 1 holds 'Rome'."),
        ({"types": {"area": "boolean"}}, "Column 'area' cannot have the type boolean: row 1 holds 2104.0."),
        (
            {"roles": {"town": "weight"}},
            "Column 'town' cannot be the weight: it holds 2 different texts, not numbers.",
        ),
        ({"roles": {"area": "weight"}}, "Weights must be numbers >= 0, but row 3 of 'area' holds None."),
        (
            {"roles": {"town": "time"}},
            "Column 'town' cannot be the time: it holds 2 different texts, not dates",
        ),
        (
            {"roles": {"id": "time", "sold": "time"}},
            "Only one column can have the role time, but 'id' and 'sold' have",
        ),
    ],
)
def test_settings_that_do_not_fit(options: dict[str, Any], message: str):
    with pytest.raises(DataError) as error:
        infer(HOUSES, **options)
    assert message in str(error.value)


def test_row_numbers_are_used_where_there_is_nothing_else():
    frame = pl.DataFrame({"t": range(1, 41), "y": [float(number % 7) for number in range(40)]})
    assert roles(infer(frame, target="y"))["t"] == ("number", "feature")
    assert roles(infer(frame.with_columns(x=pl.col("y") * 2), target="y"))["t"] == ("identifier", "ignore")


def test_a_target_is_never_an_identifier():
    frame = pl.DataFrame({"id": range(1, 101), "x": [float(number % 7) for number in range(100)]})
    assert roles(infer(frame, target="id"))["id"] == ("number", "target")


def test_an_absent_target_offers_the_closest_name():
    with pytest.raises(DataError, match="The target 'prize' is not in the data. Did you mean 'price'"):
        task_of(HOUSES, "prize")
    assert task_of(HOUSES, "price").kind == "regression"


def test_what_is_no_date_counts_as_missing():
    frame = pl.DataFrame({"end": ["2020-01-05", "NA", "2020-03-05", None] * 5})
    schema = infer(frame)
    assert (schema["end"].type, schema["end"].num_missing) == ("datetime", 10)
    assert conform(frame, schema)[0]["end"].null_count() == 10


# ------------------------------------------------------------------- later rows are read alike

TRAINING = """day;size;kind;smokes;n;text
1/31/2020;1,5;a;yes;1;some words in a row
2/1/2020;2,25;?;no;NA;more words in a row
2/2/2020;3;null;yes;3;and still more of them
"""


@pytest.fixture
def trained(tmp_path: Path) -> tuple[pl.DataFrame, Schema]:
    path = tmp_path / "train.csv"
    path.write_text(TRAINING)
    source = read(path)
    schema = infer(source.frame, reading=source.reading)
    return conform(source.frame, schema)[0], schema


def test_raw_chunks_become_what_training_saw(tmp_path: Path, trained: tuple[pl.DataFrame, Schema]):
    frame, schema = trained
    parts = [conform(part, schema) for part in chunks(tmp_path / "train.csv", rows=2)]
    assert pl.concat([part for part, _ in parts]).equals(frame.cast({"n": pl.Float64}))
    assert not any(notes for _, notes in parts)
    assert frame["size"].to_list() == [1.5, 2.25, 3.0]
    assert frame["kind"].to_list() == ["a", None, None]
    assert frame["day"].dtype == pl.Datetime("us")


def test_one_row_is_read_as_it_was_among_others(trained: tuple[pl.DataFrame, Schema]):
    """Alone, 1/2/2020 could be either order, 1,5 could be text, and ? a sign."""
    _, schema = trained
    row = {
        "day": ["3/2/2020"],
        "size": ["1.000,5"],
        "kind": ["?"],
        "smokes": ["NA"],
        "n": ["null"],
        "text": [" x "],
    }
    frame, notes = conform(pl.DataFrame(row), schema)
    assert not notes
    (values,) = frame.rows()
    assert str(values[0]) == "2020-03-02 00:00:00"
    assert values[1:] == (1000.5, None, None, None, "x")


def test_values_that_cannot_be_read_stay_or_are_told(trained: tuple[pl.DataFrame, Schema]):
    _, schema = trained
    frame, (note,) = conform(
        pl.DataFrame({"n": ["1", "many"], "day": ["1/31/2020", "31/1/2020"], "new": ["NA", " x"]}), schema
    )
    assert frame["n"].to_list() == ["1", "many"]  # for preprocessing to refuse
    assert frame["day"].null_count() == 1
    assert frame["new"].to_list() == ["NA", " x"]
    assert (note.code, note.columns, note.rows) == ("unread_dates", ("day",), (2,))
    assert "'31/1/2020' in row 2" in note.message


def test_values_that_are_no_text_stay(trained: tuple[pl.DataFrame, Schema]):
    frame = pl.DataFrame({"size": [1.5], "n": [2], "smokes": [True]})
    assert conform(frame, trained[1])[0].equals(frame)


# ------------------------------------------------------------------- real tables


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("auto_mpg", {"name": "text", "horsepower": "number", "model_year": "number", "origin": "category"}),
        ("breast_cancer_wdbc", {"id": "identifier", "diagnosis": "category", "radius_mean": "number"}),
        (
            "bike_sharing_hourly",
            {"instant": "identifier", "dteday": "datetime", "holiday": "boolean", "hr": "number"},
        ),
        ("titanic", {"survived": "boolean", "alone": "boolean", "deck": "category", "fare": "number"}),
        ("insurance", {"smoker": "boolean", "children": "number", "region": "category"}),
        ("mushroom", {"veil_type": "constant", "odor": "category", "bruises": "boolean"}),
        (
            "california_housing",
            {"longitude": "number", "total_bedrooms": "number", "ocean_proximity": "category"},
        ),
        ("airline_passengers", {"Month": "datetime", "Passengers": "number"}),
    ],
)
def test_real_tables(data_dir: Path, name: str, expected: dict[str, str]):
    source = read(data_dir / name / f"{name}.csv")
    schema = infer(source.frame, reading=source.reading)
    assert {column: schema[column].type for column in expected} == expected


def test_adult(data_dir: Path):
    schema = infer(read(data_dir / "adult" / "train.csv").frame, target="income")
    kinds = [column.type for column in schema.columns]
    assert (kinds.count("number"), kinds.count("category")) == (6, 9)
    assert len(schema.features) == 14


def test_amounts_are_read_alike_at_prediction():
    source = read({"price": ["$1,200.50", "$7", None], "share": ["15%", "3.5 %", "0"], "y": [1, 2, 3]})
    schema = Schema.from_dict(infer(source.frame, target="y", reading=source.reading).as_dict())
    assert (schema["price"].type, schema["share"].type) == ("number", "number")
    row = pl.DataFrame({"price": ["$2,000", "30", "NA"], "share": ["7 %", None, "1%"]})
    frame = conform(row, schema)[0]
    assert frame.to_dict(as_series=False) == {"price": [2000.0, 30.0, None], "share": [7.0, None, 1.0]}
    odd = conform(pl.DataFrame({"price": ["$2,000.5", "€5"]}), schema)[0]
    assert odd["price"].to_list() == ["2000.5", "€5"]  # so that an error names the second row


def test_a_decimal_point_in_a_column_of_decimal_commas_is_refused():
    schema = infer(pl.DataFrame({"x": [1.5, 2.5]}), reading={"x": Reading(format="decimal comma")})
    assert conform(pl.DataFrame({"x": ["1,25", "1.5"]}), schema)[0]["x"].to_list() == ["1.25", "1.5"]


def test_spellings_of_yes_and_no_become_one():
    source = read({"churn": ["Yes", "yes", "NO ", "no"], "x": [1, 2, 3, 5]})
    schema = infer(source.frame, target="churn", reading=source.reading)
    assert (schema["churn"].type, schema["churn"].num_unique) == ("boolean", 2)
    assert conform(source.frame, schema)[0]["churn"].to_list() == ["yes", "yes", "no", "no"]
    assert conform(pl.DataFrame({"churn": [" YES", "No"]}), schema)[0]["churn"].to_list() == ["yes", "no"]
    assert task_of(source.frame, "churn").labels == ("no", "yes")
