"""A model of a group of hot spares, run through random histories: the rules of `bus/leases` and what clients make of them.

One server announces files; two members ask for them, publish and confirm. Announcements get lost, requests and replies get lost,
members are cut off, stopped for longer than a lease lasts, or crash at any step; the server is restarted. What counts in the end:
every file was published, and at most once without the mark that it may be the second time. To show that the model would notice,
two mutants must break this: one that publishes without looking at the time after it was stopped, and one that never asks for what
it missed.

Every history has a seed, which is part of each failure; `TROLLMOVES_TEST_SEED=n` plays that one alone.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest

from trollmoves.bus.committing import _granted
from trollmoves.bus.leases import MOST_EARLIER, TTL, UNCONTESTED, VALID, Lease, Leases

FILES = 25
CALM = 400.0
"""Seconds of a history without new faults, at its end."""


@dataclass(frozen=True)
class Rules:
    """What goes wrong, and how a mutant differs from ours."""

    lost_announcements: float = 0.0
    lost_messages: float = 0.0
    crashes: float = 0.0
    stops: float = 0.0
    cuts: float = 0.0
    restarts: float = 0.0
    looks_at_the_time: bool = True
    replays: bool = True


@dataclass
class Row:
    """What the server's journal has of a delivery."""

    holder: str
    request: str
    durable: tuple[int, int, int] = UNCONTESTED
    confirmed: bool = False


class Crash(Exception):
    """The process is gone; what it had written stays."""


class Server:
    """The rules of `server/sharing.py`, with messages that arrive at once or never."""

    def __init__(self, now: float):
        self.rows: dict[int, Row] = {}
        self.restart(now)

    def restart(self, now: float) -> None:
        self.leases = Leases(now)

    def push(self, file: int, client: str, request: str, now: float, at_once: bool) -> dict[str, object]:
        row = self.rows.get(file)
        if row is None:  # the move takes no time
            lease = self.leases.grant(str(file), client, request, now)
            lease.committed = at_once
            self.rows[file] = Row(client, request, lease.durable)
            return self._delivered(lease)
        if row.confirmed:
            if row.holder != client:
                return {"state": "covered"}
            return {"state": "delivered", "fence": 0, "valid": VALID, "maybe_published": True}
        lease = self.leases.restored(str(file), row.holder, row.request, row.durable)
        if not lease.claim(client, request, now):
            return {"state": "held"}
        lease.committed |= at_once
        self._write(file, lease)
        return self._delivered(lease)

    def commit(self, file: int, request: str, fence: int, now: float) -> dict[str, object]:
        row = self.rows.get(file)
        if row is None:
            return {"state": "unknown"}
        if row.request != request:
            return {"state": "covered" if row.confirmed else "held"}
        if row.confirmed:
            return {"state": "granted", "valid": VALID, "maybe_published": True}
        lease = self.leases.restored(str(file), row.holder, row.request, row.durable)
        if not lease.commit(request, fence, now):
            return {"state": "held"}
        self._write(file, lease)
        return {"state": "granted", "valid": VALID, "fence": lease.fence, "maybe_published": lease.doubtful}

    def confirm(self, file: int, request: str) -> None:
        row = self.rows.get(file)
        if row is not None and row.request == request:
            row.confirmed = True
            self.leases.drop(str(file))

    def _write(self, file: int, lease: Lease) -> None:
        self.rows[file] = Row(lease.holder, lease.request, lease.durable)

    @staticmethod
    def _delivered(lease: Lease) -> dict[str, object]:
        valid = VALID if lease.committed else 0.0
        return {"state": "delivered", "fence": lease.fence, "valid": valid, "maybe_published": lease.doubtful}


@dataclass
class Flight:
    """One file at one member; what its journal has is `state` and `request`, the rest is forgotten in a crash."""

    file: int
    request: str
    state: str = "requested"
    fence: int = 0
    valid_until: float = 0.0
    maybe_published: bool = False


@dataclass
class World:
    """Everything, and the time."""

    dice: random.Random
    rules: Rules
    now: float = 0.0
    faults: bool = True
    server: Server = field(default_factory=lambda: Server(0.0))
    announced: int = 0
    published: list[tuple[int, bool]] = field(default_factory=list)
    """File, and whether it was marked."""

    def happens(self, chance: float) -> bool:
        return self.faults and self.dice.random() < chance


class Member:
    """The rules of `client/`: journaled, then done; asked again under the same id; published only with leave."""

    def __init__(self, name: str, delay: float, world: World):
        self.name = name
        self.delay = delay
        self.world = world
        self.at_once = world.dice.random() < 0.5
        """It publishes as soon as a file is delivered; else it unpacks it first, and asks for leave then."""
        self.flights: dict[int, Flight] = {}
        self.heard: dict[int, float] = {}
        self.awake_at = 0.0
        self.cut_until = 0.0
        self.count = 0

    def hear(self, file: int) -> None:
        if self.awake_at <= self.world.now and not self.world.happens(self.world.rules.lost_announcements):
            self.heard.setdefault(file, self.world.now)

    def catch_up(self) -> None:
        if self.world.rules.replays and self._reaches():
            for file in range(self.world.announced):
                self.heard.setdefault(file, self.world.now)

    def step(self) -> None:
        """Do a little with each file; the process may crash or be stopped at every step of it."""
        rules, world = self.world.rules, self.world
        if world.happens(rules.cuts):
            self.cut_until = world.now + world.dice.uniform(1, 60)
        try:
            for file, when in self.heard.items():
                if file not in self.flights and world.now >= when + self.delay:
                    self.count += 1
                    self.flights[file] = Flight(file, f"{self.name}{self.count}")
                if file in self.flights:
                    self._advance(self.flights[file])
                if self.awake_at > world.now:
                    return
        except Crash:
            for flight in self.flights.values():
                flight.fence, flight.valid_until = 0, 0.0
                flight.maybe_published = flight.state == "publishing"
            self.awake_at = world.now + world.dice.uniform(1, 40)

    def _advance(self, flight: Flight) -> None:
        if flight.state == "requested":
            self._ask(flight)
        elif flight.state == "delivered":
            if self.world.now < flight.valid_until or not self.world.rules.looks_at_the_time:
                flight.state = "publishing"
                self._stumble()
            else:
                self._commit(flight)
        elif flight.state == "publishing":
            if self.world.now < flight.valid_until or not self.world.rules.looks_at_the_time:
                self.world.published.append((flight.file, flight.maybe_published))
                self._crash_point()
                flight.state = "published"
            else:
                self._commit(flight)
        elif flight.state == "published" and self._reaches():
            self.world.server.confirm(flight.file, flight.request)
            flight.state = "confirmed"

    def _ask(self, flight: Flight) -> None:
        said = self._rpc(lambda: self.world.server.push(flight.file, self.name, flight.request, self.world.now, self.at_once))
        if said is not None and said["state"] == "covered":
            flight.state = "covered"
        elif said is not None and said["state"] == "delivered":
            self._take(flight, said)
            flight.state = "delivered"
            self._stumble()

    def _commit(self, flight: Flight) -> None:
        said = self._rpc(lambda: self.world.server.commit(flight.file, flight.request, flight.fence, self.world.now))
        if said is None:
            return
        granted = _granted(said, self.world.now)
        if granted.state == "covered":
            flight.state = "covered"
        elif granted.state == "held":
            waiting = self._rpc(lambda: self.world.server.push(flight.file, self.name, flight.request, self.world.now,
                                                               self.at_once))
            if waiting is not None and waiting["state"] == "covered":
                flight.state = "covered"
            elif waiting is not None and waiting["state"] == "delivered":
                self._take(flight, waiting)
        elif granted.state == "granted":
            flight.fence, flight.valid_until = granted.fence, granted.valid_until
            flight.maybe_published |= granted.maybe_published
        self._stumble()

    def _take(self, flight: Flight, said: dict[str, object]) -> None:
        flight.fence = int(str(said["fence"]))
        flight.valid_until = self.world.now + float(str(said["valid"]))
        flight.maybe_published |= bool(said["maybe_published"])

    def _reaches(self) -> bool:
        return self.cut_until <= self.world.now and not self.world.happens(self.world.rules.lost_messages)

    def _rpc(self, ask: object) -> dict[str, object] | None:
        if not self._reaches():
            return None
        answer: dict[str, object] = ask()  # type: ignore[operator]
        return answer if not self.world.happens(self.world.rules.lost_messages) else None

    def _stumble(self) -> None:
        """Crash, or be stopped for a while."""
        self._crash_point()
        if self.world.happens(self.world.rules.stops):
            self.awake_at = self.world.now + self.world.dice.uniform(1, 4 * TTL)

    def _crash_point(self) -> None:
        if self.world.happens(self.world.rules.crashes):
            raise Crash


def history(seed: int, rules: Rules) -> World:
    """One random history, to its end."""
    world = World(random.Random(seed), rules)
    members = [Member("a", 0.0, world), Member("b", world.dice.choice((0.0, 5.0)), world)]
    while world.now < FILES * 2 + CALM:
        world.now += world.dice.uniform(0.3, 1.5)
        world.faults = world.now < FILES * 4
        if world.announced < FILES:
            for member in members:
                member.hear(world.announced)
            world.announced += 1
        if world.happens(rules.restarts):
            world.server.restart(world.now)
        for member in world.dice.sample(members, 2):
            if member.awake_at <= world.now:
                if world.dice.random() < 0.2:
                    member.catch_up()
                member.step()
    return world


def lost(world: World) -> int:
    return len(set(range(FILES)) - {file for file, _ in world.published})


def unmarked_twice(world: World) -> int:
    counts = Counter(file for file, marked in world.published if not marked)
    return sum(count - 1 for count in counts.values() if count > 1)


CALM_RULES = Rules()
LOSSY = Rules(lost_announcements=0.3, lost_messages=0.2)
ALL_FAULTS = Rules(lost_announcements=0.3, lost_messages=0.1, crashes=0.02, stops=0.05, cuts=0.01, restarts=0.01)
NO_LOOK = Rules(lost_announcements=0.3, lost_messages=0.1, crashes=0.02, stops=0.05, cuts=0.01, looks_at_the_time=False)
NO_REPLAY = Rules(lost_announcements=0.3, lost_messages=0.1, crashes=0.02, stops=0.05, cuts=0.01, replays=False)


def seeds(count: int) -> range:
    chosen = os.environ.get("TROLLMOVES_TEST_SEED")
    return range(int(chosen), int(chosen) + 1) if chosen else range(count)


@pytest.mark.parametrize(("rules", "count"), [(CALM_RULES, 50), (LOSSY, 200), (ALL_FAULTS, 750)],
                         ids=["calm", "lossy", "all faults"])
def test_nothing_is_lost_and_nothing_is_published_twice_without_a_mark(rules: Rules, count: int) -> None:
    for seed in seeds(count):
        world = history(seed, rules)
        assert not lost(world), f"seed {seed}: {lost(world)} files were never published"
        assert not unmarked_twice(world), f"seed {seed}: {unmarked_twice(world)} files were published twice without a mark"
        if rules is CALM_RULES:
            assert len(world.published) == FILES, f"seed {seed}: {len(world.published)} publications"


def test_a_mutant_that_does_not_look_at_the_time_is_noticed() -> None:
    assert sum(unmarked_twice(history(seed, NO_LOOK)) for seed in range(150)) > 0


def test_a_mutant_that_never_asks_for_what_it_missed_is_noticed() -> None:
    assert sum(lost(history(seed, NO_REPLAY)) for seed in range(20)) > 0


def test_an_older_request_of_the_holder_has_the_lease_only_when_nobody_is_heard_of_the_newer_one() -> None:
    lease = Lease("me", "r:old", TTL)
    assert lease.claim("me", "r:new", 1.0) and (lease.fence, lease.earlier) == (2, ("r:old",))
    assert lease.is_outdated("me", "r:old", 2.0) and not lease.claim("me", "r:old", 2.0)
    assert not lease.is_outdated("partner", "r:old", 2.0) and not lease.claim("partner", "r:old", 2.0)
    assert lease.is_held_by("me", "r:new") and lease.fence == 2
    late = lease.expires + 1.0
    assert not lease.is_outdated("me", "r:old", late) and lease.claim("me", "r:old", late)
    assert (lease.request, lease.earlier, lease.fence) == ("r:old", ("r:new",), 3)
    assert lease.claim("partner", "r:other", late + TTL + 1.0) and lease.earlier == ()


def test_who_had_the_lease_before_others_and_has_it_again_has_no_use_for_its_first_fence() -> None:
    lease = Lease("me", "r:1", TTL)
    assert lease.commit("r:1", 1, 1.0)
    for holder, fence in ("partner", 2), ("me", 3):
        assert lease.claim(holder, f"r:{1 if holder == 'me' else 2}", lease.expires + 1.0) and lease.fence == fence
    assert not lease.commit("r:1", 1, lease.expires - 1.0) and not lease.commit("r:2", 2, lease.expires - 1.0)
    assert lease.commit("r:1", 3, lease.expires - 1.0) and lease.doubtful


def test_leases_of_an_earlier_process_have_a_grace() -> None:
    """Their holders could not be heard while the server was away."""
    lease = Leases(100.0).restored("file", "me", "r:1", (1, 1, 0))
    assert not lease.claim("partner", "r:2", 100.0 + TTL - 0.1)
    assert lease.claim("partner", "r:2", 100.0 + TTL) and lease.durable == (2, 0, 1)


def test_of_many_requests_of_one_holder_the_latest_are_known() -> None:
    lease = Lease("me", "", TTL)
    for number in range(MOST_EARLIER + 4):
        assert lease.claim("me", f"r:{number}", 1.0)
        assert "" not in lease.earlier
    assert lease.earlier == tuple(f"r:{number}" for number in range(3, MOST_EARLIER + 3))
