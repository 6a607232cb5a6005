"""Where the sections of a server are asked, and where they were before.

What was announced waits at clients for a day, who ask for it at the address it was announced with. When its section gets another
`request_port` or `request_address`, or this machine another address, the heartbeats tell what has moved, and so does what is
replayed. Only what is certain is told: a place that one of our sections still has is nowhere else, and a machine that has no
network has not moved.
"""

from __future__ import annotations

import ipaddress
import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import orjson

from trollmoves.bus.addresses import own_address, own_addresses
from trollmoves.journal import Journal, Operation
from trollmoves.uris import is_address, parse_endpoint

logger = logging.getLogger(__name__)

META = "addresses:"
"""In `meta`, before the name of a section: pairs of an address and the time of its beginning, the present one last."""
KEPT = 8
"""Addresses of one section."""
MOST_TOLD = 500
"""Addresses in one heartbeat."""
KEPT_FOR = 30 * 86400.0
"""Seconds after which nothing waits any more that was announced with an address."""


@dataclass(frozen=True, slots=True)
class Section:
    """A section that is served."""

    address: str
    """With which it announces."""
    chosen: bool
    """An operator has said so; else it is what this machine takes for its address."""
    earlier: tuple[str, ...]


class Addresses:
    """Of the sections of one server; belongs to the loop."""

    def __init__(self, journal: Journal, own_address: Callable[[], str] = own_address,
                 own_addresses: Callable[[], frozenset[str]] = own_addresses, clock: Callable[[], float] = time.time):
        """*own_address* is what this machine takes for its address, *own_addresses* are all it has."""
        self._journal = journal
        self._own_address = own_address
        self._own_addresses = own_addresses
        self._clock = clock
        self._histories: dict[str, list[tuple[str, float]]] = {}
        self._served: dict[str, Section] = {}
        self._complained: set[tuple[str, str]] = set()

    def serve(self, section: str, address: str, *, chosen: bool) -> None:
        """*section* is asked at *address* from now on."""
        before = self._served.get(section)
        if not chosen and _is_loopback(parse_endpoint(address)[0]):
            self._served[section] = Section(address, chosen, ())
            return
        now = self._clock()
        history = list(self._history(section))
        if before is not None and before.address != address and all(earlier != before.address for earlier, _ in history):
            history.append((before.address, now))  # of a time without network
        if not history or history[-1][0] != address:
            history = self._histories[section] = [*_recent(history, address, now), (address, now)]
            self._journal.write([_kept(section, history)])
        self._served[section] = Section(address, chosen, tuple(earlier for earlier, _ in history[:-1]))

    def leave(self, section: str) -> None:
        """*section* is not served any more; by the time it is, the journal may tell other addresses of it."""
        self._histories.pop(section, None)
        self._served.pop(section, None)

    def lost(self) -> Iterator[str]:
        """The sections with an address that this machine had and has no more, or had for want of a network. None while there is
        no network."""
        if _is_loopback(self._own_address()):
            return
        for section, served in list(self._served.items()):
            host = parse_endpoint(served.address)[0]
            if not served.chosen and (_is_loopback(host) or host not in self._own_addresses()):
                yield section

    def moved(self) -> dict[str, str]:
        """By the address with which something was announced where that is asked for now; of what has not moved, nothing."""
        targets: dict[str, dict[str, str]] = {}
        for section, served in self._served.items():
            for earlier in served.earlier:
                if not self._still_leads_here(earlier, served):
                    targets.setdefault(earlier, {})[served.address] = section
        used = {served.address: section for section, served in self._served.items()}
        found = {}
        for earlier, places in targets.items():
            if earlier not in used and len(places) == 1:
                found[earlier] = next(iter(places))
            else:
                for section in places.values():
                    self._complain(section, earlier, used.get(earlier))
        return dict(islice(found.items(), MOST_TOLD))

    def _complain(self, section: str, earlier: str, user: str | None) -> None:
        """Once: what was announced there may be of one section or of another."""
        if (section, earlier) not in self._complained:
            self._complained.add((section, earlier))
            others = f"[{user}] is asked there now" if user is not None else "several sections were asked there"
            logger.warning("[%s] was asked at %s before; clients that wait for files from there cannot be told that it moved, "
                           "because %s: have them announced anew with `trollmoves retry --since 1d --chain %s`", section, earlier,
                           others, section)

    def _history(self, section: str) -> list[tuple[str, float]]:
        if section not in self._histories:
            self._histories[section] = _kept_of(self._journal, section)
        return self._histories[section]

    def _still_leads_here(self, earlier: str, served: Section) -> bool:
        """Whether who asks at an *earlier* address is answered as well: this machine may have several."""
        host, port = parse_endpoint(earlier)
        return (not served.chosen and port == parse_endpoint(served.address)[1] and not _is_loopback(host)
                and host in self._own_addresses())


def handed_on(journal: Journal, new: str, olds: Iterable[str]) -> tuple[str, str]:
    """The row of `meta` by which *new* was asked where *olds* were, in whose place it is: the present addresses come last."""
    together = sorted((entry for section in (new, *olds) for entry in _kept_of(journal, section)), key=lambda entry: entry[1])
    latest = sorted(dict(together).items(), key=lambda entry: entry[1])  # each once: a section may have its old name again
    return META + new, orjson.dumps(latest[-KEPT:]).decode()


def _kept_of(journal: Journal, section: str) -> list[tuple[str, float]]:
    row = journal.find_one("meta", (META + section,))
    return [] if row is None else [(str(address), float(since)) for address, since in orjson.loads(row["value"])]


def _recent(history: list[tuple[str, float]], present: str, now: float) -> list[tuple[str, float]]:
    """What need be remembered. Each address lasted until the next one began."""
    ends = [*(since for _, since in history[1:]), now]
    kept = [entry for entry, end in zip(history, ends, strict=False) if entry[0] != present and now - end < KEPT_FOR]
    return kept[1 - KEPT:]


def _kept(section: str, history: list[tuple[str, float]]) -> Operation:
    rows: list[tuple[Any, ...]] = [(META + section, orjson.dumps(history).decode())]
    return "put_meta", rows


def _is_loopback(host: str) -> bool:
    return is_address(host) and ipaddress.ip_address(host).is_loopback
