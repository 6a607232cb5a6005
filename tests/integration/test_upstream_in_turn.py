"""What upstream's server cannot do at the same time, a client of ours asks for one file after the other."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from tests.faults.checker import rows
from tests.integration.hostile import Stranger, text
from tests.support.eventually import eventually
from tests.support.programs import Program

FILES = 8
SLOW = 0.1
"""Seconds until a request is answered."""


class Upstream(Stranger):
    """Announces files as upstream does, and answers requests late, or never; notes how many there were at a time."""

    def __init__(self, *, answers: bool):
        self.most = 0
        self._answers = answers
        super().__init__()

    def _serve(self) -> None:
        router = self._context.socket(zmq.ROUTER)
        router.setsockopt(zmq.LINGER, 0)
        router.bind(f"tcp://127.0.0.1:{self.request_port}")
        waiting: list[tuple[float, list[bytes]]] = []
        while not self._ending:
            if router.poll(10):
                waiting.append((time.monotonic() + SLOW, router.recv_multipart()))
                self.asked.append(waiting[-1][1][-1])
                self.most = max(self.most, len(waiting))
            while self._answers and waiting and waiting[0][0] <= time.monotonic():
                identity, _, raw = waiting.pop(0)[1]
                fields = json.loads(raw.split(b" ", 6)[6])
                data = {"uid": fields["uid"], "uri": fields["destination"]}
                router.send_multipart([identity, b"", text("file", data)])
        router.close()

    def announce(self) -> None:
        for number in range(FILES):
            data = {"uid": f"{number}.bin", "uri": f"/x/{number}.bin", "request_address": f"127.0.0.1:{self.request_port}"}
            self.publisher.send(text("file", json.dumps(data), subject="/t"))


@pytest.fixture
def answers() -> bool:
    return True


@pytest.fixture
def upstream(answers: bool) -> Iterator[Upstream]:
    upstream = Upstream(answers=answers)
    yield upstream
    upstream.close()


def client(upstream: Upstream, root: Path, destination: str) -> Program:
    (root / "client.ini").write_text(
        f"[recv]\nproviders = 127.0.0.1:{upstream.port}\ntopic = /t\ndestination = {destination}\npublish_port = 0\n"
        "nameservers = false\ncreate_target_directory = false\nlisten_address = 127.0.0.1\ntransfer_req_timeout = 2\n")
    return Program.ours("client", "--journal", root / "client.journal", root / "client.ini", log=root / "client.log")


def states(root: Path) -> dict[str, int]:
    return dict(rows(root / "client.journal", "SELECT state, count(*) FROM files GROUP BY state"))


def all_are(upstream: Upstream, root: Path, state: str) -> bool:
    if not states(root):
        upstream.announce()  # until it is heard; all at once
        time.sleep(0.5)
    return states(root) == {state: FILES}


@pytest.mark.parametrize(("destination", "one_by_one"), [("ftp://127.0.0.1:9/there/", True), ("file:///there/", False)])
def test_files_for_another_host_are_asked_for_one_after_the_other(upstream: Upstream, tmp_path: Path, destination: str,
                                                                  one_by_one: bool) -> None:
    """Upstream's server has them share a connection without a lock."""
    with client(upstream, tmp_path, destination).start():
        eventually(lambda: all_are(upstream, tmp_path, "published"), 60, interval=0.2, message="all are published")
    assert len(upstream.asked) == FILES and (upstream.most == 1) == one_by_one


@pytest.mark.parametrize("answers", [False])
def test_a_server_that_does_not_answer_is_not_waited_for_once_per_file(upstream: Upstream, tmp_path: Path) -> None:
    with client(upstream, tmp_path, "ftp://127.0.0.1:9/there/").start():
        eventually(lambda: all_are(upstream, tmp_path, "failed"), 30, interval=0.2, message="all wait for another try")
    unanswered = "SELECT identity FROM files WHERE steps LIKE '%does not answer%'"
    assert len(rows(tmp_path / "client.journal", unanswered)) == FILES
