"""Exact reads from pieces of bytes, with a count of what came."""

from __future__ import annotations

from trollmoves.unpacking.base import BadArchive, Options, Packed
from trollmoves.unpacking.decompressing import Bytes, codec_of, decompressed, piece_size, pieces
from trollmoves.unpacking.limits import Budget

PIECE = 8192
"""Bytes of a file that are read at a time between the members of an archive."""


class Source:
    """Reads forward through *parts*, holding one piece at a time."""

    def __init__(self, parts: Bytes):
        self._parts = parts
        self._piece = memoryview(b"")
        self.position = 0
        """Bytes that were read or passed over."""

    def some(self, most: int) -> memoryview:
        """Between 1 and *most* bytes; none at the end."""
        while not self._piece:
            data = next(self._parts, None)
            if data is None:
                return self._piece
            self._piece = memoryview(data)
        found, self._piece = self._piece[:most], self._piece[most:]
        self.position += len(found)
        return found

    def exactly(self, count: int) -> bytes:
        """*count* bytes. Raises `BadArchive` when fewer are left."""
        found = self.at_most(count)
        if len(found) < count:
            raise BadArchive("ends in the middle of a member: it is truncated")
        return found

    def at_most(self, count: int) -> bytes:
        """*count* bytes, fewer only at the end."""
        found = bytearray()
        while len(found) < count and (part := self.some(count - len(found))):
            found += part
        return bytes(found)

    def skip(self, count: int) -> None:
        """Pass over *count* bytes. Raises `BadArchive` when fewer are left."""
        while count:
            part = self.some(count)
            if not part:
                raise BadArchive("ends in the middle of a member: it is truncated")
            count -= len(part)


class Leaping(Source):
    """Reads a file that is not compressed: what is passed over need not be read."""

    def __init__(self, packed: Packed):
        super().__init__(iter(()))
        self._packed, self._at = packed, 0

    def some(self, most: int) -> memoryview:
        if not self._piece:
            data = self._packed.read_at(min(PIECE, max(0, self._packed.size - self._at)), self._at)
            self._at += len(data)
            self._piece = memoryview(data)
        return super().some(most)

    def skip(self, count: int) -> None:
        held = min(count, len(self._piece))
        self._piece = self._piece[held:]
        self._at += count - held
        self.position += count
        if self._at > self._packed.size:
            raise BadArchive("ends in the middle of a member: it is truncated")


def plain_bytes(packed: Packed, options: Options, budget: Budget) -> Bytes:
    """The bytes of *packed*, decompressed if its first bytes say that it is compressed."""
    codec = codec_of(packed)
    raw = pieces(packed, 0, packed.size)
    if codec is None:
        yield from raw
        return
    for data in decompressed(raw, codec, budget.limits.memory, piece_size(options.block_size)):
        budget.take_stream(len(data))
        yield data
