"""What was delivered last before the machine went down is looked at again, and delivered again where it did not last."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.held_workers import HeldWorkers
from tests.support.journals import committed
from trollmoves.config.reading import read_server_config
from trollmoves.errors import MoveError
from trollmoves.journal import Journal
from trollmoves.movers.sessions import Sessions
from trollmoves.server import verifying
from trollmoves.server.pushing import Pushing
from trollmoves.server.verifying import LAST_MINUTES, Verifying


class Looking:
    """A section whose machine went down behind some deliveries."""

    def __init__(self, root: Path):
        self.origin, self.destination = root / "origin", root / "in"
        for directory in (self.origin, self.destination):
            directory.mkdir()
        config = root / "server.ini"
        config.write_text(f"[s]\norigin = {self.origin}/{{name}}\ntopic = /t\nrequest_port = 9999\n")
        self.workers = HeldWorkers()
        self.journal = Journal(root / "journal", self._call_all, lambda error: None)
        self.pushing = Pushing(read_server_config(config).chains["s"], (str(self.origin),))

    @staticmethod
    def _call_all(calls: list[tuple[Callable[..., Any], tuple[Any, ...]]]) -> None:
        for function, arguments in calls:
            function(*arguments)

    def delivered(self, name: str, *members: str, ago: float = 0.0, destination: str = "", there: bool = True) -> None:
        """A file, or several as one, was delivered; what is not *there* did not last."""
        row, found = self.journal.new_file(), []
        for number, member in enumerate(members or (name,)):
            path = self.origin / member
            path.parent.mkdir(exist_ok=True)
            path.write_text(member)
            if there:
                (self.destination / member).parent.mkdir(exist_ok=True)
                (self.destination / member).write_text(member)
            status = path.stat()
            found.append((row, number, os.fsencode(path), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns,
                          f"{Path(member).parent}/"))
        _, _, path_of_first, device, inode, size, mtime, _ = found[0]
        when = time.time() - ago
        self.journal.write([
            ("add_file", [(row, "s", name, name, "acknowledged", when, "", None, size, path_of_first, device, inode, mtime, None,
                           None, None, 0, when)]),
            ("put_transfer", [(row, name, "s", "me", "us", False, "127.0.0.1", "r:1",
                               destination or f"file://localhost{self.destination}/", "acknowledged", when, 1, "[]")])])
        if members:
            self.journal.write([("add_member", [(*one, 0) for one in found])])
        committed(self.journal)

    def looks(self) -> list[str]:
        """The alarms after all was looked at."""
        committed(self.journal)
        Verifying("s", self.pushing, self.journal, self.workers).start()
        for work in self.workers.work:
            try:
                outcome = work.run(Sessions())
            except MoveError as error:
                outcome = error
            work.done(outcome)
        committed(self.journal)
        return [row["text"] for row in self.journal.find("open_alarms")]


@pytest.fixture
def looking(tmp_path: Path) -> Iterator[Looking]:
    looking = Looking(tmp_path)
    yield looking
    looking.journal.close()


def test_what_lasted_is_left_alone_and_the_rest_is_delivered_again(looking: Looking) -> None:
    looking.delivered("lasted")
    looking.delivered("lost", there=False)
    looking.delivered("old", there=False, ago=LAST_MINUTES + 60)
    looking.delivered("far", destination="ftp://198.51.100.1/in/", there=False)
    (alarm,) = looking.looks()
    assert alarm == f"{looking.origin}/lost had not survived the power loss at its destination: delivered again"
    assert sorted(path.name for path in looking.destination.iterdir()) == ["lasted", "lost"]


def test_of_several_files_in_one_each_goes_to_its_place(looking: Looking) -> None:
    looking.delivered("set", "one/a", "two/b")
    (looking.destination / "two/b").unlink()
    (alarm,) = looking.looks()
    assert "had not survived" in alarm
    assert sorted(path.read_text() for path in looking.destination.rglob("?")) == ["one/a", "two/b"]


def test_what_is_gone_here_is_no_alarm_and_what_cannot_be_compared_is_one(looking: Looking, tmp_path: Path) -> None:
    looking.delivered("gone", there=False)
    looking.delivered("lost", there=False)
    (looking.origin / "gone").unlink()
    looking.destination.rmdir()
    looking.destination.write_text("no directory")
    (alarm,) = looking.looks()
    assert alarm.startswith(f"{looking.origin}/lost, delivered before the machine went down, cannot be verified: ")


def test_what_is_here_is_only_counted_when_the_kernel_has_written_it(monkeypatch: pytest.MonkeyPatch) -> None:
    stalls = threading.Event()
    monkeypatch.setattr(os, "sync", stalls.wait)
    assert not verifying.synced(0.01)
    stalls.set()
    assert verifying.synced(60)
