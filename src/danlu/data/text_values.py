"""Text cells as values: blanks trimmed, words for "missing" found, numbers recognised, and all of it told."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeVar

from danlu.core.findings import Finding
from danlu.data.signed_numbers import DECIMAL_COMMA, DECORATED, WITH_COMMA, find_form, read_form

if TYPE_CHECKING:
    import polars as pl

Text = TypeVar("Text", "pl.Series", "pl.Expr")

# Missing in every column, exactly as written: in no text do they mean anything else.
MISSING = ("NaN", "nan", "NULL", "null", "(null)", "N/A", "n/a", "#N/A", "<NA>", "\\N")
# Missing where all other values are numbers, dates or yes and no; compared in lower case.
MISSING_AMONG_VALUES = (
    *("nan", "-nan", "null", "(null)", "na", "n/a", "n.a.", "#n/a", "<na>", "\\n", "none", "nil", "missing"),
    *("?", "-", "--", "—", ".", "..", "#div/0!", "#value!", "缺失", "无"),
)
YES_NO = (
    {"no", "yes"}, {"n", "y"}, {"false", "true"}, {"f", "t"}, {"off", "on"}, {"否", "是"},
)  # fmt: skip
# One of these shows that the comma is no thousands separator: 0,512   12,5   1,2345
CLEARLY_DECIMAL = r"^[+-]?0,|,(?:\d{1,2}|\d{4,})$"
MOSTLY = 0.5  # from this share of numbers on, the other values of a column count as slips
NUM_ROWS = 5  # rows named in a finding

# What a column of text is: numbers, "typed" as text by its source, "signed" as in $1,200 and 15 %, or
# "decorated" so that they can be read in two ways; codes as 007; whole numbers too "long" for 64 bits; text.
Kind = Literal["number", "decimal comma", "signed", "typed", "decorated", "code", "long", "text"]
NUMBERS: tuple[Kind, ...] = ("number", "decimal comma", "signed")


TOLD: dict[
    Kind, tuple[str, str]
] = {  # kinds that a person is told about: code of the finding, and what is said
    "code": ("leading_zeros", "hold codes with leading zeros, so they are kept as text"),
    "long": ("long_numbers", "hold whole numbers too long to be exact, so they are kept as text"),
    "typed": ("numbers_as_text", "hold nothing but numbers, but are text in the source, and stay text"),
    "decorated": (
        "signs_in_numbers",
        "hold numbers with signs that can be read in more than one way, such as 1,200, and are kept as text",
    ),
    "signed": (
        "numbers_with_signs",
        "hold numbers with signs, such as $1,200.50 for 1200.5 or 15 % for 15, and were read so",
    ),
    "decimal comma": (
        "decimal_comma",
        "hold numbers with a decimal comma, such as 1,5 for 1.5, and were read so",
    ),
}


@dataclass(frozen=True)
class Reading:
    """How the text of one column became values, so that later rows can be read alike."""

    missing: tuple[str, ...] = ()
    """Words that mean missing in this column of text, beside `MISSING`."""
    format: str | None = None
    """How numbers are written (`signed_numbers.read_form`), or None for the plain way."""


@dataclass(frozen=True)
class Cleaned:
    """A frame with values in place of text, and how that came about."""

    frame: pl.DataFrame
    reading: dict[str, Reading]
    """Of the columns whose reading is not the plain one."""
    notes: tuple[Finding, ...]


def clean(frame: pl.DataFrame, *, find_numbers: bool, keep_text: Collection[str] = ()) -> Cleaned:
    """`frame` with trimmed text, null for words that mean missing and, with `find_numbers`, numbers for text.

    Columns in `keep_text` stay text; so do codes with leading zeros and whole numbers too long for 64 bits.
    Without `find_numbers` (text that a source with types calls text) a finding names the columns that hold
    nothing but numbers; numbers with signs or separators are read all the same.
    """
    import polars as pl

    names = [name for name, dtype in frame.schema.items() if dtype == pl.String]
    if not names:
        return Cleaned(frame, {}, ())
    candidates = [name for name in names if name not in keep_text]
    columns = _plain_numbers(frame, candidates)
    done = {column.name for column in columns}
    frame = frame.with_columns(trimmed(pl.col(name)) for name in names if name not in done)
    words = _with_odd_words(frame, [name for name in names if name not in done])
    columns += [_number_or_text(frame[name]) for name in candidates if name in words]
    if not find_numbers:
        columns = [
            column if column.values is None or column.kind == "signed" else replace(column, kind="typed")
            for column in columns
        ]
    done = {column.name for column in columns if column.kind not in ("text", "typed", "decorated")}
    # What means missing among the numbers of a file most likely means missing in its texts too.
    evidence = {word for column in columns if column.kind in NUMBERS for word in column.missing}
    found = {column.name: column for column in columns}
    texts = [
        _text(frame[name], evidence, found.get(name))
        for name in names
        if name not in done and (name in words or name in found)
    ]
    columns = [column for column in columns if column.name in done] + texts
    frame = frame.with_columns(column.values for column in columns if column.values is not None)
    reading = {column.name: column.reading for column in columns if column.reading != Reading()}
    return Cleaned(frame, reading, tuple(_notes(columns)))


def trimmed(column: pl.Expr) -> pl.Expr:
    """Text without blanks around it; null where nothing is left."""
    import polars as pl

    text = column.str.strip_chars()
    return pl.when(text != "").then(text).name.keep()


def as_number(text: Text, *, form: str | None = None) -> Text:
    """Trimmed text (series or expression) as float64: null for what means missing or is no number.

    `form` says how the numbers are written, as `Reading.format` does.
    """
    import polars as pl

    if form is not None:
        return read_form(text, form)
    return text.cast(pl.Float64, strict=False).fill_nan(None)


def means_missing(text: Text) -> Text:
    """Whether trimmed text among numbers, dates or yes and no stands for a missing value; null stays null."""
    return text.str.to_lowercase().is_in(list(MISSING_AMONG_VALUES))


def is_yes_no(values: Collection[object]) -> bool:
    """Whether texts are a pair such as no and yes, in any letter case (`No`, `no` and `yes` too)."""
    return {str(value).lower() for value in values} in YES_NO


@dataclass(frozen=True)
class _Column:
    """What one column of text turned out to be."""

    name: str
    kind: Kind
    values: pl.Series | None = None
    missing: dict[str, int] = field(default_factory=dict[str, int])  # word: how often it was read as missing
    kept: dict[str, int] = field(
        default_factory=dict[str, int]
    )  # word: how often it stayed, though it looks missing
    num_slips: int = 0  # values that are no numbers among many that are
    slips: dict[int, str] = field(default_factory=dict[int, str])  # the first of them: row: text
    reading: Reading = field(default_factory=Reading)


def _plain_numbers(frame: pl.DataFrame, names: Sequence[str]) -> list[_Column]:
    """The columns of `names` in which every value can be read as a number; thousands of them at once."""
    import polars as pl

    given = {name: len(frame) - frame[name].null_count() for name in names}
    numbers = frame.select(pl.col(name).cast(pl.Float64, strict=False) for name in names)
    numbers = numbers.select(
        name for name in names if 0 < given[name] == len(frame) - numbers[name].null_count()
    )
    has_nan = numbers.select(pl.all().is_nan().any())
    numbers = numbers.select(name for name in numbers.columns if not has_nan[name].item())
    is_whole = numbers.select((pl.all() == pl.all().floor()).all())
    whole = {name for name in numbers.columns if is_whole[name].item()}
    integers = frame.select(pl.col(name).cast(pl.Int64, strict=False) for name in sorted(whole))
    has_zeros = frame.select(pl.col(name).str.contains(r"^[+-]?0\d+$").any() for name in sorted(whole))
    columns: list[_Column] = []
    for name in numbers.columns:
        values = numbers[name]
        if name in whole and has_zeros[name].item():
            columns.append(_Column(name, "code"))
        elif name in whole and len(frame) - integers[name].null_count() == given[name]:
            columns.append(_Column(name, "number", integers[name]))
        elif name in whole and frame[name].str.contains(r"^[+-]?\d{19,}$").any():
            columns.append(_Column(name, "long"))
        else:
            columns.append(_Column(name, "number", values))
    return columns


def _with_odd_words(frame: pl.DataFrame, names: Sequence[str]) -> set[str]:
    """The columns of `names` that hold a number or a word for missing, and so need a closer look."""
    import polars as pl

    odd = frame.select(
        (
            pl.col(name).cast(pl.Float64, strict=False).is_not_null().any()
            | means_missing(pl.col(name)).any()
            | pl.col(name).is_in(list(MISSING)).any()
            | pl.col(name).str.contains(f"(?:{DECORATED})|(?:{WITH_COMMA})").any()
        ).alias(name)
        for name in names
    )
    return {name for name in names if odd[name].item()}


def _number_or_text(text: pl.Series) -> _Column:
    """A column in which some value is no number: words for missing, decimal commas, slips, or text."""
    import polars as pl

    number = as_number(text)
    odd = text.filter(number.is_null() & text.is_not_null())
    is_word = means_missing(odd)
    words, rest = _counts(odd.filter(is_word)), odd.filter(~is_word)
    if not len(rest):
        only_numbers = pl.select(pl.when(number.is_not_null()).then(text).alias(text.name))
        column = next(iter(_plain_numbers(only_numbers, [text.name] if number.count() else [])), None)
        if column is None or column.kind != "number":
            return _Column(text.name, "text")
        return replace(column, missing=words)
    if rest.head(1000).str.contains(WITH_COMMA).all():
        given = text.filter(~means_missing(text))
        if given.str.contains(WITH_COMMA).all() and given.str.contains(CLEARLY_DECIMAL).any():
            values = as_number(text, form=DECIMAL_COMMA)
            return _Column(text.name, "decimal comma", values, words, reading=Reading(format=DECIMAL_COMMA))
    is_slip = number.is_null() & text.is_not_null() & ~means_missing(text)
    is_slip &= ~text.str.contains(DECORATED).fill_null(False)
    num_slips = int(is_slip.sum())
    if not num_slips:
        form = find_form(text.filter(~means_missing(text)))
        if form is None:
            return _Column(text.name, "decorated")
        return _Column(text.name, "signed", as_number(text, form=form), words, reading=Reading(format=form))
    if num_slips > (1 - MOSTLY) * (number.count() + len(rest)):
        return _Column(text.name, "text")
    rows = is_slip.arg_true().head(NUM_ROWS).to_list()
    return _Column(text.name, "text", num_slips=num_slips, slips={row + 1: text[row] for row in rows})


def _text(text: pl.Series, evidence: Collection[str], found: _Column | None) -> _Column:
    """A column that stays text, null where a word means missing."""
    import polars as pl

    words = _counts(text.filter(means_missing(text) | text.is_in(list(MISSING))))
    values = None
    missing: list[str] = []
    if words:
        others = text.filter(~means_missing(text) & ~text.is_in(list(MISSING))).unique()
        missing = [word for word in words if _is_missing(word, others, evidence)]
        if missing:
            values = pl.select(pl.when(~text.is_in(missing)).then(text).alias(text.name)).to_series()
    return _Column(
        text.name,
        found.kind if found else "text",
        values,
        missing={word: words[word] for word in missing},
        kept={word: count for word, count in words.items() if word not in missing},
        num_slips=found.num_slips if found else 0,
        slips=found.slips if found else {},
        reading=Reading(tuple(word for word in missing if word not in MISSING)),
    )


def _is_missing(word: str, others: pl.Series, evidence: Collection[str]) -> bool:
    """Whether `word` stands for a missing value beside the `others` (different texts) of a column."""
    if word in MISSING:
        return True
    if len(others) == 2 and is_yes_no(others.to_list()):
        return True
    if word == "?":  # unless the column holds signs anyway
        return bool(others.str.contains(r"\w").all())
    if word == "NA" and others.str.contains(r"^[A-Z]{2}$").all():
        return False  # codes of two letters: Namibia, North America
    return word in evidence


def _counts(texts: pl.Series) -> dict[str, int]:
    """How often each text occurs, the most frequent first."""
    counts = texts.value_counts(sort=True, name="how often")
    return dict(sorted(counts.iter_rows(), key=lambda pair: (-pair[1], pair[0])))


def _notes(columns: Sequence[_Column]) -> Iterator[Finding]:
    missing = {column.name: column.missing for column in columns if column.missing}
    if missing:
        yield Finding(
            "read_as_missing",
            "info",
            f"Words read as missing values: {_words(missing)}.",
            missing,
            (),
            tuple(missing),
        )
    kept = {column.name: column.kept for column in columns if column.kept}
    if kept:
        yield Finding(
            "kept_words",
            "info",
            f"Words that often mean missing were kept as values of their own: {_words(kept)}.",
            kept,
            ("Leave the cell empty where a value is missing.",),
            tuple(kept),
        )
    for column in columns:
        if column.num_slips:
            shown = ", ".join(f"{value!r} in row {row}" for row, value in column.slips.items())
            more = ", ..." if column.num_slips > len(column.slips) else ""
            what = (
                "1 value is not a number"
                if column.num_slips == 1
                else f"{column.num_slips:,} values are not numbers"
            )
            yield Finding(
                "mixed_types",
                "warning",
                f"Column {column.name!r} holds mostly numbers, but {what} ({shown}{more}): it is kept as "
                "text.",
                {"num_rows": column.num_slips, "values": list(column.slips.values())},
                ("Correct these values, or leave them empty.",),
                (column.name,),
                tuple(column.slips),
            )
    for kind, (code, what) in TOLD.items():
        names = tuple(column.name for column in columns if column.kind == kind)
        if names:
            yield Finding(code, "info", f"These columns {what}: {_listed(names)}.", columns=names)


def _words(counts: dict[str, dict[str, int]]) -> str:
    parts = [
        f"{word!r} in {name!r} ({count:,})" for name, words in counts.items() for word, count in words.items()
    ]
    return _listed(parts)


def _listed(parts: Sequence[str]) -> str:
    return ", ".join(parts[:8]) + (f" and {len(parts) - 8} more" if len(parts) > 8 else "")
