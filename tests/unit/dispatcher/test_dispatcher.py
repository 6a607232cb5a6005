"""Targets come and go with the configuration; what waits for them, or is under way, does not get lost with them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.ports import free_port
from trollmoves.dispatcher.dispatcher import Dispatcher
from trollmoves.dispatcher.reading import read_dispatcher_config

HOUR = 3600.0


class Scene:
    """A dispatcher that is turned by the test, and a target that it may have."""

    def __init__(self, root: Path):
        self.config = root / "dispatcher.yaml"
        self.head = (f"posttroll_subscriber:\n  nameserver: false\n  subscribe_addresses: [tcp://127.0.0.1:{free_port()}]\n")
        self.configure()
        self.dispatcher = Dispatcher(self.config, root / "journal")
        self.apply(target=True)

    def configure(self, *, target: bool = True, directory: str = "/one", give_up_after: float = 2 * HOUR) -> None:
        text = (f"target:\n  host: ''\n  directory: {directory}\n  give_up_after: {give_up_after}\n"
                "  dispatch_configs: [{topics: [/a]}]\n")
        self.config.write_text(self.head + (text if target else ""))

    def apply(self, *, target: bool, directory: str = "/one") -> None:
        self.configure(target=target, directory=directory)
        self.dispatcher.apply(read_dispatcher_config(self.config))

    def waits(self, chain: str, age: float) -> int:
        """A file that has waited so long for a target."""
        file, came, nowhere = self.dispatcher.journal.new_file(), time.time() - age, (None, None, None, None)
        self.dispatcher.journal.write([("add_file", [(
            file, chain, f"f{file}", "m:1", "failed", came, "", came, 1, *nowhere, "there", "message", "to", 1, came)])])
        return file

    def state(self, file: int) -> str:
        self.dispatcher.loop.turn(0.02)
        row = self.dispatcher.journal.find_one("file", (file,))
        return str(row["state"]) if row is not None else ""

    def close(self) -> None:
        self.dispatcher.close_chains()
        self.dispatcher.workers.stop(1.0)
        self.dispatcher.journal.close()
        self.dispatcher.loop.close()


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)  # as it is, afterwards
    found = Scene(tmp_path)
    yield found
    found.close()


def test_a_target_that_is_configured_again_is_the_one_that_has_moves_under_way(scene: Scene) -> None:
    """Another one would begin them a second time."""
    target = scene.dispatcher._targets["target"]
    target._queue("there").in_flight.add(7)
    scene.apply(target=False)
    assert not scene.dispatcher._targets and not target._open
    eventually(lambda: scene.state(7) or scene.dispatcher.under_way() == 1, interval=0.0, message="the end waits for it")
    scene.apply(target=True, directory="/two")
    assert scene.dispatcher._targets == {"target": target} and target._open
    assert target.settings.dispatch_configs[0].directory == "/two"
    scene.apply(target=True, directory="/three")
    assert target.settings.dispatch_configs[0].directory == "/three"


def test_what_waits_for_a_target_that_is_configured_no_more_waits_for_a_day(scene: Scene) -> None:
    young, old = (scene.waits("another", age) for age in (23 * HOUR, 25 * HOUR))
    eventually(lambda: scene.state(old), interval=0.0)
    scene.dispatcher._give_up_overdue()
    eventually(lambda: scene.state(old) == "given_up", interval=0.0)
    assert scene.state(young) == "failed"


def test_what_waits_for_a_target_that_was_taken_away_waits_as_long_as_the_target_says(scene: Scene) -> None:
    scene.apply(target=False)
    young, old = (scene.waits("target", age) for age in (HOUR, 3 * HOUR))
    eventually(lambda: scene.state(old), interval=0.0)
    ended: list[int] = []
    target = scene.dispatcher._retired["target"]
    target.prepare = lambda row: ended.append(row["id"])  # type: ignore[method-assign, func-returns-value, assignment, return-value]
    scene.dispatcher._give_up_overdue()
    assert ended == [old]
    assert scene.state(young) == "failed"
