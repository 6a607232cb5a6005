"""What is said to requests of one port, step by step: the workers and the clock do nothing unless the test says so."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.clock import Clock
from tests.support.eventually import eventually
from tests.support.held_workers import HeldWorkers
from trollmoves.bus import Asker, Loop, Replier
from trollmoves.bus.leases import TTL, VALID
from trollmoves.bus.requesting import new_request
from trollmoves.config.reading import read_server_config
from trollmoves.errors import MoveError
from trollmoves.journal import Journal
from trollmoves.journal.journal import step_line
from trollmoves.lifecycle import State
from trollmoves.messages import EXTENSION, Envelope, Message, decode
from trollmoves.movers.base import Receipt
from trollmoves.movers.sessions import Sessions
from trollmoves.server import moves, pushes, serving, sharing
from trollmoves.server.beneath import Announced
from trollmoves.server.pushing import Member, Pushing
from trollmoves.server.recent import Recent
from trollmoves.server.removing import Removing
from trollmoves.server.requests import MOST_GROUPED, members
from trollmoves.server.serving import Serving
from trollmoves.server.sharing import LONGEST_HOLD
from trollmoves.server.small_moves import SmallMoves
from trollmoves.server.topics import Topics
from trollmoves.server.transfer import Moving, Served

ENVELOPE = Envelope("somebody@here")
HERE = "127.0.0.1"
SECTIONS = {"s": "t", "alike": "t", "other": "other"}
"""By name: topic. All have the same origins."""
OPTIONS = f"delete = true\nremove_delay = 1h\ntrusted_acks = {HERE}\nqueued_requests = 8\n"


class Held(HeldWorkers):
    """Workers that do it when they are told to."""

    def run(self, *, moves: bool = True) -> None:
        """Do what there is to do; without *moves* only what comes before them."""
        while todo := [work for work in self.work if moves or str(work.host).startswith("('rights'")]:
            work = todo[0]
            self.work.remove(work)
            try:
                outcome = work.run(Sessions())
            except Exception as error:
                outcome = error
            work.done(outcome)


class Unready(SmallMoves):
    """A process of small moves that is never there: workers make all moves."""

    def is_ready(self) -> bool:
        return False


class Port:
    """A request port of a server that has announced files; another process of it takes its place with `restart`."""

    def __init__(self, root: Path, clock: Clock):
        self.root, self.clock = root, clock
        self.stranger = False
        """Who asks is another user than root, who we are."""
        self.origin, self.destination = root / "origin", root / "in"
        for directory in (self.origin, self.destination):
            directory.mkdir()
        self._config = root / "server.ini"
        self._config.write_text("\n".join(
            f"[{name}]\norigin = {self.origin}/{{name}}\ntopic = /{topic}\nrequest_port = 9999\n{OPTIONS}"
            for name, topic in SECTIONS.items()))
        self.told: list[Message] = []
        self.askers: list[Asker] = []
        """Who was told."""
        self.kept: list[list[tuple[Any, ...]]] = []
        """What the journal had of moves when each of them was told."""
        self._start()

    def _start(self) -> None:
        self.loop, self.workers = Loop(), Held()
        self.journal = Journal(self.root / "journal", self.loop.call_all, self.loop.fail)
        self.topics = Topics(self.journal)
        self.serving = Serving(0, HERE, 1 << 20, self.loop, self.journal, ENVELOPE, self.workers, Unready(self.loop), Recent(),
                               time.monotonic(), dict, self.topics)
        roots = (str(self.origin),)
        for settings in read_server_config(self._config).chains.values():
            self.serving.add(Served(settings, Pushing(settings, roots),
                                    Removing(settings, roots, self.journal, self.loop, self.workers)))

    def tell(self, asker: Asker, raw: bytes) -> None:
        self.told.append(decode(raw))
        self.askers.append(asker)
        self.kept.append(self.transfers())

    def transfers(self) -> list[tuple[Any, ...]]:
        """Holder, request, state and lease of what was asked for."""
        return [tuple(row[name] for name in ("client", "request", "state", "fence", "committed", "doubtful"))
                for row in self.journal.find("transfers_of", (1,))]

    def announced(self, name: str, chain: str = "s", key: str = "") -> Message:
        """A new file, announced by one section."""
        path, row, came, subject = self.origin / name, self.journal.new_file(), time.time(), f"/{SECTIONS[chain]}"
        if chain == "s":
            path.write_text(name)
        position, previous = self.journal.new_position(subject)
        found, key = path.stat(), key or f"k:{subject}:{name}"
        said = {"version": 1, "epoch": self.journal.epoch, "offset": position, "key": key}
        raw = ENVELOPE.encode(subject, "file", {"uid": name, "uri": str(path), EXTENSION: said})
        self.journal.write([("add_file", [(row, chain, name, key, State.ANNOUNCED, came, step_line("announced", came), None,
                                           found.st_size, os.fsencode(path), found.st_dev, found.st_ino, found.st_mtime_ns, None,
                                           None, None, 0, came)]),
                            ("add_announcement", [(position, row, subject, previous, raw.decode(), came)])])
        self.settle()
        return decode(raw)

    def change(self, statement: str) -> None:
        """Change the journal, as time would."""
        with sqlite3.connect(self.journal.path) as connection:
            connection.execute(statement)

    def ask(self, kind: str, message: Message, extension: dict[str, Any], address: str = HERE) -> list[Message]:
        """What is said to a request at once; its moves are not made yet."""
        data = {**message.fields, "destination": f"file://localhost{self.destination}/", EXTENSION: extension}
        return self.send(ENVELOPE.encode("/t", kind, data), address)

    def send(self, raw: bytes, address: str = HERE, *, looks: bool = True) -> list[Message]:
        before = len(self.told)
        self.serving._handle([(Asker(address.encode(), address, stranger=self.stranger), decode(raw))])
        if looks:
            self.workers.run(moves=False)
        self.settle()
        return self.told[before:]

    def push(self, message: Message, request: str, client: str = "me", address: str = HERE, **more: Any) -> list[Message]:
        said = {**message.extension, "request": request, "client": client, "group": "us", **more}
        return self.ask("push", message, said, address)

    def delivered(self, message: Message, request: str, client: str = "me", **more: Any) -> Message:
        """The outcome of a request."""
        told = self.push(message, request, client, **more)
        return told[0] if told else self.moved()

    def moved(self) -> Message:
        """Make the moves that wait; what is told then."""
        before = len(self.told)
        self.workers.run()
        self.settle()
        (reply,) = self.told[before:]
        return reply

    def commit(self, message: Message, request: str, fence: int, client: str = "me", **more: Any) -> dict[str, Any]:
        said = {"request": new_request(), "client": client, "group": "us", "epoch": self.journal.epoch,
                "commits": [[message.extension["offset"], request, fence]], **more}
        (reply,) = self.ask("commit", message, said)
        (result,) = reply.extension["results"]
        return dict(result)

    def confirm(self, message: Message, request: str) -> None:
        replies = self.ask("ack", message, {"request": new_request(), "requests": [[message.extension["offset"], request]]})
        assert "ack" in [reply.type for reply in replies]

    def passes(self, seconds: float) -> list[Message]:
        """Let time pass, second by second; what is told meanwhile."""
        before, until = len(self.told), self.clock.now() + seconds
        while self.clock.now() < until:
            self.clock.advance(min(1.0, until - self.clock.now()))
            self.serving._moves._every_second()
            self.settle()
        return self.told[before:]

    def settle(self) -> None:
        """Let the journal write, and what waits for that happen."""
        for _ in range(3):  # what is told may be written again
            written: list[bool] = []
            self.loop.turn(0.0)
            self.journal.write([], written.append, True)
            eventually(lambda: (self.loop.turn(0.0), written)[1], interval=0.001)  # noqa: B023

    def restart(self) -> None:
        """Another process takes its place."""
        self.close()
        self._start()

    def close(self) -> None:
        self.serving.close()
        self.journal.close()
        self.loop.close()


@pytest.fixture
def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Port]:
    clock = Clock(1000.0)
    ports: list[Port] = []
    monkeypatch.setattr(Replier, "reply", lambda _, asker, raw: ports[0].tell(asker, raw))
    monkeypatch.setattr(moves, "EVERY", 1e9)  # the test says when a second has passed
    for module in (moves, pushes, serving, sharing):
        monkeypatch.setattr(module, "time", Times(clock))
    ports.append(Port(tmp_path, clock))
    yield ports[0]
    ports[0].close()


class Times:
    """The module `time`, with a monotonic clock of ours."""

    def __init__(self, clock: Clock):
        self.monotonic = clock
        self.time = time.time


def test_who_is_alone_is_told_with_the_outcome_that_it_may_publish(port: Port) -> None:
    reply = port.delivered(port.announced("a"), "r:1", commit=True)
    said = reply.extension
    assert (reply.type, said["fence"], said["valid"], said.get("maybe_published")) == ("file", 1, VALID, None)
    assert port.kept == [[("me", "r:1", "moved", 1, 1, 0)]]


def renew(port: Port, message: Message, request: str, client: str = "me", **more: Any) -> None:
    said = {"request": new_request(), "client": client, "group": "us", "epoch": port.journal.epoch,
            "renewals": [[message.extension["offset"], request]], **more}
    assert [reply.type for reply in port.ask("commit", message, said)] == ["commit"]


@pytest.mark.parametrize("restart", [False, True], ids=["", "after a restart"])
@pytest.mark.parametrize("committed", [False, True])
def test_who_is_heard_of_keeps_the_lease_and_who_is_not_loses_it(port: Port, committed: bool, restart: bool) -> None:
    message = port.announced("a")
    first = port.delivered(message, "r:1")
    assert (first.extension["fence"], first.extension.get("valid")) == (1, None), "it unpacks first"
    if committed:
        assert port.commit(message, "r:1", 1) == {
            "request": "r:1", "state": "granted", "valid": VALID, "fence": 1, "maybe_published": False}
        assert port.kept[-1] == [("me", "r:1", "moved", 1, 1, 0)], "written, then told"
    for _ in range(4):
        assert port.push(message, "r:2", "partner", commit=True) == []
        (reply,) = port.passes(LONGEST_HOLD + 2)
        assert (reply.type, reply.extension["holder"]) == ("held", "me") and 0 < reply.extension["expires"] < TTL
        if committed:
            renew(port, message, "r:1")
        else:
            assert [reply.type for reply in port.push(message, "r:1")] == ["file"], "it asks again"
    if restart:
        port.restart()  # it is not heard of for that long, so there is a grace
    port.passes(TTL - 1)
    assert port.push(message, "r:2", "partner", commit=True) == []
    (reply,) = port.passes(2)
    said = reply.extension
    assert (reply.type, said["request"], said["fence"], said["valid"]) == ("file", "r:2", 2, VALID)
    assert said.get("maybe_published", False) is committed
    assert port.kept[-1] == [("partner", "r:2", "moved", 2, 1, int(committed))], "written, then told"
    for fence in (0, 1, 2):
        assert port.commit(message, "r:1", fence)["state"] == "held", "it comes too late"
    assert port.commit(message, "r:2", 2, "partner")["maybe_published"] is committed
    assert port.transfers() == [("partner", "r:2", "moved", 2, 1, int(committed))]


def status(port: Port, message: Message, request: str, client: str = "me", address: str = HERE, **more: Any) -> list[Message]:
    return port.ask("status", message, {"request": request, "client": client, "group": "us", **more}, address)


def test_of_two_that_wait_for_a_move_the_first_one_publishes_with_leave(port: Port) -> None:
    message = port.announced("a")
    assert port.push(message, "r:1", commit=True) == port.push(message, "r:2", "partner", commit=True) == []
    port.workers.run()
    port.settle()
    (reply,) = port.told
    said = reply.extension
    assert (said["request"], said["fence"], said.get("valid")) == ("r:1", 1, None), "not without asking: another one waits"
    assert port.transfers() == [("me", "r:1", "moved", 1, 0, 0)]
    assert port.commit(message, "r:2", 0, "partner")["state"] == "held"
    assert port.commit(message, "r:1", 2)["state"] == "held"
    assert port.commit(message, "r:1", 1)["maybe_published"] is False
    assert port.transfers() == [("me", "r:1", "moved", 1, 1, 0)]
    port.confirm(message, "r:1")
    (covered,) = [reply for reply in port.told if reply.type == "covered"]
    assert (covered.extension["request"], covered.extension["checksum"]) == ("r:2", said["checksum"])
    assert sorted(port.transfers()) == [("me", "r:1", "acknowledged", 1, 1, 0), ("partner", "", "acknowledged", 1, 1, 0)]
    assert port.commit(message, "r:2", 0, "partner") == {"request": "r:2", "state": "covered"}
    assert port.commit(message, "r:1", 1) == {"request": "r:1", "state": "granted", "valid": VALID, "maybe_published": True}
    for client, request in ("me", "r:1"), ("partner", "r:2"):
        assert [one.extension["code"] for one in status(port, message, request, client)] == ["unknown_request"]
    renew(port, message, "r:1")
    assert not port.serving._sharing._leases._leases
    assert port.journal.find_one("file", (1,))["state"] == "acknowledged"


@pytest.mark.parametrize("priority", [0, 1], ids=["primary", "spare"])
def test_who_is_covered_is_waited_for_no_more_and_a_spare_never_was(port: Port, priority: int) -> None:
    message = port.announced("a")
    port.delivered(message, "r:1", commit=True)
    assert port.push(message, "r:2", "partner", priority=priority) == []
    port.confirm(message, "r:1")
    assert "covered" in [reply.type for reply in port.told[-2:]]
    known = [(row["client"], row["request"], row["state"]) for row in port.journal.find("transfers_of", (1,))]
    assert ("me", "r:1", "acknowledged") in known
    assert (("partner", "", "acknowledged") in known) is (priority == 0)
    port.change("UPDATE removals SET due = 1e12")  # it waits for others, and is looked at rarely
    assert [reply.type for reply in port.push(message, "r:3", "third", priority=priority)] == ["covered"]
    assert bool(port.journal.find("due_removals", ("s", time.time(), 1))) is (priority == 0), "one less is waited for"


def test_a_move_goes_on_for_who_takes_over_from_one_that_is_gone(port: Port) -> None:
    message = port.announced("a")
    assert port.push(message, "r:1", commit=True) == port.push(message, "r:2", "partner", commit=True) == []
    for _ in range(3):
        assert {one.extension["state"] for one in port.passes(LONGEST_HOLD + 1)} <= {"moving"}
        assert status(port, message, "r:2", "partner") == []
    reply = port.moved()
    assert (reply.extension["request"], reply.extension["fence"], reply.extension.get("maybe_published")) == ("r:2", 2, None)
    assert port.kept[-1] == [("partner", "r:2", "moved", 2, 1, 0)]
    assert port.commit(message, "r:1", 1)["state"] == "held"


def test_who_asks_next_after_a_failure_has_the_lease_and_nobody_published(port: Port) -> None:
    message = port.announced("a")
    port.destination.rmdir()
    port.destination.write_text("no directory")
    assert port.delivered(message, "r:1", commit=True).type == "err"
    port.destination.unlink()
    port.destination.mkdir()
    said = port.delivered(message, "r:2", "partner", commit=True).extension
    assert (said["state"], said["fence"], said["valid"], said.get("maybe_published")) == ("delivered", 2, VALID, None)
    assert port.commit(message, "r:1", 0)["state"] == "held"


@pytest.mark.parametrize("committed", [False, True])
def test_a_client_that_lost_its_journal_is_told_that_it_may_have_published(port: Port, committed: bool) -> None:
    message = port.announced("a")
    first = port.delivered(message, "r:1", commit=committed).extension
    assert ("valid" in first) is committed
    again = port.delivered(message, "r:1", commit=committed).extension
    assert (again["fence"], again.get("maybe_published"), "valid" in again) == (1, None, committed), "it only asked again"
    said = port.delivered(message, "r:2", commit=True).extension
    assert (said["fence"], said["valid"], said.get("maybe_published", False)) == (2, VALID, committed)
    assert port.commit(message, "r:1", 1)["state"] == "held"
    port.confirm(message, "r:1")
    assert port.transfers()[0][2] == "acknowledged", "what it did before counts"


def test_who_asks_about_what_is_not_its_own_is_told_nothing(port: Port) -> None:
    message = port.announced("a")
    port.delivered(message, "r:1")
    for more in ({"epoch": "e:other"}, {"group": "others"}):
        assert port.commit(message, "r:1", 1, **more) == {"request": "r:1", "state": "unknown"}
    assert port.commit(message, "r:2", 1) == {"request": "r:2", "state": "held"}
    port.passes(TTL + 1)
    renew(port, message, "r:2", "partner")
    assert port.commit(message, "r:1", 1)["state"] == "granted", "what is not the partner's is not renewed for it"


def test_only_so_many_wait_and_the_others_are_told_so_at_once(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    message = port.announced("a")
    port.delivered(message, "r:1")
    monkeypatch.setattr(sharing, "MOST_WAITING", 1)
    assert port.push(message, "r:2", "partner") == []
    assert [reply.type for reply in port.push(message, "r:3", "third")] == ["held"]
    assert port.push(message, "r:2", "partner") == [], "who waits already may ask again, in the place of before"
    assert [one.extension["request"] for one in port.passes(LONGEST_HOLD + 2)] == ["r:2"]


@pytest.mark.parametrize("again", [False, True], ids=["many files", "one file"])
def test_who_asks_ever_again_with_one_id_fills_no_memory(port: Port, monkeypatch: pytest.MonkeyPatch, again: bool) -> None:
    """For many files, or for one with ever more in its request."""
    files = [port.announced(name) for name in "abcdef"]
    for message in files:
        port.delivered(message, f"r:{message.fields['uid']}")
    monkeypatch.setattr(sharing, "MOST_HELD", 2 * 10_000)
    told = [reply.type for number, message in enumerate(files)
            for reply in port.push(files[0] if again else message, "r:1", "partner", padding="x" * 5000 * (number + 1))]
    assert port.serving._sharing._held.total < 2 * 10_000
    assert told and set(told) == {"held"}


def test_nothing_is_kept_of_those_that_went_away(port: Port) -> None:
    message = port.announced("a")
    port.delivered(message, "r:1", commit=True)
    assert port.push(message, "r:2", "partner") == []
    port.passes(LONGEST_HOLD + 2)
    assert status(port, message, "r:2", "partner") == [], "it may ask how it stands"
    port.passes(4 * TTL)
    sharing_now = port.serving._sharing
    assert not sharing_now._shared and not sharing_now._by_request
    port.passes(3 * TTL)
    assert not sharing_now._leases._leases
    assert port.delivered(message, "r:2", "partner").extension.get("maybe_published") is True, "the journal knows"


def test_who_has_no_name_has_no_lease(port: Port) -> None:
    """Nobody could be told apart from it."""
    message = port.announced("a")
    said = port.delivered(message, "r:1", client="", commit=True).extension
    assert said["state"] == "delivered" and not {"fence", "valid"} & set(said)


@pytest.mark.parametrize("restart", [False, True], ids=["", "after a restart"])
def test_what_is_asked_for_by_its_name_is_confirmed_by_a_position_that_says_nothing(port: Port, restart: bool) -> None:
    """The announcement is forgotten, or was made by another journal of ours."""
    message = port.announced("a")
    port.change("DELETE FROM announcements")  # as in time
    request, other = "r:1", port.announced("b")
    assert port.delivered(message, request, epoch="e:other").type == "file"
    if restart:
        port.restart()
    assert port.commit(message, request, 1)["state"] == "granted"
    assert port.commit(other, request, 1)["state"] == "granted", "whatever position it has by now"
    port.confirm(other, request)
    assert port.transfers()[0][2] == "acknowledged"


def test_of_what_was_asked_for_by_name_only_so_much_is_remembered(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "MOST_UNANNOUNCED", 2)
    for number in range(4):
        port.serving._sharing.asked_by_name(f"r:{number}", number)
    assert port.serving._sharing._unannounced == {"r:2": 2, "r:3": 3}


@pytest.mark.parametrize("restart", [False, True], ids=["", "after a restart"])
def test_an_older_request_of_the_same_client_takes_nothing_from_a_newer_one(port: Port, restart: bool) -> None:
    message = port.announced("a")
    port.delivered(message, "r:1")
    port.delivered(message, "r:2")
    if restart:
        port.restart()
    assert [reply.extension["code"] for reply in port.push(message, "r:1")] == ["busy"]
    assert port.commit(message, "r:2", 2)["state"] == "granted"
    port.confirm(message, "r:2")
    (covered,) = port.push(message, "r:1")
    assert covered.type == "covered"
    assert [row["client"] for row in port.journal.find("transfers_of", (1,))] == ["me"], "it is the same client"
    assert not port.workers.work


def upstream(port: Port, message: Message) -> bytes:
    """What a client of upstream's asks with, again and again."""
    fields = {name: value for name, value in message.fields.items() if name != EXTENSION}
    return ENVELOPE.encode("/t", "push", {**fields, "destination": f"file://localhost{port.destination}/"})


def test_upstream_is_answered_when_the_move_is_over_and_the_same_again_without_another(port: Port) -> None:
    raw = upstream(port, port.announced("a"))
    assert port.send(raw) == [] and port.passes(3 * LONGEST_HOLD) == []
    first = port.moved()
    (again,) = port.send(raw)
    assert (first.type, first.data) == (again.type, again.data) == ("file", first.data)
    assert not port.workers.work


def test_who_waits_for_a_long_move_is_told_how_far_it_is_and_asks_again(port: Port) -> None:
    message = port.announced("a")
    assert port.push(message, "r:1") == []
    (said,) = port.passes(LONGEST_HOLD + 3)
    assert (said.type, said.extension["state"], said.extension["total"]) == ("pending", "moving", 1)
    assert status(port, message, "r:1") == [], "told when it is over"
    of_moves = port.serving._moves
    moving = of_moves.of_request("r:1")
    assert moving is not None
    moving.began, moving.done = moving.began - 10, 1
    port.passes(1)
    assert [row["file"] for row in port.journal.find("under_way", ("s",))] == [1]
    assert port.moved().extension["request"] == "r:1"
    assert not port.journal.find("under_way", ("s",))
    assert not (of_moves._held.total or of_moves._started.total or of_moves._by_request or of_moves._behind)


def test_who_may_not_have_what_others_have_gets_nothing_of_it(port: Port) -> None:
    """Also of the same name: anybody may give himself that."""
    message, there = port.announced("a"), "198.51.100.1"
    assert port.push(message, "r:1") == []
    for client in ("me", "partner"):
        (refused,) = port.push(message, "r:2", client, address=there)
        assert (refused.type, refused.extension["code"]) == ("err", "denied")
    assert port.moved().extension["request"] == "r:1"
    (refused,) = port.push(message, "r:2", "partner", address=there)
    assert (refused.type, refused.extension["code"]) == ("err", "denied")
    assert port.transfers() == [("me", "r:1", "moved", 1, 0, 0)]


def test_who_has_it_already_is_told_so_and_others_of_its_group_are_covered(port: Port) -> None:
    message, other = port.announced("a"), port.announced("b")
    had = [port.delivered(other, "r:0").extension["checksum"]]
    port.origin.joinpath("b").write_text("a")
    checksum = port.delivered(message, "r:1", "third", group="others").extension["checksum"]
    port.destination.joinpath("a").unlink()
    port.change("DELETE FROM removals")
    for request, unless in (("r:2", [*had, checksum]), ("r:2", [checksum])):  # and again
        refused = port.delivered(message, request, unless=unless)
        assert (refused.type, refused.extension["code"]) == ("err", "same")
    assert not port.workers.work and not port.destination.joinpath("a").exists()
    assert [row["file"] for row in port.journal.find("due_removals", ("s", time.time() + 1e6, 9))] == [1]
    (refused,) = port.push(message, "r:3", "partner", unless=had)
    assert (refused.type, refused.extension["code"]) == ("err", "same")
    (covered,) = port.push(message, "r:4", "fourth")
    assert (covered.type, covered.extension["checksum"]) == ("covered", None)
    done = [(row["client"], row["state"]) for row in port.journal.find("transfers_of", (1,)) if row["consumer_group"] == "us"]
    assert sorted(done) == [(client, "acknowledged") for client in ("fourth", "me", "partner")]


def test_what_was_delivered_before_counts_when_it_is_gone_at_its_origin(port: Port) -> None:
    message = port.announced("a")
    checksum = port.delivered(message, "r:1").extension["checksum"]
    port.origin.joinpath("a").unlink()
    port.destination.joinpath("a").unlink()
    reply = port.delivered(message, "r:2")
    assert (reply.type, reply.extension.get("earlier"), reply.extension["checksum"]) == ("file", True, checksum)
    assert port.delivered(message, "r:3", unless=[checksum]).extension["code"] == "same"


def test_contents_of_one_name_go_one_after_the_other(port: Port) -> None:
    for number in (1, 2, 3):
        assert port.push(port.announced("a"), f"r:{number}") == []
    assert len(port.workers.work) == 1, "the older one first"
    port.workers.run()
    port.settle()
    assert [reply.extension["request"] for reply in port.told] == ["r:1", "r:2", "r:3"]
    assert not port.serving._moves._behind


def test_what_an_operator_cancelled_each_client_is_told_once(port: Port) -> None:
    message = port.announced("a")
    assert port.push(message, "r:1") == []
    (told, _) = port.ask("cancel", message, {"request": "r:9", "requests": ["r:1"], "for_all": True})
    assert told.extension["code"] == "cancelled"
    port.workers.run()
    port.settle()
    assert port.journal.find_one("file", (1,))["state"] == "failed", "not given up: others may ask for it"
    for expected in ("cancelled", None):
        told_now = port.push(message, "r:2", "partner")
        assert [reply.extension["code"] for reply in told_now] == ([expected] if expected else [])
    assert port.moved().extension["request"] == "r:2"


@pytest.mark.parametrize("client", ["me", "partner"])
@pytest.mark.parametrize("how", ["fails", "fails, after a restart", "is not over when the server dies"])
def test_that_it_may_be_published_already_is_known_after_another_move_of_it_that(port: Port, how: str, client: str) -> None:
    """A client that lost its journal asks for it anew."""
    message = port.announced("a")
    assert port.delivered(message, "r:1", commit=True).extension["valid"] == VALID
    aside = port.destination.rename(port.root / "aside")
    port.destination.write_text("no directory")
    assert port.push(message, "r:2", commit=True) == []
    if how.startswith("fails"):
        assert port.moved().type == "err"
    else:
        next(iter(port.serving._moves._moving.values())).began -= 10
        port.passes(1)
        assert port.transfers()[0][2] == "moving"
    if how != "fails":
        port.restart()
    port.destination.unlink()
    aside.rename(port.destination)
    said = port.delivered(message, "r:3", client, commit=True).extension
    assert (said["state"], said.get("maybe_published")) == ("delivered", True)
    if (how, client) == ("fails", "me"):
        port.confirm(message, "r:1")
        assert port.transfers()[0][2] == "acknowledged", "what it did before counts"


def test_the_time_of_a_lease_begins_when_the_outcome_is_told(port: Port) -> None:
    message = port.announced("a")
    assert port.push(message, "r:1") == []
    port.passes(LONGEST_HOLD)
    assert port.moved().extension["fence"] == 1
    for _ in range(2):
        port.passes(TTL / 2 - 1)
        assert port.push(message, "r:2", "partner") == []
    assert {reply.type for reply in port.passes(1)} <= {"held"}
    assert port.transfers()[0][0] == "me"


def test_who_was_not_told_the_outcome_asks_for_leave(port: Port) -> None:
    message = port.announced("a")
    assert port.push(message, "r:1", commit=True) == []
    (pending,) = port.passes(LONGEST_HOLD + 2)
    assert pending.type == "pending"
    port.workers.run()
    port.settle()
    assert port.transfers() == [("me", "r:1", "moved", 1, 0, 0)]
    (reply,) = port.push(message, "r:1", commit=True)
    assert "valid" not in reply.extension
    assert port.commit(message, "r:1", 1)["maybe_published"] is False


def test_who_asked_last_for_a_request_is_told(port: Port) -> None:
    """Its client was started again, or has another connection."""
    message = port.announced("a")
    port.delivered(message, "r:1")
    assert port.push(message, "r:2", "partner") == []
    port.passes(LONGEST_HOLD + 2)
    assert status(port, message, "r:2", "partner", address="127.0.0.2") == []
    port.confirm(message, "r:1")
    told = [asker.address for asker, reply in zip(port.askers, port.told, strict=True) if reply.type == "covered"]
    assert told == ["127.0.0.2"]


@pytest.mark.parametrize("commit", [True, False])
def test_an_older_request_takes_over_from_a_newer_one_that_is_gone(port: Port, commit: bool) -> None:
    message = port.announced("a")
    assert port.push(message, "r:1", commit=commit) == port.push(message, "r:2") == []
    assert [reply.extension["code"] for reply in port.push(message, "r:1")] == ["busy"], "it takes nothing from the newer one"
    assert port.moved().extension["request"] == "r:2"
    port.passes(TTL - 1)
    assert status(port, message, "r:1") == []
    (reply,) = port.passes(2)
    said = reply.extension
    assert (said["request"], said["fence"], said.get("valid")) == ("r:1", 3, VALID if commit else None)
    (row,) = port.journal.find("transfers_of", (1,))
    assert (row["request"], row["earlier"], row["committed"]) == ("r:1", "r:2", int(commit))
    found = port.journal.find_one("file", (1,))
    assert found is not None and '["leased"' in found["steps"]
    port.restart()
    port.confirm(message, "r:2")
    assert port.transfers()[0][2] == "acknowledged"


def test_an_older_request_need_not_wait_for_a_newer_one_that_failed(port: Port) -> None:
    message = port.announced("a")
    port.passes(TTL + 1)  # the grace for those that an earlier process knew
    port.destination.rmdir()
    port.destination.write_text("no directory")
    assert port.push(message, "r:1") == port.push(message, "r:2") == []
    port.workers.run()
    port.settle()
    assert [reply.type for reply in port.told] == ["err", "err"]
    port.destination.unlink()
    port.destination.mkdir()
    reply = port.delivered(message, "r:1")
    assert reply.type == "file", reply.data


def test_of_a_list_of_commits_those_that_are_some_are_answered(port: Port) -> None:
    message = port.announced("a")
    port.delivered(message, "r:1")
    where, said = message.extension["offset"], {"client": "me", "group": "us", "epoch": port.journal.epoch}
    bad = ["x", 7, None, {}, [], [where, "r:1"], [where, "r:1", "1"], [where, "r:1", 1.0],
           ["x", "r:1", 1], [0, "r:1", 1], [where, 7, 1]]
    (reply,) = port.ask("commit", message, {**said, "commits": [*bad, [where, "r:1", 1]], "renewals": bad})
    assert [(result["request"], result["state"]) for result in reply.extension["results"]] == [("r:1", "granted")]
    (reply,) = port.ask("commit", message, {**said, "commits": {}, "renewals": 7})
    assert reply.extension["results"] == []
    many = [[where, f"r:{number}", 1] for number in range(MOST_GROUPED + 10)]
    (reply,) = port.ask("commit", message, {**said, "commits": many})
    assert len(reply.extension["results"]) == MOST_GROUPED


def had(port: Port, file: int) -> list[tuple[str, str]]:
    """Who has it, and the state of the file."""
    row = port.journal.find_one("file", (file,))
    assert row is not None
    return [(row["state"], one["client"]) for one in port.journal.find("confirmations", (file,))]


@pytest.mark.parametrize("way", ["confirmed", "covered", "had", "acknowledged", "acknowledged late"])
def test_who_has_a_file_has_it_for_all_sections_that_announced_the_same(port: Port, way: str) -> None:
    """Under one subject they are one file to a client; another content, or under another subject, it asks for by itself. Where an
    upstream client acks what it has from elsewhere it speaks of all."""
    port.announced("before", "s")
    message, _, _, _ = (port.announced("a", "s"), port.announced("a", "alike"), port.announced("a", "alike", "k:another"),
                        port.announced("a", "other"))
    if way == "confirmed":
        port.delivered(message, "r:1", commit=True)
        port.confirm(message, "r:1")
        client = "me"
    elif way == "covered":
        port.delivered(message, "r:1", commit=True)
        assert port.push(message, "r:2", "partner") == []
        port.confirm(message, "r:1")
        client = "partner"
    elif way == "had":
        checksum = port.delivered(message, "r:1", "third", group="others").extension["checksum"]
        assert port.delivered(message, "r:2", "partner", unless=[checksum]).type == "err"
        client = "partner"
    else:
        client, raw = HERE, upstream(port, message).replace(b" push ", b" ack ")
        for stranger in ("198.51.100.7", "::1"):
            assert [reply.type for reply in port.send(raw, stranger)] == ["ack"]
        assert not any(had(port, file) for file in range(1, 6)), "not from anybody"
        if way == "acknowledged late":
            port.change("UPDATE files SET state = 'acknowledged'")
        assert [reply.type for reply in port.send(raw)] == ["ack"]
    assert client in [who for _, who in had(port, 2)]
    everything = way.startswith("ack")
    assert [("acknowledged", client) in had(port, file) for file in (1, 3, 4, 5)] == [False, True, everything, everything]
    waiting = {row["file"] for chain in SECTIONS for row in port.journal.find("due_removals", (chain, time.time(), 99))}
    assert waiting >= ({2, 3, 4, 5} if everything else {3})
    (steps,) = [row["steps"] for row in [port.journal.find_one("file", (3,))]]
    assert steps.count('["acknowledged"') == (2 if way == "acknowledged" else 1), "of a stranger, or a step"


def test_requests_that_wait_take_only_so_much_memory(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moves, "MOST_HELD", 1)
    first, second = port.announced("a"), port.announced("b")
    assert port.push(first, "r:1") == []
    for message in (first, second):
        assert [reply.extension["code"] for reply in port.push(message, "r:2", "partner")] == ["busy"]
    assert port.moved().extension["request"] == "r:1"
    assert port.delivered(second, "r:2", "partner").type == "file"
    third = port.announced("c")
    monkeypatch.setattr(moves, "MOST_HELD", 2**20)
    assert port.push(first, "r:3") == []
    monkeypatch.setattr(moves, "MOST_HELD", 2 * port.serving._moves._held.total)
    for small, room in (10, False), (2**20, True):
        monkeypatch.setattr(moves, "SMALL_REQUEST", small)
        assert (port.push(third, "r:4") == []) is room, "small ones have room left when large ones have theirs"


def test_only_so_many_moves_wait_for_one_peer(port: Port) -> None:
    messages = [port.announced(name) for name in "abcdef"]
    asked = [port.push(message, f"r:{message.fields['uid']}") for message in messages]
    assert [[reply.extension["code"] for reply in told] for told in asked] == [[], [], [], [], ["busy"], ["busy"]]
    assert port.push(messages[4], "r:e", address="::1") == [], "of another one there is room for one"
    port.workers.run()
    port.settle()
    assert port.push(messages[5], "r:f") == []


def test_a_request_whose_move_failed_may_be_repeated_and_the_journal_knows_what_it_is_told(port: Port) -> None:
    message = port.announced("a")
    assert "valid" not in port.delivered(message, "r:1").extension
    aside = port.destination.rename(port.root / "aside")
    port.destination.write_text("no directory")
    assert port.delivered(message, "r:2", commit=True).type == "err"
    port.destination.unlink()
    aside.rename(port.destination)
    said = port.delivered(message, "r:2", commit=True).extension
    assert (said["state"], said["valid"]) == ("delivered", VALID)
    assert port.transfers()[0][4] == 1


def test_a_move_is_told_what_may_have_been_left_and_who_asks(port: Port) -> None:
    message = port.announced("a")
    pushes_made = []

    def push(request: str, **more: Any) -> None:
        assert port.push(message, request, **more) == []
        moving = port.serving._moves.of_request(request)
        assert moving is not None
        pushes_made.append((moving.push.attempt, moving.push.begun, moving.push.stranger, moving.push.peer))
        port.moved()
    push("r:1")
    push("r:2")
    push("r:3", client="other", group="others", address="127.0.0.2")
    assert pushes_made == [(1, False, False, HERE), (2, True, False, HERE), (1, False, False, "127.0.0.2")]
    port.serving.close()
    port.journal.close(clean=False)
    port.loop.close()
    port._start()
    port.stranger = True
    push("r:4", client="fourth", group="fourth")
    message = port.announced("new")
    push("r:5", client="fourth", group="fourth")
    assert pushes_made[3:] == [(1, True, True, HERE), (1, False, True, HERE)], "what an earlier process left nobody knows"


def test_who_is_let_in_when_the_move_has_failed_is_told_to_ask_again(port: Port) -> None:
    message, broken = port.announced("a"), port.destination
    assert port.push(message, "r:1") == []
    said = {**message.extension, "request": "r:2", "client": "partner", "group": "us"}
    data = {**message.fields, "destination": f"file://localhost{broken}/", EXTENSION: said}
    assert port.send(ENVELOPE.encode("/t", "push", data), "127.0.0.2", looks=False) == []
    move, look = port.workers.work
    move.done(MoveError("the network is down"))
    port.settle()
    port.workers.work = [look]
    reply = port.moved()
    assert (reply.extension["request"], reply.extension["code"]) == ("r:2", "busy")


def test_that_somebody_has_the_same_is_known_behind_a_failure(port: Port) -> None:
    message = port.announced("a")
    checksum = port.delivered(message, "r:0", "other", group="others").extension["checksum"]
    aside = port.destination.rename(port.root / "aside")
    port.destination.write_text("no directory")
    assert port.delivered(message, "r:1").extension["code"] not in ("same", None)
    port.destination.unlink()
    aside.rename(port.destination)
    for _ in range(2):
        assert port.delivered(message, "r:1", unless=[checksum]).extension["code"] == "same"
    assert [reply.type for reply in port.push(message, "r:2", "partner")] == ["covered"]


def test_who_asks_for_what_somebody_else_cancelled_gets_it(port: Port) -> None:
    message = port.announced("a")
    assert port.push(message, "r:1") == []
    (told, answer) = port.ask("cancel", message, {"request": "r:9", "requests": ["r:1", "r:x"]})
    assert (told.extension["code"], answer.extension["cancelled"]) == ("cancelled", ["r:1"])
    assert port.push(message, "r:2", "partner") == []
    reply = port.moved()
    assert (reply.type, reply.extension["request"]) == ("file", "r:2")


@pytest.mark.parametrize("later", ["", "told how far it is", "asks again"])
@pytest.mark.parametrize("one", ["r:1", "r:2"])
def test_one_of_two_who_cancels_takes_it_from_no_other(port: Port, one: str, later: str) -> None:
    message, asked = port.announced("a"), {"r:1": "me", "r:2": "partner"}
    (other,) = set(asked) - {one}
    for request, client in asked.items():
        assert port.push(message, request, client, commit=True) == []
    if later:
        assert {reply.type for reply in port.passes(LONGEST_HOLD + 2)} == {"pending"}
    told = port.ask("cancel", message, {"request": "r:9", "requests": [one]})
    assert [reply.extension["request"] for reply in told] == [*([] if later else [one]), "r:9"]
    if later == "asks again":
        assert status(port, message, other, asked[other]) == []
    port.workers.run()
    port.settle()
    port.passes(1)
    if later == "told how far it is":
        assert [reply.type for reply in port.push(message, other, asked[other])] == ["file"], "it need not wait for who is gone"
    delivered = [reply for reply in port.told if reply.type == "file"]
    assert {reply.extension["request"] for reply in delivered} == {other}
    assert port.transfers()[0][:3] == (asked[other], other, "moved")


def test_the_journal_has_who_may_publish_and_not_who_asked_last(port: Port) -> None:
    message = port.announced("a")
    assert port.push(message, "r:1", commit=True) == port.push(message, "r:2", "partner", commit=True) == []
    assert {reply.type for reply in port.passes(LONGEST_HOLD + 2)} == {"pending"}
    assert status(port, message, "r:1") == []
    assert port.moved().extension["valid"] == VALID
    assert port.transfers() == [("me", "r:1", "moved", 1, 1, 0)]


def test_nothing_is_taken_on_that_cannot_be_written(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    message = port.announced("a")
    port.delivered(message, "r:1", commit=True)
    second = port.announced("b")
    monkeypatch.setattr(Journal, "full", True)
    (busy,) = port.push(second, "r:2")
    assert busy.extension["code"] == "busy"
    for said in ({"request": "r:9", "requests": [[message.extension["offset"], "r:1"]]}, {}):
        assert [reply.type for reply in port.ask("ack", message, said)] == ["err"]
    assert port.transfers()[0][2] == "moved"


def test_a_request_for_where_nothing_can_be_moved_to_leaves_nothing(port: Port) -> None:
    message = port.announced("a")
    said = {**message.extension, "request": "r:1", "client": "me", "group": "us"}
    (reply,) = port.send(ENVELOPE.encode("/t", "push", {**message.fields, "destination": "bogus://host/in/", EXTENSION: said}))
    assert reply.type == "err"
    assert not len(port.serving._moves) and not port.serving._moves._started.total and not port.serving._moves._behind


def test_of_what_an_operator_cancelled_only_so_much_is_remembered(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moves, "MOST_CANCELLED", 1)
    messages = {name: port.announced(name) for name in "ab"}
    for name, message in messages.items():
        assert port.push(message, f"r:{name}") == []
        port.ask("cancel", message, {"request": "r:9", "requests": [f"r:{name}"], "for_all": True})
    port.workers.run()
    port.settle()
    told = {name: port.push(message, f"r:{name}2", "partner") for name, message in messages.items()}
    assert [[reply.extension["code"] for reply in replies] for replies in told.values()] == [[], ["cancelled"]]


@pytest.mark.parametrize("announced", [True, False])
def test_of_a_file_that_was_replaced_is_told_whether_the_new_one_will_be_announced(port: Port, announced: bool) -> None:
    message = port.announced("a")
    port.origin.joinpath("a").write_text("other content")
    looked = []

    def look_again(file: int, path: str, then: Callable[[bool], Any]) -> None:
        looked.append((file, path))
        then(announced)
    port.serving.chains["s"] = replace(port.serving.chains["s"], look_again=look_again)
    said = port.delivered(message, "r:1").extension
    assert (said["code"], said["permanent"]) == ("changed", not announced)
    assert looked == [(1, f"{port.origin}/a")]


@pytest.mark.parametrize("same", [True, False])
def test_what_another_section_announced_is_delivered_where_this_one_announced_the_same(port: Port, same: bool) -> None:
    """The other one is asked at another port by now."""
    port.announced("a")
    message = port.announced("a", "other")
    port.serving.remove("other")
    if not same:
        port.change("UPDATE files SET size = 7 WHERE chain = 's'")
    told = port.delivered(message, "r:1")
    assert (told.type, told.extension.get("code")) == (("file", None) if same else ("err", "changed"))


def test_what_is_gone_is_looked_for_again_when_the_journal_knows_that_it_was_given_up(port: Port) -> None:
    """It may be there again: who saw it come before that took it for what is announced already."""
    message = port.announced("a")
    port.origin.joinpath("a").unlink()
    looked = []

    def look_again(file: int, path: str, then: Callable[[bool], Any]) -> None:
        looked.append((path, port.journal.find_one("file", (file,))["state"]))
    port.serving.chains["s"] = replace(port.serving.chains["s"], look_again=look_again)
    assert port.delivered(message, "r:1").extension["code"] == "gone"
    assert looked == [(f"{port.origin}/a", "given_up")]


class Elsewhere:
    """Where files come from that are not here when they are asked for; somebody takes them away again as often as it is told."""

    def __init__(self, port: Port, taken: int):
        self.port, self.taken, self.brought = port, taken, 0

    def members(self, message: Message, row: Any) -> tuple[Member, ...]:
        return members(message, row)

    def bring(self, moving: Moving, then: Callable[[Any], Any]) -> None:
        self.brought += 1
        path = self.port.origin / "a"
        path.write_text("a" * 7)
        status = path.stat()
        then((Member(Announced(str(path), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns), None),))
        if self.brought <= self.taken:
            path.unlink()


@pytest.mark.parametrize("taken", [0, 2, 5])
def test_what_is_taken_away_between_its_coming_and_its_move_is_brought_again_a_few_times(port: Port, taken: int) -> None:
    message, supply = port.announced("a"), Elsewhere(port, taken)
    port.serving.chains["s"] = replace(port.serving.chains["s"], supply=supply)
    assert port.push(message, "r:1", commit=True) == []
    moving = port.serving._moves.of_request("r:1")
    assert moving is not None and moving.total == 7, "the size of what came"
    reply = port.moved()
    assert reply.type == ("file" if taken < moves.MOST_BROUGHT else "err")
    assert supply.brought == min(taken + 1, moves.MOST_BROUGHT)


@pytest.mark.parametrize("named", [True, False])
def test_an_upstream_client_acks_what_it_got_and_not_what_another_one_of_its_machine_got(port: Port, named: bool) -> None:
    """That one says by itself when it has published it."""
    message, there = port.announced("a"), "127.0.0.2"
    if named:
        assert port.push(message, "r:1", address=there) == []
    else:
        assert port.send(upstream(port, message), there) == []
    assert port.moved().type == "file"
    said = {**message.extension, "request": "r:9", "client": there, "group": "us"}
    assert [reply.type for reply in port.ask("ack", message, said, "198.51.100.7")] == ["ack"]
    assert port.journal.find_one("file", (1,))["state"] == "moved", "not who calls itself so"
    assert [reply.type for reply in port.send(upstream(port, message).replace(b" push ", b" ack "), there)] == ["ack"]
    assert bool(had(port, 1)) is not named
    row = port.journal.find_one("file", (1,))
    assert row is not None and row["state"] == ("moved" if named else "acknowledged")


@pytest.mark.parametrize(("priority", "there", "again", "doubt"), [
    (1, True, False, True), (0, True, False, False), (1, False, False, False), (1, True, True, False)])
def test_a_spare_is_told_that_somebody_of_no_group_of_its_put_it_there(port: Port, priority: int, there: bool, again: bool,
                                                                       doubt: bool) -> None:
    """Such as an upstream primary; what an earlier try of ours may have left there nobody else did."""
    message = port.announced("a")
    if again:
        assert port.push(message, "r:1", priority=priority) == []
        port.workers.work.pop().done(MoveError("the network is down"))
        port.settle()
    if there:
        (port.destination / "a").write_text("a")
    said = port.delivered(message, "r:1", commit=True, priority=priority).extension
    assert (said["state"], said.get("maybe_published", False)) == ("delivered", doubt)
    assert port.transfers()[0][5] == int(doubt)


def test_what_arrived_unseen_is_delivered_and_stays(port: Port) -> None:
    for name, verified in ("a", "size"), ("b", "none"):
        assert port.push(port.announced(name), f"r:{name}") == []
        port.workers.work.pop().done([Receipt(f"ftp://host/{name}", 1, None, verified, 1)])
        port.settle()
    assert [reply.type for reply in port.told] == ["file", "file"]
    assert [row["file"] for row in port.journal.find("due_removals", ("s", time.time() + 1e6, 9))] == [1]


def test_of_failed_moves_of_a_file_only_so_many_are_kept(port: Port) -> None:
    """Who asks chooses the destination, and may choose ever another one."""
    message = port.announced("a")
    for number in range(105):
        said = {**message.extension, "request": f"r:{number}", "client": "me", "group": "us"}
        data = {**message.fields, "destination": f"file://localhost{port.destination}/{number}/", EXTENSION: said}
        assert port.send(ENVELOPE.encode("/t", "push", data)) == []
        port.workers.work.pop().done(MoveError("the network is down"))
        port.settle()
    assert len(port.transfers()) == 100


def test_another_one_of_the_group_is_covered_by_who_has_the_same_while_it_waits(port: Port) -> None:
    message = port.announced("a")
    checksum = port.delivered(message, "r:0", "other", group="others").extension["checksum"]
    assert port.push(message, "r:1", unless=[checksum]) == port.push(message, "r:2", "partner") == []
    port.workers.run()
    port.settle()
    told = {reply.extension["request"]: (reply.type, reply.extension.get("code")) for reply in port.told[1:]}
    assert told == {"r:1": ("err", "same"), "r:2": ("covered", None)}


def test_of_a_list_of_confirmations_those_that_are_some_count(port: Port) -> None:
    message = port.announced("a")
    port.delivered(message, "r:1", commit=True)
    requests = [7, None, "x", {}, [], [1], ["x", "r:1"], [1, 2], [message.extension["offset"], "r:1"]]
    port.change("UPDATE removals SET due = 1e12")
    replies = port.ask("ack", message, {"request": "r:9", "requests": requests})
    assert [(reply.type, reply.extension["request"]) for reply in replies] == [("ack", "r:9")]
    assert port.transfers()[0][2] == "acknowledged"
    assert port.journal.find("due_removals", ("s", time.time(), 1)), "one less is waited for"


@pytest.mark.parametrize("priority", [0, 1], ids=["primary", "spare"])
@pytest.mark.parametrize("known_only", [False, True])
def test_for_another_section_a_spare_is_no_consumer_and_what_it_only_knows_no_file(port: Port, priority: int,
                                                                                    known_only: bool) -> None:
    message = port.announced("a")
    port.announced("a", "alike")
    if known_only:
        port.change("UPDATE files SET steps = '' WHERE id = 2")
    port.delivered(message, "r:1", commit=True, priority=priority)
    port.confirm(message, "r:1")
    assert bool(had(port, 2)) is not known_only
    assert bool(port.serving.chains["alike"].removing.consumers._served) is (priority == 0 and not known_only)


def test_who_has_forgotten_its_fence_has_leave_for_its_newest_request_alone(port: Port) -> None:
    message = port.announced("a")
    port.delivered(message, "r:1")
    assert port.push(message, "r:2") == []
    assert port.commit(message, "r:1", 0)["state"] == "held", "its newer one is under way"
    assert port.moved().extension["fence"] == 2
    assert port.commit(message, "r:2", 0) == {
        "request": "r:2", "state": "granted", "valid": VALID, "fence": 2, "maybe_published": False}


@pytest.mark.parametrize("kind", ["ping", "push", "ack", "commit"])
@pytest.mark.parametrize(("topics", "subject", "listens"), [(["/t"], "/other", False), (["/t", "/other"], "/other", True),
                                                            (None, "/other", True), ([1], "/other", True)])
def test_any_request_of_a_consumer_tells_what_it_listens_to(port: Port, kind: str, topics: Any, subject: str,
                                                            listens: bool) -> None:
    """Also one that is refused. What an earlier one told stays."""
    message = port.announced("a")
    said = {"request": "r:1", "client": "me", "group": "us", **({} if topics is None else {"topics": topics})}
    port.ask(kind, message, {**said, "topics": ["/first"]})
    port.ask(kind, message, said)
    assert port.topics.may_listen(("me", "us"), "/first")
    assert port.topics.may_listen(("me", "us"), subject) is listens


def test_many_requests_in_one_tell_it_as_well(port: Port) -> None:
    message = port.announced("a")
    said = {"epoch": port.journal.epoch, "client": "me", "group": "us", "topics": ["/t"],
            "pushes": [[message.extension["offset"], "r:1"]]}
    port.send(ENVELOPE.encode("/t", "push", {"destination": f"file://localhost{port.destination}/", EXTENSION: said}))
    assert not port.topics.may_listen(("me", "us"), "/other")
    port.restart()
    assert not port.topics.may_listen(("me", "us"), "/other")
