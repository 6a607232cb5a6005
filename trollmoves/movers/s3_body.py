"""What is sent to S3 and how much of it went out: a part of a file, and a count over several of them."""

from __future__ import annotations

import hashlib
import os
import threading
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass

from trollmoves.errors import ConnectionLost, OriginChanged
from trollmoves.movers.bandwidth import Pace
from trollmoves.movers.base import Origin, Progress

AT_ONCE = 128 * 2**10
"""Bytes; a smaller part is handed over whole. A larger one goes in steps, each with the whole stall timeout."""
STEP = 64 * 2**10
"""Bytes handed over at a time; http.client would ask for 16 KiB."""
BLOCK = 256 * 2**10
"""Bytes summed up at a time."""


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of a file, which are read when they are needed, so that any number of parts takes no memory."""

    origin: Origin
    start: int
    size: int

    def read(self, offset: int, size: int) -> bytes:
        """Up to *size* bytes from *offset* of this part; empty at its end only. Raises `OriginChanged` for a shorter file."""
        wanted = min(size, self.size - offset)
        data = os.pread(self.origin.descriptor, wanted, self.start + offset) if wanted > 0 else b""
        if wanted > 0 and not data:
            raise OriginChanged(f"{self.origin.path}: ended after {self.start + offset} of {self.origin.size} bytes")
        return data

    def sums(self, *names: str) -> dict[str, bytes]:
        """Digests by the names hashlib has for them."""
        digests = {name: hashlib.new(name, usedforsecurity=False) for name in names}
        done = 0
        while digests and done < self.size:
            data = self.read(done, BLOCK)
            done += len(data)
            for digest in digests.values():
                digest.update(data)
        return {name: digest.digest() for name, digest in digests.items()}

    def body(self, report: Callable[[int], None], pace: Pace) -> bytes | Body:
        """What botocore sends, at *pace*; *report* is called with the number of bytes of each step."""
        if self.size > pace.at_once(AT_ONCE):
            return Body(self, report, pace)
        pace.wait_for(self.size)
        data = self.read(0, self.size)
        return data if len(data) == self.size else Body(self, report, pace)


class Body:
    """A part as the file that botocore wants: read once where it has to be signed, then once more to be sent."""

    def __init__(self, part: Part, report: Callable[[int], None], pace: Pace):
        self._part = part
        self._report = report
        self._pace = pace
        self._position = 0
        self._sending = False

    def __len__(self) -> int:
        return self._part.size

    def sending(self) -> None:
        """From now on what is read is reported."""
        self._sending = True

    def read(self, size: int | None = -1) -> bytes:
        wanted = self._part.size if size is None or size < 0 else max(size, STEP)
        if not self._sending:
            data = self._part.read(self._position, wanted)
        else:
            data = self._part.read(self._position, self._pace.at_once(wanted))
            self._pace.wait_for(len(data))
            self._report(len(data))
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._position = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._part.size}[whence] + offset
        return self._position

    def tell(self) -> int:
        return self._position


def in_base64(digest: bytes) -> str:
    """As headers want it."""
    return b64encode(digest).decode()


class Tally:
    """Counts bytes that several threads send, and lets them be stopped."""

    def __init__(self, progress: Progress = lambda done: None) -> None:
        """*progress* is told in the thread that sends."""
        self._progress = progress
        self._lock = threading.Lock()
        self._stopped = False
        self._sent = 0
        self._highest = 0

    def add(self, count: int) -> None:
        """Count *count* bytes (negative ones when they have to be sent again)."""
        if self._stopped and count > 0:
            raise ConnectionLost("another part of the file failed")
        with self._lock:
            self._sent += count
            self._highest = max(self._highest, self._sent)
        self._progress(self._highest)

    def stop(self) -> None:
        """Whoever counts next gets an error."""
        self._stopped = True

    @property
    def stopped(self) -> bool:
        return self._stopped

    @property
    def highest(self) -> int:
        """Never falls."""
        return self._highest
