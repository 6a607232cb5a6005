"""What gets lost on the way between a client and a provider that lives: it is noticed, and asked for again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import zmq

from tests.support.ports import free_port
from trollmoves.bus import Loop, Requesters
from trollmoves.bus.catching_up import CatchUp
from trollmoves.bus.publishing import LONGEST_SUBSCRIPTION, Publisher
from trollmoves.bus.requesting import Requester
from trollmoves.messages import EXTENSION, Announcement, Envelope, Message, decode, read_announcement

ENVELOPE = Envelope("somebody@here")
EPOCH = "e:0123456789abcdef"


class Provider:
    """A request port that answers as it is told, when it is told."""

    def __init__(self, context: zmq.Context[Any]):
        self.socket = context.socket(zmq.ROUTER)
        self.port = self.socket.bind_to_random_port("tcp://127.0.0.1")

    def answer(self, kind: str, **said: Any) -> Message | None:
        """Take one request, if there is one, and answer it."""
        if not self.socket.poll(0):
            return None
        identity, _, raw = self.socket.recv_multipart()
        asked = decode(raw)
        if kind:
            data = {EXTENSION: {"request": asked.extension["request"], **said}}
            self.socket.send_multipart([identity, b"", ENVELOPE.encode(asked.subject, kind, data)])
        return asked


@pytest.fixture
def provider() -> Iterator[Provider]:
    context: zmq.Context[Any] = zmq.Context()
    found = Provider(context)
    yield found
    found.socket.close(0)
    context.term()


def turning(loop: Loop, check: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Let *loop* work until *check* returns something true."""
    deadline = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < deadline, "not in time"
        loop.turn(0.02)
    return found


def announcement(offset: int, previous: int, port: int, epoch: str = EPOCH) -> Announcement:
    address = f"127.0.0.1:{port}"
    data = {"uid": f"f{offset}", "uri": f"/f{offset}", "request_address": address,
            EXTENSION: {"epoch": epoch, "offset": offset, "previous": previous, "address": address}}
    return read_announcement(decode(ENVELOPE.encode("/a", "file", data)))


def beat(head: int, since: int, port: int, epoch: str = EPOCH) -> Message:
    said = {"epoch": epoch, "head": head, "since": since, "heads": {"/a": head}, "address": f"127.0.0.1:{port}", "started": 1}
    return decode(ENVELOPE.encode("/heartbeat/move_it_server", "beat", {EXTENSION: said}))


def test_a_heartbeat_does_not_close_a_gap_that_could_not_be_asked_for(provider: Provider) -> None:
    loop = Loop()
    requesters = Requesters(loop, ENVELOPE)
    cursors: list[int] = []

    def page(messages: list[Message], epoch: str, position: int, then: Callable[[], Any]) -> None:
        cursors.append(position)
        then()
    following = CatchUp(loop, requesters, "provider", ["/a"], "client", cursor=(EPOCH, 100), past=0.0, page=page,
                        moved_on=lambda epoch, position: cursors.append(position), restarted=lambda address: None,
                        alarm=lambda text: None)
    answered = requesters.ours("127.0.0.1", provider.port, EPOCH)
    following.announced(announcement(102, 101, provider.port))  # 101 got lost
    turning(loop, lambda: provider.answer("err"))
    turning(loop, lambda: len(answered) == 0)
    following.beat(beat(102, 100, provider.port))
    assert not cursors, "101 was never here"
    asked = turning(loop, lambda: provider.answer("replay", epoch=EPOCH, to=102, messages=[], more=False))
    assert asked.extension["since"] == 100
    turning(loop, lambda: cursors == [102])
    requesters.close()
    loop.close()


class Following:
    """Follows a provider from position 10 on; its pages are in the journal when the test says so."""

    def __init__(self, provider: Provider, cursor: tuple[str, int] | None = (EPOCH, 10), past: float = 0.0):
        self.loop = Loop()
        self.port = provider.port
        self._provider = provider
        self._requesters = Requesters(self.loop, ENVELOPE)
        self.journaled: list[Callable[[], Any]] = []
        self.cursors: list[tuple[str, int]] = []
        self.catch_up = CatchUp(
            self.loop, self._requesters, "provider", ["/a"], "client", cursor=cursor, past=past,
            page=lambda messages, epoch, position, then: self.journaled.append(then),
            moved_on=lambda epoch, position: self.cursors.append((epoch, position)), restarted=lambda address: None,
            alarm=lambda about, text: None)

    def beat(self, head: int, since: int, epoch: str = EPOCH) -> None:
        self.catch_up.beat(beat(head, since, self.port, epoch))

    def asks(self, to: int, epoch: str = EPOCH, *, more: bool = False) -> dict[str, Any]:
        """Wait for a question, answer that the journal has nothing for us up to *to*, and have the answer taken."""
        asked = turning(self.loop, lambda: self._provider.answer("replay", epoch=epoch, to=to, messages=[], more=more))
        turning(self.loop, lambda: self.journaled)
        return dict(asked.extension)

    def is_quiet(self) -> bool:
        """Whether nothing is asked."""
        for _ in range(10):
            self.loop.turn(0.02)
        return not self._provider.socket.poll(0)

    def close(self) -> None:
        self.catch_up.close()
        self._requesters.close()
        self.loop.close()


@pytest.fixture
def following(provider: Provider) -> Iterator[Following]:
    found = Following(provider)
    yield found
    found.close()


def test_a_page_of_the_old_journal_says_nothing_of_the_new_one(following: Following) -> None:
    """It is being written here when the new journal is heard of."""
    following.beat(5000, 5000)
    assert following.asks(5000)["since"] == 10
    following.beat(3000, 3000, epoch="e:new")
    following.journaled.pop()()
    asked = following.asks(3000, "e:new")
    assert (asked["epoch"], asked["since"]) == ("e:new", 0)


def test_what_came_of_the_old_journal_closes_no_gap_of_the_new_one(following: Following) -> None:
    """It is an answer that tells of the new one, and its numbers begin anew."""
    following.catch_up.announced(announcement(12, 11, following.port))
    following.catch_up.announced(announcement(50, 12, following.port))
    assert following.asks(20, "e:new")["since"] == 10
    following.journaled.pop()()
    following.beat(40, 20, epoch="e:new")
    assert following.cursors == [], "nothing after 20 was ever here"
    assert following.asks(40, "e:new")["since"] == 20


def test_what_is_published_later_than_what_came_after_it_is_asked_for_until_it_comes(following: Following) -> None:
    following.catch_up.announced(announcement(12, 11, following.port))
    assert following.asks(10)["since"] == 10  # the publisher may not publish 11 yet
    following.journaled.pop()()
    assert following.is_quiet()
    following.beat(12, 10)
    assert not following.cursors, "11 was never here"
    assert following.asks(12)["since"] == 10


def test_a_heartbeat_says_nothing_of_what_was_published_before_those_it_counts(following: Following) -> None:
    """All that it names is here, but not what got lost, of another subject, between our position and where it begins."""
    following.catch_up.announced(announcement(20, 10, following.port))
    following.beat(20, 15)
    assert following.asks(20)["since"] == 10
    assert following.cursors == []


def test_no_name_is_kept_that_would_fill_the_disk(following: Following) -> None:
    following.beat(0, 0, "e:another")
    following.beat(0, 0, "e:" + "x" * 1000)
    following.catch_up.announced(announcement(1, 0, following.port, "e:" + "x" * 1000))
    assert following.cursors == [("e:another", 0)]


@pytest.mark.parametrize("head", [0, 20])
def test_only_the_first_questions_of_a_new_client_leave_out_what_is_old(provider: Provider, head: int) -> None:
    """The clock of the publisher may be so far behind that all it publishes looks old here."""
    following = Following(provider, cursor=None, past=1800.0)
    following.beat(head, head)
    if head:
        assert following.asks(10, more=True)["newer_than"] > 0
        following.journaled.pop()()
        assert following.asks(20)["newer_than"] > 0
        following.journaled.pop()()
    following.catch_up.announced(announcement(22, 21, provider.port))  # 21 got lost
    assert following.asks(22)["newer_than"] == 0
    following.close()


def test_a_request_that_got_lost_is_asked_again_while_others_are_answered(provider: Provider) -> None:
    loop = Loop()
    requester = Requester(loop, ENVELOPE, "127.0.0.1", provider.port, silence=0.5)
    outcomes: list[Message | None] = []

    def ask(request: str, answered: Callable[[Message | None], Any]) -> None:
        requester.ask(request, "/a", "push", {EXTENSION: {"request": request}}, answered)
    ask("r:lost", outcomes.append)
    turning(loop, lambda: provider.answer(""))  # taken, and never answered
    others = 0

    def served() -> bool:
        nonlocal others
        others += 1
        ask(f"r:{others}", lambda reply: None)
        while provider.answer("file"):
            pass
        requester.sweep()
        return bool(outcomes)
    turning(loop, served)
    assert outcomes[0] is not None
    assert outcomes[0].type == "file"
    requester.close()
    loop.close()


def test_who_is_said_to_be_started_anew_again_and_again_can_answer_all_the_same(provider: Provider) -> None:
    """Anybody may say so of it; and with the connection goes what it was about to answer."""
    loop = Loop()
    requester = Requester(loop, ENVELOPE, "127.0.0.1", provider.port)
    outcomes: list[Message | None] = []
    requester.ask("r:1", "/a", "push", {EXTENSION: {"request": "r:1"}}, outcomes.append)

    def answered() -> bool:
        provider.answer("file")
        requester.restarted()
        return bool(outcomes)
    turning(loop, answered)
    requester.close()
    loop.close()


def test_who_says_again_and_again_that_it_is_moving_is_asked_once_in_a_second(provider: Provider) -> None:
    loop, told = Loop(), []
    requester = Requester(loop, ENVELOPE, "127.0.0.1", provider.port)
    requester.ask("r:1", "/a", "push", {EXTENSION: {"request": "r:1"}}, lambda reply: None, progress=told.append)
    identity, _, _ = turning(loop, lambda: provider.socket.poll(0) and provider.socket.recv_multipart())
    moving = ENVELOPE.encode("/a", "pending", {EXTENSION: {"request": "r:1", "state": "moving"}})
    for _ in range(200):
        provider.socket.send_multipart([identity, b"", moving])
    turning(loop, lambda: provider.socket.poll(0))
    for _ in range(20):
        loop.turn(0.02)
    questions = 0
    while provider.socket.poll(0):
        questions += decode(provider.socket.recv_multipart()[-1]).type == "status"
    assert questions == 1
    assert len(told) == 1
    requester.close()
    loop.close()


def test_replies_that_are_no_messages_do_not_fill_the_log(provider: Provider, caplog: pytest.LogCaptureFixture) -> None:
    loop = Loop()
    requester = Requester(loop, ENVELOPE, "127.0.0.1", provider.port)
    requester.ask("r:1", "/a", "push", {EXTENSION: {"request": "r:1"}}, lambda reply: None)
    identity, _, _ = turning(loop, lambda: provider.socket.poll(0) and provider.socket.recv_multipart())
    for _ in range(500):
        provider.socket.send_multipart([identity, b"", b"garbage"])
    turning(loop, lambda: requester.malformed == 500)
    assert len(caplog.messages) == 3
    requester.close()
    loop.close()


@pytest.mark.parametrize("again", ["on a new connection", "when it may be lost"])
def test_what_is_over_is_not_asked_again_with_its_group(provider: Provider, again: str) -> None:
    """What failed may have been had by another request since, and published."""
    loop = Loop()
    requester = Requester(loop, ENVELOPE, "127.0.0.1", provider.port, silence=3.0)
    outcomes: list[Message | None] = []
    message = decode(ENVELOPE.encode("/a", "file", {"uid": "a"}))
    group = {"destination": "file:///in/", EXTENSION: {"epoch": EPOCH, "pushes": [[1, "r:1"], [2, "r:2"], [3, "r:3"]]}}
    requester.ask_group("/a", "push", group, {f"r:{number}": (message, outcomes.append, None) for number in (1, 2, 3)})

    def taken() -> Any:  # the next message, when it is there
        return provider.socket.poll(0) and provider.socket.recv_multipart()
    identity, _, raw = turning(loop, taken)
    results = {EXTENSION: {"results": [{"request": "r:2", "error": "full", "code": "dest_full", "permanent": False}]}}
    provider.socket.send_multipart([identity, b"", ENVELOPE.encode("/a", "results", results)])
    turning(loop, lambda: outcomes)
    if again == "on a new connection":
        requester.repeat()
    repeated = decode(turning(loop, lambda: requester.sweep() or taken())[-1])
    assert repeated.extension == {"epoch": EPOCH, "pushes": [[1, "r:1"], [3, "r:3"]]}
    assert (repeated.subject, repeated.type, repeated.fields["destination"]) == ("/a", "push", "file:///in/")
    assert decode(raw).extension["pushes"][1] == [2, "r:2"]
    requester.close()
    loop.close()


def test_nobody_makes_us_keep_an_endless_subscription() -> None:
    loop, context = Loop(), zmq.Context()
    publisher = Publisher(loop, 0, address="127.0.0.1")
    sockets = []
    for topic in (b"x" * (LONGEST_SUBSCRIPTION + 1), b"pytroll://good"):
        socket = context.socket(zmq.SUB)
        socket.connect(f"tcp://127.0.0.1:{publisher.port}")
        socket.setsockopt(zmq.SUBSCRIBE, topic)
        sockets.append(socket)
        if len(sockets) == 1:
            for _ in range(20):
                loop.turn(0.02)
            assert not publisher.is_heard
    turning(loop, lambda: publisher.is_heard)
    publisher.send(b"pytroll://good news")
    assert sockets[1].poll(10_000)
    for socket in sockets:
        socket.close(0)
    publisher.close(0)
    context.term()
    loop.close()


def note(answers: list[str], reply: Message | None) -> None:
    answers.append("none" if reply is None else reply.type)


def test_what_a_provider_was_asked_before_it_moved_it_is_asked_again_at_once(provider: Provider) -> None:
    """Nobody sweeps: it need not have been silent for long. Both what is given up in time and what is not, once."""
    loop = Loop()
    requester = Requester(loop, ENVELOPE, "127.0.0.1", free_port())
    answers: list[str] = []
    for request, timeout in (("r:1", None), ("r:2", 60.0)):
        requester.ask(request, "/a", "push", {EXTENSION: {"request": request}}, partial(note, answers), timeout)
    requester.move("127.0.0.1", provider.port)
    asked = [turning(loop, lambda: provider.answer("ack")).extension["request"] for _ in range(2)]
    turning(loop, lambda: len(answers) == 2)
    assert asked == ["r:1", "r:2"]
    requester.move("127.0.0.1", provider.port)
    assert len(requester) == 0 and not provider.socket.poll(200)
    requester.close()
    loop.close()
