"""Servers that want to hang, flood or confuse us: each is given up in time, with an error of ours, and nothing is delivered."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
import threading
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import asyncssh
import pytest

from tests.contract.movers import HOW, LARGE, NetworkContract, content_of, everything_said, make, opened
from tests.support.ftp_server import FtpScript, ScriptedFtpServer
from trollmoves.errors import ConnectionLost, Denied, DestinationInvalid, MoveError, Stalled, TemporaryError
from trollmoves.movers import sftp_protocol as sftp
from trollmoves.movers.base import Mover, Session, SessionSettings
from trollmoves.movers.ftp import FtpMover
from trollmoves.movers.http import HttpMover
from trollmoves.movers.moving import ignore, move
from trollmoves.movers.s3 import S3Mover
from trollmoves.movers.scp import ScpMover
from trollmoves.movers.sftp import SftpMover
from trollmoves.uris import parse_destination

SETTINGS = SessionSettings(stall_timeout=2.0)
MOST_MEMORY = 64 * 2**20


def failure(mover: Mover, uri: str, settings: SessionSettings, path: Path) -> MoveError:
    """The error that a move of *path* to *uri* ends with."""
    def deliver() -> None:
        destination = parse_destination(uri)
        with mover.open(destination, settings) as session, opened(path) as origin:
            move(origin, destination.with_path("/final.dat"), session, mover.abilities, HOW, ignore)

    error = NetworkContract._within(60, deliver)
    assert isinstance(error, MoveError), error
    return error


# HTTP

Talk = Callable[[socket.socket, bytes], None]


class TalkingServer:
    """Hands every request of one method to *talk*, and says yes to all others."""

    def __init__(self, method: str, talk: Talk):
        self._method, self._talk = method.encode(), talk
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self._serve, args=(self._listener.accept()[0],), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            while head := self._head(connection):
                if head.startswith(self._method + b" "):
                    self._talk(connection, head)
                    return
                connection.sendall(b"HTTP/1.1 200 OK\r\nDAV: 1\r\nContent-Length: 0\r\n\r\n" if head.startswith(b"OPTIONS")
                                   else b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n" if head.startswith((b"PROPFIND", b"HEAD"))
                                   else b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")

    def _head(self, connection: socket.socket) -> bytes:
        received = b""
        while b"\r\n\r\n" not in received:
            more = connection.recv(65536)
            if not more:
                return b""
            received += more
        head, _, body = received.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
        while length and not received.startswith(self._method) and len(body) < int(length[1]):
            more = connection.recv(65536)  # an answer before all has come is a trick of its own
            if not more:
                return b""
            body += more
        return received

    def __enter__(self) -> TalkingServer:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.close()


def repeated(first: bytes, text: bytes, pause: float = 0.0) -> Talk:
    def talk(connection: socket.socket, head: bytes) -> None:
        connection.sendall(first)
        while True:
            connection.sendall(text)
            time.sleep(pause)
    return talk


def once(text: bytes) -> Talk:
    return lambda connection, head: connection.sendall(text)


LOCKED = (b'<multistatus xmlns="DAV:"><response><href>/final.dat</href><status>HTTP/1.1 423 Locked</status></response>'
          b"</multistatus>")


@pytest.mark.parametrize(("method", "talk"), [
    ("PUT", repeated(b"", b"HTTP/1.1 100 Continue\r\n\r\n")),
    ("PUT", repeated(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.2)),
    ("PUT", repeated(b"HTTP/1.1 201 Created\r\n", b"x", 0.2)),
    ("PUT", repeated(b"HTTP/1.1 201 Created\r\n", b"X-Name: value\r\n")),
    ("PUT", repeated(b"HTTP/1.1 201 ", b"a" * 10_000)),
    ("PUT", repeated(b"HTTP/1.1 201 Created\r\nContent-Length: 1000\r\n\r\n", b"a", 0.2)),
    ("PUT", once(b"HTTP/1.1 abc Created\r\n\r\n")),
    ("PUT", once(b"\x00\xff" * 1000 + b"\r\n\r\n")),
    ("PUT", once("HTTP/1.1 307 Moved\r\nLocation: /käse dat\r\nContent-Length: 0\r\n\r\n".encode("latin-1"))),
    ("PUT", once(b"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.1:port/\r\nContent-Length: 0\r\n\r\n")),
    ("PUT", once(b"HTTP/1.1 307 Moved\r\nLocation: /a\tb c\r\nContent-Length: 0\r\n\r\n")),
    ("HEAD", once(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\nRepr-Digest: sha-256=:abc:\r\n\r\n")),
    ("HEAD", once(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")),
    ("MOVE", once(b"HTTP/1.1 200")),
    ("MOVE", once(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n")),
    ("MOVE", once(b"HTTP/1.1 207 Multi-Status\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n%s"
                  % (len(LOCKED), LOCKED))),
    ("MOVE", once(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")),
    ("PUT", once(b"HTTP/1.1 207 Multi-Status\r\nContent-Length: 0\r\n\r\n")),
])
def test_an_http_server_that_plays_tricks(tmp_path: Path, method: str, talk: Talk) -> None:
    path = make(tmp_path / "origin.dat", b"content")
    with TalkingServer(method, talk) as server:
        error = failure(HttpMover(), server.uri, SETTINGS, path)
    assert isinstance(error, (TemporaryError, DestinationInvalid))
    assert "http://127.0.0.1" in str(error)


def test_an_http_server_that_says_which_part_of_a_rename_it_has_not_done(tmp_path: Path) -> None:
    answer = once(b"HTTP/1.1 207 Multi-Status\r\nContent-Length: %d\r\n\r\n%s" % (len(LOCKED), LOCKED))
    with TalkingServer("MOVE", answer) as server:
        error = failure(HttpMover(), server.uri, SETTINGS, make(tmp_path / "origin.dat", b"content"))
    assert "207 Multi-Status (423 Locked)" in str(error)
    assert not error.permanent


@pytest.mark.parametrize("secret", ["user", "token", "headers", "query", "form"])
@pytest.mark.parametrize("status", [b"HTTP/1.1 400", b"HTTP/1.1 500", b"SECRETS: "])
def test_an_http_server_that_repeats_what_it_was_told(tmp_path: Path, secret: str, status: bytes) -> None:
    def repeat(connection: socket.socket, head: bytes) -> None:
        head += b"planted"  # as if it had read the body, too
        said = status + b" " + head.replace(b"\r\n", b" ")
        connection.sendall(b"%s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s"
                           % (said, len(head), head))

    parameters = {"user": {}, "token": {"token": "planted"}, "headers": {"headers": {"X-Key": "planted"}},
                  "query": {"query": "a=1&key=planted"},
                  "form": {"method": "post", "form_fields": {"key": "planted"}}}[secret]
    with TalkingServer("POST" if secret == "form" else "PUT", repeat) as server:
        uri = server.uri.replace("http://", "http://me:planted@") if secret == "user" else server.uri
        settings = replace(SETTINGS, parameters={**parameters, "auth_hosts": "127.0.0.1"})
        error = failure(HttpMover(), uri, settings, make(tmp_path / "origin.dat", b"content"))
    for hidden in ("planted", "bWU6cGxhbnRlZA=="):
        assert hidden not in everything_said(error)
    assert "http://127.0.0.1" in str(error)


def test_an_http_server_that_closes_the_connection_after_an_answer_in_two_parts(tmp_path: Path) -> None:
    def refuse(connection: socket.socket, head: bytes) -> None:
        connection.sendall(b"HTTP/1.1 403 No\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\n")
        time.sleep(0.5)
        connection.sendall(b"not today")

    with TalkingServer("PUT", refuse) as server:
        error = failure(HttpMover(), server.uri, SETTINGS, make(tmp_path / "origin.dat", b"content"))
    assert isinstance(error, Denied)
    assert "not today" in str(error)


def test_an_http_server_whose_answer_is_long_is_read_no_further_than_needed(tmp_path: Path) -> None:
    path = make(tmp_path / "origin.dat", b"content")
    with TalkingServer("PUT", repeated(b"HTTP/1.1 500 No\r\nContent-Length: 10000000000\r\n\r\n", b"a" * 2**20)) as server:
        failure(HttpMover(), server.uri, SETTINGS, path)  # which error depends on whether the answer outruns the cut behind it


# S3

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def s3_settings(server: TalkingServer) -> SessionSettings:
    return replace(SETTINGS, parameters={"endpoint_url": server.uri, "key": "who", "secret": "planted", "token": "planted too",
                                         "client_kwargs": {"region_name": "us-east-1"}})


@pytest.mark.parametrize("size", [7, 300_000])
@pytest.mark.parametrize("talk", [
    repeated(b"HTTP/1.1 200 OK\r\n", b"x", 0.3),
    repeated(b"HTTP/1.1 ", b"a" * 10_000),
    repeated(b"HTTP/1.1 ", b"a", 0.3),
    repeated(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.2),
    repeated(b"", b"HTTP/1.1 100 Continue\r\nX-More: yes\r\n", 0.01),
    once(b"HTTP/1.1 100 Continue\r\n"),
    once(b"HTTP/1.1 abc What\r\n\r\n"),
    repeated(CHUNKED, b"10000\r\n" + b"a" * 65536 + b"\r\n"),
    repeated(CHUNKED, b"1\r\na\r\n", 0.3),
    repeated(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 10000000000\r\n\r\n", b"a" * 65536),
    once(b"HTTP/1.1 307 Moved\r\nLocation: http://127.0.0.2/b/final.dat\r\nContent-Length: 0\r\n\r\n"),
], ids=["a header that does not end", "a line without end", "a slow line without end", "never the answer", "headers without end",
        "cut within the go-ahead", "nonsense", "endless body", "slow endless body", "endless refusal", "another host"])
def test_an_s3_server_that_plays_tricks(tmp_path: Path, talk: Talk, size: int) -> None:
    path = make(tmp_path / "origin.dat", content_of(size))
    tracemalloc.start()
    try:
        with TalkingServer("PUT", talk) as server:
            error = failure(S3Mover(), "s3://bucket/", s3_settings(server), path)
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()
    assert isinstance(error, (TemporaryError, DestinationInvalid))
    assert "planted" not in everything_said(error)


# FTP

@pytest.mark.parametrize(("command", "reply"), [
    ("PASV", "227 Entering passive mode (127,0,0,1,9999999,1)"),
    ("PASV", "227 Entering passive mode (127,0,0,1,0,0)"),
    ("PASV", f"227 Entering passive mode (127,0,0,1,{'9' * 5000},1)"),
    ("SIZE", f"213 {'9' * 5000}"),
    ("SIZE", "213 ٣"),
    ("SIZE", "213"),
    ("STOR", "150-" + "a\r\n" * 30_000),
], ids=["large port", "no port", "endless port", "endless size", "other digits", "no size", "endless reply"])
def test_an_ftp_server_that_plays_tricks(tmp_path: Path, command: str, reply: str) -> None:
    script = FtpScript()
    with ScriptedFtpServer(tmp_path / "server", script) as server:
        destination = parse_destination(f"ftp://{server.user}:a%20secret%3Aword@{server.host}:{server.port}/final.dat")
        with FtpMover().open(destination, SETTINGS) as session, opened(make(tmp_path / "origin.dat", b"content")) as origin:
            script.answers[command] = [reply] * 3
            with pytest.raises(ConnectionLost):
                move(origin, destination, session, FtpMover.abilities, HOW, ignore)
            assert not session.is_alive()
        assert not (server.root / "final.dat").exists()


def test_an_ftp_server_gets_no_time_for_a_checksum_of_a_file_of_another_size(tmp_path: Path) -> None:
    """Centuries, by what it says when it is asked once more."""
    script = FtpScript(sums=True)
    with ScriptedFtpServer(tmp_path / "server", script) as server:
        destination = parse_destination(f"ftp://{server.user}:a%20secret%3Aword@{server.host}:{server.port}/")
        with FtpMover().open(destination, SETTINGS) as session:
            script.answers |= {"SIZE": ["213 7", f"213 {10**18}"], "HASH": ["213-"]}
            assert session.size("/final.dat") == 7
            with pytest.raises(Stalled):
                session.checksum("/final.dat")


@pytest.mark.parametrize(("command", "reply"), [
    ("TYPE", "350 {}"), ("TYPE", "550 {}"), ("PASV", "227 {}"), ("PASV", "200 {}"), ("SIZE", "213 {}"), ("STOR", "350 {}"),
    ("226", "350 {}"), ("226", "451 {}"), ("RNTO", "350 {}")])
def test_an_ftp_server_that_repeats_the_password(tmp_path: Path, command: str, reply: str) -> None:
    script = FtpScript()
    with ScriptedFtpServer(tmp_path / "server", script) as server:
        script.answers[command] = [reply.format(server.password)] * 9
        uri = f"ftp://{server.user}:a%20secret%3Aword@{server.host}:{server.port}/final.dat"
        error = failure(FtpMover(), uri, SETTINGS, make(tmp_path / "origin.dat", b"content"))
    assert server.password not in everything_said(error)


# SSH

Process = asyncssh.SSHServerProcess
Behave = Callable[["Process[bytes]"], Awaitable[None]]


class Open(asyncssh.SSHServer):
    """Lets everybody in."""

    def begin_auth(self, username: str) -> bool:
        return False


@contextlib.contextmanager
def ssh_server(tmp_path: Path, behave: Behave | None = None, server: Callable[[], asyncssh.SSHServer] = Open, *,
               with_sftp: bool = False) -> Iterator[tuple[str, SessionSettings]]:
    """A server on which *behave* is every command; what follows `sftp://` in its uri, and settings to log in."""
    loop, key = asyncio.new_event_loop(), asyncssh.generate_private_key("ssh-ed25519")
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    known = make(tmp_path / "known", b"[127.0.0.1]:* " + key.export_public_key())

    async def listen() -> asyncssh.SSHAcceptor:
        return await asyncssh.create_server(server, "127.0.0.1", 0, server_host_keys=[key], process_factory=behave, encoding=None,
                                            sftp_factory=with_sftp)
    try:
        acceptor = asyncio.run_coroutine_threadsafe(listen(), loop).result(30)
        parameters = {"known_hosts": str(known), "num_ssh_retries": "1", "ssh_private_key_file": str(make(
            tmp_path / "key", key.export_private_key()))}
        yield f"me@127.0.0.1:{acceptor.get_port()}", replace(SETTINGS, parameters=parameters)
        loop.call_soon_threadsafe(acceptor.close)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)


class Repeating(asyncssh.SSHServer):
    """Says goodbye with the password that it is given."""

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        self._connection.disconnect(11, f"{password}\x1b[2J is wrong")
        return False


def test_an_ssh_server_that_repeats_the_password(tmp_path: Path) -> None:
    with ssh_server(tmp_path, server=Repeating) as (place, settings):
        settings = replace(settings, parameters={**settings.parameters, "password": "planted", "auth_hosts": "127.0.0.1"})
        error = failure(SftpMover(), f"sftp://{place}/final.dat", settings, make(tmp_path / "origin.dat", b"1"))
    assert "***" in str(error)
    assert "planted" not in everything_said(error)
    assert "\x1b" not in str(error)


def status(number: int, code: int) -> bytes:
    return sftp.packet(sftp.STATUS, number, sftp.number(code), sftp.string(b"so it is"), sftp.string(b""))


class SftpTricks(asyncssh.SSHServerSession[bytes]):
    """An SFTP server that answers requests of *kind* with *answer* of their number, and others as it should."""

    def __init__(self, kind: int, answer: Callable[[int], bytes]):
        self._kind, self._answer = kind, answer
        self._received = b""

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = chan

    def subsystem_requested(self, subsystem: str) -> bool:
        return True

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        self._received += data
        while len(self._received) >= 9 and len(self._received) >= (end := 4 + int.from_bytes(self._received[:4], "big")):
            kind, number = self._received[4], int.from_bytes(self._received[5:9], "big")
            self._received = self._received[end:]
            with contextlib.suppress(OSError):
                self._channel.write(self._answer(number) if kind == self._kind else self._usual(kind, number))

    def _usual(self, kind: int, number: int) -> bytes:
        if kind == sftp.INIT:
            return struct.pack(">IBI", 5, sftp.VERSION, 3)
        if kind == sftp.OPEN:
            return sftp.packet(sftp.HANDLE, number, sftp.string(b"handle"))
        return status(number, sftp.NO_SUCH_FILE if kind == sftp.STAT else sftp.OK)


def playing(kind: int, answer: Callable[[int], bytes]) -> Callable[[], asyncssh.SSHServer]:
    """A server of which every session is one of `SftpTricks`."""
    class Server(Open):
        def session_requested(self) -> SftpTricks:
            return SftpTricks(kind, answer)

    return Server


@pytest.mark.parametrize(("kind", "answer"), [
    (sftp.STAT, lambda number: sftp.packet(sftp.STATUS, number)),
    (sftp.STAT, lambda number: sftp.packet(sftp.ATTRIBUTES, number, b"\0\0\0\5")),
    (sftp.STAT, lambda number: status(number + 7, sftp.OK)),
    (sftp.STAT, lambda number: status(number, sftp.OK) * 2),
    (sftp.OPEN, lambda number: b"\xff" * 100),
    (sftp.OPEN, lambda number: sftp.packet(sftp.HANDLE, number, sftp.string(bytes(100_000)))),
    (sftp.OPEN, lambda number: sftp.packet(sftp.HANDLE, number, b"\0\0\1\0ab")),
    (sftp.WRITE, lambda number: sftp.packet(sftp.STATUS, number, b"\0")),
    (sftp.FSTAT, lambda number: sftp.packet(sftp.ATTRIBUTES, number)),
    (sftp.CLOSE, lambda number: b""),
])
def test_an_sftp_server_that_plays_tricks(tmp_path: Path, kind: int, answer: Callable[[int], bytes]) -> None:
    path = make(tmp_path / "origin.dat", content_of(100_000))
    with ssh_server(tmp_path, server=playing(kind, answer)) as (place, settings):
        error = failure(SftpMover(), f"sftp://{place}/final.dat", settings, path)
    assert isinstance(error, TemporaryError)
    assert "sftp://127.0.0.1" in str(error)


def test_a_message_of_an_sftp_server_that_lies_about_its_length_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    def refuse(number: int) -> bytes:
        return sftp.packet(sftp.STATUS, number, sftp.number(sftp.PERMISSION_DENIED), b"\xff\xff\xff\xffno\x1b[2J way")

    with ssh_server(tmp_path, server=playing(sftp.OPEN, refuse)) as (place, settings):
        error = failure(SftpMover(), f"sftp://{place}/final.dat", settings, make(tmp_path / "origin.dat", b"1"))
    assert error.permanent
    assert "no[2J way" in str(error)


class Dripping(SftpTricks):
    """One that, instead of an answer of that kind, keeps saying something that is none."""

    def __init__(self, kind: int, drip: Callable[[asyncssh.SSHServerChannel[bytes]], None]):
        super().__init__(kind, self.begin)
        self._drip = drip

    def begin(self, number: int) -> bytes:
        asyncio.get_running_loop().call_later(0.3, self.go_on)
        return b""

    def go_on(self) -> None:
        with contextlib.suppress(OSError):
            self._drip(self._channel)
            asyncio.get_running_loop().call_later(0.3, self.go_on)


@pytest.mark.parametrize("drip", [lambda channel: channel.write_stderr(b"x"), lambda channel: channel.write(b"\0\x0e")])
@pytest.mark.parametrize("kind", [sftp.STAT, sftp.CLOSE])
def test_an_sftp_server_that_keeps_talking_instead_of_answering(
        tmp_path: Path, kind: int, drip: Callable[[asyncssh.SSHServerChannel[bytes]], None]) -> None:
    class Server(Open):
        def session_requested(self) -> SftpTricks:
            return Dripping(kind, drip)

    with ssh_server(tmp_path, server=Server) as (place, settings):
        error = failure(SftpMover(), f"sftp://{place}/final.dat", settings, make(tmp_path / "origin.dat", b"content"))
    assert isinstance(error, Stalled)


def test_an_sftp_server_that_answers_others_only(tmp_path: Path) -> None:
    with ssh_server(tmp_path, server=playing(sftp.CLOSE, lambda number: b"")) as (place, settings):
        mover, destination = SftpMover(), parse_destination(f"sftp://{place}/final.dat")
        with mover.open(destination, settings) as other:
            over = threading.Event()

            def ask() -> None:
                while not over.wait(0.2):
                    other.size("/another.dat")

            asking = threading.Thread(target=ask)
            asking.start()
            try:
                error = failure(mover, str(destination.exact).replace("127.0.0.1", "me@127.0.0.1"), settings,
                                make(tmp_path / "origin.dat", b"content"))
                assert asking.is_alive()
                assert other.is_alive()
            finally:
                over.set()
                asking.join(30)
    assert isinstance(error, Stalled)


def shell(behave: Callable[[Process[bytes]], Awaitable[None]]) -> Behave:
    """A server without SFTP whose shell is *behave*."""
    async def run(process: Process[bytes]) -> None:
        with contextlib.suppress(asyncssh.Error, OSError):
            await process.stdin.readline()
            await behave(process)
    return run


def saying(text: bytes, pause: float = 0.0) -> Behave:
    async def behave(process: Process[bytes]) -> None:
        while True:
            process.stdout.write(text)
            await process.stdout.drain()
            await asyncio.sleep(pause)
    return behave


@pytest.mark.parametrize("text", [b"a" * 10_000, b"line\n" * 2000, b"done-1-x\n", b"done-1-" + b"9" * 5000 + b"\n"],
                         ids=["a line without end", "lines without end", "no number", "a long number"])
def test_a_shell_that_plays_tricks(tmp_path: Path, text: bytes) -> None:
    tracemalloc.start()
    try:
        with ssh_server(tmp_path, shell(saying(text))) as (place, settings):
            error = failure(ScpMover(), f"scp://{place}/final.dat", settings, make(tmp_path / "origin.dat", b"1"))
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()
    assert isinstance(error, (ConnectionLost, Stalled, DestinationInvalid))


@pytest.mark.parametrize("text", [b"a", b"a\n"], ids=["a line", "lines"])
def test_a_shell_that_keeps_talking_instead_of_answering(tmp_path: Path, text: bytes) -> None:
    with ssh_server(tmp_path, shell(saying(text, 0.3))) as (place, settings):
        error = failure(ScpMover(), f"scp://{place}/final.dat", settings, make(tmp_path / "origin.dat", b"1"))
    assert isinstance(error, Stalled)


def test_a_checksum_program_that_does_not_stop_talking_counts_as_none(tmp_path: Path) -> None:
    with ssh_server(tmp_path, saying(b"a" * 10_000), with_sftp=True) as (place, settings):
        session: Session = SftpMover().open(parse_destination(f"sftp://{place}/"), settings)
        with session:
            path = make(tmp_path / "origin.dat", content_of(LARGE))
            found: list[str | None] = []
            assert NetworkContract._within(60, lambda: found.append(session.checksum(str(path)))) is None
            assert found == [None]
