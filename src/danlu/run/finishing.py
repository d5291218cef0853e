"""Calibration, prediction interval and threshold, each on rows that neither trained nor chose the model."""

from __future__ import annotations

from dataclasses import dataclass, field

from danlu.core.findings import Finding
from danlu.core.seeds import derive
from danlu.evaluate.calibration import Calibrator, fit_calibrator
from danlu.evaluate.conformal import PredictionInterval, fit_interval
from danlu.evaluate.metrics import score
from danlu.evaluate.threshold import Threshold, threshold_by_cost, threshold_by_metric
from danlu.run.choosing import Choice
from danlu.run.trial import Bench


@dataclass(frozen=True)
class Finish:
    """What is done to the members' average before it is an answer."""

    calibrator: Calibrator | None = None
    interval: PredictionInterval | None = None
    threshold: Threshold | float | None = None
    before: dict[str, float | None] = field(default_factory=dict[str, float | None])
    """Scores of the calibration rows without the correction."""
    after: dict[str, float | None] = field(default_factory=dict[str, float | None])
    findings: list[Finding] = field(default_factory=list[Finding])

    @property
    def cut(self) -> float | None:
        """The decision threshold as a number."""
        return self.threshold.value if isinstance(self.threshold, Threshold) else self.threshold


def finish(bench: Bench, choice: Choice) -> Finish:
    """Fit what follows the models, on the calibration rows; the threshold on the choice rows.

    The answers used here are those of models that had not seen the rows. The models of the bundle are fitted on more
    rows, so the intervals err on the wide side.
    """
    table, evaluation = bench.table, bench.recipe.evaluation
    rows = bench.split.calibration
    answers, y, weight = choice.at(rows), table.y[rows], table.weights(rows)
    if table.task.kind == "regression":
        interval = fit_interval(y, answers, level=evaluation.interval)
        short = [] if interval.is_finite else [Finding("no_interval", "info", interval.sentence)]
        return Finish(interval=interval, findings=short)
    calibrator = fit_calibrator(
        answers,
        y,
        weight=weight,
        method=evaluation.calibration,
        seed=derive(bench.recipe.seed, "calibration"),
    )
    names = ("log_loss", "brier")
    before = score(table.task, y, answers, weight=weight, names=names)
    after = score(table.task, y, calibrator.apply(answers), weight=weight, names=names)
    return Finish(calibrator, threshold=_threshold(bench, choice, calibrator), before=before, after=after)


def _threshold(bench: Bench, choice: Choice, calibrator: Calibrator) -> Threshold | float | None:
    evaluation, task = bench.recipe.evaluation, bench.table.task
    if not isinstance(evaluation.threshold, str):
        return evaluation.threshold
    rows = bench.split.choice
    y, probabilities, weight = (
        bench.table.y[rows],
        calibrator.apply(choice.at(rows)),
        bench.table.weights(rows),
    )
    if evaluation.threshold != "auto":
        return threshold_by_metric(task, y, probabilities, evaluation.threshold, weight=weight)
    if evaluation.cost_false_positive is None or evaluation.cost_false_negative is None:
        return None
    return threshold_by_cost(
        task,
        y,
        probabilities,
        false_positive=evaluation.cost_false_positive,
        false_negative=evaluation.cost_false_negative,
        weight=weight,
    )
