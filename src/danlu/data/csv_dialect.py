"""The dialect of a CSV file: separator, quotes and header are found out, every record is checked."""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from danlu.core.errors import DataError

HEAD = 1 << 20  # bytes that the dialect is judged by
BLOCK = 1 << 22  # bytes counted at a time
SEPARATORS = (",", "\t", ";", "|", " ")
NO_SEPARATOR = "\x1f"  # does not occur in text: the whole line is one field
END = "\x1e"  # a line behind the last one: when it does not come out by itself, a quote is open
NUM_RECORDS = 200  # records of the head that the separator is judged by


@dataclass(frozen=True)
class Dialect:
    """How the fields of a CSV file are told apart."""

    separator: str
    quote: str | None
    """The sign around fields that hold separators; None where quotes are plain characters."""
    names: tuple[str, ...]
    """The names of the columns, from the first line that is not empty."""
    unnamed: tuple[str, ...] = ()
    """Those of them that danlu made up, because the header has none."""
    has_blanks_before_quotes: bool = False
    """Whether fields look like `1, "x, y"`, which only `rewrite` understands."""


@dataclass(frozen=True)
class Survey:
    """What a look at every byte of the file counted."""

    num_records: int
    """Records that are not blank, the header among them."""
    blank_records: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    """Positions of blank lines among all records."""
    is_ragged: bool = False
    """Whether some record has another number of fields than the header, or a quote stays open."""
    is_irregular: bool = False
    """Whether a quote stands in the middle of a field."""
    spans_lines: bool = False
    """Whether quotes hold line ends."""


def find_dialect(path: Path, *, extension: str = ".csv", quotes_count: bool = True) -> Dialect:
    """The dialect of the UTF-8 text in `path`; DataError where it is empty or the header uses a name twice.

    `extension` .tsv and .tab prefer tabs; without `quotes_count` quotes are plain characters.
    """
    with path.open("rb") as file:
        data = file.read(HEAD)
    head = data.decode("utf-8-sig", "ignore")
    if len(data) == HEAD and "\n" in head:
        head = head[: head.rindex("\n") + 1]
    if not head.strip():
        raise DataError("The file is empty. A table needs a line with the column names and at least one row.")
    separator = _find_separator(head, prefer_tab=extension in (".tsv", ".tab"))
    quote = None
    if quotes_count:
        quote = "'" if '"' not in head and _wraps_fields(head, "'", separator) else '"'
    fields = (cell for record in _records(head, separator, quote, False) for cell in record)
    blanks = quote is not None and any(
        cell.lstrip(" ") != cell and cell.lstrip(" ")[:1] == quote for cell in fields
    )
    header = next(record for record in _records(head, separator, quote, blanks) if record)
    names, unnamed = _check_names([name.strip() for name in header])
    return Dialect(separator, quote, names, unnamed, blanks)


def survey(path: Path, dialect: Dialect) -> Survey:
    """Count the records and their fields in one pass, about as fast as the file can be read.

    Takes quotes to stand in pairs around whole fields, and says so where they do not; `rewrite` is exact and
    slow.
    """
    separator, quote = ord(dialect.separator), ord(dialect.quote) if dialect.quote else None
    num_all = num_lines = parity = open_separators = open_length = 0
    blank: list[np.ndarray] = []
    is_ragged = is_irregular = False
    before = 10  # the byte before this block: as if a line had ended
    for data in _blocks(path):
        buffer = np.frombuffer(data, np.uint8)
        is_end, is_separator = buffer == 10, buffer == separator
        num_lines += int(np.count_nonzero(is_end))
        is_quote = buffer == quote if quote else None
        if is_quote is not None and (parity or is_quote.any()):
            # The running sum may wrap around: only its last bit counts.
            inside = (np.cumsum(is_quote, dtype=np.uint8) + np.uint8(parity)) & 1
            legal = (separator, ord(dialect.quote or "\n"), 10, 13)
            is_irregular |= _is_irregular(buffer, is_quote, inside, before, legal)
            parity = int(inside[-1])
            is_end &= inside == 0
            is_separator &= inside == 0
        before = int(buffer[-1])
        ends, places = np.flatnonzero(is_end), np.flatnonzero(is_separator)
        if not len(ends):
            open_separators, open_length = open_separators + len(places), open_length + len(buffer)
            continue
        until = np.searchsorted(places, ends)
        num_separators = np.diff(until, prepend=0)
        num_separators[0] += open_separators
        lengths = np.diff(ends, prepend=-1) - 1
        is_blank = (lengths == 0) | ((lengths == 1) & (buffer[ends - 1] == 13))
        is_blank[0] &= open_length == 0
        blank.append(np.flatnonzero(is_blank) + num_all)
        is_ragged |= bool((num_separators[~is_blank] != len(dialect.names) - 1).any())
        num_all += len(ends)
        open_separators, open_length = len(places) - int(until[-1]), len(buffer) - 1 - int(ends[-1])
    blanks = np.concatenate(blank) if blank else np.zeros(0, np.int64)
    return Survey(num_all - len(blanks), blanks, is_ragged or parity == 1, is_irregular, num_lines != num_all)


def rewrite(path: Path, dialect: Dialect, copy: Path, *, name: str) -> Survey:
    """Write the table to `copy` as plain CSV, record by record, forgiving odd quotes as Python's reader does.

    DataError for the first record with another number of fields than the header: it names the line in the
    file `name`, how many fields were expected and how many came.
    """
    expected = len(dialect.names)
    num_records = 0
    with (
        path.open(encoding="utf-8-sig", newline="") as text,
        copy.open("w", encoding="utf-8", newline="") as out,
    ):
        separator, quote = dialect.separator, dialect.quote or '"'
        lines = itertools.chain(text, [END])
        reader = csv.reader(lines, delimiter=separator, quotechar=quote, skipinitialspace=True)
        writer = csv.writer(out, delimiter=separator, quotechar=quote, lineterminator="\n")
        line, reason = 1, "it goes on to the end of the file"
        try:
            for record in reader:
                if record == [END]:
                    return Survey(num_records)
                if record and record[-1].endswith(END):
                    break
                if record and len(record) != expected:
                    raise _ragged(name, line, reader.line_num, record, dialect, num_records)
                if record:
                    writer.writerow(record)
                    num_records += 1
                line = reader.line_num + 1
        except csv.Error as error:
            reason = str(error)
    raise DataError(
        f"{name}: the record that begins on line {line} cannot be split into fields: {reason}. "
        f"Most likely a quote ({dialect.quote}) is opened there and never closed."
    )


def _find_separator(head: str, *, prefer_tab: bool) -> str:
    """The separator that gives most records as many fields as the header, and then the most fields."""
    best, best_score = NO_SEPARATOR, (0.0, 0)
    for separator in SEPARATORS:
        counts = [len(record) for record in _records(head, separator, '"', separator != " ") if record]
        share = sum(count == counts[0] for count in counts[1:]) / max(len(counts) - 1, 1) if counts else 0.0
        share = share if len(counts) > 1 else 1.0
        if not counts or counts[0] < 2 or (separator == " " and share < 1):
            if separator != " " and len(set(counts[1:])) == 1 and counts[1] > 1 and best == NO_SEPARATOR:
                best = separator  # only the header has none: an error that names it will follow
            continue
        if separator == "\t" and prefer_tab:
            return separator
        if (share, counts[0]) > best_score:
            best, best_score = separator, (share, counts[0])
    return best


def _records(head: str, separator: str, quote: str | None, skip_blanks: bool) -> Iterator[list[str]]:
    quoting = csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE
    lines = io.StringIO(head, newline="")
    reader = csv.reader(
        lines, delimiter=separator, quotechar=quote or '"', quoting=quoting, skipinitialspace=skip_blanks
    )
    try:
        for _, record in zip(range(NUM_RECORDS), reader, strict=False):
            yield record
    except (
        csv.Error
    ):  # a field without an end: the records before it must do, and `rewrite` will name the line
        return


def _wraps_fields(head: str, quote: str, separator: str) -> bool:
    """Whether `quote` stands around fields, on at least every second line."""
    mark = re.escape(separator)
    wrapped = re.findall(rf"(?:^|{mark}) *{quote}[^{quote}\n]*{quote} *(?={mark}|\r?$)", head, re.MULTILINE)
    return len(wrapped) >= 0.5 * head.count("\n") > 0


def _is_irregular(
    buffer: np.ndarray, is_quote: np.ndarray, inside: np.ndarray, before: int, legal: Sequence[int]
) -> bool:
    """Whether a quote opens after, or closes before, something else than a sign of `legal`."""
    places = np.flatnonzero(is_quote)
    opens = inside[places] == 1
    previous = np.where(places > 0, buffer[places - 1], before)[opens]
    closing = places[~opens]
    following = buffer[closing[closing < len(buffer) - 1] + 1]
    return not (np.isin(previous, legal).all() and np.isin(following, legal).all())


def _blocks(path: Path) -> Iterator[bytes]:
    """The file a few MB at a time, without the byte-order mark, the last line closed by a line end."""
    last = b"\n"
    with path.open("rb") as file:
        if file.read(3) != b"\xef\xbb\xbf":
            file.seek(0)
        while block := file.read(BLOCK):
            last = block[-1:]
            yield block
    if last != b"\n":
        yield b"\n"


def _check_names(names: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names with blank ones filled in, and those that were; DataError for a name that is used twice."""
    places: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        if name:
            places.setdefault(name, []).append(index + 1)
    double = {name: where for name, where in places.items() if len(where) > 1}
    if double:
        shown = "; ".join(
            f"{name!r} for columns {', '.join(map(str, where))}" for name, where in list(double.items())[:5]
        )
        more = f"; and {len(double) - 5} names more" if len(double) > 5 else ""
        raise DataError(
            f"The header uses a name more than once: {shown}{more}. Give every column its own name. "
            "If the first line is data already, put a line with the names above it."
        )
    full = list(names)
    for index, name in enumerate(names):
        if not name:
            made = f"column_{index + 1}"
            while made in places:
                made += "_"
            full[index] = made
    return tuple(full), tuple(new for new, old in zip(full, names, strict=True) if not old)


def _ragged(
    name: str, line: int, last_line: int, record: list[str], dialect: Dialect, num_records: int
) -> DataError:
    expected, came = len(dialect.names), len(record)
    columns = ", ".join(dialect.names[:5]) + (", ..." if expected > 5 else "")
    sign = {"\t": "tab", " ": "blank", NO_SEPARATOR: "none"}.get(dialect.separator, repr(dialect.separator))
    if came == expected + 1 and num_records == 1:
        advice = "If the rows begin with row numbers or names, give that column a name in the header too."
    elif came > expected:
        advice = "A value that holds the separator needs quotes around it."
    elif last_line > line:
        advice = f"A quote ({dialect.quote}) that opens there closes only on line {last_line}, or never."
    else:
        advice = (
            "An empty value needs its separator too; if it is the last line, the file may have been cut off."
        )
    return DataError(
        f"{name}: line {line} has {came} {'field' if came == 1 else 'fields'}, but the header has {expected} "
        f"({columns}; separator {sign}). {advice}"
    )
