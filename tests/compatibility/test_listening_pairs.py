"""Servers that listen, ours and upstream's: the same announcements, and the clients of either are served by either."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.compatibility.network import HOST, PATIENCE, Make, Network, Server, section, start_program, wait_for_ports
from tests.faults.network import Recorder
from tests.integration.dispatching import Source
from tests.support.eventually import eventually
from tests.support.ports import free_port
from trollmoves.messages import EXTENSION, decode

HEARD, TOPIC = "/heard", "/test/files"


@pytest.fixture
def source() -> Iterator[Source]:
    made = Source()
    yield made
    made.close()


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "files"
    folder.mkdir()
    paths = [folder / name for name in ("one.txt", "two.txt", "three.txt")]
    for path in paths:
        path.write_text(path.name * 100)
    return paths


def listening(network: Network, make: Make, source: Source) -> Server:
    """A server that listens to *source*; returns when it does."""
    folder = network.folder / f"{make}-server"
    folder.mkdir()
    port, request_port = free_port(), free_port()
    (folder / "server.ini").write_text(section("relay", {
        "listen": HEARD, "topic": TOPIC, "addresses": f"tcp://{HOST}:{source.port}", "nameserver": False,
        "info": "sensor=viirs;v=a,b", "request_port": request_port, "request_address": HOST}))
    program = start_program(make, "server", folder, folder / "server.ini", "-p", str(port))
    server = Server(make, folder, program, port, request_port, network.folder)
    network.started.append(server)
    wait_for_ports(program, port, request_port)
    source.wait_for_subscriber(HEARD, PATIENCE)
    return server


def messages(files: list[Path]) -> list[tuple[str, dict[str, Any]]]:
    items = [{"uid": path.name, "uri": str(path)} for path in files]
    when = {"start_time": "2026-01-01T00:00:00", "sensor": ["modis"]}
    return [("file", {**items[0], **when}), ("dataset", {"dataset": items[1:], **when}),
            ("collection", {"collection": [{"dataset": items[:2]}, {**items[2], "end_time": "2026-01-01T00:05:00"}]}),
            ("file", {"uid": "one.txt", "uri": f"file://{files[0]}", "request_address": "192.0.2.1:9", "orbit": 12})]


def told(recorder: Recorder) -> list[tuple[str, str, list[str], dict[str, Any]]]:
    found = [decode(text.encode()) for text in list(recorder.texts)]
    kept = [(message, {name: value for name, value in message.fields.items() if name != EXTENSION})
            for message in found if message.type != "beat"]
    return [(message.subject, message.type, list(fields), {**fields, "request_address": ""}) for message, fields in kept]


def test_both_announce_the_same(tmp_path: Path, source: Source, files: list[Path]) -> None:
    with Network(tmp_path) as network:
        recorders = [Recorder(listening(network, make, source).port) for make in Make]
        for recorder in recorders:
            eventually(lambda recorder=recorder: recorder.texts, PATIENCE, message="a beat")  # type: ignore[misc]
        for kind, data in messages(files):
            source.publish(data, kind=kind, subject=HEARD)
        for recorder in recorders:
            eventually(lambda recorder=recorder: len(told(recorder)) == 4, PATIENCE, message="all announced")  # type: ignore[misc]
        ours, theirs = map(told, recorders)
        assert sorted(ours, key=str) == sorted(theirs, key=str)
        for recorder in recorders:
            recorder.close()


@pytest.mark.parametrize("server_make, client_make", [(Make.OURS, Make.UPSTREAM), (Make.UPSTREAM, Make.OURS),
                                                      (Make.OURS, Make.OURS)])
def test_a_dataset_crosses(server_make: Make, client_make: Make, tmp_path: Path, source: Source, files: list[Path]) -> None:
    with Network(tmp_path) as network:
        server = listening(network, server_make, source)
        client = network.client(client_make, [server.address])
        recorder = Recorder(client.port)
        items = [{"uid": path.name, "uri": str(path)} for path in files]

        def crosses() -> bool:  # nobody tells when the client is connected
            source.publish({"dataset": items[:2]}, kind="dataset", subject=HEARD)
            source.publish(items[2], subject=HEARD)
            return client.has({path.name for path in files}) and any(" dataset " in text for text in list(recorder.texts))

        eventually(crosses, PATIENCE, interval=1.0, message="the dataset crosses")
        assert {name: (client.outgoing / name).read_bytes() for name in os.listdir(client.outgoing)} == {
            path.name: path.read_bytes() for path in files}
        [published, *_] = [decode(text.encode()).fields for text in list(recorder.texts) if " dataset " in text]
        assert published["dataset"] == [{"uid": path.name, "uri": str(client.outgoing / path.name)} for path in files[:2]]
        assert published["origin"] == server.request_address and "request_address" not in published
        recorder.close()
