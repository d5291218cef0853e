"""The folder of a run: recipe.yaml, plan.lock, events, record.json, report.html and model.danlu."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from danlu.core.errors import RecipeError, UserError, closest
from danlu.core.files import disk_errors, dump_json, write_atomic, write_json
from danlu.core.runtime import environment
from danlu.recipe.recipe import Recipe, as_plain
from danlu.recipe.yaml_file import dump_yaml, read_yaml

RUNS = Path("runs")


@dataclass
class Lock:
    """What the clock decided in a run, so that the same run can be made again without a clock."""

    fits: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    """Candidate -> steps that each of its fits took (one fit, or one a fold); a candidate not named was not tried."""
    decisions: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    """CANDIDATE/FOLD -> what was measured for that fit before it began: how its steps are run, its learning rate."""
    seconds: float = 0.0
    """Wall time that had been used when this was written; a resumed run has the rest of its budget."""
    refitted: list[str] = field(default_factory=list[str])
    """Members that were fitted again on all development rows."""
    environment: dict[str, Any] = field(default_factory=dict[str, Any])
    fingerprint: str = ""
    """SHA-256 over the data's content."""
    model_sha256: str = ""
    """SHA-256 of the bundle that came out; empty until there is one."""
    recipe_sha256: str = ""
    """SHA-256 of the resolved recipe that this lock belongs to."""

    def why_not_again(self, recipe: Recipe) -> str:
        """Why a run of `recipe` cannot be this run made again; empty where it can."""
        if not self.model_sha256:
            return "The run of this recipe did not finish, so there is nothing to repeat."
        if self.recipe_sha256 != recipe_sha256(recipe):
            return "This recipe was changed after its run."
        return ""

    def changed_environment(self) -> list[str]:
        """What of this machine and its packages is no longer as it was."""
        now = environment()
        return [
            f"{name}: {self.environment.get(name)} then, {now.get(name)} now"
            for name in now
            if self.environment.get(name) != now.get(name)
        ]


@dataclass(frozen=True)
class RunFolder:
    """Where a run keeps what it leaves behind."""

    path: Path

    @classmethod
    def create(cls, out: str | Path | None, *, data: str, target: str) -> RunFolder:
        """A new folder: `out`, or runs/DATA-TARGET-TIME."""
        if out is not None:
            path = Path(out)
            if (path / "recipe.yaml").exists():
                raise UserError(
                    f"{path} already holds a run. Choose another --out, or delete it: danlu runs delete {path}"
                )
        else:
            stem = re.sub(r"[^\w.-]+", "-", f"{Path(data).stem}-{target}").strip("-")[:60] or "run"
            base = RUNS / f"{stem}-{datetime.now():%Y%m%d-%H%M%S}"
            path = next(
                p for n in range(1, 1000) if not (p := base if n == 1 else Path(f"{base}-{n}")).exists()
            )
        with disk_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        return cls(path)

    @property
    def checkpoints(self) -> Path:
        """What unfinished fits need to go on after a kill; empty once the run is finished."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The bundle."""
        return self.path / "model.danlu"

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / "report.html"

    @property
    def events(self) -> Path:
        """The run store."""
        return self.path / "events.sqlite"

    def write_recipe(self, recipe: Recipe, *, fingerprint: str) -> None:
        """The resolved recipe, every default written out, with what it ran on as comments."""
        facts = {"data fingerprint (SHA-256)": fingerprint, **environment()}
        header = "".join(f"# {name}: {value}\n" for name, value in facts.items())
        text = (
            "# Run it again with: danlu train --recipe recipe.yaml\n" + header + dump_yaml(as_plain(recipe))
        )
        write_atomic(self.path / "recipe.yaml", text)

    def write_lock(self, lock: Lock) -> None:
        """What the clock decided."""
        write_json(self.path / "plan.lock", vars(lock))

    def write_record(self, record: Mapping[str, Any]) -> None:
        """The run's record, from which the report is made."""
        write_json(self.path / "record.json", record)

    def read_record(self) -> dict[str, Any]:
        """The record of a finished run."""
        return _read_json(self.path / "record.json", what="run")


def is_of_module(record: Mapping[str, Any]) -> bool:
    """Whether a record is that of a torch module, trained by a Python program, and not that of a table."""
    return record.get("kind") == "module"


def holds_module(folder: RunFolder) -> bool:
    """The same of a run that may not be finished, by its recipe."""
    settings = read_yaml(folder.path / "recipe.yaml")
    return "model" in settings and "data" not in settings


def find_run(name: str | Path) -> RunFolder:
    """The run with this name or path."""
    for path in (Path(name), RUNS / name):
        if (path / "recipe.yaml").is_file():
            return RunFolder(path)
    if (
        Path(name).name in ("model.danlu", "report.html", "recipe.yaml")
        and (Path(name).parent / "recipe.yaml").is_file()
    ):
        return RunFolder(Path(name).parent)
    names = [run.path.name for run in list_runs()]
    raise UserError(f"There is no run {str(name)!r}.{closest(str(name), names)} List them with: danlu runs")


def list_runs() -> list[RunFolder]:
    """The runs below ./runs, oldest first."""
    found = [path.parent for path in RUNS.glob("*/recipe.yaml")] if RUNS.is_dir() else []
    return [
        RunFolder(path) for path in sorted(found, key=lambda path: (path / "recipe.yaml").stat().st_mtime)
    ]


def delete_run(folder: RunFolder) -> None:
    """Remove a run's folder with all that is in it."""
    with disk_errors(folder.path):
        shutil.rmtree(folder.path)


def read_lock(recipe_file: str | Path) -> Lock | None:
    """The lock beside a run's recipe, or None for a recipe that has not been run."""
    path = Path(recipe_file).with_name("plan.lock")
    if not path.is_file():
        return None
    value = _read_json(path, what="plan.lock")
    unknown = set(value) - set(vars(Lock()))
    if unknown:
        raise RecipeError(
            f"{path} holds {sorted(unknown)}, which this version of danlu does not know. "
            "Run the recipe from another folder."
        )
    return Lock(**value)


def differences(lock: Lock, *, fingerprint: str, model_sha256: str) -> list[str]:
    """Why a repeated run did not give the same bits, as far as can be told; empty where it did."""
    if model_sha256 == lock.model_sha256:
        return []
    changed = lock.changed_environment()
    if fingerprint != lock.fingerprint:
        changed.insert(0, f"the data: fingerprint {lock.fingerprint[:12]} then, {fingerprint[:12]} now")
    return changed or ["nothing that danlu records differs; please report this as a bug of danlu"]


def recipe_sha256(recipe: Recipe) -> str:
    """SHA-256 of a resolved recipe."""
    return hashlib.sha256(dump_json(as_plain(recipe)).encode()).hexdigest()


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_json(path: Path, *, what: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"The run in {path.parent} did not finish: it has no {path.name}. "
            f"Go on with it: danlu train --resume {path.parent}"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"The {what} file {path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise UserError(f"The {what} file {path} does not hold what danlu writes there.")
    return value
