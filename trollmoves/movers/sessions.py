"""The open sessions of one worker thread: opened when needed, kept while they are used, closed when idle.

A backup target takes over when the host that was asked for cannot be reached; its session is kept under the asked-for host, so
that later files that name the same backup targets go the same way while the connection lives (upstream documents this, its cache
never found them). Files that name others, or none, do not: whose targets they are, only who asked knows.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from trollmoves.errors import LoginRefused, MoveError, PermanentError, TemporaryError, Unreachable
from trollmoves.movers.base import Mover, Session, SessionSettings
from trollmoves.movers.moving import say_where
from trollmoves.movers.registry import mover_for
from trollmoves.uris import Destination, is_address, parse_endpoint

logger = logging.getLogger(__name__)

ASK_WHEN_IDLE = 2.0
"""Seconds a session may rest before it is asked whether it still lives."""

Key = tuple[object, ...]
Backups = Sequence[str | Destination]
"""Backup targets, by name, or as the places of which somebody decided on the address."""


@dataclass(slots=True)
class Kept:
    """An open session and where it leads."""

    session: Session
    mover: Mover
    destination: Destination
    """The host it is connected to; its path is that of the first file."""
    settings: SessionSettings
    used: float

    def at(self, destination: Destination) -> Destination:
        """*destination* on the host this session leads to, which may be a backup target."""
        if self.destination.address == destination.address:
            return destination
        return destination.with_host(self.destination.host, self.destination.port)


class Sessions:
    """Belongs to one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, mover_for: Callable[[str], Mover] = mover_for):
        self._clock = clock
        self._mover_for = mover_for
        self._kept: dict[Key, Kept] = {}

    def __len__(self) -> int:
        """How many are open."""
        return len(self._kept)

    def get(self, destination: Destination, settings: SessionSettings, backups: Backups = ()) -> Kept:
        """An open session to the host of *destination* or to the first backup target that answers."""
        key = _key(destination, settings, backups)
        kept = self._kept.get(key)
        if kept is not None and not self._usable(kept):
            self._forget(key)
            kept = None
        if kept is None:
            kept = self._opened(destination, settings, backups)
            self._kept[key] = kept
        kept.used = self._clock()
        return kept

    @contextmanager
    def lent(self, destination: Destination, settings: SessionSettings, backups: Backups = ()) -> Iterator[Kept]:
        """An open session, for as long as the block lasts. After any error that says nothing of the state it is in, it is not
        used again. Errors of opening it name *destination*; an `OSError` becomes a `TemporaryError`."""
        try:
            kept = self.get(destination, settings, backups)
        except MoveError as error:
            say_where(error, destination)
            raise
        try:
            yield kept
        except PermanentError:
            raise
        except OSError as error:
            self.discard(kept)
            raise TemporaryError(f"{kept.at(destination)}: {error.strerror or error}") from error
        except BaseException:
            self.discard(kept)
            raise
        finally:
            self.release(kept)

    def _usable(self, kept: Kept) -> bool:
        idle = self._clock() - kept.used
        return idle < kept.settings.connection_uptime and (idle < ASK_WHEN_IDLE or kept.session.is_alive())

    def _opened(self, destination: Destination, settings: SessionSettings, backups: Backups) -> Kept:
        mover = self._mover_for(destination.scheme)
        try:
            return self._open(mover, destination, settings)
        except Unreachable as first:
            for backup in backups:
                place = at_backup(destination, backup) if isinstance(backup, str) else backup
                logger.warning("%s does not answer (%s): trying backup target %s", destination.host, first, place.host)
                try:
                    return self._open(mover, place, settings)
                except (TemporaryError, LoginRefused) as error:
                    logger.warning("backup target %s cannot be used either: %s", place.host, error)
            if not backups:
                raise
            raise Unreachable(f"{first} (and none of {len(backups)} backup targets can be used)") from first

    def _open(self, mover: Mover, destination: Destination, settings: SessionSettings) -> Kept:
        session = mover.open(destination, settings)
        return Kept(session, mover, destination, settings, self._clock())

    def release(self, kept: Kept) -> None:
        """Say that *kept* was in use until now (a move may last longer than an idle connection is kept)."""
        kept.used = self._clock()

    def discard(self, kept: Kept) -> None:
        """Close a session that misbehaved; the next `get` opens another."""
        for key in [key for key, value in self._kept.items() if value is kept]:
            self._forget(key)

    def close_idle(self) -> None:
        """Close what was not used for its `connection_uptime`."""
        now = self._clock()
        for key in [key for key, kept in self._kept.items() if now - kept.used >= kept.settings.connection_uptime]:
            self._forget(key)

    def close(self) -> None:
        for key in list(self._kept):
            self._forget(key)

    def _forget(self, key: Key) -> None:
        self._kept.pop(key).session.close()


def at_backup(destination: Destination, backup: str) -> Destination:
    """*destination* on a backup target (`host` or `host:port`): the user stays, port and password do not."""
    bare = backup.removeprefix("[").removesuffix("]")
    if is_address(bare):
        return destination.with_host(bare)
    try:
        host, port = parse_endpoint(backup)
    except ValueError:
        return destination.with_host(backup)
    return destination.with_host(host, port)


def _key(destination: Destination, settings: SessionSettings, backups: Backups) -> Key:
    # The identity of the settings is enough: a section's are one object, and a reload makes a new one. `Kept` holds on to the
    # object, so no other can get its identity meanwhile.
    names = tuple(backup if isinstance(backup, str) else (*backup.address, backup.connect_to) for backup in backups)
    return *destination.address, destination.password, destination.connect_to, names, id(settings)
