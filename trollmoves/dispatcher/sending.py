"""Sending: what a worker does for one file of one route, from opening it to the receipt."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable
from contextlib import suppress

from trollmoves.bus.addresses import whether_this_machine
from trollmoves.config.sessions import session_settings
from trollmoves.config.targets import TargetSettings
from trollmoves.dispatcher.destinations import Route
from trollmoves.errors import (
    ConfigurationError,
    Denied,
    DestinationInvalid,
    OriginChanged,
    OriginGone,
    TemporaryError,
)
from trollmoves.journal.in_use import is_own
from trollmoves.movers.attributes import how_to_move
from trollmoves.movers.base import Origin, Receipt
from trollmoves.movers.ends import opened
from trollmoves.movers.moving import How, move, remove_unfinished
from trollmoves.movers.registry import mover_for
from trollmoves.movers.sessions import Sessions
from trollmoves.queueing.triggers import Trigger
from trollmoves.uris import Destination, host_of, is_hidden

HERE = ("", "file", "ssh", "sftp", "scp")
"""Schemes of uris whose path is a file on the machine they name."""


class Sending:
    """How the files of one route of a target are moved. Made once for a configuration."""

    def __init__(self, target: TargetSettings, route: Route):
        self.route = route
        parameters = dict(route.settings.connection_parameters.plain())
        self._target = target
        self._attributes = parameters | {"checksum": target.checksum, "overwrite": target.overwrite, "fsync": target.fsync}
        self._roots = tuple(os.path.realpath(directory) for directory in target.allowed_origins)
        self._session = session_settings(target, parameters)

    def limit(self) -> int:
        """How many files may go to the host at a time. Raises `DestinationInvalid`, `MissingLibrary`."""
        return self._target.transfers_per_host or mover_for(self.route.host.scheme).abilities.parallel

    def send(self, trigger: Trigger, transfer: str, attempt: int, begun: bool, sessions: Sessions) -> Receipt:
        """Deliver the file of *trigger*, which an earlier attempt may have *begun*; *transfer* as for `moving.How`. Raises a
        `MoveError`."""
        path = _local(trigger)
        try:
            with opened(path) as origin:
                self._check_origin(origin)
                place = self._place(trigger, origin, os.fstat(origin.descriptor).st_ctime)
                how = self._how(origin, place, transfer)
                return self._moved(origin, place, how._replace(resume=how.resume or attempt > 1), sessions)
        except OriginGone:
            if begun:
                with suppress(Exception):
                    self._remove_unfinished(trigger, Origin.gone(path), transfer, sessions)
            raise

    def _how(self, origin: Origin, place: Destination, transfer: str) -> How:
        how = how_to_move(self._attributes, origin, place.exact, deleting=False)
        return how._replace(transfer=transfer, min_rate=self._target.min_rate, patience=self._target.stall_timeout)

    def _remove_unfinished(self, trigger: Trigger, gone: Origin, transfer: str, sessions: Sessions) -> None:
        place = self._place(trigger, gone, None)
        with sessions.lent(place, self._session, self._target.backup_targets) as kept:
            remove_unfinished(gone.name, kept.at(place), kept.session, kept.mover.abilities, self._how(gone, place, transfer))

    def _check_origin(self, origin: Origin) -> None:
        """Raise `Denied` for a file that is not in one of the `allowed_origins`, or hidden when none are given, wherever links on
        the way to it led."""
        real = os.readlink(f"/proc/self/fd/{origin.descriptor}")
        if self._roots and not any(real.startswith(root.rstrip("/") + "/") for root in self._roots):
            raise Denied(f"{origin.path} is in none of the allowed_origins of {self._target.name}")
        if not self._roots and is_hidden(real):
            raise Denied(f"{origin.path} is hidden (keys and passwords often are); name its directory in the allowed_origins of "
                         f"{self._target.name}")

    def _place(self, trigger: Trigger, origin: Origin, created: float | None) -> Destination:
        try:
            return self.route.destination(trigger.fields, origin.name, created)
        except ConfigurationError as error:
            raise DestinationInvalid(str(error)) from error

    def _moved(self, origin: Origin, place: Destination, how: How, sessions: Sessions) -> Receipt:
        try:
            with sessions.lent(place, self._session, self._target.backup_targets) as kept:
                return move(origin, kept.at(place), kept.session, kept.mover.abilities, how)
        except OriginChanged as error:  # whoever writes to it may be done the next time
            raise TemporaryError(str(error)) from error


def runner(sending: Sending, trigger: Trigger, transfer: str, attempt: int, *, begun: bool) -> Callable[[Sessions], Receipt]:
    """`Sending.send` as a worker runs it."""
    return lambda sessions: sending.send(trigger, transfer, attempt, begun, sessions)


def _local(trigger: Trigger) -> str:
    """The path of the file on this machine. Raises `Denied` when the uri means another one, `TemporaryError` when that cannot be
    told now."""
    scheme, host = host_of(trigger.uri)
    here = whether_this_machine(host) if scheme.lower() in HERE else False
    if here is None:
        raise TemporaryError(f"the name server does not answer, so it is not known whether {host} is this machine")
    if not here:
        raise Denied("the uri is not that of a file on this machine")
    if not posixpath.isabs(trigger.path):
        raise Denied("the uri is no absolute path")
    if is_own(trigger.path):
        raise Denied("it is the journal of this dispatcher")
    return trigger.path
