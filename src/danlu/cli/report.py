"""Write a run's report again from its record, and say where it is.

danlu report NAME
"""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("run", help="a run's name or folder")
    parser.add_argument("--out", metavar="FILE", help="write it there instead of into the run's folder")


def run(options: argparse.Namespace) -> int:
    """Write the report."""
    from pathlib import Path

    from danlu.core.errors import UserError
    from danlu.report.page import write_report
    from danlu.run.folder import find_run, is_of_module

    folder = find_run(options.run)
    record = folder.read_record()
    if is_of_module(record):
        raise UserError(
            f"The run {folder.path} trained a torch module of a Python program, and reports are of tables. "
            f"What it did: danlu runs show {folder.path}; all of its numbers: {folder.path / 'record.json'}"
        )
    path = Path(options.out) if options.out else folder.report
    write_report(record, path)
    print(path)
    return 0
