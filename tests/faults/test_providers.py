"""Two providers of the same files: one of them fails, is heard again, or comes and goes (T24, T30)."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.faults.checker import rows
from tests.faults.network import Network
from tests.faults.test_killing import seeded
from tests.support.eventually import eventually
from tests.support.ftp_server import ScriptedFtpServer
from trollmoves.cli.status import status
from trollmoves.cli.umbrella import main
from trollmoves.faults.breaking import wait_until_ready


def publications(network: Network) -> int:
    (count,), = rows(network.client_journal, "SELECT count(*) FROM announcements")
    return int(str(count))


@pytest.mark.slow
def test_what_another_provider_delivered_is_recognised_when_it_is_announced_again(tmp_path: Path) -> None:
    with Network(tmp_path, servers=2, killed=True) as network:
        for server in network.servers:
            server.start()
        for number in range(10):
            for server in range(2):
                network.write(f"f{number:05}.bin", b"%d" % number * 1000, server)
        for server in range(2):
            eventually(lambda server=server: len(rows(network.server_journal(server), "SELECT 1 FROM files")) == 10,  # type: ignore[misc]
                       message="all announced")
        for number in range(10):
            (network.origins[number % 2] / f"f{number:05}.bin").unlink()  # whoever is asked first lacks half
        network.client.start()
        network.settle()
        assert network.client.stop() == 0
        assert publications(network) == 10
        with closing(sqlite3.connect(network.client_journal)) as journal, journal:
            journal.execute("DELETE FROM cursors")  # so that all is replayed
        mark = network.client.mark()
        network.client.start()
        for _ in network.servers:
            network.client.wait_for("asking for (all that|what) was announced", since=mark)
        for server in range(2):
            network.write("after.bin", b"after", server)
        network.settle()
        assert network.client.stop() == 0
        assert publications(network) == 11


def test_what_another_server_delivered_waits_for_nobody_in_the_status(tmp_path: Path) -> None:
    with Network(tmp_path, servers=2) as network:
        network.start()
        for number in range(10):
            for where in range(2):
                network.write(f"f{number:05}.bin", b"%d" % number * 1000, where)
        journals = [network.server_journal(number) for number in range(2)]

        def chains() -> list[dict[str, Any]]:
            return [status(path)["chains"]["send"] for path in journals if status(path)["chains"]]
        eventually(lambda: sum(chain["counts"].get("acknowledged", 0) + chain["had_elsewhere"] for chain in chains()) == 20,
                   message="each file is delivered by one of them")
        delivered = "SELECT 1 FROM transfers WHERE receipt IS NOT NULL"
        assert sum(len(rows(path, delivered)) for path in journals) == 10, "the other one's is the same"
        assert [chain["oldest_waiting"] for chain in chains()] == [None, None]
        network.client.stop()
        network.write("for nobody.bin", b"new")
        eventually(lambda: chains()[0]["oldest_waiting"], message="it waits")


def test_what_was_replaced_before_anybody_asked_for_it_waits_for_nobody_in_the_status(tmp_path: Path) -> None:
    with Network(tmp_path, killed=True) as network:
        network.servers[0].start()
        for number in range(1, 4):
            network.write("f.bin", b"content" * number)
            eventually(lambda number=number: len(rows(network.server_journal(), "SELECT 1 FROM files")) == number,  # type: ignore[misc]
                       message="it is announced")
        assert status(network.server_journal())["chains"]["send"]["counts"] == {"announced": 1, "covered": 2}
        network.client.start()
        network.settle()
        eventually(lambda: status(network.server_journal())["chains"]["send"]["oldest_waiting"] is None, message="nothing waits")


def test_a_provider_that_may_deliver_later_is_asked_again_when_another_one_never_will(tmp_path: Path) -> None:
    with ScriptedFtpServer(tmp_path / "ftp") as ftp, Network(tmp_path, servers=2, killed=True, client_options={
            "destination": f"ftp://127.0.0.1:{ftp.port}/", "login": f"{ftp.user}:{ftp.password}"}) as network:
        network.client_options["lease_servers"] = " ".join(f"127.0.0.1:{port}" for port in network.request_ports)  # asked first
        network.write_client_config()
        network.server_options["allow_inline_credentials"] = "false"
        network.write_server_config(0)
        for number, program in enumerate(network.servers):
            program.start()
            network.write("f.bin", b"content", number)
            eventually(lambda number=number: rows(network.server_journal(number), "SELECT 1 FROM files"),  # type: ignore[misc]
                       message="announced")
        (network.origins[1] / "f.bin").unlink()
        network.client.start()
        network.client.wait_for("is gone .again in")  # the one refuses credentials, the other one has the file no more
        eventually(lambda: network.states(network.client_journal) == {"failed": 1}, message="the journal has it, after the log")
        mark = network.servers[0].mark()
        network.server_options["allow_inline_credentials"] = "true"
        network.write_server_config(0)
        network.servers[0].wait_for("reloading", since=mark)
        assert main(["retry", "--all", "--journal", str(network.client_journal)]) == 0
        eventually(lambda: (ftp.root / "f.bin").exists(), message="it is delivered")


def test_old_content_that_waits_for_another_try_does_not_replace_what_another_provider_delivered(tmp_path: Path) -> None:
    with ScriptedFtpServer(tmp_path / "ftp") as ftp, Network(tmp_path, servers=2, killed=True, client_options={
            "destination": f"ftp://127.0.0.1:{ftp.port}/", "login": f"{ftp.user}:{ftp.password}"}) as network:
        network.server_options["allow_inline_credentials"] = "false"
        network.write_server_config(0)
        for program in network.programs:
            program.start()
        network.write("f.bin", b"old content", 0)
        network.client.wait_for("f.bin .*again in")  # that provider refuses credentials
        network.write("f.bin", b"newer content of that name", 1)
        eventually(lambda: publications(network) == 1, message="it is delivered by the other one")
        mark = network.servers[0].mark()
        network.server_options["allow_inline_credentials"] = "true"
        network.write_server_config(0)
        network.servers[0].wait_for("reloading", since=mark)
        main(["retry", "--all", "--journal", str(network.client_journal)])
        eventually(lambda: network.states(network.client_journal) in ({"published": 1, "covered": 1}, {"published": 2}),
                   message="nothing waits any more")
        assert (ftp.root / "f.bin").read_bytes() == b"newer content of that name"
        assert publications(network) == 1


@pytest.mark.slow
@pytest.mark.parametrize("times", [
    pytest.param(4, marks=pytest.mark.timeout(300)), pytest.param(50, marks=[pytest.mark.nightly, pytest.mark.timeout(900)])])
def test_programs_that_come_and_go_in_any_order_lose_nothing(tmp_path: Path, times: int) -> None:
    """T24: client first, server first, one without the other, while files are written."""
    dice = seeded()
    with Network(tmp_path, servers=2, killed=True) as network:
        for round_number in range(times):
            programs = list(network.programs)
            dice.shuffle(programs)
            for program in programs:
                if not program.running:
                    program.start()
                network.feed(round_number * 10 + programs.index(program), dice.randbytes(2000))
                time.sleep(dice.choice((0.0, 0.3, 1.0)))
            for program in dice.sample(programs, 2):
                if dice.random() < 0.5:
                    program.kill()
                elif wait_until_ready(program):
                    assert program.stop() == 0
        for program in network.programs:
            if not program.running:
                program.start()
        network.settle(90)
        assert network.stop() == [0, 0, 0]
        network.check()
