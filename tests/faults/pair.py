"""A server and two clients that do one job: the same section, the same destination."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from tests.compatibility.tapping import Record, Relay
from tests.faults.checker import rows
from tests.faults.network import Network, section
from tests.support.eventually import eventually
from tests.support.programs import Program
from tests.support.tcp_proxy import TcpProxy


class Pair(Network):
    """The network's client is the primary; the spare hears it too. With a delay of 0 both are equals, and neither hears the
    other. The primary hears and asks the server through a relay, which can hold its requests back; the spare hears the primary
    through a proxy, which can let nothing pass."""

    def __init__(self, root: Path, *, delay: float = 2.0, server_options: Mapping[str, str] | None = None,
                 client_options: Mapping[str, str] | None = None):
        self.delay = delay
        self.relay: Relay | None = None
        self.between: TcpProxy | None = None
        super().__init__(root, spares=1, server_options=server_options, client_options=client_options, killed=True)
        self.relay = Relay(self.publish_ports[0], self.request_ports, Record())
        self.between = TcpProxy("127.0.0.1", self.client_port)
        self.write_client_config()

    def write_client_config(self, more: str = "") -> None:
        super().write_client_config(more)
        if self.relay is not None:
            text = self.client_config.read_text()
            self.client_config.write_text(text.replace(f"127.0.0.1:{self.publish_ports[0]}", f"127.0.0.1:{self.relay.port}"))
        if not self.delay:
            options = {"providers": f"127.0.0.1:{self.publish_ports[0]}", "topic": "/faults", "nameservers": "false",
                       "destination": f"file://{self.destination}/", "publish_port": str(self.spare_ports[0]),
                       "listen_address": "127.0.0.1", **self.client_options}
            (self.root / "spare0.ini").write_text(section("recv", options))
        elif self.between is not None:
            spare = self.root / "spare0.ini"
            spare.write_text(spare.read_text().replace(f"127.0.0.1:{self.client_port}", f"127.0.0.1:{self.between.port}"))

    @property
    def spare(self) -> Program:
        return self.spares[0]

    @property
    def members(self) -> tuple[Program, Program]:
        return self.client, self.spare

    def __enter__(self) -> Pair:
        assert self.relay is not None and self.between is not None
        self.relay.__enter__()
        self.between.start()
        super().__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        super().__exit__(kind, error, trace)
        assert self.relay is not None and self.between is not None
        self.between.stop()
        self.relay.__exit__()

    # What was published, by both together.

    def published(self) -> set[str]:
        return {str(data["uid"]) for data in self.recorder.files()}

    def wait_published(self, names: set[str], seconds: float = 60.0) -> None:
        eventually(lambda: names <= self.published(), seconds, interval=0.2, message=f"{len(names)} files are published")

    def wait_finished(self, seconds: float = 60.0) -> None:
        """Until nothing is under way at either member."""
        def finished() -> bool:
            return all(not rows(path, "SELECT 1 FROM files WHERE state NOT IN ('published', 'covered') LIMIT 1")
                       for path in (self.client_journal, self.spare_journal()))
        eventually(finished, seconds, interval=0.2, message="both members have finished")

    def check_published(self) -> None:
        """At least once each, and at most once without the mark of a second one."""
        unmarked = Counter(str(data["trollmoves"]["publication"]) for data in self.recorder.files()  # type: ignore[index]
                           if not data["trollmoves"].get("redelivered"))  # type: ignore[attr-defined]
        twice = {publication: count for publication, count in unmarked.items() if count > 1}
        assert not twice, f"{len(twice)} files were published twice without a mark: {twice}"
        missing = self.ledger.latest().keys() - self.published()
        assert not missing, f"{len(missing)} files were never published: {sorted(missing)[:10]}"
        assert not self.observer.violations

    def warm_up(self) -> None:
        """Start all; returns when the primary works, and the spare hears that it does and leaves it alone."""
        self.start()
        for program in self.members:
            program.wait_for("listens to")
        number = 0

        def covered() -> bool:
            nonlocal number
            self.write(f"warm{number:03}.bin", b"warm")
            number += 1
            return bool(rows(self.spare_journal(), "SELECT 1 FROM files WHERE state = 'covered'"))
        eventually(covered, 30, interval=0.5, message="the spare hears the primary")
        self.wait_published(set(self.ledger.latest()))
        self.wait_finished()
