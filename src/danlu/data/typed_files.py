"""Files whose columns have types or names of their own: Parquet, Arrow, JSON lines and Excel."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.core.errors import DataError, MissingExtra, closest
from danlu.core.findings import Finding
from danlu.data.table import Table, resize
from danlu.data.text_file import as_utf8

if TYPE_CHECKING:
    import polars as pl

NUM_PROBED = 1000  # rows that the size of a table in memory is judged by


@contextmanager
def open_columns(path: Path, *, kind: str) -> Iterator[Table]:
    """A Parquet file (`kind` parquet) or an Arrow IPC/Feather file (arrow)."""
    import polars as pl

    scan = pl.scan_parquet if kind == "parquet" else pl.scan_ipc
    try:
        lazy = scan(path, glob=False)
        num_rows = int(lazy.select(pl.len()).collect().item())
        head = lazy.head(NUM_PROBED).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        name = {"parquet": "Parquet", "arrow": "Arrow IPC (Feather)"}[kind]
        raise DataError(
            f"{path.name} is no {name} file that can be read: {str(error).splitlines()[0]}. "
            "It is damaged, cut off, or of another format than its name says."
        ) from error
    yield _table(lazy, head, num_rows, path)


@contextmanager
def open_json_lines(path: Path) -> Iterator[Table]:
    """A file with one JSON object a line; DataError names the first line that is none."""
    import polars as pl

    with as_utf8(path) as text:
        try:
            lazy = pl.scan_ndjson(text.path, infer_schema_length=None)
            num_rows = int(lazy.select(pl.len()).collect().item())
            head = lazy.head(NUM_PROBED).collect()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(
                _wrong_line(text.path, path.name) or f"{path.name} cannot be read: {error}."
            ) from error
        yield _table(lazy, head, num_rows, path, text.notes)


@contextmanager
def open_excel(path: Path, *, sheet: str | None) -> Iterator[Table]:
    """One sheet of an Excel or OpenDocument file, the first unless `sheet` names another; read whole."""
    import polars as pl

    try:
        import fastexcel
    except ImportError as error:
        raise MissingExtra("fastexcel", "excel", purpose="Reading Excel files") from error
    try:
        sheets = fastexcel.read_excel(path).sheet_names
    except (fastexcel.FastExcelError, ValueError, OSError) as error:
        raise DataError(
            f"{path.name} cannot be read as an Excel file: {str(error).splitlines()[0]}. Save it again as "
            ".xlsx or as CSV."
        ) from error
    if sheet is not None and sheet not in sheets:
        raise DataError(
            f"{path.name} has no sheet {sheet!r}.{closest(sheet, sheets)} Sheets: {', '.join(sheets)}."
        )
    chosen = sheets[0] if sheet is None else sheet
    try:
        frame = pl.read_excel(path, sheet_name=chosen, engine="calamine", infer_schema_length=None)
    except pl.exceptions.NoDataError as error:
        raise DataError(
            f"Sheet {chosen!r} of {path.name} is empty. Name another one of: {', '.join(sheets)}."
        ) from error
    except (fastexcel.FastExcelError, pl.exceptions.PolarsError) as error:
        message = str(error).splitlines()[0]
        raise DataError(
            f"Sheet {chosen!r} of {path.name} cannot be read: {message}. Save it as CSV and read that."
        ) from error
    notes = ()
    if sheet is None and len(sheets) > 1:
        message = (
            f"The first sheet, {chosen!r}, was read; {path.name} also has {', '.join(map(repr, sheets[1:]))}."
        )
        notes = (Finding("first_sheet", "info", message, {"sheets": list(sheets)}),)
    yield Table(frame.iter_slices, frame.height, int(frame.estimated_size()), is_text=True, notes=notes)


def _table(
    lazy: pl.LazyFrame, head: pl.DataFrame, num_rows: int, path: Path, notes: tuple[Finding, ...] = ()
) -> Table:
    import polars as pl

    if not num_rows or not head.width:
        raise DataError(f"{path.name} has no rows. Give a table with at least one row.")

    def batches(rows: int) -> Iterator[pl.DataFrame]:
        try:
            yield from resize(lazy.collect_batches(maintain_order=True), rows)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(
                f"{path.name} is damaged: {str(error).splitlines()[0]}. Copy or make it again."
            ) from error

    return Table(batches, num_rows, int(head.estimated_size() / head.height * num_rows), notes=notes)


def _wrong_line(path: Path, name: str) -> str | None:
    """What is wrong with the first line that is no JSON object."""
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if number == 1 and line.lstrip().startswith("["):
                return f"{name} is a JSON array. danlu reads JSON lines: one object a line, without brackets."
            try:
                value: Any = json.loads(line) if line.strip() else {}
            except json.JSONDecodeError as error:
                return f"{name}: line {number} is not JSON ({error.msg}). Each line must be one JSON object."
            if not isinstance(value, dict):
                return (
                    f'{name}: line {number} holds {json.dumps(value)[:40]}, not an object like {{"age": 39}}.'
                )
    return None
