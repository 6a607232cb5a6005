"""Where the files of a target go when it is configured otherwise while they wait."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.held_workers import HeldWorkers
from tests.unit.dispatcher.test_reading import read
from trollmoves.bus import Loop
from trollmoves.config.targets import TargetSettings
from trollmoves.dispatcher.target import Target
from trollmoves.journal import Journal
from trollmoves.messages import Envelope, decode
from trollmoves.queueing.triggers import triggers_of

ENVELOPE = Envelope("somebody@here")


class Scene:
    """A target that nobody moves files for."""

    def __init__(self, root: Path):
        self.root, self.loop, self.workers = root, Loop(), HeldWorkers()
        self.journal = Journal(root / "journal", self.loop.call_all, self.loop.fail)
        self.target = Target(self.settings("/one", "/two"), self.journal, self.workers, ENVELOPE, None)

    def settings(self, *directories: str) -> TargetSettings:
        items = ", ".join(f"{{topics: [/a], directory: {directory}}}" for directory in directories)
        return read(self.root, f"target:\n  host: ''\n  directory: /x\n  dispatch_configs: [{items}]\n").chains["target"]

    def hear(self, name: str, number: int = 0) -> None:
        raw = ENVELOPE.encode("/a", "file", {"uid": name, "uri": f"/data/{name}", "number": number})
        rows = [row for trigger in triggers_of(decode(raw)) for row in self.target.records(trigger)]
        self.journal.write([("add_file", rows)])

    def configure(self, *directories: str) -> None:
        self.target.configure(self.settings(*directories))

    def files(self) -> list[tuple[str, str, str]]:
        """Name, place and state, in the order they came."""
        rows: list[Any] = [row for name in ("a", "b") for row in self.journal.find("files_named", (name,))]
        return [(row["identity"], row["request"], row["state"]) for row in sorted(rows, key=lambda row: int(row["id"]))]

    def pump_until(self, expected: list[tuple[str, str, str]]) -> None:
        def is_so() -> bool:
            self.loop.turn(0.02)
            self.target.pump()
            return self.files() == expected
        eventually(is_so, 20, interval=0.0, message=f"{self.files()} become {expected}")

    def close(self) -> None:
        self.journal.close()
        self.loop.close()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    found = Scene(tmp_path)
    yield found
    found.close()


def test_a_file_whose_place_is_configured_no_more_goes_where_the_target_leads_now_and_nowhere_twice(scene: Scene) -> None:
    scene.hear("a", 1)
    scene.configure("/two", "/three")
    first = [("a", "/one/*", "given_up"), ("a", "/two/*", "announced"), ("a", "/three/*", "announced")]
    scene.pump_until(first)
    scene.configure("/one")
    scene.hear("a", 2)  # another message about the same name is another file
    scene.configure("/two")
    scene.pump_until([*first, ("a", "/one/*", "given_up"), ("a", "/two/*", "announced")])


def test_items_that_lead_to_one_place_send_a_file_there_once(scene: Scene) -> None:
    scene.configure("/one", "/one")
    scene.hear("b")
    scene.pump_until([("b", "/one/*", "announced")])
