"""What the dispatcher's tests share: a publisher as posttroll's are, the program, and what it publishes."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import zmq

from tests.faults.checker import rows
from tests.faults.network import Recorder
from tests.integration.hostile import text
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.programs import Program

SUBJECT = "/level2/viirs"


class Source:
    """Publishes messages on one port, and knows when somebody has subscribed."""

    def __init__(self) -> None:
        self.port = free_port()
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.XPUB)
        for option, value in ((zmq.LINGER, 0), (zmq.SNDHWM, 0), (zmq.XPUB_VERBOSE, 1)):
            self._socket.setsockopt(option, value)
        self._socket.bind(f"tcp://127.0.0.1:{self.port}")
        self._number = 0

    def bind(self, address: str) -> None:
        """Publish at another address too."""
        self._socket.bind(address)

    def wait_for_subscriber(self, topic: str = SUBJECT, seconds: float = 30) -> None:
        """Return when somebody subscribed to *topic* since the last time this was asked."""
        wanted = b"\x01pytroll:/" + topic.encode()

        def came() -> bool:
            while self._socket.poll(0):
                if self._socket.recv() == wanted:
                    return True
            return False
        eventually(came, seconds, message=f"a subscription to {topic}")

    def send(self, raw: bytes) -> None:
        self._socket.send(raw)

    def publish(self, data: Mapping[str, Any], *, kind: str = "file", subject: str = SUBJECT) -> bytes:
        """Publish a message; no two are the same."""
        self._number += 1
        raw = text(kind, data, subject=subject, when=f"2026-11-22T00:00:00.{self._number:06d}")
        self.send(raw)
        return raw

    def close(self) -> None:
        self._socket.close(0)
        self._context.term()


class Dispatching:
    """A dispatcher with one publisher it listens to, and a recorder of what it publishes. Use it as a context."""

    def __init__(self, root: Path, targets: str, *, environment: Mapping[str, str] | None = None, publishing: bool = True):
        self.root = root
        self.source = Source()
        self.publish_port = free_port()
        self.config, self.journal = root / "dispatcher.yaml", root / "dispatcher.journal"
        self.incoming = root / "incoming"
        self.incoming.mkdir()
        self.write_config(targets)
        self._publishing = ["-p", str(self.publish_port), "-n", "false", "--"] if publishing else []
        self.program = self.program_with(environment)
        self.recorder = Recorder(self.publish_port)

    def program_with(self, environment: Mapping[str, str] | None = None) -> Program:
        """The program, not started yet."""
        return Program.ours("dispatcher", "--journal", self.journal, *self._publishing, self.config,
                            log=self.root / "dispatcher.log", environment=environment)

    def write_config(self, targets: str, subscriber: str = "") -> None:
        head = subscriber or (f"posttroll_subscriber:\n  nameserver: false\n"
                              f"  subscribe_addresses: [tcp://127.0.0.1:{self.source.port}]\n")
        self.config.write_text(head + textwrap.dedent(targets))

    def start(self) -> Dispatching:
        self.program.start()
        self.source.wait_for_subscriber()
        return self

    def file(self, name: str, content: bytes | None = None) -> Path:
        path = self.incoming / name
        path.write_bytes(name.encode() * 100 if content is None else content)
        return path

    def announce(self, name: str, **more: Any) -> Path:
        """Write a file and publish a message about it."""
        path = self.file(name)
        self.source.publish({"uid": name, "uri": str(path), "sensor": "viirs", **more})
        return path

    def published(self, kind: str = "file") -> list[tuple[str, dict[str, Any]]]:
        """Subject and data of all messages of that type the dispatcher has published."""
        found = [message.split(" ", 6) for message in list(self.recorder.texts)]
        return [(words[0].removeprefix("pytroll:/"), json.loads(words[6])) for words in found if words[1] == kind]

    def states(self) -> dict[str, str]:
        """State of each file of the journal, by target and uid."""
        return {f"{target} {uid}": state for target, uid, state in rows(self.journal, "SELECT chain, identity, state FROM files")}

    def __enter__(self) -> Dispatching:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.program.kill()
        self.recorder.close()
        self.source.close()


def arrives(path: Path, origin: Path, seconds: float = 120) -> None:
    """The file *path* gets the content of *origin*."""
    eventually(lambda: path.read_bytes() == origin.read_bytes(), seconds, message=f"{path} arrives")
