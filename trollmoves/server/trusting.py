"""Whose acks count: those of the hosts in `trusted_acks`, as far as it is known where these are. The loop asks no name server."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from trollmoves.bus.addresses import is_own_address, same_address
from trollmoves.bus.names import Names
from trollmoves.uris import is_address

ANY = "any"
MOST_DOUBTFUL = 1000
"""Acks that wait for a name to be known; the oldest are forgotten first, and their files are kept."""


class Trusting:
    """The trust that one section gives; belongs to the loop."""

    def __init__(self, names: Names, trusted: Sequence[str]):
        """*trusted* are hosts and addresses; `any` is all of them."""
        self._names = names
        self._any = ANY in trusted
        self._addresses = [host for host in trusted if is_address(host)]
        self._hosts = [host for host in trusted if host != ANY and not is_address(host)]
        self._doubtful: deque[tuple[str, Callable[[], Any]]] = deque(maxlen=MOST_DOUBTFUL)
        self._ends = [names.follow(host, self._look_again) for host in self._hosts]

    def trusts(self, peer: str) -> bool:
        """Whether *peer* is surely one of them. While a name is not known nobody is trusted by it."""
        return self._any or any(same_address(address, peer) for address in self._addresses) or any(
            self._is(host, peer) for host in self._hosts)

    def _is(self, host: str, peer: str) -> bool:
        found = self._names.now(host) or ()
        return any(same_address(address, peer) for address in found) or (
            is_own_address(peer) and bool(self._names.is_this_machine(host)))

    def when_trusted(self, peer: str, then: Callable[[], Any]) -> None:
        """Call *then* when it turns out that *peer* is one of them after all, because it is known only then where a host is."""
        if self._is_in_doubt:
            self._doubtful.append((peer, then))

    @property
    def _is_in_doubt(self) -> bool:
        return not all(map(self._names.is_certain, self._hosts))

    def _look_again(self) -> None:
        doubtful = list(self._doubtful)
        self._doubtful.clear()
        for peer, then in doubtful:
            if self.trusts(peer):
                then()
            elif self._is_in_doubt:
                self._doubtful.append((peer, then))

    def close(self) -> None:
        for end in self._ends:
            end()
