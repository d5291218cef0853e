"""The schema of a table: type and role of each column, inferred with a reason or set by the person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from danlu.core.errors import DataError, closest
from danlu.core.findings import Finding
from danlu.core.tasks import Task
from danlu.data.column_types import ANY_CASE, FEW, TYPES, ColumnType, Guess, first_misfit, guess
from danlu.data.dates import find_format, parse
from danlu.data.target_task import choose_task
from danlu.data.text_values import MISSING, Reading, as_number, means_missing, trimmed

if TYPE_CHECKING:
    import polars as pl

Role = Literal["feature", "target", "ignore", "group", "time", "weight"]
ROLES: tuple[Role, ...] = ("feature", "target", "ignore", "group", "time", "weight")
NUM_ROWS = 5  # rows named in a finding


@dataclass(frozen=True)
class Column:
    """One column of a table: what it is, what it is for, and why danlu thinks so."""

    name: str
    type: ColumnType
    role: Role
    dtype: str
    """Type of the values in the table that was looked at: Int64, Float64, Boolean, String or Datetime."""
    num_missing: int
    num_unique: int
    """Different values beside missing ones."""
    why: str
    format: str | None = None
    """How text becomes values: the format of dates, how numbers are written, or `any case` for yes and no."""
    missing: tuple[str, ...] = ()
    """Words that were read as missing in this column, beside those that always are."""


@dataclass(frozen=True)
class Schema:
    """All columns in the order of the table."""

    columns: tuple[Column, ...]
    num_rows: int

    @property
    def features(self) -> tuple[Column, ...]:
        """The columns that a model may see."""
        return tuple(column for column in self.columns if column.role == "feature")

    @property
    def target(self) -> Column | None:
        """The column to predict."""
        return next((column for column in self.columns if column.role == "target"), None)

    def __getitem__(self, name: str) -> Column:
        """The column called `name`; DataError with the closest name where there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise DataError(
            f"There is no column {name!r}.{closest(name, [column.name for column in self.columns])}"
        )

    def as_dict(self) -> dict[str, Any]:
        """The schema as plain JSON values."""
        columns = [asdict(column) | {"missing": list(column.missing)} for column in self.columns]
        return {"num_rows": self.num_rows, "columns": columns}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """The schema that `as_dict` wrote; DataError for types and roles that do not exist."""
        columns = []
        for entry in value["columns"]:
            _check_choice(entry["type"], TYPES, "type", entry["name"])
            _check_choice(entry["role"], ROLES, "role", entry["name"])
            columns.append(Column(**{**entry, "missing": tuple(entry.get("missing", ()))}))
        return cls(tuple(columns), int(value["num_rows"]))


def infer(
    frame: pl.DataFrame,
    *,
    target: str | None = None,
    types: Mapping[str, str] | None = None,
    roles: Mapping[str, str] | None = None,
    reading: Mapping[str, Reading] | None = None,
) -> Schema:
    """The schema of a frame of plain columns, as `sources.read` gives it (`reading` too).

    `types` and `roles` override what is inferred, by column. Identifiers and constants get the role `ignore`,
    unless `roles` makes them a `feature`. DataError for a column that does not exist, and for a type or role
    that the values do not allow: it names the first row that does not fit.
    """
    types, roles, reading = types or {}, dict(roles or {}), reading or {}
    if target is not None:
        require_column(frame, target, what="The target")
        roles[target] = "target"
    _check_settings(frame, types, roles)
    num_unique = _num_unique(frame)
    few_texts = _few_texts(frame, num_unique)
    columns: list[Column] = []
    row_numbers: list[int] = []
    for place, values in enumerate(frame.iter_columns()):
        name = values.name
        found = guess(values, num_unique=num_unique[name], texts=few_texts.get(name))
        role = roles.get(name)
        if name in types:
            found = _override(values, types[name])
        elif found.type in ("identifier", "constant") and role in ("target", "feature", "weight"):
            found = Guess(
                "number" if values.dtype.is_numeric() else "category", f"{found.why}; used as you asked"
            )
        if found.is_row_number and role is None:
            row_numbers.append(place)
        how = reading.get(name, Reading())
        columns.append(
            Column(
                name=name,
                type=found.type,
                role=_role(role, found.type),
                dtype=str(values.dtype.base_type()),
                num_missing=_num_missing(values, found),
                num_unique=2 if found.format == ANY_CASE else num_unique[name],
                why=found.why,
                format=found.format or how.format,
                missing=how.missing,
            )
        )
        _check_role(values, columns[-1])
    if row_numbers and not any(column.role == "feature" for column in columns):
        # x = 1, 2, 3 ... with y beside it: the only feature there is
        for place in row_numbers:
            why = "integers that ascend by one; used because there is no other feature"
            columns[place] = replace(columns[place], type="number", role="feature", why=why)
    return Schema(tuple(columns), frame.height)


def task_of(frame: pl.DataFrame, target: str, *, task: str | None = None) -> Task:
    """What predicting `target` is: regression, binary or multiclass; `task` decides unless None or auto.

    DataError where there is nothing to learn: no such column, no values, one class, one row, infinite
    numbers. `target_task.choose_task` also says why.
    """
    require_column(frame, target, what="The target")
    return choose_task(frame[target], task=task)[0]


def conform(frame: pl.DataFrame, schema: Schema) -> tuple[pl.DataFrame, tuple[Finding, ...]]:
    """Text in `frame` as the values that its schema's columns hold, read as the training data were.

    Dates get their format, numbers lose their signs, words for missing become null, and yes and no get one
    spelling where training saw several. Columns that are no
    text stay as they are, columns that the schema does not know too; numbers with text among them stay text,
    for the models' preprocessing to refuse. A finding counts the dates that could not be read and are missing
    now.
    """
    import polars as pl

    dtypes = dict(frame.schema)
    texts = [column for column in schema.columns if dtypes.get(column.name) == pl.String]
    frame = frame.with_columns(_read_text(column) for column in texts if column.type != "number")
    numbers = [(column, trimmed(pl.col(column.name))) for column in texts if column.type == "number"]
    values = frame.select(as_number(text, form=column.format) for column, text in numbers)
    given = frame.select((text.is_not_null() & ~means_missing(text)).sum() for _, text in numbers)
    good = [name for name in values.columns if given[name].item() == frame.height - values[name].null_count()]
    # Beside a value that is no number the others become plain numbers, so that an error names the right one.
    unread = [(column, text) for column, text in numbers if column.format and column.name not in good]
    plain = [pl.coalesce(values[column.name].cast(pl.String), text).name.keep() for column, text in unread]
    frame = frame.with_columns(values.select(good)).with_columns(plain)
    changed: list[pl.Series] = []
    notes: list[Finding] = []
    for column in texts:
        if column.type == "datetime" and column.format is not None:
            text = frame[column.name]
            moments = parse(text, column.format)
            lost = (moments.is_null() & text.is_not_null()).arg_true()
            if len(lost):
                notes.append(_lost_dates(text, lost))
            changed.append(moments)
    return frame.with_columns(changed), tuple(notes)


def _read_text(column: Column) -> pl.Expr:
    """Trimmed text, null where a word means missing."""
    import polars as pl

    text = trimmed(pl.col(column.name))
    if column.format == ANY_CASE:
        text = text.str.to_lowercase()
    if column.type in ("boolean", "datetime"):
        return pl.when(~means_missing(text)).then(text).name.keep()
    return pl.when(~text.is_in([*MISSING, *column.missing])).then(text).name.keep()


def require_column(frame: pl.DataFrame, name: str, *, what: str) -> None:
    """DataError with the closest name where `frame` has no column `name`."""
    if name not in frame.columns:
        shown = ", ".join(frame.columns[:8]) + (", ..." if frame.width > 8 else "")
        raise DataError(
            f"{what} {name!r} is not in the data.{closest(name, frame.columns)} Columns: {shown}."
        )


def _num_unique(frame: pl.DataFrame) -> dict[str, int]:
    import polars as pl

    counts = frame.select(pl.all().n_unique()).row(0)
    return {
        column.name: count - (column.null_count() > 0)
        for column, count in zip(frame.iter_columns(), counts, strict=True)
    }


def _num_missing(values: pl.Series, found: Guess) -> int:
    """Values that are not there, or are no dates where the others are."""
    import polars as pl

    if found.type == "datetime" and found.format is not None and values.dtype == pl.String:
        values = parse(values, found.format)
    return values.null_count()


def _few_texts(frame: pl.DataFrame, num_unique: Mapping[str, int]) -> dict[str, list[str]]:
    """The different texts of columns that have few of them."""
    import polars as pl

    names = [name for name, dtype in frame.schema.items() if dtype == pl.String and num_unique[name] <= FEW]
    if not names:
        return {}
    return frame.select(pl.col(name).drop_nulls().unique().sort().implode() for name in names).row(
        0, named=True
    )


def _override(values: pl.Series, wanted: str) -> Guess:
    import polars as pl

    kind = cast(ColumnType, wanted)  # one of TYPES, which has been checked
    row = first_misfit(values, kind)
    if row is not None:
        raise DataError(
            f"Column {values.name!r} cannot have the type {wanted}: row {row + 1} holds {values[row]!r}. "
            "Correct the values, or leave the type out."
        )
    form = find_format(values) if kind == "datetime" and values.dtype == pl.String else None
    return Guess(kind, "set by you", form)


def _role(asked: str | None, kind: ColumnType) -> Role:
    if asked is not None:
        return cast(Role, asked)  # one of ROLES, which has been checked
    return "ignore" if kind in ("identifier", "constant") else "feature"


def _check_settings(frame: pl.DataFrame, types: Mapping[str, str], roles: Mapping[str, str]) -> None:
    for name, kind in types.items():
        require_column(frame, name, what="A type is set for a column that does not exist:")
        _check_choice(kind, TYPES, "type", name)
    for name, role in roles.items():
        require_column(frame, name, what="A role is set for a column that does not exist:")
        _check_choice(role, ROLES, "role", name)
    for role in ("target", "time", "weight", "group"):
        holders = [name for name, asked in roles.items() if asked == role]
        if len(holders) > 1:
            raise DataError(
                f"Only one column can have the role {role}, but {' and '.join(map(repr, holders))} have it."
            )


def _check_choice(value: str, choices: tuple[str, ...], what: str, name: str) -> None:
    if value not in choices:
        raise DataError(
            f"{value!r} is no {what} for column {name!r}.{closest(str(value), choices)} Choose from "
            f"{', '.join(choices)}."
        )


def _check_role(values: pl.Series, column: Column) -> None:
    """Weights must be numbers >= 0; a time must have an order."""
    if column.role == "time" and column.type not in ("datetime", "number"):
        raise DataError(
            f"Column {column.name!r} cannot be the time: it holds {column.why}, not dates or numbers. Name "
            "a column of dates."
        )
    if column.role != "weight":
        return
    if not values.dtype.is_numeric():
        raise DataError(f"Column {column.name!r} cannot be the weight: it holds {column.why}, not numbers.")
    bad = (values.is_null() | ~(values >= 0) | values.is_infinite()).fill_null(True)
    if bad.any():
        row = int(bad.arg_max() or 0)
        raise DataError(
            f"Weights must be numbers >= 0, but row {row + 1} of {column.name!r} holds {values[row]}. "
            "Correct it."
        )


def _lost_dates(text: pl.Series, lost: pl.Series) -> Finding:
    rows = lost.head(NUM_ROWS).to_list()
    shown = ", ".join(f"{text[row]!r} in row {row + 1}" for row in rows) + (
        ", ..." if len(lost) > len(rows) else ""
    )
    return Finding(
        "unread_dates",
        "warning",
        f"In {text.name!r}, {len(lost):,} of the values are not dates like the others and count as missing: "
        f"{shown}.",
        {"num_rows": len(lost)},
        ("Correct these values.",),
        (text.name,),
        tuple(row + 1 for row in rows),
    )
