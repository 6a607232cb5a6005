"""An operator's own configurations as a network that can be broken: their sections, topics, patterns, templates and limits, with
directories, ports and journals of a scratch directory (see `copying`). The files themselves are only read."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from trollmoves.config import ini
from trollmoves.config.places import Provider
from trollmoves.config.reading import Configuration, read_client_config, read_server_config
from trollmoves.config.settings import ClientSettings, ServerSettings
from trollmoves.errors import ConfigurationError
from trollmoves.faults.checking import Scene
from trollmoves.faults.contents import Ledger
from trollmoves.faults.copying import (
    COPIED_OF_CLIENTS,
    COPIED_OF_SERVERS,
    Feed,
    client_section,
    feed_of,
    left_out,
    server_section,
)
from trollmoves.faults.naming import names_for
from trollmoves.faults.network import PROXIED, section
from trollmoves.faults.observing import Observer, Recorder
from trollmoves.faults.ports import free_port
from trollmoves.faults.programs import Program
from trollmoves.faults.proxy import TcpProxy

Wish = tuple[int, str]
"""Number of a server and the beginning of the topics wanted of it."""


@dataclass(slots=True)
class Group:
    """Client sections that share a name or a `group`: the files go to one directory and are published once."""

    directory: Path
    ledger: Ledger = field(default_factory=Ledger)
    journals: list[Path] = field(default_factory=list)
    sections: set[str] = field(default_factory=set)
    ports: list[int] = field(default_factory=list)
    wishes: set[Wish] = field(default_factory=set)

    def wants(self, feed: Feed) -> bool:
        return any(feed.server == server and feed.topic.startswith(topic) for server, topic in self.wishes)


class Borrowed:
    """The network of some configuration files. Use it as a context."""

    def __init__(self, root: Path, servers: Sequence[Path], clients: Sequence[Path], destination: Path, files: int):
        """*root* is empty, *destination* a directory below it. Raises `ConfigurationError` for what cannot be tried."""
        if not servers or not clients:
            raise ConfigurationError("name the configuration of at least one server and of at least one client")
        self.root = root
        self.killed = False
        self.left_out: list[str] = []
        """What the copies lack, in words."""
        self._destination = destination
        self._staging = root / "staging"
        self._staging.mkdir()
        self._feeds: list[Feed] = []
        self._request_ports: dict[tuple[int, int], int] = {}
        self._groups: dict[str, Group] = {}
        self._deletes = False
        self._server_ports = [free_port() for _ in servers]
        self._client_sections = [(path, _whole(read_client_config(path))) for path in clients]
        self._client_ports = {(number, name): free_port() for number, (_, read) in enumerate(self._client_sections)
                              for name in read.chains}
        self.proxies = [TcpProxy("127.0.0.1", port) for port in self._server_ports]
        self._server_programs = [self._server(number, path) for number, path in enumerate(servers)]
        addresses = self._assign_providers(len(servers))
        self._client_programs = [self._client(number, addresses) for number in range(len(clients))]
        self.proxies += [TcpProxy("127.0.0.1", port, host=PROXIED, port=port) for port in self._request_ports.values()]
        self._names = self._make_names(files)

    @property
    def programs(self) -> list[Program]:
        return [*self._client_programs, *self._server_programs]

    # The copies.

    def _server(self, number: int, path: Path) -> Program:
        read, text = _whole(read_server_config(path)), ""
        for name, options in _texts(path).items():
            settings = read.chains[name]
            feed = feed_of(settings, number, self.root / "origin" / f"{number}" / _plain(name))
            feed.directory.mkdir(parents=True)
            self._feeds.append(feed)
            assert settings.request_port is not None
            port = self._request_ports.setdefault((number, settings.request_port), free_port())
            self._note_left_out(path, name, left_out(options, COPIED_OF_SERVERS))
            self._deletes = self._deletes or settings.delete is not None or settings.delete_after is not None
            text += section(name, server_section(options, feed, port, PROXIED))
        copy = self.root / f"server{number}.ini"
        copy.write_text(text)
        return Program.ours("server", "-p", str(self._server_ports[number]), "--journal", self._journal("server", number), copy,
                            log=self.root / f"server{number}.log", name=f"server {path.name}")

    def _client(self, number: int, addresses: dict[str, int]) -> Program:
        path, read = self._client_sections[number]
        text = ""
        for name, options in _texts(path).items():
            settings, port = read.chains[name], self._client_ports[number, name]
            group = self._group(settings)
            group.journals.append(self._journal("client", number))
            group.sections.add(name)
            group.ports.append(port)
            providers = [self._provider(number, settings, provider, addresses, group) for provider in settings.providers]
            self._note_left_out(path, name, left_out(options, COPIED_OF_CLIENTS))
            text += section(name, client_section(options, settings, group.directory, providers, port))
        copy = self.root / f"client{number}.ini"
        copy.write_text(text)
        return Program.ours("client", "--journal", self._journal("client", number), copy, log=self.root / f"client{number}.log",
                            name=f"client {path.name}")

    def _journal(self, role: str, number: int) -> Path:
        return self.root / f"{role}{number}.journal"

    def _group(self, settings: ClientSettings) -> Group:
        name = settings.group or settings.name
        if name not in self._groups:
            self._groups[name] = Group(self._destination / _plain(name))
            self._groups[name].directory.mkdir()
        return self._groups[name]

    def _note_left_out(self, path: Path, name: str, options: list[str]) -> None:
        if options:
            self.left_out.append(f"{path}: [{name}] {', '.join(options)}")

    # Who listens to whom.

    def _primary(self, number: int, settings: ClientSettings, provider: Provider) -> int | None:
        """The port of another client's copy, where a hot spare listens to it."""
        if settings.processing_delay is None:
            return None
        for (other, name), port in self._client_ports.items():
            chain = self._client_sections[other][1].chains[name]
            if chain.publish_port == provider.port and (other, name) != (number, settings.name):
                return port
        return None

    def _assign_providers(self, servers: int) -> dict[str, int]:
        """Which server stands for which provider: with one server it stands for all, else they go by the order of the files."""
        addresses = dict.fromkeys(provider.address for number, (_, read) in enumerate(self._client_sections)
                                  for settings in read.chains.values() for provider in settings.providers
                                  if self._primary(number, settings, provider) is None)
        if servers > 1 and len(addresses) != servers:
            raise ConfigurationError(f"{servers} server configurations for {len(addresses)} providers ({', '.join(addresses)}): "
                                     "name one for each, in this order, or only one that stands for all")
        return {address: min(number, servers - 1) for number, address in enumerate(addresses)}

    def _provider(self, number: int, settings: ClientSettings, provider: Provider, addresses: dict[str, int],
                  group: Group) -> str:
        primary = self._primary(number, settings, provider)
        if primary is None:
            server = addresses[provider.address]
            group.wishes.add((server, settings.topic if provider.topic is None else provider.topic))
            primary = self.proxies[server].port
        return f"127.0.0.1:{primary}{provider.topic or ''}"

    # The files.

    def _make_names(self, count: int) -> list[tuple[list[Feed], str]]:
        """For each file, its name and the feeds it is written to: all that have the same topic and pattern."""
        alike: dict[tuple[str, str], list[Feed]] = {}
        for feed in self._feeds:
            if any(group.wants(feed) for group in self._groups.values()):
                alike.setdefault((feed.topic, feed.pattern.text), []).append(feed)
        if not alike:
            raise ConfigurationError("no section of a client asks for what a section of a server announces: compare `topic`")
        each = count // len(alike) + 1
        lists = [(feeds, names_for(feeds[0].pattern, each)) for feeds in alike.values()]
        names = [(feeds, names[row]) for row in range(each) for feeds, names in lists][:count]
        often = Counter(os.path.basename(name) for _, name in names)
        if len(often) < count:
            same = {feeds[0].topic: feeds[0].pattern.text for feeds, name in names if often[os.path.basename(name)] > 1}
            named = ", ".join(f"{topic} as {os.path.basename(pattern)}" for topic, pattern in same.items())
            raise ConfigurationError(f"sections take files of the same names, and what arrived could not be told apart: {named}; "
                                     "leave one out of a copy of the file, or give its names another beginning there")
        return names

    def feed(self, number: int, data: bytes) -> None:
        """Write file *number* to all servers that announce such files."""
        feeds, name = self._names[number]
        for group in self._groups.values():
            if any(group.wants(feed) for feed in feeds):
                group.ledger.note(os.path.basename(name), data)
        for feed in feeds:
            staged, place = self._staging / f"{number}", feed.directory / name
            place.parent.mkdir(parents=True, exist_ok=True)
            staged.write_bytes(data)
            os.rename(staged, place)

    # Running it.

    def __enter__(self) -> Borrowed:
        with ExitStack() as stack:
            for proxy in self.proxies:
                stack.enter_context(proxy)
            self._recorders = {name: Recorder(*group.ports) for name, group in self._groups.items()}
            for recorder in self._recorders.values():
                stack.callback(recorder.close)
            self.observers = [stack.enter_context(Observer(group.directory, group.ledger)) for group in self._groups.values()]
            self._open = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for program in self.programs:
            program.kill()
        self._open.close()

    def start(self) -> None:
        for program in reversed(self.programs):
            program.start()

    def scenes(self) -> list[Scene]:
        return [self._scene(name, group) for name, group in self._groups.items()]

    def _scene(self, name: str, group: Group) -> Scene:
        journals = [self._journal("server", number) for number in range(len(self._server_ports))]
        return Scene(group.ledger, [feed.directory for feed in self._feeds], group.directory, group.journals, journals,
                     published=self._recorders[name].files(), notices=list(self._recorders[name].texts), deletes=self._deletes,
                     killed=self.killed, chain=next(iter(group.sections)) if len(group.sections) == 1 else "")


def _whole(read: Configuration[ServerSettings] | Configuration[ClientSettings]) -> Configuration[Any]:
    """A configuration without a problem; raises `ConfigurationError` for any other."""
    read.require_all()
    return read


def _texts(path: Path) -> dict[str, dict[str, str]]:
    """The options of each section, as they are written."""
    return {name: {option: entry.text for option, entry in entries.items()} for name, entries in ini.load(path).sections.items()}


def _plain(name: str) -> str:
    """A section's name as the name of a directory."""
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in name) or "section"
