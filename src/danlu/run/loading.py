"""From a recipe to a table that can be trained on: rows, schema, task, target, and what was noticed on the way."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from danlu.core.errors import DataError, RecipeError, closest
from danlu.core.findings import Finding
from danlu.core.tasks import Task
from danlu.data.target import target_values
from danlu.evaluate.settings import EvaluationSettings
from danlu.recipe.recipe import IN_MEMORY, Recipe

if TYPE_CHECKING:
    import polars as pl

    from danlu.data.schema import Schema
    from danlu.data.sources import Source
    from danlu.data.split import Split


@dataclass
class Table:
    """Rows to learn from: the data's rows first, then those of a test file where one was given."""

    frame: pl.DataFrame
    schema: Schema
    task: Task
    y: np.ndarray
    """(n,) float64 values or int64 class codes."""
    weight: np.ndarray | None
    row_numbers: np.ndarray
    """(n,) the rows as a person counts them in the file that they came from: 1 is the first row of data."""
    source: Source
    fingerprint: str
    """SHA-256 over the content of the data and of the test file."""
    test_rows: np.ndarray | None
    """Positions of the rows of the test file."""
    num_rows_given: int
    findings: list[Finding] = field(default_factory=list[Finding])
    suspects: tuple[str, ...] = ()
    """Columns that look like leaks over all rows; which of them are left out, development rows decide."""

    def weights(self, rows: np.ndarray) -> np.ndarray | None:
        """Weights of some rows, or None where all rows count alike."""
        return None if self.weight is None else self.weight[rows]

    def values(self, column: str, rows: np.ndarray) -> list[Any]:
        """Values of one column in some rows."""
        if column not in self.frame.columns:
            raise DataError(f"There is no column {column!r}.{closest(column, self.frame.columns)}")
        return self.frame[column][rows].to_list()

    @property
    def num_duplicates(self) -> int:
        """Rows that repeat an earlier one in every column."""
        return len(self.frame) - self.frame.n_unique()


def load_table(recipe: Recipe, frames: Mapping[str, Any]) -> Table:
    """Read the data, find out what its columns are, and make the target a task.

    `frames` holds tables that were given in Python in place of `data` and `test`.
    """
    from danlu.data.schema import conform, infer, require_column
    from danlu.data.screening import leaks, screen
    from danlu.data.sources import read
    from danlu.data.target_task import choose_task

    for name, words in (("data", "danlu train FILE --recipe RECIPE"), ("test", "--test FILE")):
        if getattr(recipe, name) == IN_MEMORY and name not in frames:
            raise RecipeError(
                f"This recipe ran on a table given in Python, which is not there now. Name a file: {words}"
            )
    target, types = recipe.target, recipe.columns.types
    source = read(frames.get("data", recipe.data), query=recipe.query, types=types)
    require_column(source.frame, target, what="The target")
    test = None if recipe.test is None else read(frames.get("test", recipe.test), types=types)
    findings = [*source.notes, *(() if test is None else test.notes)]

    asked = None if recipe.task == "auto" else recipe.task
    task, why = choose_task(source.frame[target], task=asked)
    task = _with_positive(task, recipe.evaluation.positive)
    findings += [] if asked else [why]
    schema = infer(source.frame, target=target, types=types, roles=_roles(recipe), reading=source.reading)
    frame, notes = conform(source.frame, schema)
    by_time = recipe.split.time is not None
    screened = screen(frame, schema, task, keep=recipe.columns.keep, splits_by_time=by_time)
    findings += screened
    _check_features(schema, target)
    row_numbers = np.arange(1, len(frame) + 1)
    num_own = len(frame)
    if test is not None:
        test_frame, test_notes = conform(test.frame, schema)
        _check_test_target(test_frame, target, task)
        frame = _joined(
            frame,
            test_frame,
            [c.name for c in schema.columns if c.role != "ignore" or c.name in recipe.evaluation.groups],
        )
        row_numbers = np.concatenate([row_numbers, np.arange(1, len(test_frame) + 1)])
        notes = (*notes, *test_notes)
    known, y = target_values(frame[target], task)
    frame, row_numbers = (
        (frame, row_numbers) if len(known) == len(frame) else (frame[known], row_numbers[known])
    )
    return Table(
        frame,
        schema,
        task,
        y,
        _weights(frame, recipe.columns.weight),
        row_numbers,
        source,
        source.fingerprint if test is None else f"{source.fingerprint}+{test.fingerprint}",
        None if test is None else np.flatnonzero(known >= num_own),
        num_own,
        [*findings, *notes],
        leaks(screened),
    )


def without_leaks(table: Table, rows: np.ndarray, *, keep: Collection[str]) -> Table:
    """The table without the columns that give the target away in `rows`: development rows, for this is a choice."""
    from danlu.data.leaks import find_leaks
    from danlu.data.screening import leaks

    found = find_leaks(table.frame[rows], table.schema, table.task, keep=keep)
    others = [finding for finding in table.findings if finding.code not in ("leak", "possible_leak")]
    schema = without(table.schema, leaks(found))
    _check_features(schema, str(schema.target.name if schema.target else ""))
    return replace(table, schema=schema, findings=[*found, *others])


def _check_features(schema: Schema, target: str) -> None:
    if schema.features:
        return
    reasons = "; ".join(
        f"{column.name} ({column.why})" for column in schema.columns if column.role != "target"
    )
    raise DataError(
        f"There is no column to predict {target!r} from. Left out: {reasons or 'nothing else is there'}. "
        "Use one all the same with --keep COLUMN."
    )


def _check_test_target(frame: pl.DataFrame, target: str, task: Task) -> None:
    """Name the row of the test file, not of both files, where its target does not fit."""
    if target not in frame.columns:
        raise DataError(
            f"The test file has no column {target!r}, which is the target.{closest(target, frame.columns)}"
        )
    try:
        target_values(frame[target], task)
    except DataError as error:
        raise DataError(f"In the test file: {error}") from error


def check_evaluation(evaluation: EvaluationSettings, table: Table) -> None:
    """Refuse, before anything is fitted, what cannot be evaluated on this table."""
    for name in evaluation.groups:
        table.values(name, np.zeros(0, dtype=np.int64))
    decides = evaluation.threshold != "auto" or evaluation.cost_false_positive is not None
    usual = EvaluationSettings()
    if not table.task.is_classification and evaluation.calibration not in ("auto", "off"):
        raise RecipeError(
            "evaluation.calibration corrects probabilities of classes; this target is a number."
        )
    if table.task.is_classification and evaluation.interval != usual.interval:
        raise RecipeError("evaluation.interval is for predicted numbers; this target is a class.")
    if decides and table.task.kind != "binary":
        raise RecipeError(
            f"A threshold, and costs of mistakes, are for two classes; this target makes a {table.task.kind} task."
        )


def check_weights(table: Table, split: Split, column: str | None) -> None:
    """Refuse a part whose rows all weigh nothing: no score of it would be defined."""
    for name in ("train", "choice", "calibration", "test"):
        rows = getattr(split, name)
        weight = table.weights(rows)
        if weight is not None and not weight.any():
            raise DataError(
                f"All {len(rows):,} {name} rows have the weight 0 in {column!r}, so they say nothing. "
                "Leave out rows that weigh nothing, or give more rows a weight."
            )


def _roles(recipe: Recipe) -> dict[str, str]:
    """Roles that the recipe gives to columns."""
    columns, split = recipe.columns, recipe.split
    roles = dict.fromkeys(columns.keep, "feature") | dict.fromkeys(columns.ignore, "ignore")
    both = set(columns.keep) & set(columns.ignore)
    if both:
        raise RecipeError(f"The column {sorted(both)[0]!r} is both kept and ignored. Name it once.")
    for name, role in ((split.group, "group"), (split.time, "time"), (columns.weight, "weight")):
        if name is None:
            continue
        if roles.get(name, role) != role or name == recipe.target:
            raise RecipeError(
                f"The column {name!r} cannot be {role} and something else at once. Name it once."
            )
        roles[name] = role
    if recipe.target in roles:
        raise RecipeError(f"The target {recipe.target!r} cannot be kept or ignored: it is what is predicted.")
    return roles


def _with_positive(task: Task, positive: Any) -> Task:
    """The task with the class that the person named as positive."""
    if positive is None:
        return task
    if task.kind != "binary":
        raise RecipeError(f"evaluation.positive is for two classes; this target makes a {task.kind} task.")
    exact = [label for label in task.labels if str(label) == str(positive)]
    alike = [label for label in task.labels if str(label).lower() == str(positive).strip().lower()]
    found = next(iter(exact or alike), None)
    if found is None:
        labels = [str(label) for label in task.labels]
        raise RecipeError(
            f"There is no class {positive!r}.{closest(str(positive), labels)} Classes: {', '.join(labels)}."
        )
    return replace(task, positive=found)


def without(schema: Schema, names: Collection[str]) -> Schema:
    """The schema with these columns left out of the features."""
    return replace(
        schema,
        columns=tuple(
            replace(column, role="ignore") if column.name in names else column for column in schema.columns
        ),
    )


def _joined(own: pl.DataFrame, test: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """The rows of both files, with the columns that are used."""
    import polars as pl

    missing = [name for name in names if name not in test.columns]
    if missing:
        near = closest(missing[0], test.columns)
        raise DataError(
            f"The test file has no column {missing[0]!r}, which the data have.{near} "
            f"It needs all of: {', '.join(names)}."
        )
    for name in names:
        theirs, ours = test.schema[name], own.schema[name]
        if (
            theirs != ours
            and not (theirs.is_numeric() and ours.is_numeric())
            and not test[name].is_null().all()
        ):
            raise DataError(
                f"Column {name!r} holds {ours} in the data but {theirs} in the test file. "
                f"Make them alike, or set --type {name}=TYPE."
            )
    return pl.concat(
        [
            own.select(names),
            test.select(names).cast({name: own.schema[name] for name in names if test[name].is_null().all()}),
        ],
        how="vertical_relaxed",
    )


def _weights(frame: pl.DataFrame, name: str | None) -> np.ndarray | None:
    if name is None:
        return None
    values = frame[name].to_numpy().astype(np.float64)
    if not (np.isfinite(values).all() and (values >= 0).all() and values.any()):
        raise DataError(f"The weights in {name!r} must be finite numbers of at least 0, and not all 0.")
    return values
