"""What an upstream server announced while nobody listened is missed: an alarm names it, once, and nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq

from trollmoves.bus import Loop, Requesters
from trollmoves.client import upstream_past
from trollmoves.client.doubting import new_row
from trollmoves.client.flight import Flight, Source
from trollmoves.client.upstream_past import MOST_NAMES, SHOWN, UpstreamPast
from trollmoves.journal import Journal
from trollmoves.lifecycle import State
from trollmoves.messages import Announcement, Envelope, Message, decode, read_announcement

ENVELOPE = Envelope("somebody@here")


class Bench:
    """The past of one upstream server, which the test plays; the journal of a client is real."""

    def __init__(self, directory: Path):
        self.loop = Loop()
        self.journal = Journal(directory / "journal", self.loop.call_all, self.loop.fail)
        self.requesters = Requesters(self.loop, ENVELOPE)
        self.alarms: list[tuple[str, str]] = []
        self.past = UpstreamPast("chain", "/a", 30.0, self.journal, self.loop, self.requesters,
                                 lambda about, text: self.alarms.append((about, text)))
        self.context = zmq.Context[Any]()
        self.server = self.context.socket(zmq.ROUTER)
        self.address = f"127.0.0.1:{self.server.bind_to_random_port('tcp://127.0.0.1')}"
        self.kind = "info"
        self.names: object = []
        self.asked: list[Message] = []

    def announcement(self, *names: str) -> Announcement:
        data = {"request_address": self.address, "uid": names[0], "uri": f"/{names[0]}"} if len(names) == 1 else {
            "request_address": self.address, "dataset": [{"uid": name, "uri": f"/{name}"} for name in names]}
        return read_announcement(decode(ENVELOPE.encode("/a", "file" if len(names) == 1 else "dataset", data)))

    def has(self, *names: str) -> None:
        """The journal has files that the server announced."""
        done: list[bool] = []
        for name in names:
            source = Source(self.address, self.announcement(name))
            flight = Flight(self.journal.new_file(), "chain", name, 1.0, source)
            self.journal.write([("add_file", [new_row(flight, State.PUBLISHED, None)])], lambda: done.append(True))
        self.turn_until(lambda: len(done) == len(names))

    def hears(self, *names: str) -> None:
        self.past.heard(self.announcement(*names))

    def turn_until(self, check: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 30
        while not check():
            assert time.monotonic() < deadline
            self.loop.turn(0.02)
            if self.server.poll(0):
                who, _, raw = self.server.recv_multipart()
                self.asked.append(decode(raw))
                self.server.send_multipart((who, b"", ENVELOPE.encode("/a", self.kind, {"files": self.names})))

    def turn_for(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        self.turn_until(lambda: time.monotonic() > until)

    def close(self) -> None:
        self.past.close()
        self.requesters.close()
        self.journal.close()
        self.loop.close()
        self.server.close(0)
        self.context.term()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(upstream_past, "ON_THE_WAY", 0.0)
    found = Bench(tmp_path)
    yield found
    found.close()


def test_what_was_announced_since_the_last_that_we_have_is_missing(bench: Bench) -> None:
    """And neither what is older, which was before our time, nor what we have."""
    bench.has("oldest", "new")
    bench.names = ["/a/new", "/a/missed2", "/a/missed1", "/a/missed2", "/a/oldest", "/a/older"]
    bench.hears("new")
    bench.turn_until(lambda: bench.alarms)
    [(about, text)] = bench.alarms
    assert (bench.asked[0].type, bench.asked[0].subject, bench.asked[0].fields) == ("info", "/a", {"max_count": MOST_NAMES})
    assert about == f"{bench.address} missed2"
    assert text.startswith(f"2 files that {bench.address} announced") and ": missed2, missed1. " in text


def test_where_it_remembers_nothing_that_we_have_more_is_missing_than_it_says(bench: Bench) -> None:
    bench.has("long ago")
    bench.names = [f"/a/{number}" for number in range(SHOWN + 3)]
    bench.hears("new")
    bench.turn_until(lambda: bench.alarms)
    [(_, text)] = bench.alarms
    assert text.startswith(f"at least {SHOWN + 3} files")
    assert f", {SHOWN - 1} and 3 more. " in text and str(SHOWN) + "," not in text


def test_what_is_on_its_way_is_not_missing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_past, "ON_THE_WAY", 1.0)
    bench.has("old")
    bench.names = ["/a/late", "/a/new", "/a/old"]
    bench.hears("new")
    bench.turn_until(lambda: bench.asked)
    bench.has("new", "late")
    bench.turn_for(1.5)
    assert not bench.alarms


def test_a_server_that_is_new_to_us_is_asked_nothing(bench: Bench) -> None:
    """What it announced before was never ours to miss."""
    bench.hears("new")
    bench.has("new")
    bench.hears("newer")
    bench.turn_for(0.3)
    assert not bench.asked


def test_it_is_asked_once_and_again_after_it_was_silent(bench: Bench) -> None:
    bench.has("old")
    bench.names = ["/a/old"]
    bench.hears("several", "at once")  # of which the names say nothing
    bench.turn_for(0.3)
    assert not bench.asked
    for _ in range(3):
        bench.hears("old")
        bench.turn_until(lambda: bench.asked)
    assert len(bench.asked) == 1
    bench.names = ["/a/missed", "/a/old"]
    bench.past.listen_again()
    bench.hears("old")
    bench.turn_until(lambda: bench.alarms)
    assert len(bench.asked) == 2 and ": missed. " in bench.alarms[0][1]


@pytest.mark.parametrize(("kind", "names"), [("info", "no list"), ("info", None), ("info", {"a": 1}), ("unknown", ["/a/missed"])])
def test_what_is_no_list_of_names_is_a_warning(bench: Bench, caplog: pytest.LogCaptureFixture, kind: str, names: object) -> None:
    bench.has("old")
    bench.kind, bench.names = kind, names
    bench.hears("new")
    bench.turn_until(lambda: "files may be missing" in caplog.text)
    assert not bench.alarms


def test_so_is_no_answer(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.past._answered(bench.address, None)
    assert f"{bench.address} does not tell" in caplog.text


def test_no_more_names_are_looked_up_than_such_a_server_remembers(bench: Bench) -> None:
    bench.has("old")
    bench.names = [9999, *(f"/a/{number}" for number in range(MOST_NAMES)), "/a/old"]
    bench.hears("new")
    bench.turn_until(lambda: bench.alarms)
    assert bench.alarms[0][1].startswith(f"at least {MOST_NAMES} files")


def test_nothing_is_told_at_the_end(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_past, "ON_THE_WAY", 0.2)
    bench.has("old")
    bench.names = ["/a/missed", "/a/old"]
    bench.hears("new")
    bench.turn_until(lambda: bench.asked)
    bench.past.close()
    bench.turn_for(0.5)
    assert not bench.alarms
