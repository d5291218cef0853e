"""Encodings are found out and told; what is no text, or broken, is named with its place."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from danlu.core.errors import DataError
from danlu.data.text_file import as_utf8

CHINESE = "姓名,城市\n张三,北京\n李四,上海\n王五,广州市天河区\n"


@pytest.mark.parametrize(
    ("text", "encoding", "found"),
    [
        ("a,b\n1,2\n", "utf-8", "utf-8"),
        ("姓名,b\n张三,2\n", "utf-8", "utf-8"),
        ("a,b\n1,ä\n", "utf-8-sig", "utf-8-sig"),
        ("a,b\n1,ä\n", "utf-16", "utf-16"),
        ("a,b\n1,2\n", "utf-16-le", "utf-16-le"),
        ("a,b\n1,2\n", "utf-16-be", "utf-16-be"),
        ("a,b\n1,ä\n", "utf-32", "utf-32"),
        (CHINESE, "gbk", "gb18030"),
        (CHINESE + "𠮷野家,1\n", "gb18030", "gb18030"),
        ("name,town\nJosé,Málaga\nFrançois,Nîmes\nJürgen,Köln\n", "latin-1", "cp1252"),
        ("price,name\n5 €,“quoted”\n", "cp1252", "cp1252"),
    ],
)
def test_finds_the_encoding_and_keeps_every_character(tmp_path: Path, text: str, encoding: str, found: str):
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode(encoding))
    with as_utf8(path) as file:
        assert file.encoding == found
        assert file.path.read_bytes().decode("utf-8-sig") == text
        assert (file.path == path) == found.startswith("utf-8")  # no copy where none is needed


def test_a_foreign_encoding_is_told_and_a_guessed_one_is_a_warning(tmp_path: Path):
    path = tmp_path / "table.csv"
    path.write_bytes(CHINESE.encode("gbk"))
    with as_utf8(path) as file:
        assert [(note.severity, note.evidence) for note in file.notes] == [
            ("info", {"encoding": "GBK (GB18030)"})
        ]
    path.write_bytes("naïve café".encode("latin-1"))
    with as_utf8(path) as file:
        (note,) = file.notes
    assert note.severity == "warning"
    assert "was read as Windows-1252 (Latin-1)" in note.message


def test_gzip_of_another_encoding(tmp_path: Path):
    path = tmp_path / "table.csv.gz"
    path.write_bytes(gzip.compress(CHINESE.encode("gbk")))
    with as_utf8(path) as file:
        copy = file.path
        assert copy.read_text(encoding="utf-8") == CHINESE
    assert not copy.exists()


def test_line_ends_of_old_macs_become_new_ones(tmp_path: Path):
    path = tmp_path / "table.csv"
    path.write_bytes(b"a,b\r1,2\r")
    with as_utf8(path) as file:
        assert file.path.read_bytes() == b"a,b\n1,2\n"


@pytest.mark.parametrize(
    ("content", "line", "byte", "offset"),
    [
        ("城,b\n上海,1\n".encode() + b"x\xe9y,2\n", 3, "0xe9", 16),  # one bad byte among good characters
        (b"a,b\nx\xff\xfe,1\n", 2, "0xff", 5),  # bytes that no text has
        ("a,b\n1,城".encode()[:-1], 2, "0xe5", 6),  # cut off in the middle of a character
        ("имя,город\nПривет,Москва\n".encode("cp1251"), 1, "0xe8", 0),  # neither GBK nor Latin-1
    ],
)
def test_broken_utf8_names_line_byte_and_offset(
    tmp_path: Path, content: bytes, line: int, byte: str, offset: int
):
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(DataError) as error, as_utf8(path):
        pass
    assert f"is not valid UTF-8: line {line} holds the byte {byte} at offset {offset}" in str(error.value)
    assert "Save it as UTF-8" in str(error.value)


def test_the_place_of_a_broken_byte_behind_many_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("danlu.data.text_file.BLOCK", 7)
    content = "名,b\n".encode() + "上海,1\n".encode() * 50 + b"\x80,1\n"
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with (
        pytest.raises(DataError, match=f"line 52 holds the byte 0x80 at offset {len(content) - 4},"),
        as_utf8(path),
    ):
        pass


def test_binary_content_is_refused(tmp_path: Path):
    path = tmp_path / "photo.csv"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    with pytest.raises(DataError, match="holds binary data, not text"), as_utf8(path):
        pass


def test_damaged_gzip(tmp_path: Path):
    path = tmp_path / "table.csv.gz"
    path.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 10_000)[:60])
    with pytest.raises(DataError, match="is a damaged gzip file"), as_utf8(path):
        pass


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "table.csv"
    path.write_bytes(b"a\n1\n")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match="may not be read: permission denied"), as_utf8(path):
        pass
