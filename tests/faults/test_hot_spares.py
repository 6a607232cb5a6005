"""Hot spares: two members, one job. Each file is moved and published once; whoever dies, the other one takes over in time."""

from __future__ import annotations

import gzip
import os
import random
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.faults.checker import rows
from tests.faults.network import Network
from tests.faults.pair import Pair
from tests.faults.test_killing import seeded
from tests.integration.requesting import ENVELOPE
from tests.support.eventually import eventually
from trollmoves.client.hearing import group_sign
from trollmoves.crashing import STOP
from trollmoves.faults.network import SPARE_DELAY
from trollmoves.messages import EXTENSION, decode

TAKES_OVER = 25.0
"""Seconds within which the spare publishes what a primary that died leaves."""


def test_members_that_ask_at_once_move_and_publish_each_file_once(tmp_path: Path) -> None:
    count = 1000
    with Pair(tmp_path, delay=0) as pair:
        pair.start()
        for program in pair.members:
            program.wait_for("listens to")
        pair.write_many(1, "first")
        pair.wait_published({"first00000.bin"})
        pair.write_many(count)
        pair.wait_published(set(pair.ledger.latest()))
        pair.wait_finished()
        assert sum(pair.observer.moves.values()) == count + 1, "each file is moved once"
        assert len(pair.recorder.files()) == count + 1, "and published once"
        assert not any(data["trollmoves"].get("redelivered") for data in pair.recorder.files())  # type: ignore[attr-defined]
        assert set(pair.stop()) == {0}
        pair.check_published()


AT_ONCE = ["client.requested", "client.asked", "client.publishing"]
POINTS = ["client.heard", "client.answered", "client.published", "client.confirmed"]


@pytest.mark.slow
@pytest.mark.parametrize("point", [*AT_ONCE, *(pytest.param(point, marks=pytest.mark.nightly) for point in POINTS)])
def test_the_spare_takes_over_when_the_primary_dies_at(tmp_path: Path, point: str) -> None:
    with Pair(tmp_path) as pair:
        pair.warm_up()
        pair.client.stop()
        armed = pair.arm(point, 2).start()
        armed.wait_for("listens to")
        written: dict[str, float] = {}

        def died() -> bool:
            name = f"f{len(written):04}.bin"
            pair.write(name, os.urandom(2000))
            written[name] = time.monotonic()
            return not armed.running
        eventually(died, 40, interval=0.3, message=f"the primary comes to {point}")
        pair.wait_published(set(written), TAKES_OVER)
        pair.disarm()
        pair.client.start()
        pair.wait_finished()
        pair.check_published()


def test_the_spare_publishes_what_a_primary_only_said_it_has(tmp_path: Path) -> None:
    """It died when its public ack was out and its publication was not."""
    with Pair(tmp_path, delay=1.0) as pair, zmq.Context() as context, context.socket(zmq.PUB) as primary:
        primary.bind(f"tcp://127.0.0.1:{pair.client_port}")
        primary.setsockopt(zmq.LINGER, 0)
        pair.servers[0].start().wait_for("watches")
        pair.spare.start().wait_for("listens to")

        def beat() -> bool:
            said = {"version": 1, "epoch": "e:peer", "head": 0, "since": 0, "started": 1.0, "heads": {},
                    "group": group_sign("recv")}
            primary.send(ENVELOPE.encode("/heartbeat/move_it_recv", "beat", {"min_interval": 30, EXTENSION: said}))
            return "has a journal that is new to us" in pair.spare.output() and len(pair.spare.output().split("new to us")) > 2
        eventually(beat, 20, interval=0.1, message="the spare hears the primary")
        pair.write("a.bin", b"content")
        message = decode(eventually(lambda: rows(pair.spare_journal(), "SELECT message FROM files"))[0][0].encode())
        primary.send(ENVELOPE.encode(message.subject, "push", {**message.fields, "destination": f"file://{pair.destination}/"}))
        primary.send(ENVELOPE.encode(message.subject, "ack", message.fields))
        pair.wait_published({"a.bin"}, TAKES_OVER)


def test_the_spare_waits_for_as_long_as_an_upstream_primary_does(tmp_path: Path) -> None:
    """What takes longer than a minute is not published by both. Upstream says nothing between its push and its ack."""
    options = {"transfer_req_timeout": "1000"}
    with Pair(tmp_path, delay=60.0, client_options=options) as pair, zmq.Context() as context, context.socket(zmq.PUB) as primary:
        primary.bind(f"tcp://127.0.0.1:{pair.client_port}")
        primary.setsockopt(zmq.LINGER, 0)
        pair.servers[0].start().wait_for("watches")
        pair.spare.start().wait_for("listens to")

        def due(name: str) -> float:
            found = rows(pair.spare_journal(), "SELECT due FROM files WHERE identity = ? AND state = 'announced'", name)
            return float(str(found[0][0])) if found else 0.0

        def left_to_primary(*pushed: str, after: float) -> bool:
            for name in pushed:
                data = {"uid": name, "uri": f"{pair.origins[0]}/{name}", "request_address": f"127.0.0.1:{pair.request_ports[0]}"}
                primary.send(ENVELOPE.encode("/faults", "push", {**data, "destination": f"file://{pair.destination}/"}))
            return due("a.bin") > after
        pair.write("a.bin", b"content")
        begun = time.time()
        eventually(lambda: left_to_primary("a.bin", after=begun + 900), message="what is announced first")
        before = due("a.bin")
        eventually(lambda: left_to_primary("b.bin", "a.bin", after=before + 0.1), message="what is asked for first")
        pair.write("b.bin", b"content")
        eventually(lambda: due("b.bin"), message="b.bin is announced")
        assert due("b.bin") > begun + 900


@pytest.mark.slow
def test_the_spare_takes_over_a_move_that_the_primary_does_not_live_to_see(tmp_path: Path) -> None:
    """The move is the server's, and goes on: it is not made again."""
    with Pair(tmp_path, server_options={"bandwidth_per_host": "100k"}) as pair:
        pair.warm_up()
        pair.write("long.bin", os.urandom(1_000_000))  # ten seconds
        eventually(lambda: rows(pair.server_journal(), "SELECT 1 FROM progress"), message="bytes move")
        pair.client.kill()
        died = time.monotonic()
        pair.wait_published({"long.bin"}, TAKES_OVER)
        assert time.monotonic() - died <= TAKES_OVER
        assert pair.observer.moves["long.bin"] == 1
        pair.client.start()
        pair.wait_finished()
        pair.check_published()


@pytest.mark.slow
def test_the_spare_leaves_a_long_move_to_a_primary_that_lives(tmp_path: Path) -> None:
    with Pair(tmp_path, server_options={"bandwidth_per_host": "50k"}) as pair:
        pair.warm_up()
        pair.write("long.bin", os.urandom(1_000_000))  # twenty seconds: longer than a lease lasts unless it is renewed
        pair.wait_published({"long.bin"}, 60)
        pair.wait_finished()
        assert rows(pair.spare_journal(), "SELECT state FROM files WHERE identity = 'long.bin'") == [("covered",)]
        assert pair.observer.moves["long.bin"] == 1
        pair.check_published()


def stopped_and_continued(pair: Pair, dice: random.Random, stops: int) -> None:
    number = 0

    def write(count: int) -> None:
        nonlocal number
        for _ in range(count):
            pair.write(f"f{number:05}.bin", dice.randbytes(dice.choice((1000, 200_000))))
            number += 1
            time.sleep(dice.uniform(0, 0.02))
    with pair:
        pair.warm_up()
        for _ in range(stops):
            write(dice.randrange(5, 50))
            pair.client.suspend()
            write(dice.randrange(5, 50))
            pair.wait_published(set(pair.ledger.latest()), TAKES_OVER + 10)
            pair.client.resume()
        pair.wait_finished(90)
        pair.check_published()
        marked = sum(bool(data["trollmoves"].get("redelivered")) for data in pair.recorder.files())  # type: ignore[attr-defined]
        print(f"{stops} stops, {number} files, {marked} marked repetitions")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_primary_that_was_stopped_and_goes_on_publishes_nothing_twice(tmp_path: Path) -> None:
    stopped_and_continued(Pair(tmp_path), seeded(), 2)


@pytest.mark.slow
def test_a_primary_that_is_stopped_with_the_right_to_publish_has_it_no_more_when_it_goes_on(tmp_path: Path) -> None:
    """T08 at the very moment: it was given leave, the journal has what it is about to publish, and its spare publishes that
    meanwhile."""
    with Pair(tmp_path) as pair:
        pair.warm_up()
        pair.client.stop()
        armed = pair.arm("client.publishing", 1, STOP).start()
        armed.wait_for("listens to")
        written: list[str] = []

        def stopped() -> bool:
            written.append(f"f{len(written):04}.bin")
            pair.write(written[-1], os.urandom(2000))
            return Path(f"/proc/{armed.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        eventually(stopped, 40, interval=0.3, message="the primary is about to publish")
        pair.wait_published(set(written), TAKES_OVER)
        armed.resume()
        pair.wait_finished(90)
        published = Counter(str(data["uid"]) for data in pair.recorder.files())
        assert {name: published[name] for name in written} == dict.fromkeys(written, 1), "it asked, and left it to the spare"
        pair.check_published()


@pytest.mark.nightly
@pytest.mark.timeout(2000)
@pytest.mark.parametrize("part", range(4))
def test_a_primary_that_is_stopped_again_and_again_publishes_nothing_twice(tmp_path: Path, part: int) -> None:
    """T08: two hundred times in all; the parts may run beside one another, as they mostly wait for leases to end."""
    stopped_and_continued(Pair(tmp_path), seeded(), 50)


@pytest.mark.slow
@pytest.mark.parametrize("apart", [False, True], ids=["hears it", "does not hear it"])
def test_a_primary_that_is_cut_off_from_the_server_is_replaced(tmp_path: Path, apart: bool) -> None:
    """T40: it lives, and only its requests do not arrive; the spare hears it, or not even that."""
    with Pair(tmp_path) as pair:
        pair.warm_up()
        assert pair.relay is not None and pair.between is not None
        with pair.between.black() if apart else nullcontext():
            pair.relay.holding = True
            names = write_cut(pair)
            pair.wait_published(names, TAKES_OVER)
            pair.relay.holding = False
        pair.wait_finished(120)
        pair.check_published()


@pytest.mark.slow
def test_a_spare_that_does_not_hear_the_primary_leaves_its_files_to_it(tmp_path: Path) -> None:
    """T40: the server, which both reach, says whose they are."""
    with Pair(tmp_path) as pair:
        pair.warm_up()
        assert pair.between is not None
        with pair.between.black():
            names = write_cut(pair)
            pair.wait_published(names, TAKES_OVER)
            known = "SELECT count(*) FROM files WHERE identity GLOB 'cut*' AND state IN ('published', 'covered')"
            eventually(lambda: rows(pair.spare_journal(), known) == [(len(names),)], 60, message="the spare knows how they stand")
        pair.wait_finished(120)
        published = Counter(str(data["uid"]) for data in pair.recorder.files())
        assert {name: published[name] for name in names} == dict.fromkeys(names, 1)
        assert {name: pair.observer.moves[name] for name in names} == dict.fromkeys(names, 1)
        pair.check_published()


def write_cut(pair: Pair) -> set[str]:
    """The names of some files that are written while something is cut off."""
    names = {f"cut{number}.bin" for number in range(5)}
    for name in sorted(names):
        pair.write(name, os.urandom(2000))
    return names


class TwoServers(Network):
    """Two servers announce the same files to two equals."""

    def write_client_config(self, more: str = "") -> None:
        self.client_options["lease_servers"] = " ".join(f"127.0.0.1:{port}" for port in self.request_ports)
        super().write_client_config(more)
        ours, theirs = f"publish_port = {self.client_port}", f"publish_port = {self.spare_ports[0]}"
        (self.root / "spare0.ini").write_text(self.client_config.read_text().replace(ours, theirs))

    def write_to_both(self, names: list[str]) -> None:
        for name in names:
            data = os.urandom(2000)
            for server in (1, 0):  # the one that is asked second announces first
                self.write(name, data, server)


def test_of_several_servers_one_decides_who_publishes(tmp_path: Path) -> None:
    with TwoServers(tmp_path, servers=2, spares=1, killed=True) as network:
        network.start()
        for program in (network.client, network.spares[0]):
            program.wait_for("listens to")
        names = [f"f{number:03}.bin" for number in range(100)]
        network.write_to_both(names)

        def published() -> list[str]:
            return [str(data["uid"]) for data in network.recorder.files()]

        def unmarked() -> list[str]:
            return [str(data["uid"]) for data in network.recorder.files()
                    if not data["trollmoves"].get("redelivered")]  # type: ignore[attr-defined]
        eventually(lambda: set(names) <= set(published()), 60, message="all are published")
        journals = (network.client_journal, network.spare_journal())
        eventually(lambda: not any(rows(path, "SELECT 1 FROM files WHERE state NOT IN ('published', 'covered') LIMIT 1")
                                   for path in journals), 60, message="both members have finished")
        assert max(Counter(unmarked()).values()) == 1
        of_the_second = rows(network.server_journal(1), "SELECT count(*) FROM transfers WHERE receipt IS NOT NULL")[0][0]
        assert of_the_second <= 20, "only what the first one, on a busy machine, announces seconds later"
        assert len(published()) <= len(names) + of_the_second
        assert len(published()) - len(unmarked()) <= of_the_second, "marked is only what the first one did not decide"


def test_files_go_from_all_servers_when_another_member_has_published_them(tmp_path: Path) -> None:
    options = {"delete": "true", "remove_delay": "0", "trusted_acks": "127.0.0.1"}
    with TwoServers(tmp_path, servers=2, spares=1, killed=True, server_options=options) as network:
        network.start()
        for program in (network.client, network.spares[0]):
            program.wait_for("listens to")
        journals = (network.client_journal, network.spare_journal())
        number = 0

        def both_publish() -> bool:
            nonlocal number
            network.write_to_both([f"f{number:03}.bin"])
            number += 1
            return all(rows(path, "SELECT 1 FROM files WHERE state = 'published'") for path in journals)
        eventually(both_publish, 60, interval=0.1, message="each of them has published one: both are known at both servers")
        network.write_to_both([f"last{number:03}.bin" for number in range(20)])
        for server in range(2):
            eventually(lambda server=server: not list(network.origins[server].iterdir()), 60,  # type: ignore[misc]
                       message="all are removed")
        eventually(lambda: {str(data["uid"]) for data in network.recorder.files()} == set(network.ledger.latest()),
                   message="the recorder heard all")


class EachItsServer(Network):
    """The primary has the files of one server, the spare those of another one: who is heard first is an accident elsewhere."""

    def write_client_config(self, more: str = "") -> None:
        super().write_client_config(more)
        first, second = self._server_addresses().split()
        for config, other in ((self.client_config, second), (self.root / "spare0.ini", first)):
            text = config.read_text().replace(other, "")
            config.write_text(text.replace(f"processing_delay = {SPARE_DELAY}\n", "processing_delay = 30\n"))  # on a busy machine


@pytest.mark.parametrize("first", [0, 1])
def test_a_spare_knows_what_the_primary_has_from_another_server(tmp_path: Path, first: int) -> None:
    """Without `lease_servers`. The times of the files differ from server to server, and by these a content is known."""
    with EachItsServer(tmp_path, servers=2, spares=1) as network:
        network.start()
        network.client.wait_for("new to us")
        network.spares[0].wait_for(f":{network.client_port} has a journal that is new to us")  # what was before is not told
        names = [f"f{number:02}.bin" for number in range(20)]
        for name in names:
            data = os.urandom(2000)
            for server in (first, 1 - first):
                network.write(name, data, server)
        journals = (network.client_journal, network.spare_journal())
        eventually(lambda: all(rows(path, "SELECT count(*) FROM files WHERE state IN ('published', 'covered')") == [(len(names),)]
                               for path in journals), 60, message="both members have finished")
        assert network.states(network.spare_journal()) == {"covered": len(names)}
        eventually(lambda: len(network.recorder.files()) >= len(names), message="the recorder heard all")
        assert sorted(str(data["uid"]) for data in network.recorder.files()) == names


class PackedFiles(EachItsServer):
    """What arrives is unpacked, and published by another name than it was announced by."""

    def write_server_config(self, *arguments: Any, **options: Any) -> None:
        super().write_server_config(*arguments, **options)
        for path in self.root.glob("server*.ini"):
            path.write_text(path.read_text().replace("{name}.bin\n", "{name}.bin.gz\n"))


def test_a_spare_knows_what_the_primary_has_unpacked(tmp_path: Path) -> None:
    with PackedFiles(tmp_path, servers=2, spares=1, client_options={"compression": "gzip"}) as network:
        network.start()
        for program in (network.client, network.spares[0]):
            program.wait_for("listens to")
        names = [f"f{number:02}.bin" for number in range(20)]
        for name in names:
            for server in range(2):
                network.write(f"{name}.gz", gzip.compress(name.encode(), mtime=0), server)
        covered = "SELECT count(*) FROM files WHERE state = 'covered'"
        eventually(lambda: rows(network.spare_journal(), covered) == [(len(names),)], 60, message="all is left to the primary")
        eventually(lambda: len(network.recorder.files()) >= len(names), message="the recorder heard all")
        assert sorted(str(data["uid"]) for data in network.recorder.files()) == names


def test_what_the_first_server_did_not_decide_is_marked(tmp_path: Path) -> None:
    """Equals, of which one may have reached the first server when the other could not."""
    with TwoServers(tmp_path, servers=2, spares=1) as network:
        network.start()
        for program in (network.client, network.spares[0]):
            program.wait_for("listens to")
        names = [f"f{number}.bin" for number in range(5)]
        for name in names:
            network.write(name, os.urandom(2000), 1)  # the one that is asked second
        eventually(lambda: len(network.recorder.files()) >= len(names), 60, message="all are published")
        marks = {str(data["uid"]): data["trollmoves"].get("redelivered")  # type: ignore[attr-defined]
                 for data in network.recorder.files()}
        assert marks == dict.fromkeys(names, True)
