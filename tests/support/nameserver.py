"""posttroll's name server, a real one in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import posttroll
from posttroll.ns import get_pub_address

from tests.support.ports import free_ports
from tests.support.programs import Program


class NameServer:
    """One of posttroll's, on ports of its own. Use it as a context."""

    def __init__(self, folder: Path, *, multicast: bool):
        self.ask, self.news, self.take = free_ports(3)
        self.environment = {"POSTTROLL_NAMESERVER_PORT": str(self.ask), "POSTTROLL_ADDRESS_PUBLISH_PORT": str(self.news),
                            "POSTTROLL_BROADCAST_PORT": str(self.take), "POSTTROLL_MULTICAST_INTERFACE": "127.0.0.1"}
        options = [] if multicast else ["--no-multicast"]
        self.program = Program([sys.executable, "-c", "from posttroll.ns import main; main()", "-v", *options], folder / "ns.log",
                               environment=self.environment)
        self.hosts = "" if multicast else "127.0.0.1"
        """For options like `nameservers`: empty means multicast."""

    def knows(self, name: str) -> str | None:
        """The uri of the publisher of that name, if the name server knows it."""
        with posttroll.config.set(nameserver_port=self.ask):
            found = get_pub_address(name, timeout=5, nameserver="127.0.0.1")
        return str(found[0]["URI"]) if found else None

    def __enter__(self) -> NameServer:
        self.program.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.program.kill()
