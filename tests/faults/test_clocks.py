"""T41: the clock of the machine is set while programs run (libfaketime)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.checker import rows
from tests.faults.network import Network
from tests.faults.test_disks_and_stops import small_disk
from tests.support.eventually import eventually, never
from tests.support.programs import Program
from tests.support.unavailable import unavailable

__all__ = ["small_disk"]  # a fixture

HOUR, DAY = 3600, 86400


class FalseClock:
    """What programs that were given its environment take for the time."""

    def __init__(self, root: Path):
        libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not libraries:
            unavailable("libfaketime is not installed (Debian: apt install faketime)")
        self.programs: list[Program] = []
        """Who was given it."""
        self._file = root / "clock"
        self.set(0)
        self.environment = {"LD_PRELOAD": str(libraries[0]), "FAKETIME_TIMESTAMP_FILE": str(self._file), "FAKETIME_NO_CACHE": "1",
                            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1",
                            "FAKETIME_DONT_RESET": "1"}

    def set(self, seconds: int) -> None:
        """So many seconds ahead of the true time."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{seconds:+d}")
        os.rename(fresh, self._file)

    def forget(self) -> None:
        """Remove what programs that were killed left in memory for those they start."""
        for pid in (pid for program in self.programs for pid in program.pids):
            for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
                Path("/dev/shm", name).unlink(missing_ok=True)


@pytest.fixture
def clock(tmp_path: Path) -> Iterator[FalseClock]:
    clock = FalseClock(tmp_path)
    yield clock
    clock.forget()


def clocked(network: Network, clock: FalseClock) -> None:
    clock.programs += network.programs
    for program in network.programs:
        program.environment.update(clock.environment)


@pytest.mark.slow
@pytest.mark.parametrize("leap", [2 * HOUR, 3 * DAY, -HOUR, -DAY])
def test_nothing_is_removed_early_and_all_goes_on_when_the_clock_is_set(tmp_path: Path, clock: FalseClock, leap: int) -> None:
    options = {"delete": "true", "remove_delay": "1", "delete_after": "1h"}
    with Network(tmp_path, server_options=options, killed=True) as network:
        clocked(network, clock)
        server = network.servers[0].start()
        network.write_many(5, "undelivered")
        eventually(lambda: len(rows(network.server_journal(), "SELECT 1 FROM announcements")) == 5, message="announced")
        mark = server.mark()
        clock.set(leap)
        server.wait_for("the clock was set", since=mark)
        never(lambda: len(list(network.origins[0].iterdir())) < 5, 3, message="undelivered origins are removed")
        network.client.start()
        network.settle(40, deletes=True)
        clock.set(0)
        network.write_many(5, "after")
        network.settle(40, deletes=True)
        assert network.stop() == [0, 0]
        network.check(deletes=True)


@pytest.mark.slow
@pytest.mark.parametrize("leap", [2 * DAY, -DAY])
def test_what_waits_to_be_tried_again_is_neither_given_up_nor_put_off(tmp_path: Path, clock: FalseClock, small_disk: Path,
                                                                      leap: int) -> None:
    with Network(tmp_path, destination=small_disk, killed=True) as network:
        clocked(network, clock)
        network.begin()
        (small_disk / ".filler").write_bytes(bytes(7_000_000))
        network.write("large.bin", os.urandom(5_000_000))
        network.servers[0].wait_for("No space left on device")
        mark = network.client.mark()
        clock.set(leap)
        network.client.wait_for("the clock was set", since=mark)
        network.client.wait_for("large.bin.*No space left", 60, since=mark)
        (small_disk / ".filler").unlink()
        network.settle(60)
        assert network.stop() == [0, 0]
        network.check()
