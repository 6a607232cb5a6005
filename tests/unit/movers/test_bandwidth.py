"""The clocks of hosts: what is sent takes its time, for all threads together; limits change while somebody waits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from trollmoves.config.reading import read_server_config
from trollmoves.config.settings import ServerSettings
from trollmoves.movers.bandwidth import MOST_HOSTS, PERIOD, Bandwidth, Pace, of_this_process
from trollmoves.movers.sessions import Sessions
from trollmoves.server.beneath import Announced
from trollmoves.server.pushing import Member, Push, Pushing
from trollmoves.uris import parse_destination

RATE = 100_000


@pytest.fixture
def bandwidth() -> Bandwidth:
    made = Bandwidth()
    made.limit("one", RATE)
    return made


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as made:
        yield made


def finished(futures: list[Future[None]]) -> list[Future[None]]:
    for future in futures:
        future.result(60)
    return futures


def test_all_threads_share_the_clock_of_a_host(bandwidth: Bandwidth, pool: ThreadPoolExecutor) -> None:
    started = time.monotonic()
    finished([pool.submit(bandwidth.wait_for, "one", "host", RATE // 10) for _ in range(10)])
    assert time.monotonic() - started >= 1.0


def test_nothing_is_saved_up(bandwidth: Bandwidth) -> None:
    bandwidth.wait_for("one", "host", 1)
    time.sleep(0.3)
    started = time.monotonic()
    bandwidth.wait_for("one", "host", RATE // 5)
    assert time.monotonic() - started >= 0.2


def test_other_hosts_and_sections_without_a_limit_do_not_wait(bandwidth: Bandwidth, pool: ThreadPoolExecutor) -> None:
    waiting = pool.submit(bandwidth.wait_for, "one", "host", 1000 * RATE)
    finished([pool.submit(bandwidth.wait_for, "one", "elsewhere", 10), pool.submit(bandwidth.wait_for, "two", "host", 10**12)])
    assert not waiting.done()
    bandwidth.limit("one", None)
    waiting.result(60)


def test_sections_that_limit_the_same_host_share_it(bandwidth: Bandwidth, pool: ThreadPoolExecutor) -> None:
    bandwidth.limit("two", 2 * RATE)
    started = time.monotonic()
    finished([pool.submit(bandwidth.wait_for, section, "host", RATE // 2) for section in ("one", "two")])
    assert time.monotonic() - started >= 0.75


@pytest.mark.parametrize("rate", [None, 10**12, 1024])
def test_a_change_ends_a_pause(bandwidth: Bandwidth, pool: ThreadPoolExecutor, rate: int | None) -> None:
    waiting = [pool.submit(bandwidth.wait_for, "one", "host", 1000 * RATE) for _ in range(3)]
    eventually(lambda: bandwidth._free.get("host", 0.0) > time.monotonic() + 2500)
    bandwidth.limit("one", RATE)  # the same is no change
    assert not any(future.done() for future in waiting)
    bandwidth.limit("one", rate)
    finished(waiting)
    assert bandwidth.rate("one") == rate


def test_idle_hosts_are_forgotten(bandwidth: Bandwidth) -> None:
    bandwidth.limit("one", 10**12)
    for number in range(3 * MOST_HOSTS):
        bandwidth.wait_for("one", f"host-{number}", 1)
    assert len(bandwidth._free) <= MOST_HOSTS + 1


@pytest.mark.parametrize(("rate", "most", "expected"), [
    (None, 2**26, 2**26), (1024, 2**16, int(1024 * PERIOD)), (2**20, 100, 100), (1, 2**16, 1)])
def test_how_much_goes_at_once(rate: int | None, most: int, expected: int) -> None:
    bandwidth = Bandwidth()
    bandwidth.limit("one", rate)
    assert Pace(bandwidth, "one", "host").at_once(most) == expected


def section(tmp_path: Path, text: str) -> ServerSettings:
    path = tmp_path / "server.ini"
    path.write_text(f"[paced]\norigin = /d/{{a}}\ntopic = /t\nrequest_port = 9094\n{text}\n")
    configuration = read_server_config(path)
    assert configuration.problems == ()
    return configuration.chains["paced"]


def test_a_reload_changes_the_limit_of_what_runs(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    origin = tmp_path / "in" / "origin.dat"
    origin.parent.mkdir()
    origin.write_bytes(bytes(2 * 2**20))
    settings = section(tmp_path, "bandwidth_per_host = 1k")  # half an hour
    pushing = Pushing(settings, (str(origin.parent),))
    status = origin.stat()
    announced = Announced(str(origin), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    destination = parse_destination(f"file://{tmp_path}/out/")
    assert not pushing.is_quick(destination, 10)
    push = Push("0123456789abcdef", (Member(announced, None),), destination, (), "127.0.0.1", 1)
    steps: list[int] = []
    moving = pool.submit(pushing.push, push, Sessions(), steps.append)
    eventually(lambda: steps)
    assert not moving.done()
    unlimited = Pushing(section(tmp_path, ""), (str(origin.parent),))
    assert moving.result(60)[0].size == 2 * 2**20
    assert unlimited.is_quick(destination, 10)
    assert of_this_process().rate("paced") is None
