"""Origins that change while they are moved (T17), odd names (T18), disks that refuse (T14, T15), many files (T20, T21)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from tests.faults.checker import content_at, rows
from tests.faults.network import Network, Recorder
from tests.faults.test_disks_and_stops import small_disk
from tests.support.auditing import audited
from tests.support.eventually import eventually, never
from tests.support.programs import CHECKOUT
from tests.unit.cli.asking import bound_by_permissions
from trollmoves.bus.questions import ask
from trollmoves.bus.requesting import new_request
from trollmoves.faults.observing import Sampler
from trollmoves.messages import EXTENSION, Envelope, Message, decode

__all__ = ["small_disk"]  # a fixture

MEBIBYTE = 2**20


def truncate(path: Path) -> bytes:
    data = path.read_bytes()[:1_500_000]
    os.truncate(path, len(data))
    return data


def append(path: Path) -> bytes:
    with path.open("ab") as file:
        file.write(b"more" * 1000)
    return path.read_bytes()


def replace(path: Path) -> bytes:
    data = os.urandom(3 * MEBIBYTE)
    fresh = path.with_name(".fresh")
    fresh.write_bytes(data)
    os.rename(fresh, path)
    return data


def rewrite(path: Path) -> bytes:
    data = os.urandom(path.stat().st_size)
    with path.open("r+b") as file:
        file.write(data)
    return data


@pytest.mark.slow
@pytest.mark.parametrize("change", [truncate, append, replace, rewrite])
def test_an_origin_that_changes_while_it_is_moved_arrives_as_it_is_in_the_end(tmp_path: Path,
                                                                                   change: Callable[[Path], bytes]) -> None:
    options = {"bandwidth_per_host": "1M", "settle": "0.5", "reconcile": "2"}
    with Network(tmp_path, server_options=options) as network:
        network.begin()
        network.write("large.bin", os.urandom(3 * MEBIBYTE))
        eventually(lambda: any(path.name.startswith(".large") for path in network.destination.iterdir()), message="it is moved")
        data = change(network.origins[0] / "large.bin")
        network.ledger.note("large.bin", data)
        network.settle(60)
        assert (network.destination / "large.bin").read_bytes() == data
        assert network.stop() == [0, 0]
        assert network.observer.violations == []
        published = [row for row in rows(network.client_journal, "SELECT state FROM files WHERE identity = 'large.bin'")
                     if row == ("published",)]
        # What was replaced is still whole behind its descriptor, so it may have been delivered; what was written to is not.
        assert len(published) <= (2 if change is replace else 1), "what was there for a moment was published as well"


NAMES = ("with space", "-dash", "--delete", "100%", "%20", "{braces}", "{0.__class__}", "quote'\"", "$HOME", "ümläut",
         "*star?[1]", "back\\slash", "x" * 251, "ü" * 125)


@pytest.mark.slow
def test_odd_names_arrive_and_what_cannot_be_named_is_said(tmp_path: Path) -> None:
    with Network(tmp_path) as network:
        network.start()
        for name in NAMES:
            network.ledger.note(f"{name}.bin", name.encode())
            (network.origins[0] / ".staged").write_bytes(name.encode())
            os.rename(network.origins[0] / ".staged", network.origins[0] / f"{name}.bin")
        unnamed = os.fsencode(network.origins[0]) + b"/not\xff\xfeutf8.bin"
        Path(os.fsdecode(unnamed)).write_bytes(b"bytes that are no text")
        (network.origins[0] / "two\nlines.bin").write_bytes(b"a name of two lines")
        (network.origins[0] / "empty.bin").touch()
        network.settle()
        network.servers[0].wait_for("cannot be announced.*UTF-8")
        assert {path.name for path in network.destination.iterdir()} == {f"{name}.bin" for name in NAMES}
        assert network.stop() == [0, 0]
        network.check()


@pytest.mark.slow
@pytest.mark.parametrize("size", [
    100 * MEBIBYTE, pytest.param(5000 * MEBIBYTE, marks=[pytest.mark.nightly, pytest.mark.timeout(600)])])
def test_a_sparse_file_arrives(tmp_path: Path, size: int) -> None:
    if shutil.disk_usage(tmp_path).free < 2 * size:
        pytest.skip(f"needs {2 * size >> 20} MiB of room")
    with Network(tmp_path) as network:
        network.start()
        network.servers[0].wait_for("watches")
        staged, place = tmp_path / "sparse", network.destination / "sparse.bin"
        with staged.open("wb") as file:
            file.write(b"beginning")
            file.seek(size - 3)
            file.write(b"end")
        os.rename(staged, network.origins[0] / "sparse.bin")
        eventually(place.exists, 400, message="it arrived")
        assert content_at(place) == content_at(network.origins[0] / "sparse.bin")
        place.unlink()


@pytest.mark.slow
def test_another_file_system_takes_files_of_every_size(tmp_path: Path, small_disk: Path) -> None:
    """T18: EXDEV, for what goes through memory and for what the kernel copies."""
    with Network(tmp_path, destination=small_disk, server_options={"link": "true"}) as network:
        network.start()
        for name, size in (("small", 10), ("memory", MEBIBYTE), ("kernel", 3 * MEBIBYTE)):
            network.write(f"{name}.bin", os.urandom(size))
        network.settle()
        assert network.stop() == [0, 0]
        network.check()


@pytest.mark.slow
def test_a_full_disk_of_the_log_stops_nothing(tmp_path: Path, small_disk: Path) -> None:
    """T14, for what goes to the terminal and for `--log`."""
    with Network(tmp_path) as network:
        for program in network.programs:
            program.log = small_disk / f"{program.name}.out"
            program.argv += ["--log", str(small_disk / f"{program.name}.log")] if program.name == "client" else []
        (small_disk / "filler").write_bytes(bytes(8 * MEBIBYTE - 200_000))
        with (small_disk / "rest").open("ab", buffering=0) as rest:
            while True:
                try:
                    rest.write(bytes(4096))
                except OSError:
                    break
        network.start()
        network.write_many(20)
        network.settle()
        for program in network.programs:
            eventually(lambda program=program: program.catches_sigterm)  # type: ignore[misc]
        assert network.stop() == [0, 0]
        (small_disk / "filler").unlink()
        (small_disk / "rest").unlink()
        assert not network.scene().missing() and network.observer.violations == []


@pytest.mark.slow
def test_a_destination_that_may_only_be_read_for_a_while(tmp_path: Path, small_disk: Path) -> None:
    """T15: refused with the reason, tried again without heat, delivered when an operator has mended it."""
    with Network(tmp_path, destination=small_disk) as network:
        network.begin()
        subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
        mark = network.servers[0].mark()
        network.write("later.bin", b"later")
        network.servers[0].wait_for("later.bin.*Read-only file system", since=mark)
        never(lambda: network.servers[0].output(mark).count("Read-only") > 2, 4, message="it is tried without pause")
        (line,) = rows(network.client_journal, "SELECT state, steps FROM files WHERE identity = 'later.bin'")
        assert line[0] == "failed" and "Read-only" in str(line[1])
        subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
        network.settle(90)
        assert network.stop() == [0, 0]
        network.check()


@pytest.mark.slow
def test_an_origin_that_cannot_be_removed_is_tried_again_once_a_minute(tmp_path: Path) -> None:
    """T15: `chattr +i`."""
    with Network(tmp_path, server_options={"delete": "true", "remove_delay": "0.2"}) as network:
        network.start()
        path = network.origins[0] / "stays.bin"
        staged = tmp_path / "stays.bin"
        staged.write_bytes(b"stays")
        network.ledger.note("stays.bin", b"stays")
        os.rename(staged, path)
        if os.geteuid() or subprocess.run(["chattr", "+i", path], capture_output=True).returncode:
            pytest.skip("needs root and a file system where files can be made immutable")
        try:
            network.servers[0].wait_for("stays.bin cannot be removed")
            never(lambda: network.servers[0].output().count("cannot be removed") > 1, 4, message="it is tried without pause")
            assert path.exists()
            (record,) = audited(network.server_journal(), "not removed", wait_for=1)
            assert (record["path"], record["why"]) == (str(path), "Operation not permitted")
            network.servers[0].wait_for(rf"stays.bin cannot be removed.*\(audit {record['number']}\)")
        finally:
            subprocess.run(["chattr", "-i", path], check=True)
        network.settle(90, deletes=True)
        assert network.stop() == [0, 0]
        network.check(deletes=True)


@pytest.mark.slow
def test_an_origin_that_may_not_be_read_is_tried_again_until_it_may(tmp_path: Path) -> None:
    """T15: the reason is told, others are not held up, and nothing is given up. The server heeds permissions as one that is not
    root."""
    with Network(tmp_path) as network:
        server = network.servers[0]
        server.argv = bound_by_permissions() + server.argv
        network.start()
        staged, path = tmp_path / "locked.bin", network.origins[0] / "locked.bin"
        staged.write_bytes(b"locked")
        staged.chmod(0)
        os.rename(staged, path)
        server.wait_for("locked.bin cannot be read: Permission denied")
        network.write_many(5)
        eventually(lambda: not network.scene().missing(), message="others arrive")
        text, = rows(network.server_journal(), "SELECT announcements.message FROM announcements JOIN files ON files.id = file "
                                               "WHERE identity = 'locked.bin'")
        reply = pushed(decode(str(text[0]).encode()), network.request_ports[0], f"file://{network.destination}/elsewhere/")
        assert reply.type == "err" and "Permission denied" in str(reply.fields["error"]), reply
        assert (reply.extension["code"], reply.extension["permanent"]) == ("internal", False)
        mark = server.mark()
        never(lambda: server.output(mark).count("cannot be read") > 4, 4, message="it is tried without pause")
        (state,), = rows(network.client_journal, "SELECT state FROM files WHERE identity = 'locked.bin'")
        assert state in ("failed", "requested")
        path.chmod(0o644)
        network.ledger.note("locked.bin", b"locked")
        network.settle(90)
        assert network.stop() == [0, 0]
        network.check()


def pushed(announcement: Message, port: int, destination: str) -> Message:
    """The reply to a push request of a client of ours."""
    extension = {**announcement.extension, "request": new_request(), "client": "one@here/test"}
    data = {**announcement.fields, "destination": destination, EXTENSION: extension}
    reply = ask("127.0.0.1", port, Envelope("one@here").encode(announcement.subject, "push", data), 15)
    assert reply is not None
    return reply


@pytest.mark.slow
def test_removals_that_are_not_permitted_are_counted_and_delay_no_others(tmp_path: Path) -> None:
    """T15: a directory that may not be written to; each file is tried once, and again only when a minute has passed."""
    with Network(tmp_path, server_options={"delete": "true", "remove_delay": "0.2"}) as network:
        server, origin = network.servers[0], network.origins[0]
        server.argv = bound_by_permissions() + server.argv
        network.start()
        server.wait_for("watches")
        network.write_many(3, "before")
        origin.chmod(0o555)
        server.wait_for("cannot be removed .Permission denied.; tried again in 60 s")
        tries = "SELECT max(tries), count(*) FROM removals"
        eventually(lambda: rows(network.server_journal(), tries) == [(1, 3)], message="each was tried once")
        never(lambda: rows(network.server_journal(), tries) != [(1, 3)], 4, message="it is tried without pause")
        status = subprocess.run([sys.executable, "-m", "trollmoves.cli.umbrella", "status", "--journal",
                                 str(network.server_journal())], capture_output=True, text=True, timeout=60, cwd=CHECKOUT)
        assert "remov" in status.stdout, status.stdout + status.stderr
        assert len(list(origin.iterdir())) == 3, "it is not gone"
        origin.chmod(0o755)
        network.settle(90, deletes=True)
        assert network.stop() == [0, 0]
        network.check(deletes=True)


@pytest.mark.slow
def test_a_directory_that_is_shut_when_its_files_are_to_be_removed_ends_nothing(tmp_path: Path) -> None:
    """T15: a directory that cannot even be opened; its files stay, are counted, and tried again."""
    with Network(tmp_path, server_options={"delete": "true", "remove_delay": "2"}) as network:
        server, origin = network.servers[0], network.origins[0]
        server.argv = bound_by_permissions() + server.argv
        network.start()
        server.wait_for("watches")
        network.write_many(3, "before")
        eventually(lambda: not network.scene().missing(), message="they arrive")
        origin.chmod(0)
        tries = "SELECT max(tries), count(*) FROM removals"
        eventually(lambda: rows(network.server_journal(), tries) == [(1, 3)], message="each was tried once")
        assert len(list(origin.iterdir())) == 3, "it is not gone"
        origin.chmod(0o755)
        network.write("later.bin", b"later")
        eventually(lambda: not network.scene().missing(), message="what comes later arrives")
        assert network.stop() == [0, 0]


def announced(network: Network) -> int:
    (count,), = rows(network.server_journal(), "SELECT count(*) FROM announcements")
    return int(str(count))


@pytest.mark.slow
@pytest.mark.parametrize("count", [17_500, pytest.param(40_000, marks=[pytest.mark.nightly, pytest.mark.timeout(300)])])
def test_more_files_than_the_kernel_reports_are_all_announced(tmp_path: Path, count: int) -> None:
    """T21: the queue of inotify holds 16,384 events; the server is stopped while the files come."""
    with Network(tmp_path) as network:
        server = network.servers[0].start()
        server.wait_for("watches")
        server.suspend()
        for number in range(count):
            with open(network.origins[0] / f"f{number:05}.bin", "wb") as file:
                file.write(b"x")
        began = time.monotonic()
        server.resume()
        eventually(lambda: announced(network) == count, 60, interval=0.5, message=f"all {count} announced")
        print(f"announced after {time.monotonic() - began:.1f} s")
        server.wait_for("event queue of .* overflowed")
        assert server.stop() == 0


BEAT, MOST_LATE = 5.0, 10.0
"""Seconds between two heartbeats, and seconds that one may be late."""


@pytest.mark.slow
@pytest.mark.parametrize(("count", "rate"), [
    pytest.param(20_000, 500, marks=pytest.mark.timeout(300)),
    pytest.param(100_000, 2000, marks=[pytest.mark.nightly, pytest.mark.timeout(900)])])
def test_a_backlog_is_announced_and_delivered_within_bounds(tmp_path: Path, count: int, rate: int) -> None:
    """T20: files that are there at the start, and *rate* of them announced a second; figures are printed."""
    with Network(tmp_path, killed=True) as network:  # the client publishes before the recorder is there
        for number in range(count):
            (network.origins[0] / f"f{number:06}.bin").write_bytes(b"%d" % number)
            network.ledger.note(f"f{number:06}.bin", b"%d" % number)
        sampler = Sampler(lambda: {program.name: program.pid for program in network.programs if program.running})
        recorders = {"server": Recorder(network.publish_ports[0]), "client": network.recorder}
        began = time.monotonic()
        network.start()
        sampler.start()
        eventually(lambda: announced(network) == count, count / rate, interval=0.2, message=f"{rate} a second announced")
        print(f"{count} announced in {time.monotonic() - began:.1f} s")
        published = "SELECT count(*) FROM files WHERE state = 'published'"
        eventually(lambda: rows(network.client_journal, published) == [(count,)], 500, interval=0.5, message="all published")
        ended = time.monotonic()
        print(f"{count} published in {ended - began:.1f} s, growth {sampler.growth / MEBIBYTE:.0f} MiB")
        sampler.stop()
        for name, recorder in recorders.items():
            times = recorder.beats()
            assert times, f"no beat of the {name} was heard"
            longest = max(after - before for before, after in pairwise([began, *times, max(ended, times[-1])]))
            print(f"longest time without a beat of the {name}: {longest:.1f} s")
            assert longest <= BEAT + MOST_LATE, f"the {name}"
        recorders["server"].close()
        assert network.stop() == [0, 0]
        assert sampler.violations() == []
        assert network.scene().violations() == []


@pytest.mark.parametrize("away", ["the directory", "a file"])
def test_what_was_gone_when_it_was_asked_for_and_is_there_again_arrives(tmp_path: Path, away: str) -> None:
    """A directory that is moved for a moment, a file system that is mounted again: nobody would tell it from a new file."""
    with Network(tmp_path, server_options={"delete": "true", "remove_delay": "0.1"}, killed=True) as network:
        network.servers[0].start().wait_for(r"\[send\] watches")
        network.write_many(3)
        eventually(lambda: network.states(network.server_journal()) == {"announced": 3}, message="they are announced")
        place = network.origins[0] if away == "the directory" else network.origins[0] / "f00000.bin"
        aside = place.rename(tmp_path / "aside")
        gone = 3 if away == "the directory" else 1
        network.client.start()
        eventually(lambda: network.states(network.client_journal).get("given_up") == gone, message="they are gone")
        aside.rename(place)
        network.settle(deletes=True)
        assert "given_up" not in network.states(network.server_journal())
        assert network.stop() == [0, 0]
        network.check(deletes=True)


def test_what_was_gone_when_it_should_go_and_is_there_again_goes(tmp_path: Path) -> None:
    with Network(tmp_path, server_options={"delete": "true", "remove_delay": "3", "reconcile": "2"}) as network:
        network.start()
        network.write("a.bin", b"x" * 1000)
        eventually((network.destination / "a.bin").exists, message="it is delivered")
        aside = network.origins[0].rename(tmp_path / "aside")
        network.servers[0].wait_for("not removed: gone")
        aside.rename(network.origins[0])
        eventually(lambda: not list(network.origins[0].iterdir()), message="it is removed")
        network.settle(deletes=True)
        assert network.stop() == [0, 0]
        network.check(deletes=True)
