"""Leaks: columns that give the target away, because they repeat it or alone nearly determine it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from danlu.core.findings import Finding
from danlu.core.seeds import generator
from danlu.core.tasks import Task
from danlu.data.blocks import blocks
from danlu.data.target import target_values

if TYPE_CHECKING:
    import polars as pl

    from danlu.data.schema import Column, Schema

MAX_ROWS = 50_000  # rows that are looked at
MIN_ROWS = 20  # fewer may agree by chance
MAX_ERROR = 0.005  # share of rows that a leak may get wrong
MIN_SKILL = 0.985  # share of the baseline's errors that a leak must avoid
MIN_R2 = 0.995
EXACT = 1e-9  # a straight line this close to all points is a copy in another unit
NEXT_SKILL = 0.9  # a number stands out as a leak only where no other column comes near it
FEW_VALUES = 20  # a number with no more different values is taken as codes
ROWS_PER_VALUE = 20  # a number with so many rows for each value is judged by values, else by neighbours
MAX_CELLS = 10_000_000  # of a table of values times classes

Doubt = Literal["none", "some", "much"]


def find_leaks(
    frame: pl.DataFrame, schema: Schema, task: Task, *, keep: Collection[str] = ()
) -> list[Finding]:
    """Findings about features of `frame` that alone predict the target, the surest first.

    `leak` (a problem; `leaks` names them, to be left out): the column repeats the target, or predicts all but
    0.5 % of the rows where guessing is far worse. `possible_leak` (a warning; it is used): the same where it
    is in `keep`, or where leaving it out would leave too little to tell a leak from an easy task. Skill is
    measured on rows that were left out (each row is predicted from the others with the same value, or from
    its neighbours), so that identifiers and rare categories gain nothing by having many values.
    """
    target = schema.target
    features = [column for column in schema.features if column.type in ("number", "category", "boolean")]
    if target is None or len(schema.features) < 2 or frame.height < MIN_ROWS:
        return []
    noun = "rows"
    if any(column.type == "number" and column.num_unique > FEW_VALUES for column in features):
        num_all = frame.height
        # A row that is there twice would tell its own target. Where all values are codes, equal rows are honest.
        frame = frame.filter(
            frame.select(column.name for column in features).hash_rows(seed=0).is_first_distinct()
        )
        noun = "rows" if frame.height == num_all else "distinct rows"
    if frame.height > MAX_ROWS:
        frame = frame.gather_every(frame.height // MAX_ROWS + 1)
    known, y = target_values(frame[target.name], task)
    if len(known) < MIN_ROWS:
        return []
    order = generator(0, "leaks").permutation(len(known))  # rows with equal values are neighbours by chance
    frame, y = frame[known[order]], y[order]
    measure = _class_skills if task.is_classification else _number_skills
    skills = list(measure(frame, features, y, task, noun))
    return _judge(skills, schema, keep, num_rows=len(known))


def leaks(findings: Sequence[Finding]) -> tuple[str, ...]:
    """The columns that a run leaves out because `findings` call them leaks."""
    return tuple(
        dict.fromkeys(name for finding in findings if finding.code == "leak" for name in finding.columns)
    )


@dataclass(frozen=True)
class _Skill:
    """How well one column alone predicts the target."""

    column: Column
    skill: float
    """Share of the baseline's error that it avoids: 1 is perfect, 0 no better than guessing."""
    is_leak: bool
    repeats: bool
    """Whether each of its values stands for one value of the target and the reverse."""
    doubt: Doubt
    """Whether an honest feature could be as good: hardly one of codes, more easily one of numbers."""
    facts: dict[str, Any]
    words: str


def _judge(skills: list[_Skill], schema: Schema, keep: Collection[str], *, num_rows: int) -> list[Finding]:
    suspects = sorted((one for one in skills if one.is_leak), key=lambda one: -one.skill)
    others = len(schema.features) - len(suspects)
    honest = max((one.skill for one in skills if not one.is_leak), default=0.0)
    findings = []
    for one in suspects:
        stands_out = others >= 2 and num_rows >= 100 and honest <= NEXT_SKILL
        certain = one.repeats or one.doubt == "none" or (one.doubt == "some" and stands_out)
        left_out = certain and others >= 1 and one.column.name not in keep
        findings.append(_finding(one, schema, left_out=left_out, kept=one.column.name in keep))
    return sorted(findings, key=lambda finding: finding.code != "leak")


def _finding(one: _Skill, schema: Schema, *, left_out: bool, kept: bool) -> Finding:
    name, target = one.column.name, schema.target.name if schema.target else ""
    verb = "repeats" if one.repeats else "gives away"
    if left_out:
        end = "It is left out, because it would not be known at the time of prediction."
        advice = f"If it is known before the target, use it: columns.keep=[{name}]."
    else:
        end = (
            "It is used as you asked."
            if kept
            else "It is used, since it may also be that the task is this easy."
        )
        advice = f"If it is known only after the target, leave it out: columns.ignore=[{name}]."
    place = next(number for number, column in enumerate(schema.columns, start=1) if column.name == name)
    return Finding(
        "leak" if left_out else "possible_leak",
        "problem" if left_out else "warning",
        f"Column {name!r} (column {place}) {verb} the target {target!r}: {one.words}. {end}",
        one.facts,
        (advice,),
        (name,),
    )


def _class_skills(
    frame: pl.DataFrame, features: list[Column], y: np.ndarray, task: Task, noun: str
) -> Iterator[_Skill]:
    num_rows, num_classes = len(y), len(task.labels)
    class_counts = np.bincount(y, minlength=num_classes)
    usual = int(class_counts.argmax())
    base_error = 1 - class_counts[usual] / num_rows
    if base_error * num_rows < 5:
        return
    against = f"of {num_rows:,} {noun} (always guessing {task.labels[usual]!r}: {_percent(1 - base_error)})"
    few_values = max(FEW_VALUES, 3 * num_classes)
    continuous = [
        column for column in features if column.num_unique > max(few_values, num_rows // ROWS_PER_VALUE)
    ]
    continuous = [column for column in continuous if column.type == "number"]
    for block, values in blocks(frame, continuous):
        missing = np.isnan(values)
        if missing.any():
            right = np.array(
                [
                    _num_like_nearest(x[None, ~gone], y[~gone])[0]
                    for x, gone in zip(values, missing, strict=True)
                ]
            )
            right += [
                _num_right(np.bincount(y[gone], minlength=num_classes)[None], usual) for gone in missing
            ]
        else:
            right = _num_like_nearest(values, y)
        for column, error in zip(block, 1 - right / num_rows, strict=True):
            yield _class_skill(column, float(error), base_error, num_rows, against, doubt="some")
    known = {column.name for column in continuous}
    for block, values in blocks(frame, [column for column in features if column.name not in known]):
        for column, x in zip(block, values, strict=True):
            codes = _dense(x)
            num_codes = int(codes.max()) + 1
            if num_codes * num_classes > MAX_CELLS:
                continue
            table = np.bincount(codes * num_classes + y, minlength=num_codes * num_classes).reshape(
                num_codes, num_classes
            )
            error = 1 - _num_right(table, usual) / num_rows
            repeats = num_codes == num_classes and bool(((table > 0).sum(axis=0) == 1).all())
            doubt = "none" if column.type != "number" or column.num_unique <= few_values else "some"
            yield _class_skill(column, error, base_error, num_rows, against, doubt=doubt, repeats=repeats)


def _class_skill(
    column: Column,
    error: float,
    base_error: float,
    num_rows: int,
    against: str,
    *,
    doubt: Doubt,
    repeats: bool = False,
) -> _Skill:
    skill = 1 - error / base_error
    facts = {"accuracy": 1 - error, "baseline": 1 - base_error, "num_rows": num_rows}
    words = f"alone it tells {_percent(1 - error)} {against}"
    return _Skill(column, skill, error <= MAX_ERROR and skill >= MIN_SKILL, repeats, doubt, facts, words)


def _num_like_nearest(values: np.ndarray, y: np.ndarray) -> np.ndarray:
    """For each of k columns, (k, n): the rows whose class is that of the row with the nearest value, (k,)."""
    if len(y) < 2:
        return np.zeros(len(values), dtype=np.int64)
    order = np.argsort(values, axis=1, kind="stable")
    x, y = np.nan_to_num(np.take_along_axis(values, order, axis=1)), y[order]
    same, gaps = y[:, 1:] == y[:, :-1], np.diff(x, axis=1)
    nearer_before = gaps[:, :-1] <= gaps[:, 1:]
    inner = np.where(nearer_before, same[:, :-1], same[:, 1:])
    return inner.sum(axis=1) + same[:, 0] + same[:, -1]


def _num_right(table: np.ndarray, usual: int) -> int:
    """Rows, of values x classes in `table`, whose class is the most frequent of the others like them."""
    ranked = np.sort(table, axis=1)
    first, second = ranked[:, -1], ranked[:, -2]
    alone = (first == 1) & (second == 0)  # no other row with this value: what is left is the usual class
    return int(first[first - 1 > second].sum() + table[alone, usual].sum())


def _dense(values: np.ndarray) -> np.ndarray:
    """Equal values as equal codes from 0 on; all missing ones share a code."""
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def _number_skills(
    frame: pl.DataFrame, features: list[Column], y: np.ndarray, task: Task, noun: str
) -> Iterator[_Skill]:
    spread = float(((y - y.mean()) ** 2).sum())
    if not spread:
        return
    for block, values in blocks(frame, [column for column in features if column.type == "number"]):
        if np.isfinite(values).all():
            yield from _block_skills(block, values, y, noun)
            continue
        for column, x in zip(block, values, strict=True):
            good = np.isfinite(x)
            if good.sum() >= max(MIN_ROWS, 0.5 * len(y)):
                yield from _block_skills([column], x[None, good], y[good], noun)
    for block, values in blocks(frame, [column for column in features if column.type != "number"]):
        for column, x in zip(block, values, strict=True):
            yield _number_skill(column, _r2_of_values(_dense(x), y, spread), len(y), noun, doubt="much")


def _block_skills(block: list[Column], values: np.ndarray, y: np.ndarray, noun: str) -> Iterator[_Skill]:
    """Skills of number columns without gaps, (k, n)."""
    r2s = _r2_of_neighbours(y[np.argsort(values, axis=1, kind="stable")])
    straight = _correlations(values, y) ** 2
    for column, x, r2, square in zip(block, values, r2s, straight, strict=True):
        # A copy rises or falls with the target; what determines it otherwise may be the law to find.
        is_scaled = square > 1 - EXACT
        rises = is_scaled or (r2 >= MIN_R2 and abs(_correlations(_ranks(x)[None], _ranks(y))[0]) >= MIN_R2)
        repeats = bool(is_scaled and np.allclose(x, y, rtol=1e-9, atol=0))
        yield _number_skill(
            column, float(max(r2, square)), len(y), noun, doubt="some" if rises else "much", repeats=repeats
        )


def _number_skill(
    column: Column, r2: float, num_rows: int, noun: str, *, doubt: Doubt, repeats: bool = False
) -> _Skill:
    words = f"alone it explains {_percent(r2)} of the target's spread in {num_rows:,} {noun}"
    return _Skill(column, r2, r2 >= MIN_R2, repeats, doubt, {"r2": r2, "num_rows": num_rows}, words)


def _r2_of_neighbours(y: np.ndarray) -> np.ndarray:
    """R2, (k,), of predicting each row from the two beside it; (k, n) sorted by k features."""
    guess = np.empty_like(y)
    guess[:, 1:-1] = (y[:, :-2] + y[:, 2:]) / 2
    guess[:, 0], guess[:, -1] = y[:, 1], y[:, -2]
    spread = ((y - y.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    return 1 - ((y - guess) ** 2).sum(axis=1) / np.maximum(spread, np.finfo(float).tiny)


def _r2_of_values(codes: np.ndarray, y: np.ndarray, spread: float) -> float:
    """R2 of predicting each row by the mean of the others with its value, a lone one by the mean of all."""
    count, total = np.bincount(codes)[codes], np.bincount(codes, weights=y)[codes]
    rest = np.where(count > 1, (total - y) / np.maximum(count - 1, 1), y.mean())
    return 1 - float(((y - rest) ** 2).sum()) / spread


def _ranks(values: np.ndarray) -> np.ndarray:
    import polars as pl

    return pl.Series(values).rank("average").to_numpy()


def _correlations(values: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Of each row of (k, n) with y (n,): (k,); 0 where one of them is constant."""
    x, y = values - values.mean(axis=1, keepdims=True), y - y.mean()
    size = np.sqrt((x * x).sum(axis=1) * (y @ y))
    return np.divide(x @ y, size, out=np.zeros(len(x)), where=size > 0)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
