"""The process of small moves (see small_moves.py): reads orders, moves files from memory to memory, answers.

It does what a worker does for a small file on this machine, with the same `move`, but has an interpreter of its own. It ends with
the server: when the pipe ends, and, should the server be killed, by a signal of the kernel.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import signal
import socket
import struct
import sys
from typing import Any

import orjson

from trollmoves import crashing
from trollmoves.movers.base import SessionSettings
from trollmoves.movers.file import FileMover, FileSession
from trollmoves.movers.moving import How, move
from trollmoves.server.beneath import Announced, opened
from trollmoves.uris import Destination

LENGTH = struct.Struct("=I")
"""Before each frame: its length in bytes."""
SET_DEATH_SIGNAL = 1
"""PR_SET_PDEATHSIG of prctl(2)."""
MOST_SESSIONS = 100

_sessions: dict[Any, FileSession] = {}


def main() -> None:
    """Work for the process that made us, over the socket that is our standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever stops the server lets it finish what is under way
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _die_with(int(sys.argv[1]))
    crashing.ends_parent()
    logging.disable()  # what fails is tried again by the server, which tells why
    gc.freeze()
    with socket.socket(fileno=0) as pipe:
        _write(pipe, [])
        while (orders := _read(pipe)) is not None:
            _write(pipe, [_done(order) for order in orders])


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


def _done(order: Any) -> Any:
    """The receipts of one order as plain tuples; None when anything was in the way."""
    roots, session, members, how = order
    try:
        return [_moved(tuple(roots), _session(tuple(session)), member, How(*how)) for member in members]
    except Exception:
        return None


def _moved(roots: tuple[str, ...], session: FileSession, member: Any, how: How) -> Any:
    announced, place = member
    with opened(roots, Announced(*announced)) as origin:
        receipt = move(origin, Destination(*place), session, FileMover.abilities, how)
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
