"""Score a trained model on rows whose answer is known.

danlu evaluate runs/NAME/model.danlu test.csv --json
"""

from __future__ import annotations

import argparse

from danlu.core.files import dump_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", help="a model.danlu, or a run's name or folder")
    parser.add_argument("data", help="rows with the target column")
    parser.add_argument(
        "--group", action="append", default=[], metavar="COLUMN", help="scores for each value of a column too"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Score and print."""
    from danlu.bundle.read import load
    from danlu.cli.predict import model_path
    from danlu.run.scoring import evaluate
    from danlu.run.summary import columns_of_text, show

    result = evaluate(load(model_path(options.model)), options.data, groups=options.group)
    if options.json:
        print(dump_json(result))
        return 0
    print(
        f"{result['target']}: {result['rows']:,} rows"
        + (f", {result['left_out']:,} without a target left out" if result["left_out"] else "")
    )
    print(columns_of_text(("", "score", "95 % interval"), result["metrics"], result["intervals"]))
    for row in result["groups"]:
        shown = "  ".join(
            f"{name} {show(value)}" for name, value in list(row["metrics"].items())[:4] if value is not None
        )
        print(f"  {row['column']} = {row['value']} ({row['num_rows']:,} rows): {shown}")
    return 0
