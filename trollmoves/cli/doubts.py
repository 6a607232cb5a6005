"""What a section names and this machine has not, or says and perhaps does not mean: told when a configuration is checked. That
may be done on another machine than the one where it will be used, so none of it is an error."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Iterator

from trollmoves.config.moves import MoveSettings
from trollmoves.config.settings import ChainSettings, ClientSettings, ServerSettings


def doubts_about(settings: ChainSettings) -> Iterator[str]:
    """Lines, each with section and option. Looks at the disk."""
    for option, text in _missing(settings):
        yield f"[{settings.name}] {option}: {text}"
    if isinstance(settings, ServerSettings) and settings.delete_after is not None and settings.retention < settings.delete_after:
        yield (f"[{settings.name}] retention: is shorter than delete_after; what nobody has asked for by then no client is told "
               "of any more, and it is removed all the same")
    for option, destination in _destinations(settings):
        host = re.match(r"file://([\w-]+)(?=/)", destination)
        if host is not None and host[1] not in ("localhost", socket.gethostname(), socket.gethostname().partition(".")[0]):
            yield (f"[{settings.name}] {option}: speaks of a host {host[1]!r}; for a directory of this machine write three "
                   f"slashes, file:///{host[1]}/...")


def _missing(settings: ChainSettings) -> Iterator[tuple[str, str]]:
    directory = getattr(settings, "working_directory", None)
    if directory and isinstance(settings, ServerSettings | MoveSettings) and not os.path.isdir(directory):
        yield "working_directory", f"{directory} is no directory of this machine; nothing can be unpacked there before it is made"
    programs = {option: program for option in ("prog", "xritdecompressor") if (program := getattr(settings, option, None))}
    for option, program in programs.items():
        if shutil.which(program) is None:
            yield option, f"{program} is no program of this machine; nothing can be unpacked with it"
    compression = getattr(settings, "compression", None)
    if compression and not programs:
        from trollmoves.unpacking import lacking  # which loads them all
        if lack := lacking(compression):
            yield "compression", lack


def _destinations(settings: ChainSettings) -> list[tuple[str, str]]:
    if isinstance(settings, MoveSettings):
        return [("destinations", place.reveal()) for place in settings.destinations]
    return [("destination", settings.destination.reveal())] if isinstance(settings, ClientSettings) else []
