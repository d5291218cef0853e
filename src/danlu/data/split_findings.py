"""What a division of rows says of itself: one sentence, and findings where it is not as it should be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from danlu.core.findings import Finding
from danlu.data.units import NAMED_ROWS, Units

if TYPE_CHECKING:
    from danlu.core.tasks import Task
    from danlu.data.split import Parts, SplitSettings

USUAL = {"train": (0.70, 0.80), "validation": (0.10, 0.15), "test": (0.10, 0.15)}
FAR_OFF = 0.05  # of all rows: so far may a part be from its share before it is a finding


def sentence_of(
    parts: Parts,
    by: str,
    column: str,
    units: Units,
    *,
    stratified: bool,
    given_test: bool,
    is_classification: bool,
) -> str:
    """How many rows do what, and how they were drawn."""
    num_test, num_repeats = len(parts.test), parts.num_repeats
    how = {
        "random": "drawn at random",
        "group": f"drawn by groups of {column!r}, no group on two sides",
        "time": f"cut along {column!r}, oldest first",
    }[by]
    if stratified:
        how += f", with equal shares of {'each class' if is_classification else 'low and high targets'}"
    divided = np.delete(units.duplicates, parts.test) if given_test else units.duplicates
    num_repeating = int((np.bincount(divided)[divided] > 1).sum())
    if units.keeps_duplicates and by != "time" and num_repeating:
        how += f"; the {num_repeating:,} rows that repeat another one's features stay on its side"
    test = f"{num_test:,} {'row is' if num_test == 1 else 'rows are'} kept for the final test"
    if given_test:
        test = f"the {num_test:,} of the test file are kept for the final test"
    if not parts.folds:
        return (
            f"{len(parts.train):,} rows train, {len(parts.choice):,} choose among models, "
            f"{len(parts.calibration):,} calibrate, and {test}; {how}."
        )
    num_folds = len(parts.folds) // num_repeats
    blocks = "blocks in time, each foretold from the rows before it" if by == "time" else "folds"
    times = "" if num_repeats == 1 else f", repeated {num_repeats} times"
    return (
        f"{len(parts.train):,} rows train in cross-validation of {num_folds} {blocks}{times}; predictions "
        f"for {len(parts.choice):,} of them choose among models and for {len(parts.calibration):,} others "
        f"calibrate; {test}; {how}."
    )


def findings_of(
    parts: Parts,
    units: Units,
    task: Task,
    classes: np.ndarray | None,
    settings: SplitSettings,
    given_test: np.ndarray | None,
    column: str,
) -> Iterator[Finding]:
    """What the person should know about these parts."""
    if given_test is None:
        yield from _unusual_shares(settings)
        yield from _missed_shares(parts, settings, units)
    if classes is not None:
        yield from _classes(parts, task, classes)
    yield from _crossing(parts, units, given_test is not None)
    if given_test is not None and units.groups is not None:
        others = np.concatenate([parts.train, parts.choice, parts.calibration])
        both = np.intersect1d(units.groups[others], units.groups[parts.test])
        if len(both):
            rows = parts.test[np.isin(units.groups[parts.test], both)]
            yield Finding(
                "groups_in_both_files",
                "warning",
                f"{len(both):,} groups of {column!r} stand in the training data and in the test file, so "
                "the test score does not show how the model does on new groups.",
                {"num_groups": len(both)},
                (),
                (column,),
                _numbers(units, rows),
            )


def _unusual_shares(settings: SplitSettings) -> Iterator[Finding]:
    off = [
        name
        for name, (low, high) in USUAL.items()
        if not low - 1e-9 <= getattr(settings, name) <= high + 1e-9
    ]
    if off:
        shares = {name: getattr(settings, name) for name in USUAL}
        listed = "/".join(f"{100 * share:g}" for share in shares.values())
        yield Finding(
            "split_shares",
            "warning",
            f"The split {listed} lies outside the usual 70-80/10-15/10-15 ({', '.join(off)}): too few rows "
            "to learn from, to choose by or to test on.",
            shares,
            ("split.train=0.7 split.validation=0.15 split.test=0.15",),
        )


def _missed_shares(parts: Parts, settings: SplitSettings, units: Units) -> Iterator[Finding]:
    num_rows = len(units.of_row)
    got = len(parts.test) / num_rows
    if abs(got - settings.test) > max(FAR_OFF, 1 / num_rows):
        yield Finding(
            "split_missed_shares",
            "warning",
            f"{100 * got:.0f} % of the rows test instead of {100 * settings.test:g} %, because groups, "
            "equal rows or rows of one time stay whole.",
            {"asked": settings.test, "got": got},
        )


def _classes(parts: Parts, task: Task, classes: np.ndarray) -> Iterator[Finding]:
    def listed(codes: np.ndarray) -> str:
        shown = ", ".join(repr(task.labels[code]) for code in codes[:10].tolist())
        return shown + (f" and {len(codes) - 10} more" if len(codes) > 10 else "")

    present = np.unique(classes)
    unlearnt = np.setdiff1d(present, classes[parts.train])
    if len(unlearnt):
        yield Finding(
            "class_not_in_training",
            "warning",
            f"No row to learn from has the class {listed(unlearnt)}, so it is never predicted.",
            {"classes": [task.labels[code] for code in unlearnt.tolist()]},
        )
    checked = np.concatenate([parts.choice, parts.calibration, parts.test])
    unchecked = np.setdiff1d(np.setdiff1d(present, unlearnt), classes[checked])
    if len(unchecked):
        yield Finding(
            "class_only_in_training",
            "warning",
            f"All rows of the class {listed(unchecked)} are learnt from (they are too few, or hang "
            "together), so no score says how well it is predicted.",
            {"classes": [task.labels[code] for code in unchecked.tolist()]},
            ("add rows of this class",),
        )


def _crossing(parts: Parts, units: Units, has_test_file: bool) -> Iterator[Finding]:
    """Test rows whose features equal those of a row that was learnt from or chosen by."""
    others = np.concatenate([parts.train, parts.choice, parts.calibration])
    test = parts.test[np.isin(units.duplicates[parts.test], units.duplicates[others])]
    if not len(test) or not (has_test_file or units.moments is not None):
        return
    twins = np.unique(others[np.isin(units.duplicates[others], units.duplicates[test])])
    evidence: dict[str, Any] = {
        "num_test_rows": len(test),
        "share": len(test) / len(parts.test),
        "train_rows": list(_numbers(units, twins)),
    }
    where = "the test file" if has_test_file else "the test part (the latest rows)"
    yield Finding(
        "duplicates_across",
        "warning" if len(test) > 0.01 * len(parts.test) else "info",
        f"{len(test):,} of {len(parts.test):,} rows of {where} have the same features as a row of the "
        f"training data, such as test row {units.row_numbers[test[0]]}; a model may know their answers by "
        "heart.",
        evidence,
        (),
        (),
        _numbers(units, test),
    )


def _numbers(units: Units, rows: np.ndarray) -> tuple[int, ...]:
    return tuple(int(number) for number in units.row_numbers[rows[:NAMED_ROWS]])
