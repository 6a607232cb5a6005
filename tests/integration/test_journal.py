"""Journals that are damaged, removed, full, locked or of another release: said clearly, and nothing is lost."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.checker import rows
from tests.faults.network import Network, Recorder
from tests.integration.hostile import Peer, text
from tests.support.eventually import eventually, never
from tests.support.ports import free_port
from tests.support.programs import Program
from trollmoves.journal.statements import schema_scripts


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 + 100)


def flip_bits(path: Path) -> None:
    data = bytearray(path.read_bytes())
    dice = random.Random(5)
    for _ in range(200):
        data[dice.randrange(100, len(data))] ^= 0xFF
    path.write_bytes(data)


def garbage(path: Path) -> None:
    path.write_bytes(random.Random(7).randbytes(50_000))


def lone_byte(path: Path) -> None:
    path.write_bytes(b"x")


def emptied(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES = [truncate, flip_bits, garbage]


def in_one_file(path: Path) -> None:
    """Bring what is in the write-ahead log into the file itself, so that damage to the file counts."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("victim", ["server", "client"])
def test_a_damaged_journal_is_moved_aside_and_nothing_is_lost(tmp_path: Path, victim: str,
                                                              damage: Callable[[Path], None]) -> None:
    with Network(tmp_path, killed=True) as network:
        network.begin(60)
        assert network.stop() == [0, 0]
        network.forgetful = victim == "client"
        journal, program = ((network.server_journal(), network.servers[0]) if victim == "server"
                            else (network.client_journal, network.client))
        epoch = rows(journal, "SELECT value FROM meta WHERE name = 'epoch'")
        in_one_file(journal)
        damage(journal)
        network.write_many(20, "absent")
        for name in list(network.ledger.latest())[:5]:  # must come again when the client has forgotten all
            if victim == "client":
                (network.destination / name).unlink()
        mark = program.mark()
        network.start()
        program.wait_for("journal was damaged.*moved to", since=mark)
        network.write_many(5, "after")
        network.settle()
        network.check()
        assert rows(journal, "SELECT value FROM meta WHERE name = 'epoch'") != epoch
        assert rows(journal, "SELECT count(*) FROM alarms")[0][0]
        assert [path for path in tmp_path.iterdir() if ".damaged-" in path.name]


@pytest.mark.parametrize("damage", [emptied, lone_byte])
@pytest.mark.parametrize("victim", ["server", "client"])
def test_a_journal_emptied_while_nobody_ran_is_begun_anew(tmp_path: Path, victim: str, damage: Callable[[Path], None]) -> None:
    with Network(tmp_path, killed=True) as network:
        network.begin(10)
        network.stop()
        network.forgetful = victim == "client"
        journal = network.server_journal() if victim == "server" else network.client_journal
        in_one_file(journal)
        damage(journal)
        network.start()
        network.write_many(5, "after")
        network.settle()
        network.check()


@pytest.mark.parametrize("damage", [truncate, flip_bits])
@pytest.mark.parametrize("victim", ["server", "client"])
def test_a_journal_damaged_while_it_is_in_use_loses_nothing(tmp_path: Path, victim: str, damage: Callable[[Path], None]) -> None:
    """Whoever notices it ends, and begins anew with what it finds; that happens once, not again and again."""
    with Network(tmp_path, killed=True) as network:
        network.begin(60)
        network.forgetful = victim == "client"
        journal, program = ((network.server_journal(), network.servers[0]) if victim == "server"
                            else (network.client_journal, network.client))
        in_one_file(journal)
        damage(journal)
        network.write_many(20, "damaged")
        starts = 0

        def arrived() -> bool:
            nonlocal starts
            if not program.running:
                starts += 1
                program.start()
            return not network.scene().missing()
        eventually(arrived, 60, interval=0.5, message="everything arrives")
        program.kill()
        network.write_many(5, "after")
        mark = program.mark()
        program.start()
        network.settle()
        assert starts <= 2 and program.running
        assert "journal was damaged" in program.output(mark) or starts
        network.check()


@pytest.mark.parametrize("how", ["removed", "replaced"])
@pytest.mark.parametrize("victim", ["server", "client"])
def test_a_journal_that_is_taken_away_ends_the_process_and_a_restart_recovers(tmp_path: Path, victim: str, how: str) -> None:
    with Network(tmp_path, killed=True) as network:
        network.begin(10)
        network.forgetful = victim == "client"
        journal, program = ((network.server_journal(), network.servers[0]) if victim == "server"
                            else (network.client_journal, network.client))
        if how == "replaced":
            shutil.copy(journal, tmp_path / "copy")
            os.rename(tmp_path / "copy", journal)
        else:
            journal.unlink()
        assert program.wait(30) == 1
        assert f"the journal {journal} was {how} while it was in use" in program.output()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{journal}{suffix}").unlink(missing_ok=True)
        network.write_many(10, "absent")
        program.start()
        network.settle()
        network.check()


@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("victim", ["server", "client"])
def test_a_journal_in_use_is_refused(tmp_path: Path, victim: str, linked: bool) -> None:
    with Network(tmp_path) as network:
        network.start()
        (network.servers[0] if victim == "server" else network.client).wait_for("watches|listens to")
        other = network._server(0) if victim == "server" else network._client()
        if linked:
            index = other.argv.index("--journal") + 1
            (tmp_path / "link.journal").symlink_to(other.argv[index])
            other.argv[index] = str(tmp_path / "link.journal")
        other.log = tmp_path / "other.log"
        other.start()
        assert other.wait(30) == 1
        assert "is in use by another process" in other.output() and "--journal" in other.output()
        network.write_many(3)
        network.settle()


def test_a_journal_of_a_later_release_is_refused_and_left_alone(tmp_path: Path) -> None:
    with Network(tmp_path) as network:
        network.start()
        network.write_many(1)
        network.settle()
        network.stop()
        with closing(sqlite3.connect(network.client_journal)) as connection:
            connection.execute("PRAGMA user_version = 99")
        before = network.client_journal.read_bytes()
        network.client.start()
        assert network.client.wait(30) == 1
        assert "was written by a later release" in network.client.output()
        assert network.client_journal.read_bytes() == before


def as_in_the_first_release(connection: sqlite3.Connection) -> None:
    """Take from a journal what the first schema does not have."""
    with closing(sqlite3.connect(":memory:")) as first:
        first.executescript(schema_scripts()[0])
        for kind in ("index", "table"):
            known = parts(first, kind)
            for name in parts(connection, kind) - known:
                connection.execute(f"DROP {kind} {name}")
        for table in parts(first, "table"):
            more = columns(connection, table) - columns(first, table)
            if "id" in more:  # a table that was made anew: its key cannot be dropped
                made = first.execute("SELECT sql FROM sqlite_schema WHERE name = ?", (table,)).fetchone()[0]
                connection.execute(f"DROP TABLE {table}")
                connection.execute(made)
                continue
            for column in more:
                connection.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
    connection.execute("PRAGMA user_version = 1")
    connection.commit()


def parts(connection: sqlite3.Connection, kind: str) -> set[str]:
    return {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = ? AND sql IS NOT NULL "
                                                 "AND name NOT LIKE 'sqlite_%'", (kind,))}


def columns(connection: sqlite3.Connection, table: str) -> set[str]:
    return {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}


def test_a_journal_of_an_earlier_release_goes_on(tmp_path: Path) -> None:
    """It gets what it lacks, what it knew stays known, and a copy of it is kept."""
    with Network(tmp_path) as network:
        network.start()
        network.write_many(3, "before")
        network.settle()
        network.stop()
        for journal in (network.client_journal, network.server_journal()):
            with closing(sqlite3.connect(journal)) as connection:
                as_in_the_first_release(connection)
        network.start()
        network.write_many(3, "after")
        network.settle()
        network.check()
        for journal in (network.client_journal, network.server_journal()):
            assert rows(journal, "SELECT count(*) FROM packed") == [(0,)]
            assert rows(journal.with_name(journal.name + ".schema-1"), "SELECT count(*) FROM files") == [(3,)]


def test_a_journal_where_nothing_can_be_written_is_refused(tmp_path: Path) -> None:
    with Network(tmp_path) as network:
        (tmp_path / "file").write_text("no directory")
        network.server_journal = lambda number=0: tmp_path / "file" / "x.journal"  # type: ignore[method-assign]
        program = network._server(0).start()
        assert program.wait(30) == 1
        assert "cannot make the journal" in program.output() and "--journal" in program.output()


def test_a_journal_on_a_disk_that_may_only_be_read_is_refused(tmp_path: Path, small_disk: Path) -> None:
    with Network(tmp_path) as network:
        network.server_journal = lambda number=0: small_disk / "x.journal"  # type: ignore[method-assign]
        program = network._server(0)
        for there in (False, True):
            if there:
                subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
                program.start().wait_for("watches")
                assert program.stop() == 0
            subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
            mark = program.mark()
            program.start()
            assert program.wait(30) == 1
            assert str(small_disk) in program.output(mark) and "Traceback" not in program.output(mark)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    place = tmp_path / "small"
    place.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", place], capture_output=True).returncode:
        pytest.skip("needs root to mount a small file system")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def fill(place: Path) -> Path:
    filler = place / "filler"
    with filler.open("wb", buffering=0) as output:
        try:
            while True:
                output.write(bytes(4096))
        except OSError:
            return filler


@pytest.mark.parametrize("victim", ["server", "client"])
def test_a_full_disk_of_the_journal_is_waited_out(tmp_path: Path, small_disk: Path, victim: str) -> None:
    network = Network(tmp_path)
    network.killed = True
    place = small_disk / "j.journal"
    if victim == "server":
        network.server_journal = lambda number=0: place  # type: ignore[method-assign]
        network.servers[0] = network._server(0)
        program = network.servers[0]
    else:
        network.client.argv[network.client.argv.index("--journal") + 1] = str(place)
        program = network.client
    with network, closing(Recorder(network.publish_ports[0] if victim == "server" else network.client_port)) as recorder:
        network.start()
        network.write_many(10, "before")
        eventually(lambda: len(list(network.destination.iterdir())) == 10)
        filler = fill(small_disk)
        network.write_many(300, "full")
        program.wait_for("journal cannot be written")
        if victim == "server":
            with Peer(network.request_ports[0]) as peer:
                assert " pong " in peer.ask(text("ping"))
        known = "SELECT identity FROM files JOIN announcements ON file = files.id"
        never(lambda: {data["uid"] for data in recorder.files()} - {name for (name,) in rows(place, known)}, 1.0,
              message="something is published that is not journaled")
        never(lambda: not program.running, 1.0)
        filler.unlink()
        program.wait_for("journal can be written again")
        eventually(lambda: not network.scene().missing(), 60, message="everything arrives after all")
        assert program.running
        states = dict(rows(place, "SELECT state, count(*) FROM files GROUP BY state"))
        assert sum(int(str(count)) for count in states.values()) == 310
        assert network.observer.violations == []


@pytest.mark.parametrize("tidy", [True, False])
@pytest.mark.parametrize("victim", ["server", "client"])
def test_a_start_on_a_full_disk_leaves_the_journal_as_it_is(tmp_path: Path, small_disk: Path, victim: str, tidy: bool) -> None:
    """It cannot be opened then, which does not make it a damaged one."""
    network = Network(tmp_path)
    network.killed = True
    program, place = ((network.servers[0], network.server_journal()) if victim == "server"
                      else (network.client, network.client_journal))
    place.symlink_to(small_disk / "j.journal")
    with network:
        network.begin(10)
        network.stop()
        epoch = rows(place, "SELECT value FROM meta WHERE name = 'epoch'")
        if tidy:  # without the files beside it, which a reader leaves
            in_one_file(place)
        filler = fill(small_disk)
        assert program.start().wait(30) == 1
        assert f"cannot open the journal {place}" in program.output() and "is there room on its disk" in program.output()
        assert not [*small_disk.glob("*.damaged-*"), *tmp_path.glob("*.damaged-*")]
        filler.unlink()
        network.write_many(10, "after")
        network.start()
        network.settle()
        network.check()
        assert rows(place, "SELECT value FROM meta WHERE name = 'epoch'") == epoch


def locks(path: Path, process: int) -> list[str]:
    """The lines of /proc/locks about what *process* has locked of *path*: all goes with one descriptor that it closes."""
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return [" ".join(line) for line in lines if str(process) in line and f":{path.stat().st_ino}" in " ".join(line)]


@pytest.mark.parametrize("program", ["server", "move_it"])
def test_a_journal_in_the_watched_directory_is_left_alone(tmp_path: Path, program: str) -> None:
    """Announced like a file it would be handed to whoever asks, and removed when that was done."""
    origin, config = tmp_path / "in", tmp_path / "x.ini"
    origin.mkdir()
    more = f"request_port = {free_port()}" if program == "server" else f"destinations = {tmp_path}/out/"
    config.write_text(f"[one]\norigin = {origin}/{{name}}\ntopic = /t\ndelete = true\nreconcile = 1\n{more}\n")
    running = Program.ours(program, "-p", str(free_port()), "--journal", origin / "x.journal", config, log=tmp_path / "log")
    with running:
        running.wait_for("watches the directory that holds the journal")
        for name in ("x.journal.dat", "x.journa", "y.journal"):
            (origin / name).write_bytes(b"1")
        eventually(lambda: {name for (name,) in rows(origin / "x.journal", "SELECT identity FROM files")}
                   == {"x.journal.dat", "x.journa", "y.journal"})
        for part in ("x.journal.audit.jsonl", "x.journal.audit.jsonl.1"):
            (origin / part).write_bytes(b"1")
        for part in ("x.journal", "x.journal-wal", "x.journal-shm"):  # as a reader of the journal does
            (origin / part).open("rb+").close()
        never(lambda: not running.running or rows(origin / "x.journal", "SELECT count(*) FROM files") != [(3,)]
              or not locks(origin / "x.journal-shm", running.pid), 2.5)
        assert (origin / "x.journal").exists()


@pytest.mark.parametrize("victim", ["server", "client"])
def test_who_is_stopped_while_the_disk_of_its_journal_is_full_ends_in_time(tmp_path: Path, small_disk: Path, victim: str) -> None:
    """What it could not note is done after the next start."""
    network = Network(tmp_path)
    network.killed = True
    program, place = ((network.servers[0], network.server_journal()) if victim == "server"
                      else (network.client, network.client_journal))
    place.symlink_to(small_disk / "j.journal")
    with network:
        network.begin(10)
        filler = fill(small_disk)
        network.write_many(300, "full")
        program.wait_for("journal cannot be written")
        program.signal(signal.SIGTERM)
        assert program.wait(40) == 0 and "Traceback" not in program.output()
        filler.unlink()
        program.start()
        network.settle()
        network.check()
