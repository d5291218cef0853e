"""The record of a run: everything that the report shows, computed once, on test rows that nothing else has touched."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from danlu import __version__
from danlu.bundle.predictor import Prediction, Predictor
from danlu.core.device import choose_device
from danlu.core.duration import Deadline
from danlu.core.files import plain
from danlu.core.findings import Finding
from danlu.core.interrupt import Interrupts
from danlu.core.runtime import environment, peak_memory
from danlu.core.seeds import derive
from danlu.core.tasks import Task
from danlu.data.summary import column_facts
from danlu.evaluate.bootstrap import intervals
from danlu.evaluate.metrics import score
from danlu.recipe.recipe import as_plain, command_of
from danlu.run.assessing import assess
from danlu.run.choosing import Choice, unseen_at
from danlu.run.finishing import Finish
from danlu.run.outcomes import findings_of_result
from danlu.run.trial import Bench, Trial, with_length

WIDE = 1000  # columns from which on the card leaves their statistics out: it would not fit into its bound
FEWEST_FOR_INTERVAL = 10  # test rows; of fewer an interval would say nothing but what those rows are
CLOCK_FINDINGS = (
    "not_fitted",
    "not_refitted",
)  # what the clock decided is told to the person, not to the bundle


def build_record(
    bench: Bench,
    trials: Sequence[Trial],
    choice: Choice,
    predictor: Predictor,
    done: Finish,
    *,
    findings: Sequence[Finding],
    deadline: Deadline,
    interrupts: Interrupts,
    name: str,
    budget: float,
) -> dict[str, Any]:
    """The record, without the wall times that only the end of the run knows."""
    table, recipe, task = bench.table, bench.recipe, bench.table.task
    test = bench.split.test
    frame, y, weight = table.frame[test], table.y[test], table.weights(test)
    prediction = predictor.predict_frame(frame)
    metrics = _metrics(bench, choice, predictor, done, prediction)
    baseline = trials[0]
    naive_member, _ = bench.refit(with_length(baseline.candidate, 1), bench.split.development, Deadline())
    naive = Predictor(task, recipe.target, table.schema, (naive_member,))
    level, seed = recipe.evaluation.confidence, derive(recipe.seed, "evaluation")
    low_high = intervals(
        task, y, prediction.main, weight=weight, threshold=done.cut, level=level,
        num_resamples=recipe.evaluation.bootstrap, seed=seed, groups=bench.groups(test),
    ) if len(test) >= FEWEST_FOR_INTERVAL else {}  # fmt: skip
    base = {
        "name": baseline.candidate.name,
        "validation": _scores_on_choice(bench, baseline, None),
        "test": score(task, y, naive.answers(frame), weight=weight),
        "answer": _always(task, naive.answers(frame[:1])),
    }
    evaluation = assess(bench, predictor, prediction, done, deadline, interrupts)
    keeps_rows = predictor.keeps_rows
    shows_rows = bool(evaluation.get("worst_rows") or evaluation.get("boundary"))
    record = {
        "format": 1,
        "task": task.kind,
        "labels": list(task.labels),
        "positive": task.positive,
        "target": recipe.target,
        "run": {"name": name, "version": __version__, "seed": recipe.seed, "budget_seconds": budget,
                "environment": environment(), "peak_memory_bytes": peak_memory(),
                "plan": _plan(bench, trials, choice, done), "command": command_of(recipe)},
        "data": {"source": table.source.name, "fingerprint": table.fingerprint, "num_rows": table.num_rows_given,
                 "num_duplicates": table.num_duplicates, "columns": column_facts(table.frame, table.schema)},
        "split": bench.split.as_dict(),
        "metric": bench.judge.metric.name,
        "greater_is_better": bench.judge.metric.greater_is_better,
        "candidates": _candidates(bench, trials, choice),
        "chosen": {"name": " + ".join(trial.candidate.name for trial in choice.trials), "sentence": choice.sentence,
                   "members": [{"name": member.name, "weight": member.weight} for member in predictor.members]},
        "metrics": metrics,
        "intervals": {"test": low_high},
        "baseline": base,
        "evaluation": evaluation,
        "calibration": _calibration(done, len(bench.split.calibration)),
        "recipe": as_plain(recipe),
        "rules": _rules(predictor),
        "privacy": {"bundle_has_rows": keeps_rows, "report_has_rows": shows_rows,
                    "sentence": _privacy(keeps_rows, shows_rows)},
    }  # fmt: skip
    found = [*findings, *findings_of_result(bench, trials, metrics, base, low_high)]
    return plain(record | {"findings": [finding.as_dict() for finding in found]})


def card_of(record: dict[str, Any]) -> dict[str, Any]:
    """The part of a record that goes into the bundle: no wall times, no rows, so that equal runs give equal bytes."""
    names = (
        "task",
        "labels",
        "positive",
        "target",
        "split",
        "metric",
        "chosen",
        "metrics",
        "intervals",
        "baseline",
        "calibration",
    )
    card = {name: record[name] for name in names}
    card["data"] = {
        key: record["data"][key] for key in ("source", "fingerprint", "num_rows", "num_duplicates")
    }
    columns = record["data"]["columns"]
    shown = ("name", "type") if len(columns) > WIDE else tuple(key for key in columns[0] if key != "top")
    card["columns"] = [{key: value for key, value in column.items() if key in shown} for column in columns]
    serious = [f for f in record["findings"] if f["severity"] != "info" and f["code"] not in CLOCK_FINDINGS]
    card["findings"] = [{key: f[key] for key in ("code", "severity", "message", "columns")} for f in serious]
    return card | {
        "recipe": record["recipe"],
        "version": record["run"]["version"],
        "privacy": record["privacy"]["sentence"],
    }


def _metrics(
    bench: Bench, choice: Choice, predictor: Predictor, done: Finish, prediction: Prediction
) -> dict[str, Any]:
    table, task = bench.table, bench.table.task
    train = bench.split.train[:: max(1, len(bench.split.train) // 5000)]
    seen = predictor.predict_frame(table.frame[train]).main
    rows = bench.split.choice
    unseen = choice.at(rows) if done.calibrator is None else done.calibrator.apply(choice.at(rows))
    test = bench.split.test

    def scores(which: np.ndarray, answers: np.ndarray) -> dict[str, float | None]:
        return score(task, table.y[which], answers, weight=table.weights(which), threshold=done.cut)

    return {
        "train": scores(train, seen),
        "validation": scores(rows, unseen),
        "test": scores(test, prediction.main),
    }


def _scores_on_choice(bench: Bench, trial: Trial, cut: float | None) -> dict[str, float | None]:
    rows = bench.split.choice
    return score(
        bench.table.task,
        bench.table.y[rows],
        unseen_at(trial, rows),
        weight=bench.table.weights(rows),
        threshold=cut,
    )


def _candidates(bench: Bench, trials: Sequence[Trial], choice: Choice) -> list[dict[str, Any]]:
    task, rows, metric = bench.table.task, bench.split.choice, bench.judge.metric
    y, weight = bench.table.y[rows], bench.table.weights(rows)
    shown: list[dict[str, Any]] = []
    for trial in trials:
        first = trial.fitted[0] if trial.fitted else None
        entry: dict[str, Any] = {
            "name": trial.candidate.name,
            "model": trial.candidate.model,
            "settings": dict(trial.candidate.settings),
            "status": trial.status,
            "why": trial.why,
            "score": trial.score,
            "seconds": trial.seconds,
        }
        if trial.unseen is not None and first is not None:
            answers = unseen_at(trial, rows)
            bounds = intervals(
                task,
                y,
                answers,
                weight=weight,
                names=[metric.name],
                num_resamples=200,
                groups=bench.groups(rows),
            )
            seen = np.asarray(trial.seen)
            scores_seen = score(
                task, bench.table.y[trial.seen_rows], seen, weight=bench.table.weights(trial.seen_rows)
            )
            # An estimator may take several rounds of its own in one epoch of the loop, as boosting does.
            rounds = getattr(getattr(first.model, "settings", None), "rounds_per_call", 1)
            unit = "epoch" if trial.candidate.update == "gradient" else "round"
            entry |= {
                "score_interval": bounds[metric.name],
                "metrics": {"train": scores_seen, "validation": score(task, y, answers, weight=weight)},
                "num_rounds": getattr(first.model, "num_rounds", trial.length),
                "stop_reason": first.outcome.reason,
                "training": _training(bench, trial) if first.memory is not None else None,
                "curve": first.history.as_curve(
                    unit=unit, rounds=rounds, best=first.length, of=len(trial.fitted)
                ),
            }
        shown.append(entry)
    return shown


def _training(bench: Bench, trial: Trial) -> dict[str, Any]:
    """How gradient steps trained the first fit of a candidate: pace, signals, what was measured first, memory."""
    first = trial.fitted[0]
    return {
        "pace": first.pace,
        "memory": first.memory,
        "decisions": bench.decisions(f"{trial.candidate.name}/0").taken,
        "device": choose_device(bench.recipe.engine.device).as_dict(),
        "threads": bench.num_threads,
        "precision": bench.recipe.training.precision,
    }


def _always(task: Task, answer: np.ndarray) -> Any:
    """What the naive baseline says of every row: the mean, or the most frequent class."""
    return float(answer[0]) if task.kind == "regression" else task.labels[int(answer[0].argmax())]


def _calibration(done: Finish, num_rows: int) -> dict[str, Any] | None:
    if done.calibrator is None:
        return None
    calibrator = done.calibrator
    return {
        "method": calibrator.method,
        "before": done.before,
        "after": done.after,
        "num_rows": num_rows,
        "sentence": calibrator.sentence,
    }


def _plan(bench: Bench, trials: Sequence[Trial], choice: Choice, done: Finish) -> list[str]:
    tried = [trial.candidate.name for trial in trials if trial.fitted]
    left = [
        f"{trial.candidate.name} ({trial.why})" for trial in trials if trial.status in ("skipped", "failed")
    ]
    sentences = [bench.split.sentence, f"Tried: {', '.join(tried)}."]
    sentences += [f"Not used: {'; '.join(left)}."] if left else []
    sentences.append(choice.sentence)
    if done.calibrator is not None:
        sentences.append(done.calibrator.sentence)
    if done.interval is not None:
        sentences.append(done.interval.sentence)
    sentences.append(
        f"The scores are from {len(bench.split.test):,} test rows that were used for nothing else."
    )
    return [sentence for sentence in sentences if sentence]


def _rules(predictor: Predictor) -> str | None:
    """The rules of a single decision tree, as text."""
    if len(predictor.members) != 1:
        return None
    member = predictor.members[0]
    printed = getattr(member.model, "rules", None)
    return (
        None if printed is None else printed(member.preprocessor.feature_names, list(predictor.task.labels))
    )


def _privacy(keeps_rows: bool, shows_rows: bool) -> str:
    parts = []
    if keeps_rows:
        parts.append(
            "The bundle stores rows of the training data (nearest neighbours or support vectors); "
            "--set evaluation.keep_rows=false leaves such models out."
        )
    if shows_rows:
        parts.append("This report shows rows of the data; --set evaluation.show_rows=false leaves them out.")
    return " ".join(parts) or "Neither the bundle nor this report holds rows of the data."
