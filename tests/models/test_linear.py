"""Linear regression against scikit-learn, and against the worked house tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sklearn.linear_model as reference
from scipy.sparse import csr_matrix
from sklearn.model_selection import KFold

from danlu.core.duration import Deadline
from danlu.core.errors import DataError, OutOfTime, RecipeError
from danlu.core.ideas import Context
from danlu.core.parts import Settings
from danlu.core.seeds import derive
from danlu.core.tasks import Task
from danlu.models import least_squares
from danlu.models.linear import (
    ElasticNet,
    ElasticNetSettings,
    Lasso,
    LassoSettings,
    Linear,
    Ridge,
    RidgeSettings,
)

TASK = Task("regression")

AREA = np.array([2104, 1600, 2400, 1416, 3000, 1985, 1534, 1427, 1380, 1494], dtype=np.float64)
BEDROOMS = np.array([3, 3, 3, 2, 4, 4, 3, 3, 3, 3], dtype=np.float64)
DOLLARS = np.array(
    [399900, 329900, 369000, 232000, 539900, 299900, 314900, 198999, 212000, 242500], dtype=np.float64
)
SQUARE_METRES = np.array([50, 70, 80, 52, 62, 88, 90], dtype=np.float64)
WAN = np.array([85, 115, 128, 66, 111, 111, 142], dtype=np.float64)


def fitted(x: Any, y: np.ndarray, weight: np.ndarray | None = None) -> Linear:
    model = Linear(Settings(), TASK, x.shape[1])
    batch = {"x": x, "y": y} if weight is None else {"x": x, "y": y, "weight": weight}
    assert model.fit_round(batch, TASK, Context()).done
    return model


def rows(
    seed: int = 0, num_rows: int = 200, num_features: int = 5
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(num_rows, num_features)) * rng.uniform(0.1, 10, num_features) + rng.normal(
        size=num_features
    )
    y = x @ rng.normal(size=num_features) + 3.0 + rng.normal(size=num_rows)
    return x, y, rng.uniform(0.5, 2.0, num_rows)


def errors(model: Linear, x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    residual = y - model(x)
    return (
        float(np.mean(residual**2)),
        float(np.mean(np.abs(residual))),
        float(1 - np.mean(residual**2) / y.var()),
    )


def test_house_prices_by_area() -> None:
    model = fitted(AREA[:, None], DOLLARS)
    assert model.affine.intercept[0] == pytest.approx(-15126.1923, abs=5e-5)
    assert model.affine.coefficients[0] == pytest.approx(179.403540, abs=5e-7)
    mse, mae, r2 = errors(model, AREA[:, None], DOLLARS)
    assert mse == pytest.approx(1423439173.38, abs=5e-3)
    assert mae == pytest.approx(33435.6814, abs=5e-5)
    assert r2 == pytest.approx(0.853785, abs=5e-7)
    assert model(np.array([[1650.0]]))[0] == pytest.approx(280889.6486, abs=5e-5)


def test_house_prices_by_area_and_bedrooms() -> None:
    x = np.column_stack([AREA, BEDROOMS])
    model = fitted(x, DOLLARS)
    assert model.affine.intercept[0] == pytest.approx(3575.38029, abs=5e-5)
    assert model.affine.coefficients == pytest.approx([186.130264, -10012.3823], rel=1e-8)
    mse, mae, r2 = errors(model, x, DOLLARS)
    assert mse == pytest.approx(1406052629.60, abs=5e-3)
    assert mae == pytest.approx(33423.6662, abs=5e-5)
    assert r2 == pytest.approx(0.855571, abs=5e-7)


def test_house_prices_on_z_scores() -> None:
    x = np.column_stack([AREA, BEDROOMS])
    assert x.mean(axis=0) == pytest.approx([1834.0, 3.1])
    assert x.std(axis=0) == pytest.approx([508.178906, 0.538516], abs=5e-7)
    model = fitted((x - x.mean(axis=0)) / x.std(axis=0), DOLLARS)
    assert model.affine.intercept[0] == pytest.approx(313899.9, abs=1e-6)
    assert model.affine.coefficients == pytest.approx([94587.4740, -5391.8329], abs=5e-5)


def test_house_prices_by_square_metres() -> None:
    model = fitted(SQUARE_METRES[:, None], WAN)
    assert model.affine.intercept[0] == pytest.approx(15.580851, abs=5e-7)
    assert model.affine.coefficients[0] == pytest.approx(1.318972, abs=5e-7)
    mse, mae, r2 = errors(model, SQUARE_METRES[:, None], WAN)
    assert mse == pytest.approx(158.864083, abs=5e-7)
    assert mae == pytest.approx(11.090780, abs=5e-7)
    assert r2 == pytest.approx(0.715983, abs=5e-7)
    assert model(np.array([[75.0]]))[0] == pytest.approx(114.503723, abs=5e-7)


def test_matrix_cost_is_the_loop_cost() -> None:
    x = np.column_stack([np.ones(10), AREA, BEDROOMS])
    theta = np.array([3575.0, 186.0, -10012.0])
    loop = sum(
        (sum(t * v for t, v in zip(theta, row, strict=True)) - y) ** 2
        for row, y in zip(x, DOLLARS, strict=True)
    )
    error = x @ theta - DOLLARS
    assert error @ error / 20 == pytest.approx(loop / 20, rel=1e-13)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
def test_linear_is_scikit_learns(weighted: bool, sparse: bool) -> None:
    x, y, weight = rows()
    given = weight if weighted else None
    model = fitted(csr_matrix(x) if sparse else x, y, given)
    expected = reference.LinearRegression().fit(x, y, given)
    assert model(x) == pytest.approx(expected.predict(x), rel=1e-9)
    assert model(csr_matrix(x)) == pytest.approx(model(x), rel=1e-12)


def test_a_weight_of_two_is_a_row_twice_and_of_zero_none() -> None:
    x, y, _ = rows(num_rows=30)
    weight = np.repeat([0.0, 1.0, 2.0], 10)
    twice = np.repeat(np.arange(30), weight.astype(int))
    assert fitted(x, y, weight)(x) == pytest.approx(fitted(x[twice], y[twice])(x), rel=1e-10)


def test_fewer_rows_than_columns_give_the_shortest_exact_solution() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(20, 50))
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    y = rng.normal(size=20)
    model, expected = fitted(x, y), reference.LinearRegression().fit(x, y)
    assert model(x) == pytest.approx(y, abs=1e-10)
    assert model.affine.coefficients == pytest.approx(expected.coef_, abs=1e-10)


def test_repeated_and_constant_columns_change_nothing() -> None:
    x, y, _ = rows()
    more = np.column_stack([x, x[:, 0], np.full(len(x), 1e9 / 3), x[:, 1] * 1e-9])
    model = fitted(more, y)
    assert model(more) == pytest.approx(fitted(x, y)(x), rel=1e-9)
    assert model.affine.coefficients[0] == pytest.approx(model.affine.coefficients[5])
    assert model.affine.coefficients[6] == 0.0


def test_columns_of_very_different_size() -> None:
    x, y, _ = rows()
    scales = np.array([1e12, 1e-12, 1.0, 1e6, 1e-6])
    assert fitted(x * scales, y)(x * scales) == pytest.approx(fitted(x, y)(x), rel=1e-9)


def test_ten_thousand_columns() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(100, 10_000)), rng.normal(size=100)
    assert fitted(x, y)(x) == pytest.approx(y, abs=1e-8)


def test_blocks_give_what_one_block_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, weight = rows(num_rows=1000)
    whole = fitted(x, y, weight)
    monkeypatch.setattr("danlu.models.rows.VALUES_AT_ONCE", 1)  # 256 rows a block
    assert fitted(x, y, weight)(x) == pytest.approx(whole(x), rel=1e-12)


@pytest.mark.parametrize("sparse", [False, True])
def test_conjugate_gradients_reach_the_exact_solutions(monkeypatch: pytest.MonkeyPatch, sparse: bool) -> None:
    x, y, weight = rows()
    x[:, 4] = 2.0  # a constant
    x = csr_matrix(x) if sparse else x
    exact, exact_ridge = fitted(x, y, weight), fit_ridge(x, y, weight, strength=7.0)
    monkeypatch.setattr(least_squares, "is_cheap", lambda features: False)
    assert fitted(x, y, weight)(x) == pytest.approx(exact(x), rel=1e-8)
    assert fit_ridge(x, y, weight, strength=7.0)(x) == pytest.approx(exact_ridge(x), rel=1e-8)


def test_the_size_decides_how_it_is_solved() -> None:
    def cheap(x: Any) -> bool:
        features = least_squares.describe(least_squares.Rows(x, np.zeros(x.shape[0]), np.ones(x.shape[0])))
        return least_squares.is_cheap(features)

    assert cheap(np.zeros((1000, 50)))
    text = csr_matrix((np.ones(20_000), (np.arange(20_000), np.arange(20_000))), shape=(20_000, 20_000))
    assert not cheap(text)


def test_numbers_too_large_to_multiply() -> None:
    with pytest.raises(DataError, match=r"too large to multiply. Divide them by a power of ten"):
        fitted(np.array([[1e200], [-1e200], [3e200]]), np.array([1.0, 2.0, 3.0]))


def test_a_deadline_that_has_passed() -> None:
    x, y, _ = rows()
    model = Linear(Settings(), TASK, 5)
    with pytest.raises(OutOfTime, match="200 rows and 5 columns could not be solved in time"):
        model.fit_round({"x": x, "y": y}, TASK, Context(deadline=Deadline.after(-1)))


# ---------------------------------------------------------------- ridge


def fit_ridge(x: Any, y: np.ndarray, weight: np.ndarray | None = None, **settings: Any) -> Ridge:
    model = Ridge(RidgeSettings(**settings), TASK, x.shape[1])
    model.fit_round({"x": x, "y": y, "weight": weight}, TASK, Context())
    return model


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("num_rows", "num_features"), [(200, 5), (20, 50)])
def test_ridge_is_scikit_learns(weighted: bool, num_rows: int, num_features: int) -> None:
    x, y, weight = rows(num_rows=num_rows, num_features=num_features)
    given = weight if weighted else None
    expected = reference.Ridge(alpha=3.0).fit(x, y, given)
    for table in (x, csr_matrix(x)):
        model = fit_ridge(table, y, given, strength=3.0)
        assert model.affine.coefficients == pytest.approx(expected.coef_, rel=1e-8, abs=1e-10)
        assert model(table) == pytest.approx(expected.predict(x), rel=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("num_rows", "num_features"), [(200, 5), (20, 50)])
def test_strength_by_leave_one_out_is_that_of_scikit_learn(
    weighted: bool, num_rows: int, num_features: int
) -> None:
    x, y, weight = rows(num_rows=num_rows, num_features=num_features)
    y = y + np.random.default_rng(3).normal(size=num_rows) * 30
    given = weight if weighted else None
    total = num_rows if given is None else given.sum()
    expected = reference.RidgeCV(alphas=least_squares.STRENGTHS * total).fit(x, y, given)
    model = Ridge(RidgeSettings(), TASK, num_features)
    step = model.fit_round({"x": x, "y": y, "weight": given}, TASK, Context())
    assert step.signals["strength"] == pytest.approx(expected.alpha_)
    assert model(x) == pytest.approx(expected.predict(x), rel=1e-8)


def test_leave_one_out_is_leaving_each_row_out() -> None:
    x, y, weight = rows(num_rows=25)
    strengths = np.array([0.5, 20.0])
    features = least_squares.describe(least_squares.Rows(x, y, weight))
    found = least_squares.leave_one_out(features, least_squares.decompose(features, Context()), strengths)
    for strength, error in zip(strengths, found, strict=True):
        total = 0.0
        for i in range(25):
            rest = np.arange(25) != i
            model = reference.Ridge(alpha=strength).fit(x[rest], y[rest], weight[rest])
            total += weight[i] * (y[i] - model.predict(x[[i]])[0]) ** 2
        assert error == pytest.approx(total / weight.sum(), rel=1e-9)


def test_strength_on_held_out_rows_is_near_that_of_leave_one_out(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(300, 100))
    y = x[:, 0] + rng.normal(size=300) * 3
    exact = fit_ridge(x, y)
    monkeypatch.setattr(least_squares, "is_cheap", lambda features: False)
    model = fit_ridge(x, y)
    fresh = rng.normal(size=(2000, 100))
    assert np.mean((model(fresh) - fresh[:, 0]) ** 2) < 1.5 * np.mean((exact(fresh) - fresh[:, 0]) ** 2)
    assert np.mean((model(fresh) - fresh[:, 0]) ** 2) < 0.5 * np.mean(
        (fitted(x, y)(fresh) - fresh[:, 0]) ** 2
    )


# ---------------------------------------------------------------- lasso and elastic net


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
def test_lasso_and_elastic_net_with_a_given_strength(weighted: bool, sparse: bool) -> None:
    x, y, weight = rows()
    given = weight if weighted else None
    table = csr_matrix(x) if sparse else x
    mean = np.average(y, weights=given)
    deviation = np.sqrt(np.average((y - mean) ** 2, weights=given))
    z = (y - mean) / deviation
    lasso = Lasso(LassoSettings(strength=0.05), TASK, 5)
    lasso.fit_round({"x": table, "y": y, "weight": given}, TASK, Context())
    expected = reference.Lasso(alpha=0.05).fit(x, z, given).predict(x) * deviation + mean
    assert lasso(table) == pytest.approx(expected, rel=1e-3)
    net = ElasticNet(ElasticNetSettings(strength=0.05, l1_ratio=0.3), TASK, 5)
    net.fit_round({"x": table, "y": y, "weight": given}, TASK, Context())
    expected = reference.ElasticNet(alpha=0.05, l1_ratio=0.3).fit(x, z, given).predict(x) * deviation + mean
    assert net(table) == pytest.approx(expected, rel=1e-3)


def test_lasso_drops_useless_columns() -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(300, 20))
    y = 3 * x[:, 0] - 2 * x[:, 1] + rng.normal(size=300)
    model = Lasso(LassoSettings(), TASK, 20, seed=11)
    step = model.fit_round({"x": x, "y": y}, TASK, Context())
    folds = KFold(5, shuffle=True, random_state=derive(11, "strength"))
    expected = reference.LassoCV(cv=folds, eps=1e-4).fit(x, (y - y.mean()) / y.std())
    assert step.signals == {"strength": pytest.approx(expected.alpha_), "converged": 1.0}
    assert model(x) == pytest.approx(expected.predict(x) * y.std() + y.mean(), rel=1e-9)
    assert (model.affine.coefficients == 0).sum() >= 5


def test_elastic_net_of_a_target_in_dollars_is_that_of_one_in_millions() -> None:
    x, y, _ = rows()
    small, large = ElasticNet(ElasticNetSettings(), TASK, 5), ElasticNet(ElasticNetSettings(), TASK, 5)
    small.fit_round({"x": x, "y": y}, TASK, Context())
    large.fit_round({"x": x, "y": y * 1e6}, TASK, Context())
    assert large(x) == pytest.approx(small(x) * 1e6)


def test_strength_of_rows_in_order_is_chosen_on_shuffled_folds() -> None:
    x = np.sort(np.random.default_rng(6).normal(size=(100, 1)), axis=0)
    model = ElasticNet(ElasticNetSettings(), TASK, 1)
    model.fit_round({"x": x, "y": 100 * x[:, 0]}, TASK, Context())
    assert model(x) == pytest.approx(100 * x[:, 0], abs=1.0)


@pytest.mark.parametrize("strength", [0, -1.0, float("inf"), float("nan"), "strong"])
def test_wrong_strengths(strength: Any) -> None:
    for settings in (RidgeSettings, LassoSettings, ElasticNetSettings):
        with pytest.raises(RecipeError, match=r"strength must be 'auto' or a number above 0"):
            settings(strength=strength)


def test_wrong_l1_ratio() -> None:
    with pytest.raises(RecipeError, match=r"l1_ratio must lie in \[0.01, 1\], got 0. Use the model 'ridge'"):
        ElasticNetSettings(l1_ratio=0)
