"""Upstream's own walk through a network, in its order of steps and with its options: name server, server, mirror, client,
dispatcher, and a file after each. With our programs, and with upstream's in one of the places (its mirror does not start)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from tests.support.nameserver import NameServer
from tests.support.ports import free_ports
from tests.support.programs import CHECKOUT, Program
from tests.support.upstream import start_upstream
from trollmoves.bus.listening import overheard

PLACES = ("input", "mirrored", "target", "dispatched")
OURS_ONLY = {"server": "request_address = 127.0.0.1\nlisten_address = 127.0.0.1\n", "mirror": "listen_address = 127.0.0.1\n",
             "client": "listen_address = 127.0.0.1\n"}


class Walk:
    """The programs, started one after another, the configurations and directories."""

    def __init__(self, root: Path, upstream: str | None, nameserver: NameServer, stack: ExitStack):
        self.root, self.upstream, self.nameserver, self._stack = root, upstream, nameserver, stack
        self.server_port, self.mirror_port, self.mirror_requests, self.client_port, self.requests = free_ports(5)
        self.programs: dict[str, Program] = {}

    def directory(self, name: str) -> Path:
        (self.root / name).mkdir(exist_ok=True)
        return self.root / name

    def write(self, name: str, text: str) -> None:
        (self.root / "staged").write_text(text)
        (self.root / "staged").rename(self.directory("input") / name)

    def start(self, role: str, *options: str, ending: str, config: str) -> None:
        path = self.root / f"{role}.{ending}"
        script = "dispatcher.py" if role == "dispatcher" else f"move_it_{role}.py"
        log, environment = self.root / f"{role}.log", {**self.nameserver.environment, "XDG_STATE_HOME": str(self.root)}
        if role == self.upstream:
            path.write_text(config)
            program = start_upstream(script, *options, path, log=log, environment=environment)
        else:
            path.write_text(config + OURS_ONLY.get(role, ""))
            ours = {"PYTHONPATH": str(CHECKOUT), **environment}
            program = Program.ours(role, *options, path, log=log, environment=ours).start()
        self.programs[role] = self._stack.enter_context(program)

    def until(self, stem: str, check: Callable[[set[str]], set[str]]) -> str:
        """Write files, one every few seconds (who has not subscribed yet does not hear of it, and upstream takes no name twice),
        until *check* finds one of them; returns its name."""
        names: set[str] = set()
        for number in range(15):
            names.add(f"{stem}{number}.txt")
            self.write(f"{stem}{number}.txt", f"{stem}\n")
            with suppress(AssertionError):
                return min(eventually(lambda: check(names), 4))
        raise AssertionError(f"none of {names} has come through")

    def heard(self, port: int, stem: str) -> str:
        """A file is written, and a publisher tells of it."""
        with overheard("127.0.0.1", port) as hear:
            return self.until(stem, lambda names: names & {str(message.fields.get("uid")) for message in hear()
                                                             if message.type == "file"})


@pytest.fixture(params=[None, "server", "client", "dispatcher"], ids=["ours", "their server", "their client", "their dispatcher"])
def walk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Walk]:
    with ExitStack() as stack:
        nameserver = stack.enter_context(NameServer(tmp_path, multicast=False))
        yield Walk(tmp_path, request.param, nameserver, stack)


def test_the_walk_through(walk: Walk) -> None:
    server = f"""[DEFAULT]
delete = False

[server]
origin = {walk.directory('input')}/{{fname}}.txt
topic = /foo
request_port = {walk.requests}
"""
    walk.start("server", "-v", "--disable-backlog", "-p", str(walk.server_port), ending="ini", config=server)
    walk.heard(walk.server_port, "test1_")

    mirror = f"""[mirror]
providers = localhost:{walk.server_port}
destination = file://{walk.directory('mirrored')}/
client_topic = /foo
publish_port = {walk.mirror_port}
origin = {walk.root}/mirrored/{{filename}}.txt
request_address = localhost
request_port = {walk.mirror_requests}
topic = /foo
delete = true
"""
    walk.start("mirror", "-p", str(walk.mirror_port), "-v", ending="ini", config=mirror)
    walk.heard(walk.mirror_port, "test2_")

    client = f"""[client]
topic = /foo
providers = localhost:{walk.mirror_port}
destination = file://{walk.directory('target')}/
publish_port = {walk.client_port}
nameservers = localhost
"""
    walk.start("client", "-v", ending="ini", config=client)
    third = walk.heard(walk.client_port, "test3_")
    assert (walk.root / "target" / third).exists() and (walk.root / "mirrored" / third).exists()

    # Upstream's own text asks for `filename`, which its server does not give.
    dispatch = f"""dispatch_test:
  host: file://localhost
  connection_parameters:
    connection_uptime: 60
  filepattern: "{{fname}}.txt"
  directory: "{walk.directory('dispatched')}/"
  nameserver: localhost
  dispatch_configs:
    - topics:
        - /foo
"""
    walk.start("dispatcher", "-v", ending="yaml", config=dispatch)
    fourth = walk.until("test4_", lambda names: names & set(os.listdir(walk.root / "dispatched")))
    assert {place: (walk.root / place / fourth).read_text() for place in PLACES} == dict.fromkeys(PLACES, "test4_\n")
    assert [program.running for program in walk.programs.values()] == [True] * 4
