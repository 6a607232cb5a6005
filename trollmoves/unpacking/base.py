"""The values that unpacking is about."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from trollmoves.errors import PermanentError

LONGEST_SHOWN = 120


class BadArchive(PermanentError):
    """The packed file is damaged, hostile, or holds what we do not unpack; the text says which member and why."""

    code = "bad_archive"


def shown(name: str) -> str:
    """A hostile name, made fit for a log line."""
    return ascii(name if len(name) <= LONGEST_SHOWN else f"{name[:LONGEST_SHOWN]}...")


@dataclass(frozen=True, slots=True)
class Packed:
    """The packed file, opened. Owned by the caller."""

    path: str
    """Absolute."""
    name: str
    """Its basename."""
    descriptor: int
    """Open for reading; read with `read_at`, or `os.pread`."""
    size: int
    """Bytes."""
    mtime: float
    """Seconds. Members of an archive get it: the times in there are often the same whatever the content is (0, say), and by their
    times files of one name and size are told apart."""

    def read_at(self, count: int, offset: int) -> bytes:
        """*count* bytes from *offset* on; fewer only at the end."""
        return os.pread(self.descriptor, count, offset)


@dataclass(frozen=True, slots=True)
class Unpacked:
    """One member, in its place."""

    path: str
    """Absolute."""
    uid: str
    """Its basename, as upstream has it; its path below the directory where another member has the same basename."""
    relative: str
    """Its path below the directory."""
    size: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a section can say about unpacking. Upstream's names are in the descriptions."""

    working_directory: str | None = None
    """`working_directory`: where members go when the caller names no directory."""
    program: str | Sequence[str] | None = None
    """`prog` (server), `xritdecompressor` (client): the xRIT decompressor: a path, or a list of words. It gets the packed file as
    last argument."""
    block_size: int = 2**20
    """`block_size`: bytes decompressed at a time."""
    delete: bool = False
    """`delete`: remove the packed file when all members are in their place and on the disk. Who keeps a journal leaves this off
    and removes it after the commit, so that a crash in between can still unpack again."""
    timeout: float = 120.0
    """Seconds a foreign program may take."""
    cpu_seconds: int = 60
    """Seconds of CPU a foreign program may take."""
    memory: int = 2**31
    """Bytes of address space a foreign program may take."""
