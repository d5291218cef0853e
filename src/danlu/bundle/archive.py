"""The container: a zip of stored members in one exact layout, so that the same members give the same bytes.

Local header, data, local header, data, ..., directory, end record; nothing before, between or after. Headers
hold no time, attributes, extra fields or comments. What differs by a bit is refused before a member is read.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple, TypeAlias

from danlu.core.errors import BundleError, UserError

MAX_BYTES = 2**32 - 2  # of the whole file: a larger one needs zip64, which format 1 does not use
MAX_MEMBERS = 16
ALIGNMENT = 64  # bytes; where a member's data should start, so that arrays can be used in place

Buffer: TypeAlias = "bytes | bytearray | memoryview"


@dataclass(frozen=True)
class Member:
    """One file of the archive, and what the two headers say of it."""

    name: str
    size: int
    crc: int
    offset: int
    """Where its local header starts."""

    @property
    def start(self) -> int:
        """Where its data start."""
        return self.offset + _LOCAL.size + len(self.name)

    @property
    def end(self) -> int:
        """Where its data end."""
        return self.start + self.size


def read_archive(buffer: memoryview) -> dict[str, memoryview]:
    """The members in `buffer` by name, in their order, as views; `BundleError` for anything unusual."""
    members = _directory(buffer)
    position = 0
    for member in members:
        if member.offset != position:
            raise BundleError(f"{member.name} does not start where the member before it ends.")
        expected = _local_header(member)
        if bytes(buffer[member.offset : member.offset + len(expected)]) != expected:
            raise BundleError(f"the two headers of {member.name} differ, or hold what danlu never writes.")
        position = member.end
    if position != _end_record(buffer).start:
        raise BundleError("there is something between its last member and its directory.")
    views = {member.name: buffer[member.start : member.end] for member in members}
    for member in members:
        if zlib.crc32(views[member.name]) != member.crc:
            raise BundleError(f"{member.name} was altered or damaged: its checksum is another one.")
    return views


def first_member(buffer: memoryview) -> tuple[str, memoryview] | None:
    """Name and data of the first member where it is stored, found without a look at the rest of the file."""
    if len(buffer) < _LOCAL.size:
        return None
    signature, _, _, method, _, _, _, size, full_size, name_length, extra_length = _LOCAL.unpack_from(buffer)
    name, start = buffer[_LOCAL.size :][:name_length], _LOCAL.size + name_length + extra_length
    if signature != _LOCAL_SIGNATURE or method != 0 or size != full_size or start + size > len(buffer):
        return None
    return bytes(name).decode("latin-1"), buffer[start : start + size]


def write_archive(file: BinaryIO, contents: Sequence[tuple[str, Sequence[Buffer]]]) -> None:
    """Write members, each given as pieces of bytes, in the order of `contents`."""
    members: list[Member] = []
    offset = 0
    for name, pieces in contents:
        size = sum(len(piece) for piece in pieces)
        crc = 0
        for piece in pieces:
            crc = zlib.crc32(piece, crc)
        members.append(Member(name, size, crc, offset))
        offset = members[-1].end
    directory = b"".join(_directory_entry(member) for member in members)
    if offset + len(directory) + _END.size > MAX_BYTES:
        raise UserError(
            f"The model takes {offset / 1e9:.1f} GB; a model file holds at most {MAX_BYTES / 1e9:.1f} GB. "
            "Use fewer or smaller trees, fewer members, or a model that does not keep the training rows."
        )
    for member, (_, pieces) in zip(members, contents, strict=True):
        file.write(_local_header(member))
        for piece in pieces:
            file.write(piece)
    count = len(members)
    file.write(directory)
    file.write(_END.pack(_END_SIGNATURE, 0, 0, count, count, len(directory), offset, 0))


def padded(text: bytes, *, name: str, next_name: str, is_first: bool = False) -> bytes:
    """JSON text of a member with blanks after it that let the next member's data start at a multiple of 64.

    The member's own data start at such a multiple too, unless it is the first one.
    """
    start = _LOCAL.size + len(name) if is_first else 0
    return text + b" " * (-(start + len(text) + _LOCAL.size + len(next_name)) % ALIGNMENT)


_LOCAL_SIGNATURE, _ENTRY_SIGNATURE, _END_SIGNATURE = 0x04034B50, 0x02014B50, 0x06054B50
_LOCAL = struct.Struct("<IHHHHHIIIHH")
_ENTRY = struct.Struct("<IHHHHHHIIIHHHHHII")
_END = struct.Struct("<IHHHHIIH")
_ZIP64 = 2**32 - 1  # stands where the true number is in a zip64 record
_VERSION = 10  # 1.0: stored files; as "made by", its upper byte 0 is DOS, so that attributes are no Unix mode
_TIME, _DATE = 0, 0x21  # 1980-01-01 00:00
_NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)*")


def _local_header(member: Member) -> bytes:
    name = member.name.encode("ascii")
    fields = (_VERSION, 0, 0, _TIME, _DATE, member.crc, member.size, member.size, len(name), 0)
    return _LOCAL.pack(_LOCAL_SIGNATURE, *fields) + name


def _directory_entry(member: Member) -> bytes:
    name = member.name.encode("ascii")
    common = (_VERSION, 0, 0, _TIME, _DATE, member.crc, member.size, member.size, len(name), 0)
    return _ENTRY.pack(_ENTRY_SIGNATURE, _VERSION, *common, 0, 0, 0, 0, member.offset) + name


class _End(NamedTuple):
    """The end record."""

    signature: int
    disk: int
    first_disk: int
    num_here: int
    num_members: int
    size: int
    """Bytes of the directory."""
    start: int
    """Where the directory starts."""
    comment_length: int


class _Entry(NamedTuple):
    """What the directory says of one member, up to its name."""

    signature: int
    made_by: int
    version: int
    flags: int
    method: int
    time: int
    date: int
    crc: int
    size: int
    full_size: int
    name_length: int
    extra_length: int
    comment_length: int
    disk: int
    kind: int
    attributes: int
    offset: int


def _end_record(buffer: memoryview) -> _End:
    """The end record, after a check that it ends the file and that the directory ends where it starts."""
    if bytes(buffer[:4]) != struct.pack("<I", _LOCAL_SIGNATURE):
        raise BundleError("it is no zip archive, or something was put before its start.")
    at = len(buffer) - _END.size
    end = _End(*_END.unpack_from(buffer, at)) if at > 0 else None
    if end is None or end.signature != _END_SIGNATURE:
        raise BundleError("it is cut short, or something was added after its end.")
    if _ZIP64 in (end.size, end.start) or end.num_members == 2**16 - 1:
        raise BundleError("it is a zip64 archive, which format 1 is not.")
    if end.disk or end.first_disk or end.comment_length or end.num_here != end.num_members:
        raise BundleError("its end record holds a comment or several disks, which danlu never writes.")
    if not 0 < end.num_members <= MAX_MEMBERS:
        raise BundleError(f"it has {end.num_members} members; 1 to {MAX_MEMBERS} are allowed.")
    if end.start + end.size != at:
        raise BundleError("it is cut short, or something was added to it.")
    return end


def _directory(buffer: memoryview) -> list[Member]:
    """The members as the directory names them, after a check of every field."""
    end = _end_record(buffer)
    position, stop = end.start, end.start + end.size
    members: list[Member] = []
    for _ in range(end.num_members):
        if position + _ENTRY.size > stop:
            raise BundleError("its directory is shorter than its end record says.")
        member = _member(buffer, position)
        if any(member.name == other.name for other in members):
            raise BundleError(f"it has two members called {member.name}.")
        members.append(member)
        position += _ENTRY.size + len(member.name)
    if position != stop:
        raise BundleError("its directory is longer than its end record says.")
    return members


def _member(buffer: memoryview, position: int) -> Member:
    entry = _Entry(*_ENTRY.unpack_from(buffer, position))
    if entry.signature != _ENTRY_SIGNATURE:
        raise BundleError("its directory is damaged.")
    name = bytes(buffer[position + _ENTRY.size :][: entry.name_length]).decode("latin-1")
    if not _NAME.fullmatch(name) or len(name) > 100:
        raise BundleError(f"it has a member with the unsafe name {name[:80]!r}.")
    if entry.flags & 1:
        raise BundleError(f"{name} is encrypted.")
    if entry.method != 0 or entry.size != entry.full_size:
        raise BundleError(f"{name} is compressed; the members of a bundle never are.")
    if entry.made_by >> 8 or entry.attributes:
        raise BundleError(f"{name} carries file attributes, such as those of a symbolic link.")
    if _ZIP64 in (entry.size, entry.offset):
        raise BundleError(f"{name} uses zip64, which format 1 does not.")
    member = Member(name, entry.size, entry.crc, entry.offset)
    expected = _directory_entry(member)
    if bytes(buffer[position : position + len(expected)]) != expected:
        raise BundleError(f"the directory's entry of {name} holds what danlu never writes.")
    return member
