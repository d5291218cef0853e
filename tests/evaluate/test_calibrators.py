"""Calibrators against scikit-learn and SciPy, and states that were tampered with."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar
from sklearn.isotonic import IsotonicRegression

from danlu.core.errors import BundleError
from danlu.evaluate.calibrators import METHODS, Calibrator


def draw(seed, num_classes, num_rows=400):
    random = np.random.default_rng(seed)
    logits = 2 * random.normal(size=(num_rows, num_classes))
    raised = np.exp(logits)
    probabilities = raised / raised.sum(axis=1, keepdims=True)
    codes = (probabilities.cumsum(axis=1) < random.random((num_rows, 1))).sum(axis=1)
    sharpened = probabilities**2
    return sharpened / sharpened.sum(axis=1, keepdims=True), codes, random.exponential(1.0, num_rows)


def fitted(method, num_classes, seed=0):
    probabilities, codes, weight = draw(seed, num_classes)
    return Calibrator(method, num_classes, METHODS[method].fit(probabilities, codes, weight)), probabilities


@pytest.mark.parametrize("num_classes", [2, 4])
def test_temperature_minimises_the_log_loss(num_classes):
    probabilities, codes, weight = draw(0, num_classes)

    def loss(temperature):
        raised = probabilities ** (1 / temperature)
        own = raised[np.arange(len(codes)), codes] / raised.sum(axis=1)
        return -(weight @ np.log(own)) / weight.sum()

    best = minimize_scalar(loss, bounds=(0.1, 10), method="bounded", options={"xatol": 1e-10})
    calibrator, _ = fitted("temperature", num_classes)
    assert calibrator.parameters["temperature"][0] == pytest.approx(best.x, rel=1e-5)


def test_isotonic_equals_sklearn():
    probabilities, codes, weight = draw(0, 2)
    calibrator, _ = fitted("isotonic", 2)
    margin = 1 / (2 * weight.sum() ** 2 / (weight**2).sum() + 2)
    theirs = IsotonicRegression(out_of_bounds="clip").fit(probabilities[:, 1], codes, weight)
    new = np.linspace(0, 1, 1001)
    ours = calibrator.apply(np.column_stack([1 - new, new]))[:, 1]
    inside = (theirs.predict(new) > margin) & (theirs.predict(new) < 1 - margin)
    # Next to the clipped ends the line between two corners is another one.
    first, last = np.flatnonzero(inside)[[0, -1]]
    assert inside.sum() > 500
    assert ours[first:last] == pytest.approx(
        np.clip(theirs.predict(new), margin, 1 - margin)[first:last], abs=0.02
    )
    assert ours.min() == pytest.approx(margin)
    assert ours.max() == pytest.approx(1 - margin)
    assert (np.diff(ours) >= 0).all()


def test_platt_minimises_its_loss():
    probabilities, codes, weight = draw(0, 2)
    x = np.log(probabilities[:, 1] / probabilities[:, 0])
    positive, negative = (
        weight[codes == code].sum() ** 2 / (weight[codes == code] ** 2).sum() for code in (1, 0)
    )
    target = np.where(codes == 1, (positive + 1) / (positive + 2), 1 / (negative + 2))

    def loss(line):
        z = line[0] * x + line[1]
        return weight @ (np.logaddexp(0, z) - target * z)

    best = minimize(loss, [1.0, 0.0], tol=1e-12)
    calibrator, _ = fitted("platt", 2)
    found = [calibrator.parameters["slope"][0], calibrator.parameters["intercept"][0]]
    assert found == pytest.approx(best.x, abs=1e-4)


@pytest.mark.parametrize("method", ["none", "temperature", "platt", "isotonic"])
@pytest.mark.parametrize("num_classes", [2, 4])
def test_probabilities_stay_probabilities_and_states_come_back(method, num_classes):
    calibrator, probabilities = fitted(method, num_classes)
    edges = np.vstack([probabilities, np.eye(num_classes)])
    corrected = calibrator.apply(edges)
    assert corrected.shape == edges.shape
    assert corrected.sum(axis=1) == pytest.approx(1.0)
    assert corrected.min() >= 0
    again = Calibrator.from_state(calibrator.state())
    assert (again.apply(edges) == corrected).all()


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.floats(0.06, 19.0))
def test_temperature_never_changes_which_class_is_likeliest(values, temperature):
    total = sum(values)
    probabilities = np.array([values]) / total if total > 1e-6 else np.full((1, 3), 1 / 3)
    calibrator = Calibrator("temperature", 3, {"temperature": np.array([temperature])})
    corrected = calibrator.apply(probabilities)[0]
    assert corrected[probabilities[0].argmax()] == corrected.max()


@pytest.mark.parametrize("method", ["temperature", "platt", "isotonic"])
def test_hopeless_rows_are_survived(method):
    for codes in ([0] * 30 + [1] * 30, [0] * 60):  # separable; one class only
        for positive in (np.linspace(0, 1, 60), np.full(60, 0.5), np.array([0.0] * 30 + [1.0] * 30)):
            probabilities = np.column_stack([1 - positive, positive])
            parameters = METHODS[method].fit(probabilities, np.array(codes), np.ones(60))
            calibrator = Calibrator.from_state(Calibrator(method, 2, parameters).state())
            assert np.isfinite(calibrator.apply(probabilities)).all()


def test_wrong_shape_is_refused():
    with pytest.raises(ValueError, match=r"\(n, 2\), got \(3,\)"):
        Calibrator("none", 2).apply(np.array([0.1, 0.2, 0.3]))


def tampered(fitted_as, **changes):
    state = fitted(fitted_as, 3)[0].state() | changes
    return {name: value for name, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({}, "none of"),
        (tampered("temperature", method="exec"), "'exec', which is none of"),
        (tampered("temperature", method=["temperature"]), "none of"),
        (tampered("temperature", num_classes=1), "2 classes or more"),
        (tampered("temperature", num_classes=True), "2 classes or more"),
        (tampered("temperature", temperature=None), "wrong entries"),
        (tampered("temperature", extra=1), "wrong entries"),
        (tampered("temperature", temperature=np.array([0.0])), "do not make a temperature"),
        (tampered("temperature", temperature=np.array([np.nan])), "not finite"),
        (tampered("temperature", temperature=np.array([1.0, 1.0])), "do not make a temperature"),
        (tampered("temperature", temperature=1.0), "list of float64"),
        (tampered("temperature", temperature=np.array([1])), "list of float64"),
        (tampered("platt", slope=np.ones(2)), "do not make a platt"),
        (tampered("isotonic", ends=np.array([1, 2, 10**6])), "do not make a isotonic"),
        (tampered("isotonic", ends=np.array([-1, 0, 1])), "do not make a isotonic"),
        (tampered("isotonic", ends=np.array([], dtype=np.int64)), "do not make a isotonic"),
        (
            {"method": "isotonic", "num_classes": 2, "x": np.array([0.5, 0.2]), "y": np.array([0.1, 0.2])}
            | {"ends": np.array([2])},
            "do not make a isotonic",
        ),
        (
            {"method": "isotonic", "num_classes": 2, "x": np.array([0.2, 0.5]), "y": np.array([0.1, 1.0])}
            | {"ends": np.array([2])},
            "do not make a isotonic",
        ),
    ],
)  # fmt: skip
def test_tampered_states_are_refused(state, message):
    with pytest.raises(BundleError, match=message):
        Calibrator.from_state(state)
