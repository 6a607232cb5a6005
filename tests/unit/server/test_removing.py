"""What a file was unpacked from is removed with the last of those that came out of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.unpacked import UnpackedScene
from trollmoves.config.reading import read_server_config
from trollmoves.server.removing import Removing

LONG_AGO = 7200.0


class Scene(UnpackedScene):
    """A chain whose archive `p.tar` was unpacked beside itself; it removes what one consumer has, and what is an hour old."""

    def __init__(self, root: Path):
        super().__init__(root, "p.tar", "s")
        config = root / "server.ini"
        config.write_text(f"[s]\norigin = {self.origin}/{{name}}.tar\ncompression = tar\ntopic = /a\nrequest_port = 9999\n"
                          "delete = first\nremove_delay = 0.1\ndelete_after = 1h\n")
        self.removing = Removing(read_server_config(config).chains["s"], (str(self.origin),), self.journal, self.loop)

    def member(self, name: str, age: float = 0.0) -> int:
        """A file that came out of the archive; its row."""
        return self.add_member(name, "moved", [None], age)[0]

    def confirm(self, *files: int) -> None:
        """A consumer has them."""
        long_ago = time.time() - 60
        self.journal.write([
            ("put_transfer", [(file, str(file), "s", "c", "g", False, "p", "r", "file:///x", "acknowledged", long_ago, 1, "[]")
                              for file in files]), ("add_removal", [(file, "s", long_ago) for file in files])])

    def close(self) -> None:
        self.removing.stop()
        super().close()


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
