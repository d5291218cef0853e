"""Tests of bundle/archive.py: zipfile and unzip read what is written; whatever differs from it is refused."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from danlu.bundle import archive
from danlu.bundle.archive import first_member, padded, read_archive, write_archive
from danlu.core.errors import BundleError, UserError

CONTENTS = {"manifest.json": b'{"a": 1}', "tensors.safetensors": bytes(range(256)), "empty": b""}
FIXED = (1980, 1, 1, 0, 0, 0)


def made(contents: dict[str, bytes] = CONTENTS) -> bytes:
    file = io.BytesIO()
    write_archive(file, [(name, [content[:3], content[3:]]) for name, content in contents.items()])
    return file.getvalue()


def zipped(*members: tuple[str, bytes], **changes: Any) -> bytes:
    """What Python's zipfile writes, as near to our layout as it can, with some fields changed."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as writer:
        for name, content in members:
            info = zipfile.ZipInfo(name, FIXED)
            info.create_system, info.create_version, info.extract_version = 0, 10, 10
            for field, value in changes.items():
                setattr(info, field, value)
            writer.writestr(info, content)
            info.external_attr = changes.get("external_attr", 0)  # zipfile has set it where it was 0
    return file.getvalue()


def patched(position: int, layout: str, value: int, data: bytes | None = None) -> bytes:
    """An archive with one field overwritten; positions below 0 count from its end."""
    file = bytearray(made() if data is None else data)
    struct.pack_into(layout, file, position if position >= 0 else len(file) + position, value)
    return bytes(file)


def directory() -> int:
    """Where the directory of the archive of the tests starts."""
    return struct.unpack_from("<I", made(), len(made()) - 6)[0]


def test_what_is_written_is_read_by_us_and_by_zipfile() -> None:
    data = made()
    members = read_archive(memoryview(data))
    assert {name: bytes(content) for name, content in members.items()} == CONTENTS
    assert list(members) == list(CONTENTS)
    with zipfile.ZipFile(io.BytesIO(data)) as reader:
        assert reader.testzip() is None
        assert {name: reader.read(name) for name in reader.namelist()} == CONTENTS
        assert all(info.date_time == FIXED and info.compress_type == 0 for info in reader.infolist())


def test_the_layout_is_the_one_that_zipfile_writes() -> None:
    assert zipped(*CONTENTS.items()) == made()


def test_json_is_padded_so_that_arrays_are_aligned() -> None:
    for length in range(1, 130):
        first = padded(b"x" * length, name="manifest.json", next_name="model.json", is_first=True)
        second = padded(b"y" * 100, name="model.json", next_name="tensors.safetensors")
        data = made({"manifest.json": first, "model.json": second, "tensors.safetensors": b"ARRAYS"})
        assert data.index(b"yyy") % 64 == 0
        assert data.index(b"ARRAYS") % 64 == 0
        assert len(first) < length + 64


def test_the_first_member_is_found_without_the_rest() -> None:
    data = made()
    name, content = first_member(memoryview(data[:100])) or ("", memoryview(b""))
    assert (name, bytes(content)) == ("manifest.json", CONTENTS["manifest.json"])
    assert first_member(memoryview(data[:45])) is None
    assert first_member(memoryview(b"PK")) is None
    assert first_member(memoryview(zipped(("a", b"a" * 99), compress_type=zipfile.ZIP_DEFLATED))) is None


def test_a_model_beyond_four_gigabytes_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_BYTES", 500)
    file = io.BytesIO()
    with pytest.raises(UserError, match=r"The model takes 0\.0 GB; a model file holds at most .* fewer"):
        write_archive(file, [("model.json", [bytes(400)])])
    assert file.getvalue() == b""


def test_every_shorter_file_is_refused() -> None:
    data = made()
    for length in range(len(data)):
        with pytest.raises(BundleError, match=r"cut short|was put before its start"):
            read_archive(memoryview(data[:length]))


def test_every_altered_bit_is_refused() -> None:
    data = made()
    for place in range(len(data) * 8):
        altered = bytearray(data)
        altered[place // 8] ^= 1 << place % 8
        with pytest.raises(BundleError):
            read_archive(memoryview(altered))


def test_an_altered_byte_names_its_member() -> None:
    place = made().index(bytes(range(256))) + 77
    with pytest.raises(BundleError, match=r"tensors\.safetensors was altered or damaged"):
        read_archive(memoryview(patched(place, "<B", 0)))


DEFLATED = {"compress_type": zipfile.ZIP_DEFLATED}
SYMLINK = {"create_system": 3, "external_attr": 0o120777 << 16}
ATTACKS: dict[str, tuple[Callable[[], bytes], str]] = {
    "something before": (lambda: b"#!/bin/sh\n" + made(), "was put before its start"),
    "something after": (lambda: made() + b"\n", "cut short, or something was added after its end"),
    "an archive after": (lambda: made() + made(), "cut short, or something was added"),
    "comment": (lambda: made()[:-2] + b"\x03\x00abc", "added after its end"),
    "comment of nothing": (lambda: patched(-2, "<H", 1), "holds a comment"),
    "deflated": (lambda: zipped(("a", b"a" * 99), **DEFLATED), "a is compressed"),
    "bomb": (lambda: zipped(("a", bytes(50_000_000)), **DEFLATED), "a is compressed"),
    "bzip2": (lambda: zipped(("a", b"a" * 99), compress_type=zipfile.ZIP_BZIP2), "a is compressed"),
    "lzma": (lambda: zipped(("a", b"a" * 99), compress_type=zipfile.ZIP_LZMA), "a is compressed"),
    "size within size": (lambda: patched(directory() + 24, "<I", 2**31), "is compressed"),
    "encrypted": (lambda: patched(directory() + 8, "<H", 1), "is encrypted"),
    "sizes after the data": (lambda: patched(directory() + 8, "<H", 8), "holds what danlu never writes"),
    "parent folder": (
        lambda: zipped(("../../etc/cron.d/x", b"x")),
        r"the unsafe name '\.\./\.\./etc/cron\.d/x'",
    ),
    "absolute": (lambda: zipped(("/etc/passwd", b"x")), "the unsafe name '/etc/passwd'"),
    "folder": (lambda: zipped(("a/b", b"x")), "the unsafe name 'a/b'"),
    "backslash": (lambda: zipped(("a\\b", b"x")), "the unsafe name"),
    "drive": (lambda: zipped(("c:x", b"x")), "the unsafe name 'c:x'"),
    "hidden": (lambda: zipped((".bashrc", b"x")), "the unsafe name"),
    "other case": (lambda: zipped(("Model.json", b"x")), "the unsafe name"),
    "not ASCII": (lambda: zipped(("mödel", b"x")), "the unsafe name"),
    "no name": (lambda: zipped(("", b"x")), "the unsafe name ''"),
    "nul": (lambda: made().replace(b"empty", b"emp\0y"), "the unsafe name"),
    "long name": (lambda: zipped(("a" * 101, b"x")), "the unsafe name"),
    "symbolic link": (lambda: zipped(("a", b"/etc/passwd"), **SYMLINK), "a carries file attributes"),
    "Unix": (lambda: zipped(("a", b"x"), create_system=3), "a carries file attributes"),
    "time": (lambda: zipped(("a", b"x"), date_time=(2026, 1, 1, 0, 0, 0)), "holds what danlu never writes"),
    "extra field": (lambda: zipped(("a", b"x"), extra=b"\xca\xfe\x01\x00x"), "holds what danlu never writes"),
    "member's comment": (lambda: zipped(("a", b"x"), comment=b"x"), "holds what danlu never writes"),
    "zip64 size": (lambda: patched(directory() + 42, "<I", 2**32 - 1), "uses zip64"),
    "zip64 archive": (lambda: patched(-6, "<I", 2**32 - 1), "is a zip64 archive"),
    "65535 members": (lambda: patched(-14, "<I", 2**32 - 1), "is a zip64 archive"),
    "more members": (lambda: patched(-14, "<I", 0x0004_0004), "directory is shorter"),
    "fewer members": (lambda: patched(-14, "<I", 0x0002_0002), "directory is longer"),
    "no members": (lambda: zipped(), "was put before its start"),
    "too many members": (lambda: zipped(*[(f"a{i}", b"") for i in range(17)]), "has 17 members; 1 to 16"),
    "two disks": (lambda: patched(-18, "<H", 1), "several disks"),
    "two headers, two names": (
        lambda: made().replace(b"empty", b"other", 1),
        "the two headers of empty differ",
    ),
    "two headers, two sizes": (lambda: patched(18, "<I", 9), "the two headers of manifest.json differ"),
    "lying checksum": (
        lambda: patched(14, "<I", 9, patched(directory() + 16, "<I", 9)),
        "manifest.json was altered",
    ),
    "overlapping members": (lambda: patched(directory() + 46 + 13 + 42, "<I", 0), "does not start where"),
    "hole": (
        lambda: (
            made().replace(b"PK\x01\x02", b"secret" + b"PK\x01\x02", 1)[:-6]
            + struct.pack("<IH", directory() + 6, 0)
        ),
        "something between its last member and its directory",
    ),
    "directory elsewhere": (lambda: patched(-6, "<I", 10), "cut short, or something was added"),
    "tar": (lambda: b"model.json\0" + bytes(1000), "is no zip archive"),
}


@pytest.mark.parametrize("what", ATTACKS)
def test_an_archive_of_another_kind_is_refused(what: str) -> None:
    make, message = ATTACKS[what]
    with pytest.raises(BundleError, match=message):
        read_archive(memoryview(make()))


def test_a_name_that_stands_there_twice_is_refused() -> None:
    file = io.BytesIO()
    write_archive(file, [("model.json", [b"what is checked"]), ("model.json", [b"what is used"])])
    with pytest.raises(BundleError, match=r"it has two members called model\.json"):
        read_archive(memoryview(file.getvalue()))
