"""Follow: a provider of ours that has another address by now is asked there for what it announced with the one before.

Its heartbeats tell what has moved. Who is believed? An epoch is no secret, so a provider could say what it likes of the files of
another. An address leads elsewhere only where all that ever announced under the epoch say the same; as a rule that is one, and it
could as well have announced the other address to begin with. Who was heard under which epoch is kept in the journal. One who left
the configuration need not agree when others have come in its place since (a server may move so that it is listened to elsewhere),
but with those who were there together with it nothing changes. What has moved is not kept: every heartbeat tells it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import orjson

from trollmoves.bus import Requesters
from trollmoves.bus.few_lines import Sparingly
from trollmoves.bus.requesters import Place
from trollmoves.client.ledger import Ledger
from trollmoves.config.places import Provider
from trollmoves.journal import Journal
from trollmoves.uris import parse_endpoint

logger = logging.getLogger(__name__)

META = "epochs:"
"""In `meta`, before the name of a section: by epoch the providers that announced under it."""
TOGETHER = "providers:"
"""The same with those that ever were in the configuration: who was there together with each."""
MOST_EPOCHS = 20
"""Of one provider alone; a server has a new one only when its journal was lost."""
MOST_OF_ALL = 500
LONGEST_EPOCH = 64
MOST_MOVED = 1000
"""Addresses in one heartbeat."""

Moved = Mapping[str, Any]
"""By address where that leads by now."""


class Following:
    """Of one client chain; belongs to the loop."""

    def __init__(self, chain: str, providers: Iterable[Provider], journal: Journal, ledger: Ledger, requesters: Requesters,
                 heard_of: Callable[[str], Any]):
        """*providers* are those of the configuration. *heard_of* is told, with every heartbeat, of the addresses that lead to the
        one who sent it."""
        self._chain = chain
        self._present = {provider.address for provider in providers}
        self._ledger = ledger
        self._requesters = requesters
        self._heard_of = heard_of
        self._heard = _lists(journal, META + chain)
        self._together = _lists(journal, TOGETHER + chain)
        self._note_present()
        self._lately: dict[Provider, str] = {}
        """The epoch each provider was heard under last; it is noted."""
        self._told: dict[tuple[str, str], Moved] = {}
        """By provider and epoch what has moved, where anything has."""
        self._leads: dict[str, Moved] = {}
        """By epoch what is followed of that."""
        self._doubted: set[str] = set()
        self._refused = Sparingly(logger)

    def _note_present(self) -> None:
        now = {name: sorted({*self._together.get(name, ()), *self._present} - {name}) for name in self._present}
        if any(self._together.get(name) != others for name, others in now.items()):
            self._together |= now
            self._ledger.add("put_meta", (TOGETHER + self._chain, orjson.dumps(self._together).decode()))

    def heard(self, provider: Provider, epoch: str) -> None:
        """*provider* has announced something, or told that it is there, under *epoch*; written with the messages at hand."""
        if epoch and self._lately.get(provider) != epoch:
            self._lately[provider] = epoch
            if provider.address not in self._heard.get(epoch, ()):
                self._note(provider.address, epoch)

    def _note(self, name: str, epoch: str) -> None:
        """*name* is heard under *epoch* for the first time. Of what is no longer noted nobody is followed."""
        if epoch not in self._heard:
            alone = [known for known, names in self._heard.items() if names == [name]]
            if len(alone) >= MOST_EPOCHS:
                self._told.pop((name, alone[0]), None)
                del self._heard[alone[0]]
                self._settle(alone[0])
            if len(self._heard) >= MOST_OF_ALL or len(epoch) > LONGEST_EPOCH:
                return
        self._heard[epoch] = [*self._heard.get(epoch, ()), name]
        self._ledger.add("put_meta", (META + self._chain, orjson.dumps(self._heard).decode()))
        self._settle(epoch)

    def told(self, provider: Provider, epoch: Any, moved: Any) -> None:
        """A heartbeat of *provider* says what has *moved*."""
        if not isinstance(epoch, str):
            return
        self.heard(provider, epoch)
        name = provider.address
        said: Moved = moved if isinstance(moved, dict) and len(moved) <= MOST_MOVED else {}
        if name in self._heard.get(epoch, ()) and said != self._told.get((name, epoch), {}):
            self._told[name, epoch] = said
            self._settle(epoch)
        for address in self._leads.get(epoch, ()):
            self._heard_of(address)

    def leads(self, address: str, epoch: str) -> str:
        """Where *address*, announced under *epoch*, leads by now; as a rule that is itself."""
        return str(self._leads[epoch].get(address, address)) if epoch in self._leads else address

    def _speakers(self, epoch: str) -> list[str]:
        """Those who have to agree about *epoch*."""
        names = self._heard.get(epoch, [])
        present = [name for name in names if name in self._present]
        succeed = all(name in self._present or not set(present).intersection(self._together.get(name, ())) for name in names)
        return present if succeed else names

    def _settle(self, epoch: str) -> None:
        """Have requests go where all who announced under *epoch* say."""
        names = self._speakers(epoch)
        said = [self._told.get((name, epoch), {}) for name in names]
        agreed = {before: now for before, now in said[0].items() if all(more.get(before) == now for more in said)} if said else {}
        if not agreed and any(said) and epoch not in self._doubted:
            self._doubted.add(epoch)
            logger.warning("[%s] nobody is followed to another address, because these tell of one journal, and not the same: "
                           "%s; what waits is had after `trollmoves retry --since 1d` at the server", self._chain,
                           ", ".join(names))
        if agreed == self._leads.get(epoch, {}):
            return
        self._leads.pop(epoch, None)
        if agreed:
            self._leads[epoch] = agreed
        self._requesters.moved(epoch, dict(self._places(agreed)))

    def _places(self, moved: Moved) -> Iterator[tuple[Place, Place]]:
        for before, now in moved.items():
            try:
                yield parse_endpoint(before), parse_endpoint(now)
            except ValueError as error:
                self._refused.say("[%s] a provider has moved where nobody can follow: %s", self._chain, error)


def _lists(journal: Journal, name: str) -> dict[str, list[str]]:
    row = journal.find_one("meta", (name,))
    return {} if row is None else dict(orjson.loads(row["value"]))
