"""List, show, compare and delete runs.

danlu runs                   list
danlu runs show NAME         one run's result
danlu runs compare A B ...   scores side by side
danlu runs delete NAME
"""

from __future__ import annotations

import argparse
from typing import Any

from danlu.cli import one_of
from danlu.core.files import dump_json
from danlu.run.summary import show


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    verbs = ("list", "show", "compare", "delete")
    parser.add_argument("what", nargs="?", default="list", type=one_of(*verbs), help=", ".join(verbs))
    parser.add_argument("names", nargs="*", help="names or folders of runs")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Do what was asked."""
    from danlu.core.errors import UserError
    from danlu.run.folder import delete_run, find_run, is_of_module, list_runs
    from danlu.run.inspecting import module_facts, module_text
    from danlu.run.result import Run

    if options.what == "list":
        if options.names:
            raise UserError(
                f"danlu runs list lists all runs; {options.names[0]!r} is one word too many. "
                "One run: danlu runs show NAME"
            )
        rows = [_row(folder) for folder in list_runs()]
        print(
            dump_json(rows)
            if options.json
            else _text(rows) or "No runs yet. Make one: danlu train DATA --target COLUMN"
        )
        return 0
    folders = list({(folder := find_run(name)).path.resolve(): folder for name in options.names}.values())
    needed = 2 if options.what == "compare" else 1
    if len(folders) < needed:
        wanted = "two runs or more" if needed == 2 else "a run"
        raise UserError(f"danlu runs {options.what} needs the names of {wanted}. List them with: danlu runs")
    if options.what == "delete":
        for folder in folders:
            delete_run(folder)
            print(f"deleted {folder.path}")
        return 0
    records = [folder.read_record() for folder in folders]
    if options.what == "compare":
        names = [folder.path.name for folder in folders]
        if modules := [name for name, record in zip(names, records, strict=True) if is_of_module(record)]:
            raise UserError(
                f"danlu runs compare sets test scores of tables side by side; the run {modules[0]!r} trained a torch "
                f"module, which has none. Its own scores: danlu runs show {modules[0]}"
            )
        by_name = dict(
            zip(
                names if len(set(names)) == len(names) else map(str, (f.path for f in folders)),
                records,
                strict=True,
            )
        )
        print(dump_json(_side_by_side(by_name)) if options.json else _comparison(by_name))
        return 0
    for folder, record in zip(folders, records, strict=True):
        if is_of_module(record):
            facts = module_facts(folder)
            print(dump_json(facts) if options.json else module_text(facts))
            continue
        made = Run(folder.path, record)
        print(dump_json(made.as_dict()) if options.json else made.text())
    return 0


def _row(folder: Any) -> dict[str, Any]:
    from danlu.core.errors import UserError
    from danlu.run.folder import is_of_module

    row: dict[str, Any] = {
        "name": folder.path.name,
        "target": "",
        "task": "",
        "chosen": "did not finish",
        "metric": "",
        "test": None,
        "seconds": None,
    }
    try:
        record = folder.read_record()
    except UserError:
        return row
    if is_of_module(record):
        return row | {
            "task": "module",
            "chosen": record["model"]["class"],
            "metric": record["history"]["metric"],
            "seconds": record["run"]["seconds"],
        }
    metric = record["metric"]
    return row | {
        "target": record["target"],
        "task": record["task"],
        "chosen": record["chosen"]["name"],
        "metric": metric,
        "test": record["metrics"]["test"].get(metric),
        "seconds": record["run"]["seconds"],
    }


def _text(rows: list[dict[str, Any]]) -> str:
    lines = [["run", "target", "model", "metric", "test", "time"]]
    for row in rows:
        test = "" if row["test"] is None else show(row["test"])
        seconds = "" if row["seconds"] is None else f"{row['seconds']:.1f} s"
        lines.append([row["name"], row["target"], row["chosen"], row["metric"], test, seconds])
    return _aligned(lines) if rows else ""


def _side_by_side(records: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Metric -> run -> test score."""
    names = list(dict.fromkeys(name for record in records.values() for name in record["metrics"]["test"]))
    return {
        name: {run: record["metrics"]["test"].get(name) for run, record in records.items()} for name in names
    }


def _comparison(records: dict[str, dict[str, Any]]) -> str:
    rows = [
        [name, *[show(value) for value in by_run.values()]] for name, by_run in _side_by_side(records).items()
    ]
    all_ = list(records.values())
    same_rows = (
        len(
            {
                (record["data"]["fingerprint"], record["run"]["seed"], record["split"]["rows"]["test"])
                for record in all_
            }
        )
        == 1
    )
    note = (
        ""
        if same_rows
        else "\nThese runs were tested on different rows (other data, seed or split): compare with care."
    )
    facts = [
        ["model", *[record["chosen"]["name"] for record in all_]],
        ["seconds", *[f"{record['run']['seconds']:.1f}" for record in all_]],
    ]
    return _aligned([["test score", *records], *rows, *facts]) + note


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
