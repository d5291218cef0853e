"""Numbers and categories as features: the same values as scikit-learn, to 1e-12."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from danlu.core.errors import DataError, RecipeError
from danlu.data.encodings import Levels, Numbers, product_names

NAMES = ["a", "b", "c", "d"]


def with_gaps(num_rows: int = 300) -> np.ndarray:
    rng = np.random.default_rng(0)
    values = rng.lognormal(size=(num_rows, 4)) * [1.0, 1e-6, 1e6, 1.0] + [0.0, 0.0, 1e9, 5.0]
    values[:, 3] = 5.0  # does not vary
    values[rng.random((num_rows, 4)) < [0.1, 0.3, 0.0, 0.05]] = np.nan
    return values


def encode(features: Numbers, values: np.ndarray) -> np.ndarray:
    out = np.full((len(values), features.width), -7.0)
    features.write(values, out)
    return out


@pytest.mark.parametrize("imputation", ["median", "mean", "most_frequent", "constant"])
@pytest.mark.parametrize("scaling", ["standard", "robust", "minmax", "none"])
def test_imputed_and_scaled_as_scikit_learn(imputation: Any, scaling: Any) -> None:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, RobustScaler, StandardScaler

    scalers = {
        "standard": StandardScaler(),
        "robust": RobustScaler(),
        "minmax": MinMaxScaler(),
        "none": FunctionTransformer(),
    }
    values = with_gaps()
    imputer = SimpleImputer(strategy=imputation, fill_value=-1.0 if imputation == "constant" else None)
    expected = make_pipeline(imputer, scalers[scaling]).fit_transform(values)
    features = Numbers.fit(
        values, NAMES, way="scaled", imputation=imputation, fill_value=-1.0, scaling=scaling
    )
    found = encode(features, values)
    np.testing.assert_allclose(found[:, :4], expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(found[:, 4:], np.isnan(values)[:, [0, 1, 3]])
    names = [name for name, _ in features.names_and_sources(NAMES, NAMES)]
    assert names == [*NAMES, "a is missing", "b is missing", "d is missing"]


def test_scaled_numbers_have_mean_zero_and_deviation_one() -> None:
    values = np.random.default_rng(0).lognormal(size=(500, 3)) * [1.0, 1000.0, 1e-9]
    found = encode(Numbers.fit(values, NAMES[:3], way="scaled"), values)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(found.std(axis=0), 1, rtol=1e-12)


def test_missing_values_that_training_did_not_have() -> None:
    values = np.array([[1.0], [3.0], [8.0]])
    features = Numbers.fit(values, ["a"], way="scaled")
    assert features.width == 1
    found = encode(features, np.array([[np.nan], [3.0]]))
    assert found[0, 0] == found[1, 0]  # the median stands in


def test_a_column_without_any_value() -> None:
    features = Numbers.fit(np.full((3, 1), np.nan), ["a"], way="scaled")
    np.testing.assert_array_equal(encode(features, np.array([[np.nan], [2.0]])), [[0.0, 1.0], [2.0, 0.0]])
    assert Numbers.fit(np.full((3, 1), np.nan), ["a"], way="scaled", indicator=False).width == 1


@pytest.mark.parametrize("degree", [2, 3])
def test_products_span_what_scikit_learns_do(degree: int) -> None:
    from sklearn.linear_model import LinearRegression
    from sklearn.preprocessing import PolynomialFeatures

    rng = np.random.default_rng(0)
    values, target = rng.uniform(1, 3, (200, 3)), rng.normal(size=200)
    features = Numbers.fit(values, NAMES[:3], way="scaled", degree=degree)
    found = encode(features, values)
    raw = PolynomialFeatures(degree, include_bias=False)
    expected = raw.fit_transform(values)
    assert found.shape == expected.shape
    np.testing.assert_allclose(
        LinearRegression().fit(found, target).predict(found),
        LinearRegression().fit(expected, target).predict(expected),
        atol=1e-9,
    )
    np.testing.assert_allclose(found.std(axis=0), 1)
    spelled = [name.replace(" * ", " ") for name in product_names(["x0", "x1", "x2"], degree)]
    assert spelled == list(raw.get_feature_names_out()[3:])


def test_products_of_unscaled_numbers_are_the_plain_ones() -> None:
    features = Numbers.fit(
        np.array([[2.0, 3.0], [4.0, 5.0]]), ["a", "b"], way="scaled", scaling="none", degree=2
    )
    np.testing.assert_array_equal(encode(features, np.array([[2.0, 3.0]])), [[2, 3, 4, 6, 9]])
    assert features.names_and_sources(["a", "b"], ["a", "b"])[2:] == [
        ("a^2", "a"),
        ("a * b", "a * b"),
        ("b^2", "b"),
    ]


def test_too_many_products_say_so_at_once() -> None:
    with pytest.raises(RecipeError, match=r"Degree 3 of 10000 number columns makes 166,766,675,000 products"):
        Numbers.fit(np.zeros((2, 10_000)), ["x"] * 10_000, way="scaled", degree=3)


def test_numbers_too_large_to_scale_say_so() -> None:
    with pytest.raises(DataError, match="The numbers in 'b' are too large to be scaled"):
        Numbers.fit(np.array([[1.0, 1e300], [2.0, -1e300]]), ["a", "b"], way="scaled")


def test_unit_numbers_stay_within_zero_and_one() -> None:
    features = Numbers.fit(np.array([[10.0], [20.0]]), ["a"], way="unit")
    np.testing.assert_array_equal(encode(features, np.array([[0.0], [10], [15], [99]]))[:, 0], [0, 0, 0.5, 1])


def test_above_the_median() -> None:
    features = Numbers.fit(np.array([[1.0], [2.0], [9.0], [np.nan]]), ["a"], way="above")
    found = encode(features, np.array([[2.0], [2.1], [np.nan]]))
    np.testing.assert_array_equal(found, [[0, 0], [1, 0], [0, 1]])


def test_kept_numbers_keep_their_gaps() -> None:
    values = with_gaps()
    np.testing.assert_array_equal(encode(Numbers.fit(values, NAMES, way="keep"), values), values)


def one_hot(levels: Levels, column: pl.Series) -> np.ndarray:
    out = np.full((len(column), levels.width), -7.0)
    slots = levels.slots(column)
    levels.write(slots, out)
    if levels.one_hot:
        np.testing.assert_array_equal(levels.sparse(slots).toarray(), out)
    return out


def fit(column: pl.Series, **more: Any) -> Levels:
    return Levels.fit(column, **{"one_hot": True, "rare_share": 0.0, "max_levels": 100} | more)


@pytest.mark.parametrize("rare_share", [0.0, 0.05, 0.2])
def test_one_hot_as_scikit_learn(rare_share: float) -> None:
    from sklearn.preprocessing import OneHotEncoder

    rng = np.random.default_rng(0)
    column = pl.Series("c", np.array(list("abcdefgh"))[rng.geometric(0.4, 400).clip(max=8) - 1])
    theirs = OneHotEncoder(
        min_frequency=rare_share or None, handle_unknown="infrequent_if_exist", sparse_output=False
    ).fit(column.to_numpy()[:, None])
    levels = fit(column, rare_share=rare_share)
    new = pl.Series("c", ["a", "b", "never seen", "h"])
    for values in (column, new):
        expected = theirs.transform(values.to_numpy().astype(object)[:, None])
        np.testing.assert_array_equal(one_hot(levels, values), expected)


def test_only_the_most_frequent_levels_are_kept() -> None:
    levels = fit(pl.Series("c", list("zzzyyxxw")), max_levels=2)
    assert levels.feature_names() == ["c=x", "c=z", "c=(rare)"]  # x before y among equals
    np.testing.assert_array_equal(
        one_hot(levels, pl.Series("c", ["z", "y", "new"])), [[0, 1, 0], [0, 0, 1], [0, 0, 1]]
    )


def test_missing_levels_have_a_slot_if_training_had_them() -> None:
    levels = fit(pl.Series("c", ["a", None, "b"]))
    assert levels.feature_names() == ["c=a", "c=b", "c is missing"]
    np.testing.assert_array_equal(
        one_hot(levels, pl.Series("c", [None, "a", "new"])), [[0, 0, 1], [1, 0, 0], [0, 0, 0]]
    )
    assert fit(pl.Series("c", ["a", None]), indicator=False).width == 1
    without = fit(pl.Series("c", ["a", "b"]))
    np.testing.assert_array_equal(
        one_hot(without, pl.Series("c", [None, "b"], dtype=pl.String)), [[0, 0], [0, 1]]
    )


def test_codes_go_by_frequency_and_unknown_follows_the_rarest() -> None:
    levels = fit(pl.Series("c", list("bbbaacd")), one_hot=False, rare_share=0.5)
    assert levels.levels == ("b", "a", "c", "d")
    found = one_hot(levels, pl.Series("c", ["b", "d", None, "new"]))
    np.testing.assert_array_equal(found[:, 0], [0, 3, np.nan, 4])
    few = fit(pl.Series("c", list("bbbaacd")), one_hot=False, max_levels=2)
    np.testing.assert_array_equal(one_hot(few, pl.Series("c", ["a", "c", "new"]))[:, 0], [1, 2, 2])


def test_levels_survive_a_change_of_type() -> None:
    levels = fit(pl.Series("c", [3, 20, 3]))
    assert levels.levels == ("20", "3")
    for column in (
        pl.Series("c", [3, 20, None]),
        pl.Series("c", [3.0, 20.0, float("nan")]),
        pl.Series("c", ["3", " 20.0", None]),
        pl.Series("c", ["3", "20", None], dtype=pl.Categorical),
    ):
        np.testing.assert_array_equal(one_hot(levels, column), [[0, 1], [1, 0], [0, 0]])
    assert fit(pl.Series("c", [True, False])).levels == ("false", "true")


def test_a_column_that_is_all_missing() -> None:
    levels = fit(pl.Series("c", [None, None]))
    np.testing.assert_array_equal(one_hot(levels, pl.Series("c", [None, "new"])), [[1], [0]])


def test_nested_values_are_refused() -> None:
    with pytest.raises(DataError, match=r"Column 'c' holds List\(Int64\), not plain values"):
        fit(pl.Series("c", [[1], [2]]))
