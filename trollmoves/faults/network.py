"""A network of real processes in one directory: servers, a client and its hot spares; a subscriber and an observer look on.

With `proxied`, everything between clients and servers goes through proxies that can cut it and hold it up.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

from trollmoves.faults.checking import Scene, rows
from trollmoves.faults.contents import Content, Ledger, content_at
from trollmoves.faults.observing import Observer, Recorder
from trollmoves.faults.ports import free_port
from trollmoves.faults.programs import Program
from trollmoves.faults.proxy import TcpProxy
from trollmoves.faults.waiting import eventually

TOPIC = "/faults"
PROXIED = "127.0.0.2"
"""Where the proxies in front of the request ports listen."""
SPARE_DELAY = "2"
"""Seconds a hot spare leaves to the primary."""


class Network:
    """Servers (each with its origin), a client, one destination. Use it as a context."""

    def __init__(self, root: Path, *, servers: int = 1, spares: int = 0, server_options: Mapping[str, str] | None = None,
                 client_options: Mapping[str, str] | None = None, destination: Path | None = None, killed: bool = False,
                 proxied: bool = False, mirror: bool = False, dispatcher: bool = False):
        """*killed* says that programs will be killed: the recorder may then miss what they publish. With *mirror* the clients
        listen to a mirror of the servers, with *dispatcher* a dispatcher to the client."""
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
        self.spare_ports = [free_port() for _ in range(spares)]
        self.mirror_ports = (free_port(), free_port()) if mirror else ()
        self.proxies = [proxy for number in range(servers) for proxy in self._proxies(number)] if proxied else []
        for number in range(servers):
            self.write_server_config(number)
        self.write_client_config()
        self.servers = [self._server(number) for number in range(servers)]
        self.client = self._client()
        self.spares = [self._spare(number) for number in range(spares)]
        self.mirrors = [self._mirror(*self.mirror_ports)] if self.mirror_ports else []
        self.dispatching = [Dispatching(root, self.destination, self.client_port, self.ledger)] if dispatcher else []
        self.recorder = Recorder(self.client_port, *self.spare_ports)
        self.observer = Observer(self.destination, self.ledger)
        self.killed = killed
        self.forgetful = False
        self.secrets: list[str] = []
        self.bystanders: dict[Path, Content | None] = {}

    def plant(self, *secrets: str) -> None:
        """Note *secrets* that are in the configurations and may be nowhere else, and put a file there that nobody may touch."""
        self.secrets += secrets
        theirs = self.root / "elsewhere" / "f00000.bin"
        theirs.parent.mkdir()
        theirs.write_bytes(b"nobody's business")
        self.bystanders[theirs] = content_at(theirs)

    def _proxies(self, number: int) -> Iterator[TcpProxy]:
        """Requests are sent to another address of this machine, where a proxy has the same port."""
        request = self.request_ports[number]
        yield TcpProxy("127.0.0.1", self.publish_ports[number])
        yield TcpProxy("127.0.0.1", request, host=PROXIED, port=request)

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

    def spare_journal(self, number: int = 0) -> Path:
        return self.root / f"spare{number}.journal"

    @property
    def programs(self) -> list[Program]:
        """All, those first that ask."""
        return [*(each.program for each in self.dispatching), self.client, *self.spares, *self.mirrors, *self.servers]

    def write_server_config(self, number: int = 0, more: str = "") -> None:
        options = {"origin": f"{self.origins[number]}/{{name}}.bin", "topic": TOPIC,
                   "request_address": PROXIED if self.proxies else "127.0.0.1",
                   "request_port": str(self.request_ports[number]), "listen_address": "127.0.0.1", **self.server_options}
        self.server_config(number).write_text(section("send", options) + more)

    def write_client_config(self, more: str = "") -> None:
        providers = f"127.0.0.1:{self.mirror_ports[0]}" if self.mirror_ports else self._server_addresses()
        options = {"providers": providers, "topic": TOPIC,
                   "destination": f"file://{self.destination}/", "nameservers": "false", "publish_port": str(self.client_port),
                   "listen_address": "127.0.0.1", **self.client_options}
        self.client_config.write_text(section("recv", options) + more)
        for number, port in enumerate(self.spare_ports):
            others = (own for own in (self.client_port, *self.spare_ports) if own != port)
            providers = " ".join([options["providers"], *(f"127.0.0.1:{other}" for other in others)])
            (self.root / f"spare{number}.ini").write_text(section("recv", {
                "processing_delay": SPARE_DELAY, **options, "providers": providers, "publish_port": str(port)}) + more)

    def _server_addresses(self) -> str:
        return " ".join(f"127.0.0.1:{port}" for port in [proxy.port for proxy in self.proxies[::2]] or self.publish_ports)

    def _mirror(self, publish_port: int, request_port: int) -> Program:
        config = self.root / "mirror.ini"
        config.write_text(section("mirror", {
            "providers": self._server_addresses(), "client_topic": TOPIC, "destination": f"file://{self.root}/mirrored/",
            "request_port": str(request_port), "request_address": "127.0.0.1", "listen_address": "127.0.0.1",
            "remove_delay": "1"}))
        return Program.ours("mirror", "-p", str(publish_port), "--journal", self.root / "mirror.journal", config,
                            log=self.root / "mirror.log")

    def _server(self, number: int, environment: Mapping[str, str] | None = None) -> Program:
        return Program.ours("server", "-p", str(self.publish_ports[number]), "--journal", self.server_journal(number),
                            self.server_config(number), log=self.root / f"server{number}.log", environment=environment)

    def _client(self, environment: Mapping[str, str] | None = None) -> Program:
        return Program.ours("client", "--journal", self.client_journal, self.client_config, log=self.root / "client.log",
                            environment=environment)

    def _spare(self, number: int) -> Program:
        return Program.ours("client", "--journal", self.spare_journal(number), self.root / f"spare{number}.ini",
                            log=self.root / f"spare{number}.log", name=f"spare {number}")

    def arm(self, point: str, count: int, how: str = "") -> Program:
        """The program that shall crash (or stop, says *how*) at *point*, in place of the one that would not; not started."""
        environment = {"TROLLMOVES_CRASH_POINT": f"{point}:{count}{how}"}
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
        """Start all. Unless some will be killed, return when the recorder hears the client: what is published before is lost."""
        heard = len(self.recorder.texts)
        for program in reversed(self.programs):
            program.start()
        if not self.killed:
            eventually(lambda: len(self.recorder.texts) > heard or not self.client.running, message="the client is heard")
        return self

    def begin(self, files: int = 5) -> None:
        """Start all, and wait until the first *files* have gone through."""
        self.start()
        self.write_many(files, "before")
        self.settle()

    def stop(self) -> list[int]:
        """SIGTERM to all, once they have started; the exit statuses."""
        eventually(lambda: all(program.catches_sigterm for program in self.programs if program.running),
                   message="all have started")
        return [program.stop() for program in self.programs]

    def __enter__(self) -> Network:
        with ExitStack() as stack:
            self._open = stack
            for proxy in self.proxies:
                stack.enter_context(proxy)
            stack.callback(self.recorder.close)
            for observer in self.observers:
                stack.enter_context(observer)
            for each in self.dispatching:
                stack.callback(each.recorder.close)
            self._open = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for program in self.programs:
            program.kill()
        self._open.close()

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

    def feed(self, number: int, data: bytes) -> None:
        """Write file *number* to all servers."""
        for server in range(len(self.servers)):
            self.write(f"f{number:05}.bin", data, server)

    # What must hold.

    @property
    def observers(self) -> list[Observer]:
        return [self.observer, *(each.observer for each in self.dispatching)]

    def scenes(self) -> list[Scene]:
        """What there is to check: one group of clients, and what a dispatcher has heard."""
        return [self.scene(deletes="delete" in self.server_options), *(each.scene() for each in self.dispatching)]

    def scene(self, *, deletes: bool = False, secrets: list[str] | None = None) -> Scene:
        spares = [self.spare_journal(number) for number in range(len(self.spares))]
        return Scene(self.ledger, self.origins, self.destination, [self.client_journal, *spares],
                     [self.server_journal(number) for number in range(len(self.origins))],
                     logs=[program.log for program in self.programs], published=self.recorder.files(),
                     notices=list(self.recorder.texts), secrets=secrets or self.secrets, deletes=deletes,
                     killed=self.killed, forgetful=self.forgetful, bystanders=self.bystanders)

    def settle(self, seconds: float = 60.0, *, deletes: bool = False) -> None:
        """Wait until everything written is at the destination and published (and removed, where that is wanted)."""
        scene = self.scene()
        waiting = set(self.ledger.latest())

        def arrived() -> bool:
            waiting.intersection_update(scene.missing(list(waiting)))
            return not waiting
        eventually(arrived, seconds, interval=0.3, message=f"all {len(waiting)} files delivered")
        eventually(lambda: not scene.unfinished(), seconds, interval=0.2, message="all files published")
        if deletes:
            eventually(lambda: not any(any(origin.iterdir()) for origin in self.origins), seconds, message="all origins removed")
            eventually(lambda: not scene.removals(), seconds, message="all removals journaled")

    def check(self, *, deletes: bool = False, secrets: list[str] | None = None) -> None:
        """Everything the checker and the observer have to say must be nothing."""
        def heard() -> bool:
            return self.killed or self.ledger.latest().keys() <= {data.get("uid") for data in self.recorder.files()}
        with suppress(AssertionError):  # some may be on its way to the recorder; what never comes is told below
            eventually(heard, 10)
        found = self.observer.violations + self.scene(deletes=deletes, secrets=secrets).violations()
        assert not found, "\n".join(found[:20])

    def states(self, path: Path) -> dict[str, int]:
        return {str(state): int(str(count)) for state, count in rows(path, "SELECT state, count(*) FROM files GROUP BY state")}


class Dispatching:
    """A dispatcher that copies what the client publishes. What it has journaled it must dispatch; what is published while nobody
    of it listens it cannot know."""

    def __init__(self, root: Path, origin: Path, client_port: int, ledger: Ledger):
        self._origin, self._ledger = origin, ledger
        self._place = place = origin.parent / "dispatched"
        self._journal, port, config = root / "dispatcher.journal", free_port(), root / "dispatcher.yaml"
        place.mkdir()
        config.write_text(f"posttroll_subscriber:\n  nameserver: false\n  subscribe_addresses: [tcp://127.0.0.1:{client_port}]\n"
                          f"copy:\n  host: ''\n  directory: {place}\n  publish_topic: {TOPIC}\n  dispatch_configs:\n"
                          f"    - topics: [{TOPIC}]\n")
        self.program = Program.ours("dispatcher", "--journal", self._journal, "-p", str(port), "-n", "false", "--", config,
                                    log=root / "dispatcher.log")
        self.recorder = Recorder(port)
        self.observer = Observer(place, ledger)

    def scene(self) -> Scene:
        heard = [str(name) for (name,) in rows(self._journal, "SELECT DISTINCT identity FROM files")]
        return Scene(self._ledger.only(heard), [self._origin], self._place, [self._journal], [], logs=[self.program.log])


def section(name: str, options: Mapping[str, str]) -> str:
    return f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in options.items()) + "\n"
