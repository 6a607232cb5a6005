"""Who waits for a move, and what they are told when it is over."""

from __future__ import annotations

import gc
import os
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.auditing import audited
from tests.support.eventually import eventually
from tests.support.held_workers import HeldWorkers
from trollmoves.bus import Asker, Loop, few_lines
from trollmoves.config.reading import read_server_config
from trollmoves.errors import Cancelled, MoveError, OriginChanged, OriginGone
from trollmoves.journal import Journal
from trollmoves.lifecycle import State
from trollmoves.messages import EXTENSION, Envelope, Message, decode
from trollmoves.movers.base import Receipt
from trollmoves.movers.sessions import Sessions
from trollmoves.server.acknowledging import Acknowledging
from trollmoves.server.alike import Alike
from trollmoves.server.answers import Answers
from trollmoves.server.moves import Moves
from trollmoves.server.pushing import Push, Pushing
from trollmoves.server.refusals import Refusals
from trollmoves.server.removing import Removing
from trollmoves.server.replies import Replies
from trollmoves.server.requests import Waiter, members
from trollmoves.server.rights import NotAllowed
from trollmoves.server.sharing import Sharing
from trollmoves.server.small_moves import SmallMoves
from trollmoves.server.transfer import Moving, Served
from trollmoves.uris import parse_destination

ENVELOPE = Envelope("somebody@here")


class Bench:
    """Moves whose work is done, and whose journal is written, when the test says so."""

    def __init__(self, root: Path):
        config = root / "server.ini"
        config.write_text(f"[one]\norigin = {root}/{{a}}\ntopic = /t\nrequest_port = 9094\nbandwidth_per_host = 1M\n")
        settings, roots = read_server_config(config).chains["one"], (str(root),)
        self.loop, self.workers = Loop(), HeldWorkers()
        self.calls: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self.journal = Journal(root / "journal", self.calls.extend, lambda error: None)
        self.told: list[Message] = []
        self.kept: list[list[str]] = []
        """What the journal had of moves of the file when each of them was told."""
        replies = Replies(ENVELOPE)
        answers = Answers(self.loop, replies, self.tell)
        chains: dict[str, Served] = {}
        self.alike = Alike(self.journal, chains)
        self.sharing = Sharing(self.journal, self.alike, answers, replies, self.tell)
        self.refusals = Refusals(self.loop, self.journal)
        self.moves = Moves(self.loop, self.journal, self.workers, SmallMoves(self.loop), answers, self.sharing, self.refusals)
        self.served = Served(settings, Pushing(settings, roots), Removing(settings, roots, self.journal, self.loop, self.workers))
        chains[settings.name] = self.served
        self.file = {"path": os.fsencode(root / "a"), "device": 0, "inode": 0, "size": 1000, "mtime_ns": 0}

    def tell(self, asker: Asker, raw: bytes) -> None:
        self.told.append(decode(raw))
        self.kept.append([row["state"] for row in self.journal.find("transfers_of", (1,))])

    def start(self, waiter: Waiter, transfer: str = "0123456789abcdef", directory: str = "in") -> Moving:
        """A move that *waiter* asks for, on its way to a worker."""
        destination = parse_destination(f"file://localhost/{directory}/")
        push = Push(transfer, members(waiter.message, self.file), destination, (), waiter.asker.address, 1)
        moving = Moving(push, 1, self.served, 1000, waiter.message, waiter.request, False, waiter.consumer, [])
        self.moves.start(moving, waiter)
        self.moves.submit()
        return moving

    def write(self) -> None:
        """Have the journal write what was noted, and those told who wait for that."""
        while self.calls:
            call, arguments = self.calls.pop(0)
            call(*arguments)

    def close(self) -> None:
        self.journal.close()
        self.loop.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.close()


def asks(request: str) -> Waiter:
    said = {"request": request, "client": "me", "group": "us"}
    message = decode(ENVELOPE.encode("/t", "push", {"uid": "a", "uri": "/a", "destination": "file:///in/", EXTENSION: said}))
    return Waiter.of(Asker(b"peer", "127.0.0.1"), message, 0.0)


def ended(bench: Bench) -> Cancelled:
    """How the worker ends what was cancelled."""
    with pytest.raises(Cancelled) as found:
        bench.workers.work[0].run(Sessions())
    return found.value


@pytest.mark.parametrize("when", ["before the loop knows", "before it is written"])
def test_who_asks_for_what_was_cancelled_and_has_ended_may_ask_again(bench: Bench, when: str) -> None:
    moving = bench.start(asks("r:first"))
    assert bench.moves.cancel("r:first")
    error = ended(bench)
    if when == "before the loop knows":
        bench.moves.join(moving, asks("r:second"))
    bench.workers.work[0].done(error)
    if when == "before it is written":
        bench.moves.join(moving, asks("r:second"))
    bench.loop.turn(0.0)
    bench.write()
    told = {reply.extension["request"]: (reply.extension["code"], reply.extension["permanent"]) for reply in bench.told}
    assert told == {"r:first": ("cancelled", True), "r:second": ("busy", False)}
    assert not len(bench.moves)


def test_who_asks_anew_while_the_outcome_is_written_can_confirm_by_that_request(bench: Bench) -> None:
    """Its client was started again."""
    moving = bench.start(asks("r:first"))
    moving.lease = bench.sharing.begin(moving.push.transfer, asks("r:first"), None)
    bench.workers.work[0].done([Receipt("file:///in/a", 1000, "xxh3:1", "sum", 1)])
    bench.loop.turn(0.0)
    bench.moves.join(moving, asks("r:second"))  # the journal is writing

    def told() -> bool:
        bench.write()
        bench.loop.turn(0.0)
        return bool(bench.told)
    eventually(told, message="who asked is told")
    delivered = {reply.extension["request"]: reply for reply in bench.told if reply.extension.get("confirm")}
    assert set(delivered) == {"r:second"}
    kept = bench.journal.find_one("transfer", (1, moving.push.transfer))
    assert kept is not None
    assert (kept["request"], kept["earlier"], kept["fence"]) == ("r:second", "r:first", moving.lease.fence if moving.lease else 0)
    assert not len(bench.moves)


def test_who_asks_anew_while_another_outcome_is_written_with_its_own_keeps_nobody_waiting(bench: Bench) -> None:
    """What is in the journal is told, each once."""
    anew, other = bench.start(asks("r:first")), bench.start(asks("r:other"), "fedcba9876543210", "there")
    for moving, waiter, work in zip((anew, other), (asks("r:first"), asks("r:other")), list(bench.workers.work), strict=True):
        moving.lease = bench.sharing.begin(moving.push.transfer, waiter, None)
        work.done([Receipt("file:///in/a", 1000, "xxh3:1", "sum", 1)])
    bench.loop.turn(0.0)
    bench.moves.join(anew, asks("r:second"))  # the journal is writing
    while len(confirmed := [reply.extension["request"] for reply in bench.told if reply.extension.get("confirm")]) < 2:
        eventually(lambda: bench.calls, message="it is written")
        bench.write()
        bench.loop.turn(0.0)
    assert sorted(confirmed) == ["r:other", "r:second"]
    assert not len(bench.moves)


@pytest.mark.parametrize(("outcome", "state"), [
    ([Receipt("file:///in/a", 1000, "xxh3:1", "sum", 1)], "moved"), (MoveError("no"), "failed"),
    (OriginGone("gone"), "given_up")])
@pytest.mark.parametrize("leased", [True, False])
def test_nobody_is_told_what_the_journal_does_not_have(bench: Bench, outcome: list[Receipt] | MoveError, state: str,
                                                       leased: bool) -> None:
    """A client publishes and forgets what it is told, and a server that died in between would know nothing of it."""
    moving = bench.start(asks("r:first"))
    if leased:
        moving.lease = bench.sharing.begin(moving.push.transfer, asks("r:first"), None)
    bench.workers.work[0].done(outcome)
    bench.loop.turn(0.0)

    def told() -> bool:
        bench.write()
        bench.loop.turn(0.0)
        return bool(bench.told)
    eventually(told, message="who asked is told")
    assert bench.kept == [[state]]


def test_a_confirmation_is_answered_when_the_journal_has_it(bench: Bench) -> None:
    """The client forgets what was answered, and what nobody has confirmed is never removed."""
    acknowledging = Acknowledging(bench.journal, ENVELOPE, bench.loop.names, bench.alike, bench.sharing, bench.tell)
    place = bench.file["path"], 0, 0, 0, None, None, None, 0, 0.0
    bench.journal.write([("add_file", [(1, "one", "a", "k", State.ANNOUNCED, 0.0, "", None, 1000, *place)]),
                         ("add_announcement", [(1, 1, "/t", 0, "text", 0.0)])])
    bench.start(asks("r:first"))
    bench.workers.work[0].done([Receipt("file:///in/a", 1000, "xxh3:1", "sum", 1)])
    bench.loop.turn(0.0)

    def told(count: int) -> bool:
        bench.write()
        bench.loop.turn(0.0)
        return len(bench.told) == count
    eventually(lambda: told(1), message="who asked is told")
    for count, requests in enumerate(([[1, "r:another"], [1, "r:"], ["x", 7]], [[1, "r:another"], [1, "r:first"]]), start=2):
        said = {"request": f"r:{count}", "requests": requests}
        acknowledging.confirm(Asker(b"peer", "127.0.0.1"), decode(ENVELOPE.encode("/t", "ack", {EXTENSION: said})))
        eventually(partial(told, count), message="who confirms is answered")
        assert bench.told[-1].type == "ack" and bench.told[-1].extension["request"] == f"r:{count}"
    assert bench.kept == [["moved"], ["moved"], ["acknowledged"]], "only the request that it was delivered for"


def test_an_operator_cancels_what_was_asked_for_with_a_request_of_another_move(bench: Bench) -> None:
    """Who asks again by name may be understood to mean another row of the journal."""
    first = bench.start(asks("r:first"))
    bench.moves.join(first, asks("r:second"))
    bench.start(asks("r:second"), "another")
    bench.moves.cancel("r:second")
    assert bench.moves.cancel("r:first", for_all=True)
    assert [reply.extension["code"] for reply in bench.told] == ["cancelled"] * 3
    assert first.cancelled


def test_nothing_is_left_of_a_port_that_was_closed(bench: Bench) -> None:
    """A reload may give a section another port, again and again; a move that runs meanwhile is still journaled."""
    bench.start(asks("r:first"))
    bench.moves.close()

    def is_noted() -> bool:
        moving = bench.moves.of_request("r:first")
        return moving is not None and moving.noted

    def turned(check: Callable[[], object]) -> object:
        bench.loop.turn(0.05)
        bench.write()
        return check()
    eventually(lambda: turned(is_noted), interval=0.0, message="it takes more than a second")
    bench.workers.work.pop().done(Cancelled("ended"))
    bench.loop.turn(0.0)
    bench.write()
    left = weakref.ref(bench.moves)
    del bench.moves
    eventually(lambda: turned(lambda: gc.collect() >= 0 and left() is None), interval=0.0, message="nobody holds on to it")


@pytest.mark.parametrize("error", [OriginGone("gone"), OriginChanged("changed")])
@pytest.mark.parametrize("announced", [1, 2])
def test_what_cannot_be_had_any_more_is_nobodys_loss_once_newer_content_was_announced(
        bench: Bench, error: MoveError, announced: int) -> None:
    path = bench.file["path"]
    rows = [(file, "one", "a", f"k:{file}", State.ANNOUNCED, 1.0, "", None, 1000, path, 0, 0, file, None, None, None, 0, 1.0)
            for file in range(1, announced + 1)]
    bench.journal.write([("add_file", rows)])
    bench.start(asks("r:first"))
    bench.workers.work[0].done(error)
    bench.loop.turn(0.0)

    def told() -> bool:
        bench.write()
        return bool(bench.told)
    eventually(told, message="who asked is told")
    found = bench.journal.find_one("file", (1,))
    assert found is not None and found["state"] == (State.GIVEN_UP if announced == 1 else State.COVERED)


def test_a_move_that_is_over_is_not_shown_as_under_way(bench: Bench) -> None:
    """Its outcome takes a disk that stalls more than a second to write: how far it was is not noted behind that."""
    place = b"/a", 0, 0, 0, None, None, None, 0, 0.0
    bench.journal.write([("add_file", [(1, "one", "a", "k", State.ANNOUNCED, 0.0, "", None, 1000, *place)])])
    bench.write()
    moving = bench.start(asks("r:first"))
    moving.began, moving.done = moving.began - 10, moving.total
    bench.workers.work[0].done([Receipt("file:///in/a", 1000, "xxh3:1", "sum", 1)])
    for _ in range(12):  # the journal is writing, and a second passes
        bench.loop.turn(0.2)
    written: list[bool] = []
    bench.journal.write([], written.append, True)

    def told() -> bool:
        bench.write()
        bench.loop.turn(0.0)
        return bool(bench.told and written)
    eventually(told, message="who asked is told")
    assert not bench.journal.find("under_way", ("one",))


def test_who_may_not_have_what_is_moved_for_others_is_in_log_and_audit(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    moving, waiter = bench.start(asks("r:1")), asks("r:2")
    bench.moves.admit(moving.push, bench.served, waiter, lambda: None)
    bench.workers.work[-1].done(NotAllowed("not allowed for 127.0.0.1"))
    assert [message.type for message in bench.told] == ["err"]
    assert bench.journal.audit.write_out() == ""
    (record,) = audited(bench.journal.path)
    assert (record["what"], record["id"], record["client"], record["code"]) == ("refused", "r:2", "me", "denied")
    assert f"refused push of 127.0.0.1: not allowed for 127.0.0.1 (audit {record['number']})" in caplog.text


def test_moves_that_fail_again_and_again_neither_count_as_refused_nor_keep_refusals_from_the_audit(
        bench: Bench, tmp_path: Path) -> None:
    for _ in range(few_lines.SAID + 10):
        bench.start(asks("r:first"))
        bench.workers.work.pop().done(MoveError("it is full"))
        bench.write()
    bench.refusals._failed._sum_up()
    bench.refusals._refused._sum_up()
    assert not bench.journal.audit.waits
    bench.start(asks("r:second"))
    bench.workers.work.pop().done(NotAllowed("not there"))
    bench.journal.audit.write_out()
    assert [record["why"] for record in audited(tmp_path / "journal", "refused")] == ["not there"]


@pytest.mark.parametrize("error", [NotAllowed("not there"), MoveError("it is full")])
@pytest.mark.parametrize("noted", [True, False])
def test_what_a_stranger_may_not_have_is_what_it_was_for_all_others(bench: Bench, error: MoveError, noted: bool) -> None:
    """Unless the journal says already that it is moved."""
    place = b"/a", 0, 0, 0, None, None, None, 0, 0.0
    bench.journal.write([("add_file", [(1, "one", "a", "k", State.ANNOUNCED, 0.0, "", None, 1000, *place)])])
    moving = bench.start(asks("r:first"))
    if noted:
        bench.journal.write(moving.progress(0.0))
    bench.workers.work[0].done(error)
    bench.loop.turn(0.0)

    def told() -> bool:
        bench.write()
        return bool(bench.told)
    eventually(told, message="who asked is told")
    found = bench.journal.find_one("file", (1,))
    refused = isinstance(error, NotAllowed)
    assert found["state"] == (State.ANNOUNCED if refused and not noted else State.GIVEN_UP if refused else State.FAILED)
    assert str(error) in found["steps"]
