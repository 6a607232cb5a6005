"""A file on its way to this client: what is kept in memory while it is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from trollmoves.client.addressing import Place
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
    """Time of the first announcement."""
    source: Source
    """The provider being asked."""
    sources: dict[str, Source] = field(default_factory=dict)
    tried: set[str] = field(default_factory=set)
    """Providers asked in this round."""
    attempt: int = 0
    request: str = ""
    place: Place | None = None
    """Where it goes; known before it is asked for."""
    asked: bool = False
    """The request is under way (or its record is being written)."""
    repeats: bool = False
    """The last request was never answered: the same provider is asked again under the same id."""
