"""A file on its way to this client: what is kept in memory while it is asked for; and all that are under way."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from trollmoves.bus.committing import Asked
from trollmoves.client.addressing import Place
from trollmoves.client.deciding import EXPIRES_AFTER
from trollmoves.messages import Announcement


class Source(NamedTuple):
    """A provider that announced the file."""

    provider: str
    """`request_address`."""
    announcement: Announcement


@dataclass(slots=True)
class Flight:
    """One file (or set of files announced together) between its announcement and its publication."""

    id: int
    chain: str
    identity: str
    created: float
    """Time of the first announcement, or when an operator had it tried again."""
    source: Source
    """The provider being asked."""
    sources: dict[str, Source] = field(default_factory=dict)
    tried: set[str] = field(default_factory=set)
    """Providers asked in this round."""
    refused: set[str] = field(default_factory=set)
    """Those of them that will not be able to deliver it later either."""
    doubtful: bool = False
    """It is perhaps a copy of what was delivered before."""
    unless: tuple[str, ...] = ()
    """Checksums of that: it is asked for on condition that it is other content."""
    checksum: str = ""
    """Of what was delivered, as its provider says."""
    overtaken: bool = False
    """Newer content is where it would go, which the journal may not know yet: it was cancelled."""
    noted: bool = False
    """It is published, or about to be: that is in the journal, or on its way there."""
    hopeful: bool = False
    """One of them may be able to deliver it later."""
    attempt: int = 0
    request: str = ""
    place: Place | None = None
    """Where it goes; known before it is asked for."""
    asked_at: float = 0.0
    asked: bool = False
    """The request is under way (or its record is being written)."""
    repeats: bool = False
    """The last request was never answered: the same provider is asked again under the same id."""
    fence: int = 0
    """Of the lease we were told of; 0 when we know of none."""
    valid_until: float = math.inf
    """Monotonic time until which we may publish; later we have to ask (upstream servers are never asked)."""
    maybe_published: bool = False
    """Our publication may be the second one."""
    confirms: bool = False
    """The provider wants to know when it is published."""
    weight: int = 1
    """For how many of the usual size it counts while it is asked for."""
    shown: bool = False
    """The journal was told how far the move is."""

    @property
    def asked_for(self) -> Asked:
        """The request, as its provider knows it."""
        announcement = self.source.announcement
        return Asked(*announcement.named, announcement.offset, self.request)

    @property
    def lifetime(self) -> float:
        """Seconds for which it is worth trying."""
        return self.source.announcement.lifetime(self.created) or EXPIRES_AFTER

    @property
    def until(self) -> float:
        """Time from which it is given up when it fails."""
        return self.created + self.lifetime

    def take_lease(self, said: Mapping[str, Any]) -> None:
        """What the provider says with the outcome of our right to publish."""
        self.confirms = said.get("confirm") is True
        fence, until = said.get("fence"), said.get("valid_until")
        if type(fence) is int:
            self.fence = fence
            self.valid_until = until if isinstance(until, float) else 0.0
            self.maybe_published = said.get("maybe_published") is True

    def forget_lease(self) -> None:
        """After a restart the provider is asked anew whether we may publish."""
        self.confirms = bool(self.source.announcement.epoch and self.request)
        self.valid_until = 0.0 if self.confirms else math.inf


class Flights:
    """Those of one client chain that are under way; belongs to the loop."""

    def __init__(self) -> None:
        self._by_id: dict[int, Flight] = {}
        self._contents: dict[str, set[int]] = {}
        """By identity: the ids of its contents among them."""

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Flight]:
        return iter(self._by_id.values())

    def __contains__(self, file: int) -> bool:
        return file in self._by_id

    def get(self, file: int) -> Flight | None:
        return self._by_id.get(file)

    def add(self, flight: Flight) -> None:
        self._by_id[flight.id] = flight
        self._contents.setdefault(flight.identity, set()).add(flight.id)

    def remove(self, flight: Flight) -> bool:
        """False when it was none of them."""
        if self._by_id.pop(flight.id, None) is None:
            return False
        contents = self._contents[flight.identity]
        contents.remove(flight.id)
        if not contents:
            del self._contents[flight.identity]
        return True

    def of_other_content(self, file: int, identity: str) -> list[Flight]:
        """Those of *identity* that are not *file*."""
        return [self._by_id[other] for other in self._contents.get(identity, ()) if other != file]
