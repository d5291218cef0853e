"""What the test rows show of a model: curves, calibration, coverage, importance, effects, worst rows, groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from danlu.bundle.predictor import Prediction, Predictor
from danlu.core.duration import Deadline
from danlu.core.interrupt import Interrupts
from danlu.core.seeds import derive
from danlu.evaluate import curves
from danlu.evaluate.calibration import reliability
from danlu.evaluate.conformal import coverage
from danlu.evaluate.effects import decision_boundary, partial_dependence
from danlu.evaluate.groups import group_scores
from danlu.evaluate.importance import permutation_importance
from danlu.evaluate.threshold import Threshold
from danlu.evaluate.worst import worst_rows
from danlu.run.finishing import Finish
from danlu.run.trial import Bench

if TYPE_CHECKING:
    import polars as pl

EXPLAINED_ROWS = 2000  # of the test rows: enough for importance, and quick
FEW_ROWS = 100


def assess(
    bench: Bench,
    predictor: Predictor,
    prediction: Prediction,
    done: Finish,
    deadline: Deadline,
    interrupts: Interrupts,
) -> dict[str, Any]:
    """Everything about the test rows that the report draws, as plain values.

    What takes long ends at the deadline or at Ctrl-C: the model is saved only after it.
    """
    table, settings, task = bench.table, bench.recipe.evaluation, bench.table.task
    test, cut, seed = bench.split.test, done.cut, derive(bench.recipe.seed, "explanation")
    frame, y, weight = table.frame[test], table.y[test], table.weights(test)
    found: dict[str, Any] = {}
    if task.kind == "regression":
        found["residuals"] = curves.residual_sample(y, prediction.main, max_rows=2000, seed=seed)
        if prediction.lower is not None and prediction.upper is not None:
            found["interval"] = coverage(y, prediction.lower, prediction.upper, asked=settings.interval)
    else:
        found["roc"] = curves.roc_curves(task, y, prediction.main, weight=weight)
        found["pr"] = curves.pr_curves(task, y, prediction.main, weight=weight)
        found["confusion"] = curves.confusion(task, y, prediction.main, weight=weight, threshold=cut)
        found["calibration"] = reliability(task, y, prediction.main, weight=weight)
    if isinstance(done.threshold, Threshold):
        found["threshold"] = done.threshold.as_dict()
    if settings.show_rows:
        shown = frame.select([column.name for column in table.schema.features])
        found["worst_rows"] = worst_rows(
            task, y, prediction.main, frame=shown, row_numbers=table.row_numbers[test], threshold=cut
        )
    groups = [
        group_scores(
            task,
            y,
            prediction.main,
            table.values(name, test),
            column=name,
            weight=weight,
            threshold=cut,
            seed=seed,
        )
        for name in settings.groups
    ]
    if groups:
        found["groups"] = [row for group in groups for row in group["groups"]]
        found["group_gaps"] = [row for group in groups for row in group["gaps"]]
    if settings.importance and not deadline.has_passed:
        with interrupts.breakable():
            _explain(found, bench, predictor, deadline, seed)
    features = table.schema.features
    if len(features) == 2 and all(column.type == "number" for column in features) and settings.show_rows:
        x, y_axis = (column.name for column in features)
        plane = decision_boundary(predictor.answers, table.frame, task, table.y, x=x, y=y_axis, seed=seed)
        distance = _distance(predictor)
        if distance is not None:
            own = decision_boundary(
                distance, table.frame, task, table.y, x=x, y=y_axis, max_points=0, seed=seed
            )
            plane |= {"distance": own["value"]}
        found["boundary"] = plane | {"border": 0.5 if cut is None else cut}
    return found


def _explain(
    found: dict[str, Any], bench: Bench, predictor: Predictor, deadline: Deadline, seed: int
) -> None:
    """Put importance and effects of the columns into `found` one after the other, so that a stop leaves the first."""
    table, test = bench.table, bench.split.test
    sample = test[np.linspace(0, len(test) - 1, min(len(test), EXPLAINED_ROWS)).astype(np.int64)]
    few, types = table.frame[sample], {column.name: column.type for column in table.schema.features}
    importance = permutation_importance(
        predictor.answers, few, table.task, table.y[sample], columns=list(types), by=bench.judge.metric.name,
        weight=table.weights(sample), threshold=predictor.threshold,
        deadline=Deadline.after(deadline.seconds_left / 2), seed=seed,
    )  # fmt: skip
    single = {name for name in types if few[name].n_unique() < 2}
    note = {"note": "one value in these rows: cannot be judged"}
    found["importance"] = [row | (note if row["column"] in single else {}) for row in importance.columns]
    ranked = [(row["column"], types[row["column"]]) for row in importance.columns[:6]]
    found["partial_dependence"] = partial_dependence(
        predictor.answers,
        few if len(few) >= FEW_ROWS else table.frame,  # few test rows do not span the columns
        table.task,
        columns=[(name, kind) for name, kind in ranked if kind in ("number", "category", "boolean")],
        deadline=deadline,
        seed=seed,
    )


def _distance(predictor: Predictor) -> Callable[[pl.DataFrame], np.ndarray] | None:
    """The signed distance from an SVM's boundary in units of its margin, where one SVM tells two classes apart."""
    member = predictor.members[0]
    decision = getattr(member.model, "decision", None)
    if len(predictor.members) > 1 or decision is None or predictor.task.kind != "binary":
        return None
    sign = 1.0 if predictor.task.positive_code == 1 else -1.0
    return lambda frame: sign * np.asarray(decision(member.preprocessor.transform(frame))).reshape(len(frame))
