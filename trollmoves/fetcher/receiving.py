"""Receive: bytes from elsewhere become a file here, whole or not at all: temporary name, length, fsync, rename."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import Protocol

from trollmoves import crashing
from trollmoves.errors import ConnectionLost, Denied, DestinationInvalid
from trollmoves.movers.base import MissingDirectory, Receipt, SessionSettings
from trollmoves.movers.file_session import CREATE, FileSession, translated
from trollmoves.movers.moving import temporary_name

PIECE = 2**20


class Stream(Protocol):
    """What is received."""

    def read(self, size: int, /) -> bytes: ...


class Receiving:
    """How files are written. Made once for a configuration."""

    def __init__(self, settings: SessionSettings, *, sync: bool, largest: int | None):
        """*sync*: make files survive a power loss. *largest*: bytes; a longer one is refused."""
        self._session = FileSession(settings)
        self._mode = settings.file_mode
        self._pace = settings.pace("")
        self._sync = sync
        self._largest = largest

    def receive(self, stream: Stream, size: int | None, path: str, transfer: str) -> Receipt:
        """Write *stream* (of *size* bytes, where that is known) to *path*, replacing what is there. Raises a `MoveError`; then
        nothing new is visible. What reading raises is passed on."""
        began = time.monotonic()
        if os.path.isdir(path):
            raise DestinationInvalid(f"{path} is a directory")
        temporary = temporary_name(path, transfer)
        try:
            done = self._write(stream, size, temporary)
            crashing.point("fetcher.received")
            self._session.rename(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        if self._sync:
            self._session.sync(os.path.dirname(path))
        return Receipt(path, done, None, "none" if size is None else "size", seconds=time.monotonic() - began)

    def _write(self, stream: Stream, size: int | None, path: str) -> int:
        descriptor = self._create(path)
        try:
            done = self._copy(stream, size, descriptor, path)
            if size is not None and done != size:
                raise ConnectionLost(f"ended after {done} of {size} bytes")
            if self._mode is not None:
                os.fchmod(descriptor, self._mode)
            else:
                os.fchmod(descriptor, 0o644)
            if self._sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return done

    def _create(self, path: str) -> int:
        try:
            return _created(path)
        except MissingDirectory:
            self._session.make_directories(os.path.dirname(path))
            return _created(path)

    def _copy(self, stream: Stream, size: int | None, descriptor: int, path: str) -> int:
        done = 0
        while piece := stream.read(PIECE):
            done += len(piece)
            if self._largest is not None and done > self._largest:
                raise Denied(f"is longer than max_size ({self._largest} bytes)")
            if size is not None and done > size:  # it may never end
                raise ConnectionLost(f"more came than the {size} bytes that were told")
            self._pace.wait_for(len(piece))
            view = memoryview(piece)
            try:
                while view:
                    view = view[os.write(descriptor, view):]
            except OSError as error:
                raise translated(error, path) from error
        return done


def _created(path: str) -> int:
    """A new file at *path*; what an earlier attempt left there goes first."""
    with suppress(FileNotFoundError, NotADirectoryError):
        os.unlink(path)
    try:
        return os.open(path, CREATE, 0o600)
    except OSError as error:
        raise translated(error, path) from error
