"""Who waits at our server for a move that takes long: whatever it asks meanwhile, memory stays small and others are served."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

import pytest

from tests.faults.checker import rows
from tests.integration.hostile import Peer, Victim, text
from tests.support.eventually import eventually
from trollmoves.messages import EXTENSION, Message, decode

LARGE = 500_000


class Slow:
    """A victim that moves ten kilobytes in a second, and a file that takes minutes."""

    def __init__(self, root: Path):
        self.victim = Victim(root, {"bandwidth_per_host": "10k"})
        self.origin = self.victim.announce("big.bin", b"big" * 2_000_000)
        ((self.offset, self.epoch),) = rows(
            self.victim.journal, "SELECT max(position), (SELECT value FROM meta WHERE name = 'epoch') FROM announcements")

    def asks(self, request: str, client: str = "me@here/1", padding: int = 0) -> bytes:
        said = {"version": 1, "request": request, "client": client, "group": "us"}
        more = {"padding": "x" * padding, EXTENSION: said}
        return self.victim.push(str(self.origin), f"file://localhost{self.victim.allowed}/slow/", more)

    def asks_together(self, requests: list[str], client: str = "me@here/1") -> bytes:
        """For one and the same file."""
        said = {"version": 1, "epoch": self.epoch, "client": client, "group": "us",
                "pushes": [[self.offset, request] for request in requests]}
        return text("push", {"destination": f"file://localhost{self.victim.allowed}/slow/", EXTENSION: said})

    def begin(self, peer: Peer) -> None:
        peer.send(self.asks("r:first"))
        place = self.victim.allowed / "slow"
        eventually(lambda: place.exists() and any(place.iterdir()), message="bytes move")

    def serves_others(self, seconds: float) -> None:
        """Somebody else is answered before so many seconds of work."""
        before = self.victim.worked()
        with Peer(self.victim.port) as honest:
            assert " pong " in honest.ask(text("ping"), 120)
        assert self.victim.worked() - before <= seconds


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Slow]:
    slow = Slow(tmp_path)
    with contextlib.closing(slow.victim):
        yield slow


def status(requests: list[str]) -> bytes:
    return text("status", {EXTENSION: {"version": 1, "requests": requests}})


def answers(peer: Peer, count: int) -> list[Message]:
    """So many."""
    found = [peer.receive(60) for _ in range(count)]
    return [decode(str(reply).encode()) for reply in found]


def test_requests_for_what_takes_long_do_not_fill_the_memory(slow: Slow) -> None:
    """Each is answered in five seconds, and may be asked about after that: what is kept for it counts until the move is over."""
    with Peer(slow.victim.port) as peer:
        slow.begin(peer)
        told: Counter[str] = Counter()
        for turn in range(3):
            for number in range(30):
                peer.send(slow.asks(f"r:{turn}-{number}", padding=LARGE))
            told.update(answer.type for answer in answers(peer, 30 + (turn == 0)))
        assert told["err"] > 60
        assert told["pending"] * LARGE < 12 * 2**20
        assert told.keys() == {"err", "pending"}


@pytest.mark.parametrize("count", [1, 20_000], ids=["one", "many"])
def test_who_asks_ever_again_how_a_move_stands_holds_up_nobody(slow: Slow, count: int) -> None:
    with Peer(slow.victim.port) as peer:
        slow.begin(peer)
        requests = [f"r:{number}" for number in range(count)]
        for start in range(0, count, 1000):
            peer.send(slow.asks_together(requests[start:start + 1000]))
        slow.serves_others(10)
        asked, before = status(list(islice(cycle(requests), 1000))), slow.victim.worked()
        for _ in range(1000):
            peer.send(asked)
        slow.serves_others(10)
        assert answers(peer, 1)[0].type in ("pending", "results")
        slow.serves_others(10)
        assert slow.victim.worked() - before < 20


@contextlib.contextmanager
def asked_again(victim: Victim, request: bytes) -> Iterator[None]:
    """*request* is made every second meanwhile, as by a client that lives: it keeps what it was given, however long that is."""
    ending = threading.Event()

    def ask() -> None:
        with Peer(victim.port) as peer:
            while not ending.wait(1):
                peer.ask(request, 60)
    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join(90)


def test_members_of_a_group_that_wait_hold_up_nobody(tmp_path: Path) -> None:
    """One has had the file and does not say that it has published it; another one asks ever again."""
    victim = Victim(tmp_path)
    with contextlib.closing(victim), Peer(victim.port) as peer:
        def asks(request: str, client: str, padding: int = 0) -> bytes:
            said = {"version": 1, "request": request, "client": client, "group": "us"}
            return victim.push(str(victim.origin / "gold.bin"), f"file://localhost{victim.allowed}/group/",
                               {"padding": "x" * padding, EXTENSION: said})
        assert decode(peer.ask(asks("r:first", "one@here/1")).encode()).type == "file"
        victim.forget_peak()
        before = victim.resident()
        with asked_again(victim, asks("r:first", "one@here/1")):
            for number in range(200):
                peer.send(asks(f"r:{number}", "two@here/1", LARGE))
            told = Counter(answer.type for answer in answers(peer, 200))
        assert told == {"held": 200}
        assert victim.peak() - before < 64 * 2**20
        asked = status([f"r:{number}" for number in range(200)] * 5)
        for _ in range(500):
            peer.send(asked)
        with Peer(victim.port) as honest:
            for _ in range(5):
                worked = victim.worked()
                assert " pong " in honest.ask(text("ping"), 120)
                assert victim.worked() - worked < 10
