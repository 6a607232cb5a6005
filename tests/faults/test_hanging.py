"""A directory whose file system does not answer holds up its own section and nobody else."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.compatibility.network import ask
from tests.faults.checker import rows
from tests.faults.network import TOPIC, Network, section
from tests.integration.requesting import ENVELOPE
from tests.integration.test_dead_letters import command
from tests.support.eventually import eventually
from tests.support.hanging import hanging
from trollmoves.movers.file_session import SMALL


class TwoSections:
    """A server of two sections, of which the second one's directory is beside the first one's; a client of both."""

    def __init__(self, root: Path, **options: str):
        self.network = Network(root, server_options={"delete": "true", "remove_delay": "2", "settle": "0", **options})
        self.other = root / "other"
        self.other.mkdir()
        port = self.network.request_ports[0]
        self.network.write_server_config(more=section("other", {
            "origin": f"{self.other}/{{name}}.bin", "topic": TOPIC, "request_address": "127.0.0.1", "request_port": str(port),
            "listen_address": "127.0.0.1"}))

    def answers(self) -> bool:
        return ask(self.network.request_ports[0], ENVELOPE.encode("/", "ping", {}), seconds=5.0) is not None

    def serves_the_other(self, name: str) -> None:
        (self.other / name).write_bytes(b"of the other section")
        eventually((self.network.destination / name).exists, 20, message="the other section's file is delivered")
        assert self.answers()


def test_a_removal_that_hangs(tmp_path: Path) -> None:
    two = TwoSections(tmp_path)
    origin = two.network.origins[0]
    with two.network as network:
        network.start()
        network.write("gone.bin", b"x" * 1000)
        eventually((network.destination / "gone.bin").exists, message="it is delivered")
        with hanging(origin):
            time.sleep(5.0)  # it is due meanwhile
            two.serves_the_other("one.bin")
        network.servers[0].wait_for("gone.bin cannot be removed")  # and is tried again
        two.serves_the_other("two.bin")
        assert network.stop() == [0, 0]


@pytest.mark.parametrize("options", [{}, {"transfers_per_host": "1"}], ids=["as usual", "one at a time"])
def test_many_moves_that_hang_leave_room_for_others_to_the_same_host(tmp_path: Path, options: dict[str, str]) -> None:
    two, large = TwoSections(tmp_path, **options), SMALL + 1
    with two.network as network:
        server, origin = network.servers[0], network.origins[0]
        server.start()
        network.write_many(30, size=large)
        eventually(lambda: len(rows(network.server_journal(), "SELECT 1 FROM announcements")) == 30, message="announced")
        with hanging(origin):
            network.client.start()
            server.wait_for("does not answer", 60)
            (two.other / "other.bin").write_bytes(b"x" * large)
            eventually((network.destination / "other.bin").exists, 30, message="the other section's file is delivered")
            assert two.answers()
        eventually(lambda: len(list(network.destination.glob("*.bin"))) == 31, 120, message="all arrive when it answers again")
        assert network.stop() == [0, 0]


@pytest.mark.parametrize("polling", [[], ["-w"]])
def test_a_section_that_starts_and_ends_while_its_directory_hangs(tmp_path: Path, polling: list[str]) -> None:
    two = TwoSections(tmp_path)
    origin = two.network.origins[0]
    two.network.servers[0].argv += ["--chain-check-interval", "2", *polling]
    with two.network as network:
        with hanging(origin):
            network.start()
            network.servers[0].wait_for("does not answer .waiting for it")
            two.serves_the_other("one.bin")
            config = network.server_config().read_text()
            network.server_config().write_text(config.replace("[send]", "[instead]"))
            network.servers[0].wait_for("instead.* watches")
            two.serves_the_other("two.bin")
        network.write("late.bin", b"x" * 1000)
        eventually((network.destination / "late.bin").exists, message="what comes when the directory answers again")
        assert network.stop() == [0, 0]


def test_an_operator_has_files_announced_anew_that_hang(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two = TwoSections(tmp_path, delete="false")
    with two.network as network:
        network.start()
        network.write("one.bin", b"x" * 1000)
        eventually((network.destination / "one.bin").exists, message="it is delivered")
        with hanging(network.origins[0]):
            assert command(capsys, "retry", "--since", "1h", "--chain", "send", "--journal", network.server_journal())[0] == 0
            network.servers[0].wait_for("an operator says: replay")
            two.serves_the_other("two.bin")
        network.servers[0].wait_for("an operator has 0 of 1 files announced anew")
        assert network.stop() == [0, 0]
