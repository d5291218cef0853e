"""The main job on built-in data: breast cancer, then ten houses; a report and a model of each.

danlu demo
"""

from __future__ import annotations

import argparse
import sys
import time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--out", metavar="DIR", help="where to put the runs (default runs/)")


def run(options: argparse.Namespace) -> int:
    """Train twice and predict once."""
    from pathlib import Path

    from danlu.run.start import train_recipe
    from danlu.watch.progress import Progress

    jobs = [("sklearn/breast_cancer", "target", "30s"), ("danlu/houses", "price", "10s")]
    for number, (data, target, budget) in enumerate(jobs):
        command = f"danlu train {data} --target {target} --budget {budget}"
        print(f"{'' if number == 0 else chr(10)}$ {command}", flush=True)
        out = Path(options.out) / data.replace("/", "-") if options.out else None
        settings = {"data": data, "target": target, "budget": budget}
        made = train_recipe(settings, out=out, started=time.monotonic(), progress=Progress(stream=sys.stderr))
        print(made.text())
        if made.interrupted:
            return 130
    print("\nNow your own: danlu train FILE.csv --target COLUMN")
    return 0
