"""Raw rows to features: four encodings, any frame at prediction, bit-equal rows, hostile states."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest
from scipy.sparse import issparse

from danlu.core.errors import BundleError, DataError, RecipeError, UserError
from danlu.data.preprocess import Encoding, Preprocessor, PreprocessSettings, fit_preprocessor
from danlu.data.schema import Column, Schema, infer

ENCODINGS = get_args(Encoding)
TYPES = {
    "age": "number",
    "income": "number",
    "member": "boolean",
    "answer": "boolean",
    "since": "datetime",
    "city": "category",
    "grade": "category",
    "review": "text",
}


def table(num_rows: int = 120, *, seed: int = 0, text: bool = True) -> pl.DataFrame:
    """Columns of every type, all but `income` and `member` with gaps."""
    rng = np.random.default_rng(seed)
    words = np.array(["good", "bad", "room", "很好", "房间", "and", "the", "staff"])
    gaps = rng.random((num_rows, 8)) < 0.1
    frame = pl.DataFrame(
        {
            "age": np.where(gaps[:, 0], np.nan, rng.integers(18, 80, num_rows)),
            "income": rng.lognormal(10, 1, num_rows),
            "member": rng.random(num_rows) < 0.3,
            "answer": rng.choice(["yes", "no"], num_rows),
            "since": [date(2015, 1, 1) + timedelta(int(d)) for d in rng.integers(0, 2000, num_rows)],
            "city": rng.choice(["Paris", "Rome", "上海", "Oslo"], num_rows),
            "grade": rng.integers(1, 5, num_rows),
            "review": [" ".join(rng.choice(words, 6)) for _ in range(num_rows)],
        }
    ).with_columns(
        pl.when(~pl.Series(gaps[:, i])).then(pl.col(name)).alias(name)
        for i, name in ((3, "answer"), (4, "since"), (5, "city"), (6, "grade"), (7, "review"))
    )
    return frame if text else frame.drop("review")


def schema_of(frame: pl.DataFrame, types: dict[str, str] | None = None) -> Schema:
    found: Any = {name: (types or TYPES)[name] for name in frame.columns}
    columns = [
        Column(name, found[name], "feature", str(dtype), 0, 1, "made for this test")
        for name, dtype in frame.schema.items()
    ]
    return Schema(tuple(columns), frame.height)


def fit(frame: pl.DataFrame, encoding: Any = "linear", **settings: Any) -> Preprocessor:
    return fit_preprocessor(
        frame, schema_of(frame), encoding=encoding, settings=PreprocessSettings(**settings)
    )


def dense(features: Any) -> np.ndarray:
    return features.toarray() if issparse(features) else features


def equal(one: Any, other: Any) -> None:
    """Bit-equal, sparse structure included."""
    assert issparse(one) == issparse(other)
    if issparse(one):
        for name in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    else:
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("text", [False, True])
def test_names_shapes_and_kinds(encoding: str, text: bool) -> None:
    frame = table(text=text)
    found = fit(frame, encoding)
    features = found.transform(frame)
    assert features.shape == (120, found.num_features) and features.dtype == np.float64
    assert len(found.feature_names) == len(found.sources) == found.num_features
    assert len(set(found.feature_names)) == found.num_features
    assert set(found.sources) == set(found.columns) == set(frame.columns)
    assert issparse(features) == found.is_sparse == (text and encoding != "tree")
    assert np.isnan(dense(features)).any() == (encoding == "tree")
    if encoding in ("counts", "binary"):
        assert dense(features).min() == 0
    if encoding == "binary":
        assert set(np.unique(dense(features))) == {0, 1}


def test_linear_features_by_hand() -> None:
    frame = pl.DataFrame(
        {"age": [20.0, None, 40.0], "city": ["Rome", "Oslo", None], "member": [True, False, None]}
    )
    found = fit(frame)
    assert found.feature_names == (
        *("age", "age is missing", "member", "member is missing"),
        *("city=Oslo", "city=Rome", "city is missing"),
    )
    assert found.sources == ("age", "age", "member", "member", "city", "city", "city")
    root = np.sqrt(1.5)
    expected = [[-root, 0, 1, 0, 0, 1, 0], [0, 1, 0, 0, 1, 0, 0], [root, 0, 0, 1, 0, 0, 1]]
    np.testing.assert_allclose(found.transform(frame), expected, rtol=1e-15)


def test_tree_features_by_hand() -> None:
    frame = pl.DataFrame(
        {
            "age": [20.0, None],
            "member": [True, None],
            "city": ["Rome", None],
            "since": [date(2020, 1, 6), date(2020, 1, 8)],
            "review": ["good good", "good"],
        }
    )
    found = fit(frame, "tree")
    assert found.feature_names == (
        *("age", "member", "since.elapsed_days", "since.day", "since.weekday", "city"),
        *("review.characters", "review.words", "review: good"),
    )
    nan = np.nan
    expected = [[20, 1, 0, 6, 1, 0, 9, 2, 2], [nan, nan, 2, 8, 3, nan, 4, 1, 1]]
    np.testing.assert_array_equal(found.transform(frame), expected)
    assert found.coded_levels == {5: ("Rome",)}


def test_only_training_rows_are_looked_at() -> None:
    frame = table()
    assert fit(frame[:60]).state()[0] != fit(frame).state()[0]
    found = fit(frame[:60])
    before = found.transform(frame[:60])
    found.transform(frame)
    equal(found.transform(frame[:60]), before)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("text", [False, True])
def test_rows_are_bit_equal_in_any_chunk_and_after_a_round_trip(
    encoding: str, text: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = table(text=text)
    found = fit(frame, encoding, degree=2)
    whole = found.transform(frame)
    value, arrays = found.state()
    again = Preprocessor.from_state(json.loads(json.dumps(value)), {k: v.copy() for k, v in arrays.items()})
    assert again.feature_names == found.feature_names and again.sources == found.sources
    equal(again.transform(frame), whole)
    rng = np.random.default_rng(1)
    for size in (1, 7, 50):
        order = rng.permutation(120)[: 15 * size]
        pieces = [order[i : i + size] for i in range(0, len(order), size)]
        chunks = np.concatenate([dense(again.transform(frame[piece])) for piece in pieces])
        np.testing.assert_array_equal(chunks, dense(whole)[order])
    monkeypatch.setattr("danlu.data.preprocess.CELLS_AT_ONCE", 0)
    monkeypatch.setattr("danlu.data.preprocess.LEAST_ROWS_AT_ONCE", 13)
    equal(found.transform(frame), whole)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_new_frames_at_prediction(encoding: str) -> None:
    frame = table()
    found = fit(frame, encoding)
    expected = found.transform(frame)
    reordered = frame.select(pl.lit("ignored").alias("extra"), *reversed(frame.columns))
    equal(found.transform(reordered), expected)
    texts = frame.with_columns(pl.col("age").fill_nan(None)).cast(pl.String)
    equal(found.transform(texts), expected)
    floats = frame.cast({"grade": pl.Float64, "city": pl.Categorical, "since": pl.Datetime("ms")})
    equal(found.transform(floats), expected)
    assert found.transform(frame[:0]).shape == (0, found.num_features)
    nothing = pl.DataFrame({name: [None, None] for name in frame.columns})
    assert found.transform(nothing).shape == (2, found.num_features)
    strange = found.transform(frame.with_columns(city=pl.lit("Atlantis"), review=pl.lit("unheard of"))[:1])
    assert np.isfinite(dense(strange)[0, found.feature_names.index("income")])


def test_what_cannot_be_used_says_so() -> None:
    frame = table()
    found = fit(frame)
    with pytest.raises(
        DataError, match=r"2 columns that the model needs: 'income' \(Did you mean 'Income'\?\); 'city'"
    ):
        found.transform(frame.rename({"income": "Income"}).drop("city"))
    with pytest.raises(DataError, match="'income' should hold a number, but row 2 holds 'much'"):
        found.transform(frame[:2].with_columns(income=pl.Series(["5", "much"])))
    with pytest.raises(DataError, match="'income' holds an infinite number in row 3"):
        found.transform(frame[:3].with_columns(income=pl.Series([1.0, 2.0, float("inf")])))
    tiny = fit(pl.DataFrame({"income": [1e-100, 2e-100]}))
    with pytest.raises(DataError, match="Column 'income' holds a number in row 17 that is too large"):
        tiny.transform(pl.DataFrame({"income": [1e300]}), row_numbers=np.array([17]))
    with pytest.raises(DataError, match="'answer' should hold true or false, but row 1 holds 'perhaps'"):
        found.transform(frame.with_columns(answer=pl.lit("perhaps")))


def test_errors_at_fitting_name_the_rows_of_the_file() -> None:
    frame = table()[:3].with_columns(income=pl.Series([1.0, float("inf"), 2.0]))
    with pytest.raises(DataError, match="'income' holds an infinite number in row 105"):
        fit_preprocessor(frame, schema_of(frame), encoding="tree", row_numbers=np.array([7, 105, 300]))


def test_columns_without_a_use_make_no_features() -> None:
    frame = pl.DataFrame({"age": [1.0, 2.0], "same": [3, 3], "key": ["a", "b"], "y": [0, 1]})
    columns = [
        Column("age", "number", "feature", "Float64", 0, 2, ""),
        Column("same", "constant", "feature", "Int64", 0, 1, ""),
        Column("key", "identifier", "ignore", "String", 0, 2, ""),
        Column("y", "number", "target", "Int64", 0, 2, ""),
    ]
    found = fit_preprocessor(frame, Schema(tuple(columns), 2), encoding="linear")
    assert found.columns == ("age",)
    with pytest.raises(DataError, match="No column is left to learn from"):
        fit_preprocessor(frame, Schema(tuple(columns[1:]), 2), encoding="linear")


def test_booleans_in_other_words_are_categories() -> None:
    frame = pl.DataFrame({"sex": ["male", "female", "male"]})
    found = fit_preprocessor(frame, schema_of(frame, {"sex": "boolean"}), encoding="linear")
    assert found.feature_names == ("sex=female", "sex=male")


def test_settings_reach_their_place() -> None:
    frame = table()
    assert "since.elapsed_days" in fit(frame, dates="elapsed").feature_names
    assert "since.month" not in fit(frame, dates="elapsed").feature_names
    assert "age * income" in fit(frame, degree=2).feature_names
    assert "age is missing" not in fit(frame, indicator=False).feature_names
    assert sum(name.startswith("review: ") for name in fit(frame, text_terms=3).feature_names) == 3
    assert (
        sum(name.startswith("review: ") for name in fit(frame, "tree", tree_text_terms=4).feature_names) == 4
    )
    assert "city=(rare)" in fit(frame, max_levels=2).feature_names
    assert "grade=(rare)" in fit(frame, rare_share=0.23).feature_names
    assert (
        len(fit(frame, "tree", max_codes=2).coded_levels[fit(frame, "tree").feature_names.index("city")]) == 2
    )
    assert fit(frame, text_rows=10).texts[0].terms != fit(frame).texts[0].terms
    assert fit(frame, text_rows=10).texts[0].terms == fit(frame, text_rows=10).texts[0].terms
    wrong: list[tuple[str, Any]] = [("degree", 4), ("max_levels", 0), ("text_terms", 0)]
    for key, value in wrong:
        with pytest.raises(RecipeError, match=rf"preprocessing\.{key} must be from 1 to [\d,]+, got {value}"):
            PreprocessSettings(**{key: value})
    with pytest.raises(RecipeError, match=r"preprocessing\.rare_share is a share from 0 to 1, got 2"):
        PreprocessSettings(rare_share=2)


def test_very_many_levels_make_a_sparse_matrix() -> None:
    frame = pl.DataFrame({name: [f"{i % 600}" for i in range(1800)] for name in ("city", "grade")})
    found = fit(frame, max_levels=1000)
    features = found.transform(frame)
    assert issparse(features) and features.shape == (1800, 1200)
    np.testing.assert_array_equal(features.sum(axis=1), 2)


def test_adult_is_fast_and_complete(data_dir: Path) -> None:
    adult = pl.read_csv(data_dir / "adult" / "train.csv", null_values="?")
    found = fit_preprocessor(adult, infer(adult, target="income"), encoding="linear")
    features = found.transform(adult)
    seconds: list[float] = []
    for _ in range(3):
        start = time.perf_counter()
        found.transform(adult)
        seconds.append(time.perf_counter() - start)
    assert np.isfinite(features).all() and 80 < features.shape[1] < 120
    assert min(seconds) < 0.6  # 0.06 s on an idle core


def test_ten_thousand_number_columns() -> None:
    wide = pl.DataFrame(np.random.default_rng(0).normal(size=(50, 10_000)))
    schema = schema_of(wide, dict.fromkeys(wide.columns, "number"))
    start = time.perf_counter()
    features = fit_preprocessor(wide, schema, encoding="linear").transform(wide)
    assert features.shape == (50, 10_000)
    assert time.perf_counter() - start < 10  # 0.7 s on an idle core


def test_importing_it_imports_nothing_heavy() -> None:
    code = (
        "import sys, danlu.data.preprocess, danlu.data.split\n"
        "heavy = {'polars', 'scipy', 'sklearn', 'torch', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def changes(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every place in a JSON value with everything that might be written there instead."""
    junk = [None, True, -1, 0, 3, 2**63, 1e308, float("nan"), "x", "", [], {}, [None], ["a", "a"], [[]], [{}]]
    if path:
        yield from ((path, other) for other in junk)
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items)[:3] if isinstance(value, list) else list(items):
        yield from changes(inner, (*path, key))


def changed(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    copy = json.loads(json.dumps(value))
    place = copy
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = other
    return copy


@pytest.mark.parametrize("encoding", ["linear", "tree"])
def test_a_changed_state_is_refused_or_harmless(encoding: str) -> None:
    frame = table(30)
    value, arrays = fit(frame, encoding, degree=2).state()
    refusals: list[str] = []
    for path, other in changes(value):
        try:
            Preprocessor.from_state(changed(value, path, other), arrays).transform(frame[:3])
        except BundleError as error:
            refusals.append(str(error))
        except UserError:  # such as another column's name: the frame lacks it
            pass
    assert len(refusals) > 500
    assert all(
        text.startswith("The model file is damaged or was changed: preprocessing") for text in refusals
    )


def test_changed_arrays_are_refused() -> None:
    frame = table(30)
    value, arrays = fit(frame, degree=2).state()
    assert arrays.keys() >= {
        "numbers.fill",
        "numbers.scale",
        "dates.center",
        "texts.0.idf",
        "flags.has_indicator",
    }
    for name, array in arrays.items():
        bad = {
            "missing": {k: v for k, v in arrays.items() if k != name},
            "longer": arrays | {name: np.concatenate([array, array[:1]])},
            "deeper": arrays | {name: array[None]},
            "float32": arrays | {name: array.astype(np.float32)},
            "text": arrays | {name: np.array(["x"] * len(array))},
            "list": arrays | {name: array.tolist()},
            "infinite": arrays | {name: np.full_like(array, np.inf if array.dtype == float else 2)},
        }
        if name.endswith(("scale", "idf")):
            bad["zero"] = arrays | {name: np.zeros_like(array)}
        for others in bad.values():
            with pytest.raises(BundleError, match=rf"preprocessing\.{name}"):
                Preprocessor.from_state(value, others)


def test_states_of_other_versions_and_with_extras_are_refused() -> None:
    value, arrays = fit(table(30)).state()
    for other, words in (
        (value | {"format": 2}, r"preprocessing\.format must be a whole number from 1 to 1"),
        (value | {"hook": "os.system"}, r"preprocessing\.hook is not known to this version of danlu"),
        (value | {"numbers": value["numbers"] | {"x": 1}}, r"preprocessing\.numbers\.x is not known"),
        (value | {"encoding": "tree"}, "preprocessing.categories do not fit the encoding tree"),
        (value | {"categories": value["categories"] * 2}, "preprocessing uses a column twice"),
        ([], "preprocessing must be an object, got list"),
    ):
        with pytest.raises(BundleError, match=words):
            Preprocessor.from_state(other, arrays)
    with pytest.raises(BundleError, match="comes with the array 'more', which it has no place for"):
        Preprocessor.from_state(value, arrays | {"more": np.zeros(1)})
    wide = {"columns": [f"c{i}" for i in range(3224)], "way": "scaled", "degree": 2}
    with pytest.raises(BundleError, match=r"numbers\.degree makes 5198700 products, which were never stored"):
        Preprocessor.from_state(value | {"numbers": wide}, arrays)
