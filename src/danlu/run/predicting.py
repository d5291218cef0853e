"""Answers for files: piece by piece, with identifiers kept, written so that nothing half-done is left behind."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from danlu.bundle.predictor import Prediction, Predictor
from danlu.core.errors import DataError, UserError, closest
from danlu.core.files import write_stream
from danlu.data.target import target_values

if TYPE_CHECKING:
    import polars as pl


def predict_file(
    predictor: Predictor,
    source: Any,
    *,
    keep: Sequence[str] = (),
    probabilities: bool = True,
    interval: bool = False,
    residuals: bool = False,
) -> Iterator[pl.DataFrame]:
    """Frames of answers for `source`, in the order of its rows.

    Columns: those in `keep`, the target's name with the prediction, then `probability_LABEL` for classes, and where
    asked for `TARGET_low` and `TARGET_high`, and `TARGET_residual` (observed minus predicted).
    """
    from danlu.data.schema import conform
    from danlu.data.sources import chunks

    if interval and predictor.task.kind != "regression":
        raise UserError(
            "--interval is for predicted numbers; this model predicts classes, whose probabilities are written anyway."
        )
    for given in chunks(source):
        frame, _ = conform(given, predictor.schema)
        for name in keep:
            if name not in frame.columns:
                raise DataError(f"There is no column {name!r} to keep.{closest(name, frame.columns)}")
        prediction = predictor.predict_frame(frame)
        answers = predictor.as_frame(prediction, probabilities=probabilities, interval=interval)
        kept = frame.select(list(keep)).rename(
            {predictor.target: f"observed_{predictor.target}"}, strict=False
        )  # the column of that name holds the answers
        both = set(kept.columns) & set(answers.columns)
        if both:
            raise UserError(
                f"--keep {sorted(both)[0]} has the name of a column of answers. Rename it in the data first."
            )
        if residuals:
            answers = answers.with_columns(residual_column(predictor, frame, prediction))
        yield answers if not keep else kept.hstack(answers)


def residual_column(predictor: Predictor, frame: pl.DataFrame, prediction: Prediction) -> pl.Series:
    """Observed minus predicted: numbers of a regression, 1 - probability of the observed class for classes."""
    import polars as pl

    if predictor.target not in frame.columns:
        raise DataError(
            f"Residuals need the observed values, and the data have no column {predictor.target!r}."
        )
    known, observed = target_values(frame[predictor.target], predictor.task)
    residual = np.full(len(frame), np.nan)
    if predictor.task.kind == "regression":
        residual[known] = observed - prediction.main[known]
    else:
        residual[known] = 1.0 - prediction.main[known, observed]
    return pl.Series(f"{predictor.target}_residual", residual, nan_to_null=True)


def write_answers(pieces: Iterator[pl.DataFrame], path: Path | None) -> int:
    """Write the pieces to `path` (by its ending) or as CSV to standard output; the number of rows."""
    if path is None:
        return sum(
            _to_csv(piece, sys.stdout.buffer, header=number == 0) for number, piece in enumerate(pieces)
        )
    writers = {".csv": _write_csv, ".parquet": _write_parquet, ".jsonl": _write_jsonl, ".arrow": _write_arrow}
    if path.suffix not in writers:
        raise UserError(
            f"Answers are written as {', '.join(writers)}, got {path.name!r}.{closest(path.suffix, writers)}"
        )
    counted = _Counted(pieces)
    write_stream(path, lambda file: writers[path.suffix](counted, file))
    return counted.num_rows


class _Counted:
    """Counts the rows that pass by."""

    def __init__(self, pieces: Iterator[pl.DataFrame]) -> None:
        self._pieces, self.num_rows = pieces, 0

    def __iter__(self) -> Iterator[pl.DataFrame]:
        for piece in self._pieces:
            self.num_rows += len(piece)
            yield piece


def _to_csv(piece: pl.DataFrame, file: Any, *, header: bool) -> int:
    file.write(piece.write_csv(include_header=header).encode())
    return len(piece)


def _write_csv(pieces: _Counted, file: Any) -> None:
    for number, piece in enumerate(pieces):
        _to_csv(piece, file, header=number == 0)


def _write_jsonl(pieces: _Counted, file: Any) -> None:
    for piece in pieces:
        piece.write_ndjson(file)


def _write_parquet(pieces: _Counted, file: Any) -> None:
    import pyarrow.parquet

    writer = None
    for piece in pieces:
        table = piece.to_arrow()
        writer = writer or pyarrow.parquet.ParquetWriter(file, table.schema)
        writer.write_table(table.cast(writer.schema))
    if writer is not None:
        writer.close()


def _write_arrow(pieces: _Counted, file: Any) -> None:
    import pyarrow

    writer = None
    for piece in pieces:
        table = piece.to_arrow()
        writer = writer or pyarrow.ipc.new_file(file, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()
