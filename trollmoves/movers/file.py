"""Moves within this machine's file systems (`file://`, or a plain path; the host of the uri is not looked at)."""

from __future__ import annotations

from trollmoves.movers.base import Abilities, Mover, Session, SessionSettings
from trollmoves.movers.careful import CarefulSession
from trollmoves.movers.file_session import FileSession
from trollmoves.movers.parameters import FILE
from trollmoves.uris import Destination


class FileMover(Mover):
    """Files on this machine."""

    schemes = ("file", "")
    abilities = Abilities(checksum=True, sync=True, attributes=True, parallel=16)
    parameters = FILE

    def open(self, destination: Destination, settings: SessionSettings) -> Session:
        return FileSession(settings) if settings.follow_links else CarefulSession(settings)
