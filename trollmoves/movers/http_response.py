"""Answers of an HTTP server that end, whatever the server does.

http.client waits for ever for a server that says one byte now and then, or `100 Continue` again and again.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import Any

LONGEST_ANSWER = 2**16
"""Bytes of an answer's body that are read; none that we ask for is longer."""


class _Bytes(io.RawIOBase):
    """What comes from *connection*, for as long as its time limit says in all, and no more than an answer needs."""

    def __init__(self, connection: socket.socket, longest: int, held: io.BufferedIOBase):
        """*held* is what keeps the connection open when its owner closes it before all was read; closed with this."""
        self._connection = connection
        self._held = held
        self._seconds = connection.gettimeout() or 0.0
        self._ends = time.monotonic() + self._seconds
        self._room = longest
        self._bounded = True
        self.ended = False
        """Whether the other side has closed the connection."""

    def release(self) -> None:
        """From now on any number of bytes may come, each within the time limit."""
        self._bounded = False

    def close(self) -> None:
        self._held.close()
        super().close()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._ends - time.monotonic() if self._bounded else self._seconds
        if left <= 0:
            raise TimeoutError("the answer does not come to its end")
        self._connection.settimeout(left)
        count = self._connection.recv_into(buffer)
        self.ended = count == 0 and len(buffer) > 0
        self._room -= count
        if self._bounded and self._room < 0:
            raise http.client.HTTPException("the answer does not end")
        return count


class Response(http.client.HTTPResponse):
    """A response that has to come within the time limit of its connection."""

    longest = 4 * LONGEST_ANSWER
    """Bytes, of head and body together."""
    streams = False
    """Whether these limits are those of the head alone, where it says that all is well."""

    def __init__(self, sock: socket.socket, *arguments: Any, **more: Any):
        super().__init__(sock, *arguments, **more)
        self._bytes = _Bytes(sock, self.longest, self.fp)
        self.fp = io.BufferedReader(self._bytes)

    def begin(self) -> None:
        super().begin()
        if self._bytes.ended:  # http.client takes what there is of a head for all of it
            raise http.client.HTTPException("the answer was cut off")
        if self.streams and 200 <= self.status < 300:
            self._bytes.release()
