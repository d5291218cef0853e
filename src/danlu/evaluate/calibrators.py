"""Calibrators: corrections of class probabilities that are data, a name and a few arrays.

They are fitted on rows that neither trained nor chose the model; evaluate/calibration.py chooses among them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from danlu.core.errors import BundleError
from danlu.core.scores import sigmoid
from danlu.evaluate.bootstrap import num_independent

Parameters = dict[str, np.ndarray]

_SMALLEST = 1e-15  # probabilities are moved this far from 0 and 1 before a logarithm is taken
_INVERSE_TEMPERATURES = (0.05, 20.0)


@dataclass(frozen=True)
class Calibrator:
    """Corrects the probabilities (n, k) of a classifier."""

    method: str
    """none, temperature, platt or isotonic."""
    num_classes: int
    parameters: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    losses: dict[str, float] = field(default_factory=dict[str, float])
    """Cross-validated log loss on the calibration rows by method, nats; not part of the state."""
    num_rows: int = 0
    """Calibration rows; not part of the state."""
    sentence: str = ""
    """What was done and why, for a person; not part of the state."""

    def apply(self, probabilities: np.ndarray) -> np.ndarray:
        """(n, k) corrected probabilities that sum to 1; temperature keeps which class is likeliest."""
        probabilities = np.asarray(probabilities, np.float64)
        if probabilities.ndim != 2 or probabilities.shape[1] != self.num_classes:
            raise ValueError(f"Expected probabilities (n, {self.num_classes}), got {probabilities.shape}.")
        return METHODS[self.method].apply(self.parameters, probabilities)

    def state(self) -> dict[str, Any]:
        """The method, the number of classes and float64 or int64 arrays."""
        return {"method": self.method, "num_classes": self.num_classes, **self.parameters}

    @classmethod
    def from_state(cls, state: dict[str, Any]) -> Calibrator:
        """What `state` wrote, with every shape and range checked; `BundleError` for anything else."""
        method, num_classes = state.get("method"), state.get("num_classes")
        if not isinstance(method, str) or method not in METHODS:
            raise BundleError(f"The calibration names the method {method!r}, which is none of {[*METHODS]}.")
        if type(num_classes) is not int or num_classes < 2:
            raise BundleError(f"The calibration must be for 2 classes or more, got {num_classes!r}.")
        known = METHODS[method]
        if set(state) != {"method", "num_classes", *known.arrays}:
            raise BundleError(f"The calibration has the wrong entries: {sorted(map(str, state))}.")
        parameters: dict[str, np.ndarray] = {}
        for name, dtype in known.arrays.items():
            array = state[name]
            if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != 1:
                raise BundleError(f"The calibration's {name!r} must be a list of {dtype} numbers.")
            if not np.isfinite(array).all():
                raise BundleError(f"The calibration's {name!r} has values that are not finite.")
            parameters[name] = array
        if not known.is_valid(parameters, num_classes):
            raise BundleError(f"The calibration's arrays do not make a {method} calibrator.")
        return cls(method, num_classes, parameters)


def _fit_none(probabilities: np.ndarray, codes: np.ndarray, weight: np.ndarray) -> Parameters:
    return {}


def _apply_none(parameters: Parameters, probabilities: np.ndarray) -> np.ndarray:
    return probabilities


def _fit_temperature(probabilities: np.ndarray, codes: np.ndarray, weight: np.ndarray) -> Parameters:
    """One number T for p^(1/T), normalised (Guo et al. 2017): the log loss is convex in 1/T."""
    logits = np.log(np.maximum(probabilities, _SMALLEST))
    of_observed = logits[np.arange(len(codes)), codes]
    low, high = _INVERSE_TEMPERATURES
    inverse = 1.0
    for _ in range(60):
        powered = _powered(probabilities, inverse)
        mean = (powered * logits).sum(axis=1)
        slope = weight @ (mean - of_observed)
        curvature = weight @ ((powered * logits**2).sum(axis=1) - mean**2)
        low, high = (low, inverse) if slope > 0 else (inverse, high)
        proposed = inverse - slope / curvature if curvature > 0 else low
        if not low < proposed < high:
            proposed = (low + high) / 2
        if abs(proposed - inverse) < 1e-12:
            break
        inverse = proposed
    return {"temperature": np.array([1.0 / inverse])}


def _apply_temperature(parameters: Parameters, probabilities: np.ndarray) -> np.ndarray:
    return _powered(probabilities, 1.0 / float(parameters["temperature"][0]))


def _powered(probabilities: np.ndarray, power: float) -> np.ndarray:
    lifted = np.maximum(probabilities, _SMALLEST)
    raised = (lifted / lifted.max(axis=1, keepdims=True)) ** power  # the likeliest is 1: nothing overflows
    return raised / raised.sum(axis=1, keepdims=True)


def _fit_platt(probabilities: np.ndarray, codes: np.ndarray, weight: np.ndarray) -> Parameters:
    """Slope and intercept of a logistic regression on the logit, by class, with soft targets (Platt 1999)."""
    lines = [
        _logistic_line(_logit(scores), is_class, weight)
        for scores, is_class in _one_against_rest(probabilities, codes)
    ]
    return {
        "slope": np.array([line[0] for line in lines]),
        "intercept": np.array([line[1] for line in lines]),
    }


def _logistic_line(x: np.ndarray, is_class: np.ndarray, weight: np.ndarray) -> np.ndarray:
    positive = num_independent(weight[is_class])
    negative = num_independent(weight[~is_class])
    target = np.where(is_class, (positive + 1) / (positive + 2), 1 / (negative + 2))
    design = np.column_stack([x, np.ones(len(x))])

    def loss(line: np.ndarray) -> float:
        z = design @ line
        return float(weight @ (np.logaddexp(0.0, z) - target * z))

    line = np.array([1.0, 0.0])
    for _ in range(100):
        p = sigmoid(design @ line)
        gradient = design.T @ (weight * (p - target))
        curvature = (design * (weight * p * (1 - p))[:, None]).T @ design
        # A trace of ridge: all scores may be equal, and then only the intercept is determined.
        step = np.linalg.solve(curvature + 1e-9 * weight.sum() * np.eye(2), gradient)
        size = 1.0
        while loss(line - size * step) > loss(line) and size > 1e-8:
            size /= 2
        line = line - size * step
        if np.abs(size * step).max() < 1e-10:
            break
    return line


def _apply_platt(parameters: Parameters, probabilities: np.ndarray) -> np.ndarray:
    slope, intercept = parameters["slope"], parameters["intercept"]
    scores = probabilities[:, 1:] if len(slope) == 1 else probabilities
    return _normalised(sigmoid(_logit(scores) * slope + intercept))


def _fit_isotonic(probabilities: np.ndarray, codes: np.ndarray, weight: np.ndarray) -> Parameters:
    """A rising step function of the probability, by class (Zadrozny and Elkan 2002), as its corners.

    Its values stay 1 / (2 n + 2) away from 0 and 1: n rows cannot show that something never happens.
    """
    from scipy.optimize import isotonic_regression

    margin = 1 / (2 * num_independent(weight) + 2)
    x, y, lengths = [], [], []
    for scores, is_class in _one_against_rest(probabilities, codes):
        kept = weight > 0
        levels, place = np.unique(scores[kept], return_inverse=True)
        total = np.bincount(place, weights=weight[kept])
        share = np.bincount(place, weights=(weight * is_class)[kept]) / total
        rising = np.clip(isotonic_regression(share, weights=total).x, margin, 1 - margin)
        change = np.diff(rising) != 0
        corner = np.append(True, change) | np.append(change, True)
        x.append(levels[corner])
        y.append(rising[corner])
        lengths.append(int(corner.sum()))
    return {"x": np.concatenate(x), "y": np.concatenate(y), "ends": np.cumsum(lengths, dtype=np.int64)}


def _apply_isotonic(parameters: Parameters, probabilities: np.ndarray) -> np.ndarray:
    ends = parameters["ends"]
    pieces = [slice(a, b) for a, b in zip([0, *ends[:-1]], ends, strict=True)]
    scores = probabilities[:, 1:] if len(ends) == 1 else probabilities
    columns = [
        np.interp(scores[:, i], parameters["x"][piece], parameters["y"][piece])
        for i, piece in enumerate(pieces)
    ]
    return _normalised(np.column_stack(columns))


def _one_against_rest(probabilities: np.ndarray, codes: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """(probability, is of this class) of class 1 for two classes, of each class for several."""
    num_classes = probabilities.shape[1]
    classes = [1] if num_classes == 2 else range(num_classes)
    return [(probabilities[:, code], codes == code) for code in classes]


def _normalised(scores: np.ndarray) -> np.ndarray:
    """(n, 1) probabilities of class 1 -> (n, 2); (n, k) scores -> (n, k) that sum to 1."""
    if scores.shape[1] == 1:
        return np.column_stack([1.0 - scores, scores])
    scores = np.maximum(scores, _SMALLEST)
    return scores / scores.sum(axis=1, keepdims=True)


def _logit(probabilities: np.ndarray) -> np.ndarray:
    inside = np.clip(probabilities, _SMALLEST, 1 - _SMALLEST)
    return np.log(inside) - np.log1p(-inside)


def _num_lines(num_classes: int) -> int:
    return 1 if num_classes == 2 else num_classes


def _is_temperature(parameters: Parameters, num_classes: int) -> bool:
    temperature = parameters["temperature"]
    low, high = _INVERSE_TEMPERATURES
    return temperature.shape == (1,) and 0.999 / high <= temperature[0] <= 1.001 / low


def _is_platt(parameters: Parameters, num_classes: int) -> bool:
    return all(array.shape == (_num_lines(num_classes),) for array in parameters.values())


def _is_isotonic(parameters: Parameters, num_classes: int) -> bool:
    x, y, ends = parameters["x"], parameters["y"], parameters["ends"]
    if ends.shape != (_num_lines(num_classes),) or len(x) != len(y) or ends[-1] != len(x):
        return False
    if (np.diff(ends, prepend=0) < 1).any() or (y <= 0).any() or (y >= 1).any():
        return False
    inner = np.setdiff1d(np.arange(1, len(x)), ends)  # steps within one class
    return bool((x[inner] > x[inner - 1]).all() and (y[inner] >= y[inner - 1]).all())


@dataclass(frozen=True)
class _Method:
    """How a calibrator is fitted, applied and checked."""

    fit: Callable[[np.ndarray, np.ndarray, np.ndarray], Parameters]
    apply: Callable[[Parameters, np.ndarray], np.ndarray]
    arrays: dict[str, str]
    """Names and dtypes of its parameters."""
    is_valid: Callable[[Parameters, int], bool]


# From the simplest to the most flexible.
METHODS = {
    "none": _Method(_fit_none, _apply_none, {}, lambda parameters, num_classes: True),
    "temperature": _Method(_fit_temperature, _apply_temperature, {"temperature": "float64"}, _is_temperature),
    "platt": _Method(_fit_platt, _apply_platt, {"slope": "float64", "intercept": "float64"}, _is_platt),
    "isotonic": _Method(
        _fit_isotonic, _apply_isotonic, {"x": "float64", "y": "float64", "ends": "int64"}, _is_isotonic
    ),
}
