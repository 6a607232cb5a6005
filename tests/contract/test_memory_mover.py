"""The double keeps the promises of the movers it stands for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.movers import HOW, MoverContract, Place, content_of, deliver, make
from trollmoves.errors import ConnectionLost, LoginRefused, Unreachable
from trollmoves.movers.base import SessionSettings
from trollmoves.movers.memory import MemoryHost, MemoryMover, Stored
from trollmoves.uris import parse_destination

ROOT = "/in/"


class MemoryPlace(Place):
    """A directory in a host in memory."""

    def __init__(self, mover: MemoryMover):
        super().__init__(mover, f"memory://user:planted@host{ROOT}", SessionSettings(), secret="planted")
        self.host: MemoryHost = mover.host("host")
        self.host.password = "planted"
        self.host.directories.add("/in")

    def read(self, name: str) -> bytes | None:
        with self.host.lock:
            stored = self.host.files.get(ROOT + name)
            return None if stored is None else bytes(stored.content)

    def names(self) -> set[str]:
        with self.host.lock:
            return {path.removeprefix(ROOT) for path in self.host.files}

    def status(self, name: str) -> tuple[int, int]:
        stored = self.host.files[ROOT + name]
        return stored.mtime_ns, stored.mode

    def write(self, name: str, content: bytes) -> None:
        self.host.files[ROOT + name] = Stored(bytearray(content))

    @contextlib.contextmanager
    def small_disk(self) -> Iterator[str]:
        self.host.capacity = 2**20
        self.host.directories.add("/in/small")
        yield "small/"


@pytest.fixture
def place() -> MemoryPlace:
    return MemoryPlace(MemoryMover())


class TestMemoryMover(MoverContract):
    def test_a_cut_put_can_be_resumed(self, place: MemoryPlace, tmp_path: Path) -> None:
        content, how, steps = content_of(20 * 2**20), HOW._replace(resume=True), list[int]()
        path = make(tmp_path / "origin.dat", content)
        place.host.cut_after = 15 * 2**20
        with pytest.raises(ConnectionLost):
            deliver(place, path, how=how)
        assert place.read("origin.dat") is None
        deliver(place, path, how=how, progress=steps.append)
        assert place.read("origin.dat") == content
        assert steps[0] > 15 * 2**20 - 1

    def test_a_wrong_password_is_refused_without_showing_it(self, place: MemoryPlace) -> None:
        with pytest.raises(LoginRefused) as caught:
            place.mover.open(parse_destination(place.uri.replace("planted", "wrong-one")), place.settings)
        assert "wrong-one" not in str(caught.value)

    def test_a_host_that_went_away_loses_its_sessions(self, place: MemoryPlace) -> None:
        with place.mover.open(parse_destination(place.uri), place.settings) as session:
            place.host.reachable = False
            assert not session.is_alive()
            with pytest.raises(ConnectionLost):
                session.size("/in/x")
        with pytest.raises(Unreachable):
            place.mover.open(parse_destination(place.uri), place.settings)
