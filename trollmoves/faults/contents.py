"""What was written at the origins, and what is in a place now."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

Content = tuple[int, str]
"""Size and SHA-256."""


def content_of(data: bytes) -> Content:
    return len(data), hashlib.sha256(data).hexdigest()


def content_at(path: Path) -> Content | None:
    """The content of a file, None when there is none."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return file.tell(), digest
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None


class Ledger:
    """What was written at the origins: every content a name ever had, the last one being what must arrive."""

    def __init__(self) -> None:
        self._contents: dict[str, list[Content]] = {}
        self._allowed: set[tuple[str, Content]] = set()
        self._lock = threading.Lock()

    def note(self, name: str, data: bytes) -> None:
        """To be called before the file gets its name."""
        with self._lock:
            self._contents.setdefault(name, []).append(content_of(data))

    def allow(self, name: str, data: bytes) -> None:
        """What may be seen, but need not arrive or stay."""
        with self._lock:
            self._allowed.add((name, content_of(data)))

    def allows(self, name: str, content: Content) -> bool:
        with self._lock:
            return content in self._contents.get(name, []) or (name, content) in self._allowed

    def rewritten(self) -> set[str]:
        """Names that had several contents."""
        with self._lock:
            return {name for name, contents in self._contents.items() if len(contents) > 1}

    def only(self, names: Iterable[str]) -> Ledger:
        """What was written under *names*."""
        some = Ledger()
        with self._lock:
            some._contents = {name: list(self._contents[name]) for name in names if name in self._contents}
        return some

    def latest(self) -> dict[str, Content]:
        with self._lock:
            return {name: contents[-1] for name, contents in self._contents.items()}


def tree(directories: Iterable[Path]) -> Mapping[str, tuple[int, int, int, str]]:
    """What lies below *directories*: mode, size, time and digest of each entry, for comparing before and after."""
    found = {}
    for top in directories:
        for path in [top, *sorted(top.rglob("*"))]:
            status = os.lstat(path)
            digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() and not path.is_symlink() else ""
            found[str(path)] = (status.st_mode, status.st_size if digest else 0, status.st_mtime_ns, digest)
    return found
