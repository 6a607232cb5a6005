"""bzip2, gzip, xz and zstd: one packed file, one member that has the same name without the ending."""

from __future__ import annotations

from functools import partial

from trollmoves.unpacking.base import BadArchive, Options, Packed
from trollmoves.unpacking.contract import Unpacker
from trollmoves.unpacking.decompressing import BZIP2, GZIP, XZ, ZSTD, Codec, codec_of, decompressed, piece_size, pieces
from trollmoves.unpacking.output import Output

MEMORY = 2**20
"""Bytes for a decompressor that is only made to see whether it can be."""


def extract(codec: Codec, ending: str, packed: Packed, output: Output, options: Options) -> None:
    """Decompress *packed* to its name without *ending*."""
    if codec_of(packed) is not codec:
        raise BadArchive(f"is no {codec.name} file" if packed.size else "is empty")
    limits = output.budget.limits
    raw = pieces(packed, 0, packed.size)
    with output.file(packed.name.removesuffix(ending)) as member:
        for data in decompressed(raw, codec, limits.memory, piece_size(options.block_size)):
            member.write(data)


def _unpacker(codec: Codec, ending: str) -> Unpacker:
    return Unpacker((ending,), partial(extract, codec, ending), lambda: codec.new(MEMORY))


BZIP2_FILES = _unpacker(BZIP2, ".bz2")
GZIP_FILES = _unpacker(GZIP, ".gz")
XZ_FILES = _unpacker(XZ, ".xz")
ZSTD_FILES = _unpacker(ZSTD, ".zst")
