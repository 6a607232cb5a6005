"""What was unpacked is removed with the last of its members: an unpacker of another package may make several of one file."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.unpacked import UnpackedScene
from trollmoves.config.reading import read_move_config
from trollmoves.move_it.removing import WHEN_ALL_HAVE_IT, Removing
from trollmoves.workers import Workers

PLACES = ("/one/", "/two/")


class Scene(UnpackedScene):
    """A section with two destinations, and `p.gz`, which was unpacked beside itself."""

    def __init__(self, root: Path):
        super().__init__(root, "p.gz", "sat")
        config = root / "move_it.ini"
        config.write_text(f"[sat]\norigin = {self.origin}/{{name}}.gz\ndestinations = {' '.join(PLACES)}\ncompression = gzip\n"
                          "delete = true\n")
        self.workers = Workers(self.loop.call_all, self.loop.fail, 2)
        settings = read_move_config(config).chains["sat"]
        self.removing = Removing(settings, (str(self.origin),), self.journal, self.loop, self.workers)

    def member(self, name: str) -> list[int]:
        """A file that came out of the packed one and is at no destination yet; its row for each of them."""
        rows = self.add_member(name, "failed", PLACES)
        self.journal.write([("add_removal", [(rows[0], "sat", WHEN_ALL_HAVE_IT)])])
        return rows

    def arrived(self, *rows: int, state: str = "published") -> None:
        """What these rows are about is where they say, or has ended in another *state*."""
        now = time.time()
        self.journal.write([("step", [(state, now, 1, "", row) for row in rows])], self._settled, rows)

    def _settled(self, rows: tuple[int, ...]) -> None:
        for row in rows:
            self.removing.settled(self.journal.find_one("file", (row,)))

    def is_idle(self) -> bool:
        return not self.removing.under_way

    def close(self) -> None:
        self.workers.stop(5.0)
        super().close()


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


@pytest.mark.parametrize("state", ["covered", "given_up", "failed"])
def test_what_is_at_no_destination_stays(scene: Scene, state: str) -> None:
    first, second = scene.member("first"), scene.member("second")
    scene.arrived(*first, state=state)
    scene.arrived(*second)
    scene.wait_gone("second")
    assert (scene.origin / "first").exists() and scene.packed.exists()


def test_what_a_destination_cannot_vouch_for_stays(scene: Scene) -> None:
    first, second = scene.member("first"), scene.member("second")
    moved = (first[1], "t", "sat", "sat", "", False, "/two/", "", "ftp://two/", "moved", time.time(), 1, '[{"verified":"none"}]')
    scene.journal.write([("put_transfer", [moved])])
    scene.arrived(*first, *second)
    scene.wait_gone("second")
    assert (scene.origin / "first").exists() and scene.packed.exists()
