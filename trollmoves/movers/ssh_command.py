"""A command that runs at the other end of a shared ssh connection, talked to by one thread."""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import asyncssh

from trollmoves.errors import ConnectionLost, Stalled
from trollmoves.movers.draining import LOOK, wait_while_it_drains
from trollmoves.movers.sftp_channel import SAFE_BLOCK

if TYPE_CHECKING:
    from trollmoves.movers.ssh_connections import Lease

BUFFERED = 2 * 2**20
"""Bytes that are handed over before the writer waits for the network to take them."""
MOST_SAID = 2**20
"""Bytes that a command may answer to what was written to it."""
UNREAD = 100
"""Pieces of output that may wait to be read: commands here say little, one that floods us is ended."""
START_WITHIN = 10.0
"""Seconds the other side has at least to start a command, however short the patience with its answers."""


class CommandChannel(asyncssh.SSHClientSession[bytes]):
    """Standard input and output of the command. `write` and `read_*` are for one thread, the rest is the loop's."""

    def __init__(self, patience: float):
        self._patience = patience
        self._channel: Any = None
        self._loop: Any = None
        self._received: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._buffer = bytearray()
        self._may_write = threading.Event()
        self._said = 0
        self._handed = 0
        self._taken = 0
        self._paused = False
        self._lost = False

    @property
    def lost(self) -> bool:
        """Whether the command has ended or the connection is gone."""
        return self._lost

    def connection_made(self, chan: Any) -> None:
        self._channel = chan
        chan.set_write_buffer_limits(high=BUFFERED, low=BUFFERED - 2**18)

    def attach(self, loop: Any) -> None:
        """Say which loop the connection lives in."""
        self._loop = loop

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if self._received.qsize() > UNREAD:
            self._channel.abort()
        elif datatype is None:
            self._received.put(bytes(data))

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._may_write.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        self._received.put(None)
        self._may_write.set()

    def eof_received(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        """Hand over *data*. Raises `Stalled` when the network takes nothing for too long, `ConnectionLost`."""
        while self._is_full() and not self._lost:
            self._may_write.clear()
            if self._is_full() and not self._lost and not self._may_write.wait(self._patience):
                self.close()
                raise Stalled(f"nothing could be sent for {self._patience:g} seconds")
        if self._lost:
            raise ConnectionLost("the command at the other end has ended")
        self._said = 0
        self._handed += len(data)
        self._call(self._write, data)

    def _is_full(self) -> bool:
        return self._paused or self._handed - self._taken >= BUFFERED

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        with suppress(BrokenPipeError):  # `connection_lost` tells
            for start in range(0, len(view), SAFE_BLOCK):
                self._channel.write(view[start:start + SAFE_BLOCK])
        self._taken += len(data)
        self._may_write.set()

    def read_byte(self) -> int:
        """The next byte of the output."""
        self._fill(lambda: bool(self._buffer))
        return self._buffer.pop(0)

    def read_line(self) -> bytes:
        """The next line of the output, without its end."""
        self._fill(lambda: b"\n" in self._buffer)
        line, _, rest = self._buffer.partition(b"\n")
        self._buffer = bytearray(rest)
        return bytes(line)

    def read_lines(self, mark: bytes) -> list[bytes]:
        """The lines of the output, without their ends, up to one that begins with *mark*."""
        last = re.compile(rb"^" + re.escape(mark) + rb".*\n", re.MULTILINE)
        self._fill(lambda: last.search(self._buffer) is not None)
        found = last.search(self._buffer)
        assert found is not None
        lines = bytes(self._buffer[:found.end() - 1]).split(b"\n")
        del self._buffer[:found.end()]
        return lines

    def _fill(self, enough: Callable[[], bool]) -> None:
        """Read on until it is *enough*, all of which has to come in time."""
        try:
            wait_while_it_drains(lambda seconds: enough() or (self._has_more(seconds) and enough()), self._unsent, self._patience)
        except TimeoutError:
            self.close()
            raise Stalled(f"no answer for {self._patience:g} seconds") from None

    def _has_more(self, seconds: float) -> bool:
        try:
            data = self._received.get(timeout=seconds)
        except queue.Empty:
            return False
        if data is None:
            self._received.put(None)
            raise ConnectionLost("the command at the other end has ended")
        self._said += len(data)
        if self._said > MOST_SAID:
            self.close()
            raise ConnectionLost("the command at the other end does not stop talking")
        self._buffer += data
        return True

    def _unsent(self) -> int:
        """Bytes that are still on this side, wherever they wait."""
        found: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._call(lambda: found.put(self._channel.get_write_buffer_size() + self._channel.get_extra_info("unsent", 0)))
        with suppress(queue.Empty):
            return found.get(timeout=LOOK)
        return 0

    def close(self) -> None:
        """End it; may be called twice, never raises."""
        self._lost = True
        self._call(self._channel.abort)

    def _call(self, function: Any, *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            self._lost = True


def start_command(lease: Lease, command: str, patience: float) -> CommandChannel:
    """Run *command* there. Raises `ConnectionLost`."""
    async def start() -> CommandChannel:
        try:
            ssh = lease.connection.ssh
            _, channel = await ssh.create_session(lambda: CommandChannel(patience), _bytes(command), encoding=None)
        except (asyncssh.Error, OSError) as error:
            raise ConnectionLost(f"a command could not be started ({error})") from error
        started: CommandChannel = channel
        started.attach(lease.loop.loop)
        return started
    return lease.loop.run(start(), max(patience, START_WITHIN))


def _bytes(command: str) -> bytes:
    return command.encode("utf-8", "surrogateescape")
