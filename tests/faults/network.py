"""A network of real processes for the fault tests: servers, one client, a plain subscriber that records, an observer."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import zmq

from tests.faults.checker import Ledger, Observer, Scene, content_at, payload_of, rows
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.programs import Program

TOPIC = "/faults"


class Recorder:
    """A subscriber that keeps all messages of one publisher; connects again for ever."""

    def __init__(self, port: int):
        self.texts: list[str] = []
        self._ending = False
        self._port = port
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        context = zmq.Context()
        socket = context.socket(zmq.SUB)
        socket.setsockopt(zmq.RCVHWM, 0)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RECONNECT_IVL, 20)
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        socket.connect(f"tcp://127.0.0.1:{self._port}")
        while not self._ending:
            if socket.poll(100):
                self.texts.append(socket.recv().decode("utf-8", "replace"))
        socket.close()
        context.term()

    def files(self) -> list[dict[str, object]]:
        return [payload_of(text) for text in list(self.texts) if text.split(" ", 2)[1] == "file"]

    def close(self) -> None:
        self._ending = True
        self._thread.join(10)


class Network:
    """Servers (each with its origin), a client, one destination. Use it as a context."""

    def __init__(self, root: Path, *, servers: int = 1, server_options: Mapping[str, str] | None = None,
                 client_options: Mapping[str, str] | None = None, destination: Path | None = None, killed: bool = False):
        """*killed* says that programs will be killed: the recorder may then miss what they publish."""
        self.root = root
        self.ledger = Ledger()
        self.destination = destination or root / "destination"
        self.origins = [root / f"origin{number}" for number in range(servers)]
        self._staging = root / "staging"
        for directory in (self.destination, self._staging, *self.origins):
            directory.mkdir(parents=True, exist_ok=True)
        self.server_options = dict(server_options or {})
        self.client_options = dict(client_options or {})
        self.publish_ports = [free_port() for _ in self.origins]
        self.request_ports = [free_port() for _ in self.origins]
        self.client_port = free_port()
        for number in range(servers):
            self.write_server_config(number)
        self.write_client_config()
        self.servers = [self._server(number) for number in range(servers)]
        self.client = self._client()
        self.recorder = Recorder(self.client_port)
        self.observer = Observer(self.destination, self.ledger)
        self.killed = killed
        self.forgetful = False

    # The programs.

    def server_journal(self, number: int = 0) -> Path:
        return self.root / f"server{number}.journal"

    @property
    def client_journal(self) -> Path:
        return self.root / "client.journal"

    def server_config(self, number: int = 0) -> Path:
        return self.root / f"server{number}.ini"

    @property
    def client_config(self) -> Path:
        return self.root / "client.ini"

    def write_server_config(self, number: int = 0, more: str = "") -> None:
        options = {"origin": f"{self.origins[number]}/{{name}}.bin", "topic": TOPIC, "request_address": "127.0.0.1",
                   "request_port": str(self.request_ports[number]), "listen_address": "127.0.0.1", **self.server_options}
        self.server_config(number).write_text(section("send", options) + more)

    def write_client_config(self, more: str = "") -> None:
        options = {"providers": " ".join(f"127.0.0.1:{port}" for port in self.publish_ports), "topic": TOPIC,
                   "destination": f"file://{self.destination}/", "nameservers": "false", "publish_port": str(self.client_port),
                   "listen_address": "127.0.0.1", **self.client_options}
        self.client_config.write_text(section("recv", options) + more)

    def _server(self, number: int, environment: Mapping[str, str] | None = None) -> Program:
        return Program.ours("server", "-p", str(self.publish_ports[number]), "--journal", self.server_journal(number),
                            self.server_config(number), log=self.root / f"server{number}.log", environment=environment)

    def _client(self, environment: Mapping[str, str] | None = None) -> Program:
        return Program.ours("client", "--journal", self.client_journal, self.client_config, log=self.root / "client.log",
                            environment=environment)

    def arm(self, point: str, count: int) -> Program:
        """The program that shall crash at *point*, in place of the one that would not; not started yet."""
        environment = {"TROLLMOVES_CRASH_POINT": f"{point}:{count}"}
        if point.startswith("server"):
            self.servers[0] = self._server(0, environment)
            return self.servers[0]
        self.client = self._client(environment)
        return self.client

    def disarm(self) -> None:
        """Programs that do not crash by themselves, in place of those that ended."""
        if not self.servers[0].running:
            self.servers[0] = self._server(0)
        if not self.client.running:
            self.client = self._client()

    def start(self) -> Network:
        for program in (*self.servers, self.client):
            program.start()
        return self

    def begin(self, files: int = 5) -> None:
        """Start all, and wait until the first *files* have gone through."""
        self.start()
        self.write_many(files, "before")
        self.settle()

    def stop(self) -> list[int]:
        """SIGTERM to all, once they have started; the exit statuses."""
        for program in (self.client, *self.servers):
            if program.running:
                eventually(lambda program=program: program.catches_sigterm, 20, message=f"{program.name} has started")
        return [program.stop() for program in (self.client, *self.servers)]

    def __enter__(self) -> Network:
        self.observer.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for program in (self.client, *self.servers):
            program.kill()
        self.recorder.close()
        self.observer.__exit__(kind, error, trace)

    # The files.

    def write(self, name: str, data: bytes, server: int = 0) -> None:
        """Put a complete file into an origin, in one step."""
        self.ledger.note(name, data)
        staged = self._staging / f"{server}-{name}"
        staged.write_bytes(data)
        os.rename(staged, self.origins[server] / name)

    def write_many(self, count: int, prefix: str = "f", size: int = 1000, server: int = 0) -> None:
        for number in range(count):
            self.write(f"{prefix}{number:05}.bin", os.urandom(size), server)

    # What must hold.

    def scene(self, *, deletes: bool = False, secrets: list[str] | None = None) -> Scene:
        return Scene(self.ledger, self.origins, self.destination, [self.client_journal],
                     [self.server_journal(number) for number in range(len(self.origins))],
                     logs=[program.log for program in (self.client, *self.servers)], published=self.recorder.files(),
                     notices=list(self.recorder.texts), secrets=secrets or [], deletes=deletes, killed=self.killed,
                     forgetful=self.forgetful)

    def settle(self, seconds: float = 60.0, *, deletes: bool = False) -> None:
        """Wait until everything written is at the destination and published (and removed, where that is wanted)."""
        scene = self.scene()
        waiting = set(self.ledger.latest())

        def arrived() -> bool:
            waiting.intersection_update(name for name in list(waiting)
                                        if content_at(self.destination / name) != self.ledger.latest()[name])
            return not waiting
        eventually(arrived, seconds, interval=0.2, message=f"all {len(waiting)} files delivered")
        eventually(lambda: not scene.unfinished(), seconds, interval=0.2, message="all files published")
        if deletes:
            eventually(lambda: not any(any(origin.iterdir()) for origin in self.origins), seconds, message="all origins removed")

    def check(self, *, deletes: bool = False, secrets: list[str] | None = None) -> None:
        """Everything the checker and the observer have to say must be nothing."""
        found = self.observer.violations + self.scene(deletes=deletes, secrets=secrets).violations()
        assert not found, "\n".join(found[:20])

    def states(self, path: Path) -> dict[str, int]:
        return {str(state): int(str(count)) for state, count in rows(path, "SELECT state, count(*) FROM files GROUP BY state")}


def section(name: str, options: Mapping[str, str]) -> str:
    return f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in options.items()) + "\n"
