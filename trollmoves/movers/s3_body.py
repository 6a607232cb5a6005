"""What is sent to S3 and how much of it went out: a part of a file in memory, and a count over several of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from trollmoves.errors import ConnectionLost

STEP = 64 * 2**10
"""Bytes handed over at a time; http.client would ask for 16 KiB."""


class Body:
    """A part in memory as the file that botocore wants: read once to be signed, then once more to be sent."""

    def __init__(self, data: bytes, report: Callable[[int], None]):
        self._data = memoryview(data)
        self._report = report
        self._position = 0
        self._sending = False

    def __len__(self) -> int:
        return len(self._data)

    def sending(self) -> None:
        """From now on what is read is reported."""
        self._sending = True

    def read(self, size: int | None = -1) -> memoryview:
        step = len(self._data) if size is None or size < 0 else max(size, STEP)
        chunk = self._data[self._position:self._position + step]
        if self._sending:
            self._report(len(chunk))
        self._position += len(chunk)
        return chunk

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: len(self._data)}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position


class Tally:
    """Counts bytes that several threads send, and lets them be stopped."""

    def __init__(self) -> None:
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
