"""One FTP data connection, from the server's go-ahead to its confirmation."""
# ruff: noqa: S321

from __future__ import annotations

import contextlib
import ftplib  # noqa: S402
import hashlib
import os
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator

from trollmoves.errors import OriginChanged, TemporaryError
from trollmoves.movers.bandwidth import Pace
from trollmoves.movers.base import Origin, Progress
from trollmoves.movers.draining import is_writable, unsent_of, wait_while_it_drains
from trollmoves.movers.ftp_connection import PATIENCE, Connection

CHUNK = 256 * 2**10
"""Bytes read at a time."""


class Upload:
    """Begins with a `STOR` or `APPE` and its path, from byte *rest* on."""

    def __init__(self, control: Connection, command: str, rest: int | None = None):
        self._control = control
        self._data = control.ntransfercmd(command, rest)[0]
        self._ended = False

    def send_file(self, origin: Origin, start: int, progress: Progress, pace: Pace, digest: hashlib._Hash | None = None) -> None:
        """Send *origin* from byte *start* on, no faster than *pace* allows; *digest* gets all of its bytes."""
        if digest is not None:
            for chunk in _chunks(origin, 0, start, lambda: CHUNK):
                digest.update(chunk)
        done = start
        for chunk in _chunks(origin, start, origin.size, lambda: pace.at_once(CHUNK)):
            pace.wait_for(len(chunk))
            if digest is not None:
                digest.update(chunk)
            while chunk:
                count = self.send(chunk)
                chunk = chunk[count:]
                done += count
                progress(done)

    def send(self, chunk: memoryview) -> int:
        """Hand over a first part of *chunk*; returns its length. Raises the server's reason where it gives one."""
        try:
            return self._data.send(chunk)
        except OSError as error:
            self._ended = True
            self._data.close()
            raise self._control.reason_of(error) from error

    def complete(self) -> None:
        """Say that this was all and return when the server confirms it. The socket stays open until then: closing one on which
        something unread has come (the server's TLS tickets) would reset it, and with it bytes that are on their way."""
        self._ended = True
        try:
            self._end_stream()
            wait_while_it_drains(self._has_replied, lambda: unsent_of(self._data), self._control.stall_timeout)
            self._control.voidresp()
        finally:
            self._data.close()

    def _end_stream(self) -> None:
        """A broken data connection is no error yet: what the server replies decides."""
        try:
            if isinstance(self._data, ssl.SSLSocket):
                _say_goodbye(self._data, self._control.stall_timeout)
            self._data.shutdown(socket.SHUT_WR)
        except TimeoutError:
            raise
        except OSError:
            return

    def _has_replied(self, seconds: float) -> bool:
        try:
            self._control.wait_for_reply(seconds)
        except TimeoutError:
            return False
        return True

    def abandon(self) -> bool:
        """Break the upload off; returns whether the control connection can still be used. Fine after a failure of its own."""
        if self._ended:
            return True
        self._ended = True
        with contextlib.suppress(OSError):
            self._data.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._data.close()
        try:
            self._control.wait_for_reply(min(PATIENCE, self._control.stall_timeout))
            self._control.getresp()
        except (ftplib.error_temp, ftplib.error_perm):
            return True
        except (OSError, EOFError, ftplib.Error):
            return False
        return True


def _chunks(origin: Origin, start: int, end: int, at_once: Callable[[], int]) -> Iterator[memoryview]:
    while start < end:
        try:
            data = os.pread(origin.descriptor, min(at_once(), end - start), start)
        except OSError as error:
            raise TemporaryError(f"{origin.path} cannot be read: {error.strerror}") from error
        if not data:
            raise OriginChanged(f"{origin.path}: ends after {start} of {origin.size} bytes")
        start += len(data)
        yield memoryview(data)


def _say_goodbye(data: ssl.SSLSocket, seconds: float) -> None:
    """Send TLS's end-of-stream without waiting for the other side's, which many servers never send."""
    data.settimeout(0)
    ends = time.monotonic() + seconds
    while True:
        try:
            data.unwrap()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLWantWriteError:
            if not is_writable(data, max(0.0, ends - time.monotonic())):
                raise TimeoutError("no byte went out in time") from None
            continue
        return
