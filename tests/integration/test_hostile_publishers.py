"""A stranger on a provider's port: nothing it publishes or replies ends our client, and real providers are still served."""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.checker import rows
from tests.faults.network import TOPIC, Network
from tests.integration.hostile import SLACK, Stranger, text
from tests.support.eventually import eventually
from tests.support.ports import free_port


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    stranger = Stranger()
    yield stranger
    stranger.close()


def beat(**extension: object) -> bytes:
    data = {"min_interval": 30, "trollmoves": {"version": 1, "epoch": "e:1", "head": 1, "since": 0, "heads": {}, **extension}}
    return text("beat", json.dumps(data), subject="/heartbeat/move_it_server")


def network_with(stranger: Stranger, root: Path, **options: str) -> Network:
    network = Network(root, client_options=options)
    network.client_options["providers"] = f"127.0.0.1:{network.publish_ports[0]} 127.0.0.1:{stranger.port}"
    network.write_client_config()
    return network


def still_serves(network: Network, name: str) -> None:
    data = os.urandom(2000)
    network.write(name, data)
    eventually(lambda: (network.destination / name).read_bytes() == data, message="a real file arrives")
    assert network.client.running
    assert network.observer.violations == []


def test_a_client_takes_whatever_a_stranger_publishes(tmp_path: Path, stranger: Stranger) -> None:
    network = network_with(stranger, tmp_path)
    big = 2**63
    messages = [
        b"pytroll:/" + TOPIC.encode(), b"pytroll:/" + TOPIC.encode() + b" \xff\xfe",
        b"pytroll:/" + TOPIC.encode() + os.urandom(5000),
        stranger.announcement()[:-20], text("file", "[" * 100_000, subject=TOPIC), text("file", [1], subject=TOPIC),
        text("file", '{"uid": "' + "x" * 3_000_000 + '"}', subject=TOPIC), text("push", {"uid": {}}, subject=TOPIC),
        stranger.announcement(', "size": NaN, "inf": Infinity, "big": ' + "9" * 400),
        stranger.announcement(', "extra": "\\ud800"'), stranger.announcement().replace(b"/x/x.bin", b"/x/\xe9.bin"),
        stranger.announcement(', "name": "{0.__class__.__mro__}", "%s%n": "%s%n%x"'),
        stranger.announcement(uid="../../../etc/passwd"),
        stranger.announcement(uid="/etc/passwd"), stranger.announcement(uid=""), stranger.announcement(uid={"a": [1]}),
        stranger.announcement(uid=None), stranger.announcement(uid="a\0b\nc"), stranger.announcement(address="127.0.0.1:0"),
        stranger.announcement(address="no address"), stranger.announcement(address="*:9"), stranger.announcement(address="a;b:9"),
        stranger.announcement(uid="y1", address="unknown.invalid:9", offset=5),
        stranger.announcement(uid="y2", address="[::::]:9", offset=6),
        stranger.announcement(uid="y3", offset=big), stranger.announcement(uid="y4", offset=7, size=big, previous=big),
        stranger.announcement(uid="y5", offset=8, key={}, size="x", previous=-1),
        stranger.announcement(uid="y6", epoch="\ud800", offset=3),
        beat(head=big), beat(head="x"), beat(head=-1), beat(heads=7), beat(heads={TOPIC: "x"}), beat(heads={TOPIC: None}, head=4),
        beat(address=7, started="x"), beat(address=f"127.0.0.1:{stranger.request_port}", started=1, head=10),
        beat(address=f"127.0.0.1:{stranger.request_port}", started=2, head=big - 1), beat(epoch=7), beat(since=big),
        text("beat", '{"min_interval": NaN}', subject="/heartbeat/move_it_server"), text("ack", {"uid": ["\x00"]}, subject=TOPIC),
        text("dataset", {"dataset": [{"uid": 1}, 7, {"uid": "a"}], "request_address": f"127.0.0.1:{stranger.request_port}"},
            subject=TOPIC),
    ]
    stranger.answer = b"garbage"
    with network:
        network.start()
        still_serves(network, "first.bin")
        for message in messages:
            stranger.publisher.send(message)
        for number in range(20):
            address = f"127.0.0.1:{free_port()}"
            stranger.publisher.send(stranger.announcement(uid=f"flood{number}", address=address, offset=100 + number))
        still_serves(network, "second.bin")
        network.client.wait_for(f"127.0.0.1:{stranger.port} published something that is no message")
        eventually(lambda: stranger.asked, message="the stranger's files were asked for")
        still_serves(network, "third.bin")
        assert sorted(path.name for path in network.destination.iterdir()) == ["first.bin", "second.bin", "third.bin"]
        network.client.restart()  # what was journaled must not end the next process either
        still_serves(network, "fourth.bin")
        assert network.client.stop() == 0


def test_a_stranger_draws_nobody_to_another_address(tmp_path: Path, stranger: Stranger) -> None:
    """Neither while the real provider is heard, nor when it is down and the client knows it from its journal only. Its epoch, its
    address and its announcements anybody can hear."""
    network = network_with(stranger, tmp_path, in_flight="5")
    real = f"127.0.0.1:{network.request_ports[0]}"
    stranger.answer = text("covered", '{"trollmoves": {"request": "@request@", "state": "covered"}}')
    with network:
        network.start()
        still_serves(network, "first.bin")
        epoch = str(rows(network.server_journal(), "SELECT value FROM meta WHERE name = 'epoch'")[0][0])

        def says() -> None:
            """Until the client has heard it."""
            mark = network.client.mark()

            def heard() -> bool:
                moved = {real: f"127.0.0.1:{stranger.request_port}"}
                stranger.publisher.send(beat(epoch=epoch, head=1, address=real, moved=moved))
                return "nobody is followed" in network.client.output(mark)
            eventually(heard, message="the client has heard it, and does not believe it")
        says()
        still_serves(network, "second.bin")
        network.servers[0].suspend()
        network.client.kill()
        network.client.start()
        says()
        network.servers[0].resume()
        still_serves(network, "third.bin")
        assert not stranger.asked, stranger.asked[0]


@pytest.mark.parametrize("delay", ["0", "4"])
@pytest.mark.parametrize("said", [{"offset": "x"}, {"offset": None}, {"offset": 10**9}, {"offset": 10**9, "key": ""}],
                         ids=["no number", "none", "far ahead", "far ahead, without a key"])
def test_a_stranger_that_speaks_for_another_one_keeps_no_file_away(tmp_path: Path, stranger: Stranger,
                                                                   said: dict[str, object], delay: str) -> None:
    """It announces a file in the name of its provider and of that one's journal, which anybody can hear, just before it comes."""
    network = network_with(stranger, tmp_path, processing_delay=delay)
    real = f"127.0.0.1:{network.request_ports[0]}"
    with network:
        network.start()
        still_serves(network, "first.bin")
        epoch = str(rows(network.server_journal(), "SELECT value FROM meta WHERE name = 'epoch'")[0][0])
        stranger.publisher.send(stranger.announcement(uid="wanted.bin", address=real, epoch=epoch, **said))
        heard = "SELECT count(*) FROM files WHERE identity = 'wanted.bin'"
        eventually(lambda: rows(network.client_journal, heard) == [(1,)], message="it is heard")
        still_serves(network, "wanted.bin")
        assert "cannot be dealt with" not in network.client.output()


REPLAY = ('{"trollmoves": {"version": 1, "request": "@request@", "epoch": "e:1", "to": %s, "head": 99, "oldest": 0, '
          '"more": %s, "messages": %s}}')
ANSWERS = {
    "endless": text("replay", REPLAY % ("0", "true", "[]"), subject=TOPIC),
    "giant position": text("replay", REPLAY % (str(2**63), "true", "[]"), subject=TOPIC),
    "garbage inside": text("replay", REPLAY % ("5", "false", '[1, null, "x", {}, "pytroll:/ \\u0000"]'), subject=TOPIC),
    "no list": text("replay", REPLAY % ("5", "false", '"x"'), subject=TOPIC),
    "gap at the end of time": text("replay", REPLAY % ("5", "false", '[], "truncated": true, "forgotten": 1e300'), subject=TOPIC),
    "gap that nobody can name": text("replay", REPLAY % ("5", "false", '[], "truncated": true, "oldest": {}, "forgotten": NaN'),
                                     subject=TOPIC),
    "retry never": text("err", '{"error": "no", "trollmoves": {"request": "@request@", "retry_after": NaN, "code": [1]}}'),
    "retry at the end of time": text("err", '{"error": {}, "trollmoves": {"request": "@request@", "retry_after": 1e300}}'),
    "delivered nonsense": text("file", '{"uid": {"a": 1}, "uri": [1], "trollmoves": {"request": "@request@", "confirm": true}}'),
    "always pending": text("pending", '{"trollmoves": {"request": "@request@"}}'),
    "always moving": text("pending", '{"trollmoves": {"request": "@request@", "state": "moving"}}'),
    "unknown request": text("err", '{"trollmoves": {"request": "@request@", "code": "unknown_request"}}'),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_a_client_survives_whatever_a_stranger_replies(tmp_path: Path, stranger: Stranger, answer: bytes) -> None:
    network = network_with(stranger, tmp_path)
    stranger.answer = answer
    with network:
        network.start()
        still_serves(network, "first.bin")
        for number in range(3):
            stranger.publisher.send(stranger.announcement(uid=f"s{number}", offset=10 + number))
            stranger.publisher.send(beat(address=f"127.0.0.1:{stranger.request_port}", head=50 + number))
        eventually(lambda: stranger.asked, message="the stranger was asked")
        started = time.monotonic()
        still_serves(network, "second.bin")
        asked = len(stranger.asked)
        still_serves(network, "third.bin")
        assert len(stranger.asked) - asked < 2000 * (1 + time.monotonic() - started), "asked in a tight loop"
        assert network.client.stop() == 0


def test_neither_pages_that_nobody_can_read_nor_impossible_moves_fill_the_log(tmp_path: Path, stranger: Stranger) -> None:
    network = network_with(stranger, tmp_path)
    garbage = json.dumps(["garbage"] * 1000)
    stranger.answer = text("replay", REPLAY.replace('"head": 99', '"head": 9999') % ("@number@", "true", garbage), subject=TOPIC)
    with network:
        network.start()
        still_serves(network, "first.bin")
        mark = network.client.mark()
        stranger.publisher.send(beat(address=f"127.0.0.1:{stranger.request_port}", head=9999))
        for number in range(10):
            moved = {f"{number}-{place}": "nowhere" for place in range(900)}
            stranger.publisher.send(beat(address=f"127.0.0.1:{stranger.request_port}", head=9999, moved=moved))
        network.client.wait_for("nobody can follow")
        eventually(lambda: len(stranger.asked) > 5, 60, message="one page after the other is asked for")
        still_serves(network, "second.bin")
        assert "cannot be read" in network.client.output(mark)
        assert len(network.client.output(mark).splitlines()) < 500


class Leases:
    """Answers of a provider that delivers, and gives leases that are worth nothing."""

    def __init__(self, stranger: Stranger, commits: dict[str, object]):
        self._stranger = stranger
        self._commits = commits

    def replace(self, _: bytes, request: bytes) -> bytes:
        """In the place of an answer that is the same for all."""
        asked = self._stranger.asked[-1]
        said = json.loads(asked.split(b" ", 6)[6])["trollmoves"]
        if b" commit " in asked[:200]:
            results = [{"request": one, "fence": 1, **self._commits} for _, one, _ in said["commits"]]
            return text("commit", {"trollmoves": {"request": said["request"], "results": results}})
        if b" push " in asked[:200]:
            lease = {"request": request.decode(), "state": "delivered", "confirm": True, "fence": 1, "valid": -1}
            return text("file", {"uid": "s.bin", "uri": "/x/x.bin", "destination": "file:///x/", "trollmoves": lease})
        return text("ack", {"trollmoves": {"request": said.get("request", "")}})


@pytest.mark.parametrize("commits", [{"state": "granted", "valid": -1}, {"state": "granted", "valid": 1e-9},
                                     {"state": "granted", "valid": "x"}, {"state": "held"}])
def test_leases_that_are_worth_nothing_keep_nobody_busy(tmp_path: Path, stranger: Stranger, commits: dict[str, object],
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    network = network_with(stranger, tmp_path)
    monkeypatch.setattr(stranger, "answer", Leases(stranger, commits))
    with network:
        network.start()
        still_serves(network, "first.bin")
        stranger.publisher.send(stranger.announcement(uid="s.bin", offset=10))
        eventually(lambda: any(b" commit " in asked[:200] for asked in stranger.asked), message="it is asked for leave")
        started, before = time.monotonic(), len(stranger.asked)
        time.sleep(2)
        still_serves(network, "second.bin")
        assert len(stranger.asked) - before < 20 * (1 + time.monotonic() - started), "asked in a tight loop"


def test_a_refusal_with_line_separators_ends_nothing(tmp_path: Path, stranger: Stranger) -> None:
    """It is in the history of what is given up, which is read line by line."""
    network = network_with(stranger, tmp_path)
    said = {"request": "@request@", "code": "gone", "permanent": True}
    stranger.answer = text("err", json.dumps({"error": "a\u2028b\u2029c\x85d\x1ce\nf\rg", "trollmoves": said}))
    alarms = "SELECT count(*) FROM alarms WHERE text LIKE '%given up%'"
    with network:
        network.start()
        still_serves(network, "first.bin")
        stranger.publisher.send(stranger.announcement(uid="s", offset=10))
        eventually(lambda: rows(network.client_journal, alarms) == [(1,)] or not network.client.running)
        still_serves(network, "second.bin")
        network.client.restart()
        still_serves(network, "third.bin")
        assert network.client.stop() == 0


@pytest.mark.parametrize("value", ["../../outside", "/etc", "{0.__class__}", "a/../../b", "%s%n", "x" * 300])
def test_metadata_cannot_lead_a_destination_astray(tmp_path: Path, stranger: Stranger, value: str) -> None:
    network = network_with(stranger, tmp_path, destination=f"file://{tmp_path}/destination/{{platform}}/")
    stranger.answer = text("err", '{"trollmoves": {"request": "@request@", "code": "gone", "permanent": true}}')
    with network:
        network.start()
        network.client.wait_for("listens to")
        more = f', "platform": {json.dumps(value)}'
        numbers = itertools.count()

        def heard() -> bool:
            number = next(numbers)
            stranger.publisher.send(stranger.announcement(more, uid=f"u{number}", offset=number + 1))
            return bool(stranger.asked) or f"u{max(9, number - 9)}" in network.client.output()
        eventually(heard, interval=0.1, message="the client asks for them, or says why not")
        for raw in stranger.asked:
            data = json.loads(raw.split(b" ", 6)[6])
            if "destination" in data:
                path = data["destination"].split("://")[-1]
                assert ".." not in path.split("/") and f"{tmp_path}/destination/" in path, path
        assert network.client.running
        assert not (tmp_path / "outside").exists() and not (tmp_path.parent / "outside").exists()


def test_addresses_that_nobody_answers_at_keep_no_room_from_real_providers(tmp_path: Path, stranger: Stranger) -> None:
    network = network_with(stranger, tmp_path)
    with network:
        network.start()
        still_serves(network, "before.bin")
        for number in range(2000):
            stranger.publisher.send(stranger.announcement(uid=f"{number}.bin", address=f"127.0.{number % 200}.9:{1 + number}"))
        strange = "SELECT count(*) FROM files WHERE provider LIKE '127.0.%.9:%'"
        eventually(lambda: rows(network.client_journal, strange) == [(2000,)], message="they are heard")
        still_serves(network, "after.bin")
        (steps,), = rows(network.client_journal, "SELECT steps FROM files WHERE identity = 'after.bin'")
        announced, requested = (json.loads(line) for line in steps.splitlines()[:2])
        assert (requested[0], requested[1]) == ("requested", announced[1]), f"it waited before it was asked for: {steps}"


def test_a_flood_of_large_announcements_does_not_stay_in_memory(tmp_path: Path, stranger: Stranger) -> None:
    """Hundreds are asked for at a time, and thousands kept that wait, when they are of the usual size."""
    network = network_with(stranger, tmp_path)
    with network:
        network.start()
        still_serves(network, "before.bin")
        before = resident(network)
        for number in range(200):
            stranger.publisher.send(stranger.announcement(padding(1_900_000), uid=f"{number}.bin", offset=1 + number))
        heard = "SELECT count(*) > 50 FROM files WHERE identity GLOB '[0-9]*.bin'"
        eventually(lambda: rows(network.client_journal, heard) == [(1,)], message="they are heard")
        still_serves(network, "after.bin")
        eventually(lambda: resident(network) <= before + 4 * SLACK, message="memory comes back")


def test_destinations_that_are_no_paths_do_not_stay_in_memory(tmp_path: Path, stranger: Stranger) -> None:
    """Those of a thousand files are kept, and what is said of each."""
    network = network_with(stranger, tmp_path, destination=f"file://{tmp_path}/destination/{{platform}}/")
    with network:
        network.start()
        before = resident(network)
        heard = "SELECT count(*) > 50 FROM files WHERE state = 'given_up'"
        numbers = itertools.count(1)

        def taken_in() -> bool:
            number = next(numbers)
            more = f', "platform": "{number}{"x" * 1_900_000}"'
            stranger.publisher.send(stranger.announcement(more, uid=f"{number}.bin", offset=number))
            return rows(network.client_journal, heard) == [(1,)]
        eventually(taken_in, 120, interval=0.1, message="they are heard, and given up")
        eventually(lambda: resident(network) <= before + 4 * SLACK, message="memory comes back")
        assert "it would have 19000" in network.client.output()


def test_what_is_too_large_is_not_taken_in(tmp_path: Path, stranger: Stranger) -> None:
    network = network_with(stranger, tmp_path)
    with network:
        network.start()
        still_serves(network, "before.bin")
        stranger.publisher.send(stranger.announcement(padding(2_200_000), uid="large.bin"))
        network.client.wait_for("no message .*2097152 are the most")
        still_serves(network, "after.bin")
        assert rows(network.client_journal, "SELECT count(*) FROM files WHERE identity = 'large.bin'") == [(0,)]


def test_addresses_that_nobody_answers_at_keep_no_file_from_the_provider_that_has_it(tmp_path: Path, stranger: Stranger) -> None:
    network = network_with(stranger, tmp_path)
    with network:
        network.start()
        still_serves(network, "before.bin")
        for number in range(200):
            address = f"127.0.1.9:{1 + number}"
            stranger.publisher.send(stranger.announcement(uid="wanted.bin", address=address, offset=1 + number, size=2000))
        waits = "SELECT count(*) FROM sources WHERE provider LIKE '127.0.1.9:%'"
        eventually(lambda: rows(network.client_journal, waits) > [(10,)], message="they are heard")
        data = os.urandom(2000)
        network.write("wanted.bin", data)
        wanted = network.destination / "wanted.bin"
        eventually(lambda: wanted.exists() and wanted.read_bytes() == data, 90, message="a real one is asked second")
        assert rows(network.client_journal, waits) < [(100,)]


def all_heard(network: Network, stranger: Stranger) -> None:
    """The client has heard all that the stranger has published."""
    stranger.publisher.send(stranger.announcement(uid="last.bin", offset=10**6))
    heard = "SELECT count(*) FROM files WHERE identity = 'last.bin'"
    eventually(lambda: rows(network.client_journal, heard) == [(1,)], 60, message="it is heard")
    still_serves(network, "after.bin")


def test_endless_places_of_what_is_a_copy_are_not_kept(tmp_path: Path, stranger: Stranger) -> None:
    """What was announced as a copy of a file is remembered, for twenty thousand places."""
    network = network_with(stranger, tmp_path)
    with network:
        network.start()
        still_serves(network, "before.bin")
        before, place = resident(network), f"127.0.0.1:{stranger.request_port}"
        stranger.publisher.send(stranger.announcement(uid="copied.bin", address="127.0.1.9:9", epoch="e:9"))
        for number in range(100):
            said = {"version": 1, "address": place, "epoch": f"e:0{number}", "offset": 1, "previous": 0, "key": f"k:0{number}",
                    "size": 3}
            uri = f"/{number}/" + "x" * 1_500_000
            stranger.publisher.send(text("file", {"uid": "copied.bin", "uri": uri, "request_address": place, "trollmoves": said},
                                         subject=TOPIC))
        all_heard(network, stranger)
        eventually(lambda: resident(network) <= before + SLACK, message="memory comes back")


@pytest.mark.parametrize("kind", ["push", "ack"])
def test_notices_with_endless_names_are_not_kept(tmp_path: Path, stranger: Stranger, kind: str) -> None:
    """What others of a group say they ask for or have is remembered, of twenty thousand files."""
    network = network_with(stranger, tmp_path)
    with network:
        network.start()
        still_serves(network, "before.bin")
        before, name = resident(network), "\U0001f4e1" * 4000
        for number in range(5000):
            data = {"uid": f"{number}{name}", "origin": f"{number}{name}", "trollmoves": {"key": f"{number}{name}", "size": 3}}
            stranger.publisher.send(text(kind, json.dumps(data, ensure_ascii=False), subject=TOPIC))
        all_heard(network, stranger)
        eventually(lambda: resident(network) <= before + SLACK, message="memory comes back")


def padding(size: int) -> str:
    return ', "more": "' + "x" * size + '"'


def resident(network: Network) -> int:
    return int(Path(f"/proc/{network.client.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
