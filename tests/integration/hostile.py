"""What the hostile tests share: a victim server with something worth stealing beside it, and a peer that sends any bytes."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import zmq

from tests.faults.checker import rows, tree
from tests.faults.network import TOPIC
from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.programs import Program

HEAD = "pytroll:/{subject} {kind} mallory@example.org {time} v1.01"
NOW = "2026-11-22T00:00:00.000000"
SLACK = 64 * 2**20


def text(kind: str, data: object = None, *, subject: str = "/loot", when: str = NOW) -> bytes:
    """A message as a peer would write it; *data* is JSON text already when it is a str."""
    head = HEAD.format(subject=subject, kind=kind, time=when)
    if data is None:
        return head.encode()
    body = data if isinstance(data, str) else json.dumps(data)
    return f"{head} application/json {body}".encode()


class Peer:
    """A DEALER socket, as a client has it."""

    def __init__(self, port: int, options: Mapping[int, int] | None = None, address: str = "127.0.0.1"):
        """*address* is the one it connects from, any of this machine's."""
        self._context = zmq.Context()
        self.socket = self._context.socket(zmq.DEALER)
        for option, value in {zmq.LINGER: 0, zmq.SNDHWM: 0, zmq.RCVHWM: 0, **(options or {})}.items():
            self.socket.setsockopt(option, value)
        self.socket.connect(f"tcp://{address}:0;127.0.0.1:{port}")

    def send(self, raw: bytes) -> None:
        self.socket.send_multipart([b"", raw])

    def receive(self, seconds: float = 30.0) -> str | None:
        """The next reply, None when there is none in time."""
        if not self.socket.poll(int(seconds * 1000)):
            return None
        return self.socket.recv_multipart()[-1].decode()

    def ask(self, raw: bytes, seconds: float = 30.0) -> str:
        self.send(raw)
        reply = self.receive(seconds)
        assert reply is not None, f"no reply to {raw[:200]!r}"
        return reply

    def close(self) -> None:
        self.socket.close(0)
        self._context.term()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Victim:
    """A server that announced `gold.bin`, with a secret outside its origin."""

    def __init__(self, root: Path, options: Mapping[str, str] | None = None):
        self.root = root
        self.origin, self.outside, self.allowed = root / "origin", root / "outside", root / "allowed"
        for directory in (self.origin, self.outside, self.allowed):
            directory.mkdir()
        (self.outside / "secret.bin").write_bytes(b"the crown jewels")
        (self.outside / "gold.bin").write_bytes(b"not the announced one")
        self.port, self.publish_port = free_port(), free_port()
        self.journal = root / "server.journal"
        settings = {"origin": f"{self.origin}/{{name}}.bin", "topic": "/loot", "request_port": str(self.port),
                    "request_address": "127.0.0.1", "listen_address": "127.0.0.1", "delete": "true", "remove_delay": "3600",
                    "reconcile": "1", **(options or {})}
        config = root / "server.ini"
        config.write_text("[loot]\n" + "".join(f"{key} = {value}\n" for key, value in settings.items()))
        self.program = Program.ours("server", "-p", str(self.publish_port), "--journal", self.journal, config,
                                    log=root / "server.log").start()
        self.program.wait_for("watches")
        self._before = tree([self.outside])
        self._served = 0
        self.announce("gold.bin", b"gold" * 1000)
        eventually(self.healthy, message="the server serves")
        self._resident = self.resident()

    def announce(self, name: str, data: bytes) -> Path:
        path = self.origin / name
        path.write_bytes(data)
        eventually(lambda: self.is_announced(name), message=f"{name} announced")
        return path

    def is_announced(self, name: str) -> bool:
        return bool(rows(self.journal, f"SELECT 1 FROM announcements JOIN files ON files.id = file WHERE identity = '{name}'"))

    def push(self, uri: object, destination: object, more: Mapping[str, Any] | None = None, uid: object = None) -> bytes:
        name = os.path.basename(str(uri)) if uid is None else uid
        return text("push", {"uri": uri, "uid": name, "destination": destination, **(more or {})})

    def resident(self) -> int:
        return _from_status(self.program.pid, "VmRSS") * 1024

    def forget_peak(self) -> None:
        Path(f"/proc/{self.program.pid}/clear_refs").write_text("5")

    def peak(self) -> int:
        """The most bytes of memory it had since `forget_peak`."""
        return _from_status(self.program.pid, "VmHWM") * 1024

    def worked(self) -> float:
        """Seconds of processor time it has used: however busy the machine is with other things."""
        fields = Path(f"/proc/{self.program.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def threads(self) -> int:
        return _from_status(self.program.pid, "Threads")

    def healthy(self) -> bool:
        """Alive, and a legitimate peer is served in time."""
        assert self.program.running, f"the server ended: {self.program.output()[-3000:]}"
        with Peer(self.port) as peer:
            before = self.worked()
            assert " pong " in peer.ask(text("ping"), 20)
            assert self.worked() - before <= 1.5, "it did other work before it answered a ping"
            self._served += 1
            target = self.allowed / f"served{self._served}"
            reply = peer.ask(self.push(str(self.origin / "gold.bin"), f"file://{target}/"), 60)
            assert " file " in reply, reply
            assert (target / "gold.bin").read_bytes() == b"gold" * 1000
        return True

    def unharmed(self, slack: int = SLACK) -> None:
        """It serves, nothing outside was read, written or removed, and it did not grow."""
        self.healthy()
        assert tree([self.outside]) == self._before, "something outside the origin changed"
        assert "crown jewels" not in _all_text([self.allowed])
        eventually(lambda: self.resident() <= self._resident + slack, 60,
                   message=f"memory back below {(self._resident + slack) >> 20} MiB")
        assert self.threads() <= 30

    def close(self) -> None:
        self.program.kill()


def _from_status(pid: int, name: str) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(name + ":"))


def _all_text(directories: Iterable[Path]) -> str:
    return "".join(path.read_bytes().decode("latin-1") for top in directories for path in top.rglob("*") if path.is_file())


class Stranger:
    """Publishes anything on one port, and answers requests on another one as it likes."""

    def __init__(self) -> None:
        self.port, self.request_port = free_port(), free_port()
        self.asked: list[bytes] = []
        self.answer = b""
        self._context = zmq.Context()
        self.publisher = self._context.socket(zmq.PUB)
        self.publisher.setsockopt(zmq.LINGER, 0)
        self.publisher.setsockopt(zmq.SNDHWM, 0)
        self.publisher.bind(f"tcp://127.0.0.1:{self.port}")
        self._ending = False
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        router = self._context.socket(zmq.ROUTER)
        router.setsockopt(zmq.LINGER, 0)
        router.bind(f"tcp://127.0.0.1:{self.request_port}")
        while not self._ending:
            if router.poll(50):
                identity, _, raw = router.recv_multipart()
                self.asked.append(raw)
                said = json.loads(raw.split(b" ", 6)[6]).get("trollmoves", {})
                for request in [request for _, request in said.get("pushes", ())] or [said.get("request", "")]:
                    answer = self.answer.replace(b"@request@", str(request).encode())
                    router.send_multipart([identity, b"", answer.replace(b"@number@", str(len(self.asked)).encode())])
        router.close()

    def announcement(self, more: str = "", *, uid: object = "x.bin", address: str | None = None, **extension: object) -> bytes:
        """An announcement in good form, but for *more*, which is put into its JSON as it is."""
        where = address or f"127.0.0.1:{self.request_port}"
        data = {"uid": uid, "uri": "/x/x.bin", "request_address": where}
        if extension:
            data["trollmoves"] = {"version": 1, "address": where, "epoch": "e:1", "offset": 1, "previous": 0, "key": "k:1",
                                  "size": 3, **extension}
        return text("file", json.dumps(data)[:-1] + more + "}", subject=TOPIC)

    def close(self) -> None:
        self._ending = True
        self._thread.join(60)
        self.publisher.close()
        self._context.term()
