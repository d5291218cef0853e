"""Show what a data file or a model holds.

danlu inspect houses.csv
danlu inspect runs/NAME/model.danlu
"""

from __future__ import annotations

import argparse
from pathlib import Path

from danlu.core.files import dump_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("what", help="a data file, a built-in set, a model.danlu, or a run's name")
    parser.add_argument(
        "--target", help="for data: also what danlu would predict and what it notices about it"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Print what is there."""
    from danlu.core.errors import UserError
    from danlu.run.folder import RUNS, find_run, holds_module
    from danlu.run.inspecting import data_facts, data_text, model_facts, model_text, module_facts, module_text

    is_run = any((folder / "recipe.yaml").is_file() for folder in (Path(options.what), RUNS / options.what))
    if options.what.endswith(".danlu") or is_run:
        if options.target is not None:
            raise UserError(f"--target is for data; the model {options.what} knows its target.")
        if is_run and holds_module(find_run(options.what)):
            facts = module_facts(find_run(options.what))
            print(dump_json(facts) if options.json else module_text(facts))
            return 0
        from danlu.bundle.read import load
        from danlu.cli.predict import model_path

        facts = model_facts(load(model_path(options.what)))
        print(dump_json(facts) if options.json else model_text(facts))
        return 0
    facts = data_facts(options.what, target=options.target)
    print(dump_json(facts) if options.json else data_text(facts))
    return 0
