"""All providers one chain asks: those that speak our extension, and upstream servers."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

from trollmoves.bus.lanes import Lanes
from trollmoves.bus.loop import Loop
from trollmoves.bus.requesting import Requester
from trollmoves.messages import Envelope

SWEEP = 2.0
MOST_PLACES = 200
"""Connections to providers at a time; an announcement may name any address, and sockets are not endless."""

Place = tuple[str, int]
Named = tuple[str, int, str]
"""The place a provider of ours had when it announced, and the epoch of its journal. That stays its name when it moves."""


class Requesters:
    """By their request address."""

    def __init__(self, loop: Loop, envelope: Envelope):
        self._loop = loop
        self._envelope = envelope
        self._ours: dict[Named, Requester] = {}
        self._moved: dict[Named, Place] = {}
        """Where those are that are not where they were."""
        self._upstream: dict[tuple[str, int], Lanes] = {}
        self._open = True
        loop.after(SWEEP, self._sweep)

    def ours(self, host: str, port: int, epoch: str) -> Requester:
        """The requests to a provider that speaks our extension, and announced this place and *epoch*; wherever it is now."""
        named = host, port, epoch
        if named not in self._ours:
            _make_room(self._ours)
            self._ours[named] = Requester(self._loop, self._envelope, *self._moved.get(named, (host, port)))
        return self._ours[named]

    def moved(self, epoch: str, places: Mapping[Place, Place]) -> None:
        """Those of *epoch* are where *places* say by now, and all others where they announced to be."""
        self._moved = {named: place for named, place in self._moved.items() if named[2] != epoch}
        self._moved |= {(*before, epoch): now for before, now in places.items()}
        for named, requester in self._ours.items():
            if named[2] == epoch:
                requester.move(*self._moved.get(named, named[:2]))

    def upstream(self, host: str, port: int) -> Lanes:
        """The requests to an upstream server."""
        place = host, port
        if place not in self._upstream:
            _make_room(self._upstream)
            self._upstream[place] = Lanes(self._loop, self._envelope, host, port)
        return self._upstream[place]

    def has_room(self, host: str, port: int, epoch: str) -> bool:
        """Whether that place can be asked without more connections than are good for us."""
        return (host, port, epoch) in self._ours or (host, port) in self._upstream \
            or len(self._ours) + len(self._upstream) < MOST_PLACES or any(not len(requests) for requests in self._all())

    def _sweep(self) -> None:
        if not self._open:
            return
        for requests in self._all():
            requests.sweep()
        self._loop.after(SWEEP, self._sweep)

    def close(self) -> None:
        self._open = False
        for requests in self._all():
            requests.close()

    def _all(self) -> list[Requester | Lanes]:
        return [*self._ours.values(), *self._upstream.values()]


def _make_room(places: MutableMapping[Any, Any]) -> None:
    """Let go of places where nothing is asked, when there are many."""
    if len(places) >= MOST_PLACES:
        for place in [place for place, requests in places.items() if not len(requests)]:
            places.pop(place).close()
