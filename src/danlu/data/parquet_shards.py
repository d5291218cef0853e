"""Parquet files as one table of row groups that are read one at a time, checked before and while they are read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

from danlu.core.errors import DataError, closest

if TYPE_CHECKING:
    import polars as pl

ENDINGS = (".parquet", ".pq")
TEXT_BYTES = 32  # of a value whose width Parquet does not tell: text, lists


@dataclass(frozen=True)
class Shard:
    """One file, and by what a later change of it is noticed."""

    path: Path
    num_bytes: int
    modified: int
    """Nanoseconds since 1970."""
    footer: str
    """SHA-256 of the file's metadata: sizes, offsets and ranges of all columns."""
    group_rows: tuple[int, ...]


@dataclass(frozen=True)
class RowGroup:
    """One row group: the least that is read at once."""

    shard: Shard
    number: int
    """Within its shard, from 0 on."""
    num_rows: int
    first_row: int
    """Position of its first row in the whole table."""


@dataclass(frozen=True)
class Shards:
    """All row groups in the order of the files, and the columns that the files have in common."""

    files: tuple[Shard, ...]
    groups: tuple[RowGroup, ...]
    schema: pl.Schema

    @property
    def num_rows(self) -> int:
        """Rows of all files."""
        return sum(group.num_rows for group in self.groups)

    def check_columns(self, names: Iterable[str]) -> None:
        """DataError for a column that is not there."""
        for name in names:
            if name not in self.schema:
                raise DataError(
                    f"There is no column {name!r} in {self.files[0].path.name}.{closest(name, self.schema)} "
                    f"Columns: {', '.join(list(self.schema)[:20])}."
                )

    def row_bytes(self, names: Iterable[str]) -> int:
        """About how many bytes one row of these columns takes in memory."""
        widths = {"8": 1, "16": 2, "32": 4, "64": 8, "128": 16}
        total = 0
        for name in names:
            dtype = self.schema[name]
            digits = "".join(filter(str.isdigit, str(dtype.base_type()))) if dtype.is_numeric() else ""
            total += widths.get(digits, 8 if dtype.is_numeric() or dtype.is_temporal() else TEXT_BYTES)
        return max(total, 1)


def open_shards(paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> Shards:
    """The files that `paths` names: files, folders, patterns with `*`. Only their metadata is read.

    Files of a folder or a pattern come in the order of their names. DataError names a file that is missing, damaged,
    named twice, or whose columns differ from those of the first.
    """
    import polars as pl
    import pyarrow.parquet as pq

    files: list[Shard] = []
    groups: list[RowGroup] = []
    first: Any = None
    num_rows = 0
    for path in _find(paths):
        with _read_errors(path), pq.ParquetFile(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
            rows = tuple(metadata.row_group(number).num_rows for number in range(metadata.num_row_groups))
            status = path.stat()
            shard = Shard(path, status.st_size, status.st_mtime_ns, _footer(path), rows)
        first = schema if first is None else first
        _check_schema(first, schema, files[0].path if files else path, path)
        files.append(shard)
        for number, count in enumerate(rows):
            if count:
                groups.append(RowGroup(shard, number, count, num_rows))
                num_rows += count
    if not num_rows:
        raise DataError(f"{files[0].path} has no rows. Give files with at least one row.")
    empty = pl.DataFrame(pl.from_arrow(first.empty_table()))
    return Shards(tuple(files), tuple(groups), empty.schema)


def read_group(group: RowGroup, columns: Sequence[str]) -> pl.DataFrame:
    """Some columns of one row group; DataError where the file is damaged or no longer the one that was opened."""
    import polars as pl
    import pyarrow.parquet as pq

    path = group.shard.path
    with _read_errors(path, f", row group {group.number}"):
        _check_unchanged(group.shard)
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read_row_group(group.number, columns=list(columns), use_threads=False)
    if table.num_rows != group.num_rows:
        raise _changed(path)
    return pl.DataFrame(pl.from_arrow(table))


def _find(paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[Path]:
    asked = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    found: list[Path] = []
    for each in asked:
        name = os.fspath(each)
        path = Path(name).expanduser()
        if "://" in name:
            raise DataError(
                f"{name!r} is not on this machine. danlu downloads nothing: fetch the files first."
            )
        if path.is_dir():
            inside = sorted(entry for entry in path.iterdir() if entry.suffix.lower() in ENDINGS)
            if not inside:
                raise DataError(f"The folder {path} holds no file that ends in .parquet or .pq.")
            found += inside
        elif path.exists():
            found.append(path)
        elif matches := sorted(glob(str(path), recursive=True)):
            found += [Path(match) for match in matches]
        elif any(mark in name for mark in "*?["):
            raise DataError(f"No file matches {name!r}. Name a file, a folder or another pattern.")
        else:
            near = (
                closest(path.name, [entry.name for entry in path.parent.iterdir()])
                if path.parent.is_dir()
                else ""
            )
            raise DataError(f"There is no file {path}.{near}")
    if not found:
        raise DataError("There is no file to read. Name at least one Parquet file.")
    seen: set[Path] = set()
    for path in found:
        if path.resolve() in seen:
            raise DataError(f"{path} is named twice: its rows would count twice. Name it once.")
        seen.add(path.resolve())
    return found


def _check_schema(first: Any, schema: Any, first_path: Path, path: Path) -> None:
    """Columns of every file must have the names and types of the first; their order may differ."""
    expected = dict(zip(first.names, first.types, strict=True))
    given = dict(zip(schema.names, schema.types, strict=True))
    missing = [f"has no column {name!r}" for name in expected if name not in given]
    more = [f"has a column {name!r} of its own" for name in given if name not in expected]
    other = [
        f"has {name!r} as {given[name]}, not {expected[name]}"
        for name in expected
        if name in given and given[name] != expected[name]
    ]
    differences = missing + more + other
    if differences:
        count = f" and {len(differences) - 5} more" if len(differences) > 5 else ""
        raise DataError(
            f"{path.name} {', '.join(differences[:5])}{count}, unlike {first_path.name}. "
            "All files need the same columns of the same types: write it again."
        )


def _check_unchanged(shard: Shard) -> None:
    status = shard.path.stat()
    if (status.st_size, status.st_mtime_ns) == (shard.num_bytes, shard.modified):
        return
    if status.st_size != shard.num_bytes or _footer(shard.path) != shard.footer:  # else it was only touched
        raise _changed(shard.path)


def _changed(path: Path) -> DataError:
    return DataError(
        f"{path} has changed since it was opened. The order of rows would no longer hold: put the old file back, "
        "or start the training anew."
    )


def _footer(path: Path) -> str:
    """SHA-256 of a Parquet file's metadata, which ends with its length in 4 bytes and the mark PAR1."""
    with path.open("rb") as file:
        file.seek(-8, os.SEEK_END)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-8 - length, os.SEEK_END)
        return hashlib.sha256(file.read(length)).hexdigest()


@contextmanager
def _read_errors(path: Path, place: str = "") -> Generator[None]:
    import pyarrow as pa

    try:
        yield
    except FileNotFoundError as error:
        raise DataError(
            f"{path} is no longer there. Put it back, or start the training anew without it."
        ) from error
    except PermissionError as error:
        raise DataError(f"{path} may not be read. Change its permissions, or name another file.") from error
    except (OSError, pa.ArrowException) as error:
        reason = (str(error).splitlines() or [""])[0].rstrip(".")
        raise DataError(
            f"{path}{place} cannot be read: {reason}. The file is damaged, cut off or no Parquet file. "
            "Copy or make it again, or leave it out."
        ) from error
