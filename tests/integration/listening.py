"""What the tests of servers that listen share: a publisher, the server, what it announces, and requests to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.compatibility.network import ask, section
from tests.compatibility.recording import envelope_of
from tests.faults.checker import rows
from tests.faults.network import Recorder
from tests.integration.dispatching import Source
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.programs import Program
from trollmoves.messages import EXTENSION, Message, decode

HEARD = "/heard"
TOPIC = "/told"


class Listening:
    """A server with one section that listens to one publisher. Use it as a context."""

    def __init__(self, root: Path, *, environment: Mapping[str, str] | None = None, **options: object):
        self.root = root
        self.source = Source()
        self.port, self.request_port = free_port(), free_port()
        self.files, self.config, self.journal = root / "files", root / "server.ini", root / "server.journal"
        self.files.mkdir()
        self.options = {"listen": HEARD, "topic": TOPIC, "request_port": self.request_port, "request_address": "127.0.0.1",
                        "addresses": f"tcp://127.0.0.1:{self.source.port}", "nameserver": False,
                        "listen_address": "127.0.0.1", **options}
        self.write_config()
        self.program = self.program_with(environment)
        self.recorder = Recorder(self.port)

    def program_with(self, environment: Mapping[str, str] | None = None) -> Program:
        return Program.ours("server", "-p", str(self.port), "--journal", self.journal, self.config, log=self.root / "server.log",
                            environment=environment)

    def write_config(self, **more: object) -> None:
        self.options |= more
        self.config.write_text(section("relay", {name: value for name, value in self.options.items() if value is not None}))

    def start(self) -> Listening:
        """Start it; returns when it hears the publisher and is heard itself."""
        self.program.start()
        self.source.wait_for_subscriber(HEARD)
        eventually(lambda: self.recorder.texts, message="a beat of the server")
        return self

    def file(self, name: str, content: bytes | None = None) -> Path:
        path = self.files / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * 100 if content is None else content)
        return path

    def say(self, data: Mapping[str, Any], kind: str = "file", subject: str = HEARD) -> bytes:
        return self.source.publish(data, kind=kind, subject=subject)

    def told(self) -> list[Message]:
        """What it announced."""
        found = [decode(text.encode()) for text in list(self.recorder.texts)]
        return [message for message in found if message.type != "beat"]

    def fields(self) -> list[dict[str, Any]]:
        """The same without our extension."""
        return [{key: value for key, value in message.fields.items() if key != EXTENSION} for message in self.told()]

    def announces(self, count: int, seconds: float = 30) -> list[Message]:
        """Wait until it announced so many."""
        eventually(lambda: len(self.told()) >= count, seconds, message=f"{count} announcements")
        return self.told()

    def states(self) -> dict[str, str]:
        return dict(rows(self.journal, "SELECT identity, state FROM files"))

    def ask(self, kind: str, data: Any, subject: str = TOPIC) -> Message:
        raw = ask(self.request_port, envelope_of(subject, kind, data))
        assert raw is not None
        return decode(raw)

    def push(self, fields: Mapping[str, Any], destination: Path | str, **more: Any) -> Message:
        """Ask for what was announced with these *fields*, as upstream's clients do."""
        place = destination if isinstance(destination, str) else f"file://{destination}/"
        return self.ask("push", json.loads(json.dumps({**fields, "destination": place, **more})))

    def __enter__(self) -> Listening:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.program.kill()
        self.recorder.close()
        self.source.close()
