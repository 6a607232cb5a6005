"""T05: a power loss at any moment. What real programs did is recorded, and each sampled state that a disk may be in afterwards
has to keep the promises: nothing partial under a final name (I3), no origin gone without its delivery (I4), nothing told that the
journal does not know; and a network that is started on what is left delivers everything (I1, I2).
"""

from __future__ import annotations

import copy
import os
import random
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.checker import Observer, content_of, rows
from tests.faults.network import Network, Recorder
from tests.faults.power_loss import Disk, Event, read_events, strace
from tests.faults.test_killing import seeded
from tests.support.programs import Program
from tests.support.unavailable import need_program
from trollmoves.faults.contents import Content

DELETING = {"delete": "true", "remove_delay": "0.5"}
FILES = 12


@dataclass
class Recorded:
    """A network that ran once, and all its programs did meanwhile."""

    network: Network
    before: Disk
    events: list[Event]
    kept: Path
    """Hard links to the origins, so that they come back with the same inode."""
    contents: dict[str, Content]

    @property
    def directory(self) -> Path:
        return self.network.destination / "a" / "b"


def traced(program: Program, log: Path) -> Program:
    return Program([*strace(log), *program.argv], program.log, environment=program.environment, name=program.name)


def record(root: Path, options: dict[str, str]) -> Recorded:
    """Run a network under strace until all is delivered (and removed, with `delete`)."""
    need_program("strace", "strace")
    network = Network(root / "network", server_options=options,
                      client_options={"destination": f"file://{root}/network/destination/a/b/"}, killed=True)
    kept = root / "kept"
    kept.mkdir()
    dice = random.Random(1)
    for number in range(FILES):
        network.write(f"f{number:05}.bin", dice.randbytes(2_000_000 if number == 5 else dice.choice((1000, 5000, 60_000))))
    for path in network.origins[0].iterdir():
        os.link(path, kept / path.name)
    before = Disk(network.root)
    logs = [root / "server.strace", root / "client.strace"]
    network.servers[0], network.client = traced(network.servers[0], logs[0]), traced(network.client, logs[1])
    with network:
        network.start()
        network.settle(90, deletes=bool(options))
        assert network.stop() == [0, 0]
    return Recorded(network, before, read_events(logs), kept, network.ledger.latest())


def moments(recorded: Recorded, dice: random.Random, histories: int, at_each: int) -> Iterator[tuple[int, dict[str, bytes]]]:
    """Number of the last event, and what is left, for so many histories at random moments after the first announcement."""
    first = next(number for number, event in enumerate(recorded.events) if event.call == "sendto" and b".bin" in event.data)
    chosen = sorted(dice.randrange(first, len(recorded.events)) for _ in range(histories // at_each))
    disk, at = copy.deepcopy(recorded.before), -1
    for moment in chosen:
        for event in recorded.events[at + 1:moment + 1]:
            disk.play(event)
        at = max(at, moment)
        for _ in range(at_each):
            yield moment, disk.after_power_loss(dice)


def partial(recorded: Recorded, left: dict[str, bytes]) -> list[str]:
    """Final names with a content that is not whole (I3)."""
    final = {name: left.get(f"{recorded.directory}/{name}") for name in recorded.contents}
    return [f"{name}: {len(data)} bytes" for name, data in final.items()
            if data is not None and content_of(data) != recorded.contents[name]]


def gone(recorded: Recorded, left: dict[str, bytes]) -> list[str]:
    """Origins that are gone without a delivery (I4)."""
    origin = recorded.network.origins[0]
    return [name for name, content in recorded.contents.items() if f"{origin}/{name}" not in left
            and content_of(left.get(f"{recorded.directory}/{name}", b"")) != content]


@pytest.fixture(scope="module")
def deleting(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("deleting"), DELETING)


@pytest.fixture(scope="module")
def keeping(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return record(tmp_path_factory.mktemp("keeping"), {})


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_nothing_is_partial_or_gone_after_a_power_loss_while_origins_are_removed(deleting: Recorded) -> None:
    dice = seeded()
    for moment, left in moments(deleting, dice, 10_000, 25):
        found = [f"I3: {text}" for text in partial(deleting, left)] + [f"I4: {name}" for name in gone(deleting, left)]
        assert not found, f"after event {moment} {deleting.events[moment]}: {found}"


NAMES = re.compile(rb"f\d{5}\.bin")


def journal_of(left: dict[str, bytes], path: Path, place: Path) -> Path:
    """What is left of the journal at *path*, put at *place*."""
    for suffix in ("", "-wal"):
        Path(f"{place}{suffix}").write_bytes(left.get(f"{path}{suffix}", b""))
    return place


def told(recorded: Recorded, program: int, moment: int) -> set[str]:
    """Names that *program* had sent to anybody by then."""
    return {name.decode() for event in recorded.events[:moment + 1] if event.program == program and event.call == "sendto"
            for name in NAMES.findall(event.data)}


def whole(recorded: Recorded, left: dict[str, bytes]) -> set[str]:
    return {name for name, content in recorded.contents.items()
            if content_of(left.get(f"{recorded.directory}/{name}", b"")) == content}


MOVED = "SELECT identity FROM files JOIN transfers ON file = id WHERE transfers.state IN ('moved', 'acknowledged')"
REMOVED = "SELECT identity FROM files WHERE instr(steps, '[\"removed\"')"
PUBLISHED = "SELECT identity FROM files WHERE state IN ('publishing', 'published')"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_journals_survive_with_all_that_was_told_and_say_nothing_that_is_not_so(deleting: Recorded, tmp_path: Path) -> None:
    dice = seeded()
    journals = [deleting.network.server_journal(), deleting.network.client_journal]
    for moment, left in moments(deleting, dice, 400, 4):
        arrived = whole(deleting, left)
        for number, (path, query) in enumerate(zip(journals, (MOVED, PUBLISHED), strict=True)):
            journal = journal_of(left, path, tmp_path / f"{number}.journal")
            assert rows(journal, "PRAGMA quick_check") == [("ok",)], f"{path.name} after event {moment}"
            known = {name for (name,) in rows(journal, "SELECT identity FROM files")}
            assert told(deleting, number, moment) <= known, f"{path.name} after event {moment}: told, and not journaled"
            said = {name for (name,) in rows(journal, query)}
            assert said <= arrived, f"{path.name} after event {moment}: journaled as delivered, and not there"
            removed = {name for (name,) in rows(journal, REMOVED) if f"{deleting.network.origins[0]}/{name}" in left}
            assert not removed, f"{path.name} after event {moment}: journaled as removed, and there again: {removed}"
            journal.with_name(f"{journal.name}-shm").unlink(missing_ok=True)


def plain_name(name: str) -> str:
    """The name that a file had before it was set aside in order to be removed."""
    found = NAMES.search(name.encode())
    assert found is not None
    return found[0].decode()


def put_back(recorded: Recorded, left: dict[str, bytes]) -> None:
    """Make the disk what is *left*, with another boot of the machine; origins keep their inodes."""
    network = recorded.network
    shutil.rmtree(network.destination)
    for path in (*network.origins[0].iterdir(), *network.root.glob("*.journal*")):
        path.unlink()
    network.destination.mkdir()
    for name, data in left.items():
        path = Path(name)
        if path.parent == network.origins[0]:
            os.link(recorded.kept / plain_name(path.name), path)
        elif path.is_relative_to(network.destination) or ".journal" in path.name:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    for journal in network.root.glob("*.journal"):
        with closing(sqlite3.connect(journal)) as connection, connection:
            connection.execute("UPDATE meta SET value = 'another boot' WHERE name = 'boot'")


@pytest.mark.slow
@pytest.mark.parametrize("times", [
    pytest.param(2, marks=pytest.mark.timeout(300)), pytest.param(40, marks=[pytest.mark.nightly, pytest.mark.timeout(1500)])])
@pytest.mark.parametrize("kind", ["deleting", "keeping"])
def test_a_network_goes_on_with_what_a_power_loss_left(kind: str, times: int, request: pytest.FixtureRequest) -> None:
    recorded: Recorded = request.getfixturevalue(kind)
    network, deletes = recorded.network, kind == "deleting"
    for moment, left in moments(recorded, seeded(), times, 1):
        put_back(recorded, left)
        network.recorder, network.observer = Recorder(network.client_port), Observer(network.destination, network.ledger)
        network.disarm()
        with network:
            network.start()
            network.settle(60, deletes=deletes)
            assert network.stop() == [0, 0], moment
            network.check(deletes=deletes)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_model_sees_what_was_not_synced(keeping: Recorded) -> None:
    """Without `delete` deliveries are not synced: they are looked at again after the restart, because of states like these."""
    found = [text for _, left in moments(keeping, random.Random(1), 400, 4) for text in partial(keeping, left)]
    assert found
