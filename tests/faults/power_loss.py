"""What a disk may hold after a power loss: only what was fsynced is sure, of all else any part may be there.

The system calls of real programs are recorded with strace and played into a model of a file system. A file's bytes are sure after
an fsync of the file, its name after an fsync of the directory. A write that was not synced may be there whole, in part or not at
all, and each creation, renaming and removal of a name may have happened or not, in any order: stricter than any real file system.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

CALLS = ("openat,write,pwrite64,ftruncate,copy_file_range,sendfile,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat,"
         "mkdir,mkdirat,sendto,sync")
_LINE = re.compile(r"(\d+) +(\d+\.\d+) (.*)", re.DOTALL)
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+)")
_HEX = re.compile(r"(?:\\x[0-9a-f]{2})+")
_WORD = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_DESCRIPTOR = re.compile(r"<((?:\\x[0-9a-f]{2})+)>")
TORN = 0.3
"""How often an unsynced write is there in part."""


def strace(log: Path) -> list[str]:
    """Words to put before a command, which stays the child of who started it."""
    return ["strace", "-D", "-f", "-y", "-xx", "-s", "2000000", "-ttt", "-o", str(log), "-e", f"trace={CALLS}"]


def _plain(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def _path(text: str) -> str:
    return _plain(text).decode("utf-8", "surrogateescape")


@dataclass(frozen=True, slots=True)
class Event:
    """One system call that did something."""

    time: float
    call: str
    arguments: str
    result: int
    program: int
    """Which log it is from."""

    @property
    def paths(self) -> list[str]:
        """Of descriptors and in quotes, in order."""
        return [_path(match[1] or match[2]) for match in
                re.finditer(r'<((?:\\x[0-9a-f]{2})+)>|"((?:\\x[0-9a-f]{2})*)"', self.arguments)]

    @property
    def data(self) -> bytes:
        match = _WORD.search(self.arguments)
        return _plain(match[1]) if match else b""

    @property
    def last_number(self) -> int:
        return int(self.arguments.rsplit(",", 1)[1])


def read_events(logs: Iterable[Path]) -> list[Event]:
    """All calls that succeeded, of several programs, in the order in which they were over."""
    return sorted((event for number, log in enumerate(logs) for event in _events(log, number)), key=lambda event: event.time)


def _events(log: Path, program: int) -> Iterator[Event]:
    begun: dict[str, str] = {}
    for line in log.read_text().splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        pid, time, text = match.groups()
        if text.endswith("<unfinished ...>"):
            begun[pid] = text.removesuffix("<unfinished ...>")
            continue
        if text.startswith("<... "):
            text = begun.pop(pid, "") + text.partition("resumed>")[2]
        call = _CALL.match(text)
        if call is not None and int(call[3]) >= 0:
            yield Event(float(time), call[1], call[2], int(call[3]), program)


@dataclass(slots=True)
class Write:
    """Bytes at an offset; None for a truncation to that size."""

    offset: int
    data: bytes | None
    synced: bool = False


@dataclass(slots=True)
class Node:
    """A file's content: what was there, and what was written since, in order."""

    base: bytes = b""
    writes: list[Write] = field(default_factory=list)
    size: int = 0

    def write(self, offset: int, data: bytes) -> None:
        self.writes.append(Write(offset, data))
        self.size = max(self.size, offset + len(data))

    def truncate(self, size: int) -> None:
        self.writes.append(Write(size, None))
        self.size = size

    def sync(self) -> None:
        for write in self.writes:
            write.synced = True

    def content(self, dice: random.Random | None) -> bytes:
        """As it may be after a power loss; without *dice* as programs saw it."""
        found = bytearray(self.base)
        for write in self.writes:
            data = write.data
            if not write.synced and dice is not None:
                if dice.random() < 0.5:
                    continue
                if data is not None and dice.random() < TORN:
                    data = data[:dice.randrange(len(data) + 1)]
            if data is None:
                del found[write.offset:]
                found.extend(bytes(write.offset - len(found)))
            else:
                found.extend(bytes(max(0, write.offset - len(found))))
                found[write.offset:write.offset + len(data)] = data
        return bytes(found)


@dataclass(slots=True)
class Change:
    """Of names: which node each has from now on, None for no one. It takes place as a whole or not at all."""

    nodes: dict[str, Node | None]
    synced: bool = False


class Disk:
    """A model of everything below *root*: what programs see, and what may be left of it."""

    def __init__(self, root: Path):
        """*root* as it is now is what is sure."""
        self._root = str(root)
        self.seen: dict[str, Node] = {}
        self._sure: dict[str, Node] = {}
        self._changes: dict[str, list[Change]] = {}
        self._directories: set[str] = {str(root)}
        self._unsure_directories: dict[str, bool] = {}
        """Those made since, and whether an fsync of the one above made their name sure."""
        for path in root.rglob("*"):
            if path.is_dir():
                self._directories.add(str(path))
            elif path.is_file():
                data = path.read_bytes()
                self.seen[str(path)] = self._sure[str(path)] = Node(data, size=len(data))

    def play(self, event: Event) -> None:
        """Do what *event* did."""
        action = getattr(self, "_" + event.call.removesuffix("at2").removesuffix("at") + "_", None)
        if action is not None:
            action(event)

    # What the calls do. Paths outside are nobody's business.

    def _open_(self, event: Event) -> None:
        path = event.paths[1]
        if "O_CREAT" in event.arguments and self._is_inside(path) and path not in self.seen:
            self._change({path: Node()})
        elif "O_TRUNC" in event.arguments and path in self.seen:
            self.seen[path].truncate(0)

    def _write_(self, event: Event) -> None:
        node = self.seen.get(event.paths[0]) if event.paths else None
        if node is not None:  # our programs write files front to back, or with an offset
            node.write(node.size, event.data[:event.result])

    def _pwrite64_(self, event: Event) -> None:
        node = self.seen.get(event.paths[0])
        if node is not None:
            node.write(event.last_number, event.data[:event.result])

    def _ftruncate_(self, event: Event) -> None:
        node = self.seen.get(event.paths[0])
        if node is not None:
            node.truncate(event.last_number)

    def _copy_file_range_(self, event: Event) -> None:
        source, target = self.seen.get(event.paths[0]), self.seen.get(event.paths[1])
        if source is not None and target is not None:
            target.write(target.size, source.content(None)[target.size:target.size + event.result])

    def _sendfile_(self, event: Event) -> None:
        target, source = self.seen.get(event.paths[0]), self.seen.get(event.paths[1])
        if source is not None and target is not None:
            target.write(target.size, source.content(None)[target.size:target.size + event.result])

    def _fsync_(self, event: Event) -> None:
        path = event.paths[0]
        if path in self.seen:
            self.seen[path].sync()
        for change in self._changes.get(path, []):
            change.synced = True
        for directory in self._unsure_directories:
            if directory.rpartition("/")[0] == path:
                self._unsure_directories[directory] = True

    _fdatasync_ = _fsync_

    def _sync_(self, event: Event) -> None:
        for node in self.seen.values():
            node.sync()
        for change in (change for changes in self._changes.values() for change in changes):
            change.synced = True
        self._unsure_directories = dict.fromkeys(self._unsure_directories, True)

    def _rename_(self, event: Event) -> None:
        paths = event.paths
        old, new = paths if len(paths) == 2 else (os.path.join(*paths[:2]), os.path.join(*paths[2:]))
        node = self.seen.get(old)
        if node is not None:
            self._change({old: None, new: node})

    def _unlink_(self, event: Event) -> None:
        path = os.path.join(*event.paths)
        if path in self.seen:
            self._change({path: None})

    def _mkdir_(self, event: Event) -> None:
        path = event.paths[-1].rstrip("/")
        if self._is_inside(path):
            self._directories.add(path)
            self._unsure_directories[path] = False

    def _is_inside(self, path: str) -> bool:
        return path.startswith(self._root + "/")

    def _change(self, nodes: dict[str, Node | None]) -> None:
        for path, node in nodes.items():
            if node is None:
                self.seen.pop(path, None)
            else:
                self.seen[path] = node
        self._changes.setdefault(path.rpartition("/")[0], []).append(Change(nodes))

    # What may be left.

    def after_power_loss(self, dice: random.Random) -> dict[str, bytes]:
        """The files that are there, with their content, in one of the states that are possible."""
        lost = {directory for directory, sure in self._unsure_directories.items() if not sure and dice.random() < 0.5}
        names = dict(self._sure)
        for change in (change for changes in self._changes.values() for change in changes):
            if change.synced or dice.random() < 0.5:
                for path, node in change.nodes.items():
                    if node is None:
                        names.pop(path, None)
                    else:
                        names[path] = node
        return {path: node.content(dice) for path, node in names.items()
                if not any(path.startswith(f"{directory}/") for directory in lost)}
