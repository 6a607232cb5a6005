"""Who looks on while a network is broken: at the destination, at what is published, at what the processes take."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

import zmq
from inotify_simple import INotify, flags

from trollmoves.faults.contents import Ledger, content_at

MOST_MEMORY, MOST_DESCRIPTORS, MOST_THREADS = 64 * 2**20, 50, 58
"""What a process may take more than it had at its start: bytes, open files, threads (32 movers, 16 spare ones, and 10)."""
LOOKED_AT = flags.CREATE | flags.MOVED_TO | flags.CLOSE_WRITE | flags.MODIFY


def is_hidden(path: Path) -> bool:
    """Whether *path*, relative to a destination, is no final name."""
    return any(part.startswith(".") for part in path.parts)


class Observer:
    """Watches a destination in a thread of its own: each file that gets a final name is read at once and compared (I3)."""

    def __init__(self, directory: Path, ledger: Ledger):
        self.violations: list[str] = []
        self.seen = 0
        self.moves: Counter[str] = Counter()
        """By name: how often a file took it (from a temporary name, so once for every move)."""
        self._directory = directory
        self._ledger = ledger
        self._inotify = INotify()
        self._directories: dict[int, Path] = {}
        self._watch(directory)
        self._ending = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Observer:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ending = True
        self._thread.join(20)
        self._inotify.close()

    def _watch(self, directory: Path) -> None:
        self._directories[self._inotify.add_watch(str(directory), LOOKED_AT)] = directory

    def _run(self) -> None:
        while True:
            events = self._inotify.read(timeout=100)
            if not events and self._ending:
                return
            for event in events:
                if event.mask & flags.Q_OVERFLOW:
                    self.violations.append("the observer itself lost events: files came too fast for it")
                elif event.name and event.wd in self._directories:
                    self.moves[event.name] += bool(event.mask & flags.MOVED_TO) and not event.name.startswith(".")
                    self._look(self._directories[event.wd] / event.name, bool(event.mask & flags.ISDIR))

    def _look(self, path: Path, is_directory: bool) -> None:
        name = path.relative_to(self._directory)
        if is_hidden(name):
            return
        if is_directory:
            if path.is_dir():
                self._watch(path)
                for entry in list(path.iterdir()):  # what came before the watch
                    self._look(entry, entry.is_dir())
            return
        content = content_at(path)
        self.seen += 1
        if content is not None and not self._ledger.allows(path.name, content):
            self.violations.append(f"I3: {name} was visible with {content[0]} bytes that nobody ever wrote")


class Recorder:
    """A subscriber that keeps all messages of some publishers; connects again for ever."""

    def __init__(self, *ports: int):
        self.texts: list[str] = []
        self.times: list[float] = []
        """When each of them came, of the monotonic clock."""
        self._ending = False
        self._ports = ports
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        context = zmq.Context()
        socket = context.socket(zmq.SUB)
        socket.setsockopt(zmq.RCVHWM, 0)
        socket.setsockopt(zmq.LINGER, 0)
        socket.setsockopt(zmq.RECONNECT_IVL, 20)
        socket.setsockopt(zmq.SUBSCRIBE, b"")
        for port in self._ports:
            socket.connect(f"tcp://127.0.0.1:{port}")
        while not self._ending:
            if socket.poll(100):
                text = socket.recv().decode("utf-8", "replace")
                self.times.append(time.monotonic())
                self.texts.append(text)
        socket.close()
        context.term()

    def files(self) -> list[dict[str, object]]:
        """The data of the `file` messages."""
        return [payload_of(text) for text in list(self.texts) if text.split(" ", 2)[1] == "file"]

    def beats(self) -> list[float]:
        """When heartbeats came."""
        return [when for when, text in zip(self.times, list(self.texts), strict=False) if text.split(" ", 2)[1] == "beat"]

    def close(self) -> None:
        self._ending = True
        self._thread.join(10)


def payload_of(text: str) -> dict[str, object]:
    """The JSON data of a message, read without the package under test."""
    start = text.find("application/json ")
    found = json.loads(text[start + len("application/json "):]) if start >= 0 else {}
    return found if isinstance(found, dict) else {}


class Sampler:
    """Looks every half second at what processes take: the most of each program, and what it had when it was first ready."""

    def __init__(self, processes: Callable[[], Mapping[str, int]]):
        """*processes* gives the number of each program that is up, by name."""
        self.first: dict[str, tuple[int, int, int]] = {}
        self.most: dict[str, tuple[int, int, int]] = {}
        """Bytes of memory, open files, threads."""
        self._processes = processes
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def _run(self) -> None:
        while not self._ended.wait(0.5):
            for name, pid in self._processes().items():
                taken = taken_by(pid)
                if taken is not None:
                    self.first.setdefault(name, taken)
                    before = self.most.get(name, taken)
                    self.most[name] = (max(before[0], taken[0]), max(before[1], taken[1]), max(before[2], taken[2]))

    @property
    def growth(self) -> int:
        """The most bytes of memory a program had more than at its start."""
        return max((most[0] - self.first[name][0] for name, most in self.most.items()), default=0)

    def violations(self) -> list[str]:
        """Who took too much (I6)."""
        found = []
        for name, most in self.most.items():
            for what, value, at_first, limit in zip(("bytes of memory", "open files", "threads"), most, self.first[name],
                                                    (MOST_MEMORY, MOST_DESCRIPTORS, MOST_THREADS), strict=True):
                if value > at_first + limit:
                    found.append(f"I6: {name} had {at_first} {what} at its start and {value} later")
        return found


def taken_by(pid: int) -> tuple[int, int, int] | None:
    """Memory, open files and threads of a process that is ready (it catches SIGTERM); None for any other."""
    process = Path(f"/proc/{pid}")
    try:
        lines = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
        if not int(lines["SigCgt"], 16) >> 14 & 1:
            return None
        return int(lines["VmRSS"].split()[0]) * 1024, len(list((process / "fd").iterdir())), int(lines["Threads"])
    except (OSError, KeyError, ValueError):
        return None
