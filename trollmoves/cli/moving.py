"""Which movers a section is going to need, and whether they are there: asked when a configuration is checked, because their
libraries are slow to import and a running server imports them when the first file wants them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from trollmoves.config.fetching import FetcherSettings
from trollmoves.config.moves import MoveSettings
from trollmoves.config.settings import ChainSettings, ClientSettings, ServerSettings
from trollmoves.config.targets import TargetSettings
from trollmoves.errors import DestinationInvalid, MissingLibrary
from trollmoves.fetcher.opening import missing_libraries
from trollmoves.movers.parameters import BUILT_IN, COMMON, Parameter
from trollmoves.movers.registry import mover_for
from trollmoves.uris import host_of


@dataclass(frozen=True, slots=True)
class MissingMover:
    """A scheme that a section speaks of and nothing can be moved to from here."""

    section: str
    option: str
    text: str
    fatal: bool
    """It is this program that would move."""

    def __str__(self) -> str:
        return f"[{self.section}] {self.option}: {self.text}"


def missing_movers(settings: ChainSettings) -> list[MissingMover]:
    """All that a section speaks of: in its destinations, or by parameters that the movers of one library only take."""
    if isinstance(settings, FetcherSettings):
        return [MissingMover(settings.name, "allowed_protocols", text, False)
                for text in missing_libraries(settings.allowed_protocols)]
    missing = [MissingMover(settings.name, option, complaint + more, not more)
               for option, scheme, more in _wanted(settings) if (complaint := _complaint(scheme))]
    return list(dict.fromkeys(missing))


def _wanted(settings: ChainSettings) -> list[tuple[str, str, str]]:
    """Options, the schemes they speak of, and what to say of those where others do the moving."""
    found: list[tuple[str, str, str]] = []
    if isinstance(settings, TargetSettings):
        hosts = [item.host for item in settings.dispatch_configs if item.host is not None]
        found = [("host", host_of(host.reveal())[0], "") for host in hosts]
    if isinstance(settings, MoveSettings):
        found = [("destinations", host_of(place.reveal())[0], "") for place in settings.destinations]
    if isinstance(settings, ServerSettings):
        found = [("allowed_destinations", host_of(place)[0], "") for place in settings.allowed_destinations]
        named = {scheme for _, scheme, _ in found}
        found += [("connection_parameters", scheme, "") for scheme in _schemes_by(settings.connection_parameters) - named]
    if isinstance(settings, ClientSettings):
        scheme = host_of(settings.destination.reveal())[0]
        found.append(("destination", scheme, " (which concerns the server, if it is on another machine)"))
    return found


def _complaint(scheme: str) -> str:
    """Empty when there is a mover."""
    try:
        mover_for(scheme)
    except (MissingLibrary, DestinationInvalid) as error:
        return str(error)
    return ""


def _schemes_by(given: Iterable[str]) -> set[str]:
    return {scheme for scheme in ("s3", "sftp") if _own(scheme).intersection(given)}


def _own(scheme: str) -> set[str]:
    """The parameters that *scheme* shares with no mover of another library."""
    kin = {"sftp", "scp"} if scheme == "sftp" else {scheme}
    others = {name for other, table in BUILT_IN.items() if other not in kin for name in _names(table)} | _names(COMMON)
    return {name for other in kin for name in _names(BUILT_IN[other])} - others


def _names(table: Iterable[Parameter]) -> set[str]:
    return {parameter.name for parameter in table}
