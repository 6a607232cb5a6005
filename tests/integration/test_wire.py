"""Our server and client on the wire, as a stranger sees them: every request gets one reply, whatever it holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.compatibility.network import HOST, PATIENCE, Make, Network, Server, ask, delivered, join, wait_for_ports
from tests.compatibility.recording import envelope_of
from tests.compatibility.tapping import Record as Heard
from tests.compatibility.tapping import Relay, tapped
from tests.support.eventually import eventually, never
from tests.support.programs import Program
from trollmoves.messages import EXTENSION, Message, decode

TOPIC = "/test/files"
NAME = "known_202401020304.txt"
CONTENT = b"some content"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Message]]:
    """A server that announced one file, and the announcement."""
    with Network(tmp_path_factory.mktemp("wire")) as network:
        server = network.server(Make.OURS, delete=True, remove_delay=3600)
        server.put(NAME, CONTENT)
        with tapped(server=server.port) as record:
            eventually(lambda: record.of("server", "beat"), PATIENCE, message="the tap hears the server")
            server.program.restart()
            wait_for_ports(server.program, server.port, server.request_port)
            eventually(lambda: record.of("server", "file"), PATIENCE, message="the file is announced")
        yield server, record.of("server", "file")[0]


def reply_to(server: Server, kind: str, data: Any = None, subject: str = TOPIC) -> Message:
    raw = ask(server.request_port, envelope_of(subject, kind, data))
    assert raw is not None
    return decode(raw)


def as_upstream(announcement: Message, **more: Any) -> dict[str, Any]:
    """What a client that ignores our extension would send back."""
    return {**{key: value for key, value in announcement.fields.items() if key != EXTENSION}, **more}


def test_an_announcement_has_upstreams_keys_in_upstreams_order(running: tuple[Server, Message]) -> None:
    _, announcement = running
    assert list(announcement.fields) == ["name", "start_time", "uri", "uid", "request_address", EXTENSION]
    assert announcement.fields["start_time"] == "2024-01-02T03:04:00"
    forbidden = {"uid", "uri", "path", "destination", "dataset", "collection", "request_address"}
    assert not forbidden & announcement.extension.keys()
    assert announcement.extension["address"] == announcement.fields["request_address"]


def test_a_ping_and_its_pong(running: tuple[Server, Message]) -> None:
    server, _ = running
    pong = reply_to(server, "ping", subject="/any/thing")
    assert (pong.subject, pong.type, pong.fields) == ("/any/thing", "pong", {"station": "here"})


def test_info_lists_what_was_announced(running: tuple[Server, Message]) -> None:
    server, _ = running
    info = reply_to(server, "info", subject="/test")
    assert info.type == "info" and info.fields["files"] == [f"{TOPIC}/{NAME}"] and info.fields["max_count"] == 2256
    assert reply_to(server, "info", {"max_count": 0}).fields["files"] == []
    assert reply_to(server, "info", {"max_count": "many"}).fields["max_count"] == 2256
    assert reply_to(server, "info", subject="/tests").fields["files"] == []


def test_a_push_without_our_extension(running: tuple[Server, Message], tmp_path: Path) -> None:
    server, announcement = running
    reply = reply_to(server, "push", as_upstream(announcement, destination=f"file://u:pw@Some-Host:21{tmp_path}/"))
    assert reply.type == "file" and EXTENSION not in reply.fields
    assert reply.fields == as_upstream(announcement, destination=f"file://some-host{tmp_path}/")
    assert (tmp_path / NAME).read_bytes() == CONTENT


def test_the_same_letters_again_get_the_same_reply(running: tuple[Server, Message], tmp_path: Path) -> None:
    server, announcement = running
    data = as_upstream(announcement, destination=f"file://{tmp_path}/")
    assert reply_to(server, "push", data).fields == reply_to(server, "push", data).fields


STRANGE_PUSHES: dict[str, Any] = {
    "nothing": None, "text": "please", "a list": ["uri"], "no uri": {"destination": "/d/"}, "a number as uri": {"uri": 7},
    "no destination": {"uri": "/x"}, "a number as destination": {"destination": 7}, "half an address": {"destination": "http://["},
    "upwards": {"destination": "file:///a/../../etc/"}, "no such scheme": {"destination": "bogus://host/d/"},
    "an absolute path below": {"destination": "/tmp/never/", "path": "/etc/passwd"},
    "backups that are none": {"destination": "/tmp/never/", "backup_targets": {"a": 1}},
    "a strange extension": {"destination": "/tmp/never/", EXTENSION: {"request": ["r:"], "epoch": 5, "offset": "x"}},
    "an extension that is none": {"destination": "/tmp/never/", EXTENSION: 7},
}
ANSWERS = {"push": {"err", "error"}, "ack": {"err", "error"}, "status": {"err", "error"}, "replay": {"replay", "err", "error"},
           "info": {"info"}, "ping": {"pong"}, "dance": {"unknown"}}


@pytest.mark.parametrize("what", STRANGE_PUSHES)
@pytest.mark.parametrize("kind", ["push", "ack", "status", "replay", "info", "ping", "dance"])
def test_strange_requests_get_a_reply(running: tuple[Server, Message], kind: str, what: str) -> None:
    server, announcement = running
    strange = STRANGE_PUSHES[what]
    if isinstance(strange, dict):
        strange = as_upstream(announcement, uid="strange", uri="/nowhere/strange.txt") | strange
    reply = reply_to(server, kind, strange)
    assert reply.subject == TOPIC and reply.type in ANSWERS[kind]
    assert not Path("/tmp/never").exists()


@pytest.mark.parametrize("what", [name for name, value in STRANGE_PUSHES.items() if isinstance(value, dict) and "uri" not in value
                                  and name not in ("a strange extension", "an extension that is none", "no uri")])
def test_strange_pushes_of_a_known_file_are_refused(running: tuple[Server, Message], what: str) -> None:
    server, announcement = running
    reply = reply_to(server, "push", as_upstream(announcement, **STRANGE_PUSHES[what]))
    assert reply.type == "err" and isinstance(reply.data, str) and reply.data
    assert not Path("/tmp/never").exists()


@pytest.mark.parametrize(("raw", "kind"), [
    (b"", "error"), (b"hello", "error"), (b"pytroll://a b", "error"), (b"\xff\xfe\x00", "error"),
    (b"pytroll://a push a@b yesterday v1.2", "error"), (b"pytroll://a push a@b 2024-01-01T00:00:00 v9.9", "error"),
    (b"pytroll://a push a@b 2024-01-01T00:00:00 v1.2 application/json {", "error"),
    (b"pytroll://a push a@b 2024-01-01T00:00:00 v1.2 application/json " + b"[" * 100_000, "error"),
])
def test_what_cannot_be_read_gets_a_reply(running: tuple[Server, Message], raw: bytes, kind: str) -> None:
    server, _ = running
    found = ask(server.request_port, raw)
    assert found is not None and (decode(found).subject, decode(found).type) == ("error", kind)
    assert reply_to(server, "ping").type == "pong"


@pytest.mark.parametrize("frames", [[b"", b"a", b"b"], [b"x", b"a"], [b"", b"a", b"b", b"c"]])
def test_other_numbers_of_frames_are_unknown(running: tuple[Server, Message], frames: list[bytes]) -> None:
    server, _ = running
    found = ask(server.request_port, *frames)
    assert found is not None and (decode(found).subject, decode(found).type, decode(found).data) == ("error", "unknown", "")


def test_a_file_nobody_announced_is_not_reachable(running: tuple[Server, Message], tmp_path: Path) -> None:
    """Neither is one whose name fits, in the same directory or in another one, whatever is asked for."""
    server, announcement = running
    hidden = server.incoming / "sub"
    hidden.mkdir(exist_ok=True)
    (hidden / "other_202401020304.txt").write_text("secret")
    for path in (f"{hidden}/other_202401020304.txt", "/etc/passwd", f"{server.incoming}/../incoming/{NAME}"):
        for uid in (Path(path).name, NAME):
            for kind in ("push", "ack"):
                reply = reply_to(server, kind, as_upstream(announcement, uri=path, uid=uid, destination=f"file://{tmp_path}/"))
                assert (reply.type, reply.data) == ("err", f"{path} not reachable")
    assert not list(tmp_path.iterdir()) and (hidden / "other_202401020304.txt").exists()


@pytest.mark.parametrize("version", ["v1.01", "v1.2"])
def test_the_version_of_messages_can_be_chosen(tmp_path: Path, version: str) -> None:
    """posttroll's setting `message_version` counts for us too, and both versions of requests are understood."""
    with Network(tmp_path) as network:
        server = network.server(Make.OURS, ready=False)
        server.program.kill()
        argv = server.program.argv
        server.program = Program(argv, tmp_path / "server.log", environment={
            "POSTTROLL_MESSAGE_VERSION": version, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}, name="server").start()
        with tapped(server=server.port) as record, server:
            wait_for_ports(server.program, server.port, server.request_port)
            eventually(lambda: record.of("server", "beat"), PATIENCE)
            server.put(NAME, CONTENT)
            eventually(lambda: record.of("server", "file"), PATIENCE)
            assert {message.version for message in record.of("server")} == {version}
            assert {message.time.endswith("+00:00") for message in record.of("server")} == {version == "v1.2"}
            for asked in ("v1.01", "v1.2"):
                raw = ask(server.request_port, f"pytroll://x ping a@b 2024-01-01T00:00:00 {asked}".encode())
                assert raw is not None and (decode(raw).type, decode(raw).version) == ("pong", version)


def test_topics_have_their_slash_whoever_forgot_it(tmp_path: Path) -> None:
    """A subject without one can be heard by no posttroll subscriber, so upstream's server would announce to nobody."""
    with Network(tmp_path) as network:
        server = network.server(Make.OURS, topic="test/files")
        client = network.client(Make.OURS, [server.address], topic="test/files")
        with tapped(server=server.port) as record:
            join(server, client)
            eventually(lambda: record.of("server", "file"), PATIENCE)
        assert {message.subject for message in record.of("server", "file")} == {TOPIC}


def test_a_name_that_reads_as_a_date_goes_all_the_way(tmp_path: Path) -> None:
    with Network(tmp_path) as network:
        server = network.server(Make.OURS, origin=f"{tmp_path}/server/incoming/{{name}}", info="day=20240101")
        client = network.client(Make.OURS, [server.address])
        with tapped(client=client.port) as record:
            join(server, client)
            server.put("20240101", CONTENT)
            delivered(client, {"20240101": CONTENT})
            eventually(lambda: "20240101" in record.uids("client", "file"), PATIENCE)
        published = [message.fields for message in record.of("client", "file") if message.fields["uid"] == "20240101"]
        assert published[0]["day"] == "20240101" and published[0]["uri"] == str(client.outgoing / "20240101")


def test_a_password_is_in_the_request_and_nowhere_else(tmp_path: Path) -> None:
    heard = Heard()
    with Network(tmp_path) as network:
        server = network.server(Make.OURS)
        with Relay(server.port, [server.request_port], heard) as relay:
            client = network.client(Make.OURS, [f"{HOST}:{relay.port}"], login="somebody:geheim")
            with tapped(client=client.port, server=server.port) as record:
                join(server, client)
                eventually(lambda: record.of("client", "file"), PATIENCE)
        asked = [entry.raw for entry in heard.entries if entry.channel == "request"]
        assert [raw for raw in asked if b"somebody:geheim@" in raw]
        said = [entry.raw for entry in [*record.entries, *heard.entries] if entry.channel != "request"]
        assert not [raw for raw in said if b"geheim" in raw]
        client.program.stop()
        server.program.stop()
        for path in tmp_path.rglob("*"):
            if path.is_file() and path.name != "client.ini":
                assert b"geheim" not in path.read_bytes(), path
    never(lambda: client.program.running, 0.1)
