"""The promises of a watcher, kept by both ways of watching a directory."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.eventually import eventually
from tests.support.ports import free_port
from tests.support.unavailable import unavailable
from trollmoves.errors import ConfigurationError
from trollmoves.patterns import Pattern
from trollmoves.watchers.base import Arrival
from trollmoves.watchers.directory import DirectoryWatcher, watch
from trollmoves.watchers.scanning import Outbox
from trollmoves.watchers.writing import is_elsewhere

INTERVAL = 0.1
LINUX = sys.platform == "linux"


class Seen:
    """Receives arrivals; can be held up."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.largest = 0
        self.open = threading.Event()
        self.open.set()
        self.is_held_up = threading.Event()

    def __call__(self, arrivals: Sequence[Arrival]) -> None:
        if not self.open.is_set():
            self.is_held_up.set()
        self.open.wait(60)
        self.largest = max(self.largest, len(arrivals))
        self.arrivals.extend(arrivals)

    def paths(self) -> list[str]:
        return [arrival.path for arrival in list(self.arrivals)]

    def names(self) -> set[str]:
        return {os.path.basename(path) for path in self.paths()}

    def await_paths(self, *paths: Path | str) -> None:
        wanted = {os.fspath(path) for path in paths}
        eventually(lambda: wanted <= set(self.paths()), message=f"arrival of {sorted(wanted)[:5]}")

    def await_size(self, size: int) -> None:
        eventually(lambda: size in [arrival.size for arrival in list(self.arrivals)], message=f"arrival of {size} bytes")


Start = Callable[..., DirectoryWatcher]


@pytest.fixture(params=["inotify", "polling"])
def way(request: pytest.FixtureRequest) -> str:
    if request.param == "inotify" and not LINUX:
        pytest.skip("there is no inotify here")
    return str(request.param)


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    directory = tmp_path / "data"
    directory.mkdir()
    return directory


@pytest.fixture
def start(way: str, seen: Seen) -> Iterator[Start]:
    watchers: list[DirectoryWatcher] = []

    def start(pattern: Path | str, **options: Any) -> DirectoryWatcher:
        options = {"polling": way == "polling", "interval": INTERVAL, "settle": 0.3, "reconcile": 0.0} | options
        watchers.append(watch(Pattern(os.fspath(pattern)), seen, **options))
        watchers[-1].start()
        return watchers[-1]

    yield start
    seen.open.set()
    for watcher in watchers:
        watcher.stop()


def elsewhere(data: Path, name: str, content: bytes = b"content") -> Path:
    path = data.parent / name
    path.write_bytes(content)
    return path


# -- what arrives

def test_a_file_that_was_written_and_closed(start: Start, seen: Seen, data: Path) -> None:
    watcher = start(data / "x_{n:03d}.nc")
    path = data / "x_001.nc"
    path.write_bytes(b"content")
    seen.await_paths(path)
    status = path.lstat()
    assert seen.arrivals[-1] == Arrival(str(path), status.st_dev, status.st_ino, 7, status.st_mtime_ns)
    assert watcher.trouble() is None


def test_an_empty_file(start: Start, seen: Seen, data: Path) -> None:
    start(data / "x_{n}.nc")
    (data / "x_1.nc").touch()
    seen.await_paths(data / "x_1.nc")


def test_a_file_moved_in_from_outside(start: Start, seen: Seen, data: Path) -> None:
    start(data / "x_{n}.nc")
    elsewhere(data, "other").rename(data / "x_1.nc")
    seen.await_paths(data / "x_1.nc")


def test_a_file_renamed_within(start: Start, seen: Seen, data: Path) -> None:
    start(data / "x_{n}.nc")
    (data / "x_1.nc.tmp").write_bytes(b"content")
    (data / "x_1.nc.tmp").rename(data / "x_1.nc")
    seen.await_paths(data / "x_1.nc")
    assert seen.names() == {"x_1.nc"}


def test_hard_links(start: Start, seen: Seen, data: Path) -> None:
    start(data / "x_{n}.nc")
    origin = elsewhere(data, "other")
    (data / "x_direct.nc").hardlink_to(origin)
    (data / ".tmp").hardlink_to(origin)
    (data / ".tmp").rename(data / "x_renamed.nc")
    seen.await_paths(data / "x_direct.nc", data / "x_renamed.nc")


def test_a_link_whose_other_name_has_gone(start: Start, seen: Seen, data: Path) -> None:
    start(data / "x_{n}.nc")
    origin = elsewhere(data, "other")
    os.utime(origin, (1, 1))
    (data / "x_1.nc").hardlink_to(origin)
    origin.unlink()
    seen.await_paths(data / "x_1.nc")


def test_a_file_rewritten_or_replaced_arrives_again(start: Start, seen: Seen, data: Path) -> None:
    start(data / "x_{n}.nc")
    path = data / "x_1.nc"
    path.write_bytes(b"a")
    seen.await_size(1)
    path.write_bytes(b"longer")
    seen.await_size(6)
    elsewhere(data, "other", b"replaced").replace(path)
    seen.await_size(8)


def test_a_file_held_open_arrives_when_it_is_closed(seen: Seen, data: Path, start: Start, way: str) -> None:
    if way == "polling":
        pytest.skip("only the kernel knows that a file is closed")
    start(data / "x_{n}.nc", settle=0.05)
    with (data / "x_slow.nc").open("wb", buffering=0) as slow:
        slow.write(b"half")
        for number in range(5):  # each of these settles, so the slow one would have as well
            (data / f"x_{number}.nc").hardlink_to(elsewhere(data, f"other{number}"))
            seen.await_paths(data / f"x_{number}.nc")
        assert "x_slow.nc" not in seen.names()
        slow.write(b"half")
    seen.await_paths(data / "x_slow.nc")
    assert [arrival.size for arrival in seen.arrivals if arrival.path.endswith("slow.nc")] == [8]


def test_a_file_that_is_written_again_at_once_arrives_when_that_is_done(seen: Seen, data: Path, start: Start, way: str) -> None:
    if way == "polling":
        pytest.skip("only the kernel knows that a file is open")
    start(data / "x_{n}.nc", settle=0.05)
    seen.open.clear()
    (data / "x_first.nc").write_bytes(b"content")
    assert seen.is_held_up.wait(30)
    path = data / "x_again.nc"
    path.write_bytes(b"before")
    with path.open("wb", buffering=0) as again:
        again.write(b"half")
        seen.open.set()
        settled = [data / f"x_{number}.nc" for number in range(3)]
        for marker in settled:
            marker.hardlink_to(elsewhere(data, f"other{marker.name}"))
            seen.await_paths(marker)
        again.write(b" and half")
    seen.await_paths(path)
    assert [arrival.size for arrival in seen.arrivals if arrival.path == str(path)] == [13]


def test_large_files_that_are_written_again_arrive_though_the_kernel_takes_its_time_to_close_them(
        seen: Seen, data: Path, start: Start) -> None:
    """ext4 writes them out while it closes them, having told that they are closed."""
    start(data / "x_{n}.nc")
    paths, content = [data / f"x_{number}.nc" for number in range(30)], bytes(5 * 2**20)
    for path in paths:
        path.write_bytes(content)
    seen.await_paths(*paths)
    for path in paths:
        path.write_bytes(b"again" + content)

    def again() -> int:
        return sum(arrival.size > len(content) for arrival in list(seen.arrivals))
    eventually(lambda: again() >= len(paths), message="all came again")


def test_a_file_that_was_begun_before_the_start_and_is_written_slowly(seen: Seen, data: Path, start: Start, way: str) -> None:
    if way == "polling":
        pytest.skip("only the kernel knows that a file is open")
    with (data / "x_slow.nc").open("wb", buffering=0) as slow:
        slow.write(b"half")
        watcher = start(data / "x_{n}.nc", settle=0.05)
        watcher.scan()
        for number in range(3):  # each of these settles, and is found again by the next scan
            (data / f"x_{number}.nc").hardlink_to(elsewhere(data, f"other{number}"))
            seen.await_paths(data / f"x_{number}.nc")
            watcher.scan()
        assert "x_slow.nc" not in seen.names()
        slow.write(b"half")
    seen.await_paths(data / "x_slow.nc")
    assert {arrival.size for arrival in seen.arrivals if arrival.path.endswith("slow.nc")} == {8}


def test_a_file_that_is_looked_at_while_it_is_written_slowly_arrives_when_that_is_done(seen: Seen, data: Path, start: Start,
                                                                                       way: str) -> None:
    """Somebody asked for what it was before."""
    if way == "polling":
        pytest.skip("only the kernel knows that a file is open")
    watcher = start(data / "x_{n}.nc", settle=0.05)
    path = data / "x_again.nc"
    path.write_bytes(b"before")
    seen.await_paths(path)
    with path.open("wb", buffering=0) as again:
        again.write(b"half")
        time.sleep(0.06)
        watcher.look_at(str(path))
        for number in range(3):  # each of these settles, so what is in writing would have as well
            (data / f"x_{number}.nc").hardlink_to(elsewhere(data, f"other{number}"))
            seen.await_paths(data / f"x_{number}.nc")
        again.write(b" and half")
    seen.await_size(13)
    assert [arrival.size for arrival in seen.arrivals if arrival.path == str(path)] == [6, 13]


@pytest.mark.parametrize("kind, elsewhere", [
    ("ext4", False), ("tmpfs", False), ("nfs4", True), ("cifs", True), ("fuse.sshfs", True)])
def test_network_file_systems_are_known_by_their_type(kind: str, elsewhere: bool) -> None:
    mounts = f"24 27 0:6 / /dev rw - nfs dev rw\n31 27 0:42 / /a\\040b rw,relatime shared:1 master:2 - {kind} what rw\n"
    assert is_elsewhere(os.makedev(0, 42), mounts) == elsewhere
    assert not is_elsewhere(os.makedev(0, 43), mounts)


def test_a_growing_file_arrives_when_it_has_stopped_growing(seen: Seen, data: Path, start: Start) -> None:
    start(data / "x_{n}.nc", settle=1.5)
    largest_gap, last = 0.0, time.monotonic()
    with (data / "x_1.nc").open("wb", buffering=0) as slow:
        while slow.tell() < 100:
            slow.write(b"ten bytes.")
            time.sleep(3 * INTERVAL)
            largest_gap, last = max(largest_gap, time.monotonic() - last), time.monotonic()
    seen.await_size(100)
    if largest_gap < 1.2:  # else the machine was too busy for the file to grow steadily
        assert {arrival.size for arrival in seen.arrivals} == {100}


def test_odd_names(start: Start, seen: Seen, data: Path) -> None:
    start(data / "{anything}.nc")
    names = ["with space.nc", "line\nbreak.nc", "%s%d.nc", "{brace}.nc", "[1]*?.nc", "æøå😀.nc", ".hidden.nc", "-dash.nc",
             "\\.nc", "a" * 252 + ".nc"]
    for name in names:
        (data / name).write_bytes(b"x")
    raw = os.fsencode(data) + b"/\xff\xfe.nc"
    with open(raw, "wb"):
        pass
    seen.await_paths(*[data / name for name in names], os.fsdecode(raw))


# -- what does not

def test_what_is_no_regular_file_or_does_not_match(start: Start, seen: Seen, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start(data / "x_{n}.nc")
    target = elsewhere(data, "target")
    (data / "x_link.nc").symlink_to(target)
    (data / "link").symlink_to(target)
    (data / "link").rename(data / "x_renamed_link.nc")
    os.mkfifo(data / "x_fifo.nc")
    (data / "x_directory.nc").mkdir()
    (data / "x_directory.nc" / "x_below.nc").touch()
    monkeypatch.chdir(data)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind("x_socket.nc")
    (data / "y_1.nc").touch()
    (data / "x_1.nc.part").touch()
    (data / "x_gone.nc").touch()
    (data / "x_gone.nc").unlink()
    time.sleep(3 * INTERVAL)
    (data / "x_last.nc").touch()
    seen.await_paths(data / "x_last.nc")
    assert seen.names() - {"x_gone.nc"} == {"x_last.nc"}


def test_nothing_is_taken_that_only_a_link_in_the_place_of_a_directory_showed(tmp_path: Path) -> None:
    """Who owns a directory swaps it all the time, and had the names and sizes of others' files announced."""
    theirs, private, taken = tmp_path / "origin/day/theirs", tmp_path / "private", list[str]()
    private.mkdir()
    for name, size in (("x_own.nc", 2), ("x_key.nc", 3)):
        (private / name).write_bytes(bytes(size))
    theirs.mkdir(parents=True)
    (theirs / "x_own.nc").write_bytes(b"1")
    outbox = Outbox(lambda arrivals: taken.extend(arrival.path for arrival in arrivals), lambda path: False,
                    str(tmp_path / "origin"))
    for name in ("x_own.nc", "x_key.nc"):  # looked at while it was a link, and swapped back
        outbox.add(str(theirs / name), (private / name).stat())
    theirs.rename(tmp_path / "origin/kept")
    theirs.symlink_to(private)
    outbox.add(str(theirs / "x_key.nc"), (private / "x_key.nc").stat())
    outbox.flush()
    assert taken == []
    theirs.unlink()
    (tmp_path / "origin/kept").rename(theirs)
    outbox.add(str(theirs / "x_own.nc"), (theirs / "x_own.nc").stat())
    outbox.flush()
    assert taken == [str(theirs / "x_own.nc")]


def test_links_are_left_out_and_told_of_once_for_each_directory(start: Start, seen: Seen, data: Path,
                                                                caplog: pytest.LogCaptureFixture) -> None:
    """Wherever they lead; what came before the start, comes later, is moved in, or is a directory."""
    def told() -> list[str]:
        return [record.getMessage() for record in caplog.records if "is a symbolic link and left out" in record.getMessage()]
    target = elsewhere(data, "x_target.nc")
    for name in ("early", "late", "moved"):
        (data / name).mkdir()
    (data / "early" / "x_1.nc").symlink_to(target)
    (data / "linked").symlink_to(data.parent)
    start(data / "{sub}" / "x_{n}.nc").scan()
    eventually(lambda: len(told()) >= 2, message="links in two directories are told of")
    (data / "late" / "x_1.nc").symlink_to(target)
    (data / "late" / "other").symlink_to(target)
    target.with_name("link").symlink_to(target)
    target.with_name("link").rename(data / "moved" / "x_1.nc")
    eventually(lambda: len(told()) == 4, message="links in four directories are told of")
    (data / "late" / "x_2.nc").symlink_to(target)
    for name in ("early", "late", "moved"):
        (data / name / "x_9.nc").write_bytes(b"content")
    seen.await_paths(*(data / name / "x_9.nc" for name in ("early", "late", "moved")))
    assert seen.names() == {"x_9.nc"}
    assert sorted(text.split("'")[1].removeprefix(f"{data}/") for text in told()) == [
        "early/x_1.nc", "late/x_1.nc", "linked", "moved/x_1.nc"]


def test_our_own_temporary_names_are_never_seen(start: Start, seen: Seen, data: Path) -> None:
    start(data / "{anything}")
    (data / ".x_1.nc.0123456789abcdef.part").write_bytes(b"half")
    elsewhere(data, "other").rename(data / ".x_2.nc.0123456789abcdef.part")
    (data / "tmp_0123456789abcdef.part.x_3.nc").write_bytes(b"half")
    (data / ".x_1.nc.0123456789abcdef.part").rename(data / "x_1.nc")
    (data / ".other.part").touch()
    seen.await_paths(data / "x_1.nc", data / ".other.part")
    assert seen.names() == {"x_1.nc", ".other.part"}


# -- directories

def test_new_directories_with_files_at_once(start: Start, seen: Seen, data: Path) -> None:
    start(data / "{first}" / "{second}" / "x_{n}.nc")
    paths = [data / f"d{number}" / "deep" / f"x_{part}.nc" for number in range(300) for part in range(3)]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    seen.await_paths(*paths)
    late = data / "d7" / "deep" / "x_late.nc"
    late.touch()
    seen.await_paths(late)


def test_wildcard_directories(start: Start, seen: Seen, data: Path) -> None:
    for name in ("abc", "ab", "xyz"):
        (data / name / "in").mkdir(parents=True)
    start(data / "{platform:3s}" / "in" / "x_{n}.nc")
    (data / "ab" / "in" / "x_1.nc").touch()
    (data / "abc" / "x_1.nc").touch()
    (data / "x_1.nc").touch()
    (data / "lnk").symlink_to(data / "abc")
    (data / "abc" / "in" / "deeper").mkdir()
    (data / "abc" / "in" / "deeper" / "x_1.nc").touch()
    (data / "abc" / "in" / "x_1.nc").touch()
    (data / "xyz" / "in" / "x_2.nc").touch()
    expected = {str(data / "abc" / "in" / "x_1.nc"), str(data / "xyz" / "in" / "x_2.nc")}
    seen.await_paths(*expected)
    assert set(seen.paths()) == expected


def test_directories_moved(start: Start, seen: Seen, data: Path) -> None:
    (data / "first").mkdir()
    start(data / "{directory}" / "x_{n}.nc")
    (data / "first" / "x_1.nc").touch()
    seen.await_paths(data / "first" / "x_1.nc")
    (data / "first").rename(data / "second")
    (data / "second" / "x_2.nc").touch()
    seen.await_paths(data / "second" / "x_1.nc", data / "second" / "x_2.nc")
    incoming = data.parent / "incoming"
    incoming.mkdir()
    (incoming / "x_3.nc").touch()
    incoming.rename(data / "incoming")
    seen.await_paths(data / "incoming" / "x_3.nc")
    (data / "second").rename(data.parent / "away")
    (data.parent / "away" / "x_4.nc").touch()
    (data / "first").mkdir()
    (data / "first" / "x_5.nc").touch()
    seen.await_paths(data / "first" / "x_5.nc")
    assert "x_4.nc" not in seen.names()


def test_a_directory_that_appears_after_the_start(start: Start, seen: Seen, data: Path) -> None:
    watcher = start(data / "late" / "er" / "x_{n}.nc")
    assert "does not exist" in (watcher.trouble() or "")
    (data / "late" / "er").mkdir(parents=True)
    (data / "late" / "er" / "x_1.nc").touch()
    seen.await_paths(data / "late" / "er" / "x_1.nc")
    (data / "late" / "er" / "x_2.nc").touch()
    seen.await_paths(data / "late" / "er" / "x_2.nc")
    assert watcher.trouble() is None


def test_a_directory_removed_and_made_again(start: Start, seen: Seen, data: Path) -> None:
    watcher = start(data / "x_{n}.nc")
    (data / "x_1.nc").touch()
    seen.await_paths(data / "x_1.nc")
    shutil.rmtree(data)
    eventually(lambda: "does not exist" in (watcher.trouble() or ""))
    data.mkdir()
    (data / "x_2.nc").touch()
    seen.await_paths(data / "x_2.nc")
    eventually(lambda: watcher.trouble() is None)


def test_a_directory_replaced_by_rename(start: Start, seen: Seen, data: Path) -> None:
    start(data / "x_{n}.nc")
    other = data.parent / "other"
    other.mkdir()
    (other / "x_1.nc").touch()
    data.rename(data.parent / "former")
    other.rename(data)
    seen.await_paths(data / "x_1.nc")
    (data.parent / "former" / "x_wrong.nc").touch()
    (data / "x_2.nc").touch()
    seen.await_paths(data / "x_2.nc")
    assert "x_wrong.nc" not in seen.names()


def test_a_directory_reached_through_a_link_that_is_turned(start: Start, seen: Seen, data: Path) -> None:
    (data / "one").mkdir()
    (data / "two").mkdir()
    (data / "current").symlink_to("one")
    start(data / "current" / "x_{n}.nc")
    (data / "one" / "x_1.nc").touch()
    seen.await_paths(data / "current" / "x_1.nc")
    (data / "next").symlink_to("two")
    (data / "next").rename(data / "current")
    (data / "two" / "x_2.nc").touch()
    seen.await_paths(data / "current" / "x_2.nc")


def test_a_parent_that_was_replaced(start: Start, seen: Seen, data: Path) -> None:
    (data / "a" / "in").mkdir(parents=True)
    start(data / "a" / "in" / "x_{n}.nc")
    (data / "a").rename(data / "b")
    (data / "a" / "in").mkdir(parents=True)
    (data / "a" / "in" / "x_1.nc").touch()
    seen.await_paths(data / "a" / "in" / "x_1.nc")


def test_a_file_in_place_of_the_directory_is_trouble(start: Start, data: Path) -> None:
    (data / "file").touch()
    assert "not a directory" in (start(data / "file" / "x_{n}.nc").trouble() or "")


# -- what was there before

def test_files_present_at_start_wait_for_a_scan(start: Start, seen: Seen, data: Path) -> None:
    (data / "x_old.nc").touch()
    watcher = start(data / "x_{n}.nc")
    (data / "x_new.nc").touch()
    seen.await_paths(data / "x_new.nc")
    assert "x_old.nc" not in seen.names()
    watcher.scan()
    seen.await_paths(data / "x_old.nc")
    seen.arrivals.clear()
    watcher.scan()
    seen.await_paths(data / "x_old.nc", data / "x_new.nc")


def test_a_scan_asked_for_before_the_start(way: str, seen: Seen, data: Path) -> None:
    (data / "x_old.nc").touch()
    watcher = watch(Pattern(str(data / "x_{n}.nc")), seen, polling=way == "polling", interval=INTERVAL, settle=0.3)
    watcher.scan()
    watcher.start()
    try:
        seen.await_paths(data / "x_old.nc")
    finally:
        watcher.stop()


def test_a_file_whose_time_was_set_arrives_when_it_is_looked_at(start: Start, seen: Seen, data: Path) -> None:
    watcher = start(data / "x_{n}.nc", settle=0.3)
    path = data / "x_1.nc"
    path.write_bytes(b"content")
    seen.await_paths(path)
    os.utime(path, (1e9, 1e9))
    watcher.look_at(str(path))
    eventually(lambda: seen.arrivals[-1].mtime_ns == 10**18, message="it arrives as it is now")


def test_only_what_would_arrive_by_itself_is_looked_at(start: Start, seen: Seen, data: Path) -> None:
    watcher = start(data / "x_{n}.nc")
    for path in (elsewhere(data, "x_1.nc"), data / "other", data / "x_gone.nc"):
        if "gone" not in path.name:
            path.write_bytes(b"content")
        watcher.look_at(str(path))
    (data / "x_link.nc").symlink_to(elsewhere(data, "x_1.nc"))
    watcher.look_at(str(data / "x_link.nc"))
    (data / "x_2.nc").write_bytes(b"content")
    seen.await_paths(data / "x_2.nc")


def test_reconciling_looks_at_everything_by_itself(start: Start, seen: Seen, data: Path) -> None:
    (data / "d").mkdir()
    (data / "d" / "x_old.nc").touch()
    start(data / "{directory}" / "x_{n}.nc", reconcile=0.3)
    eventually(lambda: seen.paths().count(str(data / "d" / "x_old.nc")) >= 2)


def test_without_the_backlog_old_files_stay_undelivered(start: Start, seen: Seen, data: Path) -> None:
    staged = data.parent / "staged"
    for directory in (data / "d", staged):
        directory.mkdir()
        for name in ("x_old.nc", "x_changed.nc"):
            (directory / name).touch()
    time.sleep(0.2)  # beyond the grain of the clock that stamps files
    watcher = start(data / "{directory}" / "x_{n}.nc", backlog=False, reconcile=0.5)
    (data / "d" / "x_changed.nc").write_bytes(b"new")
    staged.rename(data / "staged")
    (data / "d" / "x_new.nc").touch()
    watcher.scan()
    new = [data / "d" / "x_changed.nc", data / "d" / "x_new.nc", data / "staged" / "x_old.nc"]
    seen.await_paths(*new)
    seen.arrivals.clear()
    seen.await_paths(*new)  # by reconciling
    assert str(data / "d" / "x_old.nc") not in seen.paths()


# -- many

def test_a_burst(start: Start, seen: Seen, data: Path) -> None:
    watcher = start(data / "x_{n:05d}.nc")
    for number in range(20_000):
        os.close(os.open(data / f"x_{number:05d}.nc", os.O_WRONLY | os.O_CREAT))
    eventually(lambda: len(set(seen.paths())) == 20_000, 60)
    assert seen.largest <= 500
    assert watcher.trouble() is None


def test_a_scan_of_many_is_delivered_in_portions_and_can_be_stopped(start: Start, seen: Seen, data: Path) -> None:
    for number in range(3_000):
        os.close(os.open(data / f"x_{number:05d}.nc", os.O_WRONLY | os.O_CREAT))
    watcher = start(data / "x_{n:05d}.nc")
    seen.open.clear()
    watcher.scan()
    assert seen.is_held_up.wait(30)
    stopping = threading.Thread(target=watcher.stop)
    stopping.start()
    seen.open.set()
    stopping.join(30)
    assert not stopping.is_alive()
    assert len(seen.arrivals) < 3_000
    assert seen.largest <= 500


def test_nothing_is_lost_when_the_queue_overflows(start: Start, seen: Seen, data: Path, way: str) -> None:
    length = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text()) if LINUX else 0
    if length > 100_000:
        unavailable("a kernel whose event queue is of the usual length")
    seen.open.clear()
    watcher = start(data / "x_{n:05d}.nc")
    (data / "x_00000.nc").touch()
    assert seen.is_held_up.wait(30)
    count = length // 2 + 1_000  # two events each
    for number in range(count):
        os.close(os.open(data / f"x_{number:05d}.nc", os.O_WRONLY | os.O_CREAT))
    seen.open.set()
    eventually(lambda: len(set(seen.paths())) == count, 60)
    assert (watcher.overflows > 0) == (way == "inotify")
    (data / "x_99999.nc").touch()
    seen.await_paths(data / "x_99999.nc")


# -- its life

def test_stopping(way: str, seen: Seen, data: Path) -> None:
    never_started = watch(Pattern(str(data / "x_{n}.nc")), seen, polling=way == "polling")
    assert never_started.trouble() == "it is not running"
    never_started.stop()
    never_started.stop()
    descriptors, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    watcher = watch(Pattern(str(data / "x_{n}.nc")), seen, polling=way == "polling", interval=60)
    watcher.start()
    assert watcher.trouble() is None
    watcher.stop()
    watcher.stop()
    watcher.scan()
    assert watcher.trouble() == "it is not running"
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == (descriptors, threads)
    with pytest.raises(RuntimeError):
        watcher.start()


def test_a_thread_that_dies_is_noticed(way: str, data: Path) -> None:
    deaths: list[BaseException] = []

    def broken(arrivals: Sequence[Arrival]) -> None:
        raise KeyError("broken receiver")

    watcher = watch(Pattern(str(data / "x_{n}.nc")), broken, polling=way == "polling", interval=INTERVAL, on_death=deaths.append)
    watcher.start()
    (data / "x_1.nc").touch()
    try:
        eventually(lambda: deaths)
        assert isinstance(deaths[0], KeyError)
        assert "broken receiver" in (watcher.trouble() or "")
    finally:
        watcher.stop()


@pytest.mark.parametrize("text, options, problem", [
    ("x_{n}.nc", {}, "absolute"), ("/data/x_{n}.nc", {"interval": 0}, "interval"), ("/data/x_{n}.nc", {"settle": -1}, "negative"),
])
def test_what_cannot_be_watched_is_refused(text: str, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        watch(Pattern(text), Seen(), **options)


# -- what takes a kernel of one's own

PROGRAM = """
import os, sqlite3, subprocess, sys, time
sys.path.insert(0, {root!r})
from trollmoves.patterns import Pattern
from trollmoves.watchers import directory
from trollmoves.watchers.directory import watch

data, seen = {data!r}, set()

def await_that(check, say=lambda: ""):
    deadline = time.monotonic() + 60
    while not check():
        if time.monotonic() > deadline:
            sys.exit(f"not within a minute: {{say()}}, trouble: {{watcher.trouble()}}")
        time.sleep(0.02)

def await_all(*names):
    await_that(lambda: seen >= set(names), lambda: f"{{set(names) - seen}} of {{names}}")

def touch(name):
    with open(os.path.join(data, name), "w") as file:
        file.write(name)

def limit(what, number):
    with open("/proc/sys/user/max_inotify_" + what, "w") as setting:
        setting.write(str(number))

def make(pattern):
    deliver = lambda arrivals: seen.update(os.path.relpath(arrival.path, data) for arrival in arrivals)
    return watch(Pattern(data + "/" + pattern), deliver, polling={polling!r}, interval=0.1, settle=0.2)

class Server:
    def __init__(self, command, root):
        self.log = os.path.join(root, "log")
        self.process = subprocess.Popen(command, cwd={root!r}, stderr=open(self.log, "w"))
    def said(self):
        return open(self.log).read()
    def announced(self, journal):
        return len(sqlite3.connect("file:" + journal + "?mode=ro", uri=True).execute("SELECT * FROM announcements").fetchall())
    def trouble(self):
        return self.said()
    def stop(self):
        self.process.kill()
        self.process.wait()

try:
    {body}
finally:
    watcher.stop()
"""


def in_a_namespace(body: str, data: Path, *, polling: bool = False) -> str:
    """Run a piece of program as root of namespaces of its own, where limits and mounts concern nobody else; what it said."""
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if not LINUX or subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode != 0:
        unavailable("user namespaces")
    root = str(Path(__file__).parents[2])
    program = PROGRAM.format(root=root, data=str(data), polling=polling, body=textwrap.indent(body, "    ").strip())
    result = subprocess.run([*unshare, sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=False)
    assert result.returncode == 0, result.stderr
    return result.stderr


def test_without_inotify_instances_it_polls(data: Path) -> None:
    said = in_a_namespace(textwrap.dedent("""
        limit("instances", 0)
        watcher = make("x_{n}.nc")
        touch("x_old.nc")
        watcher.start()
        assert watcher.polling
        touch("x_new.nc")
        await_all("x_new.nc")
        assert "x_old.nc" not in seen and watcher.trouble() is None
    """), data)
    assert "polling every 0.1 seconds from now on" in said


def test_when_watches_run_out_it_goes_on_polling_and_loses_nothing(data: Path) -> None:
    said = in_a_namespace(textwrap.dedent("""
        limit("watches", 10)
        watcher = make("{directory}/x_{n}.nc")
        watcher.start()
        names = [f"d{number}/x_1.nc" for number in range(50)]
        for name in names:
            os.mkdir(os.path.join(data, os.path.dirname(name)))
            touch(name)
        await_all(*names)
        assert watcher.polling and watcher.trouble() is None
        touch("d0/x_late.nc")
        await_all("d0/x_late.nc")
    """), data)
    assert "polling every 0.1 seconds from now on" in said


def test_it_polls_no_longer_than_the_kernel_refuses(data: Path) -> None:
    """Files come all the time, also while it changes over; what was there before the watch is found by the look at everything."""
    said = in_a_namespace(textwrap.dedent("""
        limit("instances", 0)
        directory._TRY_AGAIN = 0.2
        watcher = make("x_{n}.nc")
        touch("x_old.nc")
        watcher.start()
        assert watcher.polling
        names = [f"x_{number}.nc" for number in range(400)]
        for number, name in enumerate(names):
            touch(name)
            time.sleep(0.005)
            if number == 200:
                limit("instances", 100)
        await_all("x_old.nc", *names)
        await_that(lambda: not watcher.polling)
        touch("x_new.nc")
        await_all("x_new.nc")
        assert watcher.trouble() is None
    """), data)
    assert said.count("polling every 0.1 seconds from now on") == 1


def test_it_polls_no_longer_than_there_are_no_descriptors(data: Path) -> None:
    in_a_namespace(textwrap.dedent("""
        from trollmoves.watchers.inotify import Watches
        Watches(Pattern("/x")).open()  # the first one of a process looks for the C library, which takes descriptors, too
        directory._TRY_AGAIN = 0.2
        taken = []
        try:
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            os.close(taken.pop())
            os.close(taken.pop())  # for the doorbell
        watcher = make("{directory}/x_{n}.nc")
        watcher.start()
        assert watcher.polling
        for descriptor in taken:
            os.close(descriptor)
        os.mkdir(os.path.join(data, "d"))
        touch("d/x_1.nc")
        await_all("d/x_1.nc")
        await_that(lambda: not watcher.polling and watcher.trouble() is None)
        touch("d/x_2.nc")
        await_all("d/x_2.nc")
    """), data)


@pytest.mark.parametrize("option", ["", "--disable-backlog"])
def test_a_server_that_goes_back_to_inotify_announces_every_file_once(data: Path, option: str) -> None:
    (data.parent / "server.ini").write_text(
        f"[one]\norigin = {data}/x_{{n}}.nc\ntopic = /one\nlisten_address = 127.0.0.1\nrequest_address = 127.0.0.1\n"
        f"request_port = {free_port()}\nnameserver = false\nsettle = 0.1\nreconcile = 1\n")
    journal = data.parent / "server.journal"
    command = ["-p", str(free_port()), *([option] if option else []), "--journal", str(journal), str(data.parent / "server.ini")]
    said = in_a_namespace(textwrap.dedent(f"""
        limit("instances", 0)
        touch("x_old.nc")
        time.sleep(0.1)
        program = "import trollmoves.watchers.directory as directory; directory._TRY_AGAIN = 0.5;"
        program += "from trollmoves.cli.server import main; main({command!r})"
        watcher = Server([sys.executable, "-c", program], {str(data.parent)!r})
        await_that(lambda: "polling every" in watcher.said())
        names = [f"x_{{number}}.nc" for number in range(300)]
        for number, name in enumerate(names):
            touch(name)
            time.sleep(0.01)
            if number == 150:
                limit("instances", 100)
        await_that(lambda: "again" in watcher.said())
        touch("x_new.nc")
        names += ["x_new.nc", *([] if {bool(option)} else ["x_old.nc"])]
        await_that(lambda: watcher.announced({str(journal)!r}) >= len(names), lambda: str(watcher.announced({str(journal)!r})))
        time.sleep(2.5)  # for two reconciliations
        assert watcher.announced({str(journal)!r}) == len(names)
    """), data)
    assert "Traceback" not in said


def test_a_file_system_mounted_over_the_directory(data: Path, way: str) -> None:
    in_a_namespace(textwrap.dedent("""
        watcher = make("x_{n}.nc")
        watcher.start()
        subprocess.run(["mount", "-t", "tmpfs", "none", data], check=True)
        touch("x_mounted.nc")
        await_all("x_mounted.nc")
        subprocess.run(["umount", "-l", data], check=True)
        touch("x_unmounted.nc")
        await_all("x_unmounted.nc")
    """), data, polling=way == "polling")
