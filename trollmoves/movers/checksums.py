"""sha256 of an open file, without moving its offset."""

from __future__ import annotations

import hashlib
import os

_CHUNK = 2**20


def checksum_of(descriptor: int) -> str:
    """`sha256:<hex>` of all bytes behind *descriptor*."""
    digest = hashlib.sha256()
    offset = 0
    while chunk := os.pread(descriptor, _CHUNK, offset):
        digest.update(chunk)
        offset += len(chunk)
    return f"sha256:{digest.hexdigest()}"


def checksum_of_bytes(data: bytes) -> str:
    """`sha256:<hex>` of *data*."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
