"""What becomes of a file that waits for a host: when it is taken, under which name it is moved, when it is given up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from tests.support.held_workers import HeldWorkers
from trollmoves.bus import Loop
from trollmoves.errors import MoveError, OriginGone, Refused, Unreachable
from trollmoves.journal import Journal
from trollmoves.messages import Envelope, Message, decode
from trollmoves.movers.base import Receipt
from trollmoves.movers.circuits import OPENS_AFTER
from trollmoves.queueing.deliveries import Deliveries, Delivery, Flight, Host
from trollmoves.queueing.results import Results
from trollmoves.workers import Workers

DAY = 86400.0
ENVELOPE = Envelope("u@h")
RECEIPT = Receipt("/x", 1, "", "size", 0.0)


class Plain(Deliveries):
    role = "move_it"
    verbs = ("move", "moved")

    def __init__(self, journal: Journal, workers: Workers, results: Results | None):
        super().__init__("s", DAY, journal, workers, results)
        self.told: list[tuple[int, bool]] = []
        self.prepared: list[int] = []
        self.turn: str | None = None
        self.sends_there = True

    def prepare(self, row: Any) -> Delivery | None:
        self.prepared.append(row["id"])
        if not self.sends_there:
            self.end(row, "it goes there no more")
            return None
        return Delivery(lambda sessions: RECEIPT, "f", "to", None, self.turn)

    def report(self, flight: Flight, receipt: Receipt) -> tuple[str, bytes]:
        return "/a", ENVELOPE.encode("/a", "file", {"uid": flight.row["identity"], "uri": receipt.uri})

    def tell_failure(self, flight: Flight, error: str, *, final: bool) -> None:
        self.told.append((flight.attempt, final))


class Scene:
    def __init__(self, path: Path):
        self.loop = Loop()
        self.journal = Journal(path, self.loop.call_all, self.loop.fail)
        self.workers = HeldWorkers()
        self.sent: list[Message] = []
        self.known: list[str] = []
        """What the journal had of each file when it was told of."""
        self.results = Results("move_it", self.loop, self.journal, ENVELOPE, Mock(send=self._send, publish=self._publish))
        self.deliveries = Plain(self.journal, self.workers, self.results)
        self.deliveries.set_hosts({"host": Host(4, False)})

    def _publish(self, raw: bytes, subject: str, position: int) -> None:
        assert decode(raw).extension["offset"] == position
        self._send(raw)

    def _send(self, raw: bytes) -> None:
        message = decode(raw)
        self.sent.append(message)
        self.known += [row["state"] for row in (self.row(int(message.fields["uid"][1:])),)]

    def file(self, created: float, attempt: int = 0, due: float | None = None) -> int:
        file = self.journal.new_file()
        nowhere = None, None, None, None
        self.journal.write([("add_file", [(file, "s", f"f{file}", "m:1", "failed", created, "", due or created, 1, *nowhere,
                                           "host", "message", "to", attempt, created)])])
        self.written()
        return file

    def written(self) -> None:
        done: list[bool] = []
        self.journal.write([], done.append, True)
        deadline = time.monotonic() + 30
        while not done:
            assert time.monotonic() < deadline
            self.loop.turn(0.02)

    def fails(self, error: MoveError) -> None:
        """The file that is due is taken and cannot be moved."""
        self.deliveries.pump()
        self.workers.work.pop().done(error)
        self.written()

    def arrives(self) -> None:
        """The first file that was taken is at its destination."""
        self.workers.work.pop(0).done(RECEIPT)
        self.written()

    def row(self, file: int) -> Any:
        return self.journal.find_one("file", (file,))


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    found = Scene(tmp_path / "journal")
    yield found
    found.journal.close()
    found.loop.close()


def test_nothing_is_taken_as_long_as_the_times_are_those_of_before_the_clock_was_set(scene: Scene) -> None:
    scene.file(time.time() - 10)
    scene.journal.times_to_move = 1
    scene.deliveries.pump()
    assert scene.workers.work == []
    scene.journal.times_to_move = 0
    scene.deliveries.pump()
    assert len(scene.workers.work) == 1


@pytest.mark.parametrize(("revived", "state"), [(True, "failed"), (False, "given_up")])
def test_what_an_operator_has_tried_again_is_tried_for_as_long_as_if_it_were_new(scene: Scene, revived: bool, state: str) -> None:
    file, now = scene.file(time.time() - 10 * DAY), time.time()
    if revived:
        scene.journal.write([("revive", [{"id": file, "now": now, "line": ""}])])
        scene.written()
    scene.fails(Unreachable("it is down"))
    assert scene.row(file)["state"] == state


def test_the_first_failure_and_the_last_are_told(scene: Scene) -> None:
    for attempt in range(3):
        scene.file(time.time() - 10, attempt)
        scene.deliveries.try_hosts_again()
        scene.fails(Refused("it is full") if attempt < 2 else OriginGone("gone"))
        scene.journal.write([("step_all", [("published", 1.0, "", f"[{attempt + 1}]")])])
        scene.written()
    assert scene.deliveries.told == [(1, False), (3, True)]


def test_another_process_writes_under_another_name_and_every_attempt_of_ours_under_the_same(scene: Scene, tmp_path: Path) -> None:
    row = scene.row(scene.file(1.0))
    names = {scene.deliveries.transfer(row, "to") for _ in range(2)}
    other = Scene(tmp_path / "another")
    names.add(other.deliveries.transfer(row, "to"))
    names.add(scene.deliveries.transfer(row, "elsewhere"))
    assert len(names) == 3
    other.journal.close()
    other.loop.close()


def test_what_was_interrupted_may_have_been_begun(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = scene.row(scene.file(1.0)), scene.row(scene.file(1.0, attempt=1))
    assert [scene.deliveries.was_begun(row) for row in (first, second)] == [False, True]
    monkeypatch.setattr(scene.journal, "was_interrupted", lambda file: file == first["id"])
    assert scene.deliveries.was_begun(first)


def test_what_is_told_is_in_the_journal_and_counts_as_published_when_it_has_left(scene: Scene) -> None:
    file = scene.file(time.time() - 10)
    scene.deliveries.pump()
    scene.arrives()
    assert scene.known == ["publishing"]
    deadline = time.monotonic() + 30
    while scene.row(file)["state"] != "published":
        assert time.monotonic() < deadline
        scene.written()
    assert scene.results.on_their_way == 0 and len(scene.sent) == 1


def test_what_may_have_left_is_told_again_and_says_so(scene: Scene) -> None:
    scene.file(time.time() - 10)
    scene.deliveries.pump()
    scene.arrives()
    scene.results.publish_again()
    assert [message.extension.get("redelivered", False) for message in scene.sent] == [False, True]


def test_there_is_one_at_a_time_of_those_with_one_turn(scene: Scene) -> None:
    scene.deliveries.turn = "/out/f"
    for _ in range(2):
        scene.file(time.time() - 10)
    scene.deliveries.pump()
    assert len(scene.workers.work) == 1
    scene.arrives()
    scene.deliveries.pump()
    assert len(scene.workers.work) == 1


def test_more_is_taken_when_half_of_what_was_is_there(scene: Scene) -> None:
    for _ in range(12):
        scene.file(time.time() - 10)
    scene.deliveries.pump()
    assert len(scene.workers.work) == 8
    for _ in range(4):
        scene.arrives()
    assert len(scene.workers.work) == 8 and len(set(scene.deliveries.prepared)) == len(scene.deliveries.prepared) == 12


def test_a_host_that_failed_often_is_tried_with_any_file_and_when_it_works_all_are_due(scene: Scene) -> None:
    later = time.time() + 3600
    files = [scene.file(time.time() - 10, due=later) for _ in range(2)]
    queue = scene.deliveries._queue("host")
    queue.failures = OPENS_AFTER - 1
    scene.journal.write([("hurry_files", [(1.0, "s", "host", 1.0)])])
    scene.written()
    scene.fails(Unreachable("it is down"))
    assert scene.journal.find("circuits")
    queue._closed_until = 0.0
    scene.journal.write([("step_due", [("failed", 1.0, 1, later, "", file) for file in files])])
    scene.written()
    scene.deliveries.pump()
    assert len(scene.workers.work) == 1, "though none is due"
    scene.arrives()
    assert not scene.journal.find("circuits")
    assert all(row["due"] is None or row["due"] <= time.time() for row in map(scene.row, files))


def test_what_ends_is_taken_by_nobody_meanwhile(scene: Scene) -> None:
    file = scene.file(time.time() - 10)
    scene.deliveries.sends_there = False
    for _ in range(2):
        scene.deliveries.pump()
    assert scene.deliveries.prepared == [file]
    scene.written()
    assert scene.row(file)["state"] == "given_up"


def test_what_is_under_way_to_a_host_that_is_configured_no_more_is_not_taken_again(scene: Scene) -> None:
    file = scene.file(time.time() - 10)
    scene.deliveries.pump()
    scene.deliveries.set_hosts({})
    scene.deliveries.pump()
    assert scene.deliveries.prepared == [file]
