"""Servers, mirrors and clients in processes of their own, connected as a test wants it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.faults.checker import rows
from tests.support.eventually import eventually
from tests.support.namespaces import LOOPBACK, Side
from tests.support.ports import free_port
from tests.support.programs import CHECKOUT, Program

TOPIC = "/mirrored/files"
PATIENCE = 60.0


@dataclass
class Node:
    """One program, what it was started with, and the directory its files are in."""

    role: str
    folder: Path
    side: Side
    files: Path
    """Of a server the origin, of a mirror what it keeps, of a client the destination."""
    port: int = field(default_factory=free_port)
    request_port: int = field(default_factory=free_port)
    options: dict[str, Any] = field(default_factory=dict)
    section: str = "section"
    program: Program = field(init=False)

    def __post_init__(self) -> None:
        self.files.mkdir(parents=True, exist_ok=True)
        self.program = self.armed("")

    @property
    def address(self) -> str:
        """What a client has among its providers."""
        return f"{self.side.address}:{self.port}"

    @property
    def journal(self) -> Path:
        return self.folder / f"{self.folder.name}.journal"

    @property
    def config(self) -> Path:
        return self.folder / f"{self.role}.ini"

    def armed(self, point: str) -> Program:
        """The program, to crash at *point* where one is given; not started."""
        environment = {"PYTHONPATH": str(CHECKOUT), **({"TROLLMOVES_CRASH_POINT": point} if point else {})}
        port = () if self.role == "client" else ("-p", str(self.port))
        argv = [*self.side.prefix, sys.executable, "-m", f"trollmoves.cli.{self.role}", *port, "--journal", self.journal,
                self.config]
        self.program = Program(argv, self.folder / f"{self.role}.log", environment=environment, name=self.folder.name)
        return self.program

    def configure(self, **options: Any) -> None:
        """Write the configuration, with *options* in addition to those it has; None takes one away."""
        self.options.update(options)
        lines = [f"{name} = {value}\n" for name, value in self.options.items() if value is not None]
        self.config.write_text(f"[{self.section}]\n" + "".join(lines))

    def start(self) -> Node:
        mark = self.program.mark()
        self.program.start()
        self._wait_until_begun(mark)
        return self

    def _wait_until_begun(self, mark: int) -> None:
        self.program.wait_for(rf"\[{self.section}\] (watches|mirrors|listens to)", since=mark)

    def rename(self, section: str, *, stopped: bool = False, **options: Any) -> None:
        """Give the section another name, and *options*, while it runs or is *stopped*."""
        if stopped and self.program.running:
            self.stop()
        mark = self.program.mark()
        self.section, self.request_port = section, options.get("request_port", self.request_port)
        self.configure(**options)
        if stopped:
            self.program.start()
        self._wait_until_begun(mark)

    def stop(self) -> None:
        assert self.program.stop() == 0, self.program.output()[-2000:]

    def put(self, name: str, content: bytes = b"content") -> None:
        """A file that appears whole under its name."""
        staged = self.folder / f"staged-{name}"
        staged.write_bytes(content)
        os.rename(staged, self.files / name)

    def names(self) -> set[str]:
        return {str(path.relative_to(self.files)) for path in self.files.rglob("*") if path.is_file()}

    def states(self) -> dict[str, str]:
        """By uid the state of the newest row of the journal."""
        return {str(uid): str(state) for uid, state in rows(self.journal, "SELECT identity, state FROM files ORDER BY id")}

    def find(self, query: str) -> list[tuple[object, ...]]:
        return rows(self.journal, query)


class Nodes:
    """Everything one test has started; ended with it."""

    def __init__(self, root: Path):
        self._root = root
        self._nodes: list[Node] = []

    def server(self, name: str = "server", side: Side = LOOPBACK, **options: Any) -> Node:
        node = self._node("server", name, side)
        node.configure(**{"origin": f"{node.files}/{{name}}.dat", "topic": TOPIC, "request_port": node.request_port,
                          "request_address": side.address, "listen_address": side.address, **options})
        return node

    def mirror(self, name: str, providers: list[str], side: Side = LOOPBACK, **options: Any) -> Node:
        node = self._node("mirror", name, side)
        node.configure(**{"providers": " ".join(providers), "client_topic": TOPIC, "destination": f"file://{node.files}/",
                          "request_port": node.request_port, "request_address": side.address, "remove_delay": "0.5",
                          "listen_address": side.address, **options})
        return node

    def client(self, name: str, providers: list[str], side: Side = LOOPBACK, **options: Any) -> Node:
        node = self._node("client", name, side)
        node.configure(**{"providers": " ".join(providers), "topic": TOPIC, "destination": f"file://{node.files}/",
                          "publish_port": node.port, "nameservers": "false", "listen_address": side.address, **options})
        return node

    def _node(self, role: str, name: str, side: Side) -> Node:
        node = Node(role, self._root / name, side, self._root / name / "files")
        self._nodes.append(node)
        return node

    def start(self) -> Nodes:
        """Start all, and wait until everybody has heard a beat of a provider: what is announced before that is asked for only
        some seconds later."""
        for node in self._nodes:
            node.start()
        for node in self._nodes:
            if node.role != "server":
                node.program.wait_for("has a journal that is new to us")
        return self

    def __enter__(self) -> Nodes:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for node in self._nodes:
            node.program.kill()


def arrived(client: Node, wanted: Mapping[str, bytes], seconds: float = PATIENCE) -> None:
    """Wait until all files are at the client's destination, whole, and published."""
    def is_there() -> bool:
        return all((client.files / name).read_bytes() == content for name, content in wanted.items())
    eventually(is_there, seconds, message=f"{len(wanted)} files arrive")
    eventually(lambda: all(client.states().get(name) == "published" for name in wanted), seconds, message="they are published")


def gone(*nodes: Node) -> Callable[[], bool]:
    """Whether nothing is left in the directories of *nodes*."""
    return lambda: not any(node.names() for node in nodes)
