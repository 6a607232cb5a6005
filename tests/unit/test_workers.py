"""The pool of mover threads: order, limits, and nobody waits for somebody else's host."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.eventually import eventually
from trollmoves.movers.base import Session, SessionSettings
from trollmoves.movers.file import FileMover, FileSession
from trollmoves.movers.sessions import Sessions
from trollmoves.uris import Destination
from trollmoves.workers import SPARE, Work, Workers


class Pool:
    """Workers whose results are noted as they come."""

    def __init__(self, most: int = 4):
        self.results: list[Any] = []
        self.deaths: list[BaseException] = []
        self.workers = Workers(self._tell, self.deaths.append, most)

    def _tell(self, calls: list[Any]) -> None:
        for function, arguments in calls:
            function(*arguments)

    def submit(self, *work: tuple[str, Any], limit: int = 4, quick: bool = False) -> None:
        self.workers.submit([Work(host, limit, lambda _, run=run: run(), self.results.append, quick) for host, run in work])


@pytest.fixture
def pool() -> Iterator[Pool]:
    found = Pool()
    yield found
    found.workers.stop(5.0)
    assert not found.deaths


def test_work_for_one_host_is_done_in_order(pool: Pool) -> None:
    pool.submit(*(("a", lambda number=number: number) for number in range(200)), limit=1)
    eventually(lambda: len(pool.results) == 200, message="all results")
    assert pool.results == list(range(200))


def test_no_more_than_the_limit_at_a_time(pool: Pool) -> None:
    running, most, lock, go = [0], [0], threading.Lock(), threading.Event()

    def work() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        go.wait(0.02)
        with lock:
            running[0] -= 1
    pool.submit(*(("a", work) for _ in range(20)), limit=2)
    eventually(lambda: len(pool.results) == 20, message="all results")
    assert most[0] == 2


def test_a_thread_that_is_about_to_begin_is_not_made_again(pool: Pool) -> None:
    """However fast work comes."""
    pool.workers.most_far = 32
    with pool.workers._condition:  # no thread gets to its work meanwhile
        for number in range(30):
            pool.submit(("a", lambda number=number: number))
        assert len(pool.workers._threads) == 1
    eventually(lambda: len(pool.results) == 30, message="all results")


def test_a_host_that_hangs_holds_up_no_other(pool: Pool) -> None:
    go = threading.Event()
    pool.submit(("slow", go.wait), ("slow", go.wait), limit=1)
    pool.submit(*(("fast", lambda: "done") for _ in range(10)))
    eventually(lambda: pool.results.count("done") == 10, message="the fast ones")
    go.set()
    eventually(lambda: len(pool.results) == 12, message="the slow ones")


def test_slow_hosts_that_have_all_threads_hold_up_no_other(pool: Pool) -> None:
    go = threading.Event()
    pool.submit(*((host, go.wait) for host in "ab" for _ in range(10)), limit=16)
    eventually(lambda: pool.workers.waiting == 16, message="four threads busy")
    for number in range(3):
        pool.submit(("c", lambda number=number: number), limit=16)
        eventually(lambda number=number: number in pool.results, message="done beside the slow ones")
    assert pool.workers.waiting == 16, "no more than four for those that hang"
    go.set()
    eventually(lambda: len(pool.results) == 23)


def test_quick_work_that_hangs_gets_another_thread(pool: Pool) -> None:
    go = threading.Event()
    pool.submit(("here", go.wait), quick=True)
    eventually(lambda: pool.workers.waiting == 0, message="taken")
    pool.submit(("here", lambda: "done"), quick=True)

    def nudged() -> bool:
        pool.workers.nudge()
        return "done" in pool.results
    eventually(nudged, message="done beside the one that hangs")
    go.set()


def test_many_hosts_that_hang_get_no_more_threads_than_there_are(pool: Pool) -> None:
    go = threading.Event()
    for number in range(300):
        pool.submit((f"{number}", go.wait), (f"{number} again", go.wait))
        pool.workers.nudge()
    eventually(lambda: pool.workers.waiting == 600 - 4 - SPARE, message="all threads busy")
    assert sum(thread.name.startswith("worker-") for thread in threading.enumerate()) <= 4 + SPARE
    go.set()
    eventually(lambda: len(pool.results) == 600, message="all done")


def test_work_far_away_has_threads_of_its_own_where_it_may(pool: Pool) -> None:
    go, count = threading.Event(), 12
    pool.workers.most_far = count
    pool.workers.submit([Work("far", 32, lambda _: go.wait(60), pool.results.append, far=True) for _ in range(40)])
    eventually(lambda: pool.workers.waiting == 40 - count, message="so many are under way, and no more")
    pool.submit(*(("near", lambda: go.wait(60)) for _ in range(40)), limit=8)
    eventually(lambda: pool.workers.waiting == 40 - count + 40 - 4, message="all that are near besides")
    go.set()
    eventually(lambda: len(pool.results) == 80, message="all is done")


def test_work_far_away_counts_as_any_other_where_the_number_is_given(pool: Pool) -> None:
    go = threading.Event()
    pool.workers.submit([Work("far", 32, lambda _: go.wait(60), pool.results.append, far=True) for _ in range(10)])
    eventually(lambda: pool.workers.waiting == 6, message="four at a time")
    go.set()
    eventually(lambda: len(pool.results) == 10, message="all is done")


def test_an_error_is_a_result(pool: Pool) -> None:
    def fail() -> None:
        raise ValueError("no")
    pool.submit(("a", fail), ("a", lambda: 1))
    eventually(lambda: len(pool.results) == 2, message="both")
    assert any(isinstance(result, ValueError) for result in pool.results)


def test_stopping_says_what_was_not_done() -> None:
    pool, go = Pool(most=1), threading.Event()
    pool.submit(*(("a", go.wait) for _ in range(3)), limit=1)
    eventually(lambda: pool.workers.waiting == 2, message="one taken")
    assert pool.workers.stop(0.1) == 3
    go.set()


class SlowToLeave(FileSession):
    """Says goodbye to a server that hangs."""

    leaving, go = threading.Event(), threading.Event()

    def close(self) -> None:
        self.leaving.set()
        assert self.go.wait(20)


class SlowMover(FileMover):
    def open(self, destination: Destination, settings: SessionSettings) -> Session:
        return SlowToLeave(settings)


def test_nobody_waits_for_a_session_that_is_slow_to_close() -> None:
    done: list[Any] = []
    workers = Workers(lambda calls: [function(*arguments) for function, arguments in calls], done.append, 4,
                      lambda: Sessions(mover_for=lambda scheme: SlowMover()))
    settings = SessionSettings(connection_uptime=0.0)
    try:
        workers.submit([Work("a", 1, lambda sessions: sessions.get(Destination("file", "", None, "/"), settings), done.append)])
        eventually(SlowToLeave.leaving.is_set, message="the session was idle")
        workers.submit([Work("b", 1, lambda _: "b", done.append)])
        eventually(lambda: "b" in done, message="work for another host")
        assert not SlowToLeave.go.is_set()
    finally:
        SlowToLeave.go.set()
        workers.stop(5.0)
