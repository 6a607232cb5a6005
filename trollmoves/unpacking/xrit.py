"""Compressed HRIT and LRIT segments (names that end in `C_`), by a foreign program or pyPublicDecompWT in its own process.

The decompressor is `Options.program`; else the program named by the environment variable XRIT_DECOMPRESS_PATH; else the library.
None of them reliably reports damage, so the headers of the packed file and of the result are read and compared.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trollmoves.errors import DestinationInvalid, MissingLibrary, OriginChanged
from trollmoves.unpacking.base import BadArchive, Options, Packed
from trollmoves.unpacking.contract import Unpacker
from trollmoves.unpacking.output import Output, is_at
from trollmoves.unpacking.programs import run_limited

PACKED_ENDING, ENDING = "C_", "__"
LIBRARY = "pyPublicDecompWT"
WAVELET = str(Path(__file__).with_name("wavelet.py"))
ENVIRONMENT = "XRIT_DECOMPRESS_PATH"

PRIMARY = struct.Struct(">BHBLQ")
"""Header type 0, its length, file type, bytes of all headers, bits of data."""
RECORD = struct.Struct(">BH")
IMAGE = struct.Struct(">BHBHHB")
"""Header type 1, its length, bits per pixel, columns, lines, compression."""
IMAGE_RECORD = 1
LONGEST_HEADER = 2**20


@dataclass(frozen=True, slots=True)
class Segment:
    """What the headers of an xRIT file say."""

    file_type: int
    data_bytes: int
    bits_per_pixel: int = 0
    columns: int = 0
    lines: int = 0
    compression: int = 0

    @property
    def image_bytes(self) -> int:
        """Bytes of the image without compression."""
        return (self.bits_per_pixel * self.columns * self.lines + 7) // 8


def extract(packed: Packed, output: Output, options: Options) -> None:
    """Decompress the segment; the result has `__` in place of `C_`."""
    before = segment_of(packed.descriptor, "the packed file")
    result = packed.name.removesuffix(PACKED_ENDING) + ENDING
    run_limited(_words(packed.path, result, options), output.scratch, options, output.budget.bytes_left)
    if not is_at(packed.descriptor, packed.path):
        raise OriginChanged("another file took its place while it was unpacked")
    with output.made(result) as descriptor:
        _check_result(descriptor, before)
    output.adopt(result, result)


XRIT_FILES = Unpacker((PACKED_ENDING,), extract, lambda: _words("", "", Options()))


def _words(path: str, result: str, options: Options) -> list[str]:
    program = options.program or os.environ.get(ENVIRONMENT)
    if program:
        first, *others = [program] if isinstance(program, str) else program
        return [_found(first), *others, path]
    library = importlib.util.find_spec(LIBRARY)
    if library is None or library.origin is None:
        raise MissingLibrary("xrit needs a program (prog or xritdecompressor in the section) or a library: "
                             "pip install 'trollmoves[hrit]'")
    return [sys.executable, "-P", WAVELET, os.path.dirname(library.origin), path, result]


def _found(program: str) -> str:
    """The absolute path of the program: it runs in another directory than ours."""
    found = shutil.which(program)
    if found is None:
        raise DestinationInvalid(f"{program}: no such program (prog or xritdecompressor in the section)")
    return os.path.abspath(found)


def _check_result(result: int, before: Segment) -> None:
    after = segment_of(result, "the decompressed file")
    same = (after.file_type, after.columns, after.lines) == (before.file_type, before.columns, before.lines)
    if not same or after.compression or after.data_bytes < after.image_bytes:
        raise BadArchive(f"the decompressed file is not the image of the packed one: {after}, was {before}")


def segment_of(descriptor: int, what: str) -> Segment:
    """Read the headers. Raises `BadArchive` when they are none, or speak of more bytes than there are."""
    head = os.pread(descriptor, PRIMARY.size, 0)
    if len(head) < PRIMARY.size:
        raise BadArchive(f"{what} is no xRIT file: it has {len(head)} bytes")
    kind, length, file_type, headers, bits = PRIMARY.unpack(head)
    if kind != 0 or length != PRIMARY.size or not PRIMARY.size <= headers <= LONGEST_HEADER:
        raise BadArchive(f"{what} is no xRIT file: it has no primary header")
    data_bytes = (bits + 7) // 8
    size = os.fstat(descriptor).st_size
    if headers + data_bytes > size:
        raise BadArchive(f"{what} has {size} bytes of {headers + data_bytes}: it is truncated")
    return Segment(file_type, data_bytes, *_image(os.pread(descriptor, headers, 0), what))


def _image(headers: bytes, what: str) -> Sequence[int]:
    """What the image structure header says; nothing for files that are no images."""
    at = PRIMARY.size
    while at + RECORD.size <= len(headers):
        kind, length = RECORD.unpack_from(headers, at)
        if length < RECORD.size or at + length > len(headers):
            raise BadArchive(f"{what} has a damaged header")
        if kind == IMAGE_RECORD and length == IMAGE.size:
            return IMAGE.unpack_from(headers, at)[2:]
        at += length
    return ()
