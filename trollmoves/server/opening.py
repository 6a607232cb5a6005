"""Open a heard message: see which files it speaks of, unpack those that are packed, and say what the message becomes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from trollmoves import crashing
from trollmoves.config.settings import ServerSettings
from trollmoves.journal import Operation
from trollmoves.journal.in_use import is_own
from trollmoves.messages import Message, translate
from trollmoves.patterns import Pattern
from trollmoves.server.beneath import Announced
from trollmoves.server.unpacking import arrival_at
from trollmoves.unpacking import BadArchive, Limits, Options, endings_of, unpack
from trollmoves.uris import local_path
from trollmoves.watchers.base import Arrival
from trollmoves.watchers.messages import Elsewhere, Named, look

ONE = Limits(members=1)
"""The message speaks of a file, and so it shall afterwards."""


class Piece(NamedTuple):
    """One file that will be served, and what it was unpacked from, if it was."""

    arrival: Arrival
    relative: str | None
    packed: Arrival | None = None


class Looked(NamedTuple):
    """What a message speaks of, and what is said of it."""

    kind: str
    data: Mapping[str, Any]
    members: tuple[Piece, ...]
    alarms: tuple[str, ...]

    def records(self, file: int) -> list[Operation]:
        """What the journal has besides the row *file* and the announcement. A file that goes by its path alone needs nothing."""
        if len(self.members) == 1 and self.members[0].relative is None and self.members[0].packed is None:
            return []
        rows = [(file, number, os.fsencode(piece.arrival.path), *_content(piece.arrival), piece.relative, bool(piece.packed))
                for number, piece in enumerate(self.members)]
        packed = [(file, os.fsencode(piece.packed.path), *_content(piece.packed)) for piece in self.members if piece.packed]
        return [("add_member", rows), *([("add_packed", packed)] if packed else [])]


def _content(arrival: Arrival) -> tuple[int, int, int, int]:
    return arrival.device, arrival.inode, arrival.size, arrival.mtime_ns


class Opening:
    """Opens the messages of one chain, in a worker."""

    def __init__(self, settings: ServerSettings, pattern: Pattern | None):
        """Raises `ConfigurationError` when the unpacker cannot be loaded."""
        self._name = settings.compression or ""
        self._endings = endings_of(settings.compression)
        self._options = Options(program=settings.prog)
        self._into = settings.working_directory
        self._pattern = pattern

    def look(self, message: Message) -> Looked:
        """The files that *message* speaks of. Raises as `watchers.messages.look` does, and what unpacking raises; what is no good
        archive is announced as it is, with an alarm."""
        alarms: list[str] = []
        pieces = {named.uri: self._piece(named, alarms) for named in look(message, self._pattern)}
        data = translate(message.fields, "uri", lambda item: _placed(item["uri"], pieces[item["uri"]]))
        if any(piece.packed for piece in pieces.values()):
            data = _renamed(data, {_placed(uri, piece): piece for uri, piece in pieces.items() if piece.packed})
        return Looked(message.type, data, tuple(pieces.values()), tuple(alarms))

    def _piece(self, named: Named, alarms: list[str]) -> Piece:
        arrival = named.arrival
        if is_own(arrival.path):
            raise Elsewhere(f"{arrival.path} is the journal of this server")
        if not (arrival.path.endswith(self._endings) and arrival.size):
            return Piece(arrival, named.relative)
        meant = Announced(arrival.path, arrival.device, arrival.inode, arrival.size, arrival.mtime_ns)
        try:
            (member,) = unpack(arrival.path, self._name, into=self._directory_for(arrival.path), limits=ONE,
                               options=self._options, sync=True, is_meant=meant.is_still)
        except BadArchive as error:
            alarms.append(f"{arrival.path} cannot be unpacked and is announced as it is: {error}")
            return Piece(arrival, named.relative)
        crashing.point("server.unpacked")
        return Piece(arrival_at(member.path), named.relative, arrival)

    def _directory_for(self, path: str) -> str:
        """Files of the same name in several directories stay apart also in the working directory."""
        directory = os.path.dirname(path)
        if self._into is None:
            return directory
        found = os.path.join(self._into, directory.lstrip("/"))
        os.makedirs(found, exist_ok=True)
        return os.path.realpath(found)


def _placed(uri: str, piece: Piece) -> str:
    """The uri with the path as it is: without links, and of what was unpacked."""
    path = local_path(uri)
    return uri.removesuffix(path) + piece.arrival.path


def _renamed(data: Any, unpacked: Mapping[str, Piece]) -> Any:
    """*data* in which the uid of what was unpacked is its new name."""
    def uid(item: Mapping[str, Any]) -> Any:
        piece = unpacked.get(str(item.get("uri")))
        return item["uid"] if piece is None else os.path.basename(piece.arrival.path)
    return translate(data, "uid", uid)
