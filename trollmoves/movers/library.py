"""Moves from a script, by the names that upstream's `trollmoves.movers` has: `move_it`, a class for each scheme, `MOVERS`.

They hand on to the movers and the algorithm of the server, so they promise the same: a file is not seen under its final name
before it is whole and compared, and an error is one of `trollmoves.errors`. What the server does and these do not: decide who may
move what where, try again later, tell others.
"""

from __future__ import annotations

import logging
import os
import posixpath
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, ClassVar
from urllib.parse import ParseResult

from trollmoves.errors import DestinationInvalid, TrollmovesError
from trollmoves.movers.attributes import how_to_move, session_settings
from trollmoves.movers.base import Receipt, Session
from trollmoves.movers.ends import as_parsed, opened, read_destination, remove
from trollmoves.movers.lending import Lender
from trollmoves.movers.moving import move
from trollmoves.movers.parameters import COMMON, S3
from trollmoves.movers.registry import known_schemes, mover_for

logger = logging.getLogger(__name__)

S3_ALLOWED_SETTINGS = [parameter.name for parameter in (*S3, *COMMON)]
DEFAULT_NUM_SSH_RETRIES = 3
SSH_RETRY_SLEEP = 2
DEFAULT_SCPCLIENT_TIMEOUT = 10
SCP_RESPONSE_TIMEOUT_MESSAGE = "Timeout waiting for scp response"
CTimer = threading.Timer

Path = str | os.PathLike[str]
Hook = Callable[[str, ParseResult], Any]
Address = tuple[str, int | None, str | None]
Active = dict[Address, tuple[Session, threading.Timer]]


class UnknownScheme(DestinationInvalid, KeyError):
    """No mover serves the scheme of a destination; upstream raises a `KeyError`."""

    __str__ = Exception.__str__


class Mover:
    """One file, and where it shall be. *attrs* holds what `connection_parameters` of a section may, and `parameters.OPTIONS`."""

    schemes: ClassVar[tuple[str, ...]] = ()
    """The schemes a class takes; none given means all that have a mover."""
    lender: ClassVar[Lender] = Lender()
    """Keeps connections open from one call to the next, which have nothing else in common."""
    active_connections: ClassVar[Active] = {}
    """What `get_connection` opened and keeps: by host, port and user, the session and the timer that will close it. `copy` has
    sessions of its own."""
    active_connection_lock: ClassVar[threading.RLock] = threading.RLock()

    def __init__(self, origin: Path, destination: str | ParseResult, attrs: Mapping[str, Any] | None = None,
                 backup_targets: Sequence[str] | None = None):
        """Raises `DestinationInvalid` for a destination that is malformed or of another scheme."""
        place = read_destination(destination)
        if self.schemes and place.scheme not in self.schemes:
            raise DestinationInvalid(f"{place}: {type(self).__name__} takes {', '.join(filter(None, self.schemes))}")
        self.origin = os.fspath(origin)
        self.destination = as_parsed(place, place.password)
        self.attrs = dict(attrs or {})
        self.backup_targets = backup_targets
        self._deleting = False

    def copy(self) -> Receipt | None:
        """Deliver the file; the receipt says where it is and how it was compared. Raises a `MoveError`."""
        return self._copy()

    def move(self) -> Receipt | None:
        """As `copy`, then remove the origin; it stays, and `OriginChanged` is raised, when it is another file by then."""
        with opened(self.origin) as origin:
            self._deleting = True
            try:
                receipt = self.copy()
            finally:
                self._deleting = False
            remove(origin)
        return receipt

    def _copy(self) -> Receipt | None:
        """Subclasses of upstream's kind replace this."""
        place = read_destination(self.destination)
        settings = self.lender.settings(session_settings(self.attrs, link=self._deleting and place.is_local))
        with opened(self.origin) as origin, self.lender.sessions() as sessions:
            how = how_to_move(self.attrs, origin, place.exact, deleting=self._deleting)
            with sessions.lent(place, settings, tuple(self.backup_targets or ())) as kept:
                place = kept.at(place)
                receipt = move(origin, place, kept.session, kept.mover.abilities, how)
        if how.temporary_prefix is not None and receipt.uri != place.exact:
            place = place.with_path(posixpath.join(place.path, origin.name))
        self.destination = as_parsed(place, place.password)
        return receipt

    @property
    def supports_atomic(self) -> bool:
        """Whether a file appears whole at its final name."""
        abilities = mover_for(self.destination.scheme).abilities
        return abilities.rename or abilities.atomic_put

    @staticmethod
    def tmp_destination_for(dest: ParseResult, tmp_prefix: str = ".") -> ParseResult:
        """*dest* with *tmp_prefix* before its name."""
        directory, slash, name = dest.path.rpartition("/")
        return dest._replace(path=directory + slash + tmp_prefix + name)

    def finalize_atomic_transfer(self, tmp_destination: ParseResult, final_destination: ParseResult) -> None:
        """Rename a file at the destination."""
        with self._session() as session:
            session.rename(read_destination(tmp_destination).path, read_destination(final_destination).path)

    def remove_tmp_file(self, tmp_destination: ParseResult) -> None:
        """Remove a file at the destination; fine when it is not there."""
        with self._session() as session:
            session.remove(read_destination(tmp_destination).path)

    def open_connection(self) -> Session:
        """A new session (`base.Session`, not an object of some library), which the caller closes."""
        place = read_destination(self.destination)
        return mover_for(place.scheme).open(place, session_settings(self.attrs))

    def get_connection(self, hostname: str, port: int | None, username: str | None = None) -> Session:
        """A session to this host, the same for all who ask within `connection_uptime`, if it still answers. It is for one thread
        at a time."""
        place = replace(read_destination(self.destination), host=hostname, port=port)
        if username not in (None, place.user):
            place = place.with_login(username)
        settings, key = session_settings(self.attrs), (hostname, port, username)
        with self.active_connection_lock:
            known, timer = self.active_connections.pop(key, (None, None))
            if timer is not None:
                timer.cancel()
            if known is not None and not self.is_connected(known):
                known.close()
                known = None
            connection = known or mover_for(place.scheme).open(place, settings)
            if not settings.connection_uptime:  # a timer would close what the caller has just got
                return connection
            closing = CTimer(settings.connection_uptime, self._close_idle, (key,))
            closing.daemon = True
            closing.start()
            self.active_connections[key] = connection, closing
        return connection

    def _close_idle(self, key: Address) -> None:
        """Called by a timer, which closes nothing when it comes too late: somebody has just got that connection again."""
        with self.active_connection_lock:
            kept, timer = self.active_connections.get(key, (None, None))
            if kept is not None and timer is threading.current_thread():
                self.delete_connection(kept)

    def delete_connection(self, connection: Session) -> None:
        """Close a session and keep it no longer; may be done twice."""
        with self.active_connection_lock:
            for key in [key for key, (kept, _) in self.active_connections.items() if kept is connection]:
                self.active_connections.pop(key)[1].cancel()
        connection.close()

    @staticmethod
    def is_connected(connection: Session) -> bool:
        """Whether a session still answers."""
        return connection.is_alive()

    @staticmethod
    def close_connection(connection: Session) -> None:
        """Close a session; may be done twice."""
        connection.close()

    @contextmanager
    def _session(self) -> Iterator[Session]:
        place = read_destination(self.destination)
        settings = self.lender.settings(session_settings(self.attrs))
        with self.lender.sessions() as sessions, sessions.lent(place, settings, tuple(self.backup_targets or ())) as kept:
            yield kept.session


class FileMover(Mover):
    """Files on this machine."""

    schemes = ("file", "")


class FtpMover(Mover):
    """FTP, plain or with TLS."""

    schemes = ("ftp", "ftps")
    active_connections: ClassVar[Active] = {}


class HttpMover(Mover):
    """WebDAV, PUT, forms."""

    schemes = ("http", "https")


class S3Mover(Mover):
    """S3 and what speaks its protocol."""

    schemes = ("s3",)


class ScpMover(Mover):
    """scp."""

    schemes = ("scp",)
    active_connections: ClassVar[Active] = {}


class SftpMover(Mover):
    """SFTP."""

    schemes = ("sftp", "ssh")


_OURS = (FileMover, FtpMover, HttpMover, S3Mover, ScpMover, SftpMover)


def _forget_connections() -> None:
    """A process made by fork starts with none: the connections are its parent's, and the timers did not come along."""
    Mover.active_connection_lock = threading.RLock()
    for kind in (Mover, *_OURS):
        kind.active_connections.clear()


os.register_at_fork(after_in_child=_forget_connections)

MOVERS: dict[str, type[Mover]] = {
    **dict.fromkeys(known_schemes(), Mover),
    **{scheme: kind for kind in _OURS for scheme in kind.schemes},
}
"""Scheme -> class. As with upstream, a script may put in subclasses of its own; a server finds movers by their entry points."""


def move_it(pathname: Path, destination: str | ParseResult, attrs: Mapping[str, Any] | None = None, hook: Hook | None = None,
            rel_path: str | None = None, backup_targets: Sequence[str] | None = None) -> ParseResult:
    """Copy a file to *destination*, or to *rel_path* below it, and return where that was, without a password.

    A destination that ends in a slash, or is an existing directory, takes the file in; as with upstream, what is returned is that
    directory (with `use_tmp_on_transfer` the file in it). *hook* is called with the origin and what will be returned.
    *backup_targets* are hosts to try when the first is unreachable. Errors (`MoveError`) are logged and raised.
    """
    try:
        place = read_destination(destination)
        if rel_path:
            place = place.below(str(PurePosixPath(rel_path)) + ("/" if rel_path.endswith("/") else ""))
        if place.scheme not in MOVERS:
            raise UnknownScheme(f"no mover for {place.scheme!r}: known are {', '.join(filter(None, sorted(MOVERS)))}")
        mover = MOVERS[place.scheme](pathname, as_parsed(place, place.password), attrs, backup_targets)
        mover.copy()
    except TrollmovesError as error:
        logger.error("%s was not moved: %s", os.fspath(pathname), error)
        raise
    final = as_parsed(read_destination(mover.destination))
    if hook is not None:
        hook(os.fspath(pathname), final)
    return final
