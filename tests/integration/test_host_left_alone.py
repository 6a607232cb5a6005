"""A destination host that is down is left alone and shown; others do not notice, and it gets its files when it is back."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.faults.checker import rows
from tests.faults.network import Network, section
from tests.integration.test_dead_letters import command
from tests.support.eventually import eventually
from tests.support.ftp_server import ScriptedFtpServer
from tests.support.ports import free_port

FILES = 8


def test_a_host_that_is_down_is_left_alone_and_gets_its_files_when_it_is_back(tmp_path: Path,
                                                                             capsys: pytest.CaptureFixture[str]) -> None:
    network = Network(tmp_path, server_options={"connect_timeout": "2", "allowed_destinations": "any"})
    port = free_port()
    network.write_client_config(section("remote", {
        "providers": f"127.0.0.1:{network.publish_ports[0]}", "topic": "/faults", "nameservers": "false",
        "listen_address": "127.0.0.1", "destination": f"ftp://127.0.0.1:{port}/", "create_target_directory": "false",
        "login": "reader:a secret:word"}))

    def status() -> dict[str, object]:
        found: dict[str, object] = json.loads(command(capsys, "status", "--json", "--journal", network.server_journal())[1])[0]
        return found

    def left_alone() -> list[dict[str, object]]:
        return list(status()["hosts_left_alone"])  # type: ignore[call-overload]
    with network:
        network.start()
        network.write_many(FILES)
        [host] = eventually(left_alone, message="the host is left alone")
        assert str(port) in str(host["host"])
        assert "secret" not in command(capsys, "status", "--json", "--journal", network.server_journal())[1]
        assert "is left alone" in command(capsys, "status", "--journal", network.server_journal())[1]
        network.write_many(3, "more")
        eventually(lambda: not network.scene().missing(), message="the other destination gets its files")
        with ScriptedFtpServer(tmp_path / "ftp", port=port) as server:
            command(capsys, "retry", "--all", "--journal", network.server_journal())
            command(capsys, "retry", "--all", "--chain", "remote", "--journal", network.client_journal)
            eventually(lambda: len(list(server.root.iterdir())) == FILES + 3, 60, message="all files are there")
            eventually(lambda: not left_alone(), message="it is left alone no more")
            eventually(lambda: not rows(network.client_journal, "SELECT 1 FROM files WHERE state <> 'published'"), 30,
                       message="all are published")


def test_many_files_for_a_host_that_is_down_do_not_fill_the_log(tmp_path: Path) -> None:
    """Each is tried again, and fails, for a day."""
    network = Network(tmp_path, server_options={"allowed_destinations": "any"}, client_options={
        "destination": f"ftp://127.0.0.1:{free_port()}/", "create_target_directory": "false"})
    many = 300
    with network:
        network.start()
        network.write_many(many)
        eventually(lambda: len(rows(network.client_journal, "SELECT 1 FROM files WHERE attempt > 0")) == many, 60,
                   message="all were tried")
        network.client.wait_for(r"\[\w+\] more files from 127.0.0.1:\d+ failed; the next ones are counted")
    assert network.client.output().count("is left alone, to be tried ") <= 250


def test_many_files_that_are_refused_are_tried_a_few_at_a_time_and_all_when_one_got_there(tmp_path: Path) -> None:
    """An operator has to change the server; until then each was tried every ten seconds, later every few minutes."""
    options = {"allowed_destinations": "any", "allow_inline_credentials": "false"}
    network, port, many = Network(tmp_path, server_options=options), free_port(), 300
    network.write_client_config(section("remote", {
        "providers": f"127.0.0.1:{network.publish_ports[0]}", "topic": "/faults", "nameservers": "false",
        "listen_address": "127.0.0.1", "destination": f"ftp://127.0.0.1:{port}/", "create_target_directory": "false",
        "login": "reader:a secret:word"}))

    def tries() -> int:
        return int(rows(network.client_journal, "SELECT coalesce(sum(attempt), 0) FROM files WHERE chain = 'remote'")[0][0])
    with network:
        network.start()
        network.write_many(many)
        eventually(lambda: tries() >= many, 60, message="all were refused once")
        before = tries()
        time.sleep(25)
        assert tries() - before <= many // 2 + 50
        with ScriptedFtpServer(tmp_path / "ftp", port=port) as server:
            network.server_options["allow_inline_credentials"] = "true"
            network.write_server_config(0)
            eventually(lambda: len(list(server.root.iterdir())) == many, 120, message="all files are there")
