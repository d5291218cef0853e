"""From raw rows to answers: preprocessing, models, calibration, threshold and interval, in that order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from danlu.core.errors import DataError
from danlu.core.ideas import Model, Objective
from danlu.core.tasks import Task
from danlu.evaluate.metrics import decide

if TYPE_CHECKING:
    import polars as pl

    from danlu.data.preprocess import Preprocessor
    from danlu.data.schema import Schema
    from danlu.evaluate.calibration import Calibrator
    from danlu.evaluate.conformal import PredictionInterval

ROWS_AT_ONCE = 50_000


@dataclass(frozen=True)
class Member:
    """One fitted model of an ensemble with its own preprocessing."""

    name: str
    part: str
    """Name of the model in the catalogue."""
    settings: dict[str, Any]
    preprocessor: Preprocessor
    model: Model
    objective: Objective
    weight: float = 1.0


@dataclass(frozen=True)
class Prediction:
    """Answers for n rows."""

    task: Task
    values: np.ndarray | None = None
    """(n,) predicted numbers of a regression."""
    lower: np.ndarray | None = None
    """(n,) lower ends of the prediction interval."""
    upper: np.ndarray | None = None
    """(n,) upper ends of the prediction interval."""
    probabilities: np.ndarray | None = None
    """(n, k) probabilities in the order of the task's labels."""
    codes: np.ndarray | None = None
    """(n,) predicted class codes."""

    @property
    def main(self) -> np.ndarray:
        """What scores are computed from: values of a regression, probabilities of classes."""
        found = self.values if self.probabilities is None else self.probabilities
        assert found is not None
        return found

    def labels(self) -> np.ndarray:
        """(n,) predicted numbers or class labels, as they stand in the data."""
        if self.codes is None:
            return self.main
        return np.asarray(self.task.labels, dtype=object)[self.codes]


@dataclass(frozen=True)
class Predictor:
    """A trained model in memory: the members and what is done to their average."""

    task: Task
    target: str
    schema: Schema
    members: tuple[Member, ...]
    calibrator: Calibrator | None = None
    interval: PredictionInterval | None = None
    threshold: float | None = None
    """Probability of the positive class from which it is predicted; None takes the likeliest class."""
    card: dict[str, Any] = field(default_factory=dict[str, Any])
    """Metrics, recipe, data and reference statistics, for people."""

    def predict(self, rows: Any, *, interval: bool = False) -> pl.DataFrame:
        """Answers for raw rows: a column named as the target, and one `probability_LABEL` column a class.

        `interval` adds the prediction interval of a number, `TARGET_low` and `TARGET_high`.

        `rows` is a frame (Polars, pandas, Arrow), a file, a dictionary of columns or a list of dictionaries.
        Columns may come in any order and with others among them; a missing one is an error that names it.
        """
        from danlu.data.schema import conform
        from danlu.data.sources import read

        frame, _ = conform(read(rows).frame, self.schema)
        return self.as_frame(self.predict_frame(frame), interval=interval)

    def predict_frame(self, frame: pl.DataFrame) -> Prediction:
        """Answers for a Polars frame, as arrays."""
        starts = range(0, max(len(frame), 1), ROWS_AT_ONCE)
        pieces = [
            self.finish(self.raw(frame[start : start + ROWS_AT_ONCE]), first_row=start + 1)
            for start in starts
        ]
        if len(pieces) == 1:
            return pieces[0]
        names = ("values", "lower", "upper", "probabilities", "codes")
        joined = {
            n: None if getattr(pieces[0], n) is None else np.concatenate([getattr(p, n) for p in pieces])
            for n in names
        }
        return Prediction(self.task, **joined)

    def answers(self, frame: pl.DataFrame) -> np.ndarray:
        """(n,) values or (n, k) probabilities, for what asks a model many times."""
        return self.predict_frame(frame).main

    def raw(self, frame: pl.DataFrame) -> np.ndarray:
        """The weighted mean of the members' answers before calibration: (n,) values or (n, k) probabilities."""
        matrices: dict[int, Any] = {}
        answers: list[np.ndarray] = []
        for member in self.members:
            key = id(member.preprocessor)
            if key not in matrices:
                matrices[key] = member.preprocessor.transform(frame)
            answers.append(answer(member.objective, member.model, matrices[key]))
        return blend(answers, [member.weight for member in self.members])

    def finish(self, raw: np.ndarray, *, first_row: int = 1) -> Prediction:
        """The prediction that follows from the members' mean; `first_row` is the number of its first row."""
        if not np.isfinite(raw).all():
            row = int(np.flatnonzero(~np.isfinite(raw.reshape(len(raw), -1)).all(axis=1))[0]) + first_row
            raise DataError(
                f"The model gives no finite answer for row {row}; is a value there far outside what it was trained on?"
            )
        if self.task.kind == "regression":
            low, high = (
                (None, None)
                if self.interval is None or not self.interval.is_finite
                else self.interval.apply(raw)
            )
            return Prediction(self.task, values=raw, lower=low, upper=high)
        probabilities = raw if self.calibrator is None else self.calibrator.apply(raw)
        return Prediction(
            self.task, probabilities=probabilities, codes=decide(self.task, probabilities, self.threshold)
        )

    def as_frame(
        self, prediction: Prediction, *, probabilities: bool = True, interval: bool = False
    ) -> pl.DataFrame:
        """The prediction as named columns."""
        import polars as pl

        columns: dict[str, Any] = {self.target: pl.Series(prediction.labels().tolist(), strict=False)}
        if prediction.probabilities is not None and probabilities:
            for code, label in enumerate(self.task.labels):
                columns[f"probability_{label}"] = prediction.probabilities[:, code]
        if interval and prediction.lower is not None and prediction.upper is not None:
            columns |= {f"{self.target}_low": prediction.lower, f"{self.target}_high": prediction.upper}
        return pl.DataFrame(columns)

    @property
    def keeps_rows(self) -> bool:
        """Whether a member stores rows of the training data, as nearest neighbours and SVMs do."""
        return any(getattr(member.model, "keeps_rows", False) for member in self.members)


def answer(objective: Objective, model: Model, x: Any) -> np.ndarray:
    """(n,) values or (n, k) probabilities of one model for encoded rows."""
    prediction = objective.predict(model, {"x": x})
    return prediction["values"] if "values" in prediction else prediction["probabilities"]


def blend(answers: list[np.ndarray], weights: list[float]) -> np.ndarray:
    """The weighted mean of several answers; weights are scaled to sum to 1."""
    total = sum(weights)
    mean = answers[0] * (weights[0] / total)
    for other, weight in zip(answers[1:], weights[1:], strict=True):
        mean = mean + other * (weight / total)
    return mean
