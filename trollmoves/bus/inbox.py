"""The one place where threads meet: calls put in by any thread, taken out by the loop."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import Any

Call = tuple[Callable[..., Any], tuple[Any, ...]]


class Inbox:
    """A queue with a file descriptor that becomes readable when something is put in while the loop waits."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Call] = SimpleQueue()
        self._reading, self._writing = socket.socketpair()
        self._reading.setblocking(False)
        self._writing.setblocking(False)
        self._waiting = self._woken = False

    def fileno(self) -> int:
        return self._reading.fileno()

    def put(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Have *function* called by the loop. Any thread may do this."""
        self._queue.put((function, arguments))
        self._wake()

    def put_all(self, calls: Iterable[Call]) -> None:
        """Several calls with one wake-up."""
        for call in calls:
            self._queue.put(call)
        self._wake()

    def _wake(self) -> None:
        if self._waiting and not self._woken:
            self._woken = True
            with contextlib.suppress(BlockingIOError, OSError):  # full: it is readable already; closed: nobody listens any more
                self._writing.send(b"!")

    def wait(self) -> bool:
        """The loop is about to wait, and has to be woken by what is put in from now on; False when there is something already."""
        self._waiting = True
        return self._queue.empty()

    def waited(self) -> None:
        """The loop is awake, and looks for itself."""
        self._waiting = False

    def read(self) -> None:
        """Take in what woke the loop. (What is put in after that is in the queue before anybody looks whether to wake it.)"""
        with contextlib.suppress(BlockingIOError):
            self._reading.recv(64)
        self._woken = False

    def take(self, most: int) -> Iterator[Call]:
        """Up to *most* calls, also those that are put in meanwhile."""
        for _ in range(most):
            try:
                yield self._queue.get_nowait()
            except Empty:
                return

    def close(self) -> None:
        self._reading.close()
        self._writing.close()
