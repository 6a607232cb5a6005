"""Moves into memory (`memory://host/path`): a double for tests that passes the same contract as the real movers.

It is in no registry, so that no configuration can name it. A test makes one, looks into its hosts and lets things go wrong::

    mover = MemoryMover()
    sessions = Sessions(mover_for=lambda scheme: mover)
    mover.host("a").cut_after = 1000        # the next put is cut after so many bytes
    mover.host("a").files["/in/x"].content

Hosts may be used from several threads.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
import threading
from dataclasses import dataclass, field

from trollmoves.errors import ConnectionLost, DestinationFull, DestinationInvalid, LoginRefused, OriginChanged, Unreachable
from trollmoves.movers.bandwidth import Pace
from trollmoves.movers.base import (
    Abilities,
    MissingDirectory,
    Mover,
    Origin,
    Progress,
    Sent,
    Session,
    SessionSettings,
    nothing_written,
)
from trollmoves.uris import Destination

CHUNK = 2**16


@dataclass(slots=True)
class Stored:
    """A file in memory."""

    content: bytearray = field(default_factory=bytearray)
    mtime_ns: int = 0
    mode: int = 0o600


@dataclass
class MemoryHost:
    """What one host holds, and what shall go wrong with it."""

    files: dict[str, Stored] = field(default_factory=dict)
    directories: set[str] = field(default_factory=lambda: {"/"})
    capacity: int | None = None
    """Bytes that fit on its disk."""
    password: str | None = None
    """What a login must carry."""
    reachable: bool = True
    cut_after: int | None = None
    """The next put loses its connection after so many bytes."""
    opened: int = 0
    """Sessions so far."""
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)


class MemorySession(Session):
    """A session that is lost when its host is."""

    def __init__(self, host: MemoryHost, settings: SessionSettings, pace: Pace):
        self._host = host
        self._file_mode = settings.file_mode
        self._pace = pace
        self._lost = False

    def put(self, origin: Origin, path: str, progress: Progress, offset: int = 0) -> Sent:
        with nothing_written(), self._answering() as host:
            stored = self._created(host, path, offset)
        done = offset
        while done < origin.size:
            chunk = os.pread(origin.descriptor, min(self._pace.at_once(CHUNK), origin.size - done), done)
            if not chunk:
                raise OriginChanged(f"{origin.path}: ended after {done} of {origin.size} bytes")
            self._pace.wait_for(len(chunk))
            self._write(stored, chunk)
            done += len(chunk)
            progress(done)
        with self._answering():
            stored.mtime_ns, stored.mode = origin.mtime_ns, origin.mode if self._file_mode is None else self._file_mode
        return Sent(done, None, "none")

    def _created(self, host: MemoryHost, path: str, offset: int) -> Stored:
        if posixpath.dirname(path) not in host.directories:
            raise MissingDirectory(f"{path}: no such directory")
        if path in host.directories:
            raise DestinationInvalid(f"{path}: is a directory")
        stored = host.files.get(path, Stored()) if offset else Stored()
        if len(stored.content) < offset:
            raise ConnectionLost(f"{path}: holds less than the {offset} bytes to go on behind")
        del stored.content[offset:]
        host.files[path] = stored
        return stored

    def _write(self, stored: Stored, chunk: bytes) -> None:
        with self._answering() as host:
            if host.capacity is not None and sum(len(file.content) for file in host.files.values()) + len(chunk) > host.capacity:
                raise DestinationFull("no space left")
            if host.cut_after is not None and len(stored.content) + len(chunk) > host.cut_after:
                stored.content += chunk[:host.cut_after - len(stored.content)]
                host.cut_after, self._lost = None, True
                raise ConnectionLost("cut")
            stored.content += chunk

    def size(self, path: str) -> int | None:
        with self._answering() as host:
            return len(host.files[path].content) if path in host.files else None

    def checksum(self, path: str) -> str | None:
        with self._answering() as host:
            return f"sha256:{hashlib.sha256(host.files[path].content).hexdigest()}"

    def rename(self, source: str, target: str) -> None:
        with self._answering() as host:
            if source not in host.files:
                raise MissingDirectory(f"{source}: no such file")
            if target in host.directories:
                raise DestinationInvalid(f"{target}: is a directory")
            host.files[target] = host.files.pop(source)

    def remove(self, path: str) -> None:
        with self._answering() as host:
            host.files.pop(path, None)

    def make_directories(self, path: str) -> None:
        with self._answering() as host:
            while path not in host.directories:
                host.directories.add(path)
                path = posixpath.dirname(path)

    def is_directory(self, path: str) -> bool:
        with self._answering() as host:
            return path in host.directories

    def is_alive(self) -> bool:
        return self._host.reachable and not self._lost

    def close(self) -> None:
        self._lost = True

    def _answering(self) -> _Locked:
        if not self.is_alive():
            self._lost = True
            raise ConnectionLost("the host in memory does not answer")
        return _Locked(self._host)


class _Locked:
    """The host, for one thread."""

    def __init__(self, host: MemoryHost):
        self._host = host

    def __enter__(self) -> MemoryHost:
        self._host.lock.acquire()
        return self._host

    def __exit__(self, *error: object) -> None:
        self._host.lock.release()


class MemoryMover(Mover):
    """Keeps its hosts as long as it lives; a host comes into being when it is first asked for."""

    schemes = ("memory",)
    abilities = Abilities(checksum=True, resume=True, attributes=True, parallel=16)

    def __init__(self) -> None:
        self._hosts: dict[str, MemoryHost] = {}

    def host(self, name: str) -> MemoryHost:
        """The host of that name."""
        return self._hosts.setdefault(name, MemoryHost())

    def open(self, destination: Destination, settings: SessionSettings) -> Session:
        host = self.host(destination.host)
        if not host.reachable:
            raise Unreachable(f"{destination}: does not answer")
        if host.password is not None and destination.password != host.password:
            raise LoginRefused(f"{destination}: wrong password")
        host.opened += 1
        return MemorySession(host, settings, settings.pace(destination.host))
