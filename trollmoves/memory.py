"""Giving memory back: what a flood of large messages took does not stay with the process.

The C library keeps freed memory for later, in a pool for each thread. After a burst of large requests that would be hundreds of
megabytes for good; now and then we ask it to return what it does not need. Elsewhere than on Linux with glibc nothing is done.
"""

from __future__ import annotations

import ctypes
import gc
import os
from contextlib import suppress

GROWN = 16 * 2**20
"""Bytes of growth after which it is worth asking."""
WORTHWHILE = 2**20
"""Bytes that must come back for the next try to come at once."""
POOL = 4 * 2**20
"""Bytes that a thread's pool may keep at its end. The C library does not return those when asked, and by itself lets them come to
64 MiB, the more so the larger the pieces were that were freed; setting the limits keeps it from doing so."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's `mallopt`."""
PAGE = os.sysconf("SC_PAGE_SIZE")


class Trimming:
    """Asks the C library to return memory whenever the process has grown."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        with suppress(AttributeError):
            self._library.mallopt(M_MMAP_THRESHOLD, POOL)
            self._library.mallopt(M_TRIM_THRESHOLD, POOL)
        self._lowest = _resident()
        self._in_vain = False

    def trim(self) -> None:
        """Return what is free, if the process has grown since it was smallest; called every few seconds.

        Where that brought nothing, because the memory is in use, every other call does nothing.
        """
        before = _resident()
        self._lowest = min(self._lowest, before)
        if before <= self._lowest + GROWN:
            return
        if self._in_vain:
            self._in_vain = False
            return
        gc.collect()  # an error and its traceback hold each other, and the message they are about
        with suppress(AttributeError):
            self._library.malloc_trim(0)
        self._in_vain = before - _resident() < WORTHWHILE


def _resident() -> int:
    """Bytes of memory in use, 0 where that cannot be told."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * PAGE
    except OSError:
        return 0
