"""Move: what a worker does for one push request, from opening the announced files to the receipts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from trollmoves.config.sessions import session_settings
from trollmoves.config.settings import ServerSettings
from trollmoves.errors import AlreadyHad, DestinationInvalid, MoveError, OriginChanged, OriginGone
from trollmoves.movers.base import Origin, Receipt, SessionSettings
from trollmoves.movers.checksums import checksum_of, checksum_together
from trollmoves.movers.circuits import of_this_process as of_this_process_circuits
from trollmoves.movers.file_session import SMALL
from trollmoves.movers.moving import How, move, remove_unfinished
from trollmoves.movers.registry import mover_for
from trollmoves.movers.sessions import Kept, Sessions, at_backup
from trollmoves.server.beneath import Announced, opened
from trollmoves.server.gate import Gate
from trollmoves.server.rights import Rights
from trollmoves.uris import Destination

AT_ONCE_NEAR = 2
"""Files to be moved on this machine that are opened at a time, where few threads do that."""
FEW = 4
"""Files of one request that the process of small moves syncs."""


class Member(NamedTuple):
    """One file of a push, and its relative path below the destination when the request names one."""

    file: Announced
    relative: str | None


class Push(NamedTuple):
    """One push request that was found to be about announced files."""

    transfer: str
    """Identifies this content for this consumer at this destination; the same when the request is repeated."""
    members: tuple[Member, ...]
    destination: Destination
    backups: tuple[str, ...]
    peer: str
    attempt: int
    stranger: bool | None = False
    """Its peer, if on this machine, may not have what only root may; None when that is not certain."""
    begun: bool = True
    """An earlier attempt, perhaps one that was killed, may have left something at the destination."""
    unless: tuple[str, ...] = ()
    """Checksums of content that is not to be moved: who asks has it already."""
    told: bool = False
    """Receipts have checksums, also where the move goes without."""


class Pushing:
    """How one chain moves files."""

    def __init__(self, settings: ServerSettings, roots: tuple[str, ...]):
        """*roots* are the directories above all files that may be announced."""
        self.roots = roots
        self.rights = Rights(settings.name, settings.allowed_destinations, settings.allow_inline_credentials)
        self._settings = settings
        self._gate = Gate(f"the directory of section [{settings.name}]")
        parameters = dict(settings.connection_parameters.plain())
        self._prefix = _prefix(parameters)
        self.names_files = self._prefix is not None
        """Whether replies have the name of the file in a destination that is a directory: upstream's do with temporary names."""
        self._sync = settings.syncs
        self._session = replace(session_settings(settings, parameters, link=settings.link), by_request=True)
        self._sums = settings.checksum != "never" and not settings.link
        """Whether a small file on this machine is given a checksum when it is moved."""
        self._careful_session = replace(self._session, follow_links=False)
        self._file_session = (self._session.directory_mode, settings.file_mode, settings.checksum, settings.link)

    def limit(self, destination: Destination) -> int:
        """How many moves to the host of *destination* may run at a time. Raises `DestinationInvalid` for an unknown scheme."""
        return self._settings.transfers_per_host or mover_for(destination.scheme).abilities.parallel

    def is_small(self, push: Push, size: int) -> bool:
        """Whether *push*, of *size* bytes, is one for the process of small moves: the files of a set would be synced one after
        the other, and others would wait for them."""
        takes_more = push.unless or (push.told and not self._sums)
        return self._is_near(push.destination, size) and not takes_more and (not self._sync or len(push.members) <= FEW)

    def is_quick(self, destination: Destination, size: int) -> bool:
        """Whether a move of *size* bytes only copies from memory to memory."""
        return self._is_near(destination, size) and not self._sync

    def _is_near(self, destination: Destination, size: int) -> bool:
        return destination.is_local and size <= SMALL and self._settings.bandwidth_per_host is None

    def check(self, push: Push) -> tuple[Destination, list[Destination]]:
        """Where the files of *push* go, and its backup targets, if its peer may have them there. Raises `Denied`. Belongs into a
        worker."""
        who = push.peer, push.stranger
        destination = self.rights.check(push.destination, *who)
        return destination, [self.rights.check(at_backup(destination, backup), *who) for backup in push.backups]

    def look(self, push: Push) -> None:
        """See that the directory of *push* answers; raises `Busy` when it does not. Belongs into a worker, as `push` does, which
        finds out what is there."""
        with self._gate.passed(1):
            for member in push.members:
                with suppress(MoveError), opened(self.roots, member.file):
                    pass

    def push(self, push: Push, sessions: Sessions, progress: Callable[[int], None]) -> list[Receipt]:
        """Move all files of *push*. Raises a `MoveError`, `AlreadyHad` where that is not wanted; files moved before it stay, and
        are not sent again next time."""
        destination, backups = self.check(push)
        if push.unless and self._checksum(push, destination) in push.unless:
            raise AlreadyHad(f"{push.members[0].file.path}: who asks has the same already")
        return [self._push_one(push, member, place, backups, sessions, progress)
                for member, place in _placed(push, destination)]

    def plain(self, push: Push) -> tuple[Any, ...] | None:
        """*push* in plain values, for the process of small moves; None when its rights have to be looked at first, or it takes
        more care."""
        destination = self.rights.known(push.destination, push.peer, push.stranger)
        if destination is None or push.backups or push.stranger is not False:
            return None
        members = [(tuple(member.file), (place.scheme, place.host, place.port, place.path))
                   for member, place in _placed(push, destination)]
        return self.roots, self._file_session, members, tuple(self._how(push))

    def _how(self, push: Push) -> How:
        return How(push.transfer, sync=self._sync, checksum=self._settings.checksum, overwrite=self._settings.overwrite,
                   temporary_prefix=self._prefix, resume=push.attempt > 1, min_rate=self._settings.min_rate,
                   patience=self._settings.stall_timeout)

    def _push_one(self, push: Push, member: Member, place: Destination, backups: list[Destination], sessions: Sessions,
                  progress: Callable[[int], None]) -> Receipt:
        how = self._how(push)
        settings = self._session if push.stranger is False else self._careful_session
        try:
            with self._opened(member.file, place) as origin:
                with _lent(place, settings, backups, sessions) as kept:
                    receipt = move(origin, kept.at(place), kept.session, kept.mover.abilities, how, progress)
                if push.told and receipt.checksum is None:
                    receipt = replace(receipt, checksum=checksum_of(origin.descriptor))
                return receipt
        except (OriginGone, OriginChanged):
            if push.begun:  # nobody else removes what that has left
                with suppress(Exception), _lent(place, settings, backups, sessions) as kept:
                    _remove_unfinished(member, place, kept, how)
            raise

    def _checksum(self, push: Push, destination: Destination) -> str | None:
        """Of the files of *push*, as they would be delivered."""
        found = []
        for member, place in _placed(push, destination):
            with self._opened(member.file, place) as origin:
                name = origin.name if place.path.endswith("/") else place.path
                found.append((name, checksum_of(origin.descriptor)))
        return checksum_together(found)

    @contextmanager
    def _opened(self, file: Announced, place: Destination) -> Iterator[Origin]:
        """The announced file. Raises as `opened` does, and `Busy` when its directory does not answer: else moves from there would
        have all places for the host of *place*, and most threads."""
        with ExitStack() as stack:
            with self._gate.passed(AT_ONCE_NEAR if place.is_local else max(1, self.limit(place) // 2)):
                origin = stack.enter_context(opened(self.roots, file))
            yield origin

    def remove_unfinished(self, push: Push, sessions: Sessions) -> None:
        """Remove what attempts at *push* have left at its destination, when nobody makes another one. Raises a `MoveError`."""
        for member, place in _placed(push, push.destination):
            with _lent(place, self._careful_session, [], sessions) as kept:
                _remove_unfinished(member, place, kept, self._how(push))


def _remove_unfinished(member: Member, place: Destination, kept: Kept, how: How) -> None:
    remove_unfinished(os.path.basename(member.file.path), kept.at(place), kept.session, kept.mover.abilities, how)


@contextmanager
def _lent(place: Destination, settings: SessionSettings, backups: list[Destination], sessions: Sessions) -> Iterator[Kept]:
    with _guarded(place), sessions.lent(place, settings, backups) as kept:
        yield kept


def _placed(push: Push, destination: Destination) -> list[tuple[Member, Destination]]:
    """The files of *push*, and where each goes: several go into a directory."""
    if len(push.members) > 1 and not destination.path.endswith("/"):
        destination = destination.with_path(destination.path + "/")
    return [(member, destination if member.relative is None else _below(destination, member.relative)) for member in push.members]


def _guarded(place: Destination) -> AbstractContextManager[None]:
    """A host that fails again and again is left alone; this machine's own directories are not."""
    return nullcontext() if place.is_local else of_this_process_circuits().guarding(str(place.with_path("")))


def _prefix(parameters: dict[str, object]) -> str | None:
    """Upstream's `use_tmp_on_transfer` with its `tmp_prefix`; our own temporary names otherwise."""
    if not parameters.get("use_tmp_on_transfer"):
        return None
    prefix = str(parameters.get("tmp_prefix", "."))
    if not prefix or "/" in prefix:
        raise DestinationInvalid(f"tmp_prefix {prefix!r} must be text without '/'")
    return prefix


def _below(destination: Destination, relative: str) -> Destination:
    """Upstream joins the `path` of a file to the destination; ours must stay below it."""
    return destination.below(str(PurePosixPath(relative)) + ("/" if relative.endswith("/") else ""))
