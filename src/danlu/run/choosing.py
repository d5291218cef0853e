"""Which candidates make the model, with which weights, and what is done to their answers. Test rows play no part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from danlu.bundle.predictor import Member, blend
from danlu.core.duration import Deadline
from danlu.core.errors import DanluError, Interrupted
from danlu.core.findings import Finding
from danlu.core.interrupt import Interrupts
from danlu.core.seeds import derive
from danlu.evaluate.ensemble import Loss, select
from danlu.run.trial import Bench, Trial, with_length

LOSS_OF: dict[str, Loss] = {
    **dict.fromkeys(("r2", "rmse", "mse"), "squared_error"),
    **dict.fromkeys(("mae", "mape", "median_absolute_error"), "absolute_error"),
}
"""The loss by which an average is put together for a metric; scores of classes go by log loss."""


@dataclass
class Choice:
    """What was chosen on the choice rows, and what it answers for development rows that it was not fitted on."""

    trials: list[Trial]
    """The chosen candidates."""
    weights: list[float]
    sentence: str
    unseen: np.ndarray
    """Blended answers for the rows that `rows` names, in rising order."""
    rows: np.ndarray

    def at(self, rows: np.ndarray) -> np.ndarray:
        """Blended answers for some of the development rows."""
        return self.unseen[np.searchsorted(self.rows, rows)]


def choose(bench: Bench, trials: Sequence[Trial], *, ensemble: bool) -> Choice:
    """The best candidate by the run's metric on the choice rows, or an average of several where it is better."""
    rows = bench.split.choice
    usable = [trial for trial in trials if trial.status == "tried" and trial.unseen is not None]
    if not usable:
        raise Interrupted("Stopped before any model was fitted; there is nothing to save.")
    answers = {trial.candidate.name: unseen_at(trial, rows) for trial in usable}
    weight, y = bench.table.weights(rows), bench.table.y[rows]
    for trial in usable:
        trial.score = bench.judge.score(y, answers[trial.candidate.name], weight)
    metric = bench.judge.metric
    best = usable[0]
    for trial in usable[1:]:
        best = trial if metric.better(trial.score, best.score) else best
    picked = {best.candidate.name: 1.0}
    skilled = {
        trial.candidate.name: answers[trial.candidate.name]
        for trial in usable
        if trial.candidate.model != "baseline"
    }
    if ensemble and len(skilled) > 1 and best.candidate.model != "baseline":
        shares = select(
            skilled,
            y,
            LOSS_OF.get(metric.name, "log_loss"),
            weight=weight,
            seed=derive(bench.recipe.seed, "ensemble"),
        )
        # Put together by a loss that averages well, it still has to be better by the metric that was asked for.
        together = blend([skilled[name] for name in shares], list(shares.values()))
        if metric.better(bench.judge.score(y, together, weight), best.score):
            picked = shares
    chosen = [trial for trial in usable if trial.candidate.name in picked]
    for trial in chosen:
        trial.status = "chosen" if len(chosen) == 1 else "member"
    weights = [picked[trial.candidate.name] for trial in chosen]
    all_rows = np.sort(chosen[0].rows)
    unseen = blend([unseen_at(trial, all_rows) for trial in chosen], weights)
    return Choice(chosen, weights, _sentence(chosen, weights, metric.name, len(rows)), unseen, all_rows)


def unseen_at(trial: Trial, rows: np.ndarray) -> np.ndarray:
    """A candidate's answers for development rows that it was not fitted on."""
    assert trial.unseen is not None
    order = np.argsort(trial.rows)
    return trial.unseen[order[np.searchsorted(trial.rows[order], rows)]]


def final_members(
    bench: Bench,
    choice: Choice,
    rows: np.ndarray,
    deadline: Deadline,
    interrupts: Interrupts,
    *,
    locked: Sequence[str] | None,
) -> tuple[list[Member], list[str], list[Finding]]:
    """The members of the model: fitted again on all of `rows` where time allows, else as they were tried.

    A candidate tried fold by fold and not fitted again gives all its fold models, with equal shares. `locked` names
    the members that were fitted again in the run that is made again. Also returns the names of those fitted again.
    """
    members: list[Member] = []
    refitted: list[str] = []
    findings: list[Finding] = []
    for trial, weight in zip(choice.trials, choice.weights, strict=True):
        name = trial.candidate.name
        wanted = bench.recipe.refit if locked is None else name in locked
        until = deadline if locked is None else Deadline()
        member, why = _refit(bench, trial, rows, until, interrupts) if wanted else (None, "")
        if member is not None:
            members.append(replace(member, weight=weight))
            refitted.append(name)
            continue
        findings += [_not_refitted(name, why, trial)] if why else []
        members += [replace(member, weight=weight / len(trial.members)) for member in trial.members]
    return members, refitted, findings


def _refit(
    bench: Bench, trial: Trial, rows: np.ndarray, deadline: Deadline, interrupts: Interrupts
) -> tuple[Member | None, str]:
    """The candidate fitted on all of `rows`, or None and why not."""
    expected = _seconds_to_refit(bench, trial, len(rows))
    if interrupts.asked:
        return None, "you asked to stop"
    if expected > deadline.seconds_left:
        return (
            None,
            f"it would take about {expected:.0f} s and {max(deadline.seconds_left, 0):.0f} s are left",
        )
    with interrupts.breakable():
        try:
            member, fitted = bench.refit(with_length(trial.candidate, trial.length), rows, deadline)
        except (DanluError, MemoryError) as error:
            return None, f"it failed ({type(error).__name__}: {error})"
        late = fitted.outcome.reason == "out of time"
        return (None, "it took longer than expected") if late else (member, "")
    return None, "you asked to stop"


def _seconds_to_refit(bench: Bench, trial: Trial, num_rows: int) -> float:
    if not bench.split.folds:
        return 1.3 * trial.seconds * num_rows / max(len(bench.split.train), 1)
    return 1.3 * trial.seconds / len(trial.fitted) * num_rows / max(len(bench.split.folds[0][0]), 1)


def _not_refitted(name: str, why: str, trial: Trial) -> Finding:
    stays = (
        "The model fitted on the training rows is kept"
        if len(trial.members) == 1
        else f"Its {len(trial.members)} fold models are kept"
    )
    return Finding(
        "not_refitted",
        "info",
        f"{name} was not fitted again on all development rows: {why}. {stays}.",
        remedies=("a larger --budget",),
    )


def _sentence(chosen: list[Trial], weights: list[float], metric: str, num_rows: int) -> str:
    if len(chosen) == 1:
        return f"{chosen[0].candidate.name} has the best {metric} on the {num_rows:,} rows kept for choosing."
    shares = ", ".join(
        f"{trial.candidate.name} {weight:.0%}" for trial, weight in zip(chosen, weights, strict=True)
    )
    rows = f"the {num_rows:,} rows kept for choosing"
    return f"An average of {len(chosen)} models has the best {metric} on {rows}: {shares}."
