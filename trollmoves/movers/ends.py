"""The two ends of a move from a script: the origin, opened, and the destination, read from text or from what `urllib` parsed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from urllib.parse import ParseResult

from trollmoves.errors import OriginChanged, OriginGone, PermanentError, TemporaryError
from trollmoves.movers.base import Origin
from trollmoves.uris import Destination, host_of, parse_destination

_OPEN = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC  # non-blocking: opening a FIFO must not wait


class OriginMissing(OriginGone, FileNotFoundError):
    """There is no file to move; upstream raises a `FileNotFoundError`."""


def read_destination(destination: str | ParseResult) -> Destination:
    """A destination as text or parsed; a plain path may be relative to the working directory. Raises `DestinationInvalid`."""
    text = _unparsed(destination) if isinstance(destination, ParseResult) else destination
    if isinstance(text, str) and text and not host_of(text)[0]:
        text = os.path.abspath(text) + ("/" if text.endswith("/") and text.strip("/") else "")
    return parse_destination(text)


def _unparsed(destination: ParseResult) -> str:
    # Its own `geturl` leaves out the slashes of a scheme it does not know.
    scheme, netloc, path, params, query, fragment = destination
    rest = "".join(mark + part for mark, part in ((";", params), ("?", query), ("#", fragment)) if part)
    return (f"{scheme}://{netloc}" if scheme else "") + path + rest


def as_parsed(place: Destination, password: str | None = None) -> ParseResult:
    """As upstream hands it about; the path is literal, whatever is in it."""
    text = replace(place, password=password, path="", query="").with_credentials
    return ParseResult(place.scheme, text.partition("://")[2], place.path, "", place.query, "")


@contextmanager
def opened(path: str) -> Iterator[Origin]:
    """The file at *path*. Raises `OriginMissing`; `OriginChanged` when it is no regular file."""
    try:
        descriptor = os.open(path, _OPEN)
    except FileNotFoundError:
        raise OriginMissing(errno.ENOENT, os.strerror(errno.ENOENT), path) from None
    except OSError as error:
        raise TemporaryError(f"{path} cannot be read: {error.strerror}") from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OriginChanged(f"{path} is no regular file")
        yield Origin.of(path, descriptor)
    finally:
        os.close(descriptor)


def remove(origin: Origin) -> None:
    """Remove a file that was delivered. Raises `OriginChanged` when its name means another file by now, which stays."""
    delivered = os.fstat(origin.descriptor)
    try:
        now = os.stat(origin.path)
        if not os.path.samestat(now, delivered) or (now.st_size, now.st_mtime_ns) != (origin.size, origin.mtime_ns):
            raise OriginChanged(f"{origin.path} is another file than was delivered; it stays")
        os.unlink(origin.path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise PermanentError(f"{origin.path} was delivered and cannot be removed: {error.strerror}") from error
