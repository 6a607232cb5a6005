"""A message may speak of any file, but of none of the journal of who hears it: a descriptor that a process closes takes with it
the locks that SQLite holds on that file, and the next reader of the journal takes it for one that nobody uses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.dispatching import Dispatching
from tests.integration.fetching import Fetching
from tests.integration.listening import Listening
from tests.integration.test_dispatcher import local
from tests.integration.test_journal import locks
from tests.support.eventually import eventually

PARTS = ("", "-wal", "-shm")


def others(journal: Path, by: Path) -> list[Path]:
    """What is read while the program runs, and other names of one of them: in a directory that is a link, and a link."""
    by.mkdir()
    (by / "directory").symlink_to(journal.parent)
    (by / "link").symlink_to(f"{journal}-shm")
    return [*(Path(f"{journal}{part}") for part in PARTS), by / "directory" / f"{journal.name}-shm", by / "link"]


def test_a_dispatcher_does_not_open_it(tmp_path: Path) -> None:
    with Dispatching(tmp_path, local(tmp_path)) as dispatching:
        dispatching.start()
        for number, path in enumerate(others(dispatching.journal, tmp_path / "by")):
            dispatching.source.publish({"uid": f"n{number}", "uri": str(path), "sensor": "viirs"})
        eventually(lambda: list(dispatching.states().values()) == ["given_up"] * 5)
        assert locks(Path(f"{dispatching.journal}-shm"), dispatching.program.pid)
        assert not (tmp_path / "here").exists()


def test_a_fetcher_does_not_open_it(tmp_path: Path) -> None:
    with Fetching(tmp_path) as fetching:
        fetching.start()
        for path in others(fetching.journal, tmp_path / "by"):
            fetching.announce(str(path))
        eventually(lambda: fetching.states() == ["given_up"] * 5)
        assert locks(Path(f"{fetching.journal}-shm"), fetching.program.pid)


@pytest.mark.parametrize("origin", [False, True])
def test_a_server_that_listens_announces_none_of_it(tmp_path: Path, origin: bool) -> None:
    with Listening(tmp_path, origin=f"{tmp_path}/{{name}}" if origin else None) as listening:
        for path in others(listening.journal, tmp_path / "by")[:4]:
            listening.say({"uid": path.name, "uri": str(path)})
        listening.say({"uid": "a", "uri": str(listening.file(f"{tmp_path}/a"))})
        listening.announces(1)
        assert [fields["uid"] for fields in listening.fields()] == ["a"]
