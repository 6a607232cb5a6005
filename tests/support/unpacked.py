"""A packed file with what was unpacked from it beside it, in a journal: where removing is tried, a server's and move_it's."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from tests.support.eventually import eventually
from trollmoves.bus import Loop
from trollmoves.journal import Journal


class UnpackedScene:
    """The directory `origin` of a section, and the packed file in it."""

    def __init__(self, root: Path, packed: str, section: str):
        self.origin = root / "origin"
        self.origin.mkdir()
        self.packed = self.origin / packed
        self.packed.write_bytes(b"packed")
        self.section = section
        self.loop = Loop()
        self.journal = Journal(root / "journal", self.loop.call_all, self.loop.fail)

    def add_member(self, name: str, state: str, places: Sequence[str | None], age: float = 0.0) -> list[int]:
        """A file that came out of the packed one so many seconds ago; its row for each of the *places* it is meant for."""
        path, came = self.origin / name, time.time() - age
        path.write_bytes(name.encode())
        found, packed = path.stat(), self.packed.stat()
        rows = [self.journal.new_file() for _ in places]
        self.journal.write([
            ("add_file", [(row, self.section, name, name, state, came, "", None, found.st_size, os.fsencode(path), found.st_dev,
                           found.st_ino, found.st_mtime_ns, None, None, place, 0, came)
                          for row, place in zip(rows, places, strict=True)]),
            ("add_packed", [(row, os.fsencode(self.packed), packed.st_dev, packed.st_ino, packed.st_size, packed.st_mtime_ns)
                            for row in rows])])
        return rows

    def is_idle(self) -> bool:
        """Whether nothing is being removed just now."""
        return True

    def wait_gone(self, *names: str) -> None:
        def are_gone() -> bool:
            self.loop.turn(0.05)
            return not set(names) & set(os.listdir(self.origin)) and self.is_idle()
        eventually(are_gone, 20, interval=0.0, message=f"{names} are removed")

    def close(self) -> None:
        self.journal.close()
        self.loop.close()
