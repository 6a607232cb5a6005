"""Scheme -> mover class. One line a mover; what it needs is imported when it is first used.

A third party's mover joins through the entry-point group `trollmoves.movers`: the name is the scheme, the value the class.
"""

from __future__ import annotations

import importlib
from functools import cache
from importlib.metadata import entry_points

from trollmoves.errors import DestinationInvalid, MissingLibrary
from trollmoves.movers.base import Mover
from trollmoves.movers.parameters import NAMES

GROUP = "trollmoves.movers"

BUILT_IN: dict[str, tuple[str, str]] = {
    # scheme: (module:class, extra to install)
    "": ("trollmoves.movers.file:FileMover", ""),
    "file": ("trollmoves.movers.file:FileMover", ""),
    "ftp": ("trollmoves.movers.ftp:FtpMover", ""),
    "ftps": ("trollmoves.movers.ftp:FtpMover", ""),
    "http": ("trollmoves.movers.http:HttpMover", ""),
    "https": ("trollmoves.movers.http:HttpMover", ""),
    "s3": ("trollmoves.movers.s3:S3Mover", "s3"),
    "scp": ("trollmoves.movers.scp:ScpMover", "ssh"),
    "sftp": ("trollmoves.movers.sftp:SftpMover", "ssh"),
    "ssh": ("trollmoves.movers.sftp:SftpMover", "ssh"),
}


@cache
def mover_for(scheme: str) -> Mover:
    """The mover of *scheme*. Raises `DestinationInvalid` for an unknown one, `MissingLibrary` naming the extra to install."""
    if scheme in BUILT_IN:
        return _built_in(scheme)
    for entry in entry_points(group=GROUP, name=scheme):
        try:
            found = entry.load()()
        except Exception as error:  # their code may raise anything, and a server goes on without it
            raise MissingLibrary(f"{scheme}:// is served by {entry.value}, which cannot be imported ({error})") from error
        if not isinstance(found, Mover):
            raise DestinationInvalid(f"{entry.value} of entry point {GROUP}:{scheme} is no trollmoves.movers.base.Mover")
        return found
    raise DestinationInvalid(f"no mover for {scheme!r}: known are {', '.join(known_schemes())}")


def _built_in(scheme: str) -> Mover:
    place, extra = BUILT_IN[scheme]
    module, _, name = place.partition(":")
    try:
        found: Mover = getattr(importlib.import_module(module), name)()
    except ImportError as error:
        raise MissingLibrary(f"{scheme}:// needs a library that is not installed ({error.name}): "
                             f"pip install 'trollmoves[{extra}]'") from error
    return found


def known_schemes() -> list[str]:
    """All schemes that have a mover, in alphabetical order."""
    return sorted({scheme for scheme in BUILT_IN if scheme} | {entry.name for entry in entry_points(group=GROUP)})


def known_parameters() -> frozenset[str] | None:
    """All names that `connection_parameters` may hold. None when nobody knows, because an installed mover of others does not say
    which it reads (or cannot be imported)."""
    names = set(NAMES)
    for scheme in {entry.name for entry in entry_points(group=GROUP)} - set(BUILT_IN):
        try:
            theirs = mover_for(scheme).parameters
        except (MissingLibrary, DestinationInvalid):
            return None
        if theirs is None:
            return None
        names |= {parameter.name for parameter in theirs}
    return frozenset(names)
