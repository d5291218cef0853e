"""Where tables come from: `read` takes files, queries, built-in sets and frames; `chunks` reads in parts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.core.errors import DataError, closest
from danlu.core.findings import Finding
from danlu.data.builtin import BUILTIN, is_builtin, listing, load_builtin
from danlu.data.csv_file import open_csv
from danlu.data.frames import fingerprint, from_memory, plain
from danlu.data.sqlite_file import SCHEME, open_sqlite, parse_address
from danlu.data.table import BATCH, Table, load
from danlu.data.text_file import open_binary
from danlu.data.text_values import Reading, clean
from danlu.data.typed_files import open_columns, open_excel, open_json_lines

if TYPE_CHECKING:
    import polars as pl

ENDINGS = {
    "csv": (".csv", ".tsv", ".tab", ".txt"),
    "parquet": (".parquet", ".pq"),
    "arrow": (".arrow", ".feather", ".ipc"),
    "jsonl": (".jsonl", ".ndjson", ".json"),
    "excel": (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"),
    "sqlite": (".db", ".sqlite", ".sqlite3"),
}
FORMATS = {ending: form for form, endings in ENDINGS.items() for ending in endings}
MARKS = ((b"PAR1", "parquet"), (b"ARROW1", "arrow"), (b"SQLite format 3\0", "sqlite"))
KNOWN = "danlu reads CSV, TSV, Parquet, Arrow, JSON lines, Excel and SQLite files"


@dataclass(frozen=True)
class Source:
    """A table in memory, where it came from, and what a person should know about the way it was read."""

    frame: pl.DataFrame
    """Columns of Int64, Float64, Boolean, String or Datetime; a missing value is null, never NaN."""
    name: str
    path: str | None
    format: str
    """csv, parquet, arrow, jsonl, excel, sqlite, built-in, polars, pandas, dict or rows."""
    fingerprint: str
    """SHA-256: of a file's bytes, or of names, types and values where the table is no file of its own."""
    notes: tuple[Finding, ...] = ()
    reading: Mapping[str, Reading] = field(default_factory=dict[str, Reading])
    """How text became values in columns that are not read the plain way; `schema.infer` takes it along."""


def read(
    source: Any,
    *,
    sheet: str | None = None,
    query: str | None = None,
    types: Mapping[str, str] | None = None,
    max_bytes: int | None = None,
) -> Source:
    """The table of `source`: a file, `sqlite:///FILE?query=...`, `sklearn/NAME`, `danlu/NAME`, or a frame.

    `sheet` chooses in an Excel file, `query` (SQL) in a SQLite file. A column whose type in `types` is not
    `number` keeps its text as it is written. A table that takes more than `max_bytes` in memory (default: a
    quarter of what is free) is read as an even sample of its rows. DataError says what is wrong with the
    data, and where.
    """
    keep_text = [name for name, kind in (types or {}).items() if kind != "number"]
    place = _locate(source, sheet=sheet, query=query)
    if place is None:
        frame, name, form, notes = _take(source)
        return _finish(frame, name, None, form, None, notes, find_numbers=False, keep_text=keep_text)
    with place.open() as table:
        frame, sampled = load(table, max_bytes=max_bytes)
        whole_file = place.form not in ("excel", "sqlite")
        mark = _fingerprint(place.path) if whole_file else None
        notes = (*table.notes, *sampled)
        path, form, is_text = str(place.path), place.form, table.is_text
        return _finish(frame, place.name, path, form, mark, notes, find_numbers=is_text, keep_text=keep_text)


def chunks(
    source: Any, *, rows: int = BATCH, sheet: str | None = None, query: str | None = None
) -> Iterator[pl.DataFrame]:
    """The same table in frames of `rows` rows, so that it need not fit into memory; the last may be shorter.

    Cells of a CSV or SQLite file come as text, as they are written: `schema.conform` reads them as training
    did.
    """
    place = _locate(source, sheet=sheet, query=query)
    if place is None:
        frame, notes = plain(_take(source)[0])
        _refuse_empty(frame, notes)
        yield from frame.iter_slices(rows)
        return
    with place.open() as table:
        for frame in table.batches(rows):
            yield plain(frame)[0]


@dataclass(frozen=True)
class _Place:
    path: Path
    name: str
    form: str
    sheet: str | None
    query: str | None

    def open(self) -> AbstractContextManager[Table]:
        if self.form == "sqlite":
            return open_sqlite(self.path, query=self.query)
        if self.form == "excel":
            return open_excel(self.path, sheet=self.sheet)
        if self.form == "jsonl":
            return open_json_lines(self.path)
        return open_csv(self.path) if self.form == "csv" else open_columns(self.path, kind=self.form)


def _locate(source: Any, *, sheet: str | None, query: str | None) -> _Place | None:
    """The file that `source` names, or None for what is no file."""
    if not isinstance(source, (str, os.PathLike)) or (isinstance(source, str) and is_builtin(source)):
        if sheet is not None or query is not None:
            raise DataError(f"A {'sheet' if query is None else 'query'} can only be asked of a file.")
        return None
    address = os.fspath(source)
    if not isinstance(address, str) or not address:
        raise DataError(f"A file name was expected, got {source!r}.")
    if address.startswith(SCHEME):
        path, asked = parse_address(address)
        if asked and query:
            raise DataError("The query was given twice, in the address and as an option. Give it once.")
        query, form = query or asked, "sqlite"
        _check_file(path)
    elif "://" in address:
        raise DataError(
            f"{address!r} is not on this machine. danlu downloads nothing: fetch it first, then name the "
            "file."
        )
    else:
        path = Path(address).expanduser()
        _check_file(path)
        form = _format(path)
    if query is not None and form != "sqlite":
        raise DataError(f"A query needs a SQLite file, but {path.name} is {form}. Leave the query out.")
    if sheet is not None and form != "excel":
        raise DataError(f"A sheet needs an Excel file, but {path.name} is {form}. Leave the sheet out.")
    name = path.name.removesuffix(".gz")
    return _Place(path, name.removesuffix(Path(name).suffix) or name, form, sheet, query)


def _check_file(path: Path) -> None:
    if path.is_dir():
        inside = sorted(entry.name for entry in path.iterdir() if FORMATS.get(entry.suffix.lower()))
        listed = f" It holds {', '.join(inside[:5])}." if inside else ""
        raise DataError(f"{path} is a folder, not a file.{listed} Name the file to read.")
    if not path.exists():
        folder = path.parent
        if not folder.is_dir():
            raise DataError(f"There is no file {path}: the folder {folder} does not exist.")
        near = closest(path.name, [entry.name for entry in folder.iterdir()])
        named = [name for name in BUILTIN if name.partition("/")[2] == path.name]
        near = near or (f" Did you mean the built-in data set {named[0]!r}?" if named else "")
        near = near or (f" {listing()}" if path.name == str(path) else "")
        raise DataError(f"There is no file {path}.{near}")
    if not path.stat().st_size:
        raise DataError(
            f"{path.name} is empty. A table needs a line with the column names and at least one row."
        )


def _format(path: Path) -> str:
    """By what the file begins with; by the ending of its name where that says nothing."""
    with open_binary(path) as file:
        head = file.read(4096)
    for mark, form in MARKS:
        if head.startswith(mark):
            return form
    name = Path(path.name.removesuffix(".gz"))
    form = FORMATS.get(name.suffix.lower())
    if form == "sqlite":
        raise DataError(
            f"{path.name} is not a SQLite file, although its name says so. It is damaged or of another "
            "format."
        )
    if form:
        return form
    if head.startswith(
        (b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"BZh", b"\xfd7zXZ", b"(\xb5/\xfd", b"7z\xbc\xaf")
    ):
        raise DataError(
            f"{path.name} is packed or of an unknown format. {KNOWN}, and CSV and JSON lines in gzip (.gz)."
        )
    return "jsonl" if head.lstrip().startswith(b"{") else "csv"


def _take(source: Any) -> tuple[pl.DataFrame, str, str, tuple[Finding, ...]]:
    if isinstance(source, str):
        frame, notes = load_builtin(source)
        return frame, source, "built-in", notes
    frame, form = from_memory(source)
    return frame, form, form, ()


def _finish(
    frame: pl.DataFrame,
    name: str,
    path: str | None,
    form: str,
    mark: str | None,
    notes: tuple[Finding, ...],
    *,
    find_numbers: bool,
    keep_text: list[str],
) -> Source:
    """Plain columns, values for text, and a look whether the header is one."""
    frame, left_out = plain(frame)
    _refuse_empty(frame, left_out)
    unknown = [column for column in keep_text if column not in frame.columns]
    if unknown:
        raise DataError(
            f"A type is set for {unknown[0]!r}, but there is no such "
            f"column.{closest(unknown[0], frame.columns)}"
        )
    mark = mark or fingerprint(frame)
    cleaned = clean(frame, find_numbers=find_numbers, keep_text=keep_text)
    notes = (*notes, *left_out, *cleaned.notes, *(_header_of_data(cleaned.frame) if form == "csv" else ()))
    return Source(cleaned.frame, name, path, form, mark, notes, cleaned.reading)


def _refuse_empty(frame: pl.DataFrame, notes: tuple[Finding, ...]) -> None:
    if not frame.width:
        reason = f" {notes[0].message}" if notes else ""
        raise DataError(f"The table has no columns to learn from.{reason}")
    if not frame.height:
        raise DataError(f"The table has no rows, only the columns {', '.join(frame.columns[:5])}. Add rows.")


def _header_of_data(frame: pl.DataFrame) -> tuple[Finding, ...]:
    """A warning where the first line looks like a row: numbers above numbers, a name that is a value."""
    import polars as pl

    numbers = [name for name, dtype in frame.schema.items() if dtype.is_numeric()]
    texts = [name for name, dtype in frame.schema.items() if dtype == pl.String]
    odd = [name for name in numbers if _is_number(name)]
    counted = [str(start + place) for start in (0, 1) for place in range(frame.width)]
    if len(odd) < len(numbers) or set(odd) <= set(counted):  # columns may be called 0, 1, 2 ...
        odd = []
    values = [name for name in texts if (frame[name] == name).any()]
    if not odd and (numbers or len(values) < len(texts)):  # one column `a` with a value 'a' says nothing
        return ()
    odd += values
    return (
        Finding(
            "header_looks_like_data",
            "warning",
            "The first line was read as column names, but looks like a row of data "
            f"({', '.join(map(repr, odd[:3]))}). If it is, add a first line with the column names to the file.",
            columns=tuple(odd),
            remedies=("Add a first line with the column names.",),
        ),
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _fingerprint(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
