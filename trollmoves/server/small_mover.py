"""The process of small moves (see small_moves.py): reads orders, moves files from memory to memory, answers.

It does what a worker does for a small file on this machine, with the same `move`, but has an interpreter of its own. It ends with
the server: when the pipe ends, and, should the server be killed, by a signal of the kernel.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Generator
from contextlib import suppress
from itertools import islice
from typing import Any

import orjson

from trollmoves import crashing
from trollmoves.errors import MoveError
from trollmoves.movers.base import SessionSettings
from trollmoves.movers.file import FileMover
from trollmoves.movers.file_session import FileSession
from trollmoves.movers.moving import How, moving
from trollmoves.server.beneath import Announced, opened
from trollmoves.uris import Destination

LENGTH = struct.Struct("=I")
"""Before each frame: its length in bytes."""
SET_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of prctl(2)."""
MOST_SESSIONS = 100

FRAMES_TOGETHER = 4
"""Frames of orders that are done at a time where the disk must be waited for."""
SLOW = 0.3
"""Seconds for all of them after which the next ones are done frame by frame: nobody should wait for long."""

SYNC = How._fields.index("sync")

Doing = Generator[str, None, Any]
"""An order that is under way: as `moving.Steps`."""

_sessions: dict[Any, FileSession] = {}
_syncing = FileSession(SessionSettings())
"""Syncs for all the others."""


def main() -> None:
    """Work for the process that made us, over the socket that is our standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever stops the server lets it finish what is under way
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _die_with(int(sys.argv[1]))
    crashing.ends_parent()
    logging.disable()  # what fails is tried again by the server, which tells why
    gc.freeze()
    with suppress(ConnectionError), socket.socket(fileno=0) as pipe:  # a server that was killed may leave answers unread
        _write(pipe, [])
        together = FRAMES_TOGETHER
        while (orders := _read(pipe)) is not None:
            began, frames = time.monotonic(), [orders]
            while _are_to_last(frames[-1]) and len(frames) < together and select.select([pipe], [], [], 0.0)[0]:
                if (orders := _read(pipe)) is None:
                    return
                frames.append(orders)
            answers = iter(_all_done([order for orders in frames for order in orders]))
            for orders in frames:
                _write(pipe, list(islice(answers, len(orders))))
            together = FRAMES_TOGETHER if time.monotonic() - began < SLOW else 1


def _die_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit()


def _read(pipe: socket.socket) -> Any:
    head = pipe.recv(LENGTH.size, socket.MSG_WAITALL)
    if len(head) < LENGTH.size:
        return None
    size = LENGTH.unpack(head)[0]
    frame = pipe.recv(size, socket.MSG_WAITALL)
    return orjson.loads(frame) if len(frame) == size else None


def _write(pipe: socket.socket, answers: list[Any]) -> None:
    frame = orjson.dumps(answers)
    pipe.sendall(LENGTH.pack(len(frame)) + frame)


def _are_to_last(orders: Any) -> bool:
    """Whether files are to survive a power loss: then the more there are at a time, the less each waits for the disk."""
    return any(how[SYNC] for _, _, _, how in orders)


def _all_done(orders: list[Any]) -> list[Any]:
    """For each order its receipts as plain tuples, or None when anything was in the way. They go ahead together, up to where
    each has something that must last: all of that is synced at once."""
    answers: list[Any] = [None] * len(orders)
    waiting: list[tuple[int, Doing, str]] = []

    def go_on(number: int, doing: Doing, problem: MoveError | None = None) -> None:
        try:
            path = next(doing) if problem is None else doing.throw(problem)
        except StopIteration as end:
            answers[number] = end.value
        except Exception:
            answers[number] = None
        else:
            waiting.append((number, doing, path))

    for number, order in enumerate(orders):
        go_on(number, _doing(order))
    while waiting:
        synced, waiting = waiting, []
        problems = _syncing.sync_together([path for _, _, path in synced])
        for number, doing, path in synced:
            go_on(number, doing, problems[path])
    return answers


def _doing(order: Any) -> Doing:
    roots, key, members, how = order
    session, receipts = _session(tuple(key)), []
    for member in members:
        receipts.append((yield from _moving(tuple(roots), session, member, How(*how))))
    return receipts


def _moving(roots: tuple[str, ...], session: FileSession, member: Any, how: How) -> Doing:
    announced, place = member
    with opened(roots, Announced(*announced)) as origin:
        receipt = yield from moving(origin, Destination(*place), session, FileMover.abilities, how)
    return receipt.uri, receipt.size, receipt.checksum, receipt.verified, receipt.attempts, receipt.seconds, receipt.copied


def _session(key: Any) -> FileSession:
    session = _sessions.get(key)
    if session is None:
        if len(_sessions) >= MOST_SESSIONS:
            _sessions.clear()
        directory_mode, file_mode, checksum, link = key
        session = _sessions[key] = FileSession(SessionSettings(
            directory_mode=directory_mode, file_mode=file_mode, checksum=checksum, parameters={"link": link}))
    return session


if __name__ == "__main__":
    main()
