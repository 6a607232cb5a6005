"""What the tests of move_it share: the program in a process, a directory it watches, and what it publishes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.faults.checker import rows
from tests.faults.network import Recorder
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.programs import Program
from trollmoves.messages import EXTENSION


class MovingIt:
    """A move_it with one section [sat], a directory it watches and a recorder of what it publishes. Use it as a context."""

    def __init__(self, root: Path, options: str, *arguments: str, environment: Mapping[str, str] | None = None,
                 publishing: bool = True):
        self.root = root
        self.incoming = root / "incoming"
        self.incoming.mkdir()
        self.config, self.journal = root / "move_it.ini", root / "move_it.journal"
        self.publish_port = free_port()
        self.recorder = Recorder(self.publish_port)
        self._arguments = [*(["-p", str(self.publish_port)] if publishing else []), *arguments]
        self.write_config(options)
        self.program = self.program_with(environment)

    def program_with(self, environment: Mapping[str, str] | None = None) -> Program:
        """The program, not started yet."""
        return Program.ours("move_it", "--journal", self.journal, *self._arguments, self.config, log=self.root / "move_it.log",
                            environment=environment)

    def write_config(self, options: str) -> None:
        lines = [line.strip() for line in options.strip().splitlines()]
        defaults = {"origin": f"{self.incoming}/{{name}}.dat", "topic": "/moved", "listen_address": "127.0.0.1", "settle": "0.2"}
        given = {line.partition("=")[0].strip() for line in lines}
        lines += [f"{option} = {value}" for option, value in defaults.items() if option not in given]
        self.config.write_text("\n".join(["[sat]", *lines, ""]))

    def start(self) -> MovingIt:
        since = self.program.mark()
        self.program.start().wait_for(r"\[sat\] watches ", since=since)
        return self

    def write(self, name: str, content: bytes | None = None) -> Path:
        """A file that appears whole, as one that was moved in."""
        path = self.incoming / name
        hidden = self.root / f"{path.name}.new"
        hidden.write_bytes(name.encode() * 100 if content is None else content)
        os.replace(hidden, path)
        return path

    def published(self) -> list[dict[str, Any]]:
        """What was published, without our extension."""
        return [{name: value for name, value in data.items() if name != EXTENSION} for data in self.recorder.files()]

    def states(self) -> list[tuple[str, str, str]]:
        """Name, destination and state of each row of the journal, in order."""
        return sorted(rows(self.journal, "SELECT identity, coalesce(request, ''), state FROM files"))

    def removals(self) -> int:
        return int(rows(self.journal, "SELECT count(*) FROM removals WHERE due < 1e12")[0][0])

    def __enter__(self) -> MovingIt:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.program.kill()
        self.recorder.close()


def arrives(path: Path, content: bytes, seconds: float = 60) -> None:
    eventually(lambda: path.is_file() and path.read_bytes() == content, seconds, message=f"{path} arrives")


def gone(path: Path, seconds: float = 60) -> None:
    eventually(lambda: not path.exists(), seconds, message=f"{path} is removed")
