"""One SFTP channel that many threads share: each sends requests and waits for its own answers.

asyncssh's connection lives in one loop thread; `SftpChannel` is its end there. Threads build their packets themselves and hand
over bytes, so that the loop does nothing but encrypt, send and sort answers. No task or future is made per request: that is what
makes small files fast (see `sftp`).
"""

from __future__ import annotations

import asyncio
import collections
import itertools
import os
import queue
import time
from contextlib import suppress
from typing import Any

import asyncssh

from trollmoves.errors import ConnectionLost, Stalled
from trollmoves.movers import sftp_protocol as protocol
from trollmoves.movers.sftp_protocol import Reply

SAFE_BLOCK = 32768
"""Bytes; a write that every server takes, and what fits into one packet of ssh: asyncssh copies larger ones once more."""
LARGEST_BLOCK = 261120
"""Bytes; larger ones bring nothing."""

GATHERED = 2**16
"""Bytes of requests that are sent without waiting for more."""

Answers = queue.SimpleQueue[Reply | None]


class SftpChannel(asyncssh.SSHClientSession[bytes]):
    """Sorts answers to those who asked. `send` and `expect` may be called from any thread, the rest in the loop's thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop):
        self._loop = loop
        self._channel: Any = None
        self._received = bytearray()
        self._waiting: dict[int, Answers] = {}
        self._unsent: collections.deque[bytes | bytearray] = collections.deque()
        self._will_send = False
        self._numbers = itertools.count(1)
        self._hello: asyncio.Future[Reply] = loop.create_future()
        self.lost = False
        """It will never answer again."""
        self.reason = "the connection was closed"
        self.heard = time.monotonic()
        """When the last answer came in: single bytes, or bytes beside the answers, would keep who waits for ever."""
        self.asked = 0
        """The number of the latest request."""
        self.answered = 0
        """That of the latest answer."""
        self.extensions: set[bytes] = set()
        self.block = SAFE_BLOCK
        """The largest write the server takes, bytes."""

    async def start(self) -> None:
        """Agree on a version. Raises `ConnectionLost`, or `ProtocolBroken` when the peer speaks no SFTP."""
        self._channel.write(protocol.hello())
        version = await self._hello
        if version.kind != protocol.VERSION:
            raise protocol.ProtocolBroken("it does not answer as an SFTP server")
        self.extensions = protocol.extensions_of(version.body)
        if b"limits@openssh.com" in self.extensions:
            await self._ask_limits()

    async def _ask_limits(self) -> None:
        self._hello = self._loop.create_future()
        self._channel.write(protocol.packet(protocol.EXTENDED, 0, protocol.string(b"limits@openssh.com")))
        limits = await self._hello
        if limits.kind == protocol.EXTENDED_REPLY and len(limits.body) >= 24:
            largest = int.from_bytes(limits.body[16:24], "big")
            self.block = min(largest, LARGEST_BLOCK) if largest else LARGEST_BLOCK

    def connection_made(self, chan: Any) -> None:
        self._channel = chan
        chan.set_write_buffer_limits(high=2**30)  # those who write limit themselves by the answers they wait for

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if datatype is not None:
            return
        self._received += data
        try:
            for reply in protocol.replies_in(self._received):
                self._sort(reply)
        except protocol.ProtocolBroken as error:
            self._lose(f"the server broke the protocol: {error}")
            self._channel.abort()

    def _sort(self, reply: Reply) -> None:
        if not self._hello.done():
            self._hello.set_result(reply)
            return
        answers = self._waiting.pop(reply.number, None)
        if answers is None:
            raise protocol.ProtocolBroken("an answer to nothing")
        self.heard = time.monotonic()
        self.answered = reply.number
        try:
            protocol.check(reply)
        except protocol.ProtocolBroken:
            answers.put(None)
            raise
        answers.put(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(str(exc) if exc else self.reason)

    def eof_received(self) -> bool:
        return False

    def _lose(self, reason: str) -> None:
        if not self.lost:
            self.reason = reason
        self.lost = True
        if not self._hello.done():
            self._hello.set_exception(ConnectionLost(reason))
            self._hello.exception()  # nobody may be waiting any more
        for answers in set(self._waiting.values()):
            answers.put(None)
        self._waiting.clear()

    def expect(self, answers: Answers) -> int:
        """A number for a request whose answer shall come into *answers*."""
        request = next(self._numbers) & 0xFFFFFFFF
        self._waiting[request] = answers
        self.asked = request
        return request

    def send(self, packets: bytes | bytearray) -> None:
        """Send requests that were given numbers by `expect`."""
        if self.lost:
            raise ConnectionLost(self.reason)
        try:
            self._unsent.append(packets)
            if not self._will_send:
                self._will_send = True
                self._loop.call_soon_threadsafe(self._send_all)
        except RuntimeError as error:  # the loop has ended
            raise ConnectionLost(self.reason) from error

    def _send_all(self) -> None:
        """What several threads have sent meanwhile travels together: encrypting and sending cost by the packet."""
        self._will_send = False  # first: what is appended from now on may be too late for this turn
        packets = []
        while self._unsent:
            packets.append(self._unsent.popleft())
        with suppress(BrokenPipeError):  # those who wait are told by `connection_lost`
            for packet in packets if len(packets) == 1 else [b"".join(packets)]:
                view = memoryview(packet)
                for start in range(0, len(view), SAFE_BLOCK):
                    self._channel.write(view[start:start + SAFE_BLOCK])

    def abort(self, reason: str) -> None:
        """Give the connection up, for all who use it; from any thread."""
        self.reason = reason
        try:
            self._loop.call_soon_threadsafe(self._abort, reason)
        except RuntimeError:
            self.lost = True

    def _abort(self, reason: str) -> None:
        self._lose(reason)
        self._channel.get_connection().abort()


class Exchange:
    """The requests of one operation and their answers; for one thread, thrown away afterwards.

    Requests go out when an answer is waited for, or when many bytes have gathered.
    """

    def __init__(self, channel: SftpChannel, patience: float):
        self._channel = channel
        self._patience = patience
        self._answers: Answers = queue.SimpleQueue()
        self._asked: dict[int, int] = {}
        self._unsent: list[bytes | bytearray] = []

    @property
    def outstanding(self) -> int:
        """Answers that are still to come."""
        return len(self._asked)

    def ask(self, kind: int, *fields: bytes) -> None:
        """Add a request."""
        self._unsent.append(protocol.packet(kind, self._expect(kind), *fields))

    def write(self, handle: bytes, descriptor: int, offset: int, count: int) -> int:
        """Add a WRITE of up to *count* bytes at *offset* of an open file; *handle* as a string field. The bytes there were."""
        space = protocol.WriteSpace(handle, count)
        done = os.preadv(descriptor, [space.data], offset)
        if done:
            self._unsent.append(space.packet(self._expect(protocol.WRITE), offset, done))
        if done >= GATHERED:
            self.send()
        return done

    def _expect(self, kind: int) -> int:
        request = self._channel.expect(self._answers)
        self._asked[request] = kind
        return request

    def send(self) -> None:
        """Send what was added. Raises `ConnectionLost`."""
        packets, self._unsent = self._unsent, []
        self._channel.send(packets[0] if len(packets) == 1 else b"".join(packets))

    def answer(self) -> tuple[int, Reply]:
        """The next answer and the kind of its request. Raises `Stalled` when for too long the server answers
        nobody, or only what was asked later."""
        if self._unsent:
            self.send()
        asked = time.monotonic()
        later: int | None = None
        while True:
            wait = self._patience - (time.monotonic() - max(asked, self._channel.heard))
            try:
                reply = self._answers.get(timeout=max(wait, 0.01))
            except queue.Empty:
                self._give_up_if_silent(asked)
                if later is not None and self._channel.answered > later:
                    raise Stalled(f"no answer for {self._patience:g} seconds, while later requests were answered") from None
                if later is None and time.monotonic() - asked >= self._patience:
                    later = self._channel.asked
                continue
            if reply is None:
                raise ConnectionLost(self._channel.reason)
            return self._asked.pop(reply.number), reply

    def _give_up_if_silent(self, asked: float) -> None:
        if self._channel.lost:
            raise ConnectionLost(self._channel.reason)
        if time.monotonic() - max(asked, self._channel.heard) >= self._patience:
            reason = f"no answer for {self._patience:g} seconds"
            self._channel.abort(reason)
            raise Stalled(reason)


def ask(channel: SftpChannel, patience: float, kind: int, *fields: bytes) -> Reply:
    """One request and its answer."""
    exchange = Exchange(channel, patience)
    exchange.ask(kind, *fields)
    return exchange.answer()[1]
