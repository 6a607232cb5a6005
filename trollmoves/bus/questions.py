"""One question, one answer, for programs that have no loop."""

from __future__ import annotations

import zmq

from trollmoves.bus.sockets import close, connected, end_context, send_frames
from trollmoves.errors import ConfigurationError
from trollmoves.messages import Message, decode

TRIES = 3


def ask(host: str, port: int, raw: bytes, timeout: float) -> Message | None:
    """The reply to a request that may be made again: it is sent three times, each time on a new connection and with *timeout*
    seconds to be answered. None when nothing comes. Raises `MalformedMessage` for a reply that is no message, and
    `ConfigurationError` for an address that is none."""
    for _ in range(TRIES):
        try:
            socket = connected(zmq.DEALER, host, port)
        except zmq.ZMQError as error:
            raise ConfigurationError(f"cannot connect to {host}:{port}: {error}") from error
        try:
            send_frames(socket, b"", raw)
            if socket.poll(int(timeout * 1000)):
                return decode(socket.recv_multipart()[-1])
        finally:
            close(socket)
    return None


def end() -> None:
    """Let go of all that asking needed."""
    end_context()
