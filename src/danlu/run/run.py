"""One run, in the order in which it happens: load, split, try, choose, refit, calibrate, test, bundle, report."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.core.duration import Deadline, parse_seconds
from danlu.core.errors import Interrupted
from danlu.core.findings import Finding
from danlu.core.ideas import Watcher
from danlu.core.interrupt import Interrupts
from danlu.core.runtime import calm_threads, environment, num_threads
from danlu.recipe.recipe import IN_MEMORY, Recipe, resolve
from danlu.run.folder import Lock, RunFolder, differences, read_lock, recipe_sha256

if TYPE_CHECKING:
    from danlu.bundle.predictor import Predictor
    from danlu.recipe.planning import Candidate
    from danlu.run.choosing import Choice
    from danlu.run.trial import Bench, Trial
    from danlu.watch.progress import Progress

FIT_SHARE = 0.55  # of the time that loading left: for trying candidates
REFIT_SHARE = 0.80  # of the budget: members that would be fitted again later are kept as they were tried
FIRST_SECONDS = 1.0
WRITE_SECONDS = 1.0  # kept for bundle and report, beside a twentieth of the budget


@dataclass(frozen=True)
class Run:
    """What a run left behind."""

    folder: Path
    record: dict[str, Any] = field(repr=False)
    interrupted: bool = False
    said: frozenset[str] = field(default=frozenset(), repr=False)
    """Findings that progress has shown already."""

    @property
    def model(self) -> Predictor:
        """The trained model, read from its bundle."""
        from danlu.bundle.read import load

        return load(self.folder / "model.danlu")

    @property
    def report(self) -> Path:
        """The report, one HTML file."""
        return self.folder / "report.html"

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """Scores on train, validation and test rows."""
        return self.record["metrics"]

    def as_dict(self) -> dict[str, Any]:
        """What `danlu train --json` prints."""
        record = self.record
        return {
            "run": str(self.folder),
            "model": str(self.folder / "model.danlu"),
            "report": str(self.report),
            "task": record["task"],
            "chosen": record["chosen"]["name"],
            "metric": record["metric"],
            "metrics": record["metrics"],
            "intervals": record["intervals"],
            "baseline": record["baseline"]["test"],
            "rows": record["split"]["rows"],
            "findings": record["findings"],
            "seconds": record["run"]["seconds"],
        }

    def text(self) -> str:
        """The result in a few lines, for a terminal."""
        from danlu.run.summary import summary

        return summary(self)

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        from danlu.report.notebook import summary_html

        return summary_html(self.record, report=self.report)


def train(
    data: Any = None,
    target: str | None = None,
    *,
    test: Any = None,
    model: str | Sequence[Any] | None = None,
    recipe: str | Path | None = None,
    budget: str | float | None = None,
    seed: int | None = None,
    out: str | Path | None = None,
    progress: bool = False,
    **settings: Any,
) -> Run:
    """Train, choose, evaluate and explain a model for `target`, and write what a run leaves behind.

    `data` and `test` are files, `sklearn/NAME`, or frames (Polars, pandas, Arrow, a dictionary of columns). Further
    `settings` are the groups of a recipe: `split={...}`, `training={...}`, `evaluation={...}`, `columns={...}`.
    `recipe` is a YAML file whose settings hold where nothing else is said; alone, with the plan.lock of its run beside
    it, it makes that run again to the same bits. The same words on the command line give the same run.
    """
    from danlu.recipe.yaml_file import read_yaml
    from danlu.watch.progress import Progress

    tables = {name: value for name, value in (("data", data), ("test", test)) if value is not None}
    frames = {name: value for name, value in tables.items() if not isinstance(value, (str, Path))}
    named = {name: IN_MEMORY if name in frames else str(value) for name, value in tables.items()}
    named |= {"target": target, "models": model, "budget": budget, "seed": seed}
    given = {name: value for name, value in named.items() if value is not None} | settings
    return train_recipe(
        given if recipe is None else read_yaml(recipe) | given,
        out=out,
        started=time.monotonic(),
        progress=Progress(enabled=progress),
        replay=str(recipe) if recipe is not None and not given else None,
        frames=frames,
    )


def train_recipe(
    settings: Mapping[str, Any],
    *,
    out: str | Path | None,
    started: float,
    progress: Progress,
    replay: str | None = None,
    frames: Mapping[str, Any] | None = None,
) -> Run:
    """Run a recipe. `replay` is the recipe file of a run that is to be made again to the same bits."""
    calm_threads()
    recipe = resolve(settings)
    lock = read_lock(replay) if replay else None
    if lock is not None and (why := lock.why_not_again(recipe)):
        progress.say(f"{why} This is a new run.")
        lock = None
    interrupts = Interrupts()
    # Made before anything listens: a Ctrl-C between the two would be remembered and not obeyed.
    runner = _Runner(recipe, out, started, progress, lock, frames or {}, interrupts)
    with interrupts.listening():
        return runner.run()


class _Runner:
    """The state of a run while it goes on."""

    def __init__(
        self,
        recipe: Recipe,
        out: str | Path | None,
        started: float,
        progress: Progress,
        lock: Lock | None,
        frames: Mapping[str, Any],
        interrupts: Interrupts,
    ) -> None:
        self.recipe, self.out, self.progress, self.frames = recipe, out, progress, frames
        self.started, self.interrupts, self.replayed = started, interrupts, lock
        self.budget = parse_seconds(recipe.budget)
        self.deadline = Deadline.after(self.budget, since=started)
        self.findings: list[Finding] = []
        self.said: set[str] = set()
        self.lock = Lock(environment=environment(), recipe_sha256=recipe_sha256(recipe))
        self.opened = ExitStack()

    def run(self) -> Run:
        """Everything, in order; the run store is closed however it ends."""
        with self.opened:
            return self._run()

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
        from danlu.run.fitting import Judge, check_training
        from danlu.run.loading import check_evaluation, check_weights, load_table, without, without_leaks
        from danlu.run.trial import Bench
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
        check_training(recipe.training, candidates)
        check_weights(table, parts, recipe.columns.weight)
        self.folder = RunFolder.create(self.out, data=table.source.name, target=recipe.target)
        self.lock.fingerprint = table.fingerprint
        self.folder.write_recipe(recipe, fingerprint=table.fingerprint)
        self.folder.write_lock(self.lock)
        self.store = self.opened.enter_context(RunStore(self.folder.events))
        for finding in self.findings:
            self.store.add_finding(finding)
            if finding.severity != "info" and self.progress.say(f"{finding.severity}: {finding.message}"):
                self.said.add(finding.message)
        self.progress.say(f"{table.source.name}: {table.task.kind} of {recipe.target!r}; {parts.counts}")
        features = Features(table, recipe.preprocessing, seed=recipe.seed)
        judge = Judge(table.task, metric)
        return Bench(table, parts, recipe, features, judge, num_threads(), self._watchers), candidates

    def _watchers(self, name: str) -> list[Watcher]:
        left = self.deadline.seconds_left
        return [self.store.watcher(name), self.progress.watcher(name, seconds_left=left)]

    def _try_out(self, bench: Bench, candidates: list[Candidate], trials: list[Trial]) -> None:
        """Try the candidates one after the other within their share of the budget."""
        from danlu.run.fitting import load_libraries
        from danlu.run.trial import Trial

        end = Deadline.after(FIT_SHARE * max(self.deadline.seconds_left, 0))
        for number, candidate in enumerate(candidates):
            locked = None if self.replayed is None else self.replayed.fits.get(candidate.name)
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
            # Twice an equal share: most fits end before it, and what one leaves the others may use.
            share = 2 * max(end.seconds_left, 0) / (len(candidates) - number)
            until = Deadline.after(share).earlier(end)
            if number == 1 and until.seconds_left < FIRST_SECONDS:  # a small fit is better than none
                until = Deadline.after(FIRST_SECONDS)
            trial = bench.try_out(candidate, until, locked=locked)
            trials.append(trial)
            if trial.status == "tried":
                self.lock.fits[candidate.name] = trial.ran
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
        self.folder.write_lock(self.lock)
        record["run"] |= {
            "seconds": time.monotonic() - self.started,
            "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        }
        record["run"]["stop_reason"] = "interrupted" if self.interrupts.asked else None
        self.folder.write_record(record)
        write_report(record, self.folder.report)
        self.store.close()
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
