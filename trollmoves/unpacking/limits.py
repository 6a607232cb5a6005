"""How much one archive may become. Archives are hostile: a kilobyte can hold a gigabyte, or a million names."""

from __future__ import annotations

from dataclasses import dataclass

from trollmoves.errors import DestinationFull
from trollmoves.unpacking.base import BadArchive, shown


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused. The bytes allowed are `ratio` times the packed size, but at least `at_least`; never more than `free_share`
    of the free disk."""

    ratio: float = 20.0
    at_least: int = 10**9
    """Bytes that are always allowed, whatever the ratio."""
    max_unpacked: int | None = None
    """Bytes; takes the place of `ratio` and `at_least` where it is set."""
    free_share: float = 0.25
    """Of the bytes free in the directory when the unpacking starts."""
    members: int = 100_000
    """Files and directories together."""
    by_name: bool = False
    """Refuse two files of one name also where they lie in different directories: for who tells files apart by their names."""
    depth: int = 32
    """Directories above a member."""
    path_length: int = 1024
    """Bytes of a member's whole name."""
    header: int = 2**20
    """Bytes of headers before one member (long names, pax records, maps of sparse files)."""
    memory: int = 2**27
    """Bytes a decompressor may take for its window."""

    def allowed(self, packed: int) -> int:
        """Bytes that *packed* bytes may become, the disk aside."""
        if self.max_unpacked is not None:
            return self.max_unpacked
        return max(int(self.ratio * packed), self.at_least)


class Budget:
    """What is left of the limits while one archive is unpacked."""

    def __init__(self, limits: Limits, packed: int, free: int):
        self.limits = limits
        self._by_limits = limits.allowed(packed)
        self._by_disk = int(limits.free_share * free)
        self.bytes_left = min(self._by_limits, self._by_disk)
        """Bytes that may still be written."""
        self.stream_left = self._by_limits
        """Bytes that may still come out of a decompressor, members or not."""
        self._members_left = limits.members

    def member(self, name: str) -> None:
        """One more file or directory."""
        self._members_left -= 1
        if self._members_left < 0:
            raise BadArchive(f"{shown(name)}: more than {self.limits.members} members")

    def room_for(self, name: str, count: int) -> None:
        """Raise unless *count* more bytes may be written."""
        if count <= self.bytes_left:
            return
        if self._by_disk < self._by_limits:
            raise DestinationFull(f"{shown(name)}: unpacked it would take more than {self._by_disk} bytes, which is "
                                  f"{self.limits.free_share:g} of the free disk")
        raise BadArchive(f"{shown(name)}: unpacks to more than the {self._by_limits} bytes allowed (max_unpacked)")

    def take(self, name: str, count: int) -> None:
        """*count* bytes of member *name* are about to be written."""
        self.room_for(name, count)
        self.bytes_left -= count

    def take_stream(self, count: int) -> None:
        """*count* bytes came out of a decompressor."""
        self.stream_left -= count
        if self.stream_left < 0:
            raise BadArchive(f"decompresses to more than the {self._by_limits} bytes allowed (max_unpacked)")
