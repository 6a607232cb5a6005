"""Servers that lie, hang, flood or are somebody else: nothing wrong gets a final name, no worker and memory is lost to them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import shutil
import socket
import ssl
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import asyncssh
import pytest

from tests.contract.movers import content_of
from tests.contract.test_hostile_servers import Open, SftpTricks, playing, ssh_server
from tests.support.ftp_server import FtpScript, ScriptedFtpServer
from tests.support.s3_server import MotoServer
from tests.support.servers import make_certificate
from trollmoves.errors import ConnectionLost, LoginRefused, MoveError, OriginGone, Stalled, Unreachable
from trollmoves.fetcher.fetching import fetch
from trollmoves.fetcher.opening import Opener
from trollmoves.fetcher.places import Rights, place_of
from trollmoves.fetcher.receiving import Receiving
from trollmoves.movers import sftp_protocol as sftp
from trollmoves.movers.base import SessionSettings

SETTINGS = SessionSettings(connect_timeout=2, stall_timeout=2)
ALL = ("sftp", "ftp", "http", "s3", "zip", "tar")
TRANSFER = "0123456789abcdef"
MOST_MEMORY = 64 * 2**20


def fetched(data: Mapping[str, Any], options: Mapping[str, Mapping[str, Any]], into: Path) -> bytes:
    """What a fetch writes. Raises a `MoveError`, and then nothing is there."""
    opener = Opener(options, (), SETTINGS, Rights(ALL, ()))
    final = into / "final.nc"
    into.mkdir(exist_ok=True)
    found: list[BaseException] = []

    def run() -> None:
        try:
            fetch(opener, Receiving(SETTINGS, sync=False, largest=None), place_of(data), str(final), TRANSFER)
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive(), "the worker is held for good"
    if found:
        assert list(into.iterdir()) == []
        raise found[0]
    return final.read_bytes()


Talk = Callable[[socket.socket], None]


@contextlib.contextmanager
def listening(talk: Talk) -> Iterator[int]:
    """A server that hands every connection to *talk*; its port."""
    def serve(connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), connection:
            talk(connection)

    def run() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=run, daemon=True).start()
        yield listener.getsockname()[1]


# FTP


def ftp_options(server: Any, **more: Any) -> dict[str, dict[str, Any]]:
    return {"ftp": {"username": server.user, "password": server.password, **more}}


def test_by_ftp_with_tls_from_known_servers_only(tmp_path: Path) -> None:
    script = FtpScript()
    with ScriptedFtpServer(tmp_path / "ftp", script, tls=True) as server:
        (server.root / "a.nc").write_bytes(content_of(300_000))
        data = {"uri": f"ftp://127.0.0.1:{server.port}/a.nc"}
        known = ftp_options(server, tls=True, tls_ca_file=str(server.authority))
        assert fetched(data, known, tmp_path / "into") == content_of(300_000)
        assert "PROT P" in script.commands
        script.commands.clear()
        with pytest.raises(LoginRefused, match="tls_ca_file"):
            fetched(data, ftp_options(server, tls=True), tmp_path / "other")
        assert not any(line.startswith(("USER", "PASS")) for line in script.commands)


def test_by_ftp_with_tls_from_the_first_byte(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.both)

    def talk(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            secured.sendall(b"220 Welcome\r\n230 Unasked\r\n")
            secured.recv(100)

    with listening(talk) as port:
        data = {"uri": f"ftp://127.0.0.1:{port}/a.nc"}
        options = {"ftp": {"tls": "tlsv1_2", "tls_ca_file": str(certificate.certificate)}}
        with pytest.raises(ConnectionLost, match="something unasked"):  # so the welcome was heard
            fetched(data, options, tmp_path / "into")


def test_members_of_archives_by_ftp(tmp_path: Path) -> None:
    with ScriptedFtpServer(tmp_path / "ftp") as server:
        for name in ("first.nc", "second.nc", "third.nc"):
            (tmp_path / "packed" / name).parent.mkdir(exist_ok=True)
            (tmp_path / "packed" / name).write_bytes(content_of(1_500_000) + name.encode())
        for kind in ("zip", "tar"):
            packed = shutil.make_archive(str(tmp_path / "p"), kind, tmp_path / "packed")
            shutil.copy(packed, server.root / f"p.{kind}")
            for name in ("third.nc", "first.nc"):
                data = {"uri": f"{kind}://{name}::ftp://127.0.0.1:{server.port}/p.{kind}"}
                assert fetched(data, ftp_options(server), tmp_path / "into") == content_of(1_500_000) + name.encode()


@pytest.mark.parametrize("unknown", [set(), {"SIZE"}, {"SIZE", "MLSD", "MLST", "EPSV"}])
@pytest.mark.parametrize("size", [0, 100_000])
def test_ftp_servers_that_know_less(unknown: set[str], size: int, tmp_path: Path) -> None:
    with ScriptedFtpServer(tmp_path / "ftp", FtpScript(unknown=unknown)) as server:
        (server.root / "a b ü.nc").write_bytes(content_of(size))
        data = {"uri": f"ftp://127.0.0.1:{server.port}/a b ü.nc"}
        assert fetched(data, ftp_options(server), tmp_path / "into") == content_of(size)
        with pytest.raises(OriginGone):
            fetched({"uri": f"ftp://127.0.0.1:{server.port}/other.nc"}, ftp_options(server), tmp_path / "other")


@pytest.mark.parametrize(("command", "reply"), [
    ("SIZE", "213 5"),
    ("SIZE", "213 500000"),
    ("SIZE", "200-" + "a\r\n" * 30_000),
    ("226", "426 Broken off"),
    ("226", "350 What else?"),
    ("RETR", "200 There it was"),
], ids=["more", "less", "endless reply", "broken off", "no end", "no data"])
def test_an_ftp_server_that_lies(command: str, reply: str, tmp_path: Path) -> None:
    with ScriptedFtpServer(tmp_path / "ftp", FtpScript(answers={command: [reply]})) as server:
        (server.root / "a.nc").write_bytes(content_of(100_000))
        with pytest.raises((ConnectionLost, Stalled)):
            fetched({"uri": f"ftp://127.0.0.1:{server.port}/a.nc"}, ftp_options(server), tmp_path / "into")


@pytest.mark.parametrize("banner", [b"220-" + b"a" * 1000, b"220-a\r\n" * 1000], ids=["a line", "lines"])
def test_an_ftp_server_whose_welcome_does_not_end(banner: bytes, tmp_path: Path) -> None:
    def talk(connection: socket.socket) -> None:
        connection.sendall(b"220-Welcome\r\n")
        while True:
            connection.sendall(banner)

    tracemalloc.start()
    try:
        with listening(talk) as port, pytest.raises((ConnectionLost, Unreachable)):
            fetched({"uri": f"ftp://127.0.0.1:{port}/a.nc"}, {}, tmp_path / "into")
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
    finally:
        tracemalloc.stop()


def test_what_an_ftp_server_sends_is_one_file_whatever_replaces_it_meanwhile(tmp_path: Path) -> None:
    with ScriptedFtpServer(tmp_path / "ftp") as server:
        (server.root / "a.nc").write_bytes(b"a" * 20_000_000)
        opener = Opener(ftp_options(server), (), SETTINGS, Rights(ALL, ()))
        with opener.opened(place_of({"uri": f"ftp://127.0.0.1:{server.port}/a.nc"})) as found:
            first = found.stream.read(100_000)
            (server.root / "new").write_bytes(b"b" * 20_000_000)
            (server.root / "new").rename(server.root / "a.nc")
            assert set(first + found.stream.read()) == {ord("a")}




# ssh

HUGE = b"\0\0\0\5" + (2**62).to_bytes(8, "big") + b"\0\0\x81\xa4"
"""Attributes of a file that is said to be larger than anything."""


class Undecided(Open):
    """Does not say whether it has what is asked for."""

    def session_requested(self) -> asyncssh.SSHServerSession[bytes]:
        class Session(asyncssh.SSHServerSession[bytes]):
            def subsystem_requested(self, subsystem: str) -> bool:
                return cast(bool, None)  # no answer yet, as asyncssh takes it

        return Session()


def dripping(kind: int) -> Callable[[], asyncssh.SSHServer]:
    """A server of which requests of *kind* get an answer of which a byte comes now and then."""
    class Session(SftpTricks):
        def __init__(self) -> None:
            super().__init__(kind, lambda number: b"\0")

        def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
            super().data_received(data, datatype)
            asyncio.get_running_loop().call_later(0.3, self.drip)

        def drip(self) -> None:
            with contextlib.suppress(OSError):
                self._channel.write(b"\0\1" if self._kind == sftp.INIT else b"\0")
                asyncio.get_running_loop().call_later(0.3, self.drip)

    class Server(Open):
        def session_requested(self) -> Session:
            return Session()

    return Server


@pytest.mark.parametrize("server", [
    Undecided,
    playing(sftp.INIT, lambda number: b""),
    dripping(sftp.INIT),
    playing(sftp.OPEN, lambda number: b""),
    dripping(sftp.OPEN),
    playing(sftp.STAT, lambda number: b""),
], ids=["no subsystem", "no version", "a version that does not end", "no handle", "a handle that does not end", "no data"])
def test_an_ssh_server_that_does_not_answer(server: Callable[[], asyncssh.SSHServer], tmp_path: Path) -> None:
    with ssh_server(tmp_path, server=server) as (place, settings), pytest.raises((Stalled, Unreachable, ConnectionLost)):
        fetched({"uri": f"sftp://{place}/a.nc"}, ssh_options(place, settings), tmp_path / "into")


def test_an_ssh_server_that_tells_an_impossible_size(tmp_path: Path) -> None:
    with ssh_server(tmp_path, server=playing(sftp.FSTAT, lambda number: sftp.packet(sftp.ATTRIBUTES, number, HUGE))) \
            as (place, settings):
        tracemalloc.start()
        try:
            with pytest.raises((Stalled, ConnectionLost)):
                fetched({"uri": f"sftp://{place}/a.nc"}, ssh_options(place, settings), tmp_path / "into")
            assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
        finally:
            tracemalloc.stop()


def ssh_options(place: str, settings: SessionSettings) -> dict[str, dict[str, Any]]:
    known = Path(settings.parameters["known_hosts"])
    known.write_text(known.read_text().replace("*", place.rpartition(":")[2]))
    return {"sftp": {"known_hosts": str(known), "key_filename": settings.parameters["ssh_private_key_file"],
                     "allow_agent": False, "look_for_keys": False}}


# Web servers and objects


def answering(*answers: bytes, heads: bytes = b"", pause: float = 0.0, repeated: bytes = b"") -> Talk:
    """Says *answers* to a GET, one after the other, and then *repeated* for as long as somebody listens; *heads* to a HEAD."""
    def talk(connection: socket.socket) -> None:
        while request := connection.recv(65536):
            if request.startswith(b"HEAD"):
                connection.sendall(heads)
                continue
            for answer in answers:
                connection.sendall(answer)
                time.sleep(pause)
            while repeated:
                connection.sendall(repeated)
                time.sleep(pause)
    return talk


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


@pytest.mark.parametrize("talk", [
    answering(b"HTTP/1.1 200 OK\r\n", pause=0.3, repeated=b"X"),
    answering(b"HTTP/1.1 200 OK\r\n", repeated=b"X-Header: value\r\n"),
    answering(b"", pause=0.3, repeated=b"HTTP/1.1 100 Continue\r\n\r\n"),
    answering(HEAD % 100 + b"a" * 50, pause=3, heads=HEAD % 50),
    answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\naaaaa\r\n", pause=3, heads=HEAD % 5),
    answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n", heads=HEAD % 5),
], ids=["a header that does not end", "headers without end", "never the answer", "half of it", "no last chunk", "no chunk"])
def test_a_web_server_that_plays_tricks(talk: Talk, tmp_path: Path) -> None:
    with listening(talk) as port, pytest.raises((Stalled, ConnectionLost)):
        fetched({"uri": f"http://127.0.0.1:{port}/a.nc"}, {}, tmp_path / "into")


@pytest.mark.parametrize("heads", [HEAD % 5, HEAD % 0, b"HTTP/1.1 405 No\r\nContent-Length: 0\r\n\r\n", HEAD % 10**9])
def test_what_a_web_server_sends_counts_not_what_it_says_beforehand(heads: bytes, tmp_path: Path) -> None:
    with listening(answering(HEAD % 20 + b"a" * 20, heads=heads)) as port:
        assert fetched({"uri": f"http://127.0.0.1:{port}/a.nc"}, {}, tmp_path / "into") == b"a" * 20


@pytest.mark.parametrize("uri", ["http://127.0.0.1:{}/a.nc", "zip://a.nc::http://127.0.0.1:{}/p.zip"])
def test_what_signs_a_url_is_in_no_debug_line(uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    heads: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        heads.append(connection.recv(4096))
        connection.sendall(b"HTTP/1.1 404 Gone\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    with listening(talk) as port, pytest.raises(OriginGone) as caught:
        fetched({"uri": uri.format(port) + "?signature=planted"}, {}, tmp_path / "into")
    assert b"planted" in heads[0]
    assert "planted" not in caplog.text + str(caught.value)


def test_what_a_web_server_sends_is_one_file_whatever_replaces_it_meanwhile(tmp_path: Path) -> None:
    size, contents = 20_000_000, iter(b"abcdefghij")

    def talk(connection: socket.socket) -> None:
        while request := connection.recv(65536):
            body = bytes([next(contents)])
            start, end = 0, size
            if found := re.search(rb"bytes=(\d+)-(\d+)", request):
                start, end = int(found[1]), min(int(found[2]) + 1, size)
            if request.startswith(b"HEAD"):
                connection.sendall(HEAD % size)
            elif found:
                connection.sendall(b"HTTP/1.1 206 Part\r\nContent-Range: bytes %d-%d/%d\r\nContent-Length: %d\r\n\r\n%s"
                                   % (start, end - 1, size, end - start, body * (end - start)))
            else:
                connection.sendall(HEAD % size + body * size)

    with listening(talk) as port:
        found = fetched({"uri": f"http://127.0.0.1:{port}/a.nc"}, {}, tmp_path / "into")
    assert len(found) == size
    assert len(set(found)) == 1


def test_an_object_that_is_replaced_meanwhile_is_tried_again(tmp_path: Path) -> None:
    with MotoServer(tmp_path / "moto") as server:
        server.make_bucket("data")
        server.client().put_object(Bucket="data", Key="a.nc", Body=b"a" * 20_000_000)
        options = {"s3": {"key": server.access_key, "secret": server.secret_key, "client_kwargs": {
            "endpoint_url": server.url, "region_name": server.region}}}
        opener = Opener(options, (), SETTINGS, Rights(ALL, ()))
        with pytest.raises(MoveError) as caught, opener.opened(place_of({"uri": "s3://data/a.nc"})) as found:
            assert found.stream.read(100_000) == b"a" * 100_000
            server.client().put_object(Bucket="data", Key="a.nc", Body=b"b" * 20_000_000)
            found.stream.read()
        assert not caught.value.permanent
        assert fetched({"uri": "s3://data/a.nc"}, options, tmp_path / "into") == b"b" * 20_000_000
