"""Answer for new rows with a trained model; files larger than memory go through piece by piece.

danlu predict runs/NAME/model.danlu new.csv --out answers.csv
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("model", help="a model.danlu, or a run's name or folder")
    parser.add_argument("data", help="rows to answer for, as for danlu train")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="where to write (.csv, .parquet, .jsonl, .arrow); default: CSV on standard output",
    )
    parser.add_argument(
        "--keep",
        action="append",
        default=[],
        metavar="COLUMN",
        help="copy a column of the data, such as an identifier; may be repeated",
    )
    parser.add_argument("--no-probabilities", action="store_true", help="only the predicted class")
    parser.add_argument("--interval", action="store_true", help="the prediction interval of a regression too")
    parser.add_argument(
        "--residuals",
        action="store_true",
        help="observed minus predicted too, where the data hold the target",
    )


def run(options: argparse.Namespace) -> int:
    """Predict and write."""
    from danlu.bundle.read import load
    from danlu.core.errors import UserError
    from danlu.run.predicting import predict_file, write_answers

    predictor = load(model_path(options.model))
    if options.no_probabilities and predictor.task.kind == "regression":
        raise UserError("--no-probabilities is for classes; this model predicts a number.")
    pieces = predict_file(
        predictor,
        options.data,
        keep=options.keep,
        probabilities=not options.no_probabilities,
        interval=options.interval,
        residuals=options.residuals,
    )
    num_rows = write_answers(pieces, Path(options.out) if options.out else None)
    if options.out:
        print(f"{num_rows:,} rows written to {options.out}", file=sys.stderr)
    return 0


def model_path(name: str) -> Path:
    """The bundle that a path or a run's name means."""
    from danlu.core.errors import UserError
    from danlu.run.folder import find_run, holds_module

    path = Path(name)
    if path.suffix == ".danlu":
        return path
    folder = find_run(name)
    if holds_module(folder):
        raise UserError(
            f"The run {folder.path} trained a torch module, which only its Python program can build again; its "
            f"weights are in {folder.path / 'model.safetensors'}, for "
            "module.load_state_dict(safetensors.torch.load_file(...))."
        )
    return folder.model
