"""T39: a name server that says nothing, or that it cannot say; in a network namespace of its own (root)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.resolver import inside

RUN = """
import os, sys, time
from pathlib import Path
from urllib.parse import quote
from tests.faults.checker import rows
from tests.faults.network import Network, section
from tests.support.eventually import eventually
from tests.support.ftp_server import ScriptedFtpServer
from tests.support.resolver import Resolver
from trollmoves.bus.questions import ask
from trollmoves.faults.observing import taken_by
from trollmoves.faults.ports import free_port
from trollmoves.messages import Envelope, decode

root, how, seconds = Path(sys.argv[1]), *sys.argv[2].split()
named, kept = root / "named", root / "kept"
for directory in (named, kept):
    directory.mkdir()
with Resolver() as resolver, ScriptedFtpServer(root / "ftp") as store, Network(root, killed=True) as network:
    setattr(resolver, how, True)
    port = str(network.request_ports[0])
    common = {"request_address": "127.0.0.1", "request_port": port, "listen_address": "127.0.0.1"}
    network.write_server_config(0, section("named", {
        "origin": f"{named}/{{name}}.bin", "topic": "/named", **common,
        "allowed_destinations": f"ftp://store.example:{store.port}/*"}) + section("kept", {
        "origin": f"{kept}/{{name}}.bin", "topic": "/kept", "delete": "first", "remove_delay": "0.1",
        "trusted_acks": "trusted.example", **common}))
    network.write_client_config(section("named", {
        "providers": f"127.0.0.1:{network.publish_ports[0]} station.example:{free_port()}", "topic": "/named",
        "destination": f"ftp://{store.user}:{quote(store.password, safe='')}@store.example:{store.port}/",
        "create_target_directory": "false", "nameservers": "false", "publish_port": str(free_port()),
        "listen_address": "127.0.0.1"}) + section("by_name", {
        "providers": f"server.example:{network.publish_ports[0]}", "topic": "/faults", "nameservers": "false",
        "destination": f"file://{root}/by_name/", "publish_port": str(free_port()), "listen_address": "127.0.0.1"}))
    network.begin(5)
    threads = [taken_by(program.pid)[2] for program in network.programs]
    (kept / "kept.bin").write_bytes(b"kept")
    count = 1 if how == "failing" and float(seconds) < 10 else 20  # more would make the server leave the host alone for 30 s
    for number in range(count):
        (named / f"named{number}.bin").write_bytes(b"named")
    began, round = time.monotonic(), 0
    query = "SELECT announcements.message FROM announcements JOIN files ON files.id = file WHERE identity = 'kept.bin'"
    eventually(lambda: rows(network.server_journal(), query), message="it is announced")
    (text,), = rows(network.server_journal(), query)
    announced = decode(text.encode())
    while time.monotonic() - began < float(seconds):
        before = time.monotonic()
        reply = ask("127.0.0.1", int(port), Envelope("a@b").encode(announced.subject, "ack", announced.fields), 8.0)
        assert reply is not None and reply.type == "ack", reply
        network.write_many(10, f"meanwhile{round:02}-")
        published = f"SELECT 1 FROM files WHERE identity LIKE 'meanwhile{round:02}-%' AND chain = 'recv' AND state = 'published'"
        eventually(lambda: len(rows(network.client_journal, published)) == 10, 8, message="others go on")
        print("others took", time.monotonic() - before)
        round += 1
    assert (kept / "kept.bin").exists(), "somebody was trusted by a name that is not known"
    assert not list(store.root.iterdir()) and not (root / "by_name").exists()
    meanwhile = [taken_by(program.pid)[2] for program in network.programs]
    print("threads", threads, meanwhile)
    assert all(after <= before + 24 for before, after in zip(threads, meanwhile)), (threads, meanwhile)
    setattr(resolver, how, False)
    began = time.monotonic()
    eventually(lambda: not (kept / "kept.bin").exists(), message="the ack counts after all")
    print("acks after", time.monotonic() - began)
    eventually(lambda: (root / "by_name").is_dir() and len(list((root / "by_name").iterdir())) >= 5 + 10 * round,
               message="the server is found, and what it had announced before is asked for")
    print("heard after", time.monotonic() - began)
    eventually(lambda: any(path.name.startswith("named") for path in store.root.iterdir()), message="moves go on")
    print("moves after", time.monotonic() - began)
    assert time.monotonic() - began < 60
    eventually(lambda: len([path for path in store.root.iterdir() if path.name.startswith("named")]) == count, 60,
               message="all are moved")
    print("all after", time.monotonic() - began)
    assert network.stop() == [0, 0]
    assert not network.scene().missing() and network.observer.violations == []
"""


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [5, pytest.param(35, marks=[pytest.mark.nightly, pytest.mark.timeout(300)])])
@pytest.mark.parametrize("how", ["silent", "failing"])
def test_a_name_server_that_does_not_answer_holds_up_nobody_else(tmp_path: Path, how: str, seconds: int) -> None:
    """Other moves, providers and replies go on, nobody is trusted by a name nobody knows, threads do not pile up; and what needs
    a name goes on within half a minute of an answer."""
    print(inside(RUN, tmp_path, f"{how} {seconds}", 250))
