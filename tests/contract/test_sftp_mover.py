"""The sftp mover keeps the promises of all movers against OpenSSH, also one that has none of its extensions."""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from tests.contract.movers import (
    HOW,
    LARGE,
    DirectoryContract,
    LocalPlace,
    NetworkContract,
    assert_clear,
    content_of,
    deliver,
    everything_said,
    make,
    opened,
    send,
    session_of,
)
from tests.support.eventually import eventually
from tests.support.servers import run_tool
from tests.support.ssh_server import SshServer
from tests.support.tcp_proxy import Fault
from trollmoves.errors import Denied, DestinationInvalid, LoginRefused, TemporaryError, Unreachable
from trollmoves.movers import sftp_protocol as protocol
from trollmoves.movers.base import Mover, Session, SessionSettings
from trollmoves.movers.moving import ignore, move, temporary_name
from trollmoves.movers.sftp import SftpMover, SftpSession
from trollmoves.movers.sftp_protocol import Reply
from trollmoves.uris import parse_destination

SECRET = "planted-password"
WITHOUT_EXTENSIONS = "Subsystem sftp internal-sftp -P posix-rename,fsync,limits,statvfs"
NUMBERS = itertools.count()


def ssh_place(mover: Mover, server: SshServer, **parameters: object) -> LocalPlace:
    """A new directory on *server*; the password is given though the key is what lets us in."""
    root = server.root / str(next(NUMBERS))
    root.mkdir()
    known = server.folder / "known_anywhere"
    known.write_text("[127.0.0.1]:* " + " ".join((server.folder / "host_key.pub").read_text().split()[:2]) + "\n")
    settings = SessionSettings(parameters={"ssh_private_key_file": str(server.client_key), "known_hosts": str(known),
                                           "password": SECRET, "auth_hosts": "127.0.0.1", **parameters})
    other = server.folder / "other_key"
    if not other.exists():
        run_tool("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other)
    uri = f"{mover.schemes[0]}://{server.user}@{server.host}:{server.port}{root}/"
    wrong = replace(settings, parameters={**settings.parameters, "ssh_private_key_file": str(other)})
    refused = uri.replace("@", ":wrong-password@"), wrong
    return LocalPlace(mover, uri, settings, root, (server.host, server.port), SECRET, refused)


def with_parameters(place: LocalPlace, **parameters: object) -> SessionSettings:
    return replace(place.settings, parameters={**place.settings.parameters, **parameters})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with SshServer(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture(scope="module")
def bare_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with SshServer(tmp_path_factory.mktemp("sshd"), [WITHOUT_EXTENSIONS]) as running:
        yield running


def test_the_old_file_stays_on_a_server_that_renames_nothing(tmp_path: Path) -> None:
    with SshServer(tmp_path / "ssh", ["Subsystem sftp internal-sftp -P posix-rename,rename"]) as server:
        place = ssh_place(SftpMover(), server)
        final = place.root / "final.dat"
        final.write_bytes(b"old")
        with open_session(place) as session, opened(make(tmp_path / "new.dat", b"new")) as origin, pytest.raises(Denied):
            move(origin, parse_destination(place.uri).with_path(str(final)), session, place.mover.abilities, HOW, ignore)
        assert final.read_bytes() == b"old"
        assert list(place.root.iterdir()) == [final]


@pytest.mark.parametrize("there", [True, False])
def test_an_old_file_that_a_killed_attempt_has_moved_aside_is_found_by_the_next(bare_server: SshServer, tmp_path: Path,
                                                                                there: bool) -> None:
    place = ssh_place(SftpMover(), bare_server)
    final = place.root / "final.dat"
    part = temporary_name(str(final), HOW.transfer)
    Path(part + ".old").write_bytes(b"old")
    (final if there else Path(part)).write_bytes(b"new")
    with open_session(place) as session, opened(make(tmp_path / "new.dat", b"new")) as origin:
        move(origin, parse_destination(place.uri).with_path(str(final)), session, place.mover.abilities,
             HOW._replace(resume=True), ignore)
    assert final.read_bytes() == b"new"
    assert list(place.root.iterdir()) == [final]


def test_a_server_that_calls_it_a_failure_that_nothing_is_there_to_be_removed(bare_server: SshServer, tmp_path: Path,
                                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    place, ask = ssh_place(SftpMover(), bare_server), SftpSession._ask

    def asked(session: SftpSession, *words: Any) -> Reply:
        reply = ask(session, *words)
        failed = words[0] == protocol.REMOVE and reply.status == protocol.NO_SUCH_FILE
        return replace(reply, body=protocol.number(protocol.FAILURE) + reply.body[4:]) if failed else reply

    monkeypatch.setattr(SftpSession, "_ask", asked)
    final = place.root / "final.dat"
    final.write_bytes(b"old")
    with open_session(place) as session, opened(make(tmp_path / "new.dat", b"new")) as origin:
        move(origin, parse_destination(place.uri).with_path(str(final)), session, place.mover.abilities, HOW, ignore)
    assert final.read_bytes() == b"new"
    assert list(place.root.iterdir()) == [final]


def open_session(place: LocalPlace, settings: SessionSettings | None = None) -> Session:
    return place.mover.open(parse_destination(place.uri), settings or place.settings)


def check_connection_timeout(place: LocalPlace) -> None:
    """`ssh_connection_timeout` counts, whatever the section says of other connections."""
    with place.through() as way, way.proxy.black():
        settings = replace(way.settings, connect_timeout=600.0,
                           parameters={**way.settings.parameters, "ssh_connection_timeout": "0.5"})
        started = time.monotonic()
        with pytest.raises(Unreachable, match="no answer in time"):
            place.mover.open(parse_destination(way.uri), settings)
        assert 0.5 <= time.monotonic() - started < 60


class TestSftpMover(DirectoryContract, NetworkContract):
    @pytest.fixture
    def place(self, server: SshServer) -> LocalPlace:
        return ssh_place(SftpMover(), server)

    def test_sessions_share_one_connection_and_its_thread_ends_with_the_last(self, place: LocalPlace, tmp_path: Path) -> None:
        path = make(tmp_path / "origin.dat", b"1")
        with place.through() as way:
            destination = parse_destination(way.uri)
            sessions = [place.mover.open(destination, way.settings) for _ in range(20)]
            for number, session in enumerate(sessions):
                send(place, session, path, f"{number}", uri=way.uri)
            assert way.connections == 1
            for session in sessions:
                session.close()
        assert not [thread for thread in threading.enumerate() if thread.name == "ssh connections"]
        assert len(place.names()) == 20

    def test_an_unknown_host_key_is_refused(self, place: LocalPlace, tmp_path: Path) -> None:
        make(tmp_path / "empty", b"")
        for known in (tmp_path / "empty", tmp_path / "nothing"):
            with pytest.raises(LoginRefused, match="host key"):
                open_session(place, with_parameters(place, known_hosts=str(known)))

    def test_a_changed_host_key_is_refused_and_said(self, place: LocalPlace, tmp_path: Path) -> None:
        run_tool("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "other")
        words = (tmp_path / "other.pub").read_text().split()[:2]
        known = make(tmp_path / "known", f"[127.0.0.1]:* {' '.join(words)}\n".encode())
        with pytest.raises(LoginRefused, match="host key has changed"):
            open_session(place, with_parameters(place, known_hosts=str(known)))

    @pytest.mark.parametrize("option", ["known_hosts", "ssh_private_key_file"])
    def test_files_that_everybody_may_write_are_refused(self, option: str, place: LocalPlace, server: SshServer,
                                                        tmp_path: Path) -> None:
        named = {"known_hosts": server.known_hosts, "ssh_private_key_file": server.client_key}[option]
        exposed = make(tmp_path / "exposed", named.read_bytes())
        exposed.chmod(0o602)
        with pytest.raises(LoginRefused, match=f"run: chmod o-w {exposed}"):
            open_session(place, with_parameters(place, **{option: str(exposed)}))
        exposed.chmod(0o600)
        open_session(place, with_parameters(place, **{option: str(exposed)})).close()

    def test_a_known_hosts_file_with_names_made_unreadable_is_understood(self, place: LocalPlace, server: SshServer,
                                                                         tmp_path: Path) -> None:
        known = make(tmp_path / "known", server.known_hosts.read_bytes())
        run_tool("ssh-keygen", "-H", "-f", known)
        assert b"127.0.0.1" not in known.read_bytes()
        open_session(place, with_parameters(place, known_hosts=str(known))).close()

    def test_keys_with_a_passphrase(self, place: LocalPlace, server: SshServer, tmp_path: Path) -> None:
        key = make(tmp_path / "key", server.client_key.read_bytes())
        key.chmod(0o600)
        run_tool("ssh-keygen", "-p", "-P", "", "-N", "sesame-open", "-f", key)
        open_session(place, with_parameters(place, ssh_private_key_file=str(key), passphrase="sesame-open")).close()
        for wrong in ({}, {"passphrase": "sesame-shut"}):
            with pytest.raises(LoginRefused) as caught:
                open_session(place, with_parameters(place, ssh_private_key_file=str(key), **wrong))
            assert "sesame" not in str(caught.value)

    def test_the_agent_is_asked(self, place: LocalPlace, server: SshServer, tmp_path: Path,
                                monkeypatch: pytest.MonkeyPatch) -> None:
        socket = tmp_path / "agent"
        said = run_tool("ssh-agent", "-a", str(socket))
        environment = {**os.environ, "SSH_AUTH_SOCK": str(socket)}
        try:
            run_tool("ssh-add", "-q", str(server.client_key), environment=environment)
            monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
            monkeypatch.setenv("HOME", str(tmp_path))
            open_session(place, with_parameters(place, ssh_private_key_file=None)).close()
            run_tool("ssh-add", "-q", "-D", environment=environment)
            with pytest.raises(LoginRefused):
                open_session(place, with_parameters(place, ssh_private_key_file=None))
        finally:
            os.kill(int(said.split("SSH_AGENT_PID=")[1].split(";")[0]), 15)

    def test_keys_of_the_user_are_tried_after_the_named_one(self, place: LocalPlace, server: SshServer, tmp_path: Path,
                                                            monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        named = [str(server.folder / "other_key"), f"{server.folder}/other_key.pub", str(make(tmp_path / "no key", b"x"))]
        for key in named:
            with pytest.raises(LoginRefused):
                open_session(place, with_parameters(place, ssh_private_key_file=key))
        (tmp_path / ".ssh").mkdir()
        usual = make(tmp_path / ".ssh" / "id_ed25519", server.client_key.read_bytes())
        usual.chmod(0o600)
        for key in named:
            open_session(place, with_parameters(place, ssh_private_key_file=key)).close()

    def test_of_a_public_key_the_private_one_is_taken(self, place: LocalPlace, server: SshServer) -> None:
        open_session(place, with_parameters(place, ssh_private_key_file=f"{server.client_key}.pub")).close()

    def test_the_option_of_the_other_mover_counts_where_it_helps(self, place: LocalPlace, server: SshServer,
                                                                 tmp_path: Path) -> None:
        right, wrong = str(server.client_key), str(tmp_path / "missing_key")
        open_session(place, with_parameters(place, ssh_private_key_file=right, ssh_key_filename=wrong)).close()
        open_session(place, with_parameters(place, ssh_private_key_file=None, ssh_key_filename=right)).close()
        with pytest.raises(LoginRefused, match="login refused"):
            open_session(place, with_parameters(place, ssh_private_key_file=None, ssh_key_filename=wrong))

    def test_a_key_that_cannot_be_read_is_said(self, place: LocalPlace, tmp_path: Path) -> None:
        with pytest.raises(LoginRefused, match="missing_key"):
            open_session(place, with_parameters(place, ssh_private_key_file=str(tmp_path / "missing_key")))

    def test_numbers_are_read_from_text_and_nonsense_is_said(self, place: LocalPlace) -> None:
        open_session(place, with_parameters(place, ssh_connection_timeout="5", num_ssh_retries="2")).close()
        with pytest.raises(DestinationInvalid, match="ssh_connection_timeout"):
            open_session(place, with_parameters(place, ssh_connection_timeout="soon"))

    def test_connecting_may_take_as_long_as_the_section_says(self, place: LocalPlace) -> None:
        check_connection_timeout(place)

    def test_several_files_of_known_hosts(self, place: LocalPlace, server: SshServer, tmp_path: Path) -> None:
        files = [tmp_path / "nothing", make(tmp_path / "empty", b""), server.known_hosts]
        open_session(place, with_parameters(place, known_hosts=[str(file) for file in files])).close()
        with pytest.raises(LoginRefused, match="host key"):
            open_session(place, with_parameters(place, known_hosts=[str(file) for file in files[:2]]))

    def test_the_account_may_compute_checksums(self, place: LocalPlace, tmp_path: Path) -> None:
        receipt = deliver(place, make(tmp_path / "ori gin's.dat", content_of(2**21)), how=HOW._replace(checksum="always"))
        assert receipt.verified == "sum"

    def test_a_child_process_opens_its_own_connection(self, place: LocalPlace, tmp_path: Path) -> None:
        path = make(tmp_path / "origin.dat", b"1")
        with session_of(place) as session:
            send(place, session, path, "parent.dat")
            child = multiprocessing.get_context("fork").Process(target=deliver, args=(place, path, "child.dat"))
            child.start()
            child.join(60)
            assert child.exitcode == 0
            send(place, session, path, "again.dat")
        assert place.names() == {"parent.dat", "child.dat", "again.dat"}

    def test_the_alias_of_the_scheme_works(self, place: LocalPlace, tmp_path: Path) -> None:
        deliver(place, make(tmp_path / "origin.dat", b"1"), uri=place.uri.replace("sftp:", "ssh:"))
        assert place.names() == {"origin.dat"}


class TestWithoutExtensions(DirectoryContract, NetworkContract):
    replaces_at_once = False

    @pytest.fixture
    def place(self, bare_server: SshServer) -> LocalPlace:
        return ssh_place(SftpMover(), bare_server)

    def test_it_has_none_indeed(self, place: LocalPlace, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        deliver(place, make(tmp_path / "origin.dat", b"1"), how=HOW._replace(sync=True))
        assert "survive a power loss" in caplog.text


def check_changed_host_key(mover: Mover, server: SshServer, tmp_path: Path) -> None:
    """A server that comes back with another key is not spoken to until somebody trusts the new one."""
    place = ssh_place(mover, server, num_ssh_retries="1", known_hosts=str(server.known_hosts))
    path = make(tmp_path / "a.dat", b"1")
    deliver(place, path)
    server.change_host_key()
    server.restart()
    with pytest.raises(LoginRefused, match="host key has changed") as caught:
        deliver(place, path, "second.dat")
    assert caught.value.permanent
    assert_clear(place, caught.value)
    assert place.names() == {"a.dat"}
    server.trust_host_key()
    deliver(place, path, "second.dat")
    assert place.names() == {"a.dat", "second.dat"}


def check_killed_server(mover: Mover, server: SshServer, tmp_path: Path, **parameters: object) -> None:
    """T36: the server dies while a file is moved, and comes back."""
    place = ssh_place(mover, server, **parameters)
    content = content_of(LARGE)
    path = make(tmp_path / "origin.dat", content)
    with place.through(upward=Fault(rate=4_000_000)) as way, ThreadPoolExecutor(1) as pool:
        moving = pool.submit(deliver, place, path, "final.dat", uri=way.uri, settings=way.settings)
        eventually(lambda: way.proxy.bytes_upward > LARGE // 4, interval=0.01, message="bytes move")
        server.kill_all()
        error = moving.exception(60)
        assert isinstance(error, TemporaryError)
        assert_clear(place, error, way.uri)
    assert place.read("final.dat") is None
    server.start()
    deliver(place, path, "final.dat")
    assert place.read("final.dat") == content
    assert place.names() == {"final.dat"}


def test_a_server_that_is_killed_while_a_file_is_moved(tmp_path: Path) -> None:
    with SshServer(tmp_path / "sshd") as server:
        check_killed_server(SftpMover(), server, tmp_path)


def test_a_host_key_that_changes(tmp_path: Path) -> None:
    with SshServer(tmp_path / "sshd") as server:
        check_changed_host_key(SftpMover(), server, tmp_path)


class PasswordServer(asyncssh.SSHServer):
    """Takes `somebody` with the planted password."""

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == ("somebody", SECRET)


async def _listen(key: asyncssh.SSHKey) -> asyncssh.SSHAcceptor:
    return await asyncssh.create_server(PasswordServer, "127.0.0.1", 0, server_host_keys=[key], sftp_factory=True)


@pytest.fixture
def password_place(tmp_path: Path) -> Iterator[LocalPlace]:
    """A place on a server (asyncssh's own, in a thread) that wants a password."""
    loop, key = asyncio.new_event_loop(), asyncssh.generate_private_key("ssh-ed25519")
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    root = tmp_path / "place"
    root.mkdir()
    known = make(tmp_path / "known", b"[127.0.0.1]:* " + key.export_public_key())
    settings = SessionSettings(parameters={"known_hosts": str(known)})
    try:
        acceptor = asyncio.run_coroutine_threadsafe(_listen(key), loop).result(30)
        port = acceptor.get_port()
        yield LocalPlace(SftpMover(), f"sftp://somebody:{SECRET}@127.0.0.1:{port}{root}/", settings, root, secret=SECRET)
        loop.call_soon_threadsafe(acceptor.close)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()


def test_a_password_lets_in_and_is_seen_nowhere(password_place: LocalPlace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    path, place = make(tmp_path / "origin.dat", b"1"), password_place
    assert SECRET not in repr(deliver(place, path, "first.dat"))
    bare = place.uri.replace(f"somebody:{SECRET}@", "")

    def said(password: str, hosts: str) -> SessionSettings:
        return with_parameters(place, username="somebody", password=password, auth_hosts=hosts)
    deliver(place, path, "second.dat", uri=bare, settings=said(SECRET, "elsewhere 127.0.0.1"))
    with pytest.raises(LoginRefused) as caught:
        deliver(place, path, uri=bare, settings=said(SECRET + "-not", "127.0.0.1"))
    with pytest.raises(LoginRefused):  # whoever may have files sent to its own machine is not told it
        deliver(place, path, uri=bare, settings=said(SECRET, "elsewhere"))
    with pytest.raises(DestinationInvalid, match="password needs auth_hosts"):
        deliver(place, path, uri=bare, settings=said(SECRET, ""))
    assert place.names() == {"first.dat", "second.dat"}
    assert SECRET not in caplog.text + everything_said(caught.value)


def test_a_server_that_syncs_files_and_opens_no_directories(password_place: LocalPlace, tmp_path: Path,
                                                            caplog: pytest.LogCaptureFixture) -> None:
    deliver(password_place, make(tmp_path / "origin.dat", b"1"), "final.dat", how=HOW._replace(sync=True))
    assert password_place.names() == {"final.dat"}
    assert "opens no directory" in caplog.text


def test_a_server_that_may_only_be_read_denies(tmp_path: Path) -> None:
    with SshServer(tmp_path / "sshd", ["Subsystem sftp internal-sftp -R"]) as server:
        place = ssh_place(SftpMover(), server)
        with pytest.raises(Denied):
            deliver(place, make(tmp_path / "origin.dat", b"1"))


def test_what_may_not_be_opened_in_place_stays_as_it_was(tmp_path: Path) -> None:
    with SshServer(tmp_path / "sshd", ["Subsystem sftp internal-sftp -P open"]) as server:
        place = ssh_place(SftpMover(), server)
        place.write("origin.dat", b"older")
        with pytest.raises(Denied):
            deliver(place, make(tmp_path / "origin.dat", b"1"), how=HOW._replace(inplace=True))
        assert place.read("origin.dat") == b"older"


def test_a_server_without_sftp_is_said(tmp_path: Path) -> None:
    with SshServer(tmp_path / "sshd", ["Subsystem sftp /bin/false"]) as server, \
            pytest.raises(DestinationInvalid, match="no sftp"):
        open_session(ssh_place(SftpMover(), server))
