from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.eventually import eventually, never
from tests.unit.config.conftest import Write
from trollmoves.config.reading import read_client_config, read_server_config
from trollmoves.config.reloading import Changes, ConfigWatch, after_reload, changes

GOOD = "origin = /d/{a}\ntopic = /t\n"


def test_changes_are_seen_both_ways(write: Write) -> None:
    old = read_server_config(write(f"[same]\n{GOOD}[less]\n{GOOD}station = x\n[more]\n{GOOD}[gone]\n{GOOD}")).chains
    new = read_server_config(write(
        f"# moved\n[more]\n{GOOD}link = true\n[less]\n{GOOD}[same]\n{GOOD}delete = false\n[new]\n{GOOD}")).chains
    assert changes(old, new) == Changes(added=("new",), changed=("more", "less"), removed=("gone",), unchanged=("same",))


def test_a_changed_password_is_a_change(write: Write) -> None:
    start = "[s]\nproviders = h:1\ndestination = /d\n"
    old = read_client_config(write(f"{start}login = u:1\n")).chains
    assert changes(old, read_client_config(write(f"{start}login = u:2\n")).chains).changed == ("s",)
    assert changes(old, read_client_config(write(f"{start}login = u:1\n")).chains).unchanged == ("s",)


def test_a_section_with_a_problem_leaves_its_running_chain_alone(write: Write) -> None:
    running = read_server_config(write(f"[a]\n{GOOD}[b]\n{GOOD}[c]\n{GOOD}")).chains
    fresh = read_server_config(write(f"[a]\n{GOOD}link = maybe\n[b]\n{GOOD}link = true\n[d]\ntopic = /t\n"))
    after = after_reload(running, fresh)
    assert changes(running, after) == Changes((), ("b",), ("c",), ("a",))


class Calls:
    """Counts the calls, each with what the file said at that time."""

    def __init__(self, path: Path):
        self.path = path
        self.seen: list[str] = []

    def __call__(self) -> None:
        self.seen.append(self.path.read_text())
        if self.seen[-1] == "bad":
            raise ValueError("this file is bad")


@contextmanager
def watched(path: Path, inotify: bool) -> Iterator[list[str]]:
    calls = Calls(path)
    watch = ConfigWatch(path, calls, quiet=0.05, interval=30 if inotify else 0.05, inotify=inotify)
    watch.start()
    try:
        yield calls.seen
    finally:
        watch.stop()
        assert not [thread for thread in threading.enumerate() if thread.name == "config-watch"]


@pytest.fixture(params=[True, False], ids=["kernel", "looking"])
def inotify(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "conf" / "server.ini"
    path.parent.mkdir()
    path.write_text("one")
    return path


def replace(path: Path, text: str) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text)
    temporary.replace(path)


def test_edited_in_place_and_replaced(path: Path, inotify: bool) -> None:
    with watched(path, inotify) as seen:
        path.write_text("two")
        eventually(lambda: seen == ["two"])
        replace(path, "three")
        eventually(lambda: seen == ["two", "three"])


def test_a_file_that_everybody_may_write_and_then_not(path: Path) -> None:
    """It is refused until then, and its content stays."""
    with watched(path, inotify=False) as seen:
        path.chmod(0o646)
        eventually(lambda: seen == ["one"])
        path.chmod(0o644)
        eventually(lambda: seen == ["one", "one"])


def test_removed_and_written_again(path: Path, inotify: bool) -> None:
    with watched(path, inotify) as seen:
        path.unlink()
        never(lambda: seen, 0.3)
        path.write_text("two")
        eventually(lambda: seen == ["two"])


def test_the_same_content_again_is_no_change(path: Path, inotify: bool) -> None:
    with watched(path, inotify) as seen:
        path.write_text("one")
        replace(path, "one")
        (path.parent / "other").write_text("noise")
        never(lambda: seen, 0.5)
        path.write_text("two")
        eventually(lambda: seen == ["two"])


def test_many_edits_end_in_the_last_content(path: Path, inotify: bool) -> None:
    with watched(path, inotify) as seen:
        for number in range(200):
            path.write_text(str(number))
        eventually(lambda: seen and seen[-1] == "199")
        assert len(seen) < 100


def test_the_directory_of_a_link_is_swapped(tmp_path: Path, inotify: bool) -> None:
    """As a mounted configuration map of a cluster does it."""
    for name in ("one", "two", "three"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "server.ini").write_text(name)
    (tmp_path / "data").symlink_to("one")
    path = tmp_path / "server.ini"
    path.symlink_to("data/server.ini")
    with watched(path, inotify) as seen:
        for name in ("two", "three"):
            (tmp_path / "data.tmp").symlink_to(name)
            (tmp_path / "data.tmp").replace(tmp_path / "data")
            eventually(lambda: seen[-1:] == [name])  # noqa: B023
        (tmp_path / "three" / "server.ini").write_text("four")
        eventually(lambda: seen == ["two", "three", "four"])


def test_a_link_to_a_file_elsewhere(tmp_path: Path, path: Path, inotify: bool) -> None:
    link = tmp_path / "link.ini"
    link.symlink_to(path)
    with watched(link, inotify) as seen:
        path.write_text("two")
        eventually(lambda: seen == ["two"])


def test_the_directory_is_replaced(path: Path) -> None:
    with watched(path, inotify=False) as seen:
        path.parent.rename(path.parent.with_name("old"))
        path.parent.mkdir()
        path.write_text("two")
        eventually(lambda: seen == ["two"])


def test_trouble_with_a_change_does_not_end_the_watch(path: Path, inotify: bool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), watched(path, inotify) as seen:
        path.write_text("bad")
        eventually(lambda: "stays as it is" in caplog.text)
        path.write_text("good")
        eventually(lambda: seen == ["bad", "good"])


def test_a_file_that_is_not_there_yet(tmp_path: Path, inotify: bool) -> None:
    path = tmp_path / "later.ini"
    with watched(path, inotify) as seen:
        path.write_text("one")
        eventually(lambda: seen == ["one"])


def test_a_change_between_making_and_starting_is_seen(path: Path) -> None:
    calls = Calls(path)
    watch = ConfigWatch(path, calls, quiet=0.05, interval=0.05)
    path.write_text("two")
    watch.start()
    eventually(lambda: calls.seen == ["two"])
    watch.stop()


def test_stopping_twice_before_starting_and_from_the_callback(path: Path) -> None:
    descriptors = len(os.listdir("/proc/self/fd"))
    watch = ConfigWatch(path, lambda: None)
    watch.stop()
    watch.stop()
    again = ConfigWatch(path, lambda: again.stop(), quiet=0.05, interval=0.05)
    again.start()
    path.write_text("two")
    eventually(lambda: len(os.listdir("/proc/self/fd")) == descriptors)
    again.stop()
