"""Answers of an S3 server that end, whatever the server does.

botocore reads on for as long as something comes, all of it into memory, and turns in a circle for ever when a server closes the
connection within its `100 Continue`. It has no option for any of this; where it changed inside, its own time limits hold alone.
"""

from __future__ import annotations

import http.client
import time
from functools import partial
from typing import Any

from trollmoves.movers.draining import is_readable, unsent_of, wait_while_it_drains
from trollmoves.movers.http_response import Response

LONGEST_ANSWER = 4 * 2**20
"""Bytes; a thousand uploads are listed in a quarter of it."""
LONGEST_LINE = 2**16
MOST_LINES = 100


def bind(client: Any, seconds: float, *, streams: bool) -> None:
    """Have answers to *client* end within so many *seconds*, not counting the time in which sent bytes drain to a slow server.
    *streams*: bodies of objects may be of any length, and may take as long as each of their bytes comes in that time."""
    session = getattr(getattr(client, "_endpoint", None), "http_session", None)
    pools: dict[str, Any] = getattr(session, "_pool_classes_by_scheme", {})
    kind = StreamedAnswer if streams else S3Answer
    for scheme, pool in pools.items():
        ours = _BoundToGo if hasattr(pool.ConnectionCls, "_send_message_body") else _Bound
        connection = type("BoundConnection", (ours, pool.ConnectionCls), {
            "response_class": kind, "answers": kind, "seconds": seconds})
        pools[scheme] = type("BoundPool", (pool,), {"ConnectionCls": connection})


class S3Answer(Response):
    """One that is read as a whole. *early*: its first line was read before, and held this."""

    longest = LONGEST_ANSWER

    def __init__(self, *arguments: Any, early: tuple[str, int, str] | None = None, **more: Any):
        super().__init__(*arguments, **more)
        self._early = early

    def _read_status(self) -> tuple[str, int, str]:
        early, self._early = self._early, None
        found: tuple[str, int, str] = early or super()._read_status()  # type: ignore[misc]
        return found


class StreamedAnswer(S3Answer):
    """One whose body is read as it comes."""

    streams = True


class _Bound:
    """What is different about a connection."""

    sock: Any
    seconds: float
    answers: type[S3Answer]
    response_class: Any

    def getresponse(self) -> Any:
        wait_while_it_drains(partial(is_readable, self.sock), partial(unsent_of, self.sock), self.seconds)
        return super().getresponse()  # type: ignore[misc]


class _BoundToGo(_Bound):
    """The same where the go-ahead is waited for as we know it."""

    def _handle_expect_response(self, body: Any) -> None:
        """The server has answered before it got the body: to go on, or what is wrong."""
        ends = time.monotonic() + self.seconds
        version, _, rest = self._line(ends).strip().partition(b" ")
        status, _, reason = rest.strip().partition(b" ")
        if not version.startswith(b"HTTP/") or len(status) != 3 or not status.isdigit():
            raise http.client.HTTPException("the answer makes no sense")
        if status != b"100":
            early = (version.decode("latin-1"), int(status), reason.decode("latin-1"))
            self.response_class = partial(self.answers, early=early)
            self._response_received = True
            return
        for _ in range(MOST_LINES):
            if not self._line(ends).strip():
                self._send_message_body(body)  # type: ignore[attr-defined]
                return
        raise http.client.HTTPException("the answer does not end")

    def _line(self, ends: float) -> bytes:
        """The next line, and not a byte more: what follows is for others to read."""
        line, before = b"", self.sock.gettimeout()
        try:
            while not line.endswith(b"\n"):
                left = ends - time.monotonic()
                if left <= 0:
                    raise TimeoutError("the answer does not come to its end")
                self.sock.settimeout(left)
                byte = self.sock.recv(1)
                if not byte:
                    raise ConnectionResetError("the server closed the connection within its answer")
                line += byte
                if len(line) > LONGEST_LINE:
                    raise http.client.HTTPException("the answer does not end")
        finally:
            self.sock.settimeout(before)
        return line
