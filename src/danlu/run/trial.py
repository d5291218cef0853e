"""One candidate: fitted on training rows, asked about rows that it has not seen, once or fold by fold."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from danlu.bundle.predictor import Member, answer
from danlu.core.checkpoint import Checkpoints
from danlu.core.duration import Deadline
from danlu.core.errors import DanluError, UserError
from danlu.core.ideas import Context, Watcher
from danlu.core.seeds import derive
from danlu.data.batches import take
from danlu.data.split import Split
from danlu.recipe.planning import Candidate
from danlu.recipe.recipe import Recipe
from danlu.run.descent import Decisions
from danlu.run.features import Features
from danlu.run.fitting import Judge, fit_candidate, is_by_gradient, is_watched
from danlu.run.job import Fitted
from danlu.run.loading import Table

if TYPE_CHECKING:
    from danlu.run.processes import Team


@dataclass
class Trial:
    """What came of one candidate."""

    candidate: Candidate
    status: str
    """`tried`, `failed` or `skipped`; later `chosen` or `member`."""
    why: str = ""
    seconds: float = 0.0
    unseen: np.ndarray | None = None
    """Answers for all development rows that were not fitted on: (len(rows), ...), aligned with `rows`."""
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    fitted: list[Fitted] = field(default_factory=list[Fitted])
    members: list[Member] = field(default_factory=list[Member])
    """The fitted models themselves, one a fold or one in all."""
    seen: np.ndarray | None = None
    """Answers for (a sample of) the rows that were fitted on."""
    seen_rows: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    score: float | None = None

    @property
    def length(self) -> int:
        """Epochs for a fit on all rows: the median over the folds."""
        return max(1, round(float(np.median([fitted.length for fitted in self.fitted]))))

    @property
    def ran(self) -> list[int]:
        """Steps that each fit took, for the lock."""
        return [fitted.outcome.position.step for fitted in self.fitted]


@dataclass
class Bench:
    """Where candidates are tried: the rows, how they are judged, and how long there is."""

    table: Table
    split: Split
    recipe: Recipe
    features: Features
    judge: Judge
    num_threads: int
    watchers: Callable[[str], Sequence[Watcher]]
    """Name of a fit, CANDIDATE/FOLD -> watchers."""
    checkpoints: Callable[[str], Checkpoints | None] = lambda name: None
    """Name of a fit -> where it keeps what it needs to go on after a kill."""
    decisions: Callable[[str], Decisions] = lambda name: Decisions()
    """Name of a fit -> what the clock decided about it."""
    team: Team | None = None
    """The processes that fit together what gradient steps train, where there are several."""

    def groups(self, rows: np.ndarray) -> np.ndarray | None:
        """The group of each row where the split is by groups: rows of one group are alike, not independent."""
        name = self.recipe.split.group
        return None if name is None else np.array([str(value) for value in self.table.values(name, rows)])

    def try_out(self, candidate: Candidate, deadline: Deadline, *, locked: list[int] | None = None) -> Trial:
        """Fit and score one candidate; a failure of its own is recorded, not raised.

        `locked` are the steps that each fit took in the run that is made again.
        """
        started = time.monotonic()
        trial = Trial(candidate, "tried", candidate.why)
        try:
            if self.split.folds:
                self._by_folds(trial, deadline, locked)
            else:
                self._by_holdout(trial, deadline, locked)
        except (DanluError, ArithmeticError, MemoryError, np.linalg.LinAlgError) as error:
            if isinstance(error, UserError) and self.recipe.models:
                raise  # a model that was asked for by name: the person should hear of it
            trial.status, trial.why = "failed", f"{type(error).__name__}: {error}"
        trial.seconds = time.monotonic() - started
        return trial

    def _by_holdout(self, trial: Trial, deadline: Deadline, locked: list[int] | None) -> None:
        encoded = self.features.encoded(trial.candidate.encoding, self.split.train, name="train")
        choice = encoded.batch(self.split.choice)
        fitted = self._fit(
            trial.candidate, 0, encoded.fitting(), choice, deadline, locked=locked[0] if locked else None
        )
        trial.rows = np.concatenate([self.split.choice, self.split.calibration])
        calibration = encoded.batch(self.split.calibration)
        unseen = [answer(fitted.objective, fitted.model, batch["x"]) for batch in (choice, calibration)]
        trial.unseen = np.concatenate(unseen)
        sample = _sample(len(self.split.train), 10_000)
        trial.seen_rows = self.split.train[sample]
        trial.seen = answer(fitted.objective, fitted.model, encoded.fit_x[sample])
        self._keep(trial, fitted, encoded.preprocessor)

    def _by_folds(self, trial: Trial, deadline: Deadline, locked: list[int] | None) -> None:
        rows = np.sort(np.unique(np.concatenate([held for _, held in self.split.folds])))
        place = {int(row): index for index, row in enumerate(rows)}
        total: np.ndarray | None = None
        times = np.zeros(len(rows))
        folds = self.split.folds if locked is None else self.split.folds[: len(locked)]
        for number, (fit_rows, held) in enumerate(folds):
            if locked is None and deadline.has_passed and times.min() > 0:
                break  # a whole pass is there; further repeats only steady it
            encoded = self.features.encoded(trial.candidate.encoding, fit_rows, name=f"fold {number}")
            unseen, watch = encoded.batch(held), None
            if is_watched(trial.candidate, self.recipe.training):
                chooses = np.isin(held, self.split.choice)
                watch = take(unseen, chooses) if chooses.any() else None
            folds_left = len(folds) - number
            # Twice an equal share of the time for a first pass: most fits end long before it.
            share = Deadline.after(2 * deadline.seconds_left / folds_left).earlier(deadline)
            fitted = self._fit(
                trial.candidate,
                number,
                encoded.fitting(),
                watch,
                share,
                locked=locked[number] if locked else None,
            )
            prediction = answer(fitted.objective, fitted.model, unseen["x"])
            index = np.array([place[int(row)] for row in held])
            total = np.zeros((len(rows), *prediction.shape[1:])) if total is None else total
            total[index] += prediction
            times[index] += 1
            if number == 0:
                trial.seen_rows, trial.seen = fit_rows, answer(fitted.objective, fitted.model, encoded.fit_x)
            self._keep(trial, fitted, encoded.preprocessor)
        assert total is not None
        late = sum(fitted.outcome.reason == "out of time" for fitted in trial.fitted)
        trial.why += f"; {late} of {len(trial.fitted)} folds ran out of time" if late else ""
        trial.rows = rows
        trial.unseen = total / times.reshape(-1, *[1] * (total.ndim - 1))

    def refit(self, candidate: Candidate, rows: np.ndarray, deadline: Deadline) -> tuple[Member, Fitted]:
        """Fit a candidate of known length on all development rows."""
        encoded = self.features.encoded(candidate.encoding, rows, name="all")
        fitted = self._fit(candidate, "all", encoded.fitting(), None, deadline)
        return self._member(candidate, fitted, encoded.preprocessor), fitted

    def _fit(
        self,
        candidate: Candidate,
        fold: int | str,
        train: Any,
        validation: Any,
        deadline: Deadline,
        *,
        locked: int | None = None,
    ) -> Fitted:
        name = f"{candidate.name}/{fold}"
        seed = derive(self.recipe.seed, candidate.name)
        shared = self.team is not None and is_by_gradient(candidate, self.recipe.training)
        fit = self.team.fit if self.team is not None and shared else fit_candidate
        return fit(
            candidate,
            self.recipe,
            self.table.task,
            train,
            validation=validation,
            judge=self.judge,
            context=Context(seed=seed, deadline=deadline, num_threads=self.num_threads),
            locked=locked,
            watchers=self.watchers(name),
            checkpoints=self.checkpoints(name),
            decisions=self.decisions(name),
        )

    def _keep(self, trial: Trial, fitted: Fitted, preprocessor: Any) -> None:
        trial.fitted.append(fitted)
        trial.members.append(self._member(trial.candidate, fitted, preprocessor))

    def _member(self, candidate: Candidate, fitted: Fitted, preprocessor: Any) -> Member:
        settings = dict(candidate.settings)
        return Member(candidate.name, candidate.model, settings, preprocessor, fitted.model, fitted.objective)


def with_length(candidate: Candidate, length: int) -> Candidate:
    """The candidate with the number of epochs that was found for it."""
    return replace(candidate, length=length)


def _sample(num_rows: int, limit: int) -> np.ndarray:
    """At most `limit` row positions, evenly spread."""
    return np.arange(num_rows) if num_rows <= limit else np.linspace(0, num_rows - 1, limit).astype(np.int64)
