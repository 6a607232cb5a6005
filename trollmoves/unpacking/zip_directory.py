"""The central directory of a zip archive, read entry by entry; with the 64-bit fields and Unicode names of later versions."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from trollmoves.unpacking.base import BadArchive, Packed, shown
from trollmoves.unpacking.limits import Budget

END = struct.Struct("<4s4H2LH")
END_64_LOCATOR = struct.Struct("<4sLQL")
END_64 = struct.Struct("<4sQ2H2L4Q")
CENTRAL = struct.Struct("<4s6H3L5H2L")
LOCAL = struct.Struct("<4s5H3L2H")
LONGEST_COMMENT = 0xFFFF
IS_UTF_8 = 0x800
UNIX = 3
LOCATOR_MARK = b"PK\6\7"
EXTRA_64, EXTRA_NAME = 0x0001, 0x7075
FULL_16, FULL_32 = 0xFFFF, 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Member:
    """One entry."""

    name: str
    raw_name: bytes
    flags: int
    method: int
    checksum: int
    packed_size: int
    size: int
    offset: int
    """Where its local header begins."""
    limit: int
    """Where the members end and the directory begins."""
    mode: int
    """As of Unix, with the type; 0 when the archive does not say."""

    @property
    def is_directory(self) -> bool:
        """Whether its name says so."""
        return self.name.endswith("/")


@dataclass(frozen=True, slots=True)
class Directory:
    """Where the entries are."""

    count: int
    offset: int
    size: int


def members_of(packed: Packed, budget: Budget) -> Iterator[Member]:
    """All members, in the order of the directory. None of them has a name that is too long: together they are kept in memory."""
    directory = _find_directory(packed)
    if directory.count > budget.limits.members:
        raise BadArchive(f"has {directory.count} members, more than the {budget.limits.members} allowed")
    for member in _members(packed, directory):
        if max(len(member.raw_name), len(member.name)) > budget.limits.path_length:
            raise BadArchive(f"{shown(member.name)}: a member's name is too long")
        yield member


def _find_directory(packed: Packed) -> Directory:
    length = min(packed.size, END.size + LONGEST_COMMENT)
    tail = packed.read_at(length, packed.size - length)
    at = tail.rfind(b"PK\5\6")
    while at >= 0:
        if at + END.size <= len(tail) and at + END.size + END.unpack_from(tail, at)[-1] == len(tail):
            return _directory_at(packed, packed.size - length + at, END.unpack_from(tail, at))
        at = tail.rfind(b"PK\5\6", 0, at)
    raise BadArchive("has no end record: it is truncated, or no zip archive")


def _directory_at(packed: Packed, end: int, fields: tuple[int, ...]) -> Directory:
    _, disk, first_disk, here, count, size, offset, _ = fields
    full = FULL_16 in (count, disk, first_disk) or FULL_32 in (size, offset)
    if full or _pread(packed, END_64_LOCATOR.size, end - END_64_LOCATOR.size).startswith(LOCATOR_MARK):
        end, (disk, first_disk, here, count, size, offset) = _directory_64(packed, end)
    if disk or first_disk or here != count:
        raise BadArchive("is part of an archive on several disks")
    if offset + size != end or count * CENTRAL.size > size:
        raise BadArchive("has a directory that is not where it should be: it is damaged")
    return Directory(count, offset, size)


def _directory_64(packed: Packed, end: int) -> tuple[int, tuple[int, ...]]:
    locator = _pread(packed, END_64_LOCATOR.size, end - END_64_LOCATOR.size)
    if len(locator) == END_64_LOCATOR.size and locator.startswith(LOCATOR_MARK):
        offset = END_64_LOCATOR.unpack(locator)[2]
        record = _pread(packed, END_64.size, offset)
        if len(record) == END_64.size and record.startswith(b"PK\6\6"):
            return offset, END_64.unpack(record)[4:]
    raise BadArchive("has no 64-bit end record where it should be: it is damaged")


def _pread(packed: Packed, count: int, offset: int) -> bytes:
    """Bytes at an offset that the archive gave; none outside it."""
    return packed.read_at(count, offset) if 0 <= offset < packed.size else b""


def _members(packed: Packed, directory: Directory) -> Iterator[Member]:
    at, end = directory.offset, directory.offset + directory.size
    for _ in range(directory.count):
        head = packed.read_at(CENTRAL.size, at)
        if len(head) < CENTRAL.size or not head.startswith(b"PK\1\2"):
            raise BadArchive("has a damaged directory")
        fields = CENTRAL.unpack(head)
        lengths = fields[10:13]
        rest = packed.read_at(sum(lengths[:2]), at + CENTRAL.size)
        at += CENTRAL.size + sum(lengths)
        if at > end or len(rest) < sum(lengths[:2]):
            raise BadArchive("has a damaged directory")
        yield _member(fields, rest[:lengths[0]], _extras(rest[lengths[0]:]), directory.offset)
    if at != end:
        raise BadArchive("has a directory with more members than it says: it is damaged")


def _member(fields: tuple[int, ...], raw_name: bytes, extras: dict[int, bytes], limit: int) -> Member:
    _, made_by, _, flags, method, _, _, checksum, *_ = fields
    size, packed_size, offset = _wide(extras.get(EXTRA_64, b""), fields[9], fields[8], fields[16])
    mode = fields[15] >> 16 if made_by >> 8 == UNIX or fields[15] >> 28 else 0
    is_utf_8 = bool(flags & IS_UTF_8) or made_by >> 8 == UNIX  # where names are bytes, and nearly always these
    return Member(_name(raw_name, is_utf_8, extras), raw_name, flags, method, checksum, packed_size, size, offset, limit, mode)


def _wide(extra: bytes, *values: int) -> list[int]:
    """The values, with those that are full replaced by the 64-bit ones in *extra*."""
    found = []
    for value in values:
        if value == FULL_32:
            if len(extra) < 8:
                raise BadArchive("has a member without the 64-bit sizes it needs: it is damaged")
            value, extra = int.from_bytes(extra[:8], "little"), extra[8:]
        found.append(value)
    return found


def _extras(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while len(data) >= 4:
        kind, length = struct.unpack_from("<2H", data)
        found.setdefault(kind, data[4:4 + length])
        data = data[4 + length:]
    return found


def _name(raw: bytes, is_utf_8: bool, extras: dict[int, bytes]) -> str:
    unicode = extras.get(EXTRA_NAME, b"")
    if len(unicode) > 5 and unicode[0] == 1 and int.from_bytes(unicode[1:5], "little") == zlib.crc32(raw):
        return unicode[5:].decode("utf-8", "surrogateescape")
    return raw.decode("utf-8", "surrogateescape") if is_utf_8 else raw.decode("cp437")
