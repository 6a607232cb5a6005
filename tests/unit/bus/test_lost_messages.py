"""What gets lost on the way between a client and a provider that lives: it is noticed, and asked for again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import zmq

from tests.support.ports import free_port
from trollmoves.bus import Loop, Requesters, catching_up, few_lines
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


def announcement(offset: int, previous: int, port: int, epoch: str = EPOCH, subject: str = "/a") -> Announcement:
    address = f"127.0.0.1:{port}"
    data = {"uid": f"f{offset}", "uri": f"/f{offset}", "request_address": address,
            EXTENSION: {"epoch": epoch, "offset": offset, "previous": previous, "address": address}}
    return read_announcement(decode(ENVELOPE.encode(subject, "file", data)))


def beat(head: int, since: int, port: int, epoch: str = EPOCH, started: int = 1) -> Message:
    said = {"epoch": epoch, "head": head, "since": since, "heads": {"/a": head}, "address": f"127.0.0.1:{port}",
            "started": started}
    return decode(ENVELOPE.encode("/heartbeat/move_it_server", "beat", {EXTENSION: said}))


def test_a_heartbeat_does_not_close_a_gap_that_could_not_be_asked_for(provider: Provider) -> None:
    loop = Loop()
    requesters = Requesters(loop, ENVELOPE)
    cursors: list[int] = []

    def page(messages: list[Message], epoch: str, position: int, then: Callable[[], Any]) -> None:
        cursors.append(position)
        then()
    following = CatchUp(loop, requesters, "provider", ["/a"], cursor=(EPOCH, 100), past=0.0, page=page,
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

    def __init__(self, provider: Provider, cursor: tuple[str, int] | None = (EPOCH, 10), past: float = 0.0,
                 elsewhere: int | None = None, host: str | None = None, patience: float = 30.0):
        self.loop = Loop()
        self.port = provider.port
        self._provider = provider
        self._requesters = Requesters(self.loop, ENVELOPE)
        self.journaled: list[Callable[[], Any]] = []
        self.cursors: list[tuple[str, int]] = []
        self.alarms: dict[str, str] = {}
        self.restarted: list[str] = []
        self.catch_up = CatchUp(
            self.loop, self._requesters, "provider", ["/a"], cursor=cursor, past=past,
            page=lambda messages, epoch, position, then: self.journaled.append(then),
            moved_on=lambda epoch, position: self.cursors.append((epoch, position)), restarted=self.restarted.append,
            alarm=self.alarms.setdefault, position_in=lambda epoch, stream: elsewhere,
            host=host, patience=patience)

    def beat(self, head: int, since: int, epoch: str = EPOCH) -> None:
        self.catch_up.beat(beat(head, since, self.port, epoch))

    def asks(self, to: int, epoch: str = EPOCH, *, more: bool = False, **said: Any) -> dict[str, Any]:
        """Wait for a question, answer that the journal has nothing for us up to *to*, and have the answer taken."""
        answer = {"epoch": epoch, "to": to, "messages": [], "more": more, "oldest": to, **said}
        asked = turning(self.loop, lambda: self._provider.answer("replay", **answer))
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


@pytest.mark.parametrize(("to", "head"), [(5, 8), (20, 40)])
def test_what_came_of_the_old_journal_closes_no_gap_of_the_new_one(following: Following, to: int, head: int) -> None:
    """It is an answer that tells of the new one, whose numbers begin anew. What that has forgotten was never ours to miss."""
    following.catch_up.announced(announcement(12, 11, following.port))
    following.catch_up.announced(announcement(50, 12, following.port))
    assert following.asks(to, "e:new", truncated=True)["since"] == 10
    assert following.alarms == {}
    following.journaled.pop()()
    following.beat(head, to, epoch="e:new")
    assert following.cursors == [], "nothing of what followed was ever here"
    assert following.asks(head, "e:new")["since"] == to


@pytest.mark.parametrize("elsewhere", [None, 30])
def test_nor_where_a_heartbeat_tells_of_the_new_one(provider: Provider, elsewhere: int | None) -> None:
    """Of which nothing is known, or how far it was followed at another address."""
    following, begin = Following(provider, elsewhere=elsewhere), elsewhere or 0
    following.catch_up.announced(announcement(50, 10, provider.port))
    following.beat(begin, begin, epoch="e:new")
    following.beat(40, begin, epoch="e:new")
    assert following.asks(40, "e:new")["since"] == begin
    assert ("e:new", 40) not in following.cursors, "nothing of it was ever here"
    following.close()


@pytest.mark.parametrize("heads", [{"/a": "20"}, {"/a": None}, {"/a": -1}, [], None])
def test_heads_that_are_none_say_nothing(following: Following, heads: object) -> None:
    said = {"epoch": EPOCH, "head": 20, "since": 10, "heads": heads, "address": f"127.0.0.1:{following.port}"}
    following.catch_up.beat(decode(ENVELOPE.encode("/heartbeat/move_it_server", "beat", {EXTENSION: said})))
    assert following.asks(20)["since"] == 10
    assert following.cursors == []


@pytest.mark.parametrize(("subject", "ours"), [("/a", True), ("/a/b", True), ("/b", False)])
def test_a_heartbeat_tells_what_lacks_under_the_topics_that_are_followed(following: Following, subject: str, ours: bool) -> None:
    said = {"epoch": EPOCH, "head": 20, "since": 10, "heads": {subject: 20}, "address": f"127.0.0.1:{following.port}"}
    following.catch_up.beat(decode(ENVELOPE.encode("/heartbeat/move_it_server", "beat", {EXTENSION: said})))
    if ours:
        assert following.asks(20)["since"] == 10
    assert following.cursors == ([] if ours else [(EPOCH, 20)])


def test_the_next_page_is_asked_for_when_the_last_one_is_journaled(following: Following) -> None:
    following.beat(20, 20)
    following.asks(15, more=True)
    following.beat(30, 30)
    assert following.is_quiet()
    following.journaled.pop()()
    assert following.asks(30, more=True)["since"] == 15
    following.journaled.pop()()
    assert following.asks(40)["since"] == 30


def test_a_page_that_ends_where_it_begins_is_asked_for_again_by_and_by(
        following: Following, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes next waits to be published."""
    monkeypatch.setattr(catching_up, "RETRY", 0.1)
    following.beat(20, 20)
    following.asks(10, more=True)
    following.journaled.pop()()
    assert following.asks(20)["since"] == 10


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


def test_who_does_not_answer_is_asked_again_where_it_says_and_where_it_was_found_in_turns(
        provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catching_up, "RETRY", 0.1)
    following = Following(provider, host="127.0.0.2", patience=0.5)  # where nobody answers
    following.beat(20, 20)
    silent = turning(following.loop, lambda: provider.answer(""))
    assert following.asks(20)["request"] != silent.extension["request"]
    following.close()


def test_questions_that_are_not_answered_at_the_same_time_do_not_lead_back_there(provider: Provider) -> None:
    """A provider is asked for what was missed, for what is wanted once more, and told who we are, all at once."""
    following = Following(provider, host="127.0.0.1", patience=0.5)
    away = f"127.0.0.2:{provider.port}"  # where nobody answers
    following.catch_up.beat(decode(ENVELOPE.encode("/heartbeat/move_it_server", "beat", {EXTENSION: {
        "epoch": EPOCH, "head": 10, "since": 10, "heads": {}, "address": away, "started": 1}})))
    heard: list[Message | None] = []
    for _ in range(2):
        following.catch_up.ask("ping", "/a", {}, heard.append)
    turning(following.loop, lambda: heard == [None, None])
    following.catch_up.ask("ping", "/a", {}, heard.append)
    turning(following.loop, lambda: provider.answer("pong"))
    turning(following.loop, lambda: len(heard) == 3)
    assert heard[2] is not None
    following.close()


def test_an_answer_is_nothing_to_who_has_ended(following: Following, provider: Provider) -> None:
    following.beat(20, 20)
    asked: list[Message | None] = []

    def answered() -> bool:
        if not asked and provider.socket.poll(0):
            following.catch_up.close()
            asked.append(provider.answer("replay", epoch=EPOCH, to=20, messages=[], more=False))
        return bool(asked)
    turning(following.loop, answered)
    assert following.is_quiet() and following.journaled == []


def test_what_is_asked_for_on_purpose_is_asked_for_once(following: Following, provider: Provider) -> None:
    """When it is known where, and not with every heartbeat."""
    following.catch_up.again(1000.0, [])
    following.beat(10, 10)
    assert following.asks(10)["newer_than"] == 1000.0
    following.journaled.pop()()
    following.beat(10, 10)
    assert following.is_quiet()


def test_who_is_heard_for_the_first_time_was_not_started_anew(following: Following) -> None:
    told = []
    for started in (1, 1, 2):
        following.catch_up.beat(beat(10, 10, following.port, started=started))
        told.append(len(following.restarted))
    assert told == [0, 0, 1]


def test_no_name_is_kept_that_would_fill_the_disk(following: Following) -> None:
    following.beat(0, 0, "e:another")
    following.beat(0, 0, "e:" + "x" * 1000)
    following.catch_up.announced(announcement(1, 0, following.port, "e:" + "x" * 1000))
    assert following.cursors == [("e:another", 0)]


def test_subjects_that_are_very_many_are_forgotten_and_asked_for(following: Following, monkeypatch: pytest.MonkeyPatch) -> None:
    """A publisher may have ever new ones."""
    monkeypatch.setattr(catching_up, "SUBJECTS_KEPT", 2)
    for offset, subject in ((11, "/a"), (12, "/a/b"), (13, "/a/c")):
        following.catch_up.announced(announcement(offset, 0, following.port, subject=subject))
    following.beat(11, 10)
    assert following.asks(13)["since"] == 10


def test_gaps_without_end_are_one_alarm_and_another_later(following: Following) -> None:
    following.beat(100, 100)
    for position in range(11, 31):
        following.asks(position, more=True, truncated=True, oldest=position, forgotten=1e300)
        following.journaled.pop()()
    (text,) = following.alarms.values()
    assert "after number 10 and before 11 " in text
    following.close()
    assert len(following.alarms) == 2 and "after number 11 and before 30 " in following.alarms[f"provider {EPOCH} 30"]


@pytest.mark.parametrize("oldest", [None, {}, -1, "x" * 100_000, 2**64])
def test_a_gap_that_ends_nowhere_fills_nothing(following: Following, oldest: Any) -> None:
    following.beat(100, 100)
    following.asks(20, truncated=True, oldest=oldest, forgotten="x" * 100_000)
    ((about, text),) = following.alarms.items()
    assert len(about + text) < 500


@pytest.mark.parametrize("head", [0, 20, 30])
def test_only_the_first_questions_of_a_new_client_leave_out_what_is_old(provider: Provider, head: int) -> None:
    """The clock of the publisher may be so far behind that all it publishes looks old here."""
    following = Following(provider, cursor=None, past=1800.0)
    following.beat(head, head)
    if head == 30:  # there is nothing of it any more
        assert following.asks(0)["newer_than"] > 0
        following.journaled.pop()()
    if head == 20:
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
    turning(loop, lambda: requester.malformed.times == 500)
    assert len(caplog.messages) == few_lines.SAID + 1
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
