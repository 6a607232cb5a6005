"""A file in an archive, read where that is, by the readers for strangers' archives: they take little memory whatever is there."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from trollmoves.errors import OriginGone
from trollmoves.fetcher.places import Place
from trollmoves.unpacking.base import Options, Packed
from trollmoves.unpacking.decompressing import Bytes
from trollmoves.unpacking.limits import Budget, Limits
from trollmoves.unpacking.output import Parts, bare_parts
from trollmoves.unpacking.tar import contents_of as contents_in_tar
from trollmoves.unpacking.zip import contents_of as contents_in_zip

LIMITS = Limits(members=1_000_000)
"""Members are passed over, and not kept."""
ENDLESS = 2**62
"""Bytes of room, where the disk is somebody else's concern."""

READERS: dict[str, Callable[[Packed, Parts, Options, Budget], tuple[int, Bytes] | None]] = {
    "tar": contents_in_tar, "zip": contents_in_zip}


@dataclass(frozen=True, slots=True)
class Remote(Packed):
    """An archive that is read through a stream."""

    stream: Any

    def read_at(self, count: int, offset: int) -> bytes:
        self.stream.seek(offset)
        return bytes(self.stream.read(count))


class Contents(io.RawIOBase):
    """Pieces of bytes, to be read once."""

    def __init__(self, pieces: Bytes):
        self._pieces = pieces
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._rest = memoryview(piece)
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


@contextmanager
def opened_member(place: Place, stream: Any, *, whole: bool) -> Iterator[tuple[Any, int]]:
    """The file at *place* in the archive that is read through *stream*, and its size. Unless it is read as a *whole*, being an
    archive itself, it is copied to the disk first.

    Raises `BadArchive`, which also reading does, and `OriginGone`.
    """
    packed = Remote(place.path, place.name, -1, stream.seek(0, os.SEEK_END), 0.0, stream)
    budget = Budget(LIMITS, packed.size, ENDLESS)
    found = READERS[place.protocol](packed, bare_parts(place.path), Options(), budget)
    if found is None:
        raise OriginGone(f"{place} is not there")
    size, pieces = found
    if whole:
        with io.BufferedReader(cast(Any, Contents(pieces)), 2**18) as contents:
            yield contents, size
        return
    with tempfile.TemporaryFile() as copy:
        for piece in pieces:
            budget.take(place.name, len(piece))
            copy.write(piece)
        yield copy, size
