"""A publisher and a follower of it in one loop, and between them a way that loses, repeats and shuffles messages."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trollmoves.bus import Loop, Requesters
from trollmoves.bus.asking_again import within
from trollmoves.bus.catching_up import CatchUp
from trollmoves.bus.replaying import Replaying, ReplayPort
from trollmoves.journal import Journal
from trollmoves.messages import EXTENSION, Envelope, Message, decode, read_announcement

ENVELOPE = Envelope("somebody@here")


class Publishing:
    """Numbers messages in a journal, tells them again on a port, and beats, all into a list in place of a socket."""

    def __init__(self, path: Path, loop: Loop):
        self.loop = loop
        self.journal = Journal(path, loop.call_all, loop.fail)
        self.port = ReplayPort(0, "127.0.0.1", loop, self.journal, ENVELOPE)
        self.subjects: dict[str, str] = {}
        """By uid, of all that was ever published."""
        self.started = 1.0
        self._since = 0
        self._heads: dict[str, int] = {}

    def publish(self, count: int, subject: str = "/a", age: float = 0.0) -> list[Message]:
        """Messages that are in the journal before anybody hears them."""
        messages, done = [self._publish(subject, time.time() - age) for _ in range(count)], []
        self.journal.write([], done.append, True)
        turning(self.loop, lambda: done)
        return messages

    def _publish(self, subject: str, when: float) -> Message:
        file = self.journal.new_file()
        position, previous = self.journal.new_position(subject)
        said = {"epoch": self.journal.epoch, "offset": position, "previous": previous}
        raw = ENVELOPE.encode(subject, "file", {"uid": f"f{position}", "uri": f"/f{position}", EXTENSION: said})
        row = (file, "c", f"f{file}", "", "published", when, "", None, 1, None, None, None, None, None, None, None, 0, when)
        self.journal.write([("add_file", [row]),
                            ("add_announcement", [(position, file, subject, previous, raw.decode(), when)])])
        self._heads[subject] = position
        self.subjects[f"f{position}"] = subject
        return decode(raw)

    def beat(self, host: str = "127.0.0.1") -> Message:
        said = {"epoch": self.journal.epoch, "head": self.journal.head, "since": self._since, "heads": self._heads,
                "address": f"{host}:{self.port.address.rpartition(':')[2]}", "started": self.started}
        self._since, self._heads = self.journal.head, {}
        return decode(ENVELOPE.encode("/heartbeat/dispatcher", "beat", {EXTENSION: said}))

    def close(self) -> None:
        self.port.close()
        self.journal.close()


class Follower:
    """Keeps what it hears, and a cursor that outlives it."""

    def __init__(self, loop: Loop, cursors: dict[str, tuple[str, int]], name: str = "publisher"):
        self.loop = loop
        self.uids: list[str] = []
        self.alarms: list[str] = []
        self._cursors = cursors
        self._requesters = Requesters(loop, ENVELOPE)
        self.catch_up = CatchUp(
            loop, self._requesters, name, ["/a"], cursor=cursors.get(name), past=0.0, page=self._page,
            moved_on=lambda epoch, position: self._move(name, epoch, position), restarted=lambda address: None,
            alarm=lambda about, text: self.alarms.append(text),
            position_in=lambda epoch, stream: min((at for known, at in cursors.values() if known == epoch), default=None),
            host="127.0.0.1", patience=2.0)
        self._name = name

    def hear(self, *messages: Message) -> None:
        for message in messages:
            if message.type == "beat":
                self.catch_up.beat(message)
            else:
                self.catch_up.published(message)
                self._take(message)

    def _take(self, message: Message) -> None:
        self.uids.append(str(message.fields["uid"]))

    def _page(self, messages: list[Message], epoch: str, position: int, then: Callable[[], Any]) -> None:
        for message in messages:
            self._take(message)
        self._move(self._name, epoch, position)
        self.loop.call(then)

    def _move(self, name: str, epoch: str, position: int) -> None:
        self._cursors[name] = epoch, position

    def close(self) -> None:
        self.catch_up.close()
        self._requesters.close()


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def publishing(tmp_path: Path, loop: Loop) -> Iterator[Publishing]:
    found = Publishing(tmp_path / "j", loop)
    yield found
    found.close()


def turning(loop: Loop, check: Callable[[], Any], seconds: float = 30.0) -> None:
    """Let *loop* work until *check* returns something true."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "not in time"
        loop.turn(0.02)


def begin(loop: Loop, publishing: Publishing) -> tuple[Follower, dict[str, tuple[str, int]]]:
    """A follower that has heard the first beat."""
    cursors: dict[str, tuple[str, int]] = {}
    follower = Follower(loop, cursors)
    follower.hear(publishing.beat())
    return follower, cursors


@pytest.mark.parametrize("seed", range(8))
def test_whatever_gets_lost_repeated_or_shuffled_is_had_in_the_end(loop: Loop, publishing: Publishing, seed: int) -> None:
    draw = random.Random(seed)
    follower, _ = begin(loop, publishing)
    way: list[Message] = []
    for _ in range(15):
        for message in [*publishing.publish(draw.randrange(30)), *publishing.publish(draw.randrange(3), "/a/b"),
                        *publishing.publish(2, "/other"), publishing.beat()]:
            if message.subject != "/other" and draw.random() > 0.3:
                way += [message] * draw.choice((1, 1, 3))
        window = way[-50:]
        draw.shuffle(window)
        way[-50:] = window
        while way and draw.random() > 0.02:
            follower.hear(way.pop(0))
        loop.turn(0.0)
    follower.hear(*way, publishing.beat())
    wanted = {uid for uid, subject in publishing.subjects.items() if subject != "/other"}
    turning(loop, lambda: set(follower.uids) >= wanted)
    assert set(follower.uids) == wanted
    assert follower.alarms == []
    follower.close()


@pytest.mark.parametrize("is_younger", [True, False])
def test_what_others_heard_first_of_a_publisher_that_began_after_us_is_had(loop: Loop, publishing: Publishing,
                                                                           is_younger: bool) -> None:
    """Its port was not there when we wanted to listen, and we try again some seconds later than somebody else. Of one that was
    there before us, what it has published is left alone, and so is what it published in an earlier life."""
    publishing.publish(3, age=3600.0)
    cursors: dict[str, tuple[str, int]] = {}
    follower = Follower(loop, cursors)
    if is_younger:
        publishing.started = time.time()
    publishing.publish(5)
    follower.hear(publishing.beat())
    turning(loop, lambda: cursors.get("publisher") == (publishing.journal.epoch, 8))
    assert follower.uids == (["f4", "f5", "f6", "f7", "f8"] if is_younger else [])
    follower.close()


def test_a_page_reaches_no_further_than_what_was_looked_up(loop: Loop, publishing: Publishing,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    publishing.publish(2)
    find = Journal.find

    def found_before_the_next_commit(journal: Journal, query: str, parameters: Any = ()) -> Any:
        rows = find(journal, query, parameters)
        if query == "announcements_since":
            publishing.publish(1)
        return rows

    monkeypatch.setattr(Journal, "find", found_before_the_next_commit)
    said = {"request": "r:1", "epoch": publishing.journal.epoch, "since": 0, "topics": ["/a"]}
    question = decode(ENVELOPE.encode("/a", "replay", {EXTENSION: said}))
    page = decode(Replaying(publishing.journal, ENVELOPE).answer(question)).extension
    assert (len(page["messages"]), page["to"]) == (2, 2), "what came meanwhile is asked for next time"


def test_who_was_there_from_the_first_message_on_has_a_cursor_before_the_first_beat(loop: Loop, publishing: Publishing) -> None:
    cursors: dict[str, tuple[str, int]] = {}
    follower = Follower(loop, cursors)
    (first,) = publishing.publish(1)
    data = {**first.fields, "request_address": "127.0.0.1:1"}
    data[EXTENSION] = {**first.extension, "address": "127.0.0.1:1", "key": "k"}
    follower.catch_up.announced(read_announcement(decode(ENVELOPE.encode("/a", "file", data))))
    assert cursors == {"publisher": (publishing.journal.epoch, 0)}, "what is forgotten from now on is a gap"
    follower.close()


def test_the_last_message_is_missed_at_the_next_beat(loop: Loop, publishing: Publishing) -> None:
    follower, _ = begin(loop, publishing)
    follower.hear(*publishing.publish(3), publishing.beat())
    publishing.publish(1)  # lost, and nothing comes after it
    follower.hear(publishing.beat())
    turning(loop, lambda: "f4" in follower.uids)
    follower.close()


def test_a_follower_that_was_away_gets_what_it_missed_and_nothing_of_before(loop: Loop, publishing: Publishing) -> None:
    publishing.publish(5)
    follower, cursors = begin(loop, publishing)
    follower.hear(*publishing.publish(2), publishing.beat())
    follower.close()
    publishing.publish(1200)  # several pages
    follower = Follower(loop, cursors)
    follower.hear(publishing.beat())
    turning(loop, lambda: cursors["publisher"][1] == 1207)
    assert follower.uids == [f"f{number}" for number in range(8, 1208)]
    follower.close()


def test_nothing_is_left_out_after_the_first_beat_whatever_follows(loop: Loop, publishing: Publishing) -> None:
    publishing.publish(5)
    follower, cursors = begin(loop, publishing)
    follower.close()
    publishing.publish(2)
    follower = Follower(loop, cursors)
    follower.hear(publishing.beat())
    turning(loop, lambda: follower.uids == ["f6", "f7"])
    follower.close()


def test_a_publisher_that_moved_to_another_port_is_known_by_its_journal(loop: Loop, publishing: Publishing) -> None:
    follower, cursors = begin(loop, publishing)
    follower.hear(*publishing.publish(2), publishing.beat())
    follower.close()
    publishing.publish(3)
    follower = Follower(loop, cursors, "another-address")
    follower.hear(publishing.beat())
    turning(loop, lambda: len(follower.uids) == 3)
    assert follower.uids == ["f3", "f4", "f5"]
    follower.close()


def test_an_address_that_does_not_answer_is_replaced_by_the_one_it_is_heard_at(loop: Loop, publishing: Publishing) -> None:
    follower, _ = begin(loop, publishing)
    publishing.publish(2)
    follower.hear(publishing.beat(host="127.0.0.77"))
    turning(loop, lambda: follower.uids == ["f1", "f2"])
    follower.close()


def test_numbers_that_a_relay_copied_mean_nothing(loop: Loop, publishing: Publishing) -> None:
    follower, cursors = begin(loop, publishing)
    said = {"epoch": "e:somebodyelse", "offset": 50, "previous": 49}
    follower.hear(decode(ENVELOPE.encode("/a", "file", {"uid": "x", EXTENSION: said})))
    follower.hear(*publishing.publish(1), publishing.beat())
    turning(loop, lambda: cursors.get("publisher", ("", 0))[1] == 1)
    assert follower.uids == ["x", "f1"]
    follower.close()


def test_a_gap_is_an_alarm_with_its_bounds_and_the_rest_comes(loop: Loop, publishing: Publishing) -> None:
    follower, cursors = begin(loop, publishing)
    follower.hear(*publishing.publish(2), publishing.beat())
    follower.close()
    publishing.publish(3)
    done: list[bool] = []
    publishing.journal.write([("note_forgotten", [("[3, 4]",)]), ("remove_announcements_of", [("[3, 4]",)])], done.append, True)
    turning(loop, lambda: done)
    follower = Follower(loop, cursors)
    follower.hear(publishing.beat())
    turning(loop, lambda: follower.uids == ["f5"])
    (text,) = follower.alarms
    assert "after number 2 and before 5" in text
    follower.hear(*publishing.publish(1), publishing.beat())
    turning(loop, lambda: cursors["publisher"][1] == 6)
    assert len(follower.alarms) == 1
    follower.close()


def test_a_window_of_time_is_asked_for_again_on_purpose(loop: Loop, publishing: Publishing) -> None:
    publishing.publish(600, age=7200)
    publishing.publish(3, age=1000)
    publishing.publish(1, "/a/b", age=1000)
    follower = Follower(loop, {})
    follower.catch_up.again(time.time() - 3600, [])  # before it is known where to ask
    follower.hear(publishing.beat())
    turning(loop, lambda: len(follower.uids) == 4)
    follower.catch_up.again(time.time() - 3600, ["/a/b"])
    turning(loop, lambda: len(follower.uids) == 5)
    assert follower.uids == ["f601", "f602", "f603", "f604", "f604"]
    follower.close()


def test_all_orders_are_done_that_were_given_before_it_was_known_where_to_ask(loop: Loop, publishing: Publishing) -> None:
    publishing.publish(1, age=7200)
    publishing.publish(2, "/a/b", age=1000)
    follower = Follower(loop, {})
    follower.catch_up.again(time.time() - 9000, ["/a"])
    follower.catch_up.again(time.time() - 3600, ["/a/b"])
    follower.hear(publishing.beat())
    turning(loop, lambda: len(follower.uids) == 5)
    assert sorted(follower.uids) == ["f1", "f2", "f2", "f3", "f3"]
    follower.close()


def test_what_a_section_does_not_hear_it_does_not_ask_for_again(loop: Loop, publishing: Publishing) -> None:
    """An order for one topic goes to all sections of a client."""
    follower, cursors = begin(loop, publishing)
    follower.hear(*publishing.publish(1), *publishing.publish(2, "/b"), publishing.beat())
    follower.uids.clear()
    follower.catch_up.again(time.time() - 3600, ["/b"])
    follower.catch_up.again(time.time() - 3600, ["/b", "/"])
    turning(loop, lambda: follower.uids)
    assert follower.uids == ["f1"]
    follower.close()


@pytest.mark.parametrize("topics, heard, both", [
    ([], ["/a"], ["/a"]), (["/"], ["/a"], ["/a"]), (["/a/b"], ["/a"], ["/a/b"]), (["/b"], ["/a"], []), (["/b"], [""], ["/b"]),
    (["/a", "/a/b"], ["/a/b", "/c"], ["/a/b"]), (["/ab"], ["/a"], ["/ab"])])
def test_topics_within_others(topics: list[str], heard: list[str], both: list[str]) -> None:
    assert within(topics, heard) == both
