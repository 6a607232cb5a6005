"""The network of a `Draw`: its servers, mirrors, clients and what stands behind them, in one directory. Their configurations can
be changed while they run."""

from __future__ import annotations

import gzip
import importlib.util
import io
import os
import random
import sys
import tarfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import cycle
from pathlib import Path
from types import TracebackType

from trollmoves.faults.checking import Scene, rows
from trollmoves.faults.contents import Ledger
from trollmoves.faults.drawing import Draw, DrawnGroup
from trollmoves.faults.network import PROXIED, SPARE_DELAY, TOPIC, Dispatching, section
from trollmoves.faults.observing import Observer, Recorder
from trollmoves.faults.ports import free_port
from trollmoves.faults.programs import Program
from trollmoves.faults.proxy import TcpProxy
from trollmoves.faults.waiting import eventually

HOST = "127.0.0.1"
RELAY, RELAYED = "relay", "/relayed"
LATER = "1h"
WARM = "warm-"
"""How names of files begin that only make everybody known."""
USUAL = {"listen_address": HOST}


class Provider:
    """A server or a mirror, which is listened to through proxies. Its port may change, or the name of its sections."""

    def __init__(self, root: Path, name: str, role: str, change: str):
        self.name, self.change = name, change
        self._publish_port, ports = free_port(), [free_port() for _ in range(2 if change == "port" else 1)]
        self.proxies = [TcpProxy(HOST, self._publish_port), *(TcpProxy(HOST, port, host=PROXIED, port=port) for port in ports)]
        self._ports = cycle(ports)
        self.request_port = next(self._ports)
        self._words = cycle(("one", "two"))
        self.word = next(self._words)
        self.program = Program.ours(role, "-p", str(self._publish_port), "--journal", root / f"{name}.journal",
                                    root / f"{name}.ini", log=root / f"{name}.log", name=name)

    def turn(self) -> None:
        """The other port, or the other name."""
        if self.change == "port":
            self.request_port = next(self._ports)
        elif self.change == "name":
            self.word = next(self._words)

    @property
    def address(self) -> str:
        return f"{HOST}:{self.proxies[0].port}"

    @property
    def request_address(self) -> str:
        return f"{PROXIED}:{self.request_port}"

    def options(self) -> dict[str, str]:
        return {"request_address": PROXIED, "request_port": str(self.request_port), **USUAL}


class Members:
    """A client and its hot spares, what they publish, and who looks on at their destination."""

    def __init__(self, root: Path, drawn: DrawnGroup, destination: Path, ledger: Ledger):
        self.drawn, self.destination, self.ledger = drawn, destination, ledger
        destination.mkdir(parents=True)
        self.names = [drawn.name, *(f"{drawn.name}-spare{number}" for number in range(drawn.spares))]
        self.ports = [free_port() for _ in self.names]
        self.ftp_port = free_port() if drawn.mover == "ftp" and importlib.util.find_spec("pyftpdlib") else 0
        self.password = f"planted-{random.SystemRandom().randrange(10**12)}"
        self.recorder, self.observer = Recorder(*self.ports), Observer(destination, ledger)
        self.journals = [root / f"{name}.journal" for name in self.names]
        self.programs = [Program.ours("client", "--journal", journal, root / f"{name}.ini", log=root / f"{name}.log", name=name)
                         for name, journal in zip(self.names, self.journals, strict=True)]

    def ftp_server(self, log: Path) -> Program:
        """Of the destination alone, for one user."""
        return Program([sys.executable, "-m", "pyftpdlib", "-i", HOST, "-p", str(self.ftp_port), "-d", self.destination,
                        "-u", "faults", "-P", self.password, "-w"], log, name="ftp")

    def options(self, number: int, providers: list[Provider]) -> dict[str, str]:
        """Of the client, or of one of its spares."""
        others = [f"{HOST}:{port}" for port in self.ports if number and port != self.ports[number]]
        subjects = self.drawn.subjects
        options = {"providers": " ".join([*(provider.address for provider in providers), *others]),
                   "topic": subjects[0] if len(subjects) == 1 else TOPIC, "nameservers": "false",
                   "publish_port": str(self.ports[number]), **USUAL, **self.drawn.options}
        if self.ftp_port:
            options |= {"destination": f"ftp://{HOST}:{self.ftp_port}/", "ftp_root": str(self.destination)}
        else:
            options |= {"destination": f"file://{self.destination}/"}
        if self.drawn.spares and len(providers) > 1:
            options["lease_servers"] = " ".join(provider.request_address for provider in providers)
        return {**options, "login": f"faults:{self.password}", **({"processing_delay": SPARE_DELAY} if number else {})}


class Drawn:
    """Use it as a context."""

    def __init__(self, root: Path, draw: Draw, disk: Path):
        """*disk* is the directory that the destinations and the copies of mirrors are in."""
        self.root, self.draw, self.killed = root, draw, True
        self.forgot: list[str] = []
        self.directories = {server: {subject: root / "origin" / server / _plain(subject) for subject in draw.subjects}
                            for server in draw.servers}
        self._staging, self._copies = root / "staging", [disk / mirror for mirror in draw.mirrors]
        for directory in (self._staging, *self._copies, *self.origins):
            directory.mkdir(parents=True)
        self._removes = False
        self._writing = threading.Lock()
        self._written: dict[str, tuple[int, int]] = {}
        roles = {**dict.fromkeys(draw.servers, "server"), **dict.fromkeys(draw.mirrors, "mirror"),
                 **({RELAY: "server"} if draw.relay else {})}
        self._providers = {name: Provider(root, name, role, draw.changes.get(name, "")) for name, role in roles.items()}
        self._groups = [Members(root, group, disk / group.name, Ledger()) for group in draw.groups]
        first = self._groups[0]
        self._relayed = [self._make_relayed(first, disk)] if draw.relay else []
        self._dispatching = [Dispatching(root, first.destination, first.ports[0], first.ledger)] if draw.dispatcher else []
        self._retention = dict.fromkeys((program.name for program in self.programs), 7)
        for program in self.programs:
            self._configure(program.name)

    def _make_relayed(self, first: Members, disk: Path) -> Members:
        group = DrawnGroup("relayed", (RELAY,), (RELAYED,), 0, "file", {})
        return Members(self.root, group, disk / group.name, first.ledger)

    # The programs.

    @property
    def programs(self) -> list[Program]:
        """All, those first that ask."""
        clients = [program for group in (*self._relayed, *self._groups) for program in group.programs]
        providers = [self._providers[name].program for name in reversed(self._providers)]
        return [*(each.program for each in self._dispatching), *clients, *providers]

    @property
    def proxies(self) -> list[TcpProxy]:
        return [proxy for provider in self._providers.values() for proxy in provider.proxies]

    @property
    def observers(self) -> list[Observer]:
        return [*(group.observer for group in (*self._groups, *self._relayed)), *(each.observer for each in self._dispatching)]

    @property
    def origins(self) -> list[Path]:
        return [directory for directories in self.directories.values() for directory in directories.values()]

    def forgetting(self) -> list[int]:
        """Numbers of the programs that may lose their journal. What some keep there is lost with it (docs/faults.md): whom a
        server or mirror waits for before it removes; what a dispatcher or a server with `listen` has heard; that a file of the
        size and time of an earlier one is another one; that files of several servers, which are gone, were one; and what was in
        a packed file that is gone."""
        several = {name for name in (*self.draw.servers, *self.draw.mirrors) for subject in self.draw.subjects
                   if self.draw.delete == "true" and len(self.draw.listeners(name, subject)) > 1}
        removing = {program.name for group in self._groups for program in group.programs if self.draw.delete and (
            group.drawn.options.get("delete") == "true" or (self.draw.again and len(self.draw.servers) > 1))}
        is_gone = self.draw.delete and len(self.draw.servers) > 1
        comparing = self._providers.keys() if is_gone or (self.draw.again and self.draw.twins) else set()
        spared = several | removing | comparing | {RELAY, "dispatcher"}
        return [number for number, program in enumerate(self.programs) if program.name not in spared]

    def change(self, name: str) -> None:
        """Write another configuration of a program: with another option, and what else changes of it."""
        self._retention[name] = 15 - self._retention[name]
        if name in self._providers:
            self._providers[name].turn()
        self._configure(name)

    def _configure(self, name: str) -> None:
        if name != "dispatcher":
            retention = {"retention": f"{self._retention[name]}d"}
            text = "".join(section(title, {**retention, **options}) for title, options in self._sections(name))
            whole = self.root / f"{name}.ini.new"
            whole.write_text(text)
            os.rename(whole, self.root / f"{name}.ini")

    def _sections(self, name: str) -> Iterable[tuple[str, dict[str, str]]]:
        provider = self._providers.get(name)
        if provider is None:
            return [self._client_section(name)]
        if name in self.draw.mirrors:
            return [(name, self._mirror_options(provider))]
        if name == RELAY:
            return [(RELAY, self._relay_options(provider))]
        return [(f"{_plain(subject)}-{provider.word}", self._server_options(provider, subject)) for subject in self.draw.subjects]

    def _server_options(self, provider: Provider, subject: str) -> dict[str, str]:
        # `trusted_acks`: what a client has from another server goes from this one, too.
        origin = f"{self.directories[provider.name][subject]}/{{name}}.bin{self.draw.ending}"
        into = self.root / "unpacked" / provider.name / _plain(subject)
        into.mkdir(parents=True, exist_ok=True)
        return {"origin": origin, "topic": subject, **provider.options(), "trusted_acks": "any", **self.draw.server_options,
                "working_directory": str(into),
                **(self.draw.delete_option(provider.name, subject) if self._removes else {"remove_delay": LATER})}

    def _mirror_options(self, provider: Provider) -> dict[str, str]:
        providers = " ".join(self._providers[name].address for name in self.draw.mirrors[provider.name])
        return {"providers": providers, "client_topic": TOPIC, "destination": f"file://{self._copies[0].parent}/{provider.name}/",
                **provider.options(), "trusted_acks": "any", **self.draw.mirror_options}

    def _relay_options(self, provider: Provider) -> dict[str, str]:
        first = self._groups[0]
        return {"listen": TOPIC, "addresses": f"tcp://{HOST}:{first.ports[0]}", "nameserver": "false",
                "origin": f"{first.destination}/{{name}}.bin", "topic": RELAYED, **provider.options()}

    def _client_section(self, name: str) -> tuple[str, dict[str, str]]:
        group = next(group for group in (*self._groups, *self._relayed) if name in group.names)
        providers = [self._providers[name] for name in group.drawn.providers]
        return group.drawn.name, group.options(group.names.index(name), providers)

    # Running it.

    def __enter__(self) -> Drawn:
        with ExitStack() as stack:
            for proxy in self.proxies:
                stack.enter_context(proxy)
            for group in (*self._groups, *self._relayed):
                stack.callback(group.recorder.close)
                if group.ftp_port:
                    stack.enter_context(group.ftp_server(self.root / f"{group.drawn.name}-ftp.log"))
            for each in self._dispatching:
                stack.callback(each.recorder.close)
            for observer in self.observers:
                stack.enter_context(observer)
            self._open = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for program in self.programs:
            program.kill()
        self._open.close()

    def start(self) -> None:
        """Start all, and have each server serve everybody once before it removes anything: whom it does not know it does not
        wait for."""
        for program in reversed(self.programs):
            program.start()
        for server, directories in self.directories.items():
            for subject in directories:
                self._write(f"{WARM}{server}-{_plain(subject)}.bin", subject, os.urandom(1000), [server], time.time_ns())
        eventually(lambda: not any(scene.missing() or scene.unfinished() for scene in self.scenes()), 120,
                   message="everybody has been served")
        self._begin_to_remove()

    def _begin_to_remove(self) -> None:
        self._removes = True
        servers = [self._providers[server] for server in self.draw.servers]
        marks = [server.program.mark() for server in servers]
        for server in servers:
            self._configure(server.name)
        for server, mark in zip(servers, marks, strict=True):
            for subject in self.draw.subjects:
                server.program.wait_for(rf"\[{_plain(subject)}-{server.word}\] watches", since=mark)

    # The files.

    def feed(self, number: int, data: bytes) -> None:
        """Write file *number* to some servers: a new name, or new content under an earlier one, which may have the size of the
        old one, and its time too."""
        dice = random.Random(f"{self.draw.seed} {number} name")  # noqa: S311 - to be played again, not to be kept secret
        earlier = dice.randrange(number) if number and dice.random() < self.draw.again else number
        name, now = f"f{earlier:05}.bin", time.time_ns()
        like = dice.choice(("", "size", *(["time"] if self.draw.twins else [])))
        if name in self._written and like:
            size, before = self._written[name]
            data, now = dice.randbytes(size), before if like == "time" else now
        self._written[name] = (len(data), now)
        where = random.Random(f"{self.draw.seed} {name}")  # noqa: S311 - the same servers each time: no other has the old one
        servers = [where.choice(self.draw.servers)] if where.random() < 0.3 else list(self.draw.servers)
        self._write(name, self.draw.subjects[earlier % len(self.draw.subjects)], data, servers, now)

    def _write(self, name: str, subject: str, data: bytes, servers: Iterable[str], when: int) -> None:
        packed = _pack(name, data, self.draw.packed)
        with self._writing:
            for group in self._groups:
                if subject in group.drawn.subjects:
                    group.ledger.allow(f"{name}{self.draw.ending}", packed)
                    group.ledger.note(name, data)
            for server in servers:
                staged = self._staging / name
                staged.write_bytes(packed)
                os.utime(staged, ns=(when, when))
                os.rename(staged, self.directories[server][subject] / f"{name}{self.draw.ending}")

    @contextmanager
    def away(self, number: int) -> Iterator[None]:
        """A watched directory is not there."""
        directory = self.origins[number % len(self.origins)]
        with self._writing:
            os.rename(directory, self.root / "away")
            try:
                yield
            finally:
                os.rename(self.root / "away", directory)

    # What must hold.

    def scenes(self) -> list[Scene]:
        """One for each group, and what a dispatcher and a server with `listen` have heard."""
        return [*(self._scene(group) for group in self._groups), *(each.scene() for each in self._dispatching),
                *(self._relayed_scene(group) for group in self._relayed)]

    def _scene(self, group: Members) -> Scene:
        # Who lost its journal has forgotten what it published, or who held a lease, or what it delivered.
        journals = [self.root / f"{name}.journal" for name in (*self.draw.servers, *self.draw.mirrors)]
        by_client = self.draw.ending if self.draw.unpacks == "client" else ""
        return Scene(group.ledger, self.origins, group.destination, group.journals, journals,
                     logs=[program.log for program in self.programs], published=group.recorder.files(),
                     notices=list(group.recorder.texts), secrets=[each.password for each in self._groups],
                     deletes=bool(self.draw.delete), keeps=self._keeps, killed=True, forgetful=bool(self.forgot),
                     ending=self.draw.ending, announced_ending=by_client,
                     resumes=bool(group.ftp_port) and (self._keeps or len(group.drawn.providers) > 1),
                     emptied=self._emptied(), spared=self._spared(group),
                     several=len(self.draw.servers) > 1)

    def _relayed_scene(self, group: Members) -> Scene:
        journal = self.root / f"{RELAY}.journal"
        heard = [str(name) for (name,) in rows(journal, "SELECT DISTINCT identity FROM files")]
        return Scene(group.ledger.only(heard), [self._groups[0].destination], group.destination, group.journals, [journal],
                     logs=[program.log for program in group.programs], published=group.recorder.files(),
                     notices=list(group.recorder.texts), forgetful=bool(self.forgot))

    @property
    def _keeps(self) -> bool:
        """A journal that was lost does not say any more what was delivered, so that stays (docs/operating.md), and so do copies
        of which it knew."""
        return bool(set(self.forgot) & self._providers.keys())

    def _emptied(self) -> list[Path]:
        """Where nothing is left in the end."""
        if self._keeps:
            return []
        copies = self._copies if "delete_after" not in self.draw.mirror_options else []
        return [*(self.origins if self.draw.delete else ()), *copies]

    def _spared(self, group: Members) -> set[str]:
        """What was delivered before anything was to be removed, and what waits for another try when newer content of its name
        comes from another server (README.md)."""
        first = {name for name in group.ledger.latest() if name.startswith(WARM)}
        return first | (group.ledger.rewritten() if len(self.draw.servers) > 1 else set())


def _plain(subject: str) -> str:
    return subject.rpartition("/")[2]


def _pack(name: str, data: bytes, kind: str) -> bytes:
    if kind == "gzip":
        return gzip.compress(data, mtime=0)
    if kind != "tar":
        return data
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return packed.getvalue()
