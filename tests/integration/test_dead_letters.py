"""Files nobody could deliver: they are listed, explained, tried again on order, and an alarm says so as long as there are any."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zmq

from tests.faults.checker import payload_of, rows
from tests.faults.network import Network
from tests.support.auditing import audited
from tests.support.eventually import eventually, never
from trollmoves.cli.umbrella import main
from trollmoves.journal import Journal
from trollmoves.journal.cleaning import Cleaning


def command(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """Exit status and output of `trollmoves ...`."""
    capsys.readouterr()
    try:
        status = main([str(word) for word in words])
    except SystemExit as error:
        status = int(str(error.code))
    captured = capsys.readouterr()
    return status, captured.out + captured.err


def given_up(network: Network) -> int:
    return network.states(network.client_journal).get("given_up", 0)


def test_a_file_that_was_given_up_is_listed_and_delivered_on_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = Network(tmp_path, client_options={"destination": f"file://{tmp_path}/destination/{{colour}}/"})
    journal = ("--journal", network.client_journal)
    with network:
        network.start()
        network.write_many(3)
        eventually(lambda: given_up(network) == 3, message="no field `colour` in the announcements: given up")
        eventually(lambda: rows(network.client_journal, "SELECT position FROM cursors") == [(3,)], message="nothing is missing")
        eventually(lambda: command(capsys, "status", *journal)[0] == 1, message="an alarm")
        assert "3 files are given up" in command(capsys, "status", *journal)[1]
        dead = audited(network.client_journal, "given up", wait_for=3)
        assert sorted(record["uid"] for record in dead) == ["f00000.bin", "f00001.bin", "f00002.bin"]
        assert "colour" in dead[0]["why"]
        status, text = command(capsys, "failed", *journal)
        assert status == 0
        assert "colour" in text
        assert "3 file(s) given up" in text
        assert [letter["uid"] for letter in json.loads(command(capsys, "failed", "f00001.bin", "--json", *journal)[1])] \
            == ["f00001.bin"]
        status, text = command(capsys, "retry", "nobody.bin", *journal)
        assert status == 1
        assert "no file nobody.bin has failed" in text
        assert command(capsys, "retry", "--all", "--chain", "other", *journal)[0] == 1
        mark = network.client.mark()
        network.client_options["destination"] = f"file://{tmp_path}/destination/"
        network.write_client_config()
        network.client.wait_for("reloading", since=mark)
        assert command(capsys, "retry", "f00001.bin", *journal) == (0, "1 file(s) to be tried again\n")
        eventually(lambda: (network.destination / "f00001.bin").exists(), message="the one file is there")
        assert command(capsys, "retry", "--all", *journal)[0] == 0
        network.settle(30)
        eventually(lambda: command(capsys, "status", *journal)[0] == 0, message="the alarm is over")
        trace = command(capsys, "trace", "f00002.bin", *journal)[1]
        assert "says an operator" in trace
        assert [record["verb"] for record in audited(network.client_journal, "ordered", wait_for=2)] == ["retry", "retry"]
        assert [record["kind"] for record in audited(network.client_journal, "alarm over", wait_for=1)] == ["dead letters"]
        assert "all as they were written" in command(capsys, "audit", "--verify", *journal)[1]
        network.check()


def test_an_order_to_a_stopped_process_is_done_when_it_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = Network(tmp_path, client_options={"destination": f"file://{tmp_path}/destination/{{colour}}/"})
    network.killed = True
    journal = ("--journal", network.client_journal)
    with network:
        network.start()
        network.write_many(4)
        eventually(lambda: given_up(network) == 4, message="given up")
        network.client.kill()
        status, text = command(capsys, "retry", "--chain", "recv", *journal)
        assert status == 0
        assert "is not running" in text
        assert given_up(network) == 4
        network.client_options["destination"] = f"file://{tmp_path}/destination/"
        network.write_client_config()
        network.client.start()
        network.settle(30)
        network.check()


def test_what_an_operator_dismisses_is_no_alarm_any_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = Network(tmp_path, client_options={"destination": f"file://{tmp_path}/destination/{{colour}}/"})
    journal = ("--journal", network.client_journal)
    with network:
        network.start()
        network.write_many(2)
        eventually(lambda: given_up(network) == 2, message="given up")
        eventually(lambda: command(capsys, "status", *journal)[0] == 1, message="an alarm")
        assert command(capsys, "dismiss", *journal)[0] == 2
        assert "2 file(s) dismissed" in command(capsys, "dismiss", "--all", *journal)[1]
        eventually(lambda: command(capsys, "status", *journal)[0] == 0, message="the alarm is over")
        assert "0 file(s) given up" in command(capsys, "failed", *journal)[1]
        assert "0 file(s) given up: nothing about a b (`trollmoves trace`" in command(capsys, "failed", "a b", *journal)[1]
        network.client.restart()
        network.client.wait_for("listens to", since=network.client.mark() - 1)
        assert command(capsys, "status", *journal)[0] == 0


def test_files_of_a_provider_that_is_gone_for_good_may_be_dismissed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are asked for however long that lasts; the client asks just now, or will."""
    network = Network(tmp_path, client_options={"destination": f"file://{tmp_path}/taken/"})
    network.killed = True
    journal = ("--journal", network.client_journal)
    with network:
        (tmp_path / "taken").touch()
        network.start()
        network.write_many(3)
        eventually(lambda: network.states(network.client_journal).get("failed", 0) == 3, message="none can be written")
        assert "0 file(s) dismissed" in command(capsys, "dismiss", "--all", *journal)[1]
        assert command(capsys, "dismiss", "--waiting", *journal)[0] == 2
        network.servers[0].suspend()
        (tmp_path / "taken").unlink()
        command(capsys, "retry", "--all", *journal)
        eventually(lambda: network.states(network.client_journal).get("requested", 0) == 3, message="the server does not answer")
        assert "1 file(s) dismissed" in command(capsys, "dismiss", "f00001.bin", *journal)[1]
        assert network.states(network.client_journal) == {"covered": 1, "requested": 2}
        assert "2 file(s) dismissed" in command(capsys, "dismiss", "--all", "--waiting", *journal)[1]
        assert network.states(network.client_journal) == {"covered": 3}
        network.servers[0].resume()
        network.write("later.bin", os.urandom(10))
        eventually(lambda: (tmp_path / "taken" / "later.bin").exists(), message="what comes later is delivered")
        never(lambda: network.states(network.client_journal).get("covered", 0) < 3, 2)


def test_a_file_in_the_place_of_a_directory_is_told_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Network(tmp_path, client_options={"destination": f"file://{tmp_path}/taken/"}) as network:
        (tmp_path / "taken").touch()
        network.start()
        network.write_many(1)
        said = f"cannot make {tmp_path}/taken/: {tmp_path}/taken is there, and is no directory"
        eventually(lambda: said in command(capsys, "failed", "--waiting", "--journal", network.client_journal)[1])


def test_alarms_and_their_end_are_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = Network(tmp_path, client_options={"destination": f"file://{tmp_path}/destination/{{colour}}/"})
    with network, zmq.Context() as context, context.socket(zmq.SUB) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.SUBSCRIBE, b"pytroll://alarm/client/recv")
        socket.connect(f"tcp://127.0.0.1:{network.client_port}")
        network.start()
        eventually(lambda: any("/heartbeat" in text for text in network.recorder.texts), message="the client publishes")
        network.write("one.bin", os.urandom(10))
        said = payload_of(_received(socket))
        assert (said["state"], said["kind"], said["section"], said["open"]) == ("raised", "dead letters", "recv", 1)
        assert "one.bin" in str(said["text"])
        command(capsys, "dismiss", "--all", "--journal", network.client_journal)
        said = payload_of(_received(socket))
        assert (said["state"], said["open"]) == ("over", 0)


def _received(socket: zmq.Socket[bytes]) -> str:
    assert socket.poll(30_000), "no message"
    return socket.recv().decode()


def test_a_server_announces_anew_what_an_operator_wants_tried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = Network(tmp_path, client_options={"destination": f"file://{tmp_path}/destination/{{colour}}/"})
    with network:
        network.start()
        network.write_many(1)
        eventually(lambda: given_up(network) == 1, message="given up")
        mark = network.client.mark()
        network.client_options["destination"] = f"sftp://127.0.0.1:1{tmp_path}/destination/"
        network.client_options["create_target_directory"] = "false"
        network.write_client_config()
        network.client.wait_for("reloading", since=mark)
        command(capsys, "retry", "--all", "--journal", network.client_journal)
        eventually(lambda: network.states(network.server_journal()).get("failed", 0) == 1, message="the server could not move it")
        network.client.kill()
        network.client_options["destination"] = f"file://{tmp_path}/destination/"
        network.client_options["catch_up"] = "none"
        network.write_client_config()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{network.client_journal}{suffix}").unlink(missing_ok=True)
        mark = network.client.mark()
        network.client.start()
        network.client.wait_for("a journal that is new to us", since=mark)
        assert "1 file(s) to be tried again" in command(capsys, "retry", "--all", "--journal", network.server_journal())[1]
        network.settle(30)


def test_the_past_is_asked_for_again_on_purpose_and_nothing_comes_twice(tmp_path: Path,
                                                                        capsys: pytest.CaptureFixture[str]) -> None:
    network = Network(tmp_path, client_options={"catch_up": "none"})
    journal = ("--journal", network.client_journal)
    with network:
        network.servers[0].start()
        network.write_many(5, "before")
        eventually(lambda: network.states(network.server_journal()) == {"announced": 5}, message="announced to nobody")
        network.client.start()
        eventually(lambda: rows(network.client_journal, "SELECT position FROM cursors"), message="the client follows")
        network.write_many(2, "after")
        eventually(lambda: network.states(network.client_journal) == {"published": 2}, message="the past is left alone")
        for _ in range(2):
            mark = network.client.mark()
            assert command(capsys, "retry", "--since", "1h", "--topic", "/faults", *journal)[0] == 0
            network.client.wait_for("all that was asked for again is here", since=mark)
            network.settle(30)
        assert network.states(network.client_journal) == {"published": 7}
        for program, path in (network.client, network.client_journal), (network.servers[0], network.server_journal()):
            assert command(capsys, "retry", "--since", "1h", "--topic", "/other", "--journal", path)[0] == 0
            program.wait_for("no section that runs has anything to do with /other")
        network.client.kill()
        network.client.argv += ["--replay-since", "1h"]
        mark = network.client.mark()
        network.client.start()
        network.client.wait_for("all that was asked for again is here", since=mark)
        network.write_many(1, "last")
        network.settle(30)
        assert network.states(network.client_journal) == {"published": 8}
        network.killed = True
        network.check()


@pytest.mark.parametrize("meanwhile", ["killed", "configured anew"])
def test_a_provider_that_is_away_is_asked_for_the_past_when_it_is_back(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                                        meanwhile: str) -> None:
    """The order stays in the journal until the provider has told all, also when the client ends before that."""
    network = Network(tmp_path, client_options={"catch_up": "none"}, killed=True)
    client, server = network.client, network.servers[0]
    with network:
        server.start()
        network.write_many(5)
        eventually(lambda: network.states(network.server_journal()) == {"announced": 5}, message="announced to nobody")
        client.start()
        eventually(lambda: rows(network.client_journal, "SELECT position FROM cursors"), message="the client follows")
        server.kill()
        assert command(capsys, "retry", "--since", "1h", "--journal", network.client_journal) == (0, "1 process(es) told\n")
        mark = client.mark()
        if meanwhile == "killed":
            client.kill()
            client.start()
        else:
            network.client_options["resume"] = "false"
            network.write_client_config()
            client.wait_for("reloading", since=mark)
        client.wait_for("going on with an order", since=mark)
        server.start()
        network.settle(60)
        eventually(lambda: rows(network.client_journal, "SELECT * FROM orders") == [], message="the order is done")
        network.check()


def test_what_a_server_has_not_announced_anew_when_it_is_killed_it_announces_after_its_restart(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    count = 3000
    with Network(tmp_path, killed=True) as network:
        server, journal = network.servers[0], network.server_journal()
        for number in range(count):
            (network.origins[0] / f"f{number}.bin").write_bytes(b"x")
        server.start()
        eventually(lambda: rows(journal, "SELECT count(*) FROM announcements") == [(count,)], 60, message="all are announced")
        mark = server.mark()
        assert command(capsys, "retry", "--since", "1h", "--journal", journal)[0] == 0
        server.wait_for("500 of 500 files announced anew", since=mark)
        server.kill()
        assert rows(journal, "SELECT count(*) FROM announcements")[0][0] < 2 * count
        server.start()
        eventually(lambda: rows(journal, "SELECT count(*) FROM files GROUP BY path HAVING count(*) < 2") == [], 60,
                   message="the rest is announced anew")
        eventually(lambda: rows(journal, "SELECT * FROM orders") == [], message="the order is done")
        ((again,),) = rows(journal, "SELECT count(*) FROM announcements")
        assert 2 * count <= int(str(again)) <= 2 * count + 500, "but for the portion at hand nothing is announced once more"


def forget_all(path: Path) -> None:
    """As after the retention."""
    class Now:
        def after(self, seconds: float, function: Callable[[], Any]) -> None:
            if not ran:
                ran.append(True)
                function()

    def call_all(calls: list[tuple[Callable[..., Any], tuple[Any, ...]]]) -> None:
        for called, arguments in calls:
            called(*arguments)
    ran: list[bool] = []
    journal = Journal(path, call_all, lambda error: pytest.fail(repr(error)))
    Cleaning(journal, Now(), lambda chain: (0.0, 100_000), lambda work, done, _: done(work())).start()
    journal.close()


def test_what_a_server_forgot_before_all_had_it_is_a_gap_and_is_announced_anew_on_order(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Network(tmp_path) as network:
        network.begin(3)
        client, server = network.client, network.servers[0]
        client.stop()
        network.write_many(3, "missed")
        eventually(lambda: rows(network.server_journal(), "SELECT max(position) FROM announcements") == [(6,)])
        server.stop()
        forget_all(network.server_journal())
        assert rows(network.server_journal(), "SELECT count(*) FROM announcements") == [(0,)]
        (network.origins[0] / "missed00002.bin").unlink()
        network.start()
        network.write("after.bin", b"after")
        said = eventually(lambda: rows(network.client_journal, "SELECT text FROM alarms WHERE kind = 'gap' AND cleared IS NULL"),
                          message="the gap is an alarm of the client")
        assert re.search("after number [0-3] and before 7", said[0][0]), "where the last beat left it"
        assert [(record["kind"], record["text"]) for record in audited(network.client_journal, "alarm", wait_for=1)] == [
            ("gap", said[0][0])]
        assert command(capsys, "status", "--journal", network.client_journal)[0] == 1
        mark = server.mark()
        assert command(capsys, "retry", "--since", "1h", "--journal", network.server_journal())[0] == 0
        server.wait_for("announced anew", since=mark)
        here = {path.name for path in network.origins[0].iterdir()}
        eventually(lambda: {path.name for path in network.destination.iterdir()} >= here, message="what is still there arrives")
        assert network.observer.violations == []
        assert {network.observer.moves[name] for name in here} == {1}, "what the client had is not moved again"
