"""Processes as an operator starts them: the starters in bin/ and the configurations in examples/."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import zmq

from tests.support.eventually import eventually
from tests.support.ports import free_ports
from tests.support.programs import CHECKOUT, Program, clean_environment

EXAMPLE_DIRECTORY = "/tmp/trollmoves-example"
EXAMPLE_PORTS = ("9010", "9011", "9015", "9094", "9095")
READY = {"server": r"watches", "mirror": r"mirrors", "client": r"listens to"}
PUBLISHING = {"server": "9010", "mirror": "9015"}
"""Roles that are told on the command line where to publish."""


class Network:
    """Programs by name ("server", "mirror", "client", "spare"), their files below *root*, and what the clients publish."""

    def __init__(self, root: Path):
        self.root = root
        self.outgoing, self.incoming = root / "outgoing", root / "incoming"
        self.outgoing.mkdir()
        self.programs: dict[str, Program] = {}
        self.ports = dict(zip(EXAMPLE_PORTS, map(str, free_ports(len(EXAMPLE_PORTS))), strict=True))
        self._context = zmq.Context()
        self._heard: dict[str, list[dict[str, Any]]] = {}
        self._sockets: dict[str, Any] = {}

    # Configurations and programs.

    def config(self, name: str) -> Path:
        return self.root / f"{name}.ini"

    def journal(self, name: str) -> Path:
        return self.root / f"{name}.journal"

    def configure(self, name: str, example: str, changes: dict[str, str] | None = None) -> None:
        """Write the example configuration with this network's directory and ports, on the loopback interface only."""
        text = (CHECKOUT / "examples" / f"{example}.ini").read_text(encoding="utf-8")
        text = text.replace(EXAMPLE_DIRECTORY, str(self.root))
        for old, new in self.ports.items():
            text = text.replace(old, new)
        given = {"listen_address": "127.0.0.1", **(changes or {})}
        kept = [line for line in text.splitlines() if line.partition("=")[0].strip() not in given]
        options = [f"{option} = {value}" for option, value in given.items()]
        self.config(name).write_text("\n".join([*kept, *options, ""]), encoding="utf-8")

    def start(self, name: str, role: str) -> None:
        """Start the program *name* of this *role*, and wait until it says that it is at work."""
        program = self.programs.get(name)
        if program is None:
            options = ["-p", self.ports[PUBLISHING[role]]] if role in PUBLISHING else []
            argv = [sys.executable, CHECKOUT / "bin" / f"move_it_{role}.py", "--journal", self.journal(name), *options,
                    self.config(name)]
            program = self.programs[name] = Program(argv, self.root / f"{name}.log", name=name)
        began = program.mark()
        program.start()
        program.wait_for(READY[role], since=began)
        if name in self._sockets:  # what is published before the subscription has come is heard by nobody
            eventually(lambda: self._sockets[name].poll(0), message=f"the first beat of {name}")

    def logs(self) -> str:
        return "\n".join(f"--- {name}\n{program.output()[-4000:]}" for name, program in self.programs.items())

    def ask(self, *words: str) -> str:
        """What `trollmoves WORDS` prints about the journals of this network."""
        journals = [word for name in self.programs for word in ("--journal", str(self.journal(name)))]
        done = subprocess.run([sys.executable, "-m", "trollmoves.cli.umbrella", *words, *journals], cwd=CHECKOUT, timeout=120,
                              capture_output=True, text=True, check=words[0] != "status", env=clean_environment())
        return done.stdout

    def trace(self, uid: str, name: str) -> list[dict[str, Any]]:
        """The histories of a file in the journal of one program."""
        return [found for found in json.loads(self.ask("trace", uid, "--json")) if found["journal"] == str(self.journal(name))]

    # What clients publish.

    def listen(self, name: str, port: str) -> None:
        """Hear from now on what the client *name* publishes on *port*, also after its restarts."""
        socket = self._context.socket(zmq.SUB)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RECONNECT_IVL, 20)
        socket.setsockopt(zmq.SUBSCRIBE, b"pytroll:/")
        socket.connect(f"tcp://127.0.0.1:{port}")
        self._sockets[name], self._heard[name] = socket, []

    def published(self, name: str) -> dict[str, dict[str, Any]]:
        """By uid, the data of the last `file` message heard of the client *name*."""
        while self._sockets[name].poll(0):
            fields = self._sockets[name].recv().decode().split(" ", 6)
            if fields[1] == "file":
                self._heard[name].append(json.loads(fields[6]))
        return {data["uid"]: data for data in self._heard[name]}

    def close(self) -> None:
        """End every process and socket."""
        for program in self.programs.values():
            program.kill()
        self._context.destroy(linger=0)
