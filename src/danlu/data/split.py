"""Which rows train, choose, calibrate and test: disjoint, whole groups, a pure function of the seed.

    large data   train 70 % | choice 7.5 % | calibration 7.5 % | test 15 %
    small data   development 85 % in repeated K-fold; choice and calibration are halves of it | test 15 %

Choice rows pick the model, its rounds, ensemble weights and threshold; calibration rows set the probabilities
and the conformal intervals; test rows are looked at once, at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from danlu.core.errors import DataError, RecipeError
from danlu.core.findings import Finding
from danlu.core.seeds import generator
from danlu.data.allocation import bins, deal
from danlu.data.chronology import cut, forward_folds
from danlu.data.split_findings import findings_of, sentence_of
from danlu.data.units import Units, find_units, named_column

if TYPE_CHECKING:
    import polars as pl

    from danlu.core.tasks import Task
    from danlu.data.schema import Schema

By = Literal["random", "group", "time"]
Fold = tuple[np.ndarray, np.ndarray]

MIN_ROWS = 4  # one to test, three to hold out in turn
FEW_UNITS = 20  # with so few rows, groups or moments each is held out alone, and none makes a holdout


@dataclass(frozen=True)
class SplitSettings:
    """How rows are divided."""

    method: Literal["auto", "random", "group", "time"] = "auto"
    """`random`, `group` (no group on two sides), `time` (past trains, future tests), `auto`: as named."""
    train: float = 0.70
    """Share of the rows that models learn from; usual is 0.70 to 0.80."""
    validation: float = 0.15
    """Share that chooses (one half) and calibrates (the other); usual is 0.10 to 0.15."""
    test: float = 0.15
    """Share for the one final evaluation; usual is 0.10 to 0.15. A given test file takes its place."""
    stratify: Literal["auto"] | bool = "auto"
    """Give all parts the same shares of classes, or of bins of a number target; `auto`: unless by time."""
    group: str | None = None
    """Column whose equal values stay on one side, such as a patient; default: that with role `group`."""
    time: str | None = None
    """Column that orders the rows in time; default: that with role `time`."""
    folds: Literal["auto"] | int = "auto"
    """Folds of cross-validation; a number asks for cross-validation whatever the size of the data."""
    repeats: Literal["auto"] | int = "auto"
    """Repetitions of cross-validation, each shuffled anew; a number asks for it as `folds` does."""
    small_rows: int = 10_000
    """With fewer development rows (all but test rows), cross-validation takes the place of one holdout."""
    keep_duplicates_together: Literal["auto"] | bool = "auto"
    """Keep rows with equal features on one side, whatever the target; `auto`: unless most rows repeat."""

    def __post_init__(self) -> None:
        shares = {"train": self.train, "validation": self.validation, "test": self.test}
        for name, share in shares.items():
            if not 0 < share < 1:
                raise RecipeError(
                    f"split.{name} is a share between 0 and 1, got {share:g}. Write 0.15 for 15 %."
                )
        if abs(sum(shares.values()) - 1) > 1e-6:
            listed = ", ".join(f"{name} {share:g}" for name, share in shares.items())
            raise RecipeError(
                f"The shares of split must add up to 1, got {listed}: {sum(shares.values()):g}."
            )
        for name, least in (("folds", 2), ("repeats", 1)):
            value = getattr(self, name)
            if value != "auto" and value < least:
                raise RecipeError(f"split.{name} must be auto or at least {least}, got {value}.")
        if self.small_rows < 0:
            raise RecipeError(f"split.small_rows must not be negative, got {self.small_rows}.")


@dataclass(frozen=True, eq=False)
class Split:
    """Row indices of each part (sorted int64; 0 is the first row of the frame), and how they came about."""

    method: Literal["holdout", "cross-validation"]
    by: By
    train: np.ndarray
    """Rows to learn from. In cross-validation all development rows, choice and calibration among them."""
    choice: np.ndarray
    """Rows for choosing; in cross-validation by predictions from folds that did not see them."""
    calibration: np.ndarray
    """Rows for calibration and intervals; shares none with `choice`."""
    test: np.ndarray
    folds: tuple[Fold, ...]
    """(fit rows, held rows), repeat after repeat; empty for a holdout."""
    num_repeats: int
    """How often each row of `choice` and `calibration` is held out; 0 for a holdout."""
    sentence: str
    findings: tuple[Finding, ...]

    @property
    def development(self) -> np.ndarray:
        """All rows but those of the test."""
        return np.unique(np.concatenate([self.train, self.choice, self.calibration]))

    @property
    def counts(self) -> str:
        """How many rows each part has, in words."""
        train, choice, calibration, test = map(len, (self.train, self.choice, self.calibration, self.test))
        if self.folds:
            return f"{train:,} rows cross-validated ({choice:,} choose, {calibration:,} calibrate), {test:,} test"
        return f"{train:,} rows train, {choice:,} choose, {calibration:,} calibrate, {test:,} test"

    def as_dict(self) -> dict[str, Any]:
        """The split as a run's record keeps it: numbers of rows, not the rows."""
        return {
            "method": self.method,
            "rows": {name: len(getattr(self, name)) for name in ("train", "choice", "calibration", "test")},
            "folds": len(self.folds) // self.num_repeats if self.folds else None,
            "repeats": self.num_repeats or None,
            "sentence": self.sentence,
        }


@dataclass(frozen=True)
class _Problem:
    """All that the parts are made from."""

    units: Units
    strata: np.ndarray
    classes: np.ndarray | None  # codes of a class target
    settings: SplitSettings
    seed: int
    given_test: np.ndarray | None
    column: str  # of groups or times; "" at random

    @property
    def num_rows(self) -> int:
        return len(self.units.of_row)

    def deal(self, rows: np.ndarray, shares: list[float], *names: str | int) -> list[np.ndarray]:
        """Rows of each part, drawn by the random stream that `names` name."""
        rng = generator(self.seed, "split", *names)
        parts = deal(self.units.of_row[rows], self.strata[rows], shares, rng=rng)
        return [rows[parts == part] for part in range(len(shares))]

    def cut(self, rows: np.ndarray, places: list[float]) -> list[np.ndarray]:
        """Rows of each part, oldest first."""
        assert self.units.moments is not None
        return [rows[piece] for piece in cut(self.units.moments[rows], places, column=self.column)]


@dataclass(frozen=True)
class Parts:
    """Row indices of each part, as in `Split`."""

    train: np.ndarray
    choice: np.ndarray
    calibration: np.ndarray
    test: np.ndarray
    folds: tuple[Fold, ...] = ()
    num_repeats: int = 0


def split(
    frame: pl.DataFrame,
    schema: Schema,
    task: Task,
    *,
    target: np.ndarray,
    settings: SplitSettings | None = None,
    seed: int = 0,
    test_rows: np.ndarray | None = None,
    row_numbers: np.ndarray | None = None,
) -> Split:
    """Divide the rows of `frame`; `target` (n,) holds class codes or numbers, none of them missing.

    `test_rows` are the indices of rows that came in a test file of their own. `row_numbers` (n,) are the rows
    as a person counts them, from 1 in each file; by default they are counted here. DataError where the rows
    cannot be divided, RecipeError where the settings contradict each other or name a column that is not
    there.
    """
    settings = settings or SplitSettings()
    group = named_column(frame, schema, settings.group, "group")
    time = named_column(frame, schema, settings.time, "time")
    by = _by(settings, group, time)
    given_test = None if test_rows is None else np.unique(np.asarray(test_rows, dtype=np.int64))
    _check_size(frame.height, given_test)
    keep = settings.keep_duplicates_together
    units = find_units(
        frame,
        schema,
        group=group if by == "group" else None,
        time=time if by == "time" else None,
        keep_duplicates=None if keep == "auto" else keep,
        row_numbers=_count(frame.height, given_test) if row_numbers is None else row_numbers,
    )
    classes = np.asarray(target, dtype=np.int64) if task.is_classification else None
    strata = np.zeros(frame.height, dtype=np.int64)
    if settings.stratify is not False and by != "time":
        own = (
            np.setdiff1d(np.arange(frame.height), given_test)
            if given_test is not None
            else np.arange(frame.height)
        )
        strata[own] = bins(np.asarray(target, dtype=np.float64)[own]) if classes is None else classes[own]
    column = {"group": group, "time": time, "random": None}[by] or ""
    problem = _Problem(units, strata, classes, settings, seed, given_test, column)
    parts = _by_time(problem) if by == "time" else _by_units(problem)
    if not all(len(part) for part in (parts.train, parts.choice, parts.calibration, parts.test)):
        raise _too_few(problem)
    return Split(
        "cross-validation" if parts.folds else "holdout",
        by,
        parts.train,
        parts.choice,
        parts.calibration,
        parts.test,
        parts.folds,
        parts.num_repeats,
        sentence_of(
            parts,
            by,
            column,
            units,
            stratified=bool(strata.any()),
            given_test=given_test is not None,
            is_classification=task.is_classification,
        ),
        tuple(units.findings) + tuple(findings_of(parts, units, task, classes, settings, given_test, column)),
    )


def _by(settings: SplitSettings, group: str | None, time: str | None) -> By:
    by = settings.method
    if by == "auto":
        if group and time:
            raise RecipeError(
                f"Columns {group!r} (group) and {time!r} (time) ask for two different splits. "
                "Set split.method to group or to time."
            )
        by = "group" if group else "time" if time else "random"
    if (by == "group" and not group) or (by == "time" and not time):
        raise RecipeError(f"split.method is {by}, but no column is named. Set split.{by} to a column.")
    if by == "time" and settings.stratify is True:
        raise RecipeError("A split by time cannot be stratified. Set split.stratify to auto.")
    if by == "time" and settings.repeats not in ("auto", 1):
        raise RecipeError(
            "A split by time has one order only and cannot be repeated. Set split.repeats to auto."
        )
    return by


def _by_units(problem: _Problem) -> Parts:
    """Random and grouped splits."""
    settings, everything = problem.settings, np.arange(problem.num_rows)
    if problem.given_test is None:
        share = max(settings.test, 0.5 / problem.num_rows)  # half a row is rounded up to one
        test, development = problem.deal(everything, [share, 1 - share], "test")
        development, (test,) = _with_every_class(problem, development, [test])
        if not len(test):
            test = _smallest_spare_unit(problem)
            development = np.setdiff1d(development, test)
    else:
        development, test = np.setdiff1d(everything, problem.given_test), problem.given_test
    num_units = int((np.bincount(problem.units.of_row[development]) > 0).sum())
    if _is_small(settings, len(development), num_units):
        return _cross_validation(problem, development, test, num_units)
    half = settings.validation / 2 / (1.0 if problem.given_test is not None else 1 - settings.test)
    choice, calibration, train = problem.deal(development, [half, half, 1 - 2 * half], "validation")
    train, (choice, calibration) = _with_every_class(problem, train, [choice, calibration])
    return Parts(train, choice, calibration, test)


def _cross_validation(problem: _Problem, rows: np.ndarray, test: np.ndarray, num_units: int) -> Parts:
    """Repeated folds. Rows that no fold can hold out, such as the only one of a class, just train."""
    num_folds, num_repeats = _folds_and_repeats(problem, len(rows), num_units)
    one_by_one = num_folds == num_units  # then there is nothing to stratify
    dealer = replace(problem, strata=np.zeros_like(problem.strata)) if one_by_one else problem
    folds: list[Fold] = []
    times_held = np.zeros(problem.num_rows, dtype=np.int64)
    for repeat in range(num_repeats):
        for held in dealer.deal(rows, [1 / num_folds] * num_folds, "folds", repeat):
            fit, (held,) = _with_every_class(problem, np.setdiff1d(rows, held), [held])
            if len(held):
                folds.append((fit, held))
                times_held[held] += 1
    held_always = np.flatnonzero(times_held == num_repeats)
    if not len(held_always) or not len(test):
        raise _too_few(problem)
    choice, calibration = problem.deal(held_always, [0.5, 0.5], "halves")
    return Parts(rows, choice, calibration, test, tuple(folds), num_repeats)


def _by_time(problem: _Problem) -> Parts:
    settings, moments = problem.settings, problem.units.moments
    assert moments is not None
    past, untimed = np.flatnonzero(moments >= 0), np.flatnonzero(moments < 0)
    share = settings.validation
    if problem.given_test is None:
        past, test = problem.cut(past, [1 - settings.test])
        share /= 1 - settings.test
    else:
        past, untimed = np.setdiff1d(past, problem.given_test), np.setdiff1d(untimed, problem.given_test)
        test = problem.given_test
    num_moments = len(np.unique(moments[past]))
    if not _is_small(settings, len(past) + len(untimed), num_moments):
        train, choice, calibration = problem.cut(past, [1 - share, 1 - share / 2])
        return Parts(np.union1d(train, untimed), choice, calibration, test)
    num_folds = 5 if settings.folds == "auto" else settings.folds
    folds: list[Fold] = []
    for fit, held in forward_folds(moments[past], num_folds, column=problem.column):
        fit, held = np.union1d(past[fit], untimed), past[held]
        if problem.classes is not None:  # a class that has not been seen yet cannot be foretold
            held = held[np.isin(problem.classes[held], problem.classes[fit])]
        if len(held) and (problem.classes is None or len(np.unique(problem.classes[fit])) > 1):
            folds.append((fit, held))
    if not folds:
        raise _too_few(problem)
    held = np.concatenate([held for _, held in folds])
    choice, calibration = problem.cut(np.sort(held), [0.5])
    return Parts(np.union1d(past, untimed), choice, calibration, test, tuple(folds), 1)


def _with_every_class(
    problem: _Problem, learners: np.ndarray, others: list[np.ndarray]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The same parts, but a class that `learners` lack gets its smallest unit moved there from `others`."""
    if problem.classes is None:
        return learners, others
    away = np.concatenate(others)
    absent = np.setdiff1d(problem.classes[away], problem.classes[learners])
    if not len(absent):
        return learners, others
    units = problem.units.of_row
    sizes = np.bincount(units[away])
    for code in absent.tolist():
        if code not in problem.classes[learners]:
            candidates = units[away[problem.classes[away] == code]]
            smallest = candidates[np.argmin(sizes[candidates])]
            learners = np.union1d(learners, away[units[away] == smallest])
    return learners, [np.setdiff1d(part, learners) for part in others]


def _smallest_spare_unit(problem: _Problem) -> np.ndarray:
    """Rows of the smallest unit that can be taken away with no class gone; DataError where there is none."""
    units = problem.units.of_row
    sizes = np.bincount(units)
    if problem.classes is not None:
        pairs = np.unique(np.column_stack([problem.classes, units]), axis=0)
        holders, num_units = np.unique(pairs[:, 0], return_counts=True)
        alone = np.isin(pairs[:, 0], holders[num_units == 1])
        sizes[pairs[alone, 1]] = 0
    spare = np.flatnonzero(sizes)
    if not len(spare) or len(sizes) == 1:
        raise _too_few(problem)
    return np.flatnonzero(units == spare[np.argmin(sizes[spare])])


def _is_small(settings: SplitSettings, num_rows: int, num_units: int) -> bool:
    """Whether a holdout would be too small to go by, or cross-validation is asked for."""
    asked = settings.folds != "auto" or settings.repeats != "auto"
    return asked or num_rows < settings.small_rows or num_units < FEW_UNITS


def _folds_and_repeats(problem: _Problem, num_rows: int, num_units: int) -> tuple[int, int]:
    """More folds and repeats for fewer rows, where each fit is cheap and each score is noisy."""
    settings = problem.settings
    if num_units < 2 or (settings.folds != "auto" and settings.folds > num_units):
        raise _too_few(problem)
    if num_units <= FEW_UNITS:
        folds, repeats = num_units, 1
    else:
        folds = 10 if num_rows < 200 else 5
        repeats = 3 if num_rows < 100 else 2
        repeats = repeats if num_rows < 500 else 1
    folds = min(folds, num_units) if settings.folds == "auto" else settings.folds
    return folds, repeats if settings.repeats == "auto" else settings.repeats


def _check_size(num_rows: int, given_test: np.ndarray | None) -> None:
    if given_test is None:
        if num_rows < MIN_ROWS:
            raise DataError(
                f"At least {MIN_ROWS} rows are needed to train and test a model, got {num_rows}. Add rows."
            )
        return
    num_left = num_rows - len(given_test)
    if num_left < MIN_ROWS - 1 or not len(given_test):
        raise DataError(
            f"At least {MIN_ROWS - 1} rows to train and 1 to test are needed, got {num_left} and "
            f"{len(given_test)}. Add rows."
        )


def _count(num_rows: int, given_test: np.ndarray | None) -> np.ndarray:
    """Row numbers from 1 in each of the two files."""
    if given_test is None:
        return np.arange(1, num_rows + 1)
    in_test = np.zeros(num_rows, dtype=bool)
    in_test[given_test] = True
    return np.where(in_test, np.cumsum(in_test), np.cumsum(~in_test))


def _too_few(problem: _Problem) -> DataError:
    num_units = len(np.unique(problem.units.of_row))
    what = f"groups of column {problem.column!r}" if problem.units.groups is not None else "rows"
    kept = (
        " when equal rows stay together"
        if problem.units.keeps_duplicates and num_units < problem.num_rows
        else ""
    )
    asked = problem.settings.folds
    folds = (
        f" into {asked} folds and a test part" if asked != "auto" else " into parts to train and to check on"
    )
    classes = ", each with two classes to learn from" if problem.classes is not None else ""
    return DataError(
        f"The data cannot be divided{folds}{classes}: {problem.num_rows} rows give {num_units} {what} that "
        f"can be told apart{kept}. Add rows, ask for fewer folds, or choose another split.method."
    )
