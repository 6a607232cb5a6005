"""Decompressors, all alike and all bounded: no call returns more than the piece asked for, whatever the input.

The formats are bzip2, gzip, xz and zstd. Several streams in a row are one file, and zero bytes may follow the last (tapes and
block devices pad); anything else behind a stream is damage, since a second stream with a broken head would be lost otherwise.
"""

from __future__ import annotations

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from trollmoves.errors import MissingLibrary
from trollmoves.unpacking.base import BadArchive, Packed

READ = 2**16
"""Packed bytes read at a time."""
SMALLEST_PIECE = 1024
LARGEST_PIECE = 2**24

Bytes = Iterator[bytes]


class Decompressor(Protocol):
    """What bz2, lzma and zstd have in common."""

    def decompress(self, data: bytes, max_length: int) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...


class Zlib:
    """zlib with the face of the others; *bits* 31 is gzip with its checksum, -15 bare deflate."""

    def __init__(self, bits: int):
        self._zlib = zlib.decompressobj(wbits=bits)
        self.needs_input = True

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """At most *max_length* bytes; what does not fit waits."""
        found = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        self.needs_input = not self._zlib.unconsumed_tail and len(found) < max_length
        return found

    @property
    def eof(self) -> bool:
        """Whether the end of the stream was seen and its checksum was right."""
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        """What follows the stream."""
        return self._zlib.unused_data


def _zstd() -> Any:
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError as error:
        raise MissingLibrary("zstd needs a library that is not installed: pip install 'trollmoves[zstd]'") from error
    return zstd


def _new_zstd(memory: int) -> Decompressor:
    zstd = _zstd()
    lowest, highest = zstd.DecompressionParameter.window_log_max.bounds()
    window = min(max(memory.bit_length() - 1, lowest), highest)
    found: Decompressor = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: window})
    return found


@dataclass(frozen=True, slots=True)
class Codec:
    """One compression format."""

    name: str
    magic: bytes
    new: Callable[[int], Decompressor]
    """Takes the bytes of memory the decompressor may use for its window."""


BZIP2 = Codec("bzip2", b"BZh", lambda memory: bz2.BZ2Decompressor())
GZIP = Codec("gzip", b"\x1f\x8b", lambda memory: Zlib(31))
XZ = Codec("xz", b"\xfd7zXZ\0", lambda memory: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=memory))
ZSTD = Codec("zstd", b"\x28\xb5\x2f\xfd", _new_zstd)
DEFLATE = Codec("deflate", b"", lambda memory: Zlib(-15))

BY_MAGIC = (BZIP2, GZIP, XZ, ZSTD)


def codec_of(packed: Packed) -> Codec | None:
    """The format a file is compressed in, by its first bytes."""
    head = packed.read_at(8, 0)
    return next((codec for codec in BY_MAGIC if head.startswith(codec.magic)), None)


def pieces(packed: Packed, start: int, end: int, size: int = READ) -> Bytes:
    """The bytes of a file from *start* to *end*. Raises `BadArchive` when it is shorter."""
    while start < end:
        data = packed.read_at(min(size, end - start), start)
        if not data:
            raise BadArchive("the file became shorter while it was read")
        start += len(data)
        yield data


def piece_size(block_size: int) -> int:
    """*block_size* bytes, within reason."""
    return min(max(block_size, SMALLEST_PIECE), LARGEST_PIECE)


def decompressed(packed: Bytes, codec: Codec, memory: int, piece: int) -> Bytes:
    """The plain bytes of all streams in *packed*, at most *piece* at a time. Raises `BadArchive` for anything less than whole."""
    rest = next(packed, b"")
    if not rest:
        raise BadArchive("is empty")
    while rest:
        decompressor = codec.new(memory)
        yield from one_stream(decompressor, codec, rest, packed, piece)
        rest = _after_padding(decompressor.unused_data, packed)


def one_stream(decompressor: Decompressor, codec: Codec, data: bytes, packed: Bytes, piece: int) -> Bytes:
    """The plain bytes of one stream that begins with *data* and goes on in *packed*."""
    while True:
        found = _step(decompressor, codec, data, piece)
        data = b""
        if found:
            yield found
        if decompressor.eof:
            return
        if decompressor.needs_input:
            data = next(packed, b"")
            if not data:
                raise BadArchive(f"ends in the middle of a {codec.name} stream: it is truncated")


def _step(decompressor: Decompressor, codec: Codec, data: bytes, piece: int) -> bytes:
    try:
        return decompressor.decompress(data, piece)
    except MemoryError:
        raise
    except Exception as error:  # each library has its own, and bz2 a bare OSError that must not pass for one of the disk
        raise BadArchive(f"damaged {codec.name} data: {error}") from error


def _after_padding(data: bytes, packed: Bytes) -> bytes:
    """The beginning of the next stream, if there is one."""
    rest = data.lstrip(b"\0")
    while not rest:
        data = next(packed, b"")
        if not data:
            return b""
        rest = data.lstrip(b"\0")
    return rest
