"""Sparse files in tar archives: where the stored bytes belong, in the four notations GNU tar has had."""

from __future__ import annotations

from collections.abc import Sequence

from trollmoves.unpacking.base import BadArchive, shown
from trollmoves.unpacking.fields import field_number, whole
from trollmoves.unpacking.pax import Records
from trollmoves.unpacking.source import Source

Extents = list[tuple[int, int]]
"""Offset and count of bytes, in ascending order; between them are holes."""

BLOCK = 512
IN_HEADER = (386, 4)
"""Where the entries of the oldest notation begin in the header, and how many fit."""
IN_EXTENSION = (0, 21)
ENTRY = 24
MAP = "map of a sparse file"


def extents_old(block: bytes, source: Source, room: int) -> tuple[Extents, int]:
    """The oldest notation: in the header and further blocks behind it. Returns also the size of the whole file."""
    extents = _entries(block, *IN_HEADER)
    size = field_number(block[483:495], "size of a sparse file")
    more = block[482]
    while more:
        room -= BLOCK
        if room < 0:
            raise BadArchive("has a map of a sparse file that is too long")
        further = source.exactly(BLOCK)
        extents += _entries(further, *IN_EXTENSION)
        more = further[504]
    return extents, size


def _entries(block: bytes, start: int, count: int) -> Extents:
    fields = [block[start + ENTRY * index:start + ENTRY * (index + 1)] for index in range(count)]
    return [(field_number(entry[:12], MAP), field_number(entry[12:], MAP)) for entry in fields if entry[0]]


def extents_of_records(records: Records) -> Extents:
    """Notations 0.0 and 0.1: in the pax header."""
    if "GNU.sparse.map" in records:
        return _pairs([whole(number, MAP) for number in records["GNU.sparse.map"].split(",") if number])
    return _pairs(records.extents)


def extents_ahead(source: Source, room: int) -> tuple[Extents, int]:
    """Notation 1.0: decimal lines ahead of the bytes, filled up to whole blocks. Returns also how many bytes these took."""
    reader = _Lines(source, room)
    count = reader.number()
    if count > room:
        raise BadArchive("has a map of a sparse file that is too long")
    numbers = [reader.number() for _ in range(2 * count)]
    return _pairs(numbers), reader.read


class _Lines:
    """Numbers, one a line, out of whole blocks."""

    def __init__(self, source: Source, room: int):
        self._source = source
        self._room = room
        self._data = b""
        self.read = 0

    def number(self) -> int:
        line, newline, rest = self._data.partition(b"\n")
        if newline:
            self._data = rest
            return whole(line.decode("ascii", "replace"), MAP)
        self.read += BLOCK
        if self.read > self._room or len(self._data) > BLOCK:
            raise BadArchive("has a map of a sparse file that is too long")
        self._data += self._source.exactly(BLOCK)
        return self.number()


def _pairs(numbers: Sequence[int]) -> Extents:
    if len(numbers) % 2:
        raise BadArchive("has a damaged map of a sparse file")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def checked_extents(extents: Extents, stored: int, size: int, name: str) -> None:
    """Raise unless *extents* are in order, within *size*, and need just the *stored* bytes."""
    end = 0
    for offset, count in extents:
        if offset < end or count < 0:
            raise BadArchive(f"{shown(name)}: the map of this sparse file is not in order")
        end = offset + count
    if end > size or sum(count for _, count in extents) != stored:
        raise BadArchive(f"{shown(name)}: the map of this sparse file does not fit its size")
