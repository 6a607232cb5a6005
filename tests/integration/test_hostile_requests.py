"""Hostile requests to our server, hostile publishers to our client: nothing they send ends a process, grows it, or moves what
was not announced."""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from tests.faults.checker import rows
from tests.integration.hostile import Peer, Victim, text
from tests.support.auditing import audited
from tests.support.eventually import eventually
from trollmoves.bus.replying import LARGEST_REQUEST
from trollmoves.cli import umbrella
from trollmoves.errors import MoveError
from trollmoves.messages import EXTENSION, decode
from trollmoves.server.beneath import Announced, opened

DEEP = "[" * 100_000 + "]" * 100_000


class Cell:
    """Holds the victim of this module; a fresh one after one that ended."""

    def __init__(self, factory: pytest.TempPathFactory):
        self._factory = factory
        self._victim: Victim | None = None

    def victim(self) -> Victim:
        if self._victim is None or not self._victim.program.running:
            self._victim = Victim(self._factory.mktemp("victim"))
        return self._victim

    def close(self) -> None:
        if self._victim is not None:
            self._victim.close()


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    cell = Cell(tmp_path_factory)
    yield cell
    cell.close()


@pytest.fixture
def victim(cell: Cell) -> Iterator[Victim]:
    victim = cell.victim()
    yield victim
    victim.unharmed()


def gold(victim: Victim) -> str:
    return str(victim.origin / "gold.bin")


MALFORMED = {
    "bad time": text("ping", when="yesterday"),
    "no time": b"pytroll://x ping me@here",
    "not utf-8": b"pytroll://\xff\xfe ping me@here 2026-11-22T00:00:00 v1.01",
    "newer version": b"pytroll://x ping me@here 2026-11-22T00:00:00 v9.9",
    "deep json": text("push", DEEP),
    "deep objects": text("push", '{"a":' * 100_000 + "1" + "}" * 100_000),
    "truncated json": text("push", '{"uri": "/x'),
    "json is a list": text("push", [1, 2]),
    "json is null": text("push", "null"),
    "empty": b"",
    "zeros": bytes(1000),
    "unknown payload": b"pytroll://x push me@here 2026-11-22T00:00:00 v1.01 application/x-pickle cos\nsystem\n(S'id'\ntR.",
    "huge number": text("push", '{"uri": "/x", "size": ' + "9" * 5000 + "}"),
    "nan": text("push", '{"uri": "/x", "uid": "x", "size": NaN, "destination": "/tmp/x"}'),
    "surrogate": text("push", '{"uri": "/\\ud800", "uid": "\\ud800", "destination": "/tmp/\\ud800"}'),
    "unknown type": text("explode"),
}


@pytest.mark.parametrize("raw", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_request_gets_one_reply_and_harms_nothing(victim: Victim, raw: bytes) -> None:
    with Peer(victim.port) as peer:
        reply = peer.ask(raw)
        assert reply.split()[1] in ("error", "err", "unknown") or raw == MALFORMED["not utf-8"], reply
        assert " pong " in peer.ask(text("ping"))


DESTINATIONS: dict[str, object] = {
    "int": 1, "none": None, "list": ["/tmp"], "dict": {}, "bool": True, "open bracket": "http://[", "empty": "",
    "nul": "file:///tmp/\0x/", "newline": "file:///tmp/\n/", "climbs": "file:///tmp/../etc/", "climbs at the end": "/tmp/..",
    "relative": "file://", "unknown scheme": "gopher://127.0.0.1/x/", "bad port": "ftp://127.0.0.1:99999/x/",
    "text port": "ftp://127.0.0.1:http/x/", "long": "/" + "x" * 100_000,
    "as many schemes as a request can hold": "x://" * 250_000,
}


@pytest.mark.parametrize("destination", DESTINATIONS.values(), ids=DESTINATIONS.keys())
def test_a_push_to_a_malformed_destination_is_refused(victim: Victim, destination: object) -> None:
    with Peer(victim.port) as peer:
        reply = peer.ask(victim.push(gold(victim), destination))
        assert reply.split()[1] in ("err", "error"), reply


@pytest.mark.parametrize("uri", [
    "{outside}/secret.bin", "{outside}/gold.bin", "{origin}/../outside/gold.bin", "{origin}/../outside/secret.bin",
    "{origin}//gold.bin", "{origin}/./gold.bin", "{origin}/x/../gold.bin", "{origin}/gold.bin\0", "{origin}/gold.bin\n",
    "%2e%2e/gold.bin", "file://{outside}/gold.bin", "file://evil.example.org{outside}/gold.bin", "~/gold.bin", "gold.bin",
    "/etc/passwd", "/dev/zero", "/proc/self/environ", "{origin}", "", "{long}"])
def test_a_push_of_what_was_not_announced_is_refused(victim: Victim, uri: str) -> None:
    filled = uri.format(outside=victim.outside, origin=victim.origin, long="/" + "x" * 100_000)
    with Peer(victim.port) as peer:
        for uid in (None, "gold.bin"):
            reply = peer.ask(victim.push(filled, f"file://{victim.allowed}/stolen/", uid=uid))
            assert reply.split()[1] in ("err", "error"), reply
    assert not (victim.allowed / "stolen").exists()


@pytest.mark.parametrize("uri", [7, None, [], {}, ["{origin}/gold.bin"], {"uri": 1}, True, 1e999])
def test_a_push_with_an_uri_of_another_kind_is_refused(victim: Victim, uri: object) -> None:
    with Peer(victim.port) as peer:
        reply = peer.ask(victim.push(uri, f"file://{victim.allowed}/stolen/", uid="gold.bin"))
        assert reply.split()[1] in ("err", "error"), reply


@pytest.mark.parametrize("path", ["/etc/cron.d/x", "../../outside/gold.bin", "a/../../outside/x", "..", "/", "", "a//b",
                                  "a\0b", 7, ["x"], None])
def test_a_path_that_leaves_the_destination_is_refused(victim: Victim, path: object) -> None:
    with Peer(victim.port) as peer:
        reply = peer.ask(victim.push(gold(victim), f"file://{victim.allowed}/path/", {"path": path}))
        assert reply.split()[1] in ("err", "error"), reply


@pytest.mark.parametrize("destination", [
    "sftp://192.0.2.1/data/", "ftp://192.0.2.1/data/", "ftp://127.0.0.1@192.0.2.1/data/", "ftp://127.0.0.1:21@192.0.2.1/d/",
    "ftp://[::ffff:192.0.2.1]/data/", "ftp://0xc0000201/data/", "ftp://3221225985/data/", "ftp://192.0.513/data/",
    "ftp://192.0.2.1%2f@x/data/", "ftp://\u24d4xample.invalid/data/", "s3://bucket/key/", "http://169.254.169.254/latest/",
    "FTP://192.0.2.1/data/", "ftp://127.0.0.1%00.example.invalid/x/", "ftp://127.0.0.1#@192.0.2.1/x/",
    "ftp://127.0.0.1\\@192.0.2.1/x/"])
def test_a_push_to_another_host_is_refused(victim: Victim, destination: str) -> None:
    with Peer(victim.port) as peer:
        reply = peer.ask(victim.push(gold(victim), destination), 20)
        assert reply.split()[1] in ("err", "error"), reply


def test_a_refusal_says_which_option_to_set_to_what(victim: Victim) -> None:
    with Peer(victim.port) as peer:
        reply = peer.ask(victim.push(gold(victim), "ftp://192.0.2.1/data/"))
        assert "[loot]" in reply and "allowed_destinations = ftp://192.0.2.1/data/*" in reply


@pytest.mark.parametrize("scheme", ["ftp", "http"])
def test_who_has_a_file_pushed_to_itself_is_not_told_the_default_login_of_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                                                scheme: str) -> None:
    (tmp_path / "netrc").write_text("default login operator password planted\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    heard: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(20)
            for answer in (b"220 welcome\r\n", b"331 password, please\r\n") if scheme == "ftp" else ():
                connection.sendall(answer)
                heard.append(connection.recv(4096))
            heard.append(connection.recv(4096))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=talk, args=(server.accept()[0],), daemon=True).start()
    with socket.create_server(("127.0.0.1", 0)) as server, victim_and_peer(tmp_path) as (victim, peer):
        threading.Thread(target=serve, daemon=True).start()
        reply = peer.ask(victim.push(gold(victim), f"{scheme}://127.0.0.1:{server.getsockname()[1]}/in/"), 60)
        assert "connection_parameters__auth_hosts = 127.0.0.1" in reply
        assert "planted" not in reply and not heard
        server.shutdown(socket.SHUT_RDWR)


def test_refused_requests_are_in_the_audit_with_the_number_that_the_log_tells(tmp_path: Path) -> None:
    with victim_and_peer(tmp_path) as (victim, peer):
        peer.ask(victim.push(gold(victim), "ftp://me:planted@192.0.2.1/data/"))
        peer.ask(victim.push(str(victim.outside / "secret.bin"), f"file://{victim.allowed}/"))
        for _ in range(150):
            peer.ask(victim.push(f"{victim.origin}/none.bin", f"file://{victim.allowed}/"))
        records = audited(victim.journal, wait_for=100)
        assert [(one["number"], one["what"], one["address"], one["request"]) for one in records] == [
            (number, "refused", "127.0.0.1", "push") for number in range(1, 101)], "a minute has a hundred lines"
        assert records[0]["section"] == "loot"
        assert (records[2]["uid"], records[2]["uri"]) == ("none.bin", f"{victim.origin}/none.bin")
        assert records[0]["destination"] == "ftp://192.0.2.1/data/" and records[0]["code"] == "denied"
        assert records[1]["uri"].endswith("/outside/secret.bin") and records[1]["code"] == "not_announced"
        for record in records[:2]:
            victim.program.wait_for(re.escape(record["why"][:40]) + rf".*\(audit {record['number']}\)")
        assert "planted" not in json.dumps(records)


@pytest.mark.parametrize("targets", ["host", [1], ["192.0.2.1"], [""], ["x"] * 1000, [{"a": 1}]])
def test_backup_targets_are_checked_like_destinations(victim: Victim, targets: object) -> None:
    with Peer(victim.port) as peer:
        reply = peer.ask(victim.push(gold(victim), "ftp://127.0.0.1:1/data/", {"backup_targets": targets}), 30)
        assert reply.split()[1] in ("err", "error"), reply


# What an ack may do.

@pytest.mark.parametrize("uri", ["{outside}/gold.bin", "{outside}/secret.bin", "{origin}/gold.bin",
                                 "{origin}/../outside/gold.bin"])
def test_an_ack_of_what_was_not_delivered_removes_nothing(tmp_path: Path, uri: str) -> None:
    victim = Victim(tmp_path, {"remove_delay": "0"})
    try:
        victim.announce("kept.bin", b"kept")
        for name in ("gold.bin", "kept.bin"):
            filled = uri.format(outside=victim.outside, origin=victim.origin).replace("gold.bin", name)
            with Peer(victim.port) as peer:
                peer.ask(text("ack", {"uri": filled, "uid": name}))
        eventually(lambda: not (victim.origin / "gold.bin").exists(), message="the delivered file is removed")
        assert (victim.origin / "kept.bin").exists()
        assert sorted(path.name for path in victim.outside.iterdir()) == ["gold.bin", "secret.bin"]
    finally:
        victim.close()


def test_an_ack_of_a_stranger_does_not_keep_a_file_from_those_who_wait_for_it(victim: Victim) -> None:
    path = victim.announce("wanted.bin", b"wanted")
    with Peer(victim.port) as peer:
        peer.ask(text("ack", {"uri": str(path), "uid": "wanted.bin"}))
        reply = peer.ask(victim.push(str(path), f"file://{victim.allowed}/wanted/"))
        assert " file " in reply
    assert path.exists()


# Values that are well-formed, and poison for what is behind: the journal, the look-ups.

POISON = [
    {"offset": 2**63, "epoch": "{epoch}"}, {"offset": 2**64 - 1, "epoch": "{epoch}"},
    {"offset": -1, "epoch": "{epoch}"},
    {"client": "\ud800", "group": "g"}, {"client": "c", "group": "\udfff"}, {"request": "r:\ud800"},
    {"request": "r:" + "x" * 1000}, {"request": ["r:1"]}, {"epoch": "\ud800"}, {"epoch": {}},
    {"priority": 2**70, "client": "c", "group": "g"},
    {"pushes": []}, {"client": "c" * 100_000, "group": "g"}, {"requests": ["r:\ud800"] * 10}, {"requests": [{}] * 10},
    [1], "text", 7, None,
]


@pytest.mark.parametrize("extension", POISON, ids=range(len(POISON)))
@pytest.mark.parametrize("kind", ["push", "ack", "status", "replay", "ping", "info"])
def test_poison_in_the_extension_harms_nobody(victim: Victim, kind: str, extension: object) -> None:
    with Peer(victim.port) as peer:
        epoch = json.loads(peer.ask(text("ping", {"trollmoves": {"request": "r:1"}})).split(" ", 6)[6])["trollmoves"]["epoch"]
        filled = json.loads(json.dumps(extension).replace("{epoch}", epoch))
        data = {"uri": gold(victim), "uid": "gold.bin", "destination": f"file://{victim.allowed}/poison/", "trollmoves": filled}
        for number in ("", ', "nan": NaN, "big": ' + "9" * 40):  # what only the standard library's parser takes
            body = json.dumps(data)[:-1] + number + "}"
            peer.ask(text(kind, body))


@pytest.mark.parametrize("asked", [
    {"since": 2**63}, {"since": -5}, {"since": "0"}, {"since": 1e308}, {"topics": "x"}, {"topics": [1]}, {"topics": [""] * 1000},
    {"newer_than": "x"}, {"newer_than": [1]}, {"epoch": 7}, {"since": True}])
def test_a_strange_question_for_a_replay_is_answered_or_refused(victim: Victim, asked: dict[str, object]) -> None:
    with Peer(victim.port) as peer:
        reply = peer.ask(text("replay", {"trollmoves": {"request": "r:1", **asked}}))
        assert reply.split()[1] in ("replay", "err", "error"), reply


@pytest.mark.parametrize("count", [-1, 2**70, "x", None, 1.5, [], True])
def test_a_strange_question_for_information_is_answered(victim: Victim, count: object) -> None:
    with Peer(victim.port) as peer:
        assert " info " in peer.ask(text("info", {"max_count": count}))


# The origin: names, links, special files, swaps.

def test_a_name_with_line_separators_ends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Who may write into a watched directory chooses it, and it is in the history of what was given up."""
    with victim_and_peer(tmp_path) as (victim, peer):
        path = victim.announce("a\u2028b\u2029c\x85d.bin", b"x")
        path.unlink()
        reply = decode(peer.ask(victim.push(str(path), f"file://{victim.allowed}/lines/")).encode())
        assert "is gone" in str(reply.data), reply
        eventually(lambda: rows(victim.journal, "SELECT state FROM files WHERE size = 1") == [("given_up",)])
        eventually(lambda: "given up" in victim.program.output() or not victim.program.running, message="the server has looked")
        victim.healthy()
        for command in ("status", "failed"):
            umbrella.main([command, "--journal", str(victim.journal)])
        umbrella.main(["trace", path.name, "--journal", str(victim.journal)])
        assert "is gone" in capsys.readouterr().out



def test_links_and_special_files_are_not_served(victim: Victim) -> None:
    os.symlink(victim.outside / "secret.bin", victim.origin / "link.bin")
    os.mkfifo(victim.origin / "pipe.bin")
    os.symlink(victim.outside, victim.origin / "directory.bin")
    victim.announce("marker.bin", b"announced after the links")
    with Peer(victim.port) as peer:
        for name in ("link.bin", "pipe.bin", "directory.bin", "directory.bin/secret.bin"):
            reply = peer.ask(victim.push(str(victim.origin / name), f"file://{victim.allowed}/links/"))
            assert reply.split()[1] in ("err", "error"), reply
    assert not (victim.allowed / "links").exists()


@pytest.mark.parametrize("swap", ["link", "pipe", "directory", "other file", "nothing", "hard link"])
def test_a_file_swapped_after_its_announcement_is_not_served(victim: Victim, swap: str) -> None:
    name = f"swap-{swap.replace(' ', '-')}.bin"
    path = victim.announce(name, b"honest")
    path.unlink()
    if swap == "link":
        path.symlink_to(victim.outside / "secret.bin")
    elif swap == "pipe":
        os.mkfifo(path)
    elif swap == "directory":
        path.mkdir()
    elif swap == "hard link":
        os.link(victim.outside / "secret.bin", path)
    with Peer(victim.port) as peer:
        reply = peer.ask(victim.push(str(path), f"file://{victim.allowed}/swapped/"))
    assert swap == "hard link" or reply.split()[1] in ("err", "error"), reply
    if swap == "hard link":  # the watcher may have announced the new content: a regular file in the origin is served
        path.unlink()
        for stolen in victim.allowed.rglob(name):
            stolen.unlink()


def test_a_parent_swapped_for_a_link_leads_nowhere(tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    (origin / "day").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (origin / "day" / "a.bin").write_bytes(b"mine")
    status = (origin / "day" / "a.bin").stat()
    announced = Announced(str(origin / "day" / "a.bin"), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    os.rename(origin / "day", tmp_path / "elsewhere" / "day")
    (origin / "day").symlink_to(tmp_path / "elsewhere" / "day")
    with pytest.raises(MoveError), opened((str(origin),), announced):
        pytest.fail("a link was followed")


def test_a_thousand_races_between_a_swap_and_the_opening_are_lost_by_the_attacker(tmp_path: Path) -> None:
    origin, other = tmp_path / "origin", tmp_path / "secret"
    origin.mkdir()
    other.write_bytes(b"jewels")
    path, spare = origin / "a.bin", origin / "spare"
    path.write_bytes(b"honest")
    status = path.stat()
    announced = Announced(str(path), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    os.link(path, origin / "honest")
    ending = threading.Event()

    def swap() -> None:
        while not ending.is_set():
            spare.unlink(missing_ok=True)
            spare.symlink_to(other)
            os.rename(spare, path)
            os.link(origin / "honest", spare)
            os.rename(spare, path)
    thread = threading.Thread(target=swap)
    thread.start()
    read = []
    try:
        for _ in range(1000):
            try:
                with opened((str(origin),), announced) as found:
                    read.append(os.read(found.descriptor, 100))
            except MoveError:
                read.append(b"")
    finally:
        ending.set()
        thread.join()
    assert set(read) <= {b"honest", b""}
    assert b"honest" in read


# Floods.

def test_five_thousand_pipelined_pings_get_five_thousand_pongs(victim: Victim) -> None:
    with Peer(victim.port) as peer:
        for _ in range(5000):
            peer.send(text("ping"))
        replies = [peer.receive(20) for _ in range(5000)]
        assert all(reply is not None and " pong " in reply for reply in replies)


def test_pings_are_answered_while_others_flood(victim: Victim) -> None:
    with Peer(victim.port) as flooder:
        for kind, data in (("ping", None), ("info", None), ("replay", {"trollmoves": {"since": 0}}), ("push", {"uri": "/x"}),
                           ("ack", {"trollmoves": {"requests": ["r:x"] * 1000}})):
            for _ in range(1000):
                flooder.send(text(kind, data))
            assert victim.healthy()


def test_frames_without_end_are_refused(victim: Victim) -> None:
    ping = text("ping")
    with Peer(victim.port) as peer:
        for frames in ([b""] * 10_000, [b"", ping, b""], [b"", ping, ping], [ping], [b"no delimiter", ping]):
            peer.socket.send_multipart(frames)
            assert " unknown " in str(peer.receive()), f"{len(frames)} frames"
        victim.healthy()


def test_many_large_parts_are_refused(victim: Victim) -> None:
    """Or their sender is cut off, as it is when so many take longer than a moment to come."""
    with Peer(victim.port) as peer:
        part = bytes(1_000_000)
        peer.socket.send_multipart([b"", *[part] * 15], copy=False)
        assert " unknown " in str(peer.receive(60)), "fewer than anybody is cut off for"
        peer.socket.send_multipart([b"", *[part] * 200], copy=False)
        eventually(lambda: " unknown " in str(peer.receive(0.1)) or "is cut off" in victim.program.output(), message="refused")
        victim.healthy()


def test_a_giant_frame_cuts_the_connection(victim: Victim) -> None:
    with _greeted(victim.port) as connection:
        chunk = bytes(1_000_000)
        with pytest.raises(OSError):
            connection.sendall(b"\x02" + (500_000_000).to_bytes(8, "big"))
            for _ in range(500):
                connection.sendall(chunk)
    victim.healthy()


def test_a_request_that_is_whole_and_too_large_cuts_the_connection(victim: Victim) -> None:
    raw = text("ping", {"padding": "x" * LARGEST_REQUEST})
    with _greeted(victim.port) as connection:
        said = b""
        with contextlib.suppress(ConnectionError):
            connection.sendall(b"\x01\x00\x02" + len(raw).to_bytes(8, "big") + raw)
            while more := connection.recv(65536):
                said += more
    assert b"pytroll" not in said, "it was taken, and answered"


def _greeted(port: int) -> socket.socket:
    """A connection that was agreed on: what is sent before that is refused whatever it is."""
    connection = socket.create_connection(("127.0.0.1", port), 60)
    connection.sendall(_greeting())
    heard = b""
    while b"Identity" not in heard:
        more = connection.recv(1000)
        assert more, f"hung up after {heard!r}"
        heard += more
    return connection


def _greeting() -> bytes:
    """ZMTP 3.0 as a plain DEALER says it."""
    signature = b"\xff" + bytes(8) + b"\x7f" + b"\x03\x00" + b"NULL".ljust(20, b"\0") + b"\0" + bytes(31)
    ready = b"\x05READY" + b"\x0bSocket-Type" + (6).to_bytes(4, "big") + b"DEALER"
    return signature + b"\x04" + bytes([len(ready)]) + ready


def test_garbage_instead_of_a_handshake_is_survived(victim: Victim) -> None:
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(10_000), b"\xff" * 1000, b""):
        with socket.create_connection(("127.0.0.1", victim.port)) as connection:
            connection.sendall(garbage)
    victim.healthy()


def test_a_client_that_never_reads_its_replies_costs_little(victim: Victim) -> None:
    for number in range(600):
        (victim.origin / f"many{number}.bin").write_bytes(b"x" * 10)
    eventually(lambda: victim.is_announced("many599.bin"))
    with Peer(victim.port, {zmq.RCVHWM: 1, zmq.RCVBUF: 4096}) as peer:
        for kind in ("replay", "info"):
            for _ in range(3000):
                peer.send(text(kind, {"trollmoves": {"since": 0, "request": "r:1"}}))
        for _ in range(10):
            victim.healthy()
        victim.unharmed()


def test_a_flood_of_large_requests_waits_at_those_who_sent_it(victim: Victim) -> None:
    """Not only is the memory given back: it is never taken."""
    raw, count, peers = text("ack", {"uri": "/nowhere", "uid": "no", "padding": "x" * 900_000}), 150, 4
    victim.forget_peak()
    before = victim.resident()
    with contextlib.ExitStack() as stack:
        connected = [stack.enter_context(Peer(victim.port)) for _ in range(peers)]
        for peer in connected:
            for _ in range(count):
                peer.socket.send_multipart([b"", raw], copy=False)
        for peer in connected:
            assert all("not reachable" in str(peer.receive(60)) for _ in range(count))
    assert victim.peak() - before < peers * 32 * 2**20


def test_replies_that_nobody_reads_are_not_kept(victim: Victim) -> None:
    raw = text("ack", {"uri": gold(victim), "uid": "gold.bin", "padding": "x" * 15_000})
    victim.forget_peak()
    before = victim.resident()
    with Peer(victim.port, {zmq.RCVHWM: 1, zmq.RCVBUF: 4096}) as peer, Peer(victim.port) as honest:
        for number in range(6000):
            peer.socket.send_multipart([b"", raw], copy=False)
            if number % 100 == 0:
                assert " pong " in honest.ask(text("ping"), 30)
        assert " pong " in honest.ask(text("ping"), 30)
    assert victim.peak() - before < 32 * 2**20


def test_a_flood_of_subscriptions_costs_little_and_keeps_nothing_from_others(victim: Victim) -> None:
    victim.forget_peak()
    before, context = victim.resident(), zmq.Context()
    honest, flooding = context.socket(zmq.SUB), context.socket(zmq.XSUB)
    try:
        honest.connect(f"tcp://127.0.0.2:0;127.0.0.1:{victim.publish_port}")
        honest.subscribe(b"pytroll://loot")
        flooding.sndhwm = 0
        flooding.connect(f"tcp://127.0.0.3:0;127.0.0.1:{victim.publish_port}")
        for number in range(15_000):
            flooding.send(b"\x01" + b"%05d" % number * 150)
        eventually(lambda: "is cut off" in victim.program.output(), 30)
        victim.announce("heard.bin", b"x")
        assert honest.poll(30_000)
        assert b"heard.bin" in honest.recv()
    finally:
        context.destroy(0)
    assert victim.peak() - before < 100 * 2**20


def test_refused_pushes_to_ever_other_places_fill_neither_journal_nor_log(tmp_path: Path) -> None:
    count = 500
    with victim_and_peer(tmp_path) as (victim, peer):
        before = rows(victim.journal, "SELECT state FROM files")
        for number in range(count):
            peer.send(victim.push(gold(victim), f"ftp://192.0.2.77/{number}/"))
        assert all("is not allowed" in str(peer.receive(30)) for _ in range(count))
        for number in range(count):
            peer.send(victim.push("/nowhere", f"ftp://192.0.2.77/{number}/"))
        assert all("not reachable" in str(peer.receive(30)) for _ in range(count))
        assert rows(victim.journal, "SELECT state FROM files") == before  # nobody has tried anything
        assert rows(victim.journal, "SELECT count(*) FROM transfers WHERE state = 'given_up'")[0][0] <= 100
        said = victim.program.output().splitlines()
        assert sum(" is not allowed " in line or " not reachable" in line for line in said) <= 100
        assert any("are counted" in line for line in said)


def test_five_hundred_connections_are_served(victim: Victim) -> None:
    connections = [socket.create_connection(("127.0.0.1", victim.port)) for _ in range(500)]
    try:
        for connection in connections[:250]:
            connection.sendall(_greeting())
        victim.healthy()
    finally:
        for connection in connections:
            connection.close()


def test_more_connections_than_there_are_descriptors_end_nothing(tmp_path: Path) -> None:
    """The process ended when it had none left, for which anybody needed no more than to connect a thousand times."""
    with victim_and_peer(tmp_path) as (victim, peer):
        assert " pong " in peer.ask(text("ping"))
        resource.prlimit(victim.program.pid, resource.RLIMIT_NOFILE, (400, 400))
        connections = []
        try:
            for number in range(800):
                connections.append(socket.create_connection(("127.0.0.1", (victim.port, victim.publish_port)[number % 2])))
                with contextlib.suppress(OSError):  # cut off already
                    connections[-1].sendall(_greeting())
            assert " pong " in peer.ask(text("ping")), "who was there before is served"
            eventually(lambda: len(os.listdir(f"/proc/{victim.program.pid}/fd")) < 300, message="there is room again")
            victim.healthy()
        finally:
            for connection in connections:
                connection.close()
        assert any("more connections than can be served" in line for line in victim.program.output().splitlines())


def test_large_pushes_that_wait_do_not_fill_the_memory(victim: Victim) -> None:
    padding = "x" * 900_000
    with Peer(victim.port) as peer:
        for number in range(300):
            peer.send(victim.push(gold(victim), f"ftp://127.0.0.1:1/{number}/", {"padding": padding}))
        victim.unharmed()


@contextlib.contextmanager
def victim_and_peer(root: Path, **options: str) -> Iterator[tuple[Victim, Peer]]:
    victim = Victim(root, options)
    try:
        with Peer(victim.port) as peer:
            yield victim, peer
    finally:
        victim.close()


def test_a_malformed_group_of_pushes_harms_no_other_group_that_comes_with_it(tmp_path: Path) -> None:
    with victim_and_peer(tmp_path) as (victim, honest), Peer(victim.port) as stranger:
        assert " pong " in stranger.ask(text("ping"))
        epoch = decode(honest.ask(text("ping", {EXTENSION: {"version": 1}})).encode()).extension["epoch"]
        (offset,), = rows(victim.journal, "SELECT max(position) FROM announcements")
        target = victim.allowed / "grouped"
        said = {"version": 1, "epoch": epoch, "pushes": [[offset, "r:honest"]], "client": "me", "group": "us"}
        os.kill(victim.program.pid, signal.SIGSTOP)
        stranger.send(text("push", {EXTENSION: {"version": 1, "pushes": "nonsense"}}))
        honest.send(text("push", {"destination": f"file://{target}/", EXTENSION: said}))
        time.sleep(0.5)  # both are there when it goes on
        os.kill(victim.program.pid, signal.SIGCONT)
        result, = decode(str(honest.receive()).encode()).extension["results"]
        assert result.get("state") == "delivered", result
        assert (target / "gold.bin").exists()
        assert "pushes must be a list" in str(stranger.receive())


def test_one_host_cannot_take_all_the_room_for_requests(tmp_path: Path) -> None:
    """Its moves wait for a server that never answers; another client's are taken and done meanwhile."""
    with socket.create_server(("127.0.0.2", 0)) as silent, victim_and_peer(tmp_path, queued_requests="20") as (victim, honest):
        port = silent.getsockname()[1]
        with Peer(victim.port, address="127.0.0.2") as greedy:
            for number in range(60):
                greedy.send(victim.push(str(victim.origin / "gold.bin"), f"ftp://127.0.0.2:{port}/{number}/"))
            replies = [greedy.receive() for _ in range(50)]
            assert all("requests are waiting" in str(reply) and "queued_requests" in str(reply) for reply in replies)
            target = victim.allowed / "honest"
            assert " file " in honest.ask(victim.push(str(victim.origin / "gold.bin"), f"file://{target}/"), 30)
            assert (target / "gold.bin").exists()


def test_an_ack_is_taken_while_moves_of_its_client_fill_the_queue(tmp_path: Path) -> None:
    """A client that has a file from elsewhere says so once: what was refused would never be removed with `delete`."""
    with socket.create_server(("127.0.0.2", 0)) as silent, victim_and_peer(tmp_path, queued_requests="20") as (victim, _):
        port = silent.getsockname()[1]
        with Peer(victim.port, address="127.0.0.2") as busy:
            for number in range(60):
                busy.send(victim.push(str(victim.origin / "gold.bin"), f"ftp://127.0.0.2:{port}/{number}/"))
            assert "requests are waiting" in str([busy.receive() for _ in range(50)][-1])
            assert " ack " in busy.ask(text("ack", {"uri": gold(victim), "uid": "gold.bin"}))


def test_one_host_cannot_take_all_the_memory_for_requests(tmp_path: Path) -> None:
    padding = {"padding": "x" * 500_000}
    with socket.create_server(("127.0.0.2", 0)) as silent, victim_and_peer(tmp_path) as (victim, honest):
        port = silent.getsockname()[1]
        with Peer(victim.port, address="127.0.0.2") as greedy:
            for number in range(40):
                greedy.send(victim.push(str(victim.origin / "gold.bin"), f"ftp://127.0.0.2:{port}/{number}/", padding))
            assert "too many large requests" in str(greedy.receive(30))
            target = victim.allowed / "honest"
            assert " file " in honest.ask(victim.push(str(victim.origin / "gold.bin"), f"file://{target}/", padding), 30)


def test_the_history_of_a_file_does_not_grow_without_end(victim: Victim) -> None:
    with Peer(victim.port) as peer:
        for _ in range(3000):
            peer.send(text("ack", {"uri": gold(victim), "uid": "gold.bin"}))
        for _ in range(3000):
            assert peer.receive(20)
    assert int(str(rows(victim.journal, "SELECT max(length(steps)) FROM files")[0][0])) < 100_000


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Connections that are made meanwhile are another user's."""
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_server_of_roots_follows_no_link_of_who_may_have_files_in_a_directory(tmp_path: Path) -> None:
    allowed = tmp_path / "shared"
    with victim_and_peer(tmp_path, allowed_destinations=f"{allowed}/*") as (victim, _):
        allowed.mkdir()
        (allowed / "link").symlink_to(victim.outside)
        os.lchown(allowed / "link", 65534, 65534)
        (allowed / "gold.bin").symlink_to(victim.outside)
        os.lchown(allowed / "gold.bin", 65534, 65534)
        with as_nobody():
            peer = Peer(victim.port)
            answer = peer.ask(victim.push(gold(victim), f"{allowed}/link/gold.bin"))
        with peer:
            reply = decode(answer.encode())
            assert reply.type == "err" and "link is a link that another user has made" in str(reply.data), reply
            for directory in ("", "new/"):
                reply = decode(peer.ask(victim.push(gold(victim), f"{allowed}/{directory}")).encode())
                assert reply.type == "file", reply
                assert (allowed / directory / "gold.bin").read_bytes() == b"gold" * 1000
        assert sorted(os.listdir(victim.outside)) == ["gold.bin", "secret.bin"]
        assert (victim.outside / "gold.bin").read_bytes() == b"not the announced one"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_server_of_roots_writes_for_no_other_user_of_its_machine(victim: Victim) -> None:
    """Root's own clients need no leave, as before."""
    request = text("push", {"uri": gold(victim), "uid": "gold.bin", "destination": f"file://localhost{victim.root}/cron/gold"})
    login = request.replace(b"file://localhost", b"sftp://admin@127.0.0.1")
    with as_nobody(), Peer(victim.port) as peer:
        for asked in (request, login):
            reply = decode(peer.ask(asked).encode())
            assert reply.type == "err"
            assert "whose user is not root" in str(reply.data)
            assert "add to section [loot] of the server allowed_destinations = " in str(reply.data)
    assert not (victim.root / "cron").exists()
    with Peer(victim.port) as peer:
        reply = decode(peer.ask(request).encode())
        assert reply.type == "file", reply.data
    assert (victim.root / "cron/gold").read_bytes() == b"gold" * 1000


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_another_user_joins_no_move_of_roots(tmp_path: Path) -> None:
    """It would have the right to publish, and be told the outcome, of what it may not have."""
    place = tmp_path / "private"
    with victim_and_peer(tmp_path, bandwidth_per_host="200k") as (victim, peer):
        origin = victim.announce("big.bin", b"big" * 500_000)

        def asked(request: str) -> bytes:
            said = {"version": 1, "request": request, "client": "me@here/1", "group": "us"}
            return victim.push(str(origin), f"file://localhost{place}/", {EXTENSION: said})
        peer.send(asked("r:root"))
        eventually(lambda: place.exists() and any(place.iterdir()), message="bytes move")
        with as_nobody(), Peer(victim.port) as other:
            reply = decode(other.ask(asked("r:nobody")).encode())
            assert reply.type == "err" and "whose user is not root" in str(reply.data), reply
        while (reply := decode(peer.ask(text("status", {EXTENSION: {"request": "r:root"}})).encode())).type == "pending":
            assert reply.extension["request"] == "r:root"
        assert (reply.type, reply.extension["fence"]) == ("file", 1), reply
