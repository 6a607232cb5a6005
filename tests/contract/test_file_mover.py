"""The file mover keeps the promises of all movers, and some of its own."""

from __future__ import annotations

import errno
import itertools
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.contract.movers import (
    HOW,
    LARGE,
    DirectoryContract,
    LocalPlace,
    MoverContract,
    Place,
    content_of,
    deliver,
    make,
    opened,
    send,
    session_of,
)
from tests.support.programs import CHECKOUT, clean_environment
from tests.support.unavailable import need_program
from trollmoves.errors import Busy, Denied, DestinationInvalid, MoveError, OriginChanged
from trollmoves.movers import file_session
from trollmoves.movers.base import SessionSettings
from trollmoves.movers.file import FileMover
from trollmoves.movers.file_session import FileSession
from trollmoves.movers.moving import How, temporary_name

MEBIBYTE = 2**20


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A directory on another file system."""
    other = Path("/dev/shm")
    if not other.is_dir() or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    with tempfile.TemporaryDirectory(dir=other) as directory:
        yield Path(directory)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    root = tmp_path / "place"
    root.mkdir()
    return LocalPlace(FileMover(), f"file://{root}/", SessionSettings(), root)


class TestCarefulFileMover(DirectoryContract, MoverContract):
    """For those who may do less than we (a server of root's, and clients that are not)."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        root = tmp_path / "place"
        root.mkdir()
        return LocalPlace(FileMover(), f"file://{root}/", SessionSettings(follow_links=False), root)

    def test_a_link_of_ours_leads_on(self, place: Place, tmp_path: Path) -> None:
        (tmp_path / "disk").mkdir()
        (tmp_path / "place/data").symlink_to("../disk")
        deliver(place, make(tmp_path / "origin.dat", b"1"), uri=place.uri + "data/new/")
        assert (tmp_path / "disk/new/origin.dat").read_bytes() == b"1"

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
    @pytest.mark.parametrize("below", ["link/", "link/new/", "link/final.dat", "link"])
    def test_a_link_of_another_user_leads_nowhere(self, place: Place, tmp_path: Path, below: str) -> None:
        (tmp_path / "outside").mkdir()
        link = tmp_path / "place/link"
        link.symlink_to(tmp_path / "outside")
        os.lchown(link, 65534, 65534)
        origin = make(tmp_path / "origin.dat", b"1")
        if below == "link":
            deliver(place, origin, uri=place.uri + below)
            assert link.read_bytes() == b"1" and not link.is_symlink(), "a file takes its place"
        else:
            with pytest.raises(Denied, match="link is a link that another user has made"):
                deliver(place, origin, uri=place.uri + below)
        assert not os.listdir(tmp_path / "outside")

    @pytest.mark.parametrize("what", ["link", "pipe"])
    def test_what_takes_the_place_of_a_file_that_is_compared_is_not_read(self, place: Place, tmp_path: Path, what: str) -> None:
        """After its size was looked at. Nothing of others' is read, and nothing that has no end, such as /dev/zero."""
        there = tmp_path / "place/final.dat"
        make(tmp_path / "private.dat", b"1")
        there.symlink_to(tmp_path / "private.dat") if what == "link" else os.mkfifo(there)
        with session_of(place) as session:
            for read in (session.checksum, session.sync) if what == "link" else (session.checksum,):
                with pytest.raises(MoveError):
                    read(str(there))

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
    def test_a_link_that_comes_in_between_leads_nowhere(self, place: Place, tmp_path: Path) -> None:
        """Somebody changes a directory for a link and back all the time."""
        (tmp_path / "outside").mkdir()
        inside, link = tmp_path / "place/inside", tmp_path / "place/link"
        inside.mkdir()
        link.symlink_to(tmp_path / "outside")
        os.lchown(link, 65534, 65534)
        ended = threading.Event()

        def change() -> None:
            for number in itertools.count():
                aside = tmp_path / "place" / f"aside-{number}"
                for one, other in ((inside, aside), (link, inside), (inside, link), (aside, inside)):
                    with suppress(OSError):  # the directory is made anew meanwhile
                        one.rename(other)
                if ended.is_set():
                    return
        changing = threading.Thread(target=change)
        changing.start()
        outcomes = set()
        try:
            for number in range(5000):
                if number >= 200 and len(outcomes) == 2:
                    break
                try:
                    deliver(place, make(tmp_path / f"{number}.dat", b"1"), uri=place.uri + "inside/")
                    outcomes.add("there")
                except MoveError:
                    outcomes.add("refused")
        finally:
            ended.set()
            changing.join()
        assert not os.listdir(tmp_path / "outside")
        assert outcomes == {"there", "refused"}


class TestFileMover(DirectoryContract, MoverContract):
    def test_a_plain_path_is_a_destination(self, place: Place, tmp_path: Path) -> None:
        receipt = deliver(place, make(tmp_path / "origin.dat", b"1"), uri=place.uri.removeprefix("file://"))
        assert receipt.uri == place.uri.removeprefix("file://") + "origin.dat"
        assert place.read("origin.dat") == b"1"

    def test_an_identical_file_is_left_as_it_is(self, place: Place, tmp_path: Path) -> None:
        path, how = make(tmp_path / "origin.dat", content_of(3 * 2**20)), HOW._replace(overwrite="identical")
        assert deliver(place, path, how=how).copied
        assert not deliver(place, path, how=how).copied
        make(path, content_of(3 * 2**20, seed=1))
        assert deliver(place, path, how=how).copied
        assert place.read("origin.dat") == content_of(3 * 2**20, seed=1)

    def test_another_file_is_not_overwritten_where_that_was_ruled_out(self, place: Place, tmp_path: Path) -> None:
        how = HOW._replace(overwrite="never")
        deliver(place, make(tmp_path / "origin.dat", b"old"), how=how)
        with pytest.raises(DestinationInvalid):
            deliver(place, make(tmp_path / "origin.dat", b"new"), how=how)
        assert place.read("origin.dat") == b"old"

    @pytest.mark.parametrize("overwrite", ["identical", "replace", "never"])
    @pytest.mark.parametrize("make_special", [os.mkfifo, lambda path: socket.socket(socket.AF_UNIX).bind(str(path))])
    def test_what_is_no_file_is_not_replaced(self, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: str,
                                             make_special: Callable[[str], None]) -> None:
        monkeypatch.chdir(tmp_path / "place")  # the path of a socket is short
        make_special("origin.dat")
        before = os.lstat("origin.dat")
        with pytest.raises(DestinationInvalid, match="is a device, a pipe or a socket"):
            deliver(place, make(tmp_path / "origin.dat", b"new"), how=HOW._replace(overwrite=overwrite))
        assert os.path.samestat(os.lstat("origin.dat"), before) and os.listdir() == ["origin.dat"]

    @pytest.mark.parametrize(("prefix", "part"), [(None, b"the first part of what"), (".", bytes(1000))])
    def test_what_another_mover_writes_under_the_same_temporary_name_is_not_shown(self, place: Place, tmp_path: Path,
                                                                                  prefix: str | None, part: bytes) -> None:
        path, how = make(tmp_path / "origin.dat", content_of(1000)), HOW._replace(temporary_prefix=prefix)
        temporary = Path(temporary_name(str(tmp_path / "place" / "origin.dat"), how.transfer, prefix))

        def another_begins(done: int) -> None:
            theirs = tmp_path / "theirs"
            theirs.write_bytes(part)
            theirs.rename(temporary)
        with pytest.raises(Busy):
            deliver(place, path, how=how, progress=another_begins)
        assert [found.name for found in (tmp_path / "place").iterdir()] == [temporary.name]
        assert deliver(place, path, how=how).copied
        assert place.read("origin.dat") == content_of(1000)

    @pytest.mark.parametrize("how", [HOW._replace(overwrite="identical"), HOW._replace(inplace=True)])
    def test_what_is_there_already_or_was_written_in_place_survives_a_power_loss(self, place: Place, tmp_path: Path,
                                                                                 how: How) -> None:
        path, synced = make(tmp_path / "origin.dat", content_of(1000)), []
        deliver(place, path, how=how)  # without: whoever did this may have been killed before it was synced

        class Session(FileSession):
            def sync(self, path: str) -> None:
                synced.append(path)
        with Session(place.settings) as session:
            send(place, session, path, how=how._replace(sync=True))
        assert synced == [f"{tmp_path}/place/origin.dat", f"{tmp_path}/place"]

    def test_what_no_file_takes_the_place_of_stays_in_place_too(self, place: Place, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "place" / "origin.dat")
        with pytest.raises(DestinationInvalid, match="a pipe"):
            deliver(place, make(tmp_path / "origin.dat", b"1"), how=HOW._replace(inplace=True))
        assert (tmp_path / "place" / "origin.dat").is_fifo()

    @pytest.mark.parametrize("overwrite", ["identical", "replace"])
    def test_a_file_is_not_moved_onto_itself(self, place: Place, tmp_path: Path, overwrite: str) -> None:
        path = make(tmp_path / "place" / "origin.dat", b"precious")
        (tmp_path / "detour").symlink_to(tmp_path / "place")
        for uri in (place.uri, f"{tmp_path}/detour/"):
            with pytest.raises(DestinationInvalid):
                deliver(place, path, uri=uri, how=HOW._replace(overwrite=overwrite))
        assert place.read("origin.dat") == b"precious"

    @pytest.mark.parametrize("overwrite", ["identical", "replace"])
    def test_a_link_to_a_file_is_not_taken_for_a_delivery_of_it(self, place: Place, tmp_path: Path, overwrite: str) -> None:
        """Also of one with two names: when it is removed under this one, what the link leads to is gone."""
        path = make(tmp_path / "origin.dat", b"precious")
        os.link(path, tmp_path / "another name")
        (tmp_path / "place" / "final.dat").symlink_to(path)
        with pytest.raises(DestinationInvalid, match="is the file that was to be moved"):
            deliver(place, path, "final.dat", how=HOW._replace(overwrite=overwrite))
        assert path.read_bytes() == b"precious"

    @pytest.mark.parametrize("names", [1, 2])
    def test_a_file_is_not_moved_onto_itself_where_its_directory_is_mounted_twice(self, tmp_path: Path, names: int) -> None:
        path, there = make(tmp_path / "in" / "a.dat", b"precious"), tmp_path / "there"
        there.mkdir()
        if names == 2:
            os.link(path, tmp_path / "another name")
        script = ("import sys; from trollmoves.movers import FileMover; from trollmoves.errors import DestinationInvalid\n"
                  "try: FileMover(sys.argv[1], sys.argv[2] + '/').move()\n"
                  "except DestinationInvalid as error: print(error)")
        mounting = 'mount --bind "$1" "$2" || exit 77; exec "$3" -c "$4" "$5" "$2"'
        done = subprocess.run([need_program("unshare", "util-linux"), "--mount", "sh", "-c", mounting, "sh", path.parent, there,
                               sys.executable, script, path], cwd=CHECKOUT, env=clean_environment(), capture_output=True,
                              text=True, timeout=60)
        if done.returncode == 77 or "unshare failed" in done.stderr:
            pytest.skip("nothing can be mounted here")
        assert "is the file that was to be moved" in done.stdout, done.stderr
        assert path.read_bytes() == b"precious"

    def test_what_may_be_the_origin_on_another_mount_is_written_anew(self, tmp_path: Path) -> None:
        script = ("import os, sys; from trollmoves.movers import FileMover\n"
                  "for place in sys.argv[1:]:\n"
                  "    open(f'{place}/a.dat', 'wb').write(b'same'); os.utime(f'{place}/a.dat', (1, 1))\n"
                  "one, other = (os.stat(f'{place}/a.dat') for place in sys.argv[1:])\n"
                  "print((one.st_dev == other.st_dev, one.st_ino == other.st_ino))\n"
                  "print(FileMover(f'{sys.argv[1]}/a.dat', sys.argv[2] + '/', {'overwrite': 'identical'}).copy().copied)")
        mounting = 'mount -t tmpfs none "$1" && mount -t tmpfs none "$2" || exit 77; exec "$3" -c "$4" "$1" "$2"'
        places = [tmp_path / "one", tmp_path / "other"]
        for directory in places:
            directory.mkdir()
        done = subprocess.run([need_program("unshare", "util-linux"), "--mount", "sh", "-c", mounting, "sh", *places,
                               sys.executable, script], cwd=CHECKOUT, env=clean_environment(), capture_output=True, text=True,
                              timeout=60)
        if done.returncode == 77 or "unshare failed" in done.stderr or not done.stdout.startswith("(False, True)"):
            pytest.skip("no two such files can be made here")
        assert done.stdout.endswith("True\n"), done.stderr

    def test_another_name_of_a_file_is_a_good_destination(self, place: Place, tmp_path: Path) -> None:
        path = make(tmp_path / "place" / "origin.dat", b"shared")
        for other in ("in/origin.dat", "another.dat"):
            (tmp_path / "place" / other).parent.mkdir(exist_ok=True)
            os.link(path, tmp_path / "place" / other)
            for overwrite in ("identical", "replace"):
                deliver(place, path, other, how=HOW._replace(overwrite=overwrite))
                assert place.read(other) == path.read_bytes() == b"shared"

    def test_links_are_made_where_asked_for_and_may_be_made_again(self, place: Place, tmp_path: Path) -> None:
        path = make(tmp_path / "origin.dat", b"shared")
        settings = SessionSettings(parameters={"link": True})
        for overwrite in ("replace", "replace", "identical"):
            deliver(place, path, settings=settings, how=HOW._replace(overwrite=overwrite))
        assert os.path.samefile(path, tmp_path / "place" / "origin.dat")
        assert place.names() == {"origin.dat"}

    def test_a_link_in_whose_place_another_mover_writes_is_not_shown(self, place: Place, tmp_path: Path) -> None:
        temporary, final = tmp_path / "place" / ".final.part", tmp_path / "place" / "final.dat"
        with session_of(place, settings=SessionSettings(parameters={"link": True})) as session, \
                opened(make(tmp_path / "origin.dat", b"whole")) as origin:
            session.put(origin, str(temporary), lambda done: None)
            temporary.unlink()
            temporary.write_bytes(b"the first part of what")
            with pytest.raises(Busy):
                session.rename(str(temporary), str(final))
        assert not final.exists()

    def test_a_mode_that_is_asked_for_is_given_rather_than_a_link(self, place: Place, tmp_path: Path) -> None:
        path = make(tmp_path / "origin.dat", b"1")
        path.chmod(0o640)
        deliver(place, path, settings=SessionSettings(parameters={"link": True}, file_mode=0o604))
        assert (place.status("origin.dat")[1], path.stat().st_mode & 0o777) == (0o604, 0o640)

    def test_a_link_to_an_origin_that_lost_its_name_becomes_a_copy(self, place: Place, tmp_path: Path) -> None:
        path = make(tmp_path / "origin.dat", b"nameless")
        settings = SessionSettings(parameters={"link": True})
        with session_of(place, settings=settings) as session, opened(path) as origin:
            path.unlink()
            session.put(origin, f"{tmp_path}/place/final.dat", lambda done: None)
        assert place.read("final.dat") == b"nameless"

    def test_a_link_of_a_stranger_under_the_temporary_name_is_not_followed(self, place: Place, tmp_path: Path) -> None:
        victim = make(tmp_path / "victim", b"untouched")
        (tmp_path / "place" / f".final.dat.{HOW.transfer}.part").symlink_to(victim)
        deliver(place, make(tmp_path / "origin.dat", content_of(LARGE)), "final.dat")
        assert victim.read_bytes() == b"untouched"
        assert place.read("final.dat") == content_of(LARGE)

    def test_a_place_where_no_directory_can_be_made_is_an_error(self, place: Place) -> None:
        """Of /proc the system says that what is above is missing, though it is there."""
        with session_of(place) as session, pytest.raises(MoveError, match="No such file or directory"):
            session.make_directories("/proc/nowhere/a/b")

    def test_directories_may_be_deep(self, place: Place, tmp_path: Path) -> None:
        with session_of(place) as session:
            session.make_directories(f"{tmp_path}/deep" + "/d" * 1500)
        assert (tmp_path / ("deep" + "/d" * 1500)).is_dir()
        subprocess.run(["rm", "-r", tmp_path / "deep"], check=True, timeout=60)  # pytest cannot

    @pytest.mark.parametrize("size", [LARGE, 2 * MEBIBYTE - 1, 17 * MEBIBYTE + 7])
    def test_another_file_system_works(self, place: Place, elsewhere: Path, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
        """Also where the chunks do not fit into it."""
        monkeypatch.setattr(file_session, "CHUNK", 5 * MEBIBYTE + 3)
        content = os.urandom(size)
        path = make(elsewhere / "origin.dat", content)
        for parameters in ({}, {"link": True}):
            deliver(place, path, "final.dat", settings=SessionSettings(parameters=parameters))
            assert place.read("final.dat") == content

    def test_an_origin_that_gets_shorter_on_the_way_to_another_file_system_is_an_error(
            self, place: Place, tmp_path: Path, elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(file_session, "CHUNK", 4 * MEBIBYTE)
        path = make(elsewhere / "origin.dat", os.urandom(16 * MEBIBYTE))
        with session_of(place) as session, opened(path) as origin, pytest.raises(OriginChanged, match="ended after"):
            session.put(origin, f"{tmp_path}/place/final.dat", lambda done: os.truncate(path, 6 * MEBIBYTE))

    def test_no_room_for_a_large_file_is_said(self, tmp_path: Path, place: Place, elsewhere: Path) -> None:
        """The limit of a file's size stands for the disk's."""
        path = make(elsewhere / "origin.dat", os.urandom(16 * MEBIBYTE))
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (9 * MEBIBYTE + 1, limits[1]))
        try:
            with pytest.raises(MoveError, match="File too large"):
                deliver(place, path, "final.dat")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert place.names() == set()

    def test_a_sparse_file_arrives(self, place: Place, tmp_path: Path) -> None:
        path = tmp_path / "sparse.dat"
        subprocess.run(["truncate", "-s", "200M", path], check=True)
        deliver(place, path)
        assert (tmp_path / "place" / "sparse.dat").stat().st_size == 200 * 2**20


SCRIPT = """
import os, sys
from trollmoves.movers import FileMover
print(FileMover(sys.argv[1], sys.argv[2], dict(item.split("=") for item in sys.argv[3:])).copy().verified)
"""


def moved_where_attributes_are_refused(calls: str, *words: str) -> subprocess.CompletedProcess[str]:
    """A move by a process whose system refuses these calls, as vfat and shares of other machines do."""
    strace = [need_program("strace", "strace"), "-f", "-o", "/dev/null", "-e", f"trace={calls}",
              "-e", f"inject={calls}:error=EPERM"]
    return subprocess.run([*strace, sys.executable, "-c", SCRIPT, *words], capture_output=True, text=True, timeout=60,
                          cwd=CHECKOUT, env=clean_environment())


@pytest.mark.parametrize("calls", ["fchmod", "utimensat", "fchmod,utimensat"])
@pytest.mark.parametrize("size", [1000, LARGE])
def test_a_file_system_that_takes_no_modes_or_times_gets_the_file(tmp_path: Path, calls: str, size: int) -> None:
    path = make(tmp_path / "origin.dat", content_of(size))
    done = moved_where_attributes_are_refused(calls, str(path), f"{tmp_path}/in/")
    assert (done.returncode, done.stdout) == (0, "sum\n" if size < LARGE else "size\n"), done.stderr
    assert (tmp_path / "in" / "origin.dat").read_bytes() == content_of(size)
    assert os.listdir(tmp_path / "in") == ["origin.dat"]


def test_a_mode_that_was_asked_for_and_is_refused_is_an_error(tmp_path: Path) -> None:
    """It may be what keeps the file from being read by others."""
    path = make(tmp_path / "origin.dat", b"1")
    done = moved_where_attributes_are_refused("fchmod", str(path), f"{tmp_path}/in/", "file_mode=600")
    assert done.returncode == 1 and "Operation not permitted" in done.stderr
    assert os.listdir(tmp_path / "in") == []


@pytest.mark.parametrize("follow_links", [True, False])
def test_whatever_leads_to_a_file_lasts_before_it_is_told_that_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                                           follow_links: bool) -> None:
    """Who made a directory above it, and when, nobody knows: all are synced, once."""
    synced: list[str] = []
    errors: dict[str, OSError] = {}

    def sync(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        synced.append(path)
        if path in errors:
            raise errors[path]
    monkeypatch.setattr(os, "fsync", sync)
    place = LocalPlace(FileMover(), f"file://{tmp_path}/", SessionSettings(follow_links=follow_links), tmp_path)
    path, how = make(tmp_path / "origin.dat", b"1"), HOW._replace(sync=True)
    above = [str(parent) for parent in (tmp_path / "new/deep/final.dat").parents]
    temporary = f"{tmp_path}/new/deep/.final.dat.{HOW.transfer}.part"
    with session_of(place) as session:
        send(place, session, path, "new/deep/final.dat", how=how)
        assert synced == [temporary, *above]
        send(place, session, path, "new/deep/final.dat", how=how)
        assert synced[len(above) + 1:] == [temporary, above[0]]
    errors[str(tmp_path)] = PermissionError(errno.EACCES, "where nobody can make anything")
    deliver(place, path, "new/deep/final.dat", how=how)
    for broken in (str(tmp_path), above[0], temporary):
        errors[broken] = OSError(errno.EIO, "Input/output error")
        with pytest.raises(MoveError, match="Input/output error"):
            deliver(place, path, "new/deep/final.dat", how=how)
        del errors[broken]
