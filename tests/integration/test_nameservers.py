"""posttroll's name servers, real ones: programs tell them of their publishers and find others through them. None is needed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest.mock import Mock

import pytest
import zmq

from tests.integration.dispatching import SUBJECT, Dispatching, Source
from tests.integration.listening import HEARD, Listening
from tests.support.eventually import eventually
from tests.support.nameserver import NameServer
from tests.support.ports import free_port
from tests.support.programs import Program
from trollmoves.bus import addresses
from trollmoves.bus.advertising import Advertising
from trollmoves.bus.loop import Loop
from trollmoves.bus.publishing import Publisher
from trollmoves.bus.replaying import ReplayPort
from trollmoves.messages import decode

PUBLISHER = """
import sys, time
from posttroll.message import Message
from posttroll.publisher import create_publisher_from_dict_config
name, nameservers, subject, uri = sys.argv[1:]
settings = {"name": name, "port": 0, "nameservers": nameservers.split() or None}
publisher = create_publisher_from_dict_config(settings)
publisher.start()
while True:
    publisher.send(str(Message(subject, "file", {"uid": uri.rpartition("/")[2], "uri": uri})))
    time.sleep(0.5)
"""


@pytest.fixture(params=["multicast", "told by name"])
def nameserver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NameServer]:
    with NameServer(tmp_path, multicast=request.param == "multicast") as running:
        yield running


def publisher_of_posttroll(folder: Path, nameserver: NameServer, name: str, subject: str, uri: Path) -> Program:
    return Program([sys.executable, "-c", PUBLISHER, name, nameserver.hosts, subject, str(uri)], folder / f"{name}.log",
                   environment=nameserver.environment)


def test_a_client_is_known(tmp_path: Path, nameserver: NameServer) -> None:
    port = free_port()
    (tmp_path / "client.ini").write_text(
        f"[get]\nproviders = 127.0.0.1:{free_port()}\ndestination = file://{tmp_path}/\npublish_port = {port}\n"
        + (f"nameservers = {nameserver.hosts}\n" if nameserver.hosts else ""))
    client = Program.ours("client", "--journal", tmp_path / "c.journal", tmp_path / "client.ini", log=tmp_path / "client.log",
                          environment=nameserver.environment)
    with client:
        eventually(lambda: (nameserver.knows("move_it_get") or "").endswith(f":{port}"), 60, message="the client is known")
        nameserver.program.restart()  # it forgets everything
        eventually(lambda: (nameserver.knows("move_it_get") or "").endswith(f":{port}"), 60, message="and known again")
        assert client.stop() == 0


def test_a_listening_server_finds_publishers(tmp_path: Path, nameserver: NameServer) -> None:
    listening = Listening(tmp_path, environment=nameserver.environment, addresses=None, nameserver="127.0.0.1",
                          services="camera", timeout=1)
    paths = {name: listening.file(name) for name in ("camera", "other")}
    publishers = [publisher_of_posttroll(tmp_path, nameserver, name, HEARD, path) for name, path in paths.items()]
    with publishers[0], publishers[1], listening.program:
        eventually(lambda: listening.told(), 90, message="the server hears the publisher")
        assert {fields["uid"] for fields in listening.fields()} == {"camera"}
        assert listening.push(listening.fields()[0], tmp_path / "here").type == "file"
        assert listening.program.stop() == 0
    listening.__exit__(None, None, None)


def test_a_dispatcher_is_known_and_finds_publishers(tmp_path: Path, nameserver: NameServer) -> None:
    with Dispatching(tmp_path, "", environment=nameserver.environment, publishing=False) as dispatching:
        dispatching.write_config(
            f"here:\n  host: ''\n  directory: {tmp_path}/here\n  dispatch_configs:\n    - topics: [{SUBJECT}]\n",
            "posttroll_subscriber: {nameserver: 127.0.0.1}\n")
        path = dispatching.file("one")
        hosts = ["-n", nameserver.hosts, "--"] if nameserver.hosts else []
        port = free_port()
        program = Program.ours("dispatcher", "--journal", dispatching.journal, "-p", str(port), *hosts, dispatching.config,
                               log=tmp_path / "d.log", environment=nameserver.environment)
        with program, publisher_of_posttroll(tmp_path, nameserver, "camera", SUBJECT, path):
            eventually(lambda: (nameserver.knows("dispatcher") or "").endswith(f":{port}"), 60, message="the dispatcher is known")
            eventually(lambda: (tmp_path / "here" / "one").exists(), 90, message="it hears the publisher")
            assert program.stop() == 0


def test_a_publisher_on_another_machine_needs_leave(tmp_path: Path) -> None:
    """A name server tells of anybody: whoever may have any file announced must stand in the configuration."""
    here, there = Source(), Source()
    with NameServer(tmp_path, multicast=False) as nameserver:
        listening = Listening(tmp_path, environment=nameserver.environment, addresses=None,
                              nameserver=f"127.0.0.1:{nameserver.ask}")
        with listening.program:
            for name, uri in (("near", f"tcp://127.0.0.1:{here.port}"), ("far", f"tcp://192.0.2.1:{there.port}")):
                register(nameserver.take, name, uri)
            here.wait_for_subscriber(HEARD, 90)
            listening.program.wait_for(r"not listening to 192\.0\.2\.1:\d+, of which the name server tells: .*addresses", 90)
            assert listening.program.stop() == 0
        listening.__exit__(None, None, None)
    for source in (here, there):
        source.close()


def register(port: int, name: str, uri: str) -> None:
    raw = f'pytroll://address/{name} info a@b 2026-01-01T00:00:00 v1.2 application/json {{"URI": "{uri}", "service": ["{name}"]}}'
    context = zmq.Context()
    with context.socket(zmq.REQ) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(f"tcp://127.0.0.1:{port}")
        socket.send_string(raw)
        assert socket.poll(20_000), "the name server takes an address"
        socket.recv()
    context.term()


@pytest.mark.parametrize("options", [{"nameserver": "127.0.0.1"}, {"nameserver": False}, {"nameserver": "nowhere.invalid"}])
def test_no_name_server_is_needed(options: Mapping[str, object], tmp_path: Path) -> None:
    environment = {"POSTTROLL_NAMESERVER_PORT": str(free_port()), "POSTTROLL_ADDRESS_PUBLISH_PORT": str(free_port())}
    with Listening(tmp_path, environment=environment, timeout=0.2, **options) as server:
        server.say({"uid": "one", "uri": str(server.file("one"))})
        server.announces(1)
        assert server.program.stop() == 0


class HostileNameServer:
    """Takes addresses, and answers what it likes."""

    def __init__(self, answer: list[bytes] | None):
        self.port, self.heard, self._answer = free_port(), list[bytes](), answer
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(f"tcp://127.0.0.1:{self.port}")

    def take(self) -> None:
        while self._socket.poll(0):
            peer, *_, raw = self._socket.recv_multipart()
            self.heard.append(raw)
            if self._answer is not None:
                self._socket.send_multipart([peer, *self._answer])

    def close(self) -> None:
        self._socket.close(0)
        self._context.term()


@pytest.mark.parametrize("answer", [None, [b"", b"ok"], [b"", b"\xff garbage"], [b"garbage"], [b"", b"x" * 100_000], [b""] * 500])
def test_nothing_a_name_server_answers_ends_advertising(answer: list[bytes] | None) -> None:
    hostile, loop = HostileNameServer(answer), Loop()
    advertising = Advertising(loop, "me", lambda: "127.0.0.1:5", [f"tcp://127.0.0.1:{hostile.port}", "nowhere.invalid"])
    deadline = time.monotonic() + 90
    while len(hostile.heard) < 8:
        assert time.monotonic() < deadline
        loop.turn(0.1)
        hostile.take()
    message = decode(hostile.heard[0])
    assert (message.subject, message.type) == ("/address/me", "info")
    assert (message.fields["URI"], message.fields["service"]) == ("tcp://127.0.0.1:5", ["me"])
    advertising.stop()
    advertising.stop()
    loop.close()
    hostile.close()


def test_who_got_its_address_after_the_start_is_found_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that starts before its network does, or whose network gives it another address later."""
    own = ["127.0.0.1"]
    monkeypatch.setattr(addresses, "own_address", lambda: own[0])
    monkeypatch.setattr("trollmoves.bus.advertising.EVERY", 0.05)
    told, loop = HostileNameServer([b"", b"ok"]), Loop()
    publisher = Publisher(loop, 0)
    publisher.advertise("me", [f"tcp://127.0.0.1:{told.port}"])
    replaying = ReplayPort(0, "*", loop, Mock(), Mock())

    def is_found_at(address: str) -> bool:
        loop.turn(0.1)
        told.take()
        return bool(told.heard) and decode(told.heard[-1]).fields["URI"] == f"tcp://{address}:{publisher.port}"
    eventually(lambda: is_found_at("127.0.0.1"), 30, interval=0.0)
    for now, shown in (("192.0.2.5", "192.0.2.5"), ("192.0.2.6", "192.0.2.6"), ("127.0.0.1", "192.0.2.6")):
        own[0] = now
        told.heard.clear()
        eventually(lambda shown=shown: is_found_at(shown), 30, interval=0.0)  # type: ignore[misc]
        assert replaying.address.startswith(f"{shown}:")
    replaying.close()
    publisher.close()
    loop.close()
    told.close()
