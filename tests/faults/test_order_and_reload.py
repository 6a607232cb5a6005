"""Two contents of one name at once, a reload while the journal waits, and publications that nobody could hear."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.checker import content_at, rows
from tests.faults.network import Network, Recorder, section
from tests.support.eventually import eventually, never


@pytest.mark.slow
def test_new_content_is_not_replaced_by_old_content_that_took_longer(tmp_path: Path) -> None:
    network = Network(tmp_path, server_options={"bandwidth_per_host": "1000000"})
    with network:
        network.begin()
        network.write("twice.bin", os.urandom(4_000_000))
        eventually(lambda: any(path.name.startswith(".") for path in network.destination.iterdir()), message="it is moved")
        network.write("twice.bin", b"the new content, which is much smaller")

        def over() -> bool:
            states = [state for (state,) in rows(network.client_journal, "SELECT state FROM files WHERE identity = 'twice.bin'")]
            return len(states) == 2 and set(states) <= {"published", "covered"}
        eventually(over, 60, message="both are done with")
        assert content_at(network.destination / "twice.bin") == network.ledger.latest()["twice.bin"]
        assert network.stop() == [0, 0]
        network.check()


@pytest.mark.slow
def test_a_reload_while_the_journal_cannot_be_written_forgets_nothing(tmp_path: Path) -> None:
    network = Network(tmp_path, killed=True)  # a new chain publishes what the old one could not, so that some are marked
    with network:
        network.begin()
        mark = network.client.mark()
        with closing(sqlite3.connect(network.client_journal, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            network.write_many(5, "meanwhile")
            network.client_options["in_flight"] = "300"
            network.write_client_config()
            network.client.wait_for("reloading", 60, since=mark)
            network.client.wait_for("listens to", 60, since=mark)
            other.execute("ROLLBACK")
        network.write("after.bin", b"after the reload")
        network.settle(90)
        assert network.stop() == [0, 0]
        network.check()


def test_after_an_unclean_end_the_last_deliveries_are_looked_at_once_and_not_at_each_reload(tmp_path: Path) -> None:
    with Network(tmp_path, killed=True) as network:
        network.begin()
        network.write("one.bin", b"1" * 1000)
        network.settle()
        server, delivered = network.servers[0], network.destination / "one.bin"
        server.kill()
        with closing(sqlite3.connect(network.server_journal())) as connection, connection:
            connection.execute("UPDATE meta SET value = 'another boot' WHERE name = 'boot'")
        delivered.unlink()
        server.start().wait_for("one.bin had not survived the power loss")
        delivered.unlink()  # now its consumer has taken it
        mark = server.mark()
        network.server_options["max_request_size"] = "2000000"
        network.write_server_config()
        server.wait_for(r"\[send\] watches", since=mark)
        never(delivered.exists, 3.0, message="it is delivered again")
        assert "uncleanly" not in server.output(mark)


@pytest.mark.slow
def test_a_publication_that_was_about_to_be_sent_waits_for_subscribers(tmp_path: Path) -> None:
    network = Network(tmp_path, killed=True)
    with network:
        armed = network.arm("client.publishing", 1)
        network.start()
        network.write("one.bin", os.urandom(1000))
        eventually(lambda: not armed.running, 40, message="the client crashed before it published")
        assert not network.recorder.files()
        network.disarm()
        network.client.start()
        eventually(network.recorder.files, message="the recorder heard it")
        assert [data["uid"] for data in network.recorder.files()] == ["one.bin"]
        network.settle()
        assert network.stop() == [0, 0]
        network.check()


@pytest.mark.slow
def test_a_publication_that_waited_for_subscribers_and_was_not_sent_is_no_repetition(tmp_path: Path) -> None:
    """Its client is killed, more than once, while it waits; what was sent before has its mark when it is sent again."""
    network = Network(tmp_path, killed=True)
    network.recorder.close()
    with network:
        published = network.arm("client.published", 1)
        network.start()
        network.write("sent.bin", os.urandom(1000))
        eventually(lambda: not published.running, 40, message="the client crashed after it published")
        for name in ("first.bin", "second.bin"):
            network.disarm()
            network.client.start()
            network.write(name, os.urandom(1000))
            eventually(lambda name=name: rows(network.client_journal, "SELECT 1 FROM files WHERE identity = ? "
                                              "AND state = 'publishing'", name), 10, interval=0.01, message="it waits")
            network.client.kill()
        network.recorder = Recorder(network.client_port)
        network.client.start()
        eventually(lambda: len(network.recorder.files()) == 3, 30, message="the recorder heard them")
        marked = {data["uid"] for data in network.recorder.files() if data["trollmoves"].get("redelivered")}  # type: ignore[attr-defined]
        assert marked == {"sent.bin"}
        network.settle()
        network.check()


@pytest.mark.slow
def test_a_server_that_comes_back_with_a_mistake_in_one_section_costs_its_clients_nothing(tmp_path: Path) -> None:
    """Its port is open, for another section: what the one with the mistake announced can be asked for when that is mended."""
    network = Network(tmp_path)
    with network:
        (tmp_path / "other").mkdir()
        other = {"origin": f"{tmp_path}/other/{{name}}.bin", "topic": "/other", "request_address": "127.0.0.1",
                 "request_port": str(network.request_ports[0]), "listen_address": "127.0.0.1"}
        network.write_server_config(more=section("other", other))
        network.begin()
        assert network.client.stop() == 0
        network.write_many(3, "meanwhile")
        eventually(lambda: rows(network.server_journal(), "SELECT count(*) FROM announcements")[0][0] == 8)
        assert network.servers[0].stop() == 0
        whole = network.server_config().read_text()
        network.server_config().write_text(whole.replace("topic = ", "remove_delay = soon\ntopic = ", 1))
        network.servers[0].start()
        network.client.start()
        network.client.wait_for(r"is not served now \(again (with)?in")
        network.server_config().write_text(whole)
        network.settle(60)
        assert network.stop() == [0, 0]
        network.check()
