"""Publishers found through posttroll's own name server."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import posttroll
import pytest
import zmq

from tests.integration.dispatching import SUBJECT, Dispatching, Source, arrives
from tests.integration.hostile import text
from tests.support.eventually import eventually, never
from tests.support.ports import free_ports
from tests.support.programs import Program
from trollmoves.bus.loop import Loop
from trollmoves.bus.subscribing import MOST_PUBLISHERS, Subscribing
from trollmoves.messages import Envelope, Message

TARGET = f"""
here:
  host: ""
  directory: {{root}}/here
  publish_topic: {SUBJECT}/dispatched
  dispatch_configs:
    - topics: [{SUBJECT}]
"""


def register(port: int, name: str, source_port: int) -> None:
    """Tell the name server of a publisher, as posttroll's broadcaster does."""
    context = zmq.Context()
    with context.socket(zmq.REQ) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(f"tcp://127.0.0.1:{port}")
        socket.send(text("info", {"URI": f"tcp://127.0.0.1:{source_port}", "service": [name], "name": name},
                         subject=f"/address/{name}"))
        assert socket.poll(20_000), "the name server takes an address"
        socket.recv()
    context.term()


@pytest.fixture
def sources() -> Iterator[list[Source]]:
    made = [Source() for _ in range(3)]
    yield made
    for source in made:
        source.close()


def test_publishers_of_a_name_server(tmp_path: Path, sources: list[Source]) -> None:
    ask, news, take = free_ports(3)
    environment = {"POSTTROLL_NAMESERVER_PORT": str(ask), "POSTTROLL_ADDRESS_PUBLISH_PORT": str(news),
                   "POSTTROLL_BROADCAST_PORT": str(take)}
    before, later, other = sources
    program = "from posttroll.ns import main; main()"
    nameserver = Program([sys.executable, "-c", program, "--no-multicast", "-L"], tmp_path / "ns.log", environment=environment)
    with Dispatching(tmp_path, "", environment=environment) as dispatching, nameserver:
        register(take, "camera", before.port)
        register(take, "other", other.port)
        dispatching.write_config(TARGET.format(root=tmp_path),
                                 "posttroll_subscriber: {nameserver: 127.0.0.1, subscribe_services: [camera, radar]}\n")
        dispatching.program.start()
        before.wait_for_subscriber()
        register(take, "dispatcher", dispatching.publish_port)  # never to itself: it would hear its own results
        register(take, "radar", later.port)
        later.wait_for_subscriber(seconds=90)  # at the latest when it is asked again: news may get lost while we connect
        for name, source in (("one", before), ("two", later)):
            source.publish({"uid": name, "uri": str(dispatching.file(name))})
            arrives(tmp_path / "here" / name, dispatching.incoming / name)
        other.publish({"uid": "three", "uri": str(dispatching.file("three"))})
        eventually(lambda: len(dispatching.published()) == 2)
        never(lambda: len(dispatching.states()) > 2, 1)
        assert dispatching.program.stop() == 0


def test_a_publisher_at_a_socket_of_this_machine(tmp_path: Path, sources: list[Source]) -> None:
    address = f"ipc://{tmp_path}/s"
    sources[0].bind(address)
    with Dispatching(tmp_path, "") as dispatching:
        dispatching.write_config(TARGET.format(root=tmp_path),
                                 f"posttroll_subscriber: {{nameserver: false, subscribe_addresses: ['{address}']}}\n")
        dispatching.program.start()
        sources[0].wait_for_subscriber()
        sources[0].publish({"uid": "one", "uri": str(dispatching.file("one"))})
        arrives(tmp_path / "here" / "one", dispatching.incoming / "one")
        assert f"listening to {address}" in dispatching.program.output()
        assert dispatching.program.stop() == 0


def test_publishers_go_and_nonsense_is_ignored(sources: list[Source]) -> None:
    fixed, coming, _ = sources
    loop, heard = Loop(), list[Message]()
    ask, news = free_ports(2)
    context = zmq.Context()
    publisher, answering = context.socket(zmq.PUB), context.socket(zmq.REP)
    publisher.bind(f"tcp://127.0.0.1:{news}")
    answering.bind(f"tcp://127.0.0.1:{ask}")
    with posttroll.config.set(nameserver_port=ask, address_publish_port=news):
        subscribing = Subscribing(loop, Envelope("a@b"), ["/a"], heard.extend, addresses=[("127.0.0.1", fixed.port)],
                                  nameserver="127.0.0.1", services=[], own_port=9999)

    def turn_until(check: object) -> None:
        deadline = time.monotonic() + 60
        while not check():  # type: ignore[operator]
            assert time.monotonic() < deadline
            loop.turn(0.05)

    turn_until(lambda: answering.poll(0))
    assert b'/oper/ns request' in answering.recv()
    here = f"tcp://127.0.0.1:{coming.port}"
    answering.send(text("info", [7, None, {}, {"URI": 5}, {"URI": "ipc:///x"}, {"URI": "tcp://127.0.0.1:9999"},
                                 {"URI": here, "service": ["x"]}], subject="/oper/ns"))
    both = {("127.0.0.1", fixed.port), ("127.0.0.1", coming.port)}
    turn_until(lambda: subscribing.publishers == both)

    def tell(status: bool, uri: str) -> None:
        for data in ("nonsense", [1], {"URI": {}}, {"URI": uri, "service": ["x"], "status": status}):
            publisher.send(text("info", data, subject="/address/x"))

    def told(status: bool, uri: str, wanted: set[tuple[str, int]]) -> bool:
        tell(status, uri)
        return subscribing.publishers == wanted

    turn_until(lambda: told(False, here, {("127.0.0.1", fixed.port)}))
    turn_until(lambda: told(True, here, both))
    tell(False, f"tcp://127.0.0.1:{fixed.port}")  # of the configuration: stays
    turn_until(lambda: told(False, here, {("127.0.0.1", fixed.port)}))
    subscribing.change_topics(["/b"])

    def published() -> bool:
        fixed.publish({"x": 1}, subject="/a/1")
        fixed.publish({"x": 1}, subject="/b/1")
        return bool(heard) and heard[-1].subject == "/b/1" and len({message.subject for message in heard[-3:]}) == 1

    turn_until(published)
    subscribing.close()
    subscribing.close()
    loop.close()
    for socket in (publisher, answering):
        socket.close(0)
    context.term()


def test_publishers_without_end_keep_a_real_one_away_for_a_moment_only(sources: list[Source]) -> None:
    real, late, _ = sources
    loop, heard = Loop(), list[Message]()
    (ask,) = free_ports(1)
    context = zmq.Context()
    answering = context.socket(zmq.ROUTER)
    answering.bind(f"tcp://127.0.0.1:{ask}")
    with posttroll.config.set(nameserver_port=ask):
        subscribing = Subscribing(loop, Envelope("a@b"), ["/a"], heard.extend, addresses=[], nameserver="127.0.0.1", services=[],
                                  own_port=9999, timeout=0.5, follow=False)

    def told(*ports: int) -> None:
        """What it knows, when it is asked (again)."""
        deadline = time.monotonic() + 90
        while not answering.poll(0):
            assert time.monotonic() < deadline
            loop.turn(0.05)
            real.publish({"x": 1}, subject="/a/1")
        identity, _, _ = answering.recv_multipart()
        known = [{"URI": f"tcp://127.0.0.1:{port}", "service": ["x"]} for port in ports]
        answering.send_multipart([identity, b"", text("info", known, subject="/oper/ns")])

    told(real.port, *range(1, MOST_PUBLISHERS + 100))
    told(late.port)
    deadline = time.monotonic() + 60
    while ("127.0.0.1", late.port) not in subscribing.publishers:
        assert time.monotonic() < deadline, "it is listened to"
        loop.turn(0.05)
    assert heard and ("127.0.0.1", real.port) in subscribing.publishers
    assert len(subscribing.publishers) == MOST_PUBLISHERS
    subscribing.close()
    loop.close()
    answering.close(0)
    context.term()
