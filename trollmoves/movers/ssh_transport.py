"""A TCP transport that hands the packets of one turn of the event loop to the socket together.

asyncssh writes an empty packet before every other, and each by a system call of its own; gathered, a large file takes a tenth of
the calls. It is given to asyncssh in the place of a tunnel, whose one duty is to connect.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from trollmoves.movers.draining import unsent_of

GATHERED = 2**18
"""Bytes that are sent without waiting for the end of the turn."""


class Connector:
    """What asyncssh calls a tunnel. Connects to *address*, if it was decided on, in place of looking up the host."""

    def __init__(self, address: str = ""):
        self._address = address

    async def create_connection(self, factory: Callable[[], Any], host: str, port: int) -> tuple[asyncio.Transport, Any]:
        """Connect to *host* and give the connection to what *factory* makes."""
        loop = asyncio.get_running_loop()
        protocol = factory()
        _, relay = await loop.create_connection(lambda: _Relay(protocol), self._address or host, port)
        return relay.transport, protocol


class GatheringTransport(asyncio.Transport):
    """Another transport with later writes."""

    def __init__(self, inner: asyncio.Transport):
        super().__init__()
        self._inner = inner
        self._loop = asyncio.get_running_loop()
        self._gathered: list[bytes] = []
        self._size = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self._gathered:
            self._loop.call_soon(self._flush)
        self._gathered.append(bytes(data))
        self._size += len(data)
        if self._size >= GATHERED:
            self._flush()

    def _flush(self) -> None:
        if self._gathered:
            gathered, self._gathered, self._size = self._gathered, [], 0
            self._inner.write(b"".join(gathered))

    def close(self) -> None:
        self._flush()
        self._inner.close()

    def abort(self) -> None:
        self._gathered = []
        self._inner.abort()

    def is_closing(self) -> bool:
        return self._inner.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Also `unsent`: the bytes that the other side has not acknowledged yet."""
        if name == "unsent":
            return self.get_write_buffer_size() + unsent_of(self._inner.get_extra_info("socket"))
        return self._inner.get_extra_info(name, default)

    def get_write_buffer_size(self) -> int:
        return self._size + self._inner.get_write_buffer_size()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._inner.set_write_buffer_limits(high, low)

    def can_write_eof(self) -> bool:
        return self._inner.can_write_eof()

    def write_eof(self) -> None:
        self._flush()
        self._inner.write_eof()

    def is_reading(self) -> bool:
        return self._inner.is_reading()

    def pause_reading(self) -> None:
        self._inner.pause_reading()

    def resume_reading(self) -> None:
        self._inner.resume_reading()


class _Relay(asyncio.Protocol):
    """Tells the real protocol everything, with our transport in the place of the loop's."""

    def __init__(self, protocol: Any):
        self._protocol = protocol
        self.transport: GatheringTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = GatheringTransport(transport)
        self._protocol.connection_made(self.transport)

    def data_received(self, data: bytes) -> None:
        self._protocol.data_received(data)

    def eof_received(self) -> bool | None:
        kept_open: bool | None = self._protocol.eof_received()
        return kept_open

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        self._protocol.resume_writing()
