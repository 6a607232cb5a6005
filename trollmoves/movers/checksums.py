"""sha256 of an open file, without moving its offset."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence

from trollmoves.uris import last_part

_CHUNK = 2**20


def checksum_of(descriptor: int) -> str:
    """`sha256:<hex>` of all bytes behind *descriptor*."""
    digest = hashlib.sha256()
    offset = 0
    while chunk := os.pread(descriptor, _CHUNK, offset):
        digest.update(chunk)
        offset += len(chunk)
    return f"sha256:{digest.hexdigest()}"


def checksum_together(files: Sequence[tuple[str, str | None]]) -> str | None:
    """One for *files*, each a path and a checksum: that of the only one, else of all with their names; None where one is not
    known."""
    if len(files) == 1:
        return files[0][1]
    if not files or any(checksum is None for _, checksum in files):
        return None
    lines = sorted(f"{last_part(path)}\n{checksum}\n" for path, checksum in files)
    return checksum_of_bytes("".join(lines).encode("utf-8", "surrogateescape"))


def checksum_of_bytes(data: bytes) -> str:
    """`sha256:<hex>` of *data*."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
