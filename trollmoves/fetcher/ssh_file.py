"""A file on an ssh server, read through paramiko, which waits for some answers for ever and believes any size it is told."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from trollmoves.errors import Stalled

AHEAD = 64
"""Requests for pieces of a file that may be under way; each is 32 KiB."""
PIECE = 2**15
WINDOW = 2**26
"""Bytes asked for at a time: paramiko makes a list of all the pieces."""


class Watch:
    """Ends what is waited for in vain, by calling *end* in a thread of its own, after *seconds*."""

    def __init__(self, seconds: float, end: Callable[[], None]):
        self._seconds, self._end = seconds, end
        self._since: float | None = None
        self._over = threading.Event()
        self._ended = False
        threading.Thread(target=self._look, name="watches ssh", daemon=True).start()

    def _look(self) -> None:
        while not self._over.wait(min(1.0, self._seconds / 4)):
            since = self._since
            if since is not None and time.monotonic() - since >= self._seconds:
                self._ended = True
                self._end()
                return

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around what may take so many seconds. Raises `Stalled` for what was ended."""
        self._since = time.monotonic()
        try:
            yield
        except Exception as error:
            if self._ended:
                raise Stalled(f"no answer for {self._seconds:g} seconds") from error
            raise
        finally:
            self._since = None

    def close(self) -> None:
        self._over.set()


class SshFile(io.RawIOBase):
    """paramiko's *stream* of a file of *size* bytes, each piece of which has to come before the *watch* ends it. *whole*: it is
    going to be read from its beginning to its end."""

    def __init__(self, stream: Any, size: int | None, watch: Watch, *, whole: bool):
        self._stream, self._size, self._watch, self._whole = stream, size, watch, whole
        self._asked = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return not self._whole

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with self._watch.waiting():
            self._stream.seek(offset, whence)
            return self.tell()

    def tell(self) -> int:
        return int(self._stream.tell())

    def readinto(self, buffer: Any) -> int:
        at = self.tell()
        with self._watch.waiting():
            if self._whole and self._size is not None and self._asked <= at < self._size:
                self._asked = min(self._size, at + WINDOW)
                self._stream.prefetch(self._asked, max_concurrent_requests=AHEAD)
            data = self._stream.read(min(len(buffer), PIECE))
        buffer[:len(data)] = data
        return len(data)
