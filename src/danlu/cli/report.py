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

    from danlu.report.page import write_report
    from danlu.run.folder import find_run

    folder = find_run(options.run)
    path = Path(options.out) if options.out else folder.report
    write_report(folder.read_record(), path)
    print(path)
    return 0
