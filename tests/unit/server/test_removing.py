"""What a file was unpacked from is removed with the last of those that came out of it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from trollmoves.bus import Loop
from trollmoves.config.reading import read_server_config
from trollmoves.journal import Journal
from trollmoves.server.removing import Removing

LONG_AGO = 7200.0


class Scene:
    """A chain whose archive `p.tar` was unpacked beside itself; it removes what one consumer has, and what is an hour old."""

    def __init__(self, root: Path):
        self.origin = root / "origin"
        self.origin.mkdir()
        config = root / "server.ini"
        config.write_text(f"[s]\norigin = {self.origin}/{{name}}.tar\ncompression = tar\ntopic = /a\nrequest_port = 9999\n"
                          "delete = first\nremove_delay = 0.1\ndelete_after = 1h\n")
        self.loop = Loop()
        self.journal = Journal(root / "journal", self.loop.call_all, self.loop.fail)
        self.removing = Removing(read_server_config(config).chains["s"], (str(self.origin),), self.journal, self.loop)
        self.packed = self.origin / "p.tar"
        self.packed.write_bytes(b"packed")

    def member(self, name: str, age: float = 0.0) -> int:
        """A file that came out of the archive; its row."""
        path, file, came = self.origin / name, self.journal.new_file(), time.time() - age
        path.write_bytes(name.encode())
        found, packed = path.stat(), self.packed.stat()
        self.journal.write([
            ("add_file", [(file, "s", name, name, "moved", came, "", None, found.st_size, os.fsencode(path), found.st_dev,
                           found.st_ino, found.st_mtime_ns, None, None, None, 0, came)]),
            ("add_packed", [(file, os.fsencode(self.packed), packed.st_dev, packed.st_ino, packed.st_size, packed.st_mtime_ns)])])
        return file

    def confirm(self, *files: int) -> None:
        """A consumer has them."""
        long_ago = time.time() - 60
        self.journal.write([
            ("put_transfer", [(file, str(file), "s", "c", "g", False, "p", "r", "file:///x", "acknowledged", long_ago, 1, "[]")
                              for file in files]), ("add_removal", [(file, "s", long_ago) for file in files])])

    def wait_gone(self, *names: str) -> None:
        def are_gone() -> bool:
            self.loop.turn(0.05)
            return not set(names) & set(os.listdir(self.origin))
        eventually(are_gone, 20, interval=0.0, message=f"{names} are removed")

    def close(self) -> None:
        self.removing.stop()
        self.journal.close()
        self.loop.close()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    found = Scene(tmp_path)
    yield found
    found.close()


@pytest.mark.parametrize("age", [0.0, LONG_AGO])
def test_an_archive_goes_with_members_that_go_together(scene: Scene, age: float) -> None:
    """Both confirmed, or one of them confirmed and the other one old: the journal is told of both only afterwards."""
    first, second = scene.member("first"), scene.member("second", age)
    scene.confirm(first, *([] if age else [second]))
    scene.wait_gone("first", "second", "p.tar")


def test_an_archive_stays_while_one_of_its_members_has_not_been_delivered(scene: Scene) -> None:
    files = [scene.member(name) for name in ("first", "second", "third")]
    scene.confirm(*files[:2])
    scene.wait_gone("first", "second")
    assert scene.packed.exists()
    scene.confirm(files[2])
    scene.wait_gone("third", "p.tar")
