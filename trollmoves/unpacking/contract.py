"""The contract of an unpacker, in one page.

An unpacker turns one packed file into members. It reads `packed.descriptor` (never the path, unless a foreign program has to) and
hands every member to `output`, which alone decides what a name may be, how much is too much, and when members become visible.

What an unpacker promises:

- It reads in pieces: its memory does not grow with the archive.
- It returns only when the whole packed file was read and its own checks (checksums, lengths, end marks) hold. An archive that
  ends early is an error, never a shorter list of members.
- Damage, and anything that is neither a regular file nor a directory, raises `BadArchive` with the member and the reason.

Third parties join through the entry-point group `trollmoves.unpackers`: the name is what `compression` is set to, the value an
`Unpacker` or a function without arguments that returns one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trollmoves.unpacking.base import Options, Packed
from trollmoves.unpacking.output import Output

Extract = Callable[[Packed, Output, Options], None]


@dataclass(frozen=True, slots=True)
class Unpacker:
    """One way to unpack."""

    endings: tuple[str, ...]
    """Only files whose name ends so are unpacked; others are left as they are."""
    extract: Extract
    check: Callable[[], Any] = lambda: None
    """Raises a `PermanentError` that says what this machine lacks for it; asked when a configuration is checked."""
