"""What is delivered before anybody had time to subscribe: it waits in the journal, holds up nothing, and is published once."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.unit.client.test_doubting import source
from trollmoves.bus import Loop, Requesters
from trollmoves.bus.committing import Granted
from trollmoves.client.acknowledging import Acknowledging
from trollmoves.client.addressing import Addressing
from trollmoves.client.asking import Asking
from trollmoves.client.delivering import AT_ONCE, PAGE, Delivering
from trollmoves.client.doubting import is_in_doubt
from trollmoves.client.flight import Flight, Source
from trollmoves.client.ledger import Ledger
from trollmoves.client.recovering import Recovering
from trollmoves.config.hidden import HiddenUri
from trollmoves.config.reading import read_client_config
from trollmoves.config.settings import ClientSettings
from trollmoves.journal import Journal
from trollmoves.lifecycle import State
from trollmoves.messages import EXTENSION, PROTOCOL, Envelope, Message, decode, read_announcement
from trollmoves.workers import Workers

ENVELOPE = Envelope("somebody@here")
MANY = PAGE + 100


class Death(Exception):
    """The process is gone: nothing that it has not written is written."""


class Stream:
    """Stands for the publisher: nobody listens until somebody does."""

    def __init__(self) -> None:
        self.is_heard = False
        self.sent: list[Message] = []
        self.dies_after = 0

    def publish(self, raw: bytes, subject: str, position: int) -> None:
        self.sent.append(decode(raw))
        if len(self.names()) == self.dies_after:
            raise Death

    def send(self, raw: bytes) -> None:
        self.sent.append(decode(raw))

    def names(self) -> list[str]:
        return [message.fields["uid"] for message in self.sent if message.type == "file"]

    def publications(self) -> dict[str, str]:
        """The id of each publication, by file."""
        return {message.fields["uid"]: message.extension["publication"] for message in self.sent if message.type == "file"}

    def marked(self) -> list[str]:
        return [message.fields["uid"] for message in self.sent if message.extension.get("redelivered")]


class Bench:
    """One chain over a real journal and loop."""

    def __init__(self, directory: Path):
        (directory / "client.ini").write_text("[chain]\nproviders = 127.0.0.1:9\ndestination = file:///data/\ntopic = /a\n")
        self.settings: ClientSettings = read_client_config(directory / "client.ini").chains["chain"]
        self.loop = Loop()
        self.journal = Journal(directory / "journal", self.loop.call_all, self.loop.fail)
        self.stream = Stream()
        self.landed: list[int] = []

    def chain(self) -> Delivering:
        stream: Any = self.stream
        addressing, requesters = Addressing(self.settings), Requesters(self.loop, ENVELOPE)
        self.acknowledging = Acknowledging(self.settings, addressing, self.journal, self.loop, requesters, {})
        return Delivering(self.settings, addressing, self.journal, self.loop, ENVELOPE, stream, requesters, self.acknowledging,
                          {}, lambda flight: self.landed.append(flight.id))

    def deliver(self, chain: Delivering, name: str, *, valid_until: float = math.inf, also: Source | None = None,
                **extension: Any) -> None:
        """Have a file announced, with an extension if one is given, and *also* by another provider, and say that it was
        delivered, with a right to publish it that is *valid_until* then."""
        raw = ENVELOPE.encode("/a", "file", {"uid": name, "uri": f"/there/{name}", "request_address": "127.0.0.1:9",
                                             **({EXTENSION: extension} if extension else {})})
        first = Source("127.0.0.1:9", read_announcement(decode(raw)))
        flight = Flight(self.journal.new_file(), "chain", name, time.time(), first, {first.provider: first}, attempt=1)
        if also is not None:
            flight.sources[also.provider] = also
        flight.place, flight.valid_until = Addressing(self.settings).place({}), valid_until
        self.journal.write([("add_file", [(flight.id, "chain", name, "", State.REQUESTED, time.time(), "", None, None, None, None,
                                           None, None, first.provider, raw.decode(), "r:1", 1, time.time())])])
        chain.deliver(flight, decode(ENVELOPE.encode("/a", "file", {"uid": name, "uri": f"/there/{name}", "destination": "/"})))

    def turn_until(self, count: int, *, landed: bool = False) -> None:
        """Run the loop until so many files are published (or landed)."""
        deadline = time.monotonic() + 120
        while len(self.landed if landed else self.stream.names()) < count:
            assert time.monotonic() < deadline, f"{len(self.landed)} landed, {len(self.stream.names())} published"
            self.loop.turn(0.05)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.journal.close()
    bench.loop.close()


def test_what_waits_for_subscribers_holds_up_no_requests_and_is_published_once(bench: Bench) -> None:
    chain = bench.chain()
    chain.start()
    names = [f"f{number}" for number in range(MANY)]
    for name in names:
        bench.deliver(chain, name)
    bench.turn_until(MANY, landed=True)
    assert bench.stream.sent == [], "nobody listens yet"
    assert chain.waiting == MANY, "the process does not end before they are published"
    bench.stream.is_heard = True
    bench.turn_until(MANY)
    bench.deliver(chain, "after")
    bench.turn_until(MANY + 1)
    for _ in range(5):
        bench.loop.turn(0.02)
    assert bench.stream.names() == [*names, "after"]
    assert bench.stream.marked() == []
    assert sum(message.type == "ack" for message in bench.stream.sent) == MANY + 1
    assert chain.waiting == 0
    states = {row["state"] for row in bench.journal.find("files_in_state", ("chain", State.PUBLISHED))}
    assert states == {"published"}


@pytest.mark.parametrize("seconds", [0.0, 0.003])
def test_what_waits_is_taken_from_the_journal_no_faster_than_it_is_sent(bench: Bench, seconds: float) -> None:
    """A client that was started on a long backlog has thousands of them when the first subscriber comes; each of the first takes
    *seconds* to be sent."""
    chain, count = bench.chain(), 4 * PAGE
    chain.start()
    for number in range(count):
        bench.deliver(chain, f"f{number}")
    bench.turn_until(count, landed=True)
    most, publish = 0, bench.stream.publish

    def watched(raw: bytes, subject: str, position: int) -> None:
        nonlocal most
        most = max(most, len(chain._leaving))
        time.sleep(seconds if position < PAGE else 0.0)
        publish(raw, subject, position)
    bench.stream.publish = watched  # type: ignore[method-assign]
    bench.stream.is_heard = True
    bench.turn_until(count)
    assert 0 < most <= 2 * PAGE
    assert bench.stream.names() == [f"f{number}" for number in range(count)]


def test_what_an_earlier_chain_did_not_publish_is_published_first_and_is_no_repetition(bench: Bench) -> None:
    earlier = bench.chain()
    earlier.start()
    bench.deliver(earlier, "old")
    bench.turn_until(1, landed=True)
    earlier.close()
    chain = bench.chain()
    chain.start()
    bench.deliver(chain, "new")
    bench.stream.is_heard = True
    bench.turn_until(2)
    assert bench.stream.names() == ["old", "new"]
    assert bench.stream.marked() == []  # it waited for subscribers, and was never sent
    extension = bench.stream.sent[-1].extension
    assert orjson.dumps(extension["offset"]) == b"2" and "redelivered" not in extension


def test_a_death_repeats_no_more_of_what_was_held_than_was_let_go_at_once(bench: Bench, tmp_path: Path) -> None:
    """It dies while it sends the second part: the first one is known to be sent, the third not to be."""
    chain = bench.chain()
    chain.start()
    names = [f"f{number:03}" for number in range(5 * AT_ONCE)]
    for name in names:
        bench.deliver(chain, name)
    bench.turn_until(len(names), landed=True)
    bench.stream.dies_after = AT_ONCE + 3
    bench.stream.is_heard = True
    with pytest.raises(Death):
        bench.turn_until(len(names))
    bench.journal.close()
    again = Bench(tmp_path)
    again.stream.is_heard = True
    again.chain().start()
    again.turn_until(len(names) - AT_ONCE)
    assert again.stream.names() == names[AT_ONCE:]
    assert again.stream.marked() == names[AT_ONCE:2 * AT_ONCE]
    first, then = bench.stream.publications(), again.stream.publications()
    assert all(then.get(name, number) == number for name, number in first.items()), "what is sent again has its number"
    assert len({*first.values(), *then.values()}) == len(names)
    again.journal.close()
    again.loop.close()


def test_what_was_noted_as_held_when_the_waiting_ended_is_let_go_before_it_is_sent(bench: Bench, tmp_path: Path) -> None:
    """It would be sent again without a mark."""
    chain = bench.chain()
    chain.start()
    for _ in range(3):
        bench.loop.turn(0.02)
    chain._release()  # its look into the journal comes between the record of the file and the commit of that
    bench.deliver(chain, "late")
    bench.stream.dies_after = 1
    with pytest.raises(Death):
        bench.turn_until(2)
    bench.journal.close()
    again = Bench(tmp_path)
    again.stream.is_heard = True
    again.chain().start()
    again.turn_until(1)
    assert again.stream.marked() == ["late"]
    again.journal.close()
    again.loop.close()


def test_the_journal_knows_that_nothing_was_sent_of_what_waits_for_leave(bench: Bench) -> None:
    """The provider does not answer: whoever takes up the journal sends these without a mark."""
    chain = bench.chain()
    chain.start()
    for number in range(3):
        bench.deliver(chain, f"f{number}", version=PROTOCOL, epoch="e:1", offset=number + 1, address="127.0.0.1:9")
    bench.turn_until(3, landed=True)
    chain._release()
    while chain.waiting:
        bench.loop.turn(0.02)
    for _ in range(5):
        bench.loop.turn(0.02)
    assert bench.stream.names() == []
    assert [row["held"] for row in bench.journal.find("unpublished", ("chain", 0, 10))] == [1, 1, 1]


def test_what_is_still_to_be_sent_is_known_without_the_journal(bench: Bench) -> None:
    """Heartbeats ask for it; a look through a long journal would hold up the loop each time."""
    chain = bench.chain()
    chain.start()
    assert chain.first_unsent() == 1, "nothing is there, and what comes waits for subscribers"
    for number in range(3):
        bench.deliver(chain, f"f{number}", version=PROTOCOL, epoch="e:1", offset=number + 1, address="127.0.0.1:9")
    bench.turn_until(3, landed=True)
    bench.stream.is_heard = True
    bench.deliver(chain, "upstream's")
    bench.turn_until(1)
    bench.deliver(chain, "after")
    bench.turn_until(2)
    assert (bench.stream.names(), chain.first_unsent()) == (["upstream's", "after"], 1), "the provider of others does not answer"
    chain.close()
    again = bench.chain()
    again.start()
    assert again.first_unsent() == 1, "what the last one did not publish"


def test_what_another_member_published_is_not_still_to_be_sent(bench: Bench) -> None:
    chain = bench.chain()
    chain.start()
    bench.stream.is_heard = True
    bench.deliver(chain, "a", version=PROTOCOL, epoch="e:1", offset=1, address="127.0.0.1:9")
    asked: list[Any] = []
    chain.committing.ask = lambda *question: asked.append(question[-1])  # type: ignore[method-assign]
    deadline = time.monotonic() + 60
    while not asked and time.monotonic() < deadline:
        bench.loop.turn(0.02)
    assert chain.first_unsent() == 1
    asked[0](Granted("covered"))
    assert chain.first_unsent() is None
    while bench.journal.find("announcements_since", (0, 10)) and time.monotonic() < deadline:
        bench.loop.turn(0.02)
    assert not bench.journal.find("announcements_since", (0, 10)), "who asks for what was missed has it of the other one"


@pytest.mark.parametrize(("then", "published"), [
    (Granted("covered"), []), (Granted("granted", math.inf, 2, True), ["a"]), (Granted("unknown"), ["a"])])
def test_a_right_that_ended_before_it_was_used_is_asked_for_again(bench: Bench, then: Granted, published: list[str]) -> None:
    """The process was stopped between the answer and the publication, and another member may have published meanwhile."""
    chain = bench.chain()
    chain.start()
    bench.stream.is_heard = True
    bench.turn_until(0)
    asked: list[Any] = []
    chain.committing.ask = lambda *question: asked.append(question[-1])  # type: ignore[method-assign]

    def until_asked(times: int) -> None:
        deadline = time.monotonic() + 60
        while len(asked) < times and time.monotonic() < deadline:
            bench.loop.turn(0.02)
        assert len(asked) == times
    bench.deliver(chain, "a", version=PROTOCOL, epoch="e:1", offset=1, address="127.0.0.1:9")
    until_asked(1)
    asked[0](Granted("granted", time.monotonic() + 0.1, 1))
    time.sleep(0.2)
    until_asked(2)
    assert bench.stream.names() == []
    asked[1](then)
    for _ in range(10):
        bench.loop.turn(0.02)
    assert bench.stream.names() == bench.stream.marked() == published


def test_what_was_perhaps_sent_is_marked_though_its_provider_knows_nothing_of_that(bench: Bench) -> None:
    """Its journal may be new."""
    bench.stream.is_heard, bench.stream.dies_after = True, 1
    for death in (True, False):
        chain = bench.chain()
        chain.committing.ask = lambda asked, fence, answered: answered(Granted("granted", math.inf, 1))  # type: ignore
        chain.start()
        if death:
            bench.deliver(chain, "a", version=PROTOCOL, epoch="e:1", offset=1, address="127.0.0.1:9")
            with pytest.raises(Death):
                bench.turn_until(2)
            chain.close()
            bench.stream.dies_after = 0
    bench.turn_until(2)
    assert (bench.stream.names(), bench.stream.marked()) == (["a", "a"], ["a"])


def test_what_another_member_may_have_published_is_no_publication_of_ours_before_we_may(bench: Bench) -> None:
    """The move took long, and the right to publish is over."""
    chain = bench.chain()
    chain.start()
    asked: list[Any] = []
    chain.committing.ask = lambda *question: asked.append(question[-1])  # type: ignore[method-assign]
    bench.deliver(chain, "a", valid_until=0.0, also=source(2, "k:2"), version=PROTOCOL, epoch="e:1", offset=1,
                  address="127.0.0.1:9", key="k:1")
    for _ in range(5):
        bench.loop.turn(0.02)
    assert len(asked) == 1
    asked[0](Granted("covered"))
    bench.turn_until(1, landed=True)
    assert bench.journal.head == 0, "no subscriber asks for what there never was"
    assert [row["identity"] for row in bench.journal.find("files_in_state", ("chain", State.COVERED))] == ["a"]
    [other] = bench.journal.find("files_in_state", ("chain", State.ANNOUNCED))
    assert other["key"] == "k:2" and is_in_doubt(other["steps"]), "nobody compared it yet"


def test_nothing_is_sent_that_the_journal_does_not_have(bench: Bench) -> None:
    """Held for subscribers or not: who dies after it was sent publishes it again, marked, and not as something new."""
    chain, publish, known = bench.chain(), bench.stream.publish, list[bool]()

    def watched(raw: bytes, subject: str, position: int) -> None:
        waiting = bench.journal.find("unpublished", ("chain", 0, 10))
        known.append(position in [row["position"] for row in waiting if not row["held"]])
        publish(raw, subject, position)
    bench.stream.publish = watched  # type: ignore[method-assign]
    bench.stream.is_heard = True
    chain.start()
    for count, name in enumerate("abc", start=1):
        bench.deliver(chain, name)
        bench.turn_until(count)
    assert known == [True] * 3 and bench.stream.names() == ["a", "b", "c"]


def test_what_waited_to_be_unpacked_is_published_when_nothing_is_to_be_unpacked_any_more(bench: Bench) -> None:
    """`compression` was taken out of the section; the server is upstream's, and is not asked for leave."""
    bench.stream.is_heard = True
    for name in ("one", "two"):
        raw = ENVELOPE.encode("/a", "file", {"uid": name, "uri": f"/there/{name}", "request_address": "127.0.0.1:9"})
        bench.journal.write([("add_file", [(bench.journal.new_file(), "chain", name, "", State.MOVED, time.time(), "", None, None,
                                            None, None, None, None, "127.0.0.1:9", raw.decode(), "r:1", 1, time.time())])])
    while bench.journal.waiting:
        bench.loop.turn(0.02)
    workers, stream = Workers(bench.loop.call_all, bench.loop.fail, 2), bench.stream
    ledger = Ledger("chain", bench.journal)
    asking = Asking(bench.settings, {"client": "c", "group": "g"}, ledger, bench.journal, bench.loop,
                    ENVELOPE, workers, stream)  # type: ignore[arg-type]
    Recovering("chain", ledger, bench.journal, asking).publish()
    try:
        bench.turn_until(2)
    finally:
        asking.close()
        workers.stop(1)
    assert bench.stream.names() == ["one", "two"]


def test_what_the_last_process_did_not_confirm_is_as_old_as_it_is(bench: Bench) -> None:
    """Of two providers one answers: what the other one has not confirmed is known after the next start, too."""
    raw = ENVELOPE.encode("/a", "file", {"uid": "a", "uri": "/there/a", "request_address": "127.0.0.1:9", EXTENSION: {
        "version": PROTOCOL, "epoch": "e:1", "offset": 1, "address": "127.0.0.1:9"}}).decode()
    published = time.time() - 1000
    bench.journal.write([
        ("add_file", [(bench.journal.new_file(), "chain", "a", "", State.PUBLISHED, published, "", None, None, None, None, None,
                       None, "127.0.0.1:9", raw, "r:1", 1, published)]),
        ("put_meta", [("confirmed:chain", str(published - 1))])])
    for _ in range(5):
        bench.loop.turn(0.02)
    bench.chain()
    bench.acknowledging.start()
    assert bench.acknowledging._confirming.oldest() == published


@pytest.mark.parametrize("before, told, marked", [(True, False, True), (False, True, True), (False, False, False)])
def test_who_waited_in_line_marks_what_may_be_the_second(bench: Bench, before: bool, told: bool, marked: bool) -> None:
    """What was known before its turn came holds, whatever the provider says with it."""
    said = {"version": PROTOCOL, "fence": 2, "confirm": True, "valid_until": time.monotonic() + 100.0, "maybe_published": told}
    raw = ENVELOPE.encode("/a", "file", {"uid": "x", "uri": "/there/x", "request_address": "127.0.0.1:9", EXTENSION: said})
    source = Source("127.0.0.1:9", read_announcement(decode(raw)))
    flight = Flight(bench.journal.new_file(), "chain", "x", time.time(), source, maybe_published=before)
    published: list[bool] = []
    bench.chain()._line_moved(flight, lambda: published.append(flight.maybe_published), decode(raw))
    assert published == [marked]


def test_what_another_member_may_publish_is_published_where_nobody_can_say_any_more_where_it_is(bench: Bench) -> None:
    """The section was changed meanwhile: no file that was delivered before has the field that its destination names."""
    chain = bench.chain()
    chain.start()
    bench.deliver(chain, "f", version=PROTOCOL, epoch="e:0123456789abcdef", offset=1, previous=0, address="127.0.0.1:9",
                  key="k:1", size=1)
    bench.turn_until(1, landed=True)
    chain.close()
    bench.settings = bench.settings.model_copy(update={"destination": HiddenUri("file:///data/{missing}/")})
    chain = bench.chain()
    chain.committing.ask = lambda asked, fence, answered: answered(Granted("held"))  # type: ignore[method-assign]
    bench.stream.is_heard = True
    chain.start()
    bench.turn_until(1)
    assert bench.stream.marked() == ["f"], "the other member publishes it as well"
