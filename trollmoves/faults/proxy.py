"""A bad network in pure Python: a TCP proxy that delays, slows, cuts, half-closes, swallows, corrupts and stalls. No root needed.

::

    with TcpProxy("127.0.0.1", port) as proxy:
        proxy.upward = Fault(cut_after=100_000, connections=1)      # RST after exactly 100,000 bytes, the first connection only
        proxy.downward = Fault(delay=0.05)
        with proxy.black():                                         # nothing passes; connections stay
            ...
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any


@dataclass(frozen=True)
class Fault:
    """What goes wrong in one direction. Byte counts are of one connection, from its start; None or 0 means it does not happen."""

    delay: float = 0.0
    """Seconds added to what passes (bytes that come while others wait travel with them)."""
    rate: float | None = None
    """Bytes per second."""
    chunk: int = 65536
    """Bytes passed at a time; 1 with a small `rate` is a trickle."""
    cut_after: int | None = None
    """Exactly so many bytes pass, then both sides get a RST."""
    half_close_after: int | None = None
    """Exactly so many bytes pass, then the receiver sees the end of the stream; the other direction goes on."""
    stall_after: int | None = None
    """So many bytes pass, then nothing more is read: the sender's window fills up."""
    blackhole_after: int | None = None
    """So many bytes pass, then all are taken and thrown away."""
    corrupt_at: int | None = None
    """The byte at this offset gets all its bits flipped."""
    connections: int | None = None
    """Only the first so many connections (since the proxy started) suffer; None: all."""

    def edge(self) -> int | None:
        """The offset at which bytes cease to pass."""
        edges = [at for at in (self.cut_after, self.half_close_after, self.stall_after, self.blackhole_after) if at is not None]
        return min(edges) if edges else None

    def damage(self, data: bytes, offset: int) -> bytes:
        """*data*, which starts at *offset*, as the receiver gets it."""
        if self.corrupt_at is None or not offset <= self.corrupt_at < offset + len(data):
            return data
        at = self.corrupt_at - offset
        return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1:]


NO_FAULT = Fault()


class TcpProxy:
    """Listens on `host`:`port` and passes to a target. Faults may be set at any time; they are read anew for every chunk."""

    def __init__(self, target_host: str, target_port: int, *, upward: Fault = NO_FAULT, downward: Fault = NO_FAULT,
                 port: int = 0, host: str = "127.0.0.1"):
        self.target = (target_host, target_port)
        self.upward = upward
        """Client to target."""
        self.downward = downward
        """Target to client."""
        self.refusing = False
        """New connections get a RST."""
        self.connections = 0
        """Accepted since the start, refused ones too."""
        self.bytes_upward = 0
        self.bytes_downward = 0
        self._listener = socket.create_server((host, port), backlog=512)
        self._listener.setblocking(False)
        self.host, self.port = self._listener.getsockname()[:2]
        self._links: set[_Link] = set()
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()
        self._open.set()
        self._thread = threading.Thread(target=self._run, name=f"tcp-proxy-{self.port}", daemon=True)

    def start(self) -> TcpProxy:
        self._thread.start()
        return self

    def stop(self) -> None:
        """Cut what is open and stop listening; may be called twice."""
        if self._thread.is_alive():
            self._call(self._shut())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)

    @property
    def open_connections(self) -> int:
        return len(self._links)

    def cut_all(self) -> None:
        """RST to both sides of every open connection; returns when done."""
        self._call(self._cut_all())

    @contextlib.contextmanager
    def black(self) -> Iterator[None]:
        """A period in which no byte passes and no connection is passed on, though none is closed."""
        self._loop.call_soon_threadsafe(self._open.clear)
        try:
            yield
        finally:
            self._loop.call_soon_threadsafe(self._open.set)

    def fault(self, upward: bool, number: int) -> Fault:
        """What connection *number* (from 1) suffers now."""
        fault = self.upward if upward else self.downward
        return fault if fault.connections is None or number <= fault.connections else NO_FAULT

    def count(self, upward: bool, size: int) -> None:
        if upward:
            self.bytes_upward += size
        else:
            self.bytes_downward += size

    async def wait_until_open(self) -> None:
        await self._open.wait()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        accepting = self._loop.create_task(self._accept())  # the loop itself holds on to no task
        self._loop.run_forever()
        left = {accepting, *asyncio.all_tasks(self._loop)}
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.close()
        self._listener.close()

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _accept(self) -> None:
        running: set[asyncio.Task[None]] = set()
        while True:
            client, _ = await self._loop.sock_accept(self._listener)
            self.connections += 1
            if self.refusing:
                _reset(client)
                continue
            task = self._loop.create_task(self._serve(client, self.connections))
            running.add(task)
            task.add_done_callback(running.discard)

    async def _serve(self, client: socket.socket, number: int) -> None:
        client.setblocking(False)
        server = socket.socket()
        server.setblocking(False)
        link = _Link(self, client, server, number)
        self._links.add(link)
        try:
            await self._open.wait()
            await link.run(lambda: self._loop.sock_connect(server, self.target))
        finally:
            self._links.discard(link)
            link.reset()

    async def _cut_all(self) -> None:
        for link in list(self._links):
            link.cut()
        while self._links:
            await asyncio.sleep(0.005)

    async def _shut(self) -> None:
        self._open.set()
        self.refusing = True
        await self._cut_all()

    def __enter__(self) -> TcpProxy:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


class _Link:
    """One connection: two sockets and a pump for each direction."""

    def __init__(self, proxy: TcpProxy, client: socket.socket, server: socket.socket, number: int):
        self._proxy, self._client, self._server, self._number = proxy, client, server, number
        self._cut = asyncio.Event()

    def cut(self) -> None:
        self._cut.set()

    def reset(self) -> None:
        _reset(self._client)
        _reset(self._server)

    async def run(self, connect: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Pass bytes until both directions ended, or it is cut, or a side is lost."""
        cutting = asyncio.create_task(self._cut.wait())
        passing = asyncio.create_task(self._pass(connect))
        try:
            await asyncio.wait([cutting, passing], return_when=asyncio.FIRST_COMPLETED)
        finally:
            cutting.cancel()
            passing.cancel()
            await asyncio.gather(cutting, passing, return_exceptions=True)

    async def _pass(self, connect: Callable[[], Coroutine[Any, Any, None]]) -> None:
        await connect()
        for side in (self._client, self._server):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        async with asyncio.TaskGroup() as pumps:  # when one fails, the other must not go on with sockets that are closed by then
            pumps.create_task(self._pump(True, self._client, self._server))
            pumps.create_task(self._pump(False, self._server, self._client))
        await asyncio.gather(_drain(self._client), _drain(self._server))
        for side in (self._client, self._server):
            side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
            side.close()

    async def _pump(self, upward: bool, source: socket.socket, target: socket.socket) -> None:
        loop, passed = asyncio.get_running_loop(), 0
        while True:
            await _readable(source)  # only now is the fault looked at, so one that was set while nothing came holds exactly
            await self._proxy.wait_until_open()
            fault = self._proxy.fault(upward, self._number)
            edge = fault.edge()
            if edge is not None and passed >= edge:
                if await self._is_end(fault, upward, source, target):
                    return
                continue
            data = await loop.sock_recv(source, fault.chunk if edge is None else min(fault.chunk, edge - passed))
            if not data:
                return self._finish(target)
            await self._wait(fault, len(data))
            await loop.sock_sendall(target, fault.damage(data, passed))
            passed += len(data)
            self._proxy.count(upward, len(data))

    def _finish(self, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    async def _wait(self, fault: Fault, size: int) -> None:
        seconds = fault.delay + (size / fault.rate if fault.rate else 0.0)
        if seconds:
            await asyncio.sleep(seconds)
        await self._proxy.wait_until_open()

    async def _is_end(self, fault: Fault, upward: bool, source: socket.socket, target: socket.socket) -> bool:
        """Do what *fault* does at its edge. True: this direction is over. False: look again (the fault was changed)."""
        edge = fault.edge()
        if fault.cut_after == edge:
            await _drain(target)
            self.cut()
            await asyncio.Event().wait()
        if fault.half_close_after == edge:
            self._finish(target)
            return True
        if fault.blackhole_after == edge:
            while await asyncio.get_running_loop().sock_recv(source, 65536):
                pass
            await asyncio.Event().wait()
        while self._proxy.fault(upward, self._number) is fault:
            await asyncio.sleep(0.02)
        return False


async def _readable(side: socket.socket) -> None:
    """Wait until there is something to read: bytes, the end, or an error."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    descriptor = side.fileno()  # the socket may be closed before we are done
    loop.add_reader(descriptor, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


def _reset(side: socket.socket) -> None:
    """Close with a RST instead of a FIN."""
    with contextlib.suppress(OSError):
        side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    side.close()


async def _drain(side: socket.socket, seconds: float = 5.0) -> None:
    """Wait until the kernel has handed over what was sent (a RST would take it back)."""
    for _ in range(int(seconds / 0.005)):
        try:
            unsent = struct.unpack("i", fcntl.ioctl(side, termios.TIOCOUTQ, b"\0\0\0\0"))[0]
        except OSError:
            return
        if not unsent:
            return
        await asyncio.sleep(0.005)
