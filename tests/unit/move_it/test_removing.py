"""What was unpacked is removed with the last of its members: an unpacker of another package may make several of one file."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.eventually import eventually
from trollmoves.bus import Loop
from trollmoves.config.reading import read_move_config
from trollmoves.journal import Journal
from trollmoves.move_it.removing import WHEN_ALL_HAVE_IT, Removing
from trollmoves.workers import Workers

PLACES = ("/one/", "/two/")


class Scene:
    """A section with two destinations, and `p.gz`, which was unpacked beside itself."""

    def __init__(self, root: Path):
        self.incoming = root / "incoming"
        self.incoming.mkdir()
        config = root / "move_it.ini"
        config.write_text(f"[sat]\norigin = {self.incoming}/{{name}}.gz\ndestinations = {' '.join(PLACES)}\ncompression = gzip\n"
                          "delete = true\n")
        self.loop = Loop()
        self.journal = Journal(root / "journal", self.loop.call_all, self.loop.fail)
        self.workers = Workers(self.loop.call_all, self.loop.fail, 2)
        settings = read_move_config(config).chains["sat"]
        self.removing = Removing(settings, (str(self.incoming),), self.journal, self.loop, self.workers)
        self.packed = self.incoming / "p.gz"
        self.packed.write_bytes(b"packed")

    def member(self, name: str) -> list[int]:
        """A file that came out of the packed one and is at no destination yet; its row for each of them."""
        path, now = self.incoming / name, time.time()
        path.write_bytes(name.encode())
        found, packed = path.stat(), self.packed.stat()
        rows = [self.journal.new_file() for _ in PLACES]
        self.journal.write([
            ("add_file", [(row, "sat", name, name, "failed", now, "", None, found.st_size, os.fsencode(path), found.st_dev,
                           found.st_ino, found.st_mtime_ns, None, None, place, 0, now)
                          for row, place in zip(rows, PLACES, strict=True)]),
            ("add_packed", [(row, os.fsencode(self.packed), packed.st_dev, packed.st_ino, packed.st_size, packed.st_mtime_ns)
                            for row in rows]),
            ("add_removal", [(rows[0], "sat", WHEN_ALL_HAVE_IT)])])
        return rows

    def arrived(self, *rows: int) -> None:
        """What these rows are about is where they say."""
        now = time.time()
        self.journal.write([("step", [("published", now, 1, "", row) for row in rows])], self._settled, rows)

    def _settled(self, rows: tuple[int, ...]) -> None:
        for row in rows:
            self.removing.settled(self.journal.find_one("file", (row,)))

    def wait_gone(self, *names: str) -> None:
        def are_gone() -> bool:
            self.loop.turn(0.05)
            return not set(names) & set(os.listdir(self.incoming)) and not self.removing.under_way
        eventually(are_gone, 20, interval=0.0, message=f"{names} are removed")

    def close(self) -> None:
        self.workers.stop(5.0)
        self.journal.close()
        self.loop.close()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    found = Scene(tmp_path)
    yield found
    found.close()


def test_a_packed_file_stays_until_all_of_its_members_are_everywhere(scene: Scene) -> None:
    first, second = scene.member("first"), scene.member("second")
    scene.arrived(*first, second[0])
    scene.wait_gone("first")
    assert scene.packed.exists()
    scene.arrived(second[1])
    scene.wait_gone("second", "p.gz")


def test_a_packed_file_goes_with_members_that_go_together(scene: Scene) -> None:
    scene.arrived(*scene.member("first"), *scene.member("second"))
    scene.wait_gone("first", "second", "p.gz")
