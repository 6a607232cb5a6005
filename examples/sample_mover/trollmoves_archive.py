"""Deliveries into a mounted archive: `archive:///mnt/archive/hrit/` gets each file and, beside it, a `.sha256` like those that
`sha256sum` prints. The sidecar is there before the file is, so who sees a file can check it. A file that was there already, with
the same content, is left as it is.

With `archive_marker` nothing is written while the archive is not mounted: it names a file that is only there when it is.
"""

from __future__ import annotations

import errno
import hashlib
import os
from contextlib import suppress

from trollmoves.errors import (
    ConnectionLost,
    Denied,
    DestinationFull,
    DestinationInvalid,
    MoveError,
    OriginChanged,
    Unreachable,
)
from trollmoves.movers.base import Abilities, MissingDirectory, Mover, Origin, Progress, Sent, Session, SessionSettings
from trollmoves.movers.parameters import Parameter
from trollmoves.uris import Destination

CHUNK = 2**20
"""Bytes handed over at a time."""

ERRORS: dict[int, type[MoveError]] = {
    errno.ENOENT: MissingDirectory,
    errno.ENOSPC: DestinationFull,
    errno.EDQUOT: DestinationFull,
    errno.EACCES: Denied,
    errno.EPERM: Denied,
    errno.EROFS: Denied,
    errno.EISDIR: DestinationInvalid,
    errno.ENOTDIR: DestinationInvalid,
    errno.ENAMETOOLONG: DestinationInvalid,
}
"""Anything else (a mount that went away, for example) may pass: `ConnectionLost`, and the file is tried again."""


def translated(error: OSError, path: str) -> MoveError:
    """Our error for one of the operating system's."""
    return ERRORS.get(error.errno or 0, ConnectionLost)(f"{path}: {error.strerror}")


class ArchiveSession(Session):
    """The archive, while it is mounted."""

    def __init__(self, destination: Destination, settings: SessionSettings):
        self._marker = str(settings.parameters.get("archive_marker") or "")
        self._directory_mode = settings.directory_mode
        self._file_mode = settings.file_mode
        self._pace = settings.pace(destination.host)
        self._sums: dict[str, str] = {}
        """By path: the sha256 of what was put and not renamed yet."""

    def put(self, origin: Origin, path: str, progress: Progress, offset: int = 0) -> Sent:
        try:
            with suppress(FileNotFoundError):
                os.unlink(path)
            with open(path, "xb", buffering=0) as target:
                checksum = self._copied(origin, target.fileno(), progress)
                os.fchmod(target.fileno(), origin.mode if self._file_mode is None else self._file_mode)
                os.utime(target.fileno(), ns=(origin.mtime_ns, origin.mtime_ns))
        except OSError as error:
            raise translated(error, path) from error
        self._sums[path] = checksum
        progress(origin.size)
        return Sent(origin.size, f"sha256:{checksum}")

    def _copied(self, origin: Origin, target: int, progress: Progress) -> str:
        """Copy all bytes; returns their sha256."""
        digest, done = hashlib.sha256(), 0
        while done < origin.size:
            data = os.pread(origin.descriptor, min(self._pace.at_once(CHUNK), origin.size - done), done)
            if not data:
                raise OriginChanged(f"{origin.path}: ended after {done} of {origin.size} bytes")
            self._pace.wait_for(len(data))
            data = data[:os.write(target, data)]
            digest.update(data)
            done += len(data)
            progress(done)
        return digest.hexdigest()

    def size(self, path: str) -> int | None:
        try:
            return os.stat(path).st_size
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise translated(error, path) from error

    def checksum(self, path: str) -> str:
        try:
            with open(path, "rb") as file:
                return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
        except OSError as error:
            raise translated(error, path) from error

    def rename(self, source: str, target: str) -> None:
        checksum = self._sums.pop(source, None) or self.checksum(source).removeprefix("sha256:")
        if os.path.isdir(target):
            raise DestinationInvalid(f"{target} is a directory")
        try:
            with open(f"{source}.sha256", "wb") as sidecar:
                sidecar.write(sidecar_of(checksum, target))
                sidecar.flush()
                os.fsync(sidecar.fileno())
            os.rename(f"{source}.sha256", f"{target}.sha256")
            os.rename(source, target)
        except OSError as error:
            raise translated(error, target) from error

    def remove(self, path: str) -> None:
        self._sums.pop(path, None)
        for name in (path, f"{path}.sha256"):
            try:
                os.unlink(name)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise translated(error, name) from error

    def make_directories(self, path: str) -> None:
        if not self.is_alive():  # or they would be made below the empty mount point
            raise ConnectionLost(f"{path}: the archive is not mounted any more")
        try:
            os.makedirs(path, self._directory_mode, exist_ok=True)
        except OSError as error:
            raise translated(error, path) from error

    def is_directory(self, path: str) -> bool:
        return os.path.isdir(path)

    def sync(self, path: str) -> None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise translated(error, path) from error

    def is_alive(self) -> bool:
        return not self._marker or os.path.exists(self._marker)

    def close(self) -> None:
        self._sums.clear()


def sidecar_of(checksum: str, path: str) -> bytes:
    """What `sha256sum` prints for the file at *path*."""
    name = os.fsencode(os.path.basename(path))
    escaped = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
    return (b"\\" if escaped != name else b"") + checksum.encode() + b"  " + escaped + b"\n"


class ArchiveMover(Mover):
    """A mounted archive."""

    schemes = ("archive",)
    abilities = Abilities(checksum=True, sync=True, attributes=True, parallel=8)
    parameters = (
        Parameter("archive_marker", "", "a file that is only there while the archive is mounted; if left out nobody looks"),
    )

    def open(self, destination: Destination, settings: SessionSettings) -> Session:
        session = ArchiveSession(destination, settings)
        if not session.is_alive():
            raise Unreachable(f"{destination}: the archive is not mounted (there is no {settings.parameters['archive_marker']})")
        return session
