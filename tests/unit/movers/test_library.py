"""Moves from a script, by upstream's names: what they return, raise, leave alone and keep open. Real servers: see
tests/integration/test_mover_pages.py."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import ParseResult, quote, urlparse

import pytest

import trollmoves.movers
from tests.support.eventually import eventually
from tests.support.ftp_server import ScriptedFtpServer
from tests.support.ports import free_port
from tests.support.programs import CHECKOUT, clean_environment
from trollmoves.errors import DestinationInvalid, MoveError, OriginChanged, OriginGone, Unreachable
from trollmoves.movers import MOVERS, CTimer, FileMover, FtpMover, Mover, SftpMover, move_it
from trollmoves.movers.attributes import session_settings
from trollmoves.movers.base import Receipt, Session

UPSTREAM = {"ftp": "FtpMover", "file": "FileMover", "": "FileMover", "scp": "ScpMover", "sftp": "SftpMover", "s3": "S3Mover"}


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    path = tmp_path / "origin.dat"
    path.write_bytes(b"what is in it")
    return path


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_upstreams_names_are_there() -> None:
    assert {scheme: MOVERS[scheme].__name__ for scheme in UPSTREAM} == UPSTREAM
    assert all(issubclass(kind, Mover) for kind in MOVERS.values())
    for name in trollmoves.movers.__all__:
        assert getattr(trollmoves.movers, name) is not None and name in dir(trollmoves.movers)
    with pytest.raises(AttributeError):
        trollmoves.movers.nothing  # noqa: B018


def test_importing_the_package_loads_no_mover() -> None:
    program = ("import sys, trollmoves.movers\nprint('trollmoves.movers.library' in sys.modules)\n"
               "from trollmoves.movers import move_it, S3Mover, MOVERS\n"
               "print(sorted({'asyncssh', 'botocore', 'ftplib', 'http.client'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=CHECKOUT,
                          env=clean_environment())
    assert done.stdout.split("\n")[:2] == ["False", "[]"], done.stderr


@pytest.mark.parametrize(("destination", "rel_path", "arrives"), [
    ("{0}/there", None, "there/origin.dat"), ("{0}/there/", None, "there/origin.dat"), ("{0}/new/", None, "new/origin.dat"),
    ("{0}/new", None, "new"), ("file://{0}/new/x", None, "new/x"), ("file://elsewhere{0}/new/x", None, "new/x"),
    ("{0}/new", "a/b.dat", "new/a/b.dat"), ("{0}/new/", "a/", "new/a/origin.dat"), ("{0}/what?a#b;c.dat", None, "what?a#b;c.dat"),
])
@pytest.mark.parametrize("parsed", [False, True])
def test_a_file_is_copied_and_the_destination_returned(origin: Path, tmp_path: Path, destination: str, rel_path: str | None,
                                                        arrives: str, parsed: bool) -> None:
    root = tmp_path / "place"
    (root / "there").mkdir(parents=True)
    text, seen = destination.format(root), list[tuple[str, ParseResult]]()
    place = move_it(str(origin), urlparse(text) if parsed else text, hook=lambda *given: seen.append(given), rel_path=rel_path)
    assert (root / arrives).read_bytes() == b"what is in it" == origin.read_bytes()
    assert files(root) == {arrives}
    assert seen == [(str(origin), place)]
    assert place.scheme == text.partition("://")[0] * ("://" in text)
    directory = text[text.index(str(root)):]
    assert place.path == (f"{directory.removesuffix('/')}/{rel_path}" if rel_path else directory)


def test_a_relative_path_counts_from_the_working_directory(origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert move_it("origin.dat", "in/there/").path == f"{tmp_path}/in/there/"
    assert move_it(Path("origin.dat"), "in/../out.dat").path == f"{tmp_path}/out.dat"
    assert files(tmp_path) == {"origin.dat", "in/there/origin.dat", "out.dat"}


@pytest.mark.parametrize("attrs", [{"use_tmp_on_transfer": True}, {"use_tmp_on_transfer": "true", "tmp_prefix": "tmp_"}])
def test_with_temporary_names_the_file_is_returned(origin: Path, tmp_path: Path, attrs: dict[str, object]) -> None:
    before = dict(attrs)
    assert move_it(origin, f"{tmp_path}/in/", attrs).path == f"{tmp_path}/in/origin.dat"
    assert move_it(origin, f"{tmp_path}/in", attrs).path == f"{tmp_path}/in/origin.dat"
    assert move_it(origin, f"{tmp_path}/in/x", attrs).path == f"{tmp_path}/in/x"
    assert attrs == before
    assert files(tmp_path / "in") == {"origin.dat", "x"}


def test_errors_are_logged_and_raised_as_upstream_does(origin: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    hooked = list[object]()
    with pytest.raises(KeyError, match="no mover for 'gopher'"):
        move_it(origin, "gopher://host/x", hook=hooked.append)
    with pytest.raises(FileNotFoundError) as missing:
        move_it(tmp_path / "nothing", f"{tmp_path}/in/", hook=hooked.append)
    assert isinstance(missing.value, OriginGone) and "nothing" in str(missing.value)
    with pytest.raises(Unreachable):
        move_it(origin, f"ftp://user:planted@127.0.0.1:{free_port()}/in/", hook=hooked.append)
    for destination, rel_path in (("", None), ("ftp://user:planted@host:one/", None), (f"{tmp_path}/in/", "../out")):
        with pytest.raises(DestinationInvalid):
            move_it(origin, destination, rel_path=rel_path)
    with pytest.raises(OriginChanged, match="no regular file"):
        move_it(tmp_path, f"{tmp_path}/in/")
    assert hooked == [] and "planted" not in caplog.text
    assert [record.levelname for record in caplog.records] == ["ERROR"] * 7


@pytest.mark.parametrize(("name", "value"), [
    ("checksum", "sometimes"), ("overwrite", ""), ("fsync", "maybe"), ("connect_timeout", "soon"), ("stall_timeout", 0),
    ("file_mode", "9"), ("directory_mode", "rwx"), ("inplace", "perhaps"), ("connection_uptime", "nan")])
def test_an_attribute_that_cannot_be_read_is_named(origin: Path, tmp_path: Path, name: str, value: object) -> None:
    with pytest.raises(DestinationInvalid, match=name):
        move_it(origin, f"{tmp_path}/in/", {name: value})
    assert files(tmp_path) == {"origin.dat"}


def test_attributes_that_no_mover_knows_are_named_once(origin: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        move_it(origin, f"{tmp_path}/in/", {"ssh_key_filenam": "x", "ssh_key_filename": "y", "checksum": "never"})
    assert [record.getMessage() for record in caplog.records] == [
        "no mover knows these attributes, they are ignored: ssh_key_filenam"]


def test_attributes_do_what_they_say(origin: Path, tmp_path: Path) -> None:
    origin.chmod(0o600)
    attrs = {"file_mode": "604", "directory_mode": 0o750, "checksum": "always", "fsync": "always", "overwrite": "never"}
    receipt = FileMover(origin, f"{tmp_path}/in/", attrs).copy()
    assert receipt is not None and receipt.verified == "sum" and receipt.copied
    assert (tmp_path / "in" / "origin.dat").stat().st_mode & 0o777 == 0o604
    assert (tmp_path / "in").stat().st_mode & 0o777 == 0o750
    origin.write_bytes(b"other")
    with pytest.raises(DestinationInvalid, match="overwrite"):
        move_it(origin, f"{tmp_path}/in/", attrs)
    move_it(origin, f"{tmp_path}/linked.dat", {"link": True})
    assert origin.samefile(tmp_path / "linked.dat")


def test_the_receipt_says_where_the_file_is(origin: Path, tmp_path: Path) -> None:
    receipt = FileMover(str(origin), urlparse(f"file://{tmp_path}/in/")).copy()
    assert isinstance(receipt, Receipt)
    assert (receipt.uri, receipt.size, receipt.verified) == (f"file://{tmp_path}/in/origin.dat", 13, "sum")


def test_a_move_removes_the_origin_and_copies_nothing_on_one_file_system(origin: Path, tmp_path: Path) -> None:
    inode = origin.stat().st_ino
    FileMover(origin, f"{tmp_path}/in/moved.dat").move()
    assert files(tmp_path) == {"in/moved.dat"}
    assert (tmp_path / "in" / "moved.dat").stat().st_ino == inode


def test_a_move_onto_itself_or_that_fails_keeps_the_origin(origin: Path, tmp_path: Path) -> None:
    for destination in (str(origin), f"{tmp_path}/", f"ftp://127.0.0.1:{free_port()}/in/", f"{origin}/below"):
        with pytest.raises(MoveError):
            MOVERS[urlparse(destination).scheme](origin, destination).move()
    assert origin.read_bytes() == b"what is in it"


def test_an_origin_that_was_replaced_meanwhile_stays(origin: Path, tmp_path: Path) -> None:
    class Slow(FileMover):
        def _copy(self) -> Receipt | None:
            receipt = super()._copy()
            (tmp_path / "newer").write_bytes(b"newer")
            (tmp_path / "newer").rename(origin)
            return receipt

    with pytest.raises(OriginChanged, match="stays"):
        Slow(origin, f"{tmp_path}/in/").move()
    assert origin.read_bytes() == b"newer"
    assert (tmp_path / "in" / "origin.dat").read_bytes() == b"what is in it"


def test_a_class_takes_its_own_schemes_only() -> None:
    SftpMover("/a", "ssh://host/b")
    for destination in ("ftp://user:planted@host/b", "/b"):
        with pytest.raises(DestinationInvalid, match="takes sftp, ssh") as caught:
            SftpMover("/a", destination)
        assert "planted" not in str(caught.value)


def test_a_class_of_upstreams_kind_serves_its_scheme(origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class TheirMover(Mover):
        def _copy(self) -> None:
            Path(self.destination.path).write_text(f"{self.destination.hostname} {self.attrs} {self.backup_targets}")

    monkeypatch.setitem(MOVERS, "theirs", TheirMover)
    place = move_it(origin, f"theirs://user:planted@host{tmp_path}/out", {"a": 1}, backup_targets=["spare"])
    assert place == ParseResult("theirs", "user@host", f"{tmp_path}/out", "", "", "")
    assert (tmp_path / "out").read_text() == "host {'a': 1} ['spare']"


def test_temporary_names_by_hand(origin: Path, tmp_path: Path) -> None:
    mover = FileMover(origin, f"{tmp_path}/in.dat")
    first, second = mover.tmp_destination_for(mover.destination), mover.tmp_destination_for(mover.destination, tmp_prefix="tmp_")
    assert (first.path, second.path) == (f"{tmp_path}/.in.dat", f"{tmp_path}/tmp_in.dat")
    assert mover.supports_atomic
    Path(first.path).write_bytes(b"1")
    mover.finalize_atomic_transfer(first, mover.destination)
    assert files(tmp_path) == {"origin.dat", "in.dat"}
    Path(second.path).write_bytes(b"2")
    for _ in range(2):
        mover.remove_tmp_file(second)
    assert files(tmp_path) == {"origin.dat", "in.dat"}


def uri_of(server: ScriptedFtpServer) -> str:
    return f"ftp://{server.user}:{quote(server.password, safe='')}@127.0.0.1:{server.port}"


def logins(server: ScriptedFtpServer) -> int:
    return sum(command.startswith("PASS") for command in server.script.commands)


def test_a_connection_serves_the_next_calls_and_is_closed_when_idle(origin: Path, tmp_path: Path) -> None:
    with ScriptedFtpServer(tmp_path / "ftp") as server:
        attrs = {"connection_uptime": 1}
        for number in range(3):
            place = move_it(origin, f"{uri_of(server)}/{number}.dat", dict(attrs))
            assert place.netloc == f"{server.user}@127.0.0.1:{server.port}"
        assert files(server.root) == {"0.dat", "1.dat", "2.dat"}
        assert logins(server) == 1
        eventually(lambda: "QUIT" in " ".join(server.script.commands), seconds=30, message="the idle connection is closed")
        move_it(origin, f"{uri_of(server)}/3.dat", attrs)
        assert logins(server) == 2


def test_a_connection_may_serve_one_call_only(origin: Path, tmp_path: Path) -> None:
    with ScriptedFtpServer(tmp_path / "ftp") as server:
        for number in range(2):
            move_it(origin, f"{uri_of(server)}/{number}.dat", {"connection_uptime": "0"})
        assert files(server.root) == {"0.dat", "1.dat"} and logins(server) == 2
        mover, asked = FtpMover("/a", f"{uri_of(server)}/in/", {"connection_uptime": 0}), ("127.0.0.1", server.port, server.user)
        got = mover.get_connection(*asked)
        assert mover.is_connected(got) and asked not in FtpMover.active_connections
        mover.delete_connection(got)


def test_threads_do_not_share_a_connection(origin: Path, tmp_path: Path) -> None:
    with ScriptedFtpServer(tmp_path / "ftp") as server:
        together = threading.Barrier(4)

        def send(number: int) -> None:
            together.wait(30)
            for turn in range(5):
                move_it(origin, f"{uri_of(server)}/{number}/{turn}.dat")

        threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert files(server.root) == {f"{number}/{turn}.dat" for number in range(4) for turn in range(5)}
        assert logins(server) <= 4


def test_a_backup_target_takes_over(origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedFtpServer(tmp_path / "ftp") as server:
        netrc = tmp_path / "netrc"
        netrc.write_text(f'machine 127.0.0.1 login {server.user} password "{server.password}"\n')
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        place = move_it(origin, f"ftp://{server.user}@127.0.0.1:{free_port()}/in/", backup_targets=[f"127.0.0.1:{server.port}"])
        assert place.geturl() == f"ftp://{server.user}@127.0.0.1:{server.port}/in/"
        assert files(server.root) == {"in/origin.dat"}


def test_a_lost_connection_is_not_used_again(origin: Path, tmp_path: Path) -> None:
    with ScriptedFtpServer(tmp_path / "ftp") as server:
        uri = f"{uri_of(server)}/in/"
        origin.write_bytes(bytes(10**6))
        server.script.cut_upload_after = 100_000
        with pytest.raises(MoveError):
            move_it(origin, uri)
        move_it(origin, uri)
        assert files(server.root) == {"in/origin.dat"}
        assert (server.root / "in" / "origin.dat").read_bytes() == bytes(10**6)
        assert logins(server) == 2


def test_a_later_attempt_goes_on_where_that_is_asked_for(origin: Path, tmp_path: Path) -> None:
    with ScriptedFtpServer(tmp_path / "ftp") as server:
        content = os.urandom(12 * 2**20)
        origin.write_bytes(content)
        server.script.cut_upload_after = 10 * 2**20
        with pytest.raises(MoveError):
            move_it(origin, f"{uri_of(server)}/in/", {"resume": True})
        move_it(origin, f"{uri_of(server)}/in/", {"resume": True})
        assert (server.root / "in" / "origin.dat").read_bytes() == content
        assert any(command.startswith("REST 10") or command.startswith("APPE") for command in server.script.commands)


def test_connections_by_hand(tmp_path: Path) -> None:
    with ScriptedFtpServer(tmp_path / "ftp") as server:
        mover = FtpMover("/a", f"{uri_of(server)}/in/")
        first, second = mover.open_connection(), mover.get_connection("127.0.0.1", server.port, server.user)
        assert isinstance(first, Session) and first is not second and logins(server) == 2
        assert mover.is_connected(first) and mover.is_connected(second)
        mover.delete_connection(first)
        mover.close_connection(second)
        assert not mover.is_connected(first) and not mover.is_connected(second)


def test_a_connection_that_was_got_is_the_same_for_the_next_who_asks(tmp_path: Path) -> None:
    with ScriptedFtpServer(tmp_path / "ftp") as server:
        mover, other = FtpMover("/a", f"{uri_of(server)}/in/"), FtpMover("/b", f"{uri_of(server)}/elsewhere/")
        asked = "127.0.0.1", server.port, server.user
        first = mover.get_connection(*asked)
        assert other.get_connection(*asked) is first and logins(server) == 1
        assert FtpMover.active_connections[asked][0] is first and asked not in SftpMover.active_connections
        first.close()  # it broke, say
        second = mover.get_connection(*asked)
        assert second is not first and mover.is_connected(second) and logins(server) == 2
        other.delete_connection(second)
        assert asked not in FtpMover.active_connections and not mover.is_connected(second)


def test_a_connection_that_was_got_is_closed_after_its_time(tmp_path: Path) -> None:
    with ScriptedFtpServer(tmp_path / "ftp") as server:
        mover = FtpMover("/a", f"{uri_of(server)}/in/", {"connection_uptime": 0.3})
        asked = "127.0.0.1", server.port, server.user
        mover.get_connection(*asked)
        eventually(lambda: "QUIT" in " ".join(server.script.commands), seconds=30, message="it is closed")
        eventually(lambda: asked not in FtpMover.active_connections, seconds=30, message="and not kept")


def test_a_forked_process_opens_its_own(tmp_path: Path, origin: Path) -> None:
    program = ("import os, sys\nfrom trollmoves.movers import move_it\norigin, uri = sys.argv[1:]\nmove_it(origin, uri + '1')\n"
               "if os.fork() == 0:\n    move_it(origin, uri + '2')\n    os._exit(0)\n"
               "assert os.wait()[1] == 0\nmove_it(origin, uri + '3')\n")
    with ScriptedFtpServer(tmp_path / "ftp") as server:
        uri = f"{uri_of(server)}/"
        words = ["-W", "ignore::DeprecationWarning", "-c", program, origin, uri]  # Python 3.12 thinks little of fork and threads
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=60, cwd=CHECKOUT,
                              env=clean_environment())
        assert (done.returncode, done.stderr) == (0, "")
        assert files(server.root) == {"1", "2", "3"}
        assert logins(server) == 2


def test_the_timer_of_upstream() -> None:
    rang = threading.Event()
    CTimer(0.01, rang.set).start()
    assert rang.wait(30)
    timer = CTimer(100, rang.clear, args=(), kwargs={})
    timer.start()
    timer.cancel()
    timer.join(30)
    assert rang.is_set() and not timer.is_alive()


def test_the_log_of_a_move_names_no_password(origin: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with ScriptedFtpServer(tmp_path / "ftp") as server:
        move_it(origin, f"{uri_of(server)}/in/")
        with pytest.raises(MoveError):
            move_it(origin, f"ftp://{server.user}:planted@127.0.0.1:{server.port}/in/")
    assert server.password not in caplog.text and "planted" not in caplog.text


def test_settings_show_no_secret() -> None:
    assert "planted" not in repr(session_settings({"password": "planted", "client_kwargs": {"x": "planted"}}))
