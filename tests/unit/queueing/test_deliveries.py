"""What becomes of a file that waits for a host: when it is taken, under which name it is moved, when it is given up."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from trollmoves.bus import Loop
from trollmoves.errors import MoveError, OriginGone, Refused, Unreachable
from trollmoves.journal import Journal
from trollmoves.movers.base import Receipt
from trollmoves.queueing.deliveries import Deliveries, Delivery, Flight, Host
from trollmoves.workers import Work, Workers

DAY = 86400.0


class Held(Workers):
    """Workers that do nothing."""

    def __init__(self) -> None:
        super().__init__(lambda calls: None, lambda error: None, 0)
        self.work: list[Work] = []

    def submit(self, work: Sequence[Work]) -> None:
        self.work += work


class Plain(Deliveries):
    role = "move_it"
    verbs = ("move", "moved")

    def __init__(self, journal: Journal, workers: Workers):
        super().__init__("s", DAY, journal, workers, None)
        self.told: list[tuple[int, bool]] = []

    def prepare(self, row: Any) -> Delivery:
        return Delivery(lambda sessions: Receipt("/x", 1, "", "size", 0.0), "f", "to", None)

    def report(self, flight: Flight, receipt: Receipt) -> None:
        return None

    def tell_failure(self, flight: Flight, error: str, *, final: bool) -> None:
        self.told.append((flight.attempt, final))


class Scene:
    def __init__(self, path: Path):
        self.loop = Loop()
        self.journal = Journal(path, self.loop.call_all, self.loop.fail)
        self.workers = Held()
        self.deliveries = Plain(self.journal, self.workers)
        self.deliveries.set_hosts({"host": Host(4, False)})

    def file(self, created: float, attempt: int = 0) -> int:
        file = self.journal.new_file()
        nowhere = None, None, None, None
        self.journal.write([("add_file", [(file, "s", f"f{file}", "m:1", "failed", created, "", created, 1, *nowhere, "host",
                                           "message", "to", attempt, created)])])
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
