"""What a run left behind: the folder, the record, and how both are shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from danlu.bundle.predictor import Predictor


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
