"""A text file as plain UTF-8, whatever it was: encoding found out, gzip undone, old line ends made new."""

from __future__ import annotations

import codecs
import gzip
import os
import re
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from danlu.core.errors import DataError
from danlu.core.findings import Finding, Severity

BLOCK = 1 << 22  # bytes read at a time
EVIDENCE = 1 << 18  # bytes of lines with foreign characters that the encoding is judged by
BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
SAVE_AS = "Save it as UTF-8 (in Excel: 'CSV UTF-8'), then try again."


@dataclass(frozen=True)
class TextFile:
    """Where the text lies as UTF-8, and how it was found."""

    path: Path
    """The file itself where it is plain UTF-8 already, else a temporary copy that goes with the context."""
    encoding: str
    """The encoding of the original, by its name in Python."""
    num_bytes: int
    """Size of the UTF-8 text."""
    notes: tuple[Finding, ...]
    """What a person should know about how it was read."""


@contextmanager
def as_utf8(path: Path) -> Iterator[TextFile]:
    """`path` (may be gzip) as UTF-8 text; DataError for binary content and for an encoding that is not known.

    UTF-8, UTF-16 and UTF-32 are told by their marks or by strict decoding; then GBK (GB18030) and
    Windows-1252 (Latin-1) by which characters come out. UTF-8 with broken bytes is an error that names the
    first of them.
    """
    encoding, notes = _find_encoding(path)
    if encoding in ("utf-8", "utf-8-sig") and not _is_gzip(path) and not _has_old_line_ends(path, encoding):
        yield TextFile(path, encoding, path.stat().st_size, notes)
        return
    with tempfile.TemporaryDirectory(prefix="danlu-") as folder:
        copy = Path(folder) / "text"
        _write_utf8(path, encoding, copy)
        yield TextFile(copy, encoding, copy.stat().st_size, notes)


@contextmanager
def open_binary(path: Path) -> Iterator[BinaryIO]:
    """The bytes of `path`, gzip undone; what the operating system refuses becomes a DataError."""
    try:
        with path.open("rb") as file:
            if file.read(2) == b"\x1f\x8b":
                file.seek(0)
                with gzip.GzipFile(fileobj=file) as plain:
                    yield cast(BinaryIO, plain)
            else:
                file.seek(0)
                yield file
    except PermissionError as error:
        raise DataError(
            f"{path} may not be read: permission denied. Allow reading it, or copy it to your own folder."
        ) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is a damaged gzip file ({error}). Copy or download it again.") from error
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}. Check the file and its disk."
        ) from error


def blocks(path: Path) -> Iterator[bytes]:
    """The decompressed bytes of `path`, a few MB at a time."""
    with open_binary(path) as file:
        while block := file.read(BLOCK):
            yield block


def _find_encoding(path: Path) -> tuple[str, tuple[Finding, ...]]:
    head = next(blocks(path), b"")
    for mark, name in BOMS:
        if head.startswith(mark):
            if name == "utf-8-sig" and (broken := _first_broken(path)):
                raise _broken(path, broken)
            return name, () if name == "utf-8-sig" else (_note(name.upper(), "info"),)
    if b"\0" in head:
        return _find_wide_encoding(path, head)
    broken = _first_broken(path)
    if broken is None:
        return "utf-8", ()
    evidence = _foreign_lines(path)
    text = evidence.decode("utf-8", "surrogateescape")
    num_broken = len(re.findall("[\udc80-\udcff]", text))
    num_whole = len(re.findall("[^\x00-\x7f\udc80-\udcff]", text))
    if num_whole >= num_broken:  # text in another encoding has next to no valid UTF-8 beyond ASCII
        raise _broken(path, broken)
    if _is_chinese(evidence):
        return "gb18030", (_note("GBK (GB18030)", "info"),)
    if _is_western(evidence):
        return "cp1252", (_note("Windows-1252 (Latin-1)", "warning"),)
    raise _broken(path, broken)


def _find_wide_encoding(path: Path, head: bytes) -> tuple[str, tuple[Finding, ...]]:
    """UTF-16 without its mark: plain letters have a zero in every second byte."""
    for start, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros = head[start::2].count(0)
        if zeros > 0.4 * len(head) / 2 and head[1 - start :: 2].count(0) == 0:
            return name, (_note(name.upper(), "info"),)
    raise DataError(
        f"{path} holds binary data, not text. danlu reads CSV, TSV, Parquet, Arrow, JSON lines, Excel and "
        "SQLite; give the file the ending of its format, or convert it."
    )


@dataclass(frozen=True)
class _BrokenByte:
    offset: int
    line: int
    value: int


def _first_broken(path: Path) -> _BrokenByte | None:
    """The first byte that is not UTF-8, or None."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset, line = 0, 1
    for data, final in _with_end(blocks(path)):
        try:
            decoder.decode(data, final)
        except UnicodeDecodeError as error:
            pending = len(error.object) - len(data)
            start = error.start - pending  # may lie in the block before
            return _BrokenByte(
                offset + start, line + data[: max(start, 0)].count(b"\n"), error.object[error.start]
            )
        offset += len(data)
        line += data.count(b"\n")
    return None


def _with_end(parts: Iterator[bytes]) -> Iterator[tuple[bytes, bool]]:
    for part in parts:
        yield part, False
    yield b"", True


def _foreign_lines(path: Path) -> bytes:
    """The first lines that are not plain ASCII."""
    kept: list[bytes] = []
    size = 0
    with open_binary(path) as file:
        for line in file:
            if not line.isascii():
                kept.append(line)
                size += len(line)
            if size > EVIDENCE:
                break
    return b"".join(kept)


def _is_chinese(evidence: bytes) -> bool:
    """Whether GB18030 reads it, and most characters are the 3,755 common ones of GB 2312 or its signs."""
    try:
        foreign = [char for char in evidence.decode("gb18030") if ord(char) > 0x7F]
    except UnicodeDecodeError:
        return False
    leads = [char.encode("gb2312", "ignore")[:1] for char in foreign]
    common = sum(b"\xa1" <= lead <= b"\xa3" or b"\xb0" <= lead <= b"\xd7" for lead in leads if lead)
    return common >= 0.6 * len(foreign)


def _is_western(evidence: bytes) -> bool:
    """Whether foreign bytes stand alone or in pairs between plain letters, and are signs in daily use."""
    runs = re.findall(rb"[\x80-\xff]+", evidence)
    short = sum(len(run) <= 2 for run in runs)
    letters = re.findall(rb"[\xc0-\xd6\xd8-\xf6\xf8-\xfd\x8a\x8c\x8e\x9a\x9c\x9e\x9f]", evidence)
    signs = re.findall(
        rb"[\x80\x85\x91-\x97\x99\xa0\xa3\xa7\xa9\xab\xae\xb0-\xb3\xb5\xb7\xba-\xbe\xd7]", evidence
    )
    # Bytes without a meaning, and the first two of three or four bytes of UTF-8: a character that was cut off.
    unused = re.findall(rb"[\x81\x8d\x8f\x90\x9d]|[\xe0-\xf4][\x80-\xbf]", evidence)
    num_foreign = sum(map(len, runs))
    return not unused and short >= 0.9 * len(runs) and len(letters) + len(signs) >= 0.9 * num_foreign


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _has_old_line_ends(path: Path, encoding: str) -> bool:
    """Whether lines end with a lone carriage return, as on old Macs."""
    head = next(blocks(path), b"").decode(encoding, "replace")
    return "\r" in head and "\n" not in head


def _write_utf8(path: Path, encoding: str, copy: Path) -> None:
    decoder = codecs.getincrementaldecoder(encoding)()
    old_ends: bool | None = None
    try:
        with copy.open("wb") as file:
            for data, final in _with_end(blocks(path)):
                text = decoder.decode(data, final)
                if old_ends is None and text:
                    old_ends = "\r" in text and "\n" not in text
                file.write((text.replace("\r", "\n") if old_ends else text).encode("utf-8"))
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} looks like {encoding}, but not throughout: {error.reason} "
            f"({error.object[error.start]:#04x}). {SAVE_AS}"
        ) from error
    except OSError as error:
        raise DataError(
            f"{path} has to be unpacked or recoded into {os.fspath(copy.parent.parent)}, which failed: "
            f"{error.strerror or error}. Free some space there, or save it as plain UTF-8 text."
        ) from error


def _note(encoding: str, severity: Severity) -> Finding:
    doubt = " Look whether names and signs came out right." if severity == "warning" else ""
    message = f"The file is not UTF-8; it was read as {encoding}.{doubt}"
    return Finding("encoding", severity, message, {"encoding": encoding}, (SAVE_AS,) if doubt else ())


def _broken(path: Path, byte: _BrokenByte) -> DataError:
    return DataError(
        f"{path} is not valid UTF-8: line {byte.line} holds the byte {byte.value:#04x} at offset "
        f"{byte.offset}, and the text is neither GBK nor Latin-1. {SAVE_AS}"
    )
