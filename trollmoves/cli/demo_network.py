"""Programs of ours on this machine for a while: example configurations in a scratch directory, with ports that are free."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from trollmoves.errors import TrollmovesError

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
EXAMPLE_DIRECTORY = "/tmp/trollmoves-example"  # noqa: S108 - the one the example configurations name
PATIENCE = 60.0
"""Seconds a demonstration waits for anything."""


@dataclass(frozen=True, slots=True)
class Member:
    """One program: its module, its configuration below `examples/` (if it has one), and what it logs once it is at work."""

    name: str
    module: str
    example: str
    ready: str
    options: tuple[str, ...] = ()
    """Words before the configuration file; ports and directories in them are the examples'."""
    journaled: bool = True


@dataclass(slots=True)
class Network:
    """A scratch directory, the configurations in it, and the processes."""

    directory: Path
    members: tuple[Member, ...]
    example_ports: tuple[str, ...]
    """The ports in the configurations; each is replaced by one that is free."""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    ports: dict[str, str] = field(default_factory=dict)

    def journal(self, name: str) -> Path:
        return self.directory / f"{name}.journal"

    def log(self, name: str) -> Path:
        return self.directory / f"{name}.log"

    def config(self, member: Member) -> Path:
        return self.directory / Path(member.example).name

    def journals(self) -> list[Path]:
        return [self.journal(member.name) for member in self.members if member.journaled]

    def prepare(self, *folders: str) -> None:
        """Make *folders* and write the configurations. Raises `TrollmovesError` when the directory is in use."""
        if not EXAMPLES.is_dir():
            raise TrollmovesError("the demo uses the configurations in examples/ of a checkout, and this is an installed "
                                  "package: run bin/demo in a clone of the repository")
        if self.directory.exists() and any(self.directory.iterdir()):
            raise TrollmovesError(f"{self.directory} is not empty: name a new directory, so that no files of yours are sent")
        for folder in folders:
            (self.directory / folder).mkdir(parents=True)
        self.ports = dict(zip(self.example_ports, map(str, free_ports(len(self.example_ports))), strict=True))
        for member in filter(lambda member: member.example, self.members):
            text = (EXAMPLES / member.example).read_text(encoding="utf-8")
            self.config(member).write_text(self.own(text), encoding="utf-8")

    def own(self, text: str) -> str:
        """*text* of an example, with the directory and the ports of this network."""
        own = {EXAMPLE_DIRECTORY: str(self.directory), **self.ports}
        examples = "|".join(rf"\b{port}\b" for port in self.ports)
        # In one go: what was put in may look like a port of the examples, as a directory named demo-9010 does.
        return re.sub(f"{re.escape(EXAMPLE_DIRECTORY)}|{examples}", lambda found: own[found[0]], text)

    def start(self, member: Member) -> None:
        """Start a program and wait until it is at work."""
        journal = ["--journal", str(self.journal(member.name))] if member.journaled else []
        config = [str(self.config(member))] if member.example else []
        command = [sys.executable, "-m", member.module, *journal, *map(self.own, member.options), *config]
        with self.log(member.name).open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        self.processes[member.name] = process
        deadline = time.monotonic() + PATIENCE
        while member.ready not in self.said(member.name):
            if process.poll() is not None or time.monotonic() > deadline:
                raise TrollmovesError(f"the {member.name} did not start:\n{self.said(member.name)}")
            time.sleep(0.05)

    def said(self, name: str) -> str:
        """What a program has logged."""
        return self.log(name).read_text(errors="replace")

    def check(self) -> None:
        """Raise `TrollmovesError` when a program ended by itself."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                end = "\n".join(self.said(name).splitlines()[-5:])
                raise TrollmovesError(f"the {name} ended with status {process.returncode}; see {self.log(name)}:\n{end}")

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(15)
            process.kill()


def end_by_signals() -> None:
    """Have SIGTERM, and SIGHUP of a terminal that goes, raise `SystemExit`: whoever started programs stops them then. `nohup` is
    heeded."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, lambda number, _: sys.exit(128 + number))


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def files_below(directory: Path) -> Iterator[Path]:
    """All files that have their final names."""
    for base, _, names in os.walk(directory):
        yield from (Path(base) / name for name in names if not name.startswith("."))


def umbrella() -> str:
    """How a reader starts `trollmoves` here, as a shell takes it."""
    own = Path(sys.executable).with_name("trollmoves")
    found = shutil.which("trollmoves") or (str(own) if own.is_file() else None)
    return shlex.quote(found) if found else f"{shlex.quote(sys.executable)} -m trollmoves.cli.umbrella"
