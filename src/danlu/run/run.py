"""One run, in the order in which it happens: load, split, try, choose, refit, calibrate, test, bundle, report."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.core.checkpoint import Checkpoints
from danlu.core.device import choose_device
from danlu.core.duration import Deadline, parse_seconds
from danlu.core.errors import Interrupted, UserError
from danlu.core.findings import Finding
from danlu.core.ideas import Watcher
from danlu.core.interrupt import Interrupts
from danlu.core.runtime import environment, num_threads
from danlu.recipe.recipe import Recipe
from danlu.run.folder import Lock, RunFolder, differences, recipe_sha256
from danlu.run.result import Run

if TYPE_CHECKING:
    from danlu.bundle.predictor import Predictor
    from danlu.recipe.planning import Candidate
    from danlu.run.choosing import Choice
    from danlu.run.descent import Decisions
    from danlu.run.processes import Team
    from danlu.run.trial import Bench, Trial
    from danlu.watch.progress import Progress

FIT_SHARE = 0.55  # of the time that loading left: for trying candidates
REFIT_SHARE = 0.80  # of the budget: members that would be fitted again later are kept as they were tried
FIRST_SECONDS = 1.0
WRITE_SECONDS = 1.0  # kept for bundle and report, beside a twentieth of the budget


def make_run(
    recipe: Recipe,
    out: str | Path | RunFolder | None,
    started: float,
    progress: Progress,
    frames: Mapping[str, Any] | None,
    *,
    replayed: Lock | None = None,
    resumed: Lock | None = None,
    processes: int | None = None,
) -> Run:
    """The run of `recipe`; `replayed` is the lock of one that is made again, `resumed` of one that goes on."""
    interrupts = Interrupts()
    # Made before anything listens: a Ctrl-C between the two would be remembered and not obeyed.
    runner = _Runner(recipe, out, started, progress, replayed, resumed, frames or {}, interrupts)
    runner.num_processes = recipe.engine.processes if processes is None else processes
    with interrupts.listening():
        return runner.run()


class _Runner:
    """The state of a run while it goes on."""

    def __init__(
        self,
        recipe: Recipe,
        out: str | Path | RunFolder | None,
        started: float,
        progress: Progress,
        replayed: Lock | None,
        resumed: Lock | None,
        frames: Mapping[str, Any],
        interrupts: Interrupts,
    ) -> None:
        self.recipe, self.out, self.progress, self.frames = recipe, out, progress, frames
        self.started, self.interrupts, self.replayed = started, interrupts, replayed
        self.earlier = replayed or resumed
        self.budget = parse_seconds(recipe.budget)
        self.deadline = Deadline.after(self.budget, since=started)
        self.findings: list[Finding] = []
        self.said: set[str] = set()
        self.passed_over: list[
            Finding
        ] = []  # checkpoints; the model is the same, so its card does not say it
        self.lock = Lock(environment=environment(), recipe_sha256=recipe_sha256(recipe))
        if self.earlier is not None:
            self.lock.decisions = deepcopy(self.earlier.decisions)
        if resumed is not None:
            self.lock.fits, self.lock.fingerprint = deepcopy(resumed.fits), resumed.fingerprint
        self.made: RunFolder | None = None
        self.opened = ExitStack()
        self.num_processes = 1
        self.team: Team | None = None

    def run(self) -> Run:
        """Everything, in order; the run store is closed however it ends."""
        try:
            with self.opened:
                return self._run()
        except UserError:
            # What is refused before any model was fitted leaves no run behind.
            if self.made is not None and set(self.lock.fits) <= {"baseline"}:
                shutil.rmtree(self.made.path, ignore_errors=True)
            raise

    def _run(self) -> Run:
        trials: list[Trial] = []
        bench: Bench | None = None
        with self.interrupts.breakable():
            bench, candidates = self._prepare()
            self._try_out(bench, candidates, trials)
        if bench is None or not trials:
            raise Interrupted("Interrupted before any model was fitted; there is nothing to save.")
        from danlu.run.choosing import choose

        choice = choose(bench, trials, ensemble=self.recipe.ensemble == "auto")
        predictor = self._finish_model(bench, choice)
        return self._write(bench, trials, choice, predictor)

    def _prepare(self) -> tuple[Bench, list[Candidate]]:
        """Load and split the data, plan the candidates, open the run's folder."""
        from danlu.data.split import split
        from danlu.evaluate.metrics import default_metric, metrics_for
        from danlu.recipe.planning import plan
        from danlu.run.features import Features
        from danlu.run.fitting import Judge, check_recipe
        from danlu.run.loading import check_evaluation, check_weights, load_table, without, without_leaks
        from danlu.run.trial import Bench
        from danlu.watch.chosen import check_watchers
        from danlu.watch.store import RunStore

        recipe = self.recipe
        table = load_table(recipe, self.frames)
        check_evaluation(recipe.evaluation, table)
        asked = recipe.evaluation.metric
        metric = default_metric(table.task) if asked == "auto" else metrics_for(table.task, [asked])[0]
        parts = split(
            table.frame,
            without(table.schema, table.suspects),
            table.task,
            target=table.y,
            settings=recipe.split,
            seed=recipe.seed,
            test_rows=table.test_rows,
            row_numbers=table.row_numbers,
        )
        table = without_leaks(table, parts.development, keep=recipe.columns.keep)
        self.findings += [*table.findings, *parts.findings]
        candidates = plan(recipe, table.task, num_rows=len(table.y) - len(parts.test))
        fitted_rows = parts.folds[0][0] if parts.folds else parts.train
        check_recipe(
            recipe, table.task, candidates, num_rows=len(fitted_rows), num_processes=self.num_processes
        )
        check_watchers(recipe.engine.watch)
        if recipe.engine.device != "auto":
            choose_device(recipe.engine.device)  # refused before anything is written
        check_weights(table, parts, recipe.columns.weight)
        self._gather_team(candidates)
        if isinstance(self.out, RunFolder):
            self.folder = self.out
            if table.fingerprint != self.lock.fingerprint:
                raise UserError(f"{recipe.data} is not the data that {self.folder.path} began with.")
        else:
            self.made = self.folder = RunFolder.create(self.out, data=table.source.name, target=recipe.target)
            self.lock.fingerprint = table.fingerprint
            self.folder.write_recipe(recipe, fingerprint=table.fingerprint)
            self._write_lock()
        self.store = self.opened.enter_context(RunStore(self.folder.events))
        for finding in self.findings:
            self.store.add_finding(finding)
            if finding.severity != "info" and self.progress.say(f"{finding.severity}: {finding.message}"):
                self.said.add(finding.message)
        self.progress.say(f"{table.source.name}: {table.task.kind} of {recipe.target!r}; {parts.counts}")
        features = Features(table, recipe.preprocessing, seed=recipe.seed)
        judge = Judge(table.task, metric)
        bench = Bench(
            table,
            parts,
            recipe,
            features,
            judge,
            recipe.engine.threads if isinstance(recipe.engine.threads, int) else num_threads(),
            self._watchers,
            lambda name: Checkpoints(self.folder.checkpoints / name, warn=self._pass_over),
            self._decisions,
            self.team,
        )
        return bench, candidates

    def _gather_team(self, candidates: list[Candidate]) -> None:
        """Start the processes that fit together, where there are to be several."""
        if self.num_processes == 1 and self.recipe.engine.sharding == "ddp":
            return
        from danlu.run.processes import Team, check_processes

        check_processes(self.num_processes, candidates, self.recipe)
        self.team = Team(self.num_processes)
        self.opened.callback(self.team.close)

    def _pass_over(self, why: str) -> None:
        """Say that a damaged checkpoint is not used."""
        finding = Finding("damaged_checkpoint", "warning", why)
        self.passed_over.append(finding)
        self.store.add_finding(finding)
        if self.progress.say(f"warning: {why}"):
            self.said.add(why)

    def _watchers(self, name: str) -> list[Watcher]:
        from danlu.watch.chosen import watchers_of

        left = self.deadline.seconds_left
        shown = name.rpartition("/")[0]
        watchers = [self.store.watcher(name), self.progress.watcher(shown, seconds_left=left)]
        return [*watchers, *watchers_of(self.recipe.engine.watch, self.folder.path, part=name)]

    def _decisions(self, name: str) -> Decisions:
        from danlu.run.descent import Decisions

        taken = self.lock.decisions.get(name, {})

        def write() -> None:
            self.lock.decisions[name] = taken
            self._write_lock()

        return Decisions(taken, write)

    def _write_lock(self) -> None:
        self.lock.seconds = time.monotonic() - self.started
        self.folder.write_lock(self.lock)

    def _try_out(self, bench: Bench, candidates: list[Candidate], trials: list[Trial]) -> None:
        """Try the candidates one after the other within their share of the budget."""
        from danlu.run.fitting import is_by_gradient, load_libraries
        from danlu.run.trial import Trial

        end = Deadline.after(FIT_SHARE * max(self.deadline.seconds_left, 0))
        for number, candidate in enumerate(candidates):
            locked = None if self.earlier is None else self.earlier.fits.get(candidate.name)
            if self.replayed is not None and locked is None:
                trials.append(Trial(candidate, "skipped", "it was not tried in the run that is made again"))
                continue
            needed = _seconds_needed(candidate, trials)
            if locked is None and trials and number > 1 and (end.has_passed or needed > end.seconds_left):
                left = max(end.seconds_left, 0)
                why = (
                    f"it takes about {needed:.0f} s and {left:.0f} s are left for trying models"
                    if needed
                    else "no time was left"
                )
                trials.append(Trial(candidate, "skipped", why))
                continue
            load_libraries(candidate, self.recipe.training)
            if self.team is not None and is_by_gradient(candidate, self.recipe.training):
                self.team.join()
            # Twice an equal share: most fits end before it, and what one leaves the others may use.
            share = 2 * max(end.seconds_left, 0) / (len(candidates) - number)
            until = Deadline.after(share).earlier(end)
            if number == 1 and until.seconds_left < FIRST_SECONDS:  # a small fit is better than none
                until = Deadline.after(FIRST_SECONDS)
            trial = bench.try_out(candidate, until, locked=locked)
            trials.append(trial)
            if trial.status == "tried":
                self.lock.fits[candidate.name] = trial.ran
                self._write_lock()
            else:
                self.progress.say(f"  {candidate.name}: {trial.why}")

    def _finish_model(self, bench: Bench, choice: Choice) -> Predictor:
        """Fit the chosen models on all development rows; calibrate on rows that neither trained nor chose them."""
        from danlu.bundle.predictor import Predictor
        from danlu.run.choosing import final_members
        from danlu.run.finishing import finish

        rows = bench.split.development
        budget = 0 if self.interrupts.asked else self.budget * REFIT_SHARE
        deadline = Deadline.after(budget, since=self.started)
        locked = None if self.replayed is None else self.replayed.refitted
        members, self.lock.refitted, findings = final_members(
            bench, choice, rows, deadline, self.interrupts, locked=locked
        )
        self.findings += findings
        self.done = finish(bench, choice)
        self.findings += self.done.findings
        return Predictor(
            bench.table.task,
            self.recipe.target,
            bench.table.schema,
            tuple(members),
            calibrator=self.done.calibrator,
            interval=self.done.interval,
            threshold=self.done.cut,
        )

    def _write(self, bench: Bench, trials: list[Trial], choice: Choice, predictor: Predictor) -> Run:
        """Evaluate on the test rows, once, and write bundle, record and report."""
        from danlu.bundle.write import save
        from danlu.report.page import write_report
        from danlu.run.record import build_record, card_of
        from danlu.watch.pace import cost

        deadline = Deadline.after(
            2.0 if self.interrupts.asked else 0.95 * self.budget - WRITE_SECONDS,
            since=None if self.interrupts.asked else self.started,
        )
        record = build_record(
            bench,
            trials,
            choice,
            predictor,
            self.done,
            findings=self.findings,
            deadline=deadline,
            interrupts=self.interrupts,
            name=self.folder.path.name,
            budget=self.budget,
        )
        sample = bench.table.frame[bench.split.test[:200]]
        self.lock.model_sha256 = save(
            replace(predictor, card=card_of(record)), self.folder.model, check_rows=sample
        )
        if self.replayed is not None:
            self._compare(record)
        self._write_lock()
        record["findings"] += [finding.as_dict() for finding in self.passed_over]
        record["run"] |= {
            "seconds": time.monotonic() - self.started,
            "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        record["run"]["cost"] = cost(
            record["run"]["seconds"],
            num_devices=self.recipe.engine.processes,
            price_per_hour=self.recipe.engine.price_per_hour,
        )
        record["run"]["stop_reason"] = "interrupted" if self.interrupts.asked else None
        if self.team is not None:
            record["run"] |= self.team.as_dict()
        self.folder.write_record(record)
        write_report(record, self.folder.report)
        self.store.close()
        if self.team is not None:
            self.team.close(self.folder.path)
        shutil.rmtree(self.folder.checkpoints, ignore_errors=True)
        return Run(self.folder.path, record, self.interrupts.asked, frozenset(self.said))

    def _compare(self, record: dict[str, Any]) -> None:
        """Say whether a repeated run gave the same bits, and what differs where it did not."""
        assert self.replayed is not None
        changed = differences(
            self.replayed, fingerprint=self.lock.fingerprint, model_sha256=self.lock.model_sha256
        )
        if changed:
            message = (
                "This run repeats an earlier one but its model is not the same to the bit. What differs: "
                + "; ".join(changed)
                + "."
            )
            finding = Finding("not_reproduced", "warning", message)
        else:
            finding = Finding(
                "reproduced", "info", "This run repeats an earlier one, and its model is the same to the bit."
            )
        record["findings"].append(finding.as_dict())
        self.store.add_finding(finding)
        self.progress.say(finding.message)


def _seconds_needed(candidate: Candidate, trials: Sequence[Trial]) -> float:
    """The least time that makes a candidate worth starting: about what the same model took with other settings."""
    return 0.7 * max((t.seconds for t in trials if t.candidate.model == candidate.model), default=0.0)
