"""Excel sheets and JSON lines: what is read, what is said about the rest, and which line is wrong."""

from __future__ import annotations

import zipfile
from pathlib import Path

import polars as pl
import pytest

from danlu.core.errors import DataError
from danlu.data.sources import chunks, read

SHEETS = {
    "people": [["name", "age", "zip"], ["Ann", 39, "01234"], ["Bob", None, "10115"]],
    "towns": [["town", "size"], ["Rome", 2.5]],
    "blank": [],
}


@pytest.fixture
def workbook(tmp_path: Path) -> Path:
    """The least that an .xlsx file can be, with three sheets."""
    path = tmp_path / "book.xlsx"
    office = "http://schemas.openxmlformats.org"
    main, relations = f"{office}/spreadsheetml/2006/main", f"{office}/officeDocument/2006/relationships"
    kinds, links, entries = "", "", ""
    with zipfile.ZipFile(path, "w") as file:
        for number, (name, rows) in enumerate(SHEETS.items(), start=1):
            entries += f'<sheet name="{name}" sheetId="{number}" r:id="r{number}"/>'
            links += f'<Relationship Id="r{number}" Type="{relations}/worksheet" Target="worksheets/s{number}.xml"/>'
            kinds += (
                f'<Override PartName="/xl/worksheets/s{number}.xml" '
                'ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/>'
            )
            body = ""
            for place, row in enumerate(rows, start=1):
                cells = ""
                for letter, value in zip("ABC", row, strict=False):
                    if isinstance(value, str):
                        cells += f'<c r="{letter}{place}" t="inlineStr"><is><t>{value}</t></is></c>'
                    elif value is not None:
                        cells += f'<c r="{letter}{place}"><v>{value}</v></c>'
                body += f'<row r="{place}">{cells}</row>'
            sheet = f'<worksheet xmlns="{main}"><sheetData>{body}</sheetData></worksheet>'
            file.writestr(f"xl/worksheets/s{number}.xml", sheet)
        file.writestr(
            "xl/workbook.xml",
            f'<workbook xmlns="{main}" xmlns:r="{relations}"><sheets>{entries}</sheets></workbook>',
        )
        package = f"{office}/package/2006"
        file.writestr(
            "xl/_rels/workbook.xml.rels",
            f'<Relationships xmlns="{package}/relationships">{links}</Relationships>',
        )
        file.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{package}/relationships"><Relationship Id="w" '
            f'Type="{relations}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        )
        file.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{package}/content-types"><Default Extension="rels" '
            'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            '<Override PartName="/xl/workbook.xml" ContentType='
            f'"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>{kinds}</Types>',
        )
    return path


def test_the_first_sheet_is_read_and_the_others_are_named(workbook: Path):
    source = read(workbook)
    assert source.frame.rows() == [("Ann", 39, "01234"), ("Bob", None, "10115")]
    assert source.frame.schema["zip"] == pl.String
    notes = {note.code: note for note in source.notes}
    assert (
        "The first sheet, 'people', was read; book.xlsx also has 'towns', 'blank'."
        in notes["first_sheet"].message
    )
    assert notes["leading_zeros"].columns == ("zip",)


def test_a_named_sheet(workbook: Path):
    source = read(workbook, sheet="towns")
    assert source.frame.rows() == [("Rome", 2.5)]
    assert not source.notes
    assert source.fingerprint != read(workbook).fingerprint
    assert [part.rows() for part in chunks(workbook, sheet="towns", rows=1)] == [[("Rome", 2.5)]]


@pytest.mark.parametrize(
    ("sheet", "message"),
    [
        ("town", "book.xlsx has no sheet 'town'. Did you mean 'towns'? Sheets: people, towns, blank."),
        ("blank", "Sheet 'blank' of book.xlsx is empty. Name another one of: people, towns, blank."),
    ],
)
def test_sheets_that_cannot_be_read(workbook: Path, sheet: str, message: str):
    with pytest.raises(DataError) as error:
        read(workbook, sheet=sheet)
    assert message in str(error.value)


def test_json_lines_with_types_that_change_late(tmp_path: Path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"a": 1}\n' * 3000 + '{"a": 2.5, "b": "x"}\n')
    source = read(path)
    assert source.frame.shape == (3001, 2)
    assert source.frame.row(3000) == (2.5, "x")
    assert source.frame.row(0) == (1.0, None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1}\n{"a": \n', "t.jsonl: line 2 is not JSON"),
        ('{"a": 1}\n5\n', 't.jsonl: line 2 holds 5, not an object like {"age": 39}.'),
        ('[{"a": 1}, {"a": 2}]', "t.jsonl is a JSON array. danlu reads JSON lines: one object a line"),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, text: str, message: str):
    path = tmp_path / "t.jsonl"
    path.write_text(text)
    with pytest.raises(DataError) as error:
        read(path)
    assert message in str(error.value)
