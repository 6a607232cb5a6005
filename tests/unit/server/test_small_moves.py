"""The process of small moves: what it does, and that workers do whatever it cannot."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.unavailable import need_program
from trollmoves.bus import Loop
from trollmoves.movers.base import Receipt
from trollmoves.server import small_moves
from trollmoves.server.small_moves import Order, SmallMoves


class Ordering:
    """Orders of files in a directory, and what came of them."""

    def __init__(self, root: Path):
        self.source, self.target = root / "source", root / "target"
        self.source.mkdir()
        self.target.mkdir()
        self.loop = Loop()
        self.moves = SmallMoves(self.loop)
        self.done: dict[str, Receipt] = {}
        self.instead: list[str] = []

    def order(self, name: str, content: bytes = b"content", target: Path | None = None, *, sync: bool = False) -> Order:
        path = self.source / name
        path.write_bytes(content)
        status = path.stat()
        file = str(path), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
        how = "0123456789abcdef", sync, "auto", "identical", None
        plain = (str(self.source),), (0o755, None, "auto", False), [(file, ("file", "", None, f"{target or self.target}/"))], how

        def done(receipts: list[Receipt]) -> None:
            [self.done[name]] = receipts
        return Order(plain, done, lambda: self.instead.append(name))

    def turn_until(self, check: Any, seconds: float = 20.0) -> None:
        def turned() -> Any:
            self.loop.turn(0.01)
            return check()
        eventually(turned, seconds, interval=0.0)

    def ready(self) -> None:
        self.turn_until(self.moves.is_ready)

    @property
    def pid(self) -> int:
        process = self.moves._process
        assert process is not None
        return process.pid


@pytest.fixture
def ordering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ordering]:
    monkeypatch.setattr(small_moves, "HELD_UP", 30.0)  # the machine may be busy
    found = Ordering(tmp_path)
    yield found
    found.moves.close()
    found.loop.close()


def test_files_are_moved_and_their_receipts_say_so(ordering: Ordering) -> None:
    ordering.ready()
    names = [f"file{number}" for number in range(200)]
    ordering.moves.add([ordering.order(name, name.encode()) for name in names])
    ordering.turn_until(lambda: len(ordering.done) == len(names))
    assert not ordering.instead
    for name in names:
        assert (ordering.target / name).read_bytes() == name.encode()
        receipt = ordering.done[name]
        assert (receipt.uri, receipt.size, receipt.verified) == (f"file://{ordering.target}/{name}", len(name), "sum")
    assert sorted(os.listdir(ordering.target)) == sorted(names)


def test_what_it_cannot_do_is_left_to_workers(ordering: Ordering, tmp_path: Path) -> None:
    ordering.ready()
    blocked = tmp_path / "blocked"
    blocked.write_bytes(b"no directory")
    gone = ordering.order("gone")
    (ordering.source / "gone").unlink()
    odd = os.fsdecode(b"\xff")
    ordering.moves.add([ordering.order("one"), ordering.order("two", target=blocked), gone])
    ordering.moves.add([ordering.order(odd), ordering.order("three")])
    ordering.moves.add([ordering.order("four")])
    ordering.turn_until(lambda: len(ordering.done) + len(ordering.instead) == 6)
    assert {"two", "gone", odd} <= set(ordering.instead)
    assert {"one", "four"} <= set(ordering.done)


def test_files_that_shall_last_are_synced_before_they_are_seen_and_one_that_fails_takes_no_other_with_it(
        ordering: Ordering, tmp_path: Path) -> None:
    ordering.ready()
    blocked = tmp_path / "blocked"
    blocked.write_bytes(b"no directory")
    names = [f"file{number}" for number in range(20)]
    orders = [ordering.order(name, name.encode(), sync=True) for name in names]
    orders.insert(7, ordering.order("bad", target=blocked, sync=True))
    log = tmp_path / "calls"
    command = [need_program("strace", "strace"), "-y", "-e", "trace=fsync,rename", "-o", str(log), "-p", str(ordering.pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None and "attached" in tracer.stderr.readline()
        ordering.moves.add(orders)
        ordering.turn_until(lambda: len(ordering.done) + len(ordering.instead) == len(orders))
        tracer.terminate()
    assert ordering.instead == ["bad"]
    assert sorted(os.listdir(ordering.target)) == sorted(names)
    calls = log.read_text().splitlines()
    for name in names:
        assert (ordering.target / name).read_bytes() == name.encode()
        synced = [number for number, call in enumerate(calls) if call.startswith("fsync") and f"/.{name}." in call]
        [renamed] = [number for number, call in enumerate(calls) if call.startswith("rename") and call.endswith(f'/{name}") = 0')]
        assert min(synced) < renamed
        assert any(call.startswith("fsync") and f"<{ordering.target}>" in call for call in calls[renamed:])
    of_files = sum(call.startswith("fsync") and ".part>" in call for call in calls)
    of_directory = sum(call.startswith("fsync") and f"<{ordering.target}>" in call for call in calls)
    assert of_files == 20 and of_directory < 20  # the directory once for many files


def test_a_file_that_the_disk_refuses_to_begin_with_is_not_taken_for_synced(ordering: Ordering) -> None:
    ordering.ready()
    command = [need_program("strace", "strace"), "-e", "trace=sync_file_range", "-e", "inject=sync_file_range:error=EIO:when=3",
               "-o", "/dev/null", "-p", str(ordering.pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None and "attached" in tracer.stderr.readline()
        ordering.moves.add([ordering.order(f"file{number}", sync=True) for number in range(5)])
        ordering.turn_until(lambda: len(ordering.done) + len(ordering.instead) == 5)
        tracer.terminate()
    assert ordering.instead == ["file2"]
    assert sorted(os.listdir(ordering.target)) == ["file0", "file1", "file3", "file4"]
    assert not [link for link in Path(f"/proc/{ordering.pid}/fd").iterdir() if "file2" in os.readlink(link)]


def test_its_death_leaves_nothing_undone(ordering: Ordering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_moves, "START_AGAIN", 0.1)
    ordering.ready()
    first = ordering.pid
    os.kill(first, signal.SIGSTOP)
    names = [f"file{number}" for number in range(100)]
    ordering.moves.add([ordering.order(name) for name in names])
    os.kill(first, signal.SIGKILL)
    ordering.turn_until(lambda: sorted([*ordering.done, *ordering.instead]) == sorted(names))
    ordering.ready()
    assert ordering.pid != first
    ordering.moves.add([ordering.order("after")])
    ordering.turn_until(lambda: "after" in ordering.done)


def test_what_hangs_gets_nothing_new_and_is_given_up(ordering: Ordering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_moves, "STALLED", 1.0)
    ordering.ready()
    monkeypatch.setattr(small_moves, "HELD_UP", 0.05)
    os.kill(ordering.pid, signal.SIGSTOP)
    names = [f"file{number}" for number in range(100)]
    ordering.moves.add([ordering.order(name) for name in names])
    began = time.monotonic()
    ordering.turn_until(lambda: ordering.instead)  # those behind the ones it was given
    assert not ordering.moves.is_ready()
    ordering.turn_until(lambda: sorted(ordering.instead) == sorted(names))
    assert time.monotonic() - began >= 1.0


def test_it_ends_with_the_server(tmp_path: Path) -> None:
    program = ("import sys\nfrom trollmoves.bus import Loop\nfrom trollmoves.server.small_moves import SmallMoves\n"
               "loop = Loop()\nmoves = SmallMoves(loop)\n"
               "while not moves.is_ready():\n    loop.turn(0.1)\n"
               "print(moves._process.pid, flush=True)\nloop.turn(60)\n")
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        assert f"{server.pid}" in Path(f"/proc/{pid}/stat").read_text()
        os.kill(pid, signal.SIGTERM)  # as systemd does to all processes of a unit: the server decides
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGSTOP)  # so that it does not see the end of the pipe
        server.kill()
    eventually(lambda: not Path(f"/proc/{pid}").exists() or ") Z " in Path(f"/proc/{pid}/stat").read_text())


def test_it_ends_without_a_word_when_the_server_left_its_answers_unread() -> None:
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-m", "trollmoves.server.small_mover", str(os.getpid())]
    with theirs, subprocess.Popen(command, stdin=theirs.fileno(), stderr=subprocess.PIPE) as mover:
        with ours:
            assert select.select([ours], [], [], 60)[0], "it says that it is ready"
        theirs.close()
        assert (mover.communicate(timeout=60)[1], mover.returncode) == (b"", 0)
