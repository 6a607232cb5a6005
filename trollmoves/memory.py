"""Giving memory back: what a flood of large messages took does not stay with the process.

The C library keeps freed memory for later, in a pool for each thread. After a burst of large requests that would be hundreds of
megabytes for good; now and then we ask it to return what it does not need. Elsewhere than on Linux with glibc nothing is done.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

GROWN = 16 * 2**20
"""Bytes of growth after which it is worth asking."""
WORTHWHILE = 2**20
"""Bytes that must come back for the next try to come soon."""
MOST_SKIPPED = 7
PAGE = os.sysconf("SC_PAGE_SIZE")


class Trimming:
    """Asks the C library to return memory whenever the process has grown."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._lowest = _resident()
        self._skipped = self._to_skip = 0

    def trim(self) -> None:
        """Return what is free, if the process has grown since it was smallest; called every few seconds.

        Where that brings nothing, because the memory is in use, the next tries come later and later.
        """
        before = _resident()
        self._lowest = min(self._lowest, before)
        if before <= self._lowest + GROWN:
            return
        if self._skipped < self._to_skip:
            self._skipped += 1
            return
        with suppress(AttributeError):
            self._library.malloc_trim(0)
        self._skipped = 0
        self._to_skip = 0 if before - _resident() >= WORTHWHILE else min(2 * self._to_skip + 1, MOST_SKIPPED)


def _resident() -> int:
    """Bytes of memory in use, 0 where that cannot be told."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * PAGE
    except OSError:
        return 0
