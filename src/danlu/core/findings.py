"""A finding: one thing that a run noticed, with the evidence for it and what to try."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Severity = Literal["info", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """Something that the person should know about the data, the run or the model."""

    code: str
    """Short stable name of the kind of finding, for example `leak`."""
    severity: Severity
    """`info`: good to know; `warning`: may cost quality; `problem`: the result cannot be trusted as it is."""
    message: str
    """One or two sentences for a person: what was seen and what danlu did about it."""
    evidence: dict[str, Any] = field(default_factory=dict[str, Any])
    """The numbers behind the message, as plain JSON values."""
    remedies: tuple[str, ...] = ()
    """What to try, best first, in words that a recipe or a command understands."""
    columns: tuple[str, ...] = ()
    """The columns that it is about."""
    rows: tuple[int, ...] = ()
    """The first rows that it is about; 1 is the first row of data."""

    def as_dict(self) -> dict[str, Any]:
        """The finding as plain JSON values."""
        return asdict(self) | {
            "remedies": list(self.remedies),
            "columns": list(self.columns),
            "rows": [int(row) for row in self.rows],
        }
