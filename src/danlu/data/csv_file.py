"""CSV files as tables of text: found out, checked, and read by Polars, whole or piece by piece."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from danlu.core.errors import DataError
from danlu.core.findings import Finding
from danlu.data.csv_dialect import Dialect, Survey, find_dialect, rewrite, survey
from danlu.data.table import Table, resize
from danlu.data.text_file import as_utf8

if TYPE_CHECKING:
    import polars as pl

BYTES_PER_CELL = 16  # what Polars takes for a text beside its characters


@contextmanager
def open_csv(path: Path) -> Iterator[Table]:
    """The CSV file as a table whose cells are all text, null where empty; errors name the line."""
    with ExitStack() as stack:
        text = stack.enter_context(as_utf8(path))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="danlu-")))
        try:
            dialect = find_dialect(text.path, extension=_extension(path))
        except DataError as error:
            raise DataError(f"{path.name}: {error}") from error
        place, dialect, counted, notes = _settle(text.path, dialect, folder / "copy.csv", path.name)
        num_rows = counted.num_records - 1
        if num_rows < 1:
            columns = ", ".join(dialect.names[:5]) + (", ..." if len(dialect.names) > 5 else "")
            raise DataError(
                f"{path.name} has a header ({columns}) but no rows. Add rows below it; if the first line "
                "is data already, put a line with the column names above it."
            )
        if len(counted.blank_records):
            num_lines = len(counted.blank_records)
            message = f"Blank lines were passed over ({num_lines:,}); rows are counted without them."
            notes.append(Finding("blank_lines", "info", message, {"num_lines": num_lines}))
        if dialect.unnamed:
            message = f"The header has no name for some columns; by their place: {_listed(dialect.unnamed)}."
            notes.append(Finding("unnamed_columns", "info", message, columns=dialect.unnamed))
        yield Table(
            batches=lambda rows: resize(_batches(place, dialect, counted, path.name), rows),
            num_rows=num_rows,
            num_bytes=text.num_bytes + BYTES_PER_CELL * num_rows * len(dialect.names),
            is_text=True,
            notes=(*text.notes, *notes),
        )


def _settle(
    place: Path, dialect: Dialect, copy: Path, name: str
) -> tuple[Path, Dialect, Survey, list[Finding]]:
    """The file to read, and how: as it is, with quotes as plain signs, or rewritten."""
    counted = survey(place, dialect)
    is_odd = counted.is_ragged or counted.is_irregular or dialect.has_blanks_before_quotes
    # Tables with tabs seldom quote anything: there, quotes that join lines are most likely signs in a text.
    is_doubtful = counted.spans_lines and dialect.separator == "\t"
    if not is_odd and not is_doubtful:
        return place, dialect, counted, []
    failure: DataError | None = None
    if is_odd:
        try:
            counted = rewrite(place, dialect, copy, name=name)
        except DataError as error:
            failure = error
    # Quotes are plain signs where every line then has all its fields, and lines are joined otherwise.
    plain_dialect = find_dialect(place, quotes_count=False)
    plain = survey(place, plain_dialect)
    joins_lines = failure is not None or plain.num_records != counted.num_records
    if len(plain_dialect.names) > 1 and not plain.is_ragged and joins_lines:
        message = (
            "Quotes in the file do not stand in pairs around values: they were read as plain characters."
        )
        return place, plain_dialect, plain, [Finding("stray_quotes", "info", message)]
    if failure is not None:
        raise failure
    if not is_odd:
        return place, dialect, counted, []
    return copy, replace(dialect, has_blanks_before_quotes=False), counted, []


def _batches(place: Path, dialect: Dialect, counted: Survey, name: str) -> Iterator[pl.DataFrame]:
    import polars as pl

    blank = counted.blank_records
    header = int(np.count_nonzero(blank == np.arange(len(blank))))  # blank lines before the header
    blank_rows = blank[header:] - header - 1
    lazy = pl.scan_csv(
        place,
        separator=dialect.separator,
        quote_char=dialect.quote,
        new_columns=list(dialect.names),
        infer_schema=False,
        glob=False,
    )
    num_rows = start = 0
    try:
        for batch in lazy.collect_batches(maintain_order=True):
            here = blank_rows[(blank_rows >= start) & (blank_rows < start + batch.height)] - start
            start += batch.height
            kept = batch.filter(~pl.int_range(pl.len()).is_in(here.tolist())) if len(here) else batch
            num_rows += kept.height
            yield kept
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{name} cannot be read as CSV: {str(error).splitlines()[0]}.") from error
    if num_rows != counted.num_records - 1:
        raise DataError(
            f"{name} cannot be split into rows without doubt: {counted.num_records - 1:,} were counted, "
            f"{num_rows:,} read. Most likely a quote is never closed. Save it again from the program that "
            "made it."
        )


def _extension(path: Path) -> str:
    name = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    return name.suffix.lower()


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
