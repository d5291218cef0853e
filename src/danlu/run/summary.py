"""A run's result in a few lines for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from danlu.run.result import Run

SHOWN = {
    "regression": ("r2", "rmse", "mae"),
    "binary": ("accuracy", "roc_auc", "f1", "log_loss"),
    "multiclass": ("accuracy", "balanced_accuracy", "log_loss"),
}


def summary(run: Run) -> str:
    """Scores with interval and baseline, findings, and where everything is."""
    record = run.record
    test, bounds, baseline = (
        record["metrics"]["test"],
        record["intervals"]["test"],
        record["baseline"]["test"],
    )
    level = record["recipe"]["evaluation"]["confidence"]
    names = [name for name in SHOWN[record["task"]] if test.get(name) is not None]
    rows = record["split"]["rows"]["test"]
    lines = [
        f"{record['target']}: {record['chosen']['name']}, tested on {rows:,} rows that were used for nothing else",
        columns_of_text(
            ("", "test", f"{100 * level:g} % interval", "baseline"),
            {name: test[name] for name in names},
            bounds,
            baseline,
        ),
    ]
    serious = [f for f in record["findings"] if f["severity"] != "info" and f["message"] not in run.said]
    lines += [f"  {finding['severity']}: {finding['message']}" for finding in serious[:6]]
    if len(serious) > 6:
        lines.append(f"  and {len(serious) - 6} more in the report")
    lines += [
        f"report   {run.report}",
        f"model    {run.folder / 'model.danlu'}",
        f"{record['run']['seconds']:.1f} s",
    ]
    return "\n".join(lines)


def columns_of_text(
    header: tuple[str, ...],
    scores: Mapping[str, Any],
    bounds: Mapping[str, Any],
    baseline: Mapping[str, Any] | None = None,
) -> str:
    """Scores with their intervals, and the baseline's beside them, as aligned text."""
    rows = [header]
    for name, value in scores.items():
        row = (name, show(value), _range(bounds.get(name)))
        rows.append(row if baseline is None else (*row, show(baseline.get(name))))
    widths = [max(len(row[place]) for row in rows) for place in range(len(header))]
    lines = [[cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)] for row in rows]
    return "\n".join(
        "  " + "  ".join([row[0].ljust(widths[0]), *cells]) for row, cells in zip(rows, lines, strict=True)
    )


def show(value: Any) -> str:
    """A score in about four figures, without powers of ten where a person can do without; `-` for none."""
    if value is None:
        return "-"
    if value != 0 and abs(value) < 1e-4:
        return "0.0000" if abs(value) < 5e-5 else f"{value:.1e}"
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"


def _range(bounds: Any) -> str:
    return "-" if not bounds else f"{show(bounds[0])} to {show(bounds[1])}"
