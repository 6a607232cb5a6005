"""tar archives: ustar, GNU and pax, with sparse files; members one by one, nothing skipped in silence.

The standard library's reader is not used on strangers' archives: it takes a damaged header for the end of the archive, reads
headers of any length into memory, and its filters have been escaped. Here a header is 512 bytes with the right checksum, the end
is a block of zeros, and what is neither a regular file nor a directory is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from trollmoves.unpacking.base import BadArchive, Options, Packed, shown
from trollmoves.unpacking.contract import Unpacker
from trollmoves.unpacking.decompressing import Bytes, codec_of
from trollmoves.unpacking.fields import field_number
from trollmoves.unpacking.limits import Budget
from trollmoves.unpacking.output import PIECE, MemberFile, Output, Parts, bare_parts
from trollmoves.unpacking.pax import Records, parse_records
from trollmoves.unpacking.source import Leaping, Source, plain_bytes
from trollmoves.unpacking.sparse import Extents, checked_extents, extents_ahead, extents_of_records, extents_old

BLOCK = 512
REFUSED = {b"1": "a hard link", b"2": "a symbolic link", b"3": "a character device", b"4": "a block device", b"6": "a FIFO",
           b"M": "part of a file on several volumes", b"D": "a GNU directory dump"}
WITHOUT_BYTES = (b"1", b"2", b"3", b"4", b"6")
"""Whatever their headers say."""
FILES = (b"0", b"\0", b"7", b"S")
DIRECTORY = b"5"
VOLUME_LABEL = b"V"
LONG_NAME, LONG_LINK = b"L", b"K"
PAX, PAX_GLOBAL, PAX_SOLARIS = b"x", b"g", b"X"
EXTENSIONS = (LONG_NAME, LONG_LINK, PAX, PAX_GLOBAL, PAX_SOLARIS, VOLUME_LABEL)
GLOBAL_KEYS = ("path", "size")


@dataclass(slots=True)
class Header:
    """One header block."""

    block: bytes
    name: str
    mode: int
    size: int
    kind: bytes


@dataclass(slots=True)
class Entry:
    """One member: its header and what came before it."""

    name: str
    mode: int
    kind: bytes
    stored: int
    """Bytes in the archive."""
    size: int
    """Bytes unpacked."""
    extents: Extents | None = None
    """Where the stored bytes of a sparse file belong."""


@dataclass(slots=True)
class Before:
    """What the extension headers before a member say about it."""

    name: str | None = None
    records: Records = field(default_factory=Records)


def extract(packed: Packed, output: Output, options: Options) -> None:
    """Hand the members of the tar archive to *output*."""
    source = Source(plain_bytes(packed, options, output.budget))
    for entry in _entries(source, output.budget.limits.header):
        if entry.kind == DIRECTORY:
            output.directory(entry.name)
            continue
        output.budget.room_for(entry.name, entry.size)
        with output.file(entry.name, mode=entry.mode, mtime=packed.mtime) as member:
            _copy(source, entry, member)
        source.exactly(-entry.stored % BLOCK)


def names_in(packed: Packed, options: Options, budget: Budget) -> Iterator[str]:
    """The names of the files in a tar archive."""
    for entry, _ in _passed(packed, options, budget, strict=True):
        if entry.kind != DIRECTORY:
            yield entry.name


def contents_of(packed: Packed, wanted: Parts, options: Options, budget: Budget) -> tuple[int, Bytes] | None:
    """The size of the (last) file of that name, and its bytes in pieces; None where there is none. Raises `BadArchive`, perhaps
    not before its end."""
    found = None
    for entry, at in _passed(packed, options, budget, strict=False):
        if entry.kind != DIRECTORY and bare_parts(entry.name) == wanted:
            found = entry, at
    if found is None:
        return None
    _check_kind(found[0].kind, found[0].name)
    source = _source_of(packed, options, Budget(budget.limits, packed.size, 0))
    source.skip(found[1])
    return found[0].size, _contents(source, found[0])


def _source_of(packed: Packed, options: Options, budget: Budget) -> Source:
    return Leaping(packed) if codec_of(packed) is None else Source(plain_bytes(packed, options, budget))


def _passed(packed: Packed, options: Options, budget: Budget, *, strict: bool) -> Iterator[tuple[Entry, int]]:
    """All members, and where their bytes begin. Unless that is to be *strict*, also what is not unpacked."""
    source = _source_of(packed, options, budget)
    for entry in _entries(source, budget.limits.header, strict=strict):
        budget.member(entry.name)
        yield entry, source.position
        source.skip(entry.stored if entry.extents is None else sum(count for _, count in entry.extents))
        source.skip(-entry.stored % BLOCK)


def _contents(source: Source, entry: Entry) -> Bytes:
    """The bytes of a member, and zeros for its holes."""
    done = 0
    for offset, count in [*([(0, entry.size)] if entry.extents is None else entry.extents), (entry.size, 0)]:
        while done < offset:
            yield bytes(min(offset - done, PIECE))
            done += min(offset - done, PIECE)
        while done < offset + count:
            data = source.some(offset + count - done)
            if not data:
                raise BadArchive(f"{shown(entry.name)}: the archive ends in the middle of this member: it is truncated")
            yield bytes(data)
            done += len(data)


TAR_FILES = Unpacker((".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst"), extract)


def _copy(source: Source, entry: Entry, member: MemberFile) -> None:
    extents = [(0, entry.size)] if entry.extents is None else entry.extents
    for offset, count in extents:
        if offset > member.size:
            member.skip(offset - member.size)
        while count:
            data = source.some(count)
            if not data:
                raise BadArchive(f"{shown(entry.name)}: the archive ends in the middle of this member: it is truncated")
            member.write(data)
            count -= len(data)
    if entry.size > member.size:
        member.skip(entry.size - member.size)


def _entries(source: Source, most: int, *, strict: bool = True) -> Iterator[Entry]:
    general = Records()
    before, room = Before(), most
    while (header := _header(source)) is not None:
        if header.kind in EXTENSIONS:
            room -= BLOCK + header.size
            if header.size < 0 or room < 0:
                raise BadArchive(f"{shown(header.name)}: more than {most} bytes of headers before one member")
            _extend(header, source, before, general)
        else:
            yield _entry(header, source, before, general, room, strict=strict)
            before, room = Before(), most
    if before != Before():
        raise BadArchive("ends between the headers of a member: it is truncated")
    _read_rest(source)


def _header(source: Source) -> Header | None:
    """The next header; None at the mark of the end."""
    block = source.at_most(BLOCK)
    if len(block) < BLOCK:
        raise BadArchive("ends without the mark that ends a tar archive: it is truncated, or no tar archive")
    if block.count(0) == BLOCK:
        if source.at_most(BLOCK).strip(b"\0"):
            raise BadArchive("has a block of zeros among its members: it is damaged")
        return None
    if not _has_checksum(block, field_number(block[148:156], "checksum")):
        raise BadArchive("has a header with a wrong checksum: it is damaged, or no tar archive")
    name = _text(block[:100])
    if block[257:263] == b"ustar\0" and block[345]:
        name = f"{_text(block[345:500])}/{name}"
    return Header(block, name, field_number(block[100:108], "mode"), field_number(block[124:136], "size"),
                  block[156:157])


def _read_rest(source: Source) -> None:
    """Read what is behind the end: checksums of a compressed archive are looked at there, and some programs leave anything in
    their last record. Only another header is more than that: archives that were joined, of which but the first would be seen."""
    while block := source.at_most(BLOCK):
        if block.count(0) < len(block) == BLOCK and _is_header(block):
            raise BadArchive("has members behind its end: it was joined of several archives")


def _is_header(block: bytes) -> bool:
    try:
        return _has_checksum(block, field_number(block[148:156], "checksum"))
    except BadArchive:
        return False


def _has_checksum(block: bytes, expected: int) -> bool:
    """As the standard computes it, or with signed bytes as some old programs did."""
    counted = block[:148] + b" " * 8 + block[156:]
    unsigned = sum(counted)
    return expected == unsigned or expected == unsigned - 256 * sum(byte > 127 for byte in counted)


def _text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _extend(header: Header, source: Source, before: Before, general: Records) -> None:
    """Take in a header that speaks about the next member (or about all that follow)."""
    data = source.exactly(header.size)
    source.exactly(-header.size % BLOCK)
    if header.kind == LONG_NAME:
        before.name = _text(data)
    elif header.kind in (PAX, PAX_SOLARIS):
        before.records = parse_records(data)
    elif header.kind == PAX_GLOBAL:
        general.update((key, value) for key, value in parse_records(data).items() if key in GLOBAL_KEYS)


def _entry(header: Header, source: Source, before: Before, general: Records, room: int, *, strict: bool) -> Entry:
    records = Records({**general, **before.records}, before.records.extents)
    name = records.get("GNU.sparse.name") or records.get("path") or before.name or header.name
    kind = DIRECTORY if header.kind == b"\0" and name.endswith("/") else header.kind
    if strict:
        _check_kind(kind, name)
    stored = records.number("size", header.size)
    if stored < 0:
        raise BadArchive(f"{shown(name)}: a negative size: the archive is damaged")
    if kind == DIRECTORY or kind in WITHOUT_BYTES:
        return Entry(name, 0, kind, 0, 0)
    entry = Entry(name, header.mode & 0o7777, kind, stored, stored)
    _add_extents(entry, header, records, source, room)
    return entry


def _add_extents(entry: Entry, header: Header, records: Records, source: Source, room: int) -> None:
    """For a sparse file, find where its bytes belong; the map may be in further blocks of the archive."""
    data = entry.stored
    if entry.kind == b"S":
        entry.extents, entry.size = extents_old(header.block, source, room)
    elif records.get("GNU.sparse.major") == "1":
        entry.extents, read = extents_ahead(source, min(room, entry.stored))
        entry.size = records.number("GNU.sparse.realsize", -1)
        data = entry.stored - read
    elif "GNU.sparse.size" in records:
        entry.extents = extents_of_records(records)
        entry.size = records.number("GNU.sparse.size", -1)
    if entry.extents is not None:
        checked_extents(entry.extents, data, entry.size, entry.name)


def _check_kind(kind: bytes, name: str) -> None:
    if kind in FILES or kind == DIRECTORY:
        return
    what = REFUSED.get(kind, f"a member of the unknown type {kind!r}")
    raise BadArchive(f"{shown(name)}: is {what}; only regular files and directories are unpacked")
