"""A directory whose file system does not answer holds up its own section and nobody else."""

from __future__ import annotations

import time
from pathlib import Path

from tests.compatibility.network import ask
from tests.faults.network import TOPIC, Network, section
from tests.integration.requesting import ENVELOPE
from tests.support.eventually import eventually
from tests.support.hanging import hanging


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
