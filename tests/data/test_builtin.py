"""Built-in sets hold what their sources say: least squares on the houses gives the published numbers."""

from __future__ import annotations

import numpy as np
import pytest

from danlu.core.errors import DataError
from danlu.data.builtin import BUILTIN, DANLU, load_builtin
from danlu.data.sources import read


def least_squares(name: str, target: str) -> np.ndarray:
    """Intercept and slopes."""
    frame = load_builtin(name)[0]
    x = frame.drop(target).to_numpy().astype(float)
    return np.linalg.lstsq(np.column_stack([np.ones(len(x)), x]), frame[target].to_numpy(), rcond=None)[0]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("danlu/houses_by_area", [-15126.1923, 179.403540]),
        ("danlu/houses", [3575.38029, 186.130264, -10012.3823]),
        ("danlu/flats", [15.580851, 1.318972]),
    ],
)
def test_house_prices(name: str, expected: list[float]):
    assert least_squares(name, "price") == pytest.approx(expected, rel=1e-6)


def test_gates():
    assert {name: load_builtin(f"danlu/{name}")[0]["y"].to_list() for name in ("and", "or", "xor")} == {
        "and": [0, 0, 0, 1],
        "or": [0, 1, 1, 1],
        "xor": [0, 1, 1, 0],
    }


def test_points():
    xor = load_builtin("danlu/xor_points")[0]
    assert xor.height == 400
    corners = (xor["x1"] > 0.5) == (xor["x2"] > 0.5)
    assert ((xor["label"] == "same") == corners).all()
    circles = load_builtin("danlu/circles")[0]
    radius = (circles["x1"] ** 2 + circles["x2"] ** 2).sqrt()
    assert ((circles["label"] == "inner") == (radius < 0.75)).all()
    sine = load_builtin("danlu/sine")[0]
    assert sine["y"].to_numpy() == pytest.approx(np.sin(sine["x"].to_numpy()))


@pytest.mark.parametrize("name", list(DANLU))
def test_the_same_every_time(name: str):
    assert read(f"danlu/{name}").fingerprint == read(f"danlu/{name}").fingerprint


@pytest.mark.parametrize(
    ("name", "shape", "labels"),
    [
        ("iris", (150, 5), ["setosa", "versicolor", "virginica"]),
        ("wine", (178, 14), ["class_0", "class_1", "class_2"]),
        ("breast_cancer", (569, 31), ["benign", "malignant"]),
        ("digits", (1797, 65), list(range(10))),
        ("diabetes", (442, 11), None),
        ("linnerud", (20, 4), None),
    ],
)
def test_sets_of_scikit_learn(name: str, shape: tuple[int, int], labels: list[str | int] | None):
    source = read(f"sklearn/{name}")
    assert source.frame.shape == shape
    assert source.frame.columns[-1] == "target"
    assert source.format == "built-in"
    if labels is not None:
        assert source.frame["target"].unique().sort().to_list() == labels
    assert [note.code for note in source.notes] == (["one_target"] if name == "linnerud" else [])


def test_an_unknown_name_offers_the_closest_one():
    with pytest.raises(
        DataError, match="There is no built-in data set 'danlu/hauses'. Did you mean 'danlu/houses'"
    ):
        load_builtin("danlu/hauses")
    assert len(BUILTIN) == len(set(BUILTIN))
