"""Servers and clients of either make, in processes of their own, from configuration files of one text that both read."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import zmq

from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.programs import Program
from tests.support.upstream import start_upstream, upstream_environment

HOST = "127.0.0.1"
PATIENCE = 60.0
"""Seconds; an upper limit for a loaded machine, usually it takes a tenth."""

Options = Mapping[str, object]


class Make(StrEnum):
    """Who wrote a program."""

    OURS = "ours"
    UPSTREAM = "upstream"


def section(name: str, options: Options) -> str:
    """One section of a configuration file; options that are None are left out."""
    return "\n".join((f"[{name}]", *(f"{key} = {value}" for key, value in options.items() if value is not None), ""))


@dataclass
class Peer:
    """One program and what it was started with."""

    make: Make
    folder: Path
    program: Program

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.program.kill()


@dataclass
class Server(Peer):
    """A server with one section."""

    port: int
    request_port: int
    incoming: Path
    topic: str = "/test/files"

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def request_address(self) -> str:
        return f"{HOST}:{self.request_port}"

    def put(self, name: str, content: bytes = b"content") -> Path:
        """A file that appears whole under its name."""
        hidden = self.incoming.parent / f"{name}.{time.monotonic_ns()}"
        hidden.write_bytes(content)
        return hidden.rename(self.incoming / name)


@dataclass
class Client(Peer):
    """A client with one section."""

    port: int
    outgoing: Path

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    def has(self, names: set[str]) -> bool:
        """Whether all files are in its destination."""
        return names <= self.names()

    def names(self) -> set[str]:
        found = self.outgoing.iterdir() if self.outgoing.is_dir() else iter(())
        return {path.name for path in found if not path.name.startswith(".")}


@dataclass
class Mirror(Peer):
    """A mirror of ours with one section; upstream's cannot start."""

    port: int
    kept: Path

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"


@dataclass
class Network:
    """Everything one test started; ended with the test."""

    folder: Path
    started: list[Peer] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    """Of all that is started."""

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_: object) -> None:
        for peer in self.started:
            peer.program.kill()

    def server(self, make: Make, name: str = "server", arguments: tuple[str, ...] = (), ready: bool = True,
               **options: object) -> Server:
        """A server; *options* are added to those every section needs, under upstream's names."""
        folder = self.folder / name
        incoming = folder / "incoming"
        incoming.mkdir(parents=True, exist_ok=True)
        port, request_port = free_port(), free_port()
        given = {"origin": f"{incoming}/{{name}}_{{start_time:%Y%m%d%H%M}}.txt", "request_port": request_port,
                 "request_address": HOST, "topic": "/test/files", "station": "here", **options}
        config = folder / "server.ini"
        config.write_text(section("send", given))
        program = start_program(make, "server", folder, config, "-p", str(port), *arguments, environment=self.environment)
        server = Server(make, folder, program, port, request_port, incoming)
        self.started.append(server)
        if ready:
            wait_for_ports(program, port, request_port)
        return server

    def mirror(self, providers: list[str], name: str = "mirror", **options: object) -> Mirror:
        """A mirror; *options* as for `server`."""
        folder = self.folder / name
        kept = folder / "kept"
        kept.mkdir(parents=True, exist_ok=True)
        port, request_port = free_port(), free_port()
        given = {"providers": " ".join(providers), "client_topic": "/test", "destination": f"file://{kept}/", "remove_delay": 1,
                 "request_port": request_port, "request_address": HOST, "topic": "/not/used", "publisher_port": port, **options}
        config = folder / "mirror.ini"
        config.write_text(section("pass_on", given))
        mirror = Mirror(Make.OURS, folder, start_program(Make.OURS, "mirror", folder, config, "-p", str(port)), port, kept)
        self.started.append(mirror)
        wait_for_ports(mirror.program, port, request_port)
        return mirror

    def client(self, make: Make, providers: list[str], name: str = "client", chain: str = "receive", ready: bool = True,
               **options: object) -> Client:
        """A client; *options* as for `server`."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        outgoing, port = folder / "outgoing", free_port()
        given = {"providers": " ".join(providers), "destination": f"file://{outgoing}/", "topic": "/test/files",
                 "publish_port": port, "nameservers": False, **options}
        config = folder / "client.ini"
        config.write_text(section(chain, given))
        client = Client(make, folder, start_program(make, "client", folder, config, environment=self.environment), port, outgoing)
        self.started.append(client)
        if ready:
            wait_for_ports(client.program, port)
        return client


def start_program(make: Make, role: str, folder: Path, config: Path, *arguments: str,
                  environment: dict[str, str] | None = None) -> Program:
    """A running server or client of that make; its output and journal are in *folder*."""
    log = folder / f"{role}.log"
    if make is Make.UPSTREAM:
        upstream_environment()
        verbose = folder / "logging.yaml"
        verbose.write_text(UPSTREAM_LOGGING)
        return start_upstream(f"move_it_{role}.py", config, *arguments, "-c", verbose, log=log, environment=environment)
    return Program.ours(role, config, *arguments, "--journal", folder / f"{role}.journal", log=log,
                        environment=environment).start()


UPSTREAM_LOGGING = """\
version: 1
disable_existing_loggers: false
formatters: {short: {format: '[%(levelname)s %(name)s] %(message)s'}}
handlers: {console: {class: logging.StreamHandler, formatter: short}}
loggers: {'': {level: INFO, handlers: [console]}}
"""


def wait_for_ports(program: Program, *ports: int) -> None:
    """Until somebody listens on all of them; fails when the program ends before."""
    def listening() -> bool:
        return not program.running or all(map(is_listening, ports))
    eventually(listening, PATIENCE, message=f"{program.name} listens on {ports}")
    assert program.running, program.output()


def is_listening(port: int) -> bool:
    """Whether a connection to the port of this machine succeeds."""
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex((HOST, port)) == 0


def join(server: Server, *clients: Client) -> None:
    """Until what the server announces reaches all clients: files are put until one has arrived at each.

    ZeroMQ does not tell when a subscription has arrived, so the first announcements may be heard by nobody.
    """
    names: set[str] = set()

    def arrived() -> bool:
        names.add(put_new(server))
        return all(client.names() & names for client in clients)
    eventually(arrived, PATIENCE, interval=0.5, message="the first file arrives")
    last = put_new(server)
    eventually(lambda: all(client.has({last}) for client in clients), PATIENCE, message="the network is warm")


def put_new(server: Server) -> str:
    """Put a file no client has heard of; returns its name."""
    name = f"new{time.monotonic_ns()}_202401010000.txt"
    server.put(name)
    return name


def files(count: int, prefix: str = "file") -> dict[str, bytes]:
    """Names that match the origin, and contents."""
    return {f"{prefix}{number:04d}_202401020304.txt": f"content {prefix} {number}".encode() * 50 for number in range(count)}


def delivered(client: Client, wanted: Mapping[str, bytes], seconds: float = PATIENCE) -> None:
    """Wait until all files are at the client's destination, byte for byte."""
    eventually(lambda: client.has(set(wanted)), seconds, message=f"{len(wanted)} files arrive")
    eventually(lambda: {name: (client.outgoing / name).read_bytes() for name in wanted} == dict(wanted), seconds,
               message="the files are whole")


def ask(port: int, *frames: bytes, seconds: float = 30.0) -> bytes | None:
    """The reply to a request of these frames, None when there is none in time."""
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    try:
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(f"tcp://{HOST}:{port}")
        socket.send_multipart(frames if len(frames) > 1 else (b"", *frames))
        return socket.recv_multipart()[-1] if socket.poll(int(seconds * 1000)) else None
    finally:
        context.destroy(linger=0)
