"""Decompresses one xRIT file with pyPublicDecompWT: `wavelet.py LIBRARY_DIRECTORY PACKED RESULT`.

A process of its own: the library is native code on outside data, prints to stderr, and takes damage for a file of 153 bytes. It
imports nothing of ours.
"""

from __future__ import annotations

import sys


def main(library: str, packed: str, result: str) -> None:
    """Read *packed*, write *result*, which must not exist."""
    sys.path.append(library)
    from pyPublicDecompWT import xRITDecompress

    with open(packed, "rb") as source:
        data = source.read()
    decompressor = xRITDecompress()
    decompressor.decompress(data)
    with open(result, "xb") as target:
        target.write(decompressor.data())


if __name__ == "__main__":
    main(*sys.argv[1:])
