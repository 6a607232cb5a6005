"""A packed file goes when what was in it is published for good, and only that very file."""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.client.test_replacing import DELIVERED, Answered
from trollmoves.client import hearing, unpacking

SETTINGS = "compression = gzip\ndelete = true\n"


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Answered]:
    monkeypatch.setattr(hearing, "OTHERS_ANNOUNCE", 0.0)
    found = Answered(tmp_path, getattr(request, "param", SETTINGS))
    yield found
    found.close()


def delivered(client: Answered, directory: Path) -> Path:
    """A packed file, which the first provider says it has delivered."""
    packed = directory / "a.gz"
    packed.write_bytes(gzip.compress(b"content"))
    client.hear(0, 1, "a.gz", "a.gz")
    client.turn_until(client.asked)
    client.deliver(1)
    return packed


def test_a_packed_file_stays_until_the_journal_has_the_publication(client: Answered, tmp_path: Path) -> None:
    held, commit, publishing = [True], client.journal._commit, list[bool]()
    write = client.journal.write

    def noted(operations: Any, then: Callable[..., Any] | None = None, *arguments: Any) -> None:
        publishing.extend(name == "add_packed" for name, _ in operations)
        write(operations, then, *arguments)

    def slow() -> None:
        if held[0] and any(publishing):
            client.loop.after(0.05, slow)
        else:
            commit()
    client.journal.write, client.journal._commit = noted, slow  # type: ignore[method-assign]
    packed = delivered(client, tmp_path)
    client.turn_until(lambda: any(publishing))
    client.turn_for(1.0)
    assert packed.exists() and client.state(1) not in DELIVERED
    held[0] = False
    client.turn_until(lambda: not packed.exists())
    client.turn_until(lambda: client.state(1) in DELIVERED and not client.journal.find("packed_in", ("chain",)))
    assert (tmp_path / "a").read_bytes() == b"content"


@pytest.mark.parametrize(("client", "deletes"), [(SETTINGS, True), ("compression = gzip\n", False)], indirect=["client"])
def test_what_came_out_lasts_before_the_packed_file_goes(client: Answered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                         deletes: bool) -> None:
    unpack, synced = unpacking.unpack, list[bool]()

    def noted(*arguments: Any, sync: bool, **more: Any) -> Any:
        synced.append(sync)
        return unpack(*arguments, sync=sync, **more)
    monkeypatch.setattr(unpacking, "unpack", noted)
    packed = delivered(client, tmp_path)
    client.turn_until(lambda: client.state(1) in DELIVERED and packed.exists() is not deletes)
    assert synced == [deletes]


def test_what_the_last_process_was_to_remove_goes_unless_something_else_has_its_place(client: Answered, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("first.gz", "second.gz", "third.gz", "gone.gz")]
    for path in paths:
        path.write_bytes(b"packed")
        found = path.stat()
        file, now = client.journal.new_file(), time.time()
        client.journal.write([
            ("add_file", [(file, "chain", path.name, "k", "published", now, "", None, 1, None, None, None, None, "p", "m", None,
                           0, now)]),
            ("add_packed", [(file, os.fsencode(path), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)])])
    os.utime(paths[1], (1, 1))
    paths[3].unlink()
    client.turn_for(0.2)
    client.chain._asking.unpacking.start()
    client.turn_until(lambda: not client.journal.find("packed_in", ("chain",)))
    assert [path.exists() for path in paths] == [False, True, False, False]
