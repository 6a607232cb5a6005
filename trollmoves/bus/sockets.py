"""ZeroMQ sockets as posttroll makes them: its `backend` setting decides between plain and CURVE, for requests as for messages.

All sockets get the limits of this package: frames of bounded size, deep but bounded queues, reconnecting for ever.
"""

from __future__ import annotations

import errno
import logging
import os
import socket as tcp
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import zmq
from posttroll import config as posttroll_config
from posttroll.backends.zmq import destroy_context, get_context
from posttroll.backends.zmq.socket import set_up_client_socket, set_up_server_socket

from trollmoves.bus.addresses import NO_DESCRIPTOR
from trollmoves.errors import ConfigurationError
from trollmoves.exposed import exposed
from trollmoves.uris import LOCAL_SOCKET, format_endpoint

logger = logging.getLogger(__name__)

BACKENDS = ("unsecure_zmq", "secure_zmq")
"""Of posttroll, those that we know."""
KEYS = "server_secret_key_file", "client_secret_key_file", "server_public_key_file", "clients_public_keys_directory"
"""Settings of posttroll that name files, or a directory of them."""
HIGH_WATER = 10_000
"""Messages queued per peer; beyond it a publisher drops (catching up repairs that), all others wait."""
LARGEST_FRAME = 16 * 2**20
"""Bytes; a peer that sends more is cut off."""

Socket = zmq.Socket[bytes]

NOW = int(zmq.DONTWAIT)
MORE = int(zmq.DONTWAIT) | int(zmq.SNDMORE)

_RECONNECT: dict[int, Any] = {zmq.RECONNECT_IVL: 100, zmq.RECONNECT_IVL_MAX: 5000}
KEPT_ALIVE = 60, 10, 6
"""How connections of ours are kept alive: seconds of silence before it is asked whether the peer is there, and between two
questions, and how many remain unanswered."""
_ALIVE: dict[int, Any] = {zmq.TCP_KEEPALIVE: 1, **dict(zip(
    (zmq.TCP_KEEPALIVE_IDLE, zmq.TCP_KEEPALIVE_INTVL, zmq.TCP_KEEPALIVE_CNT), KEPT_ALIVE, strict=True))}
_HEARTBEAT: dict[int, Any] = {zmq.HEARTBEAT_IVL: 15_000, zmq.HEARTBEAT_TIMEOUT: 45_000}


def connected(kind: int, host: str, port: int, options: dict[int, Any] | None = None) -> Socket:
    """A socket that connects to a peer, now and again whenever the connection is lost. *host* may be an `ipc://path`."""
    settings = _common() | _RECONNECT | (options or {})
    place = host if host.startswith(LOCAL_SOCKET) else f"tcp://{format_endpoint(host, port)}"
    if place.startswith("tcp://["):
        settings[zmq.IPV6] = 1
    with _explaining_keys():
        socket: Socket = set_up_client_socket(kind, place, settings)
    return socket


def connected_or_none(address: str | None, port: int) -> Socket | None:
    """A socket for requests; None when the address is none, or not known, or there are too many sockets. Announcements bring any
    address."""
    if address is None:
        return None
    try:
        return connected(zmq.DEALER, address, port)
    except zmq.ZMQError as error:
        logger.warning("cannot connect to %s:%d: %s", address, port, error)
        return None


def bound(kind: int, address: str, port: int, options: dict[int, Any] | None = None) -> tuple[Socket, int]:
    """A socket that listens on *port* of *address* (`*` for all; port 0 for a free one), and the port.

    Raises `ConfigurationError` when that port is taken or not ours to use, or a key is missing.
    """
    settings = _common() | {zmq.HANDSHAKE_IVL: 10_000} | (options or {})
    try:
        with _explaining_keys():
            socket, port, _ = set_up_server_socket(kind, f"tcp://{address}:{port}", settings, _port_range())
    except zmq.ZMQError as error:
        raise ConfigurationError(f"cannot listen on port {port} of {address}: {_reason(error)}") from error
    return socket, port


@contextmanager
def _explaining_keys() -> Iterator[None]:
    """What posttroll finds missing in its configuration, as a `ConfigurationError`."""
    backend = posttroll_config.get("backend")
    if backend not in BACKENDS:
        raise ConfigurationError(f"posttroll's configuration asks for the backend {backend!r}; "
                                 f"set POSTTROLL_BACKEND to {' or '.join(BACKENDS)}")
    if backend == "secure_zmq":
        _check_keys()
    try:
        yield
    except zmq.ZMQError:
        raise
    except Exception as error:
        missing = error if isinstance(error, KeyError) else error.__context__  # newer releases raise an error of their own
        if not isinstance(missing, KeyError):
            if not isinstance(error, OSError | ValueError):
                raise
            raise ConfigurationError(f"a key for posttroll's backend {backend} cannot be read: {error}") from error
        name = str(missing.args[0])
        raise ConfigurationError(f"posttroll's backend {backend} needs the setting {name}: set POSTTROLL_{name.upper()} in the "
                                 "environment; `posttroll-generate-keys` makes keys") from error


@cache
def _check_keys() -> None:
    """Once, at the start: raise `ConfigurationError` when anybody could have put a key of his own in the place of one."""
    for name in KEYS:
        place = Path(str(posttroll_config.get(name, None) or os.devnull))
        for path in (place, *(place.glob("*.key") if place.is_dir() else ())):
            with suppress(OSError):  # what cannot be read is told when it is
                if danger := exposed(path, path.stat()):
                    raise ConfigurationError(f"{path}, a key for posttroll's backend secure_zmq ({name}), {danger}")


def send_frames(socket: Socket, *frames: bytes) -> None:
    """Send one message of several frames, or raise `zmq.Again` when the queue is full. (Plain numbers: combining pyzmq's flags
    costs more than sending.)"""
    for frame in frames[:-1]:
        socket.send(frame, MORE)
    socket.send(frames[-1], NOW)


def descriptor_of(frame: zmq.Frame) -> int:
    """The descriptor of the connection that *frame* came from; -1 when that is not known, such as of one that was closed."""
    try:
        return int(frame.get(zmq.SRCFD))
    except (zmq.ZMQError, ValueError, TypeError):
        return -1


class _Borrowed(tcp.socket):
    """A connection whose descriptor stays open when this is closed."""

    def close(self) -> None:
        self.detach()


def held(descriptor: int) -> tcp.socket:
    """A connection, to be closed: another descriptor of it; when there is none left, that one. Raises `OSError` when it is none
    (any more): its number may be a file's by now."""
    try:
        copy = os.dup(descriptor)
    except OSError as error:
        if error.errno in NO_DESCRIPTOR:
            return _Borrowed(fileno=descriptor)
        raise
    try:
        return tcp.socket(fileno=copy)
    except OSError:
        os.close(copy)
        raise


def inode_of(descriptor: int) -> int:
    """What tells a connection from the next one with that descriptor; 0 when it is closed."""
    try:
        return os.fstat(descriptor).st_ino
    except OSError:
        return 0


def number_of(descriptor: int, place: int) -> int | None:
    """A number of eight bytes of what the system tells of a connection (Linux's `struct tcp_info`), by its *place* there; None
    where that is not known."""
    try:
        connection = tcp.socket(fileno=descriptor)
    except (OSError, ValueError):  # the connection is gone; its number may be another file's by now
        return None
    try:
        information = connection.getsockopt(tcp.IPPROTO_TCP, tcp.TCP_INFO, place + 8)
        return int(struct.unpack_from("Q", information, place)[0])
    except (OSError, struct.error):
        return None
    finally:
        connection.detach()


def close(socket: Socket, linger: int = 0) -> None:
    """Close; *linger* milliseconds for what is queued to leave."""
    with suppress(zmq.ZMQError):
        socket.close(linger)


def connections_of(socket: Socket) -> Socket:
    """A socket that can be read whenever *socket* has connected to a peer that speaks ZeroMQ. It is to be read with
    `count_waiting`, and to be closed, before *socket* is, with `end_connections_of`."""
    return socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)


def events_of(socket: Socket, kinds: int) -> Socket:
    """A socket that tells of events of *socket*, any number of them: ZeroMQ does nothing else, not even end, while it has no room
    for one more. To be closed after `end_connections_of`."""
    place = f"inproc://events-{socket.FD}"
    socket.monitor(place, kinds)
    events: Socket = get_context().socket(zmq.PAIR)
    events.set_hwm(0)
    events.connect(place)
    return events


def count_waiting(socket: Socket) -> int:
    """Take all messages that wait; returns how many."""
    count = 0
    with suppress(zmq.Again):
        while True:
            socket.recv_multipart(NOW)
            count += 1
    return count


def end_connections_of(socket: Socket) -> None:
    """Close what `connections_of` gave for *socket*."""
    with suppress(zmq.ZMQError):
        socket.disable_monitor()


def end_context() -> None:
    """Let go of the I/O threads; who opens a socket afterwards gets new ones."""
    get_context()  # where no socket was opened there is none yet
    destroy_context(linger=0)


def message_version() -> str | None:
    """The message version that posttroll's configuration forces, if any."""
    version = posttroll_config.get("message_version", None)
    return str(version) if version else None


def _common() -> dict[int, Any]:
    # The high-water marks must be set before connecting or binding: later is too late.
    limits: dict[int, Any] = {zmq.LINGER: 0, zmq.SNDHWM: HIGH_WATER, zmq.RCVHWM: HIGH_WATER, zmq.MAXMSGSIZE: LARGEST_FRAME}
    return limits | _ALIVE | _HEARTBEAT


def _port_range() -> tuple[int, int]:
    lowest, highest = posttroll_config.get("pub_min_port", 49152), posttroll_config.get("pub_max_port", 65535)
    return int(lowest), int(highest)


def _reason(error: zmq.ZMQError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program listens there (choose another port, or stop it)"
    if error.errno == errno.EACCES:
        return "this user may not (choose a port from 1024 on)"
    if error.errno == errno.EADDRNOTAVAIL:
        return "that is no address of this machine (listen_address)"
    return str(error)
