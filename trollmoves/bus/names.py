"""Names: the addresses of hosts, asked for in the background and kept, so that a slow name server holds up nobody.

Neither the loop nor the threads of ZeroMQ ask a name server: the loop would stand still for as long as it says nothing, and
ZeroMQ, given a name, looks it up in the one thread that carries all connections of the process. What is not known yet is waited
for.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from trollmoves.bus.addresses import is_own_address, look_up, own_names
from trollmoves.uris import LOCAL_SOCKET, is_address

logger = logging.getLogger(__name__)

KEEP = 60.0
"""Seconds after which a name that is needed is looked up again."""
AGAIN = 5.0
"""The same when the name server did not answer."""
OUTLIVES = 600.0
"""Seconds for which an answer counts although the name server does not answer any more."""
MOST_NAMES = 1000
"""An announcement may name any host."""

LOCALHOST = "localhost"

Addresses = tuple[str, ...]


@dataclass(slots=True)
class _Name:
    addresses: Addresses = ()
    """What it leads to, as far as is known."""
    certain: bool = False
    """A name server said so."""
    asked: float = -OUTLIVES
    """When the last look-up ended, and (below) the last that got an answer; monotonic."""
    answered: float = -OUTLIVES
    ever: bool = False
    """Some look-up has ended."""
    asking: bool = False
    followers: list[Callable[[], Any]] = field(default_factory=list)
    waiters: list[Callable[[], Any]] = field(default_factory=list)
    planned: bool = False
    """It will be looked up again."""


class Names:
    """What is known of the addresses of hosts; belongs to the loop."""

    def __init__(self, call: Callable[..., Any], after: Callable[[float, Callable[[], Any]], Any],
                 clock: Callable[[], float] = time.monotonic):
        """*call* and *after* are those of the loop."""
        self._clock = clock
        self._call = call
        self._after = after
        self._names: dict[str, _Name] = {}
        self.in_worker: Callable[[Callable[[], Any], Callable[[Any], Any]], Any] | None = None
        """Has the first called in another thread, and the second, with its outcome, in the loop. Without it (a program without
        workers) look-ups are made at once."""
        self.look_up: Callable[[str], Addresses | None] = look_up

    def now(self, host: str) -> Addresses | None:
        """The addresses of *host* as far as they are known now; None when nothing is known yet, and is being asked for."""
        if _is_fixed(host):
            return ("127.0.0.1" if host == LOCALHOST else host,)
        name = self._named(host)
        if name is None:
            return ()
        self._refresh(host, name)
        return name.addresses if name.ever else None

    def is_certain(self, host: str) -> bool:
        """Whether what `now` says is what a name server answered lately, and not for want of an answer."""
        return _is_fixed(host) or (host in self._names and self._names[host].certain)

    def is_this_machine(self, host: str) -> bool | None:
        """Whether *host* (a name or an address; empty counts) means this machine; None when that is being asked for."""
        if host in own_names():
            return True
        found = self.now(host)
        return None if found is None else any(map(is_own_address, found))

    def when_asked(self, host: str, then: Callable[[], Any]) -> None:
        """Call *then*, once, when the next look-up of *host* has ended, whatever it found."""
        name = self._named(host)
        if name is None:
            self._call(then)
            return
        name.waiters.append(then)
        self._refresh(host, name)
        self._plan(host, name)

    def follow(self, host: str, changed: Callable[[], Any]) -> Callable[[], None]:
        """Call *changed* whenever the addresses of *host* are others than before, until the function that is returned is
        called."""
        name = self._named(host)
        if name is None:
            return lambda: None
        name.followers.append(changed)
        self._refresh(host, name)
        self._plan(host, name)
        return lambda: name.followers.remove(changed) if changed in name.followers else None

    def _named(self, host: str) -> _Name | None:
        """What is noted of *host*; None when there are too many."""
        found = self._names.get(host)
        if found is None:
            if len(self._names) >= MOST_NAMES:
                self._forget_unused()
            if len(self._names) >= MOST_NAMES:
                return None
            found = self._names[host] = _Name()
        return found

    def _forget_unused(self) -> None:
        self._names = {host: name for host, name in self._names.items() if name.followers or name.waiters or name.asking}

    def _refresh(self, host: str, name: _Name) -> None:
        """Look it up, if that has not been done lately."""
        if not name.asking and self._clock() - name.asked >= _patience(name):
            self._ask(host, name)

    def _ask(self, host: str, name: _Name) -> None:
        name.asking = True
        if self.in_worker is None:
            self._ended(host, name, self.look_up(host))
        else:
            self.in_worker(partial(self.look_up, host), partial(self._ended, host, name))

    def _ended(self, host: str, name: _Name, found: Any) -> None:
        name.asking, name.asked = False, self._clock()
        before = name.addresses
        if isinstance(found, tuple):
            self._note_answer(host, name, found)
        else:
            self._note_silence(host, name)
        waiters, name.waiters = name.waiters, []
        for then in waiters:
            self._call(then)
        if name.addresses != before:
            for changed in list(name.followers):
                self._call(lambda changed=changed: changed() if changed in name.followers else None)
        self._plan(host, name)

    def _note_answer(self, host: str, name: _Name, found: Addresses) -> None:
        if name.ever and not name.certain:
            logger.info("the address of %s can be found again", host)
        elif not found and (name.addresses or not name.ever):
            logger.warning("the host %s is not known to the name server", host)
        name.addresses, name.certain, name.ever, name.answered = found, True, True, name.asked

    def _note_silence(self, host: str, name: _Name) -> None:
        """The name server does not answer: what it said before counts for some time."""
        if name.asked - name.answered < OUTLIVES:
            return
        if name.certain or not name.ever:
            logger.warning("the address of %s cannot be found: the name server does not answer; trying on", host)
        name.addresses, name.certain, name.ever = (), False, True

    def _plan(self, host: str, name: _Name) -> None:
        """Look it up again in time, as long as somebody wants to know."""
        if name.asking or not (name.followers or name.waiters) or name.planned:
            return

        def again() -> None:
            name.planned = False
            if name.followers or name.waiters:
                self._refresh(host, name)
                self._plan(host, name)
        name.planned = True
        self._after(max(0.05, name.asked + _patience(name) - self._clock()), again)


def _is_fixed(host: str) -> bool:
    """Whether no name server need be asked for it."""
    return host == LOCALHOST or is_address(host) or host.startswith(LOCAL_SOCKET)


def _patience(name: _Name) -> float:
    """Seconds between two look-ups."""
    return KEEP if name.certain and name.answered == name.asked else AGAIN


class Whereabouts:
    """Where to connect to for one host; belongs to the loop."""

    def __init__(self, names: Names, host: str, moved: Callable[[], Any]):
        """*moved* is called when there is an address for the first time, and when the present one is no longer that of *host*."""
        self._names = names
        self._host = host
        self._moved = moved
        self._known = names.now(host) or ()
        self.address: str | None = self._known[0] if self._known else None
        """None as long as none is known."""
        self.close: Callable[[], None] = (lambda: None) if _is_fixed(host) else names.follow(host, self._changed)
        """Call it when that is of no interest any more; may be called twice."""

    def _changed(self) -> None:
        self._known = self._names.now(self._host) or ()
        if self._known and self.address not in self._known:  # one that is lost is kept: it may still answer
            self.address = self._known[0]
            self._moved()

    def try_another(self) -> None:
        """Nobody answers there: from now on use the next address that *host* has."""
        if self.address in self._known:
            self.address = self._known[(self._known.index(self.address) + 1) % len(self._known)]
