"""Calibration: whether a probability of 0.8 comes true in 8 of 10 rows, and which correction mends it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from danlu.core.errors import UserError, closest
from danlu.core.seeds import generator
from danlu.core.tasks import Task
from danlu.evaluate import formulas
from danlu.evaluate.bootstrap import num_independent
from danlu.evaluate.calibrators import METHODS, Calibrator
from danlu.evaluate.metrics import prepare
from danlu.evaluate.proportion import wilson_interval

NUM_FOLDS = 5
FEWEST_ROWS = 50
FEWEST_ROWS_OF_A_CLASS = 10
FEWEST_ERRORS = (
    50  # with fewer, a correction that looks clear on these rows made new ones worse (penguins, wdbc)
)


def fit_calibrator(
    probabilities: np.ndarray,
    codes: np.ndarray | Sequence[int],
    *,
    weight: np.ndarray | None = None,
    method: str = "auto",
    seed: int = 0,
) -> Calibrator:
    """The calibrator for these rows: a named one, or with `auto` what cross-validation asks for.

    `auto` starts from no correction and moves on to temperature, then to isotonic, where the mean log loss on
    held-out fifths of the rows falls by more than two standard errors of the paired differences. With fewer
    than 50 rows, or fewer than 50 wrong decisions among them, there is no correction; with fewer than 10 rows
    of a class no Platt or isotonic one. `off` is none at all.
    """
    if method not in {"auto", "off", *METHODS}:
        choices = ["auto", "off", *METHODS]
        raise UserError(
            f"There is no calibration {method!r}.{closest(method, choices)} Use {', '.join(choices)}."
        )
    probabilities, codes = np.asarray(probabilities, np.float64), np.asarray(codes, np.int64)
    num_rows, num_classes = probabilities.shape
    weight = np.ones(num_rows) if weight is None else np.asarray(weight, np.float64)
    present = np.bincount(codes[weight > 0], minlength=num_classes)
    if method in ("off", "none"):
        sentence = "Probabilities are those of the model, uncorrected."
        return Calibrator("none", num_classes, num_rows=num_rows, sentence=sentence)
    tried = [name for name in METHODS if name != "platt"] if method == "auto" else ["none", method]
    num_errors = int((probabilities.argmax(axis=1) != codes)[weight > 0].sum())
    if method == "auto" and num_errors < FEWEST_ERRORS:
        sentence = (
            f"Probabilities are those of the model: it decides wrongly in {num_errors} of {present.sum():,} rows kept "
            f"for correcting them, and a correction that can be trusted takes {FEWEST_ERRORS}."
        )
        return Calibrator("none", num_classes, num_rows=num_rows, sentence=sentence)
    if present.min() < FEWEST_ROWS_OF_A_CLASS:  # curves of one class need rows of it, a temperature does not
        tried = [name for name in tried if name in ("none", "temperature")]
    if present.sum() < FEWEST_ROWS or len(tried) == 1:
        sentence = (
            f"Probabilities are those of the model: {present.sum():,} rows, {present.min():,} of the rarest "
            f"class, were kept for correcting them, and it takes {FEWEST_ROWS} and {FEWEST_ROWS_OF_A_CLASS}."
        )
        return Calibrator("none", num_classes, num_rows=num_rows, sentence=sentence)
    losses = _held_out_losses(tried, probabilities, codes, weight, seed)
    means = {name: float(weight @ each / weight.sum()) for name, each in losses.items()}
    chosen = tried[-1]
    if method == "auto":
        chosen = "none"
        for name in tried[1:]:
            if _gain_in_errors(losses[chosen] - losses[name], weight) > 2:
                chosen = name
    return Calibrator(
        chosen,
        num_classes,
        METHODS[chosen].fit(probabilities, codes, weight),
        means,
        num_rows,
        _sentence(chosen, means, num_rows),
    )


def reliability(
    task: Task,
    observed: np.ndarray | Sequence[int],
    probabilities: np.ndarray,
    *,
    weight: np.ndarray | None = None,
    num_bins: int = 10,
    level: float = 0.95,
) -> list[dict[str, Any]]:
    """[{label, predicted, observed, count, lower, upper}]: for the positive class, or for each of several.

    Bins hold about equally many rows (equal probabilities stay together): `predicted` is the mean probability
    in a bin, `observed` how often it came true, `lower` and `upper` Wilson's interval of that, `count` the
    rows.
    """
    rows = prepare(task, observed, probabilities, weight=weight)
    if not rows.predicted or not len(rows.observed):
        return []
    scores = rows.predicted["probabilities"]
    classes = [(task.positive, 1)] if task.kind == "binary" else [(x, i) for i, x in enumerate(task.labels)]
    return [
        {"label": label} | _bins(scores[:, code], rows.observed == code, rows.weight, num_bins, level)
        for label, code in classes
    ]


def _bins(
    score: np.ndarray, is_class: np.ndarray, weight: np.ndarray, num_bins: int, level: float
) -> dict[str, list[float]]:
    edges = np.unique(np.quantile(score, np.linspace(0, 1, num_bins + 1)[1:-1], method="inverted_cdf"))
    bins = np.searchsorted(edges, score, side="left")
    table: dict[str, list[float]] = {
        name: [] for name in ("predicted", "observed", "count", "lower", "upper")
    }
    for each in np.unique(bins):
        inside = bins == each
        total = float(weight[inside].sum())
        share = float(weight[inside] @ is_class[inside]) / total
        low, high = wilson_interval(share, num_independent(weight[inside]), level=level)
        row = (float(weight[inside] @ score[inside]) / total, share, int(inside.sum()), low, high)
        for name, value in zip(table, row, strict=True):
            table[name].append(value)
    return table


def _held_out_losses(
    tried: Sequence[str], probabilities: np.ndarray, codes: np.ndarray, weight: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """(n,) log loss of each row by calibrators that were fitted without its fold; folds are stratified."""
    order = generator(seed, "calibration").permutation(len(codes))
    order = order[np.argsort(codes[order], kind="stable")]
    folds = np.empty(len(codes), np.int64)
    folds[order] = np.arange(len(codes)) % NUM_FOLDS
    losses = {name: np.empty(len(codes)) for name in tried}
    for fold in range(NUM_FOLDS):
        inside = folds == fold
        for name in tried:
            method = METHODS[name]
            parameters = method.fit(probabilities[~inside], codes[~inside], weight[~inside])
            corrected = method.apply(parameters, probabilities[inside])
            losses[name][inside] = formulas.surprise(codes[inside], corrected)
    return losses


def _gain_in_errors(gain: np.ndarray, weight: np.ndarray) -> float:
    """Mean gain of the rows in units of its standard error."""
    total = weight.sum()
    mean = weight @ gain / total
    error = np.sqrt(weight**2 @ (gain - mean) ** 2) / total
    return float(mean / error) if error > 0 else 0.0


def _sentence(chosen: str, losses: dict[str, float], num_rows: int) -> str:
    if chosen == "none":
        return (
            f"Probabilities are those of the model: no correction lowered the log loss on {num_rows:,} rows "
            f"kept for it by more than luck ({losses['none']:.4f} nats without)."
        )
    return (
        f"Probabilities were corrected ({chosen}) on {num_rows:,} rows kept for it; held out, the log loss "
        f"went from {losses['none']:.4f} to {losses[chosen]:.4f} nats."
    )
