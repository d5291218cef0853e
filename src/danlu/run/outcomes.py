"""What the result itself says: no better than the baseline, overfitted, diverged, stopped early."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from danlu.core.findings import Finding
from danlu.core.loop import Outcome
from danlu.evaluate.metrics import metric
from danlu.run.summary import show
from danlu.run.trial import Bench, Trial

FULL_GAP = 0.5  # of what the baseline loses to the training score: half of the apparent skill is then memory


def findings_of_result(
    bench: Bench,
    trials: Sequence[Trial],
    metrics: Mapping[str, Any],
    baseline: Mapping[str, Any],
    bounds: Mapping[str, Any],
) -> list[Finding]:
    """Findings from the scores of a run; they explain and choose nothing."""
    found = [_diverged(bench, trial.candidate.name, broken) for trial in trials if (broken := _broken(trial))]
    found += [finding for trial in trials if trial.fitted for finding in trial.fitted[0].findings]
    found += [
        _failed(trial) for trial in trials if bench.recipe.models and trial.status in ("failed", "skipped")
    ]
    found += [finding for trial in trials[1:] if (finding := _below_baseline(bench, trial, trials[0]))]
    found += _beside_baseline(
        bench, metrics["test"], baseline["test"], bounds, is_cut_short=any(map(_is_cut_short, trials))
    )
    if any(trial.status in ("chosen", "member") and trial.candidate.model != "baseline" for trial in trials):
        found += _memorised(bench, metrics, baseline)
    return found


def _below_baseline(bench: Bench, trial: Trial, baseline: Trial) -> Finding | None:
    """A network that is worse than no model at all: its training went wrong, whatever the columns say."""
    metric, name = bench.judge.metric, trial.candidate.name
    by_steps = trial.fitted and trial.fitted[0].memory is not None
    if not by_steps or trial.score is None or baseline.score is None:
        return None
    if not metric.better(baseline.score, trial.score):
        return None
    return Finding(
        "worse_than_baseline",
        "warning",
        f"{name} has a {metric.name} of {trial.score:.4g} on rows that it did not see, worse than the baseline's "
        f"{baseline.score:.4g}: its training went wrong. Mostly the learning rate is too large, or the training too "
        "short.",
        {"score": trial.score, "baseline": baseline.score},
        (
            "a learning rate that is tested first: --set training.learning_rate=range_test",
            "more steps: --set 'training.duration=100 epochs'",
        ),
    )


def _failed(trial: Trial) -> Finding:
    """A model that was asked for by name and is not there."""
    name = trial.candidate.name
    return Finding(
        "not_fitted",
        "warning",
        f"{name} was asked for but is not among the results: {trial.why}",
        remedies=("a larger --budget",),
    )


def _is_cut_short(trial: Trial) -> bool:
    """Whether more time would have let this candidate go further."""
    return trial.status == "skipped" or any(fitted.outcome.reason == "out of time" for fitted in trial.fitted)


def _broken(trial: Trial) -> Outcome | None:
    """How the first fit ended whose loss was no longer a finite number."""
    return next((fitted.outcome for fitted in trial.fitted if fitted.outcome.fault), None)


def _diverged(bench: Bench, name: str, outcome: Outcome) -> Finding:
    rate = bench.recipe.training.learning_rate
    return Finding(
        "diverged",
        "problem",
        f"{name} broke down: {outcome.fault}. Mostly each step overshot the minimum by more than the one before.",
        {"step": outcome.position.step, "learning_rate": rate},
        (
            "a smaller step: --set training.learning_rate=0.001",
            "scaled columns: --set preprocessing.scaling=standard",
            "shorter gradients: --set training.clip_norm=1",
        ),
    )


def _beside_baseline(
    bench: Bench,
    test: Mapping[str, Any],
    base: Mapping[str, Any],
    bounds: Mapping[str, Any],
    *,
    is_cut_short: bool,
) -> list[Finding]:
    name = bench.judge.metric.name
    score, floor, interval = test.get(name), base.get(name), bounds.get(name)
    if score is None or floor is None:
        return []
    better = metric(name).better(score, floor)
    clear = interval is not None and not interval[0] <= floor <= interval[1]
    if better and (clear or interval is None):
        return []
    verdict = "is no better than" if not better else "cannot be told from"
    remedies = ["more rows", "columns that know more about the target"]
    if bench.recipe.models:
        remedies.insert(0, "leave --model out, or name one that bends, such as svm or boosting")
    if is_cut_short:
        remedies.append("a longer --budget")
    return [
        Finding(
            "no_skill",
            "problem" if not better else "warning",
            f"On the test rows the model {verdict} the naive baseline ({name} {show(score)} against {show(floor)}): "
            "the columns may say little about the target, or there are too few rows to tell.",
            {"metric": name, "model": score, "baseline": floor, "interval": interval},
            tuple(remedies),
        )
    ]


def _memorised(bench: Bench, metrics: Mapping[str, Any], baseline: Mapping[str, Any]) -> list[Finding]:
    name = bench.judge.metric.name
    seen, unseen, floor = metrics["train"].get(name), metrics["test"].get(name), baseline["test"].get(name)
    if seen is None or unseen is None or floor is None or seen == floor:
        return []
    # 0: as good on new rows; 1: no better than the baseline on new rows
    share = (seen - unseen) / (seen - floor)
    if share < FULL_GAP or not metric(name).better(seen, unseen):
        return []
    return [
        Finding(
            "overfit",
            "warning",
            f"Much of the skill on training rows does not carry over: {name} {show(seen)} there, "
            f"{show(unseen)} on test rows, "
            f"{show(floor)} by the naive baseline.",
            {"train": seen, "test": unseen, "baseline": floor, "share_lost": share},
            ("more rows", "a simpler model (see: danlu models)", "fewer columns: --ignore COLUMN"),
        )
    ]
