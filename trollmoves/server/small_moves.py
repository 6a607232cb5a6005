"""Small files that stay on this machine are moved by a process of their own.

Such a move is a dozen system calls, and behind each a thread would have to wait for the interpreter, which the loop has just
then: measured, 0.1 ms became 0.4 in a busy server. What the process cannot do, for whatever reason, is done by a worker, which
knows how to say what is wrong. When it hangs (a disk does not answer) or dies, workers do all that it has not.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from trollmoves.bus import Loop
from trollmoves.movers.base import Receipt
from trollmoves.server import small_mover
from trollmoves.server.small_mover import LENGTH

logger = logging.getLogger(__name__)

AT_ONCE = 16
"""Orders in one frame."""
AHEAD = 64
"""Orders that the process has been given and has not answered, at most."""
AHEAD_BYTES = 64 * 2**10
"""Their bytes, so that the pipe never blocks."""
HELD_UP = 0.3
"""Seconds without an answer after which it counts as held up, and gets nothing new."""
STALLED = 60.0
"""Seconds after which it is ended, and workers do what it was to do."""
LOOK_EVERY = 0.05
START_AGAIN = 10.0
DIES_WITHIN = 0.2
"""Seconds; a process that waits for a disk dies when the disk answers."""
LOOKS = 20
BUFFER = 2**20


class Order(NamedTuple):
    """One move: plain values for the process, what to call with its receipts, and what to do when there are none."""

    plain: tuple[Any, ...]
    done: Callable[[list[Receipt]], Any]
    instead: Callable[[], Any]


class SmallMoves:
    """Belongs to the loop."""

    def __init__(self, loop: Loop):
        self._loop = loop
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: socket.socket | None = None
        self._received = bytearray()
        self._waiting: deque[Order] = deque()
        self._given: deque[tuple[list[Order], int]] = deque()
        self._ahead = self._ahead_bytes = 0
        self._answered = 0.0
        """When it answered last, or was given something while it had nothing to do."""
        self._is_up = False
        """It has said that it is there."""
        self._failed = self._closed = self._looking = False

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        command = [sys.executable, "-P", "-m", small_mover.__name__, str(os.getpid())]
        try:
            with theirs:
                self._process = subprocess.Popen(command, stdin=theirs.fileno(), env=environment)
        except OSError as error:
            ours.close()
            self._fail(f"cannot be made: {error}")
            return
        ours.setblocking(False)
        self._pipe = ours
        self._loop.register(ours.fileno(), self._read)

    def is_ready(self) -> bool:
        """Whether it is worth asking. The process is made when this is asked first: many servers never need it."""
        if self._process is None and not self._failed:
            self._start()
        return self._is_up and (not self._ahead or time.monotonic() - self._answered < HELD_UP)

    def add(self, orders: list[Order]) -> None:
        """Have them done, one after the other."""
        self._waiting.extend(orders)
        self._give()
        if self._pipe is None:
            self._leave(self._waiting)
        self._look_later()

    def _look(self) -> None:
        """Now and then while it works: what waits behind something that hangs is done by workers."""
        self._looking = False
        if self._waiting and not self.is_ready():
            self._leave(self._waiting)
        if self._ahead and time.monotonic() - self._answered > STALLED:
            self._lost("hangs")
        self._look_later()

    def _look_later(self) -> None:
        if self._ahead and not self._looking:
            self._looking = True
            self._loop.after(LOOK_EVERY, self._look)

    def _leave(self, orders: deque[Order]) -> None:
        """To workers."""
        while orders:
            orders.popleft().instead()

    def _give(self) -> None:
        while self._waiting and self._ahead < AHEAD and self._ahead_bytes < AHEAD_BYTES and self._pipe is not None:
            orders = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
            try:
                frame = orjson.dumps([order.plain for order in orders])
            except TypeError:  # a name that is no text
                for order in orders:
                    order.instead()
                continue
            if not self._ahead:
                self._answered = time.monotonic()
            self._given.append((orders, len(frame)))
            self._ahead += len(orders)
            self._ahead_bytes += len(frame)
            try:
                self._pipe.sendall(LENGTH.pack(len(frame)) + frame)
            except OSError:
                self._lost()

    def _read(self) -> None:
        assert self._pipe is not None
        try:
            data = self._pipe.recv(BUFFER)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost()
            return
        self._received += data
        while len(self._received) >= LENGTH.size:
            end = LENGTH.size + LENGTH.unpack_from(self._received)[0]
            if len(self._received) < end:
                break
            answers = orjson.loads(memoryview(self._received)[LENGTH.size:end])
            del self._received[:end]
            self._take(answers)
        self._give()

    def _take(self, answers: list[Any]) -> None:
        if not self._is_up:
            self._is_up = True
            return
        orders, size = self._given.popleft()
        self._ahead -= len(orders)
        self._ahead_bytes -= size
        self._answered = time.monotonic()
        for order, answer in zip(orders, answers, strict=True):
            if answer is None:
                order.instead()
            else:
                order.done([Receipt(*receipt) for receipt in answer])

    def _lost(self, why: str = "ended unexpectedly") -> None:
        """Workers do what it has not answered, and another one is made."""
        self._end()
        self._fail(why)
        orders = deque([*(order for part, _ in self._given for order in part), *self._waiting])
        self._given.clear()
        self._waiting.clear()
        self._ahead = self._ahead_bytes = 0
        self._leave(orders)

    def _fail(self, why: str) -> None:
        logger.error("the process of small moves %s; workers do its work, it is made anew in %.0f s", why, START_AGAIN)
        self._failed = True
        self._loop.after(START_AGAIN, self._forgive)

    def _forgive(self) -> None:
        self._failed = self._closed

    def _end(self) -> None:
        self._is_up = False
        if self._pipe is not None:
            self._loop.unregister(self._pipe.fileno())
            self._pipe.close()
            self._pipe = None
        if self._process is not None:
            self._process.kill()
            for _ in range(LOOKS):
                if self._process.poll() is not None:
                    break
                select.select([], [], [], DIES_WITHIN / LOOKS)
            self._process = None
        self._received.clear()

    def close(self) -> None:
        """End it; may be called twice."""
        self._closed = self._failed = True
        self._end()
