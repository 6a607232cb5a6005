"""What the tests of pytroll-fetcher and s3downloader share: the program in a process, and a publisher it listens to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.faults.checker import rows
from tests.faults.network import Recorder
from tests.integration.dispatching import Source
from tests.support.ports import free_port
from tests.support.programs import Program

TOPIC = "/new"


class Fetching:
    """A fetcher with one publisher it listens to, and a recorder of what it publishes. Use it as a context."""

    def __init__(self, root: Path, more: str = "", *, environment: Mapping[str, str] | None = None):
        self.root = root
        self.source = Source()
        self.publish_port = free_port()
        self.recorder = Recorder(self.publish_port)
        self.config, self.journal = root / "fetcher.yaml", root / "fetcher.journal"
        self.into = root / "into"
        self.write_config(more)
        self.program = self.program_with(environment)

    def program_with(self, environment: Mapping[str, str] | None = None) -> Program:
        """The program, not started yet."""
        return Program.ours("fetcher", "--journal", self.journal, self.config, log=self.root / "fetcher.log",
                            environment=environment)

    def write_config(self, more: str) -> None:
        destination = "" if "destination:" in more else f"destination: {self.into}/{{platform}}\n"
        self.config.write_text(f"{destination}"
                               f"subscriber_config: {{topics: [{TOPIC}], nameserver: false, "
                               f"addresses: ['tcp://127.0.0.1:{self.source.port}']}}\n"
                               f"publisher_config: {{name: fetcher, port: {self.publish_port}, nameservers: false, "
                               f"address: 127.0.0.1}}\n{more}")

    def start(self) -> Fetching:
        self.program.start()
        self.source.wait_for_subscriber(TOPIC)
        return self

    def announce(self, uri: str, **more: Any) -> None:
        self.source.publish({"platform": "M9", "uid": uri.rpartition("/")[2], "uri": uri, **more}, subject=TOPIC)

    def published(self) -> list[dict[str, Any]]:
        return self.recorder.files()

    def states(self) -> list[str]:
        return [state for state, in rows(self.journal, "SELECT state FROM files ORDER BY id")]

    def __enter__(self) -> Fetching:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.program.kill()
        self.recorder.close()
        self.source.close()
