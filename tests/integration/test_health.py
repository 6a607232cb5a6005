"""Server and client notice what they cannot see or hear any more: the watch of a directory, a provider that has fallen silent."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from tests.faults.checker import rows
from tests.integration.hostile import text
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.programs import Program
from tests.unit.cli.asking import ask


@contextlib.contextmanager
def server(root: Path, *options: str, more: str = "") -> Iterator[Program]:
    """One that watches `root/in`."""
    config = root / "server.ini"
    config.write_text(f"[s]\norigin = {root}/in/{{name}}.bin\ntopic = /t\nrequest_port = {free_port()}\nwatch_interval = 0.2\n"
                      f"settle = 0.3\nrequest_address = 127.0.0.1\nlisten_address = 127.0.0.1\n{more}")
    program = Program.ours("server", "-p", str(free_port()), "--journal", root / "server.journal", *options, config,
                           log=root / "server.log").start()
    try:
        program.wait_for("watches")
        yield program
    finally:
        program.kill()


def announced(root: Path) -> set[str]:
    return {str(row[0]) for row in rows(root / "server.journal", "SELECT identity FROM files")}


def alarms(root: Path) -> list[str]:
    return [str(row[0]) for row in rows(root / "server.journal", "SELECT text FROM alarms WHERE cleared IS NULL")]


def test_a_directory_that_cannot_be_seen_is_an_alarm_for_as_long(tmp_path: Path) -> None:
    with server(tmp_path, "--chain-check-interval", "0.2") as program:
        eventually(lambda: alarms(tmp_path), message="an alarm")
        assert alarms(tmp_path) == [f"nothing can come in: directory {tmp_path}/in does not exist"]
        assert ask("trollmoves", "status", "--journal", tmp_path / "server.journal", state=tmp_path).status == 1
        (tmp_path / "in").mkdir()
        eventually(lambda: not alarms(tmp_path), message="the alarm is over")
        assert program.stop() == 0


def test_files_that_cannot_be_announced_are_counted_and_said_once(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    bad = os.fsencode(tmp_path / "in") + b"/b\xff.bin"
    with server(tmp_path, "--chain-check-interval", "0.2", more="reconcile = 0.2\n") as program:
        Path(os.fsdecode(bad)).write_bytes(b"1")
        eventually(lambda: alarms(tmp_path), message="an alarm")
        assert "1 file(s) match origin and cannot be taken in" in alarms(tmp_path)[0]
        (tmp_path / "in" / "a.bin").write_bytes(b"1")
        time.sleep(1.0)  # some looks at everything
        assert program.output().count("give it a name in UTF-8") == 1
        os.rename(bad, tmp_path / "in" / "b.bin")
        eventually(lambda: announced(tmp_path) == {"a.bin", "b.bin"} and not alarms(tmp_path), message="over")
        assert program.stop() == 0


def test_what_is_removed_and_nobody_got_is_an_alarm(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with server(tmp_path, more="delete_after = 1s\n") as program:
        (tmp_path / "in" / "a.bin").write_bytes(b"1")
        program.wait_for(r"WARNING .*/in/a.bin was removed \(delete_after\), and nobody ever got it")
        eventually(lambda: alarms(tmp_path), message="an alarm")
        assert alarms(tmp_path)[0].startswith("1 file(s) were removed (delete_after), and nobody ever got them")
        assert program.stop() == 0


def test_a_directory_that_never_was_there_is_waited_for(tmp_path: Path) -> None:
    with server(tmp_path, "--chain-check-interval", "0.2", "--max-notifier-restarts", "2") as program:
        for _ in range(6):  # more looks than a directory that went away would get
            program.wait_for("Error starting chain s: .*does not exist", since=program.log.stat().st_size)
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "a.bin").write_bytes(b"1")
        eventually(lambda: announced(tmp_path) == {"a.bin"}, message="announced")
        assert program.stop() == 0


def test_a_directory_that_goes_away_and_does_not_come_back_ends_the_server(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with server(tmp_path, "--chain-check-interval", "0.2", "--max-notifier-restarts", "3") as program:
        shutil.rmtree(tmp_path / "in")
        assert program.wait(30) == 1
        assert "watch of section [s] failed 4 times in a row" in program.output()


@pytest.mark.parametrize("options", [(), ("-w",)])
def test_a_directory_that_comes_back_is_watched_again(tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "in").mkdir()
    with server(tmp_path, "--chain-check-interval", "0.2", "--max-notifier-restarts", "0", *options) as program:
        (tmp_path / "in" / "a.bin").write_bytes(b"1")
        eventually(lambda: announced(tmp_path) == {"a.bin"}, message="announced")
        shutil.rmtree(tmp_path / "in")
        program.wait_for(r"try 5\)")
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "b.bin").write_bytes(b"2")
        eventually(lambda: announced(tmp_path) == {"a.bin", "b.bin"}, message="announced")
        assert program.stop() == 0


class Provider:
    """Publishes beats when told to, and notes the connections of subscribers."""

    def __init__(self) -> None:
        self.port = free_port()
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PUB)
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_ACCEPTED)
        self._socket.bind(f"tcp://127.0.0.1:{self.port}")
        self.connections = 0

    def beat(self, interval: float) -> None:
        data = json.dumps({"min_interval": interval})
        self._socket.send(text("beat", data, subject="/heartbeat/move_it_server"))

    def count(self) -> int:
        while self._monitor.poll(0):
            self._monitor.recv_multipart()
            self.connections += 1
        return self.connections

    def close(self) -> None:
        self._socket.disable_monitor()
        self._monitor.close(0)
        self._socket.close(0)
        self._context.term()


@pytest.fixture
def provider() -> Iterator[Provider]:
    found = Provider()
    yield found
    found.close()


@pytest.mark.parametrize(("scale", "alarms"), [("3", True), ("0", False)])
def test_a_silent_provider_is_connected_to_anew(tmp_path: Path, provider: Provider, scale: str, alarms: bool) -> None:
    """After so many of the intervals that its last beat named; beats keep it quiet."""
    config = tmp_path / "client.ini"
    config.write_text(f"[s]\nproviders = 127.0.0.1:{provider.port}\ntopic = /t\ndestination = file://{tmp_path}/out/\n"
                      f"publish_port = {free_port()}\nnameservers = False\nheartbeat_alarm_scale = {scale}\n")
    program = Program.ours("client", "--journal", tmp_path / "client.journal", config, log=tmp_path / "client.log").start()
    try:
        program.wait_for("listens to")
        eventually(lambda: provider.count() == 1, message="connected")
        for _ in range(80):  # for longer than the six seconds of silence that are an alarm, and than a busy machine makes
            provider.beat(2.0)
            time.sleep(0.1)  # a provider's interval, nothing is waited for
        assert provider.count() == 1, "while it beats, it is left alone"
        provider.beat(0.5)
        if alarms:
            eventually(lambda: provider.count() >= 2, 60, message="connected anew")
            assert f"nothing heard from 127.0.0.1:{provider.port}" in program.output()
        else:
            time.sleep(3.0)  # twice what would be an alarm
            assert provider.count() == 1
        assert program.stop() == 0
    finally:
        program.kill()
