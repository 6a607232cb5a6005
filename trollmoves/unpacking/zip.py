"""zip archives: read by their central directory, every member compared with its local header, length and checksum.

Members may be stored, deflated, or compressed with bzip2 or zstd. The standard library's reader is not used on strangers'
archives: it decompresses bzip2 members without a bound and takes a central directory of any length into memory.
"""

from __future__ import annotations

import stat
import zlib
from collections.abc import Iterator
from itertools import chain, pairwise

from trollmoves.unpacking.base import BadArchive, Options, Packed, shown
from trollmoves.unpacking.contract import Unpacker
from trollmoves.unpacking.decompressing import BZIP2, DEFLATE, ZSTD, Bytes, Codec, one_stream, piece_size, pieces
from trollmoves.unpacking.limits import Budget
from trollmoves.unpacking.output import Output, Parts, bare_parts
from trollmoves.unpacking.zip_directory import LOCAL, Member, members_of

STORED = 0
CODECS: dict[int, Codec] = {8: DEFLATE, 12: BZIP2, 93: ZSTD}
ENCRYPTED_OR_PATCHED = 0x1 | 0x20 | 0x40 | 0x2000


def extract(packed: Packed, output: Output, options: Options) -> None:
    """Hand the members of the zip archive to *output*."""
    members = list(members_of(packed, output.budget))
    starts = {member.offset: _check(packed, member) for member in members}
    _check_overlaps(members, starts)
    for member in members:
        if member.is_directory:
            output.directory(member.name)
        else:
            _extract_file(packed, member, starts[member.offset], output, options)


def contents_of(packed: Packed, wanted: Parts, options: Options, budget: Budget) -> tuple[int, Bytes] | None:
    """The size of the (last) file of that name, and its bytes in pieces; None where there is none. Raises `BadArchive`, perhaps
    not before its end."""
    found = None
    for member in members_of(packed, budget):
        if not member.is_directory and bare_parts(member.name) == wanted:
            found = member
    if found is None:
        return None
    return found.size, _contents(packed, found, _check(packed, found), budget.limits.memory, options)


ZIP_FILES = Unpacker((".zip",), extract)


def _check(packed: Packed, member: Member) -> int:
    """Refuse what is not unpacked; return where the bytes of the member begin."""
    name = shown(member.name)
    kind = stat.S_IFMT(member.mode)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise BadArchive(f"{name}: is {_kind(kind)}; only regular files and directories are unpacked")
    wrong_kind = stat.S_IFREG if member.is_directory else stat.S_IFDIR
    if kind == wrong_kind or (member.is_directory and member.size):
        raise BadArchive(f"{name}: is a directory and a file at once")
    if member.flags & ENCRYPTED_OR_PATCHED:
        raise BadArchive(f"{name}: is encrypted or a patch")
    if member.method != STORED and member.method not in CODECS:
        raise BadArchive(f"{name}: compression method {member.method} is not supported")
    return _data_start(packed, member)


def _kind(kind: int) -> str:
    return "a symbolic link" if kind == stat.S_IFLNK else "a special file"


def _data_start(packed: Packed, member: Member) -> int:
    local = packed.read_at(LOCAL.size, member.offset) if member.offset < member.limit else b""
    if len(local) < LOCAL.size or not local.startswith(b"PK\3\4"):
        raise BadArchive(f"{shown(member.name)}: its header is not where the directory says: the archive is damaged")
    fields = LOCAL.unpack(local)
    name_length, extra_length = int(fields[-2]), int(fields[-1])
    name = packed.read_at(name_length, member.offset + LOCAL.size)
    if name != member.raw_name or fields[3] != member.method:
        raise BadArchive(f"{shown(member.name)}: its header and the directory say different things")
    return member.offset + LOCAL.size + name_length + extra_length


def _check_overlaps(members: list[Member], starts: dict[int, int]) -> None:
    """Members that share bytes are how small archives become large, and no program writes them."""
    if len(starts) < len(members):
        raise BadArchive("has two members in one place")
    spans = sorted((member.offset, starts[member.offset] + member.packed_size, member.limit) for member in members)
    ends_in_time = all(end <= limit for _, end, limit in spans)
    if not ends_in_time or any(after[0] < before[1] for before, after in pairwise(spans)):
        raise BadArchive("has members that overlap")


def _extract_file(packed: Packed, member: Member, start: int, output: Output, options: Options) -> None:
    output.budget.room_for(member.name, member.size)
    mode = stat.S_IMODE(member.mode) if member.mode else 0o644
    with output.file(member.name, mode=mode, mtime=packed.mtime) as file:
        for data in _contents(packed, member, start, output.budget.limits.memory, options):
            file.write(data)


def _contents(packed: Packed, member: Member, start: int, memory: int, options: Options) -> Bytes:
    """The plain bytes of a member, never more than it is said to have. Raises `BadArchive`, perhaps at their end."""
    size = checksum = 0
    for data in _plain(packed, member, start, memory, piece_size(options.block_size)):
        size += len(data)
        if size > member.size:
            raise BadArchive(f"{shown(member.name)}: is longer than the {member.size} bytes the archive says")
        checksum = zlib.crc32(data, checksum)
        yield data
    if size != member.size or checksum != member.checksum:
        raise BadArchive(f"{shown(member.name)}: has another length or checksum than the archive says: it is damaged")


def _plain(packed: Packed, member: Member, start: int, memory: int, piece: int) -> Iterator[bytes]:
    raw = pieces(packed, start, start + member.packed_size)
    if member.method == STORED:
        yield from raw
        return
    yield from _decompressed(raw, CODECS[member.method], memory, piece, member)


def _decompressed(raw: Bytes, codec: Codec, memory: int, piece: int, member: Member) -> Iterator[bytes]:
    decompressor = codec.new(memory)
    yield from one_stream(decompressor, codec, next(raw, b""), raw, piece)
    if any(chain([decompressor.unused_data], raw)):
        raise BadArchive(f"{shown(member.name)}: has bytes behind its end: the archive is damaged")
