"""Learn from a table: train, choose, evaluate and explain a model.

danlu train houses.csv --target price
danlu train adult.csv --target income --budget 2m --model boosting --model logistic
danlu train --recipe runs/NAME/recipe.yaml          the same run again, to the same bits
danlu train --resume runs/NAME                      go on with a run that was killed
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from danlu.cli import one_of
from danlu.core.files import dump_json

RESUMED = ("resume", "processes", "json", "quiet", "started", "verb")  # options beside --resume


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "data",
        nargs="?",
        help="a CSV, Parquet, Arrow, JSON lines, Excel or SQLite file, or sklearn/NAME, danlu/NAME",
    )
    parser.add_argument("--target", help="the column to predict")
    parser.add_argument(
        "--test", help="a file of test rows; without it a part of the data is kept for the test"
    )
    parser.add_argument(
        "--model", action="append", metavar="NAME", help="a model to try (see: danlu models); may be repeated"
    )
    parser.add_argument(
        "--task",
        type=one_of("regression", "classification"),
        help="predict a number (regression) or a class (classification)",
    )
    parser.add_argument("--metric", help="the score to choose by, with scikit-learn's name")
    parser.add_argument("--positive", help="of two classes, the one that matters")
    parser.add_argument(
        "--type", action="append", metavar="COLUMN=TYPE", help="set a column's type; may be repeated"
    )
    parser.add_argument(
        "--ignore",
        action="append",
        metavar="COLUMN",
        help="a column that the model must not see; may be repeated",
    )
    parser.add_argument(
        "--keep",
        action="append",
        metavar="COLUMN",
        help="use a column that danlu would leave out; may be repeated",
    )
    parser.add_argument(
        "--group", metavar="COLUMN", help="rows with one value here stay on one side of the split"
    )
    parser.add_argument(
        "--time", metavar="COLUMN", help="learn from the past, test on the future, by this column"
    )
    parser.add_argument("--weight", metavar="COLUMN", help="how much each row counts")
    parser.add_argument("--query", metavar="SQL", help="what to select from a SQLite file")
    parser.add_argument(
        "--recipe", metavar="FILE", help="a YAML recipe; options on the command line override it"
    )
    parser.add_argument(
        "--resume", metavar="RUN", help="go on with a run that was killed, from its newest checkpoint"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help='any setting of the recipe, like training.duration="60 epochs"',
    )
    parser.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help="processes that train a network together on shares of each batch (default 1); as torchrun does it",
    )
    parser.add_argument("--budget", help="wall time of the whole command, like 60s or 10m (default 60s)")
    parser.add_argument("--seed", type=int, help="everything random follows from it (default 0)")
    parser.add_argument("--out", metavar="DIR", help="the run's folder (default runs/NAME)")
    parser.add_argument("--json", action="store_true", help="print one JSON object with the result")
    parser.add_argument("--quiet", action="store_true", help="no progress on the error stream")


def run(options: argparse.Namespace) -> int:
    """Train and say what came of it."""
    from danlu.core.errors import UserError
    from danlu.core.process_ranks import launched_rank
    from danlu.run.start import train_recipe
    from danlu.watch.progress import Progress

    if options.resume:
        return resume(options)
    settings, replay = settings_of(options)
    if not settings.get("data") or not settings.get("target"):
        missing = "data and a target" if not settings.get("data") else "a target"
        raise UserError(
            f"danlu train needs {missing}: danlu train DATA --target COLUMN. See: danlu train --help"
        )
    progress = Progress(stream=sys.stderr, enabled=not options.quiet)
    result = train_recipe(
        settings, out=options.out, started=options.started, progress=progress, replay=replay
    )
    if launched_rank() == 0:  # under torchrun the others helped
        print(dump_json(result.as_dict()) if options.json else result.text())
    return 130 if result.interrupted else 0


def resume(options: argparse.Namespace) -> int:
    """Go on with a run that was killed."""
    from danlu.core.errors import UserError
    from danlu.core.process_ranks import launched_rank
    from danlu.run.start import resume_run
    from danlu.watch.progress import Progress

    named = vars(options)
    nothing: tuple[Any, ...] = (None, [])  # a seed of 0 is something
    given = [name for name in named if name not in RESUMED and named[name] not in nothing]
    if given:
        raise UserError(f"--resume keeps the recipe of its run; leave out: {', '.join(sorted(given))}.")
    progress = Progress(stream=sys.stderr, enabled=not options.quiet)
    result = resume_run(
        options.resume, started=options.started, progress=progress, processes=options.processes
    )
    if launched_rank() == 0:  # under torchrun the others helped
        print(dump_json(result.as_dict()) if options.json else result.text())
    return 130 if result.interrupted else 0


def settings_of(options: argparse.Namespace) -> tuple[dict[str, Any], str | None]:
    """Settings from a recipe file with the options over them, and the file where it is to be run as it is."""
    from danlu.recipe.yaml_file import apply_sets, read_yaml

    settings = read_yaml(options.recipe) if options.recipe else {}
    changes = {
        name: value
        for name in ("data", "target", "test", "task", "query", "budget", "seed")
        if (value := getattr(options, name)) is not None
    }
    settings |= changes
    if options.model:
        settings["models"] = options.model
    columns = {
        name: getattr(options, name) for name in ("ignore", "keep", "weight") if getattr(options, name)
    }
    if options.type:
        columns["types"] = dict(_pair(text) for text in options.type)
    evaluation = {
        name: value for name in ("metric", "positive") if (value := getattr(options, name)) is not None
    }
    engine = {} if options.processes is None else {"processes": options.processes}
    split = {name: value for name in ("group", "time") if (value := getattr(options, name)) is not None}
    for group, values in (
        ("columns", columns),
        ("evaluation", evaluation),
        ("split", split),
        ("engine", engine),
    ):
        own = settings.get(group) or {}
        if values and isinstance(own, dict):  # what is no group is refused with all else that is wrong
            settings[group] = own | values
    settings = apply_sets(settings, options.set)
    untouched = not (changes or options.model or columns or evaluation or split or engine or options.set)
    return settings, options.recipe if untouched else None


def _pair(text: str) -> tuple[str, str]:
    from danlu.core.errors import RecipeError

    column, equals, type_ = text.rpartition("=")
    if not equals:
        raise RecipeError(f"--type takes COLUMN=TYPE, like --type zip=category, got {text!r}.")
    return column, type_
