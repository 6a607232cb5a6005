"""What every mover promises, written once.

A mover's test file gives a fixture `place` and inherits a class::

    @pytest.fixture
    def place(tmp_path, server):
        return LocalPlace(SftpMover(), f"sftp://user@127.0.0.1:{server.port}{server.root}/", settings, server.root,
                          address=("127.0.0.1", server.port), secret="planted")

    class TestSftp(NetworkContract):
        pass

`MoverContract` needs no network; `NetworkContract` adds what connections promise, through `tests.support.tcp_proxy`. A place that
is no directory of this machine (an object store) subclasses `Place`; one whose server opens further connections (ftp) overrides
`through`. Nothing here measures time: the deadlines only keep a hanging test from hanging for ever.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import random
import shutil
import subprocess
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.tcp_proxy import NO_FAULT, Fault, TcpProxy
from trollmoves.errors import (
    Cancelled,
    DestinationFull,
    DestinationInvalid,
    LoginRefused,
    MoveError,
    OriginChanged,
    Stalled,
    TemporaryError,
    Unreachable,
    VerificationFailed,
)
from trollmoves.movers.bandwidth import Bandwidth
from trollmoves.movers.base import Mover, Origin, Progress, Receipt, Session, SessionSettings
from trollmoves.movers.moving import RESUME_FROM, How, ignore, move, temporary_name
from trollmoves.movers.sessions import Sessions
from trollmoves.uris import parse_destination

LARGE = 24 * 2**20
HOW = How(transfer="0123456789abcdef", overwrite="replace")
LONG_AGO = 1_500_000_000 * 10**9
"""Nanoseconds; the time that origins carry, so that a change during a move shows whatever the clock's grain."""
NAMES = [
    "with some spaces.dat", "käse-Δ-東京.dat", "100% sure#1.dat", "what?a+b&c=d.dat", "-rf", "[a]{b}*~!.dat", "a;b'c\"d$e`f.dat",
    "semi\\colon:@.dat", "x" * 210 + ".dat", "é" * 110,
]


CONTROLS = ["new\nline.dat", "tab\tbell\a.dat"]
NOT_UTF8 = os.fsdecode(b"latin-\xe4.dat")
ODD_NAMES = [*CONTROLS, NOT_UTF8, " before and behind "]


class Place(ABC):
    """A directory on a running server, empty when a test starts."""

    def __init__(self, mover: Mover, uri: str, settings: SessionSettings, address: tuple[str, int] | None = None,
                 secret: str = ""):
        self.mover = mover
        self.uri = uri
        """Of the directory, with a slash at the end and with the credentials that a test needs."""
        self.settings = settings
        self.address = address
        """Host and TCP port of the server."""
        self.secret = secret
        """A password that is in use and may be seen nowhere."""

    @property
    def paced_host(self) -> str:
        """By which bandwidth is counted; empty for this machine."""
        return self.address[0] if self.address else parse_destination(self.uri).host

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """What a consumer finds under *name* (relative to the place) now; None when there is nothing."""

    @abstractmethod
    def names(self) -> set[str]:
        """Every file below the place, hidden ones too, relative to it."""

    def status(self, name: str) -> tuple[int, int]:
        """Modification time (nanoseconds) and permission bits; for movers with `Abilities.attributes`."""
        raise NotImplementedError

    def write(self, name: str, content: bytes) -> None:
        """Put *content* at *name* behind the mover's back; for movers with `Abilities.resume`."""
        raise NotImplementedError

    def small_disk(self) -> contextlib.AbstractContextManager[str]:
        """The name of a directory below the place in which 1 MiB fits and not much more."""
        pytest.skip("no small disk can be made here")

    def refused(self) -> tuple[str, SessionSettings]:
        """A uri (and settings) that the server refuses to log in."""
        raise NotImplementedError

    def at(self, host: str, port: int) -> tuple[str, SessionSettings]:
        """The uri of this place by way of another address, and the settings to reach it there."""
        return replace(parse_destination(self.uri), host=host, port=port).with_credentials, self.settings

    @contextlib.contextmanager
    def through(self, upward: Fault = NO_FAULT, downward: Fault = NO_FAULT) -> Iterator[Way]:
        """A bad network in front of the place."""
        assert self.address is not None
        with TcpProxy(*self.address, upward=upward, downward=downward) as proxy:
            yield Way(*self.at(proxy.host, proxy.port), proxy)


@dataclass
class Way:
    """How to reach a place through a proxy."""

    uri: str
    settings: SessionSettings
    proxy: TcpProxy

    def heal(self) -> None:
        """From now on nothing goes wrong any more."""
        self.proxy.upward = self.proxy.downward = NO_FAULT

    def cut(self) -> None:
        """Reset all open connections."""
        self.proxy.cut_all()

    @property
    def connections(self) -> int:
        """How many there have been."""
        return self.proxy.connections


class LocalPlace(Place):
    """A place that is a directory of this machine."""

    def __init__(self, mover: Mover, uri: str, settings: SessionSettings, root: Path, address: tuple[str, int] | None = None,
                 secret: str = "", refusal: tuple[str, SessionSettings] | None = None):
        super().__init__(mover, uri, settings, address, secret)
        self.root = root
        self.refusal = refusal

    def read(self, name: str) -> bytes | None:
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None

    def names(self) -> set[str]:
        return {str(path.relative_to(self.root)) for path in self.root.rglob("*") if not path.is_dir()}

    def status(self, name: str) -> tuple[int, int]:
        status = (self.root / name).stat()
        return status.st_mtime_ns, status.st_mode & 0o7777

    def write(self, name: str, content: bytes) -> None:
        (self.root / name).write_bytes(content)

    @contextlib.contextmanager
    def small_disk(self) -> Iterator[str]:
        directory = self.root / "small"
        directory.mkdir()
        mounted = shutil.which("mount") and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", directory], capture_output=True).returncode == 0
        if not mounted:
            pytest.skip("mounting a tmpfs needs root")
        try:
            directory.chmod(0o777)
            (directory / "filler").write_bytes(bytes(2**20))
            yield "small/"
        finally:
            subprocess.run(["umount", "-l", directory], check=True)

    def refused(self) -> tuple[str, SessionSettings]:
        assert self.refusal is not None
        return self.refusal


def content_of(size: int, seed: int = 0) -> bytes:
    """*size* bytes in which no two blocks are alike."""
    return hashlib.shake_256(f"{size}-{seed}".encode()).digest(size)


def make(path: Path, content: bytes) -> Path:
    """A file to be moved, last modified long ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=(LONG_AGO, LONG_AGO))
    return path


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Origin]:
    """*path* as a mover gets it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield Origin.of(str(path), descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def session_of(place: Place, uri: str = "", settings: SessionSettings | None = None) -> Iterator[Session]:
    """A new session to the place, or to *uri*."""
    with place.mover.open(parse_destination(uri or place.uri), settings or place.settings) as session:
        yield session


def send(place: Place, session: Session, path: Path, target: str = "", *, uri: str = "", how: How = HOW,
         progress: Progress = ignore) -> Receipt:
    """Move *path* to *target* (relative to the place) over *session*."""
    destination = parse_destination(uri or place.uri)
    with opened(path) as origin:
        return move(origin, destination.with_path(destination.path + target), session, place.mover.abilities, how, progress)


def deliver(place: Place, path: Path, target: str = "", *, uri: str = "", settings: SessionSettings | None = None, how: How = HOW,
            progress: Progress = ignore) -> Receipt:
    """As `send`, over a session of its own."""
    with session_of(place, uri, settings) as session:
        return send(place, session, path, target, uri=uri, how=how, progress=progress)


def assert_clear(place: Place, error: BaseException, uri: str = "") -> None:
    """The error says which destination it is about, and shows no password."""
    destination = parse_destination(uri or place.uri)
    assert isinstance(error, MoveError)
    assert (destination.host or destination.path) in str(error)
    for secret in filter(None, (place.secret, destination.password)):
        assert secret not in everything_said(error)


def current_umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def everything_said(error: BaseException) -> str:
    """All that a log or a user could see of an error, causes included."""
    return "".join(traceback.format_exception(error)) + repr(error)


@dataclass
class Reader:
    """A consumer who looks at one name all the time."""

    place: Place
    name: str
    seen: set[bytes | None] = field(default_factory=set)
    looks: int = 0

    def look(self) -> None:
        content = self.place.read(self.name)
        self.seen.add(None if content is None else hashlib.sha256(content).digest())
        self.looks += 1

    @contextlib.contextmanager
    def looking(self) -> Iterator[Reader]:
        """Look until the block ends."""
        ended = threading.Event()

        def run() -> None:
            while not ended.wait(0.05):
                self.look()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield self
        finally:
            ended.set()
            thread.join()


class MoverContract:
    """Promises that need no network."""

    refused_names: tuple[str, ...] = ()
    """Odd names that this kind of server, or its protocol, cannot have."""
    many = 1000
    """How many files one session moves in a row."""
    replaces_at_once = True
    """Whether the server can put a file in the place of another; else there is a moment with neither."""

    @pytest.fixture(autouse=True)
    def no_secret_in_the_log(self, place: Place, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
        caplog.set_level(logging.DEBUG)
        yield
        assert not place.secret or place.secret not in caplog.text

    @pytest.mark.parametrize("size", [0, 1, 20 * 1024, 2**20 + 1, LARGE])
    def test_bytes_are_identical_and_the_receipt_says_what_was_verified(self, place: Place, tmp_path: Path, size: int) -> None:
        content = content_of(size)
        receipt = deliver(place, make(tmp_path / "origin.dat", content), "final.dat")
        assert place.read("final.dat") == content
        assert place.names() == {"final.dat"}
        assert receipt.size == size and receipt.copied
        assert receipt.uri == parse_destination(place.uri + "final.dat").exact
        assert receipt.checksum in (None, f"sha256:{hashlib.sha256(content).hexdigest()}")
        assert receipt.verified in ("sum", "size") or not place.mover.abilities.size
        assert not place.secret or place.secret not in repr(receipt)

    @pytest.mark.parametrize("name", NAMES)
    def test_any_name_arrives_as_it_is(self, place: Place, tmp_path: Path, name: str) -> None:
        path = make(tmp_path / "origins" / name, b"what is in it")
        receipt = deliver(place, path)
        assert place.read(name) == b"what is in it"
        assert place.names() == {name}
        assert receipt.uri.endswith("/" + name)

    @pytest.mark.parametrize("name", ODD_NAMES)
    def test_an_odd_name_arrives_as_it_is_or_is_refused(self, place: Place, tmp_path: Path, name: str) -> None:
        path = make(tmp_path / "origins" / name, b"what is in it")
        if name in self.refused_names:
            with pytest.raises(DestinationInvalid):
                deliver(place, path)
            assert place.names() == set()
        else:
            deliver(place, path)
            assert place.read(name) == b"what is in it"
            assert place.names() == {name}

    def test_a_trailing_slash_keeps_the_name_of_the_origin(self, place: Place, tmp_path: Path) -> None:
        deliver(place, make(tmp_path / "kept.dat", b"1"), "new/")
        assert place.read("new/kept.dat") == b"1"

    def test_missing_directories_are_made(self, place: Place, tmp_path: Path) -> None:
        path = make(tmp_path / "origin.dat", b"deep")
        deliver(place, path, "a/b c/ü/final.dat")
        deliver(place, path, "a/b c/ü/again.dat")
        assert place.names() == {"a/b c/ü/final.dat", "a/b c/ü/again.dat"}
        assert place.read("a/b c/ü/final.dat") == b"deep"

    def test_making_directories_twice_is_fine(self, place: Place) -> None:
        with session_of(place) as session:
            directory = parse_destination(place.uri).path + "x/y"
            session.make_directories(directory)
            session.make_directories(directory)

    @pytest.mark.parametrize("old", [b"", b"short", content_of(3 * 2**20)])
    def test_an_existing_file_is_replaced_whole(self, place: Place, tmp_path: Path, old: bytes) -> None:
        new = content_of(2**20, seed=1)
        deliver(place, make(tmp_path / "old.dat", old), "final.dat")
        deliver(place, make(tmp_path / "new.dat", new), "final.dat")
        assert place.read("final.dat") == new
        assert place.names() == {"final.dat"}

    @pytest.mark.parametrize("overwrite", ["identical", "replace"])
    def test_the_same_move_twice_succeeds(self, place: Place, tmp_path: Path, overwrite: str) -> None:
        path, how = make(tmp_path / "origin.dat", b"twice"), HOW._replace(overwrite=overwrite)
        deliver(place, path, "final.dat", how=how)
        receipt = deliver(place, path, "final.dat", how=how)
        assert receipt.size == 5
        assert place.read("final.dat") == b"twice"
        assert place.names() == {"final.dat"}

    def test_the_final_name_is_never_seen_partial(self, place: Place, tmp_path: Path) -> None:
        old, new = content_of(LARGE, seed=2), content_of(LARGE, seed=3)
        deliver(place, make(tmp_path / "old.dat", old), "final.dat")
        reader = Reader(place, "final.dat")

        def slow(done: int) -> None:
            if done % (LARGE // 8) < 2**16 or done > LARGE - 2**17:
                reader.look()
                time.sleep(0.01)

        with reader.looking():
            deliver(place, make(tmp_path / "new.dat", new), "final.dat", progress=slow)
            deliver(place, tmp_path / "new.dat", "first.dat", progress=slow)
        reader.look()
        assert reader.looks > 1
        allowed = set() if self.replaces_at_once else {None}
        assert reader.seen - allowed == {hashlib.sha256(old).digest(), hashlib.sha256(new).digest()}

    def test_the_prefix_of_upstream_names_the_temporary_file(self, place: Place, tmp_path: Path) -> None:
        """`use_tmp_on_transfer` and `tmp_prefix`; where no name is needed the file goes to its own as before."""
        path = make(tmp_path / "origin.dat", content_of(LARGE))
        for prefix, expected in ((".tmp_", f".tmp_{HOW.transfer}.part.final.dat"), ("", f".final.dat.{HOW.transfer}.part")):
            seen: set[str] = set()
            with session_of(place) as session:
                renames = session.abilities(place.mover.abilities).rename
                send(place, session, path, "final.dat", how=HOW._replace(temporary_prefix=prefix),
                     progress=lambda done: seen.update(place.names()) if len(seen) < 2 else None)  # noqa: B023 - called at once
            assert expected in seen or not renames
            assert place.read("final.dat") == content_of(LARGE)
            assert place.names() == {"final.dat"}

    @pytest.mark.parametrize("prefix", [None, ".", "tmp_"])
    def test_another_that_sends_a_file_of_that_name_meanwhile_is_not_in_the_way(self, place: Place, tmp_path: Path,
                                                                                prefix: str | None) -> None:
        first, second = content_of(LARGE, seed=1), content_of(LARGE, seed=2)
        with session_of(place) as session:
            if not session.abilities(place.mover.abilities).rename:
                pytest.skip("no temporary names are needed there")
        how, other = HOW._replace(temporary_prefix=prefix), HOW._replace(transfer="fedcba9876543210", temporary_prefix=prefix)
        between: list[bytes | None] = []

        def another(done: int) -> None:
            if 0 < done < LARGE and not between:
                between.append(None)
                deliver(place, make(tmp_path / "second.dat", second), "final.dat", how=other)
                between.append(place.read("final.dat"))
            elif len(between) == 2:
                between.append(place.read("final.dat"))
        deliver(place, make(tmp_path / "first.dat", first), "final.dat", how=how, progress=another)
        assert {part == second for part in between[1:-1]} <= {True}, "what was delivered stays whole until the other is"
        assert place.read("final.dat") == first
        assert place.names() == {"final.dat"}

    def test_what_another_left_of_a_file_of_that_name_is_not_gone_on_with(self, place: Place, tmp_path: Path) -> None:
        if not place.mover.abilities.resume:
            pytest.skip("this mover cannot resume")
        content, how = content_of(LARGE), HOW._replace(temporary_prefix=".", resume=True)
        for name in (".final.dat", temporary_name("final.dat", "fedcba9876543210", ".")):
            place.write(name, bytes(LARGE - 2**20))
        deliver(place, make(tmp_path / "origin.dat", content), "final.dat", how=how)
        assert place.read("final.dat") == content

    def test_the_progress_ends_with_all_bytes(self, place: Place, tmp_path: Path) -> None:
        steps: list[int] = []
        deliver(place, make(tmp_path / "origin.dat", content_of(LARGE)), "final.dat", progress=steps.append)
        assert steps == sorted(steps)
        assert steps[-1] == LARGE

    def test_a_cancelled_move_leaves_nothing(self, place: Place, tmp_path: Path) -> None:
        def cancel(done: int) -> None:
            raise Cancelled("somebody said so")

        path = make(tmp_path / "origin.dat", content_of(LARGE))
        with session_of(place) as session, pytest.raises(Cancelled):
            send(place, session, path, "final.dat", progress=cancel)
        assert place.names() == set()
        deliver(place, path, "final.dat")
        assert place.names() == {"final.dat"}

    @pytest.mark.parametrize("change", ["truncated", "appended", "rewritten"])
    def test_an_origin_that_changes_is_not_delivered(self, place: Place, tmp_path: Path, change: str) -> None:
        path = make(tmp_path / "origin.dat", content_of(LARGE))

        def disturb(done: int) -> None:
            with open(path, "r+b") as file:
                if change == "truncated":
                    file.truncate(LARGE // 3)
                else:
                    file.seek(LARGE if change == "appended" else 0)
                    file.write(b"something else")

        with pytest.raises((OriginChanged, VerificationFailed)) as caught:
            deliver(place, path, "final.dat", progress=disturb)
        assert_clear(place, caught.value)
        assert place.names() == set()

    def test_what_was_opened_is_delivered_when_the_name_means_another_file(self, place: Place, tmp_path: Path) -> None:
        content = content_of(LARGE)
        path, other = make(tmp_path / "origin.dat", content), make(tmp_path / "other.dat", b"another product")

        def replace_it(done: int) -> None:
            if other.exists():
                other.rename(path)

        deliver(place, path, "final.dat", progress=replace_it)
        assert place.read("final.dat") == content

    def test_many_files_go_over_one_session(self, place: Place, tmp_path: Path) -> None:
        path = make(tmp_path / "origin.dat", content_of(500))
        with session_of(place) as session:
            for number in range(self.many):
                send(place, session, path, f"in/{number:04d}")
        assert place.names() == {f"in/{number:04d}" for number in range(self.many)}
        assert place.read(f"in/{self.many - 1:04d}") == content_of(500)

    def test_several_threads_move_at_once_into_directories_that_are_not_there(self, place: Place, tmp_path: Path) -> None:
        count = min(place.mover.abilities.parallel, 8)
        paths = [make(tmp_path / f"{number}.dat", content_of(50_000, number)) for number in range(count)]
        together = threading.Barrier(count)

        def run(number: int) -> None:
            with session_of(place) as session:
                together.wait(60)
                for turn in range(5):
                    send(place, session, paths[number], f"{turn}/deep/{number}.dat", how=HOW._replace(transfer=f"{number:016x}"))

        with ThreadPoolExecutor(count) as pool:
            list(pool.map(run, range(count)))
        assert place.names() == {f"{turn}/deep/{number}.dat" for turn in range(5) for number in range(count)}
        for number in range(count):
            assert place.read(f"4/deep/{number}.dat") == content_of(50_000, number)

    @pytest.mark.parametrize("size", [300_000, LARGE // 2])
    def test_all_threads_keep_to_the_bandwidth_of_a_host(self, place: Place, tmp_path: Path, size: int) -> None:
        paths = [make(tmp_path / f"{number}.dat", content_of(size, number)) for number in range(2)]
        settings = replace(place.settings, bandwidth=Bandwidth(), section="limited")
        settings.bandwidth.limit("limited", size)
        started = time.monotonic()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda path: deliver(place, path, settings=settings), paths, timeout=100))
        assert time.monotonic() - started >= 2.0
        assert [place.read(path.name) for path in paths] == [content_of(size, number) for number in range(2)]

    def test_a_lifted_limit_counts_at_once(self, place: Place, tmp_path: Path) -> None:
        settings = replace(place.settings, bandwidth=Bandwidth(), section="limited")
        settings.bandwidth.limit("limited", 4096)
        paths = [make(tmp_path / f"{size}.dat", content_of(size)) for size in (2**20, LARGE)]  # minutes and hours
        with ThreadPoolExecutor(2) as pool:
            moves = [pool.submit(deliver, place, path, settings=settings) for path in paths]
            time.sleep(0.5)
            assert not any(move.done() for move in moves)
            settings.bandwidth.limit("limited", None)
            for path, ended in zip(paths, moves, strict=True):
                ended.result(60)
                assert place.read(path.name) == path.read_bytes()

    def test_closing_twice_is_harmless(self, place: Place, tmp_path: Path) -> None:
        session = place.mover.open(parse_destination(place.uri), place.settings)
        send(place, session, make(tmp_path / "origin.dat", b"1"), "final.dat")
        session.close()
        session.close()

    def test_a_closed_session_does_not_hinder_another(self, place: Place, tmp_path: Path) -> None:
        path = make(tmp_path / "origin.dat", b"1")
        with session_of(place) as second:
            with session_of(place) as first:
                send(place, first, path, "first.dat")
            send(place, second, path, "second.dat")
        assert place.names() == {"first.dat", "second.dat"}

    def test_removing_and_asking_for_what_is_not_there(self, place: Place, tmp_path: Path) -> None:
        path = parse_destination(place.uri).path + "final.dat"
        with session_of(place) as session:
            session.remove(path)
            assert session.size(path) is None
            send(place, session, make(tmp_path / "origin.dat", b"12345"), "final.dat")
            assert session.size(path) == (5 if place.mover.abilities.size else None)
            session.remove(path)
            assert session.size(path) is None
        assert place.names() == set()

    def test_a_missing_temporary_file_cannot_be_renamed(self, place: Place) -> None:
        if not place.mover.abilities.rename:
            pytest.skip("this mover does not rename")
        path = parse_destination(place.uri).path
        with session_of(place) as session, pytest.raises(MoveError):
            session.rename(path + "nothing", path + "final.dat")
        assert place.names() == set()

    def test_time_and_mode_are_kept(self, place: Place, tmp_path: Path) -> None:
        if not place.mover.abilities.attributes:
            pytest.skip("this mover keeps no attributes")
        for size in (100, LARGE):
            path = make(tmp_path / f"{size}.dat", content_of(size))
            path.chmod(0o640)
            deliver(place, path)
            mtime, mode = place.status(path.name)
            assert mtime // 10**9 == LONG_AGO // 10**9
            assert mode == 0o640

    def test_the_mode_of_the_section_is_given(self, place: Place, tmp_path: Path) -> None:
        if not place.mover.abilities.attributes:
            pytest.skip("this mover keeps no attributes")
        for size in (0, LARGE):
            path = make(tmp_path / f"{size}.dat", content_of(size))
            deliver(place, path, settings=replace(place.settings, file_mode=0o604))
            assert place.status(path.name)[1] == 0o604

    def test_the_checksum_is_that_of_the_other_side(self, place: Place, tmp_path: Path) -> None:
        if not place.mover.abilities.checksum:
            pytest.skip("this mover cannot ask for checksums")
        content = content_of(LARGE)
        receipt = deliver(place, make(tmp_path / "origin.dat", content), "final.dat", how=HOW._replace(checksum="always"))
        assert receipt.verified == "sum"
        with session_of(place) as session:
            path = parse_destination(place.uri).path + "final.dat"
            assert session.checksum(path) == f"sha256:{hashlib.sha256(content).hexdigest()}" == receipt.checksum

    def test_a_synced_file_arrives(self, place: Place, tmp_path: Path) -> None:
        if not place.mover.abilities.sync:
            pytest.skip("this mover cannot sync")
        deliver(place, make(tmp_path / "origin.dat", b"safe"), "new/final.dat", how=HOW._replace(sync=True))
        assert place.read("new/final.dat") == b"safe"

    def test_a_partial_file_is_gone_on_with(self, place: Place, tmp_path: Path) -> None:
        if not place.mover.abilities.resume:
            pytest.skip("this mover cannot resume")
        content, steps = content_of(LARGE), list[int]()
        place.write(temporary_name("final.dat", HOW.transfer), content[:LARGE - 2**20])
        receipt = deliver(place, make(tmp_path / "origin.dat", content), "final.dat", how=HOW._replace(resume=True),
                          progress=steps.append)
        assert place.read("final.dat") == content
        assert place.names() == {"final.dat"}
        assert receipt.size == LARGE
        assert steps[0] >= RESUME_FROM

    def test_a_destination_that_is_a_directory_takes_the_file_in(self, place: Place, tmp_path: Path) -> None:
        with session_of(place) as session:
            directory = parse_destination(place.uri).path + "there"
            session.make_directories(directory)
            if not session.is_directory(directory):
                pytest.skip("this mover cannot tell a directory")
            assert not session.is_directory(directory + "/nothing")
            send(place, session, make(tmp_path / "origin.dat", b"1"), "there")
        assert place.names() == {"there/origin.dat"}

    def test_a_full_disk_is_said_and_nothing_is_left(self, place: Place, tmp_path: Path) -> None:
        path = make(tmp_path / "origin.dat", content_of(LARGE))
        with place.small_disk() as small:
            before = place.names()
            for how in (HOW, HOW._replace(resume=True)):
                with pytest.raises(DestinationFull) as caught:
                    deliver(place, path, small, how=how)
                assert_clear(place, caught.value)
                assert place.names() == before
            deliver(place, make(tmp_path / "fits.dat", content_of(1000)), small)
            assert place.names() == before | {small + "fits.dat"}


class DirectoryContract:
    """Promises of movers that make directories with permissions."""

    def test_directories_get_the_mode_of_the_section(self, place: Place, tmp_path: Path) -> None:
        path = make(tmp_path / "origin.dat", b"1")
        for mode in (0o777, 0o755, 0o770, 0o2775):  # 0o777: as they come
            deliver(place, path, f"{mode:o}/b/", settings=replace(place.settings, directory_mode=mode))
            expected = mode if mode != 0o777 else 0o777 & ~current_umask()
            assert place.status(f"{mode:o}/b")[1] == expected
            assert place.status(f"{mode:o}")[1] | 0o2000 == expected | 0o2000


class NetworkContract(MoverContract):
    """Promises of movers that connect somewhere."""

    def test_many_files_go_over_one_session(self, place: Place, tmp_path: Path) -> None:
        path = make(tmp_path / "origin.dat", content_of(500))
        with place.through() as way, session_of(place, way.uri, way.settings) as session:
            send(place, session, path, "in/0000", uri=way.uri)
            before = way.connections
            for number in range(1, self.many):
                send(place, session, path, f"in/{number:04d}", uri=way.uri)
            assert way.connections == before
        assert place.names() == {f"in/{number:04d}" for number in range(self.many)}
        assert place.read(f"in/{self.many - 1:04d}") == content_of(500)

    def test_a_host_that_does_not_answer_is_unreachable(self, place: Place) -> None:
        uri, settings = place.at("127.0.0.1", free_port())
        with pytest.raises(Unreachable) as caught:
            place.mover.open(parse_destination(uri), settings)
        assert not caught.value.permanent
        assert_clear(place, caught.value, uri)

    def test_a_host_that_takes_and_says_nothing_is_given_up_in_time(self, place: Place) -> None:
        with place.through() as way, way.proxy.black():
            settings = replace(way.settings, connect_timeout=1.0, stall_timeout=1.0)
            ended = self._within(60, lambda: place.mover.open(parse_destination(way.uri), settings))
            assert isinstance(ended, TemporaryError)

    def test_a_refused_login_is_permanent(self, place: Place) -> None:
        uri, settings = place.refused()
        with pytest.raises(LoginRefused) as caught:
            place.mover.open(parse_destination(uri), settings)
        assert caught.value.permanent
        assert_clear(place, caught.value, uri)

    @pytest.mark.parametrize("after", [0, 1, 100_000, LARGE // 2, LARGE])
    def test_a_cut_leaves_no_final_name_and_the_next_try_succeeds(self, place: Place, tmp_path: Path, after: int) -> None:
        content = content_of(LARGE)
        path = make(tmp_path / "origin.dat", content)
        with place.through(upward=Fault(cut_after=after)) as way:
            with pytest.raises(TemporaryError) as caught:
                deliver(place, path, "final.dat", uri=way.uri, settings=way.settings)
            assert_clear(place, caught.value, way.uri)
            assert place.read("final.dat") is None
            way.heal()
            deliver(place, path, "final.dat", uri=way.uri, settings=way.settings)
        assert place.read("final.dat") == content
        assert place.names() == {"final.dat"}

    @pytest.mark.nightly
    @pytest.mark.timeout(1200)
    def test_any_cut_is_recovered_from(self, place: Place, tmp_path: Path) -> None:
        """Two hundred connections, each cut at a random byte of either direction; the seed is printed."""
        seed = int(os.environ.get("TROLLMOVES_TEST_SEED") or random.randrange(10**9))
        print(f"TROLLMOVES_TEST_SEED={seed}")
        dice, content = random.Random(seed), content_of(300_000)
        path = make(tmp_path / "origin.dat", content)
        for number in range(200):
            fault = Fault(cut_after=dice.randrange(dice.choice((100, 5000, 310_000))), connections=1)
            with place.through(**{dice.choice(("upward", "downward")): fault}) as way:
                with contextlib.suppress(TemporaryError):
                    deliver(place, path, f"final{number}.dat", uri=way.uri, settings=way.settings)
                assert place.read(f"final{number}.dat") in (None, content), f"partial after {fault}"
                way.heal()
                deliver(place, path, f"final{number}.dat", uri=way.uri, settings=way.settings)
            assert place.read(f"final{number}.dat") == content
        assert place.names() == {f"final{number}.dat" for number in range(200)}

    @pytest.mark.nightly
    @pytest.mark.timeout(600)
    @pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99, 1.0])
    def test_silence_at_any_share_is_given_up_and_recovered_from(self, place: Place, tmp_path: Path, share: float) -> None:
        content = content_of(LARGE)
        path = make(tmp_path / "origin.dat", content)
        with place.through(upward=Fault(blackhole_after=int(share * LARGE))) as way:
            settings = replace(way.settings, connect_timeout=2.0, stall_timeout=2.0)
            ended = self._within(75, lambda: deliver(place, path, "final.dat", uri=way.uri, settings=settings))
            assert isinstance(ended, TemporaryError)
            assert place.read("final.dat") in (None, content)
        deliver(place, path, "final.dat")
        assert place.read("final.dat") == content
        assert place.names() == {"final.dat"}

    @pytest.mark.parametrize("size", [1000, LARGE])
    def test_a_lost_answer_leaves_a_whole_file_or_none(self, place: Place, tmp_path: Path, size: int) -> None:
        path = make(tmp_path / "origin.dat", content_of(size))
        with place.through() as way:
            with session_of(place, way.uri, way.settings) as session:
                way.proxy.downward = Fault(cut_after=0)
                with pytest.raises(TemporaryError) as caught:
                    send(place, session, path, "final.dat", uri=way.uri)
            assert_clear(place, caught.value, way.uri)
            assert place.read("final.dat") in (None, content_of(size))
            way.heal()
            deliver(place, path, "final.dat", uri=way.uri, settings=way.settings)
        assert place.read("final.dat") == content_of(size)
        assert place.names() == {"final.dat"}

    def test_a_slow_peer_is_waited_for_while_bytes_move(self, place: Place, tmp_path: Path) -> None:
        path = make(tmp_path / "origin.dat", content_of(1_200_000))
        with place.through(upward=Fault(rate=200_000, chunk=4096)) as way:
            deliver(place, path, "final.dat", uri=way.uri, settings=replace(way.settings, stall_timeout=3.0))
        assert place.read("final.dat") == content_of(1_200_000)

    def test_a_peer_that_is_slower_than_the_user_wants_is_given_up(self, place: Place, tmp_path: Path) -> None:
        path, how = make(tmp_path / "origin.dat", content_of(LARGE)), HOW._replace(min_rate=10_000_000, patience=0.5)
        with place.through(upward=Fault(rate=400_000, chunk=4096)) as way:
            with pytest.raises(Stalled, match="min_rate") as caught:
                deliver(place, path, "final.dat", uri=way.uri, settings=way.settings, how=how)
            assert_clear(place, caught.value, way.uri)
            assert place.read("final.dat") is None
            way.heal()
            deliver(place, path, "final.dat", uri=way.uri, settings=way.settings)
        assert place.read("final.dat") == content_of(LARGE)

    def test_a_limit_of_ours_is_not_slower_than_the_user_wants(self, place: Place, tmp_path: Path) -> None:
        path, how = make(tmp_path / "origin.dat", content_of(300_000)), HOW._replace(min_rate=10_000_000, patience=1.0)
        settings = replace(place.settings, bandwidth=Bandwidth(), section="limited")
        settings.bandwidth.limit("limited", 150_000)
        started = time.monotonic()
        deliver(place, path, "final.dat", settings=settings, how=how)
        assert time.monotonic() - started >= 1.5
        assert place.read("final.dat") == content_of(300_000)

    def test_a_pause_that_the_bandwidth_asks_for_is_no_stall(self, place: Place, tmp_path: Path) -> None:
        path = make(tmp_path / "origin.dat", content_of(200_000))
        settings = replace(place.settings, stall_timeout=2.5, bandwidth=Bandwidth(), section="limited")
        settings.bandwidth.limit("limited", 200_000)
        with ThreadPoolExecutor(1) as pool, session_of(place, settings=settings) as session:
            others = pool.submit(settings.pace(place.paced_host).wait_for, 3 * 200_000)
            started = time.monotonic()
            time.sleep(0.2)
            send(place, session, path, "final.dat")
            assert time.monotonic() - started >= 3.0
            assert others.done()
        assert place.read("final.dat") == content_of(200_000)

    def test_a_cut_upload_is_resumed(self, place: Place, tmp_path: Path) -> None:
        if not place.mover.abilities.resume:
            pytest.skip("this mover cannot resume")
        content, how, steps = content_of(2 * LARGE), HOW._replace(resume=True), list[int]()
        path = make(tmp_path / "origin.dat", content)
        with place.through(upward=Fault(cut_after=2 * LARGE - 2**20)) as way:
            with pytest.raises(TemporaryError):
                deliver(place, path, "final.dat", uri=way.uri, settings=way.settings, how=how)
            way.heal()
            deliver(place, path, "final.dat", uri=way.uri, settings=way.settings, how=how, progress=steps.append)
        assert place.read("final.dat") == content
        assert place.names() == {"final.dat"}
        assert steps[0] >= RESUME_FROM

    @pytest.mark.parametrize("fault", [Fault(stall_after=2**20), Fault(blackhole_after=2**20)], ids=["stall", "blackhole"])
    def test_a_silent_peer_is_given_up(self, place: Place, tmp_path: Path, fault: Fault) -> None:
        path = make(tmp_path / "origin.dat", content_of(LARGE))
        with place.through(upward=fault) as way:
            settings = replace(way.settings, stall_timeout=1.0)
            ended = self._within(60, lambda: deliver(place, path, "final.dat", uri=way.uri, settings=settings))
            assert isinstance(ended, Stalled)
            assert_clear(place, ended, way.uri)
        assert place.read("final.dat") is None

    def test_an_answer_that_never_comes_is_given_up(self, place: Place, tmp_path: Path) -> None:
        path = make(tmp_path / "origin.dat", content_of(20_000))
        with place.through() as way, session_of(place, way.uri, replace(way.settings, stall_timeout=3.0)) as session:
            send(place, session, path, "first.dat", uri=way.uri)
            with way.proxy.black():
                ended = self._within(60, lambda: send(place, session, path, "final.dat", uri=way.uri))
                assert isinstance(ended, (Stalled, Unreachable))
        # What needs no temporary name was sent whole, and may arrive when bytes pass again, before the end of the connection.
        assert place.read("final.dat") in (None, content_of(20_000))

    def test_a_session_that_the_server_closed_is_opened_again(self, place: Place, tmp_path: Path) -> None:
        path = make(tmp_path / "origin.dat", b"1")
        now = [0.0]
        sessions = Sessions(clock=lambda: now[0], mover_for=lambda scheme: place.mover)
        with place.through() as way, contextlib.closing(sessions):
            destination = parse_destination(way.uri)
            kept = sessions.get(destination, way.settings)
            send(place, kept.session, path, "first.dat", uri=way.uri)
            before = way.connections
            now[0] += way.settings.connection_uptime * 0.9
            assert sessions.get(destination, way.settings) is kept
            send(place, kept.session, path, "second.dat", uri=way.uri)
            way.cut()
            now[0] += way.settings.connection_uptime * 0.9
            fresh = sessions.get(destination, way.settings)
            assert fresh is not kept
            send(place, fresh.session, path, "third.dat", uri=way.uri)
            assert way.connections > before
        assert place.names() == {"first.dat", "second.dat", "third.dat"}

    def test_a_lost_session_says_so(self, place: Place, tmp_path: Path) -> None:
        path = make(tmp_path / "origin.dat", b"1")
        with place.through() as way, session_of(place, way.uri, way.settings) as session:
            send(place, session, path, "first.dat", uri=way.uri)
            assert session.is_alive()
            way.cut()
            with pytest.raises(TemporaryError):
                send(place, session, path, "second.dat", uri=way.uri)
            assert not session.is_alive()

    def test_closing_a_lost_session_is_harmless(self, place: Place) -> None:
        with place.through() as way:
            session = place.mover.open(parse_destination(way.uri), way.settings)
            way.cut()
            self._within(60, session.close)
            session.close()

    def test_a_backup_target_takes_over_and_is_kept(self, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = make(tmp_path / "origin.dat", b"1")
        sessions = Sessions(mover_for=lambda scheme: place.mover)
        with place.through() as way, contextlib.closing(sessions):
            there, settings = parse_destination(way.uri), way.settings
            host, port = there.host, there.port
            asked = replace(there, host="127.0.0.1", port=free_port())
            if asked.password is not None:  # that of a uri is not for a backup target
                netrc = make(tmp_path / "netrc", f'machine {host} login {asked.user} password "{asked.password}"\n'.encode())
                netrc.chmod(0o600)
                monkeypatch.setenv("NETRC", str(netrc))
            backups = [f"{host}:{free_port()}", f"{host}:{port}"]
            kept = sessions.get(asked, settings, backups)
            place_there = kept.at(asked.with_path(asked.path + "final.dat"))
            assert (place_there.host, place_there.port) == (host, port)
            with opened(path) as origin:
                receipt = move(origin, place_there, kept.session, place.mover.abilities, HOW)
            assert f":{port}/" in receipt.uri
            assert sessions.get(asked, settings, backups) is kept
            assert sessions.get(asked, settings, backups[1:]) is not kept, "other targets may be somebody else's"
        assert place.read("final.dat") == b"1"

    @staticmethod
    def _within(seconds: float, action: Callable[[], object]) -> BaseException | None:
        """The error *action* ended with; fails when it has not ended after *seconds*."""
        result: list[BaseException | None] = []

        def run() -> None:
            try:
                action()
                result.append(None)
            except BaseException as error:
                result.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(seconds)
        assert result, f"still waiting after {seconds} seconds"
        return result[0]
