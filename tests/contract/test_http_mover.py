"""The HTTP mover keeps the promises of all movers against nginx with WebDAV; a scripted server does what nginx does not."""

from __future__ import annotations

import base64
import email
import hashlib
import itertools
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pytest

from tests.contract.movers import (
    HOW,
    LARGE,
    LONG_AGO,
    LocalPlace,
    NetworkContract,
    Place,
    content_of,
    deliver,
    everything_said,
    make,
    send,
    session_of,
)
from tests.support.http_server import HttpServer
from tests.support.ports import free_port
from tests.support.servers import make_certificate, with_password
from trollmoves.errors import (
    Busy,
    Denied,
    DestinationFull,
    DestinationInvalid,
    LoginRefused,
    MoveError,
    TemporaryError,
    Unreachable,
    VerificationFailed,
)
from trollmoves.movers.base import SessionSettings
from trollmoves.movers.http import HttpMover
from trollmoves.movers.moving import RESUME_FROM, temporary_name

numbers = itertools.count()


def place_on(server: HttpServer, **parameters: object) -> LocalPlace:
    """A new directory on *server*."""
    directory = f"place-{next(numbers)}"
    (server.root / directory).mkdir()
    (server.root / directory).chmod(0o777)
    address, password = f"{server.host}:{server.port}", quote(server.password, safe="")
    settings = SessionSettings(parameters=parameters)
    scheme = "https" if server.authority else "http"
    uri, refused = (f"{scheme}://{server.user}:{word}@{address}/{directory}/" for word in (password, "wrong-one"))
    return LocalPlace(HttpMover(), uri, settings, server.root / directory, (server.host, server.port), server.password,
                      (refused, settings))


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    with HttpServer(tmp_path_factory.mktemp("nginx"), options="keepalive_requests 100000;") as server:
        yield server


class WebDavContract(NetworkContract):
    def test_a_full_disk_is_said_and_nothing_is_left(self, place: Place, tmp_path: Path) -> None:
        """nginx answers 500, which may mean anything, and leaves a file of its own; for a server that says more see below."""
        path = make(tmp_path / "origin.dat", content_of(LARGE))
        with place.small_disk() as small:
            with pytest.raises(TemporaryError, match="500"):
                deliver(place, path, small)
            names = {name.removeprefix(small) for name in place.names()}
            assert not names & {"origin.dat", temporary_name("origin.dat", HOW.transfer)}


class TestWebDav(WebDavContract):
    @pytest.fixture
    def place(self, nginx: HttpServer) -> Place:
        return place_on(nginx)

    def test_the_time_of_the_origin_is_kept(self, place: LocalPlace, tmp_path: Path) -> None:
        deliver(place, make(tmp_path / "origin.dat", b"1"))
        assert (place.root / "origin.dat").stat().st_mtime_ns == LONG_AGO

    def test_a_directory_is_not_replaced_by_a_file(self, place: LocalPlace, tmp_path: Path) -> None:
        make(place.root / "name" / "precious.dat", b"precious")
        with pytest.raises(DestinationInvalid):
            deliver(place, make(tmp_path / "name", b"1"))
        assert place.names() == {"name/precious.dat"}

    def test_a_server_that_refuses_ranges_gets_the_whole_file(self, place: Place, tmp_path: Path) -> None:
        content = content_of(LARGE)
        place.write(temporary_name("final.dat", HOW.transfer), content[:-1000])
        deliver(place, make(tmp_path / "origin.dat", content), "final.dat", how=HOW._replace(resume=True))
        assert place.read("final.dat") == content
        assert place.names() == {"final.dat"}

    def test_without_webdav_the_user_has_to_say_that_the_server_is_to_be_trusted(self, nginx: HttpServer, tmp_path: Path) -> None:
        path = make(tmp_path / "origin.dat", b"1")
        place = place_on(nginx, webdav="false")
        with pytest.raises(DestinationInvalid, match="inplace"):
            deliver(place, path)
        assert place.names() == set()
        assert deliver(place, path, how=HOW._replace(inplace=True)).verified == "size"
        trusted = place_on(nginx, webdav=False, atomic_put="true")
        assert deliver(trusted, path).verified == "size"
        assert place.read("origin.dat") == trusted.read("origin.dat") == b"1"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    with HttpServer(tmp_path_factory.mktemp("tls"), tls=True, options="keepalive_requests 100000;") as server:
        yield server


class TestWebDavOverTls(WebDavContract):
    @pytest.fixture
    def place(self, tls: HttpServer) -> Place:
        return place_on(tls, tls_ca_file=str(tls.authority))


class TestTls:
    def test_a_server_that_nobody_vouches_for_sees_no_password(self, tls: HttpServer) -> None:
        place = place_on(tls)
        with pytest.raises(LoginRefused, match="not trusted"):
            session_of(place).__enter__()

    def test_our_certificate_is_shown_where_it_is_wanted(self, tmp_path: Path) -> None:
        ours = make_certificate(tmp_path)
        options = "if ($ssl_client_verify != SUCCESS) { return 403; }"
        server = HttpServer(tmp_path / "server", tls=True, options=options)
        configuration = tmp_path / "server" / "nginx.conf"
        configuration.write_text(configuration.read_text().replace(
            "ssl_certificate ", f"ssl_verify_client optional; ssl_client_certificate {ours.certificate}; ssl_certificate ", 1))
        with server:
            place = place_on(server, tls_ca_file=str(server.authority), tls_cert_file=str(ours.certificate),
                             tls_key_file=str(ours.key))
            deliver(place, make(tmp_path / "origin.dat", b"1"))
            assert place.names() == {"origin.dat"}
            locked = place_on(server, tls_ca_file=str(server.authority), tls_cert_file=str(ours.certificate),
                              tls_key_file=str(with_password(ours.key, "sesame")), tls_key_password="sesame")
            deliver(locked, make(tmp_path / "second.dat", b"1"))
            stranger = place_on(server, tls_ca_file=str(server.authority), webdav=True)
            with pytest.raises(Denied):
                deliver(stranger, make(tmp_path / "origin.dat", b"1"))

    @pytest.mark.parametrize("parameters", [{"tls_ca_file": "/nowhere"}, {"tls_cert_file": "/nowhere"}])
    def test_files_that_cannot_be_read_are_said(self, tls: HttpServer, parameters: dict[str, object]) -> None:
        with pytest.raises(DestinationInvalid, match="cannot be used"):
            session_of(place_on(tls, **parameters)).__enter__()


class Scripted(ThreadingHTTPServer):
    """Keeps files in memory, speaks as much WebDAV as it is told, and answers some paths as a test says."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.offer = {"DAV": "1, 2"}
        self.ranges = "content-range"
        self.digest: Callable[[bytes], bytes] | None = None
        self.answers: dict[tuple[str, str], tuple[int, dict[str, str]]] = {}
        """By method and path: a status and headers instead of the usual."""
        self.requests: list[tuple[str, str, email.message.Message, bytes]] = []

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    def asked(self, method: str) -> list[str]:
        """The paths of the requests with *method*."""
        return [path for kind, path, _, _ in self.requests if kind == method]


class Handler(BaseHTTPRequestHandler):
    server: Scripted
    protocol_version = "HTTP/1.1"

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append((self.command, self.path, self.headers, body))
        scripted = self.server.answers.get((self.command, path))
        status, headers, text = (*scripted, b"") if scripted else getattr(self, "on_" + self.command)(path, body)
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(text))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    do_OPTIONS = do_PUT = do_PATCH = do_POST = do_HEAD = do_MOVE = do_DELETE = do_PROPFIND = do_MKCOL = handle_any

    def on_OPTIONS(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        return 200, self.server.offer, b""

    def on_PUT(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", self.headers.get("Content-Range", ""))
        start = int(found[1]) if found and self.server.ranges == "content-range" else 0
        self.server.files[path] = self.server.files.get(path, b"")[:start] + body
        return 201, {}, b""

    def on_PATCH(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        found = re.fullmatch(r"bytes=(\d+)-", self.headers["X-Update-Range"])
        assert found and self.headers["Content-Type"] == "application/x-sabredav-partialupdate"
        self.server.files[path] = self.server.files[path][:int(found[1])] + body
        return 204, {}, b""

    def on_POST(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        return 200, {"Content-Type": "text/plain"}, b"thanks"

    def on_HEAD(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        content = self.server.files.get(path)
        if content is None:
            return 404, {}, b""
        headers = {"Content-Length": str(len(content))}
        if self.server.digest and self.headers.get("Want-Repr-Digest") == "sha-256=9":
            headers["Repr-Digest"] = f"sha-256=:{base64.b64encode(self.server.digest(content)).decode()}:"
        return 200, headers, b""

    def on_MOVE(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        target = unquote(urlsplit(self.headers["Destination"]).path)
        if self.headers["Overwrite"] == "F" and target in self.server.files:
            return 412, {}, b""
        self.server.files[target] = self.server.files.pop(path)
        return 201, {}, b""

    def on_DELETE(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        return (404 if self.server.files.pop(path, None) is None else 204), {}, b""

    def on_MKCOL(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        return 405, {}, b""

    def on_PROPFIND(self, path: str, body: bytes) -> tuple[int, dict[str, str], bytes]:
        if path == "/in/":
            return 207, {}, b"<D:resourcetype><D:collection/></D:resourcetype>"
        return 404, {}, b""

    def log_message(self, format: str, *arguments: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    server = Scripted()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join(20)
        server.server_close()


class ScriptedPlace(Place):
    def __init__(self, server: Scripted, login: str = "", **parameters: object):
        uri = server.uri.replace("//", f"//{login}@") if login else server.uri
        super().__init__(HttpMover(), uri + "in/", SessionSettings(parameters=parameters), server.server_address[:2])
        self.server = server

    def read(self, name: str) -> bytes | None:
        return self.server.files.get(f"/in/{name}")

    def names(self) -> set[str]:
        return {path.removeprefix("/in/") for path in self.server.files}


class TestScripted:
    """What a server may say."""

    @pytest.mark.parametrize(("status", "headers", "kind"), [
        (401, {}, LoginRefused), (403, {}, Denied), (413, {}, DestinationInvalid), (429, {}, Busy), (500, {}, TemporaryError),
        (503, {"Retry-After": "77"}, Busy), (507, {}, DestinationFull), (300, {}, DestinationInvalid)])
    def test_a_refusal_becomes_our_error(self, scripted: Scripted, tmp_path: Path, status: int, headers: dict[str, str],
                                         kind: type[MoveError]) -> None:
        place, path = ScriptedPlace(scripted), make(tmp_path / "origin.dat", b"1")
        temporary = temporary_name("/in/origin.dat", HOW.transfer)
        scripted.answers["PUT", temporary] = status, headers
        with pytest.raises(kind) as caught:
            deliver(place, path)
        assert str(status) in str(caught.value)
        assert getattr(caught.value, "retry_after", 77) == (5 if status == 429 else 77)
        assert scripted.asked("DELETE") == [temporary]
        assert place.names() == set()

    @pytest.mark.parametrize("status", [403, 404, 413, 503, 507, 302])
    def test_what_is_refused_in_place_leaves_what_was_there(self, scripted: Scripted, tmp_path: Path, status: int) -> None:
        place, path = ScriptedPlace(scripted, webdav="false"), make(tmp_path / "origin.dat", b"1")
        scripted.files["/in/origin.dat"] = b"older"
        scripted.answers["PUT", "/in/origin.dat"] = status, {"Location": "https://elsewhere.invalid/"} if status == 302 else {}
        with pytest.raises(MoveError):
            deliver(place, path, how=HOW._replace(inplace=True))
        assert place.read("origin.dat") == b"older" and scripted.asked("DELETE") == []

    def test_what_arrived_is_compared(self, scripted: Scripted, tmp_path: Path) -> None:
        place, path = ScriptedPlace(scripted), make(tmp_path / "origin.dat", content_of(1000))
        scripted.answers["HEAD", temporary_name("/in/origin.dat", HOW.transfer)] = 200, {"Content-Length": "999"}
        with pytest.raises(VerificationFailed, match="999 bytes"):
            deliver(place, path)
        assert place.names() == set()
        scripted.answers.clear()
        scripted.digest = lambda content: hashlib.sha256(content).digest()
        receipt = deliver(place, path, how=HOW._replace(checksum="always"))
        assert (receipt.verified, receipt.checksum) == ("sum", f"sha256:{hashlib.sha256(content_of(1000)).hexdigest()}")
        scripted.digest = lambda content: hashlib.sha256(b"damaged").digest()
        with pytest.raises(VerificationFailed, match="checksum"):
            deliver(place, path, "other.dat")
        assert place.names() == {"origin.dat"}

    def test_a_server_that_tells_nothing_is_believed(self, scripted: Scripted, tmp_path: Path) -> None:
        place = ScriptedPlace(scripted)
        scripted.answers["HEAD", temporary_name("/in/origin.dat", HOW.transfer)] = 403, {}
        assert deliver(place, make(tmp_path / "origin.dat", b"1")).verified == "none"
        assert place.names() == {"origin.dat"}

    @pytest.mark.parametrize("way", ["content-range", "sabredav-partialupdate", "ignored"])
    def test_a_partial_file_is_gone_on_with(self, scripted: Scripted, tmp_path: Path, way: str) -> None:
        content, steps = content_of(LARGE), list[int]()
        temporary = temporary_name("/in/final.dat", HOW.transfer)
        scripted.files[temporary] = content[:-1000]
        scripted.ranges = way
        if way == "sabredav-partialupdate":
            scripted.offer = {"DAV": f"1, 3, {way}"}
        place = ScriptedPlace(scripted)
        receipt = deliver(place, make(tmp_path / "origin.dat", content), "final.dat", how=HOW._replace(resume=True),
                          progress=steps.append)
        assert place.read("final.dat") == content
        assert place.names() == {"final.dat"}
        assert (receipt.size, receipt.verified) == (LARGE, "size")
        assert steps[0] >= RESUME_FROM
        assert sum(len(body) for kind, _, _, body in scripted.requests if kind in ("PUT", "PATCH")) \
            == (1000 + LARGE if way == "ignored" else 1000)

    def test_a_complete_partial_file_is_only_renamed(self, scripted: Scripted, tmp_path: Path) -> None:
        content = content_of(LARGE)
        scripted.files[temporary_name("/in/final.dat", HOW.transfer)] = content
        deliver(ScriptedPlace(scripted), make(tmp_path / "origin.dat", content), "final.dat", how=HOW._replace(resume=True))
        assert scripted.asked("PUT") == []
        assert scripted.files == {"/in/final.dat": content}

    def test_redirects_are_followed_on_the_same_server_only(self, scripted: Scripted, tmp_path: Path) -> None:
        place, path = ScriptedPlace(scripted, "user:planted"), make(tmp_path / "origin.dat", b"1")
        temporary = temporary_name("/in/origin.dat", HOW.transfer)
        scripted.answers["PUT", temporary] = 307, {"Location": quote("/moved" + temporary)}
        scripted.answers["HEAD", temporary] = 307, {"Location": quote("/moved" + temporary)}
        scripted.answers["MOVE", temporary] = 307, {"Location": quote("/moved" + temporary)}
        deliver(place, path)
        assert scripted.files == {"/in/origin.dat": b"1"}
        elsewhere = free_port()  # nobody listens there: going there would be another error
        scripted.answers["PUT", temporary] = 307, {"Location": f"http://127.0.0.1:{elsewhere}/in/?key=word"}
        with pytest.raises(DestinationInvalid, match=f"127.0.0.1:{elsewhere}") as caught:
            deliver(place, path)
        assert "planted" not in everything_said(caught.value) and "key=" not in everything_said(caught.value)
        scripted.answers["PUT", temporary] = 307, {"Location": quote(temporary)}
        with pytest.raises(DestinationInvalid, match="for ever"):
            deliver(place, path)

    def test_an_answer_that_comes_early_ends_the_upload(self, tmp_path: Path, nginx: HttpServer) -> None:
        with HttpServer(tmp_path / "small", options="client_max_body_size 1m;") as server:
            place = place_on(server)
            with pytest.raises(DestinationInvalid, match="413"):
                deliver(place, make(tmp_path / "origin.dat", content_of(LARGE)))
            assert place.names() == set()

    def test_a_server_that_ends_connections_is_connected_to_again(self, tmp_path: Path) -> None:
        path = make(tmp_path / "origin.dat", b"1")
        with HttpServer(tmp_path / "server", options="keepalive_requests 3;") as server:
            place = place_on(server)
            with session_of(place) as session:
                for number in range(10):
                    send(place, session, path, f"{number}.dat")
            assert len(place.names()) == 10

    def test_a_query_is_taken_from_the_parameters_only(self, scripted: Scripted, tmp_path: Path) -> None:
        path, secret = make(tmp_path / "origin.dat", b"1"), "planted"
        with pytest.raises(DestinationInvalid, match="query") as caught:
            deliver(ScriptedPlace(scripted), path, uri=f"{scripted.uri}in/?key={secret}")
        assert "planted" not in everything_said(caught.value)
        deliver(ScriptedPlace(scripted, query="key=word", auth_hosts="127.0.0.1"), path)
        assert all(target.endswith("?key=word") for _, target, _, _ in scripted.requests)

    @pytest.mark.parametrize("parameters", [
        {"query": "sig=planted"}, {"method": "post", "form_fields": {"key": "planted"}}])
    def test_a_query_and_further_fields_are_for_the_hosts_that_are_named(self, scripted: Scripted, parameters: dict[str, object],
                                                                         tmp_path: Path) -> None:
        """Whoever may have files sent to its own machine was told the signature that is for another one."""
        path = make(tmp_path / "origin.dat", b"1")
        with pytest.raises(DestinationInvalid, match="auth_hosts") as caught:
            deliver(ScriptedPlace(scripted, **parameters), path)
        assert "planted" not in everything_said(caught.value)
        for hosts, told in (("elsewhere", False), ("127.0.0.1", True)):
            scripted.requests.clear()
            deliver(ScriptedPlace(scripted, **parameters, auth_hosts=hosts), path)
            assert ("planted" in str(scripted.requests)) is told


class TestForms:
    """`method = post`."""

    def test_a_file_is_posted_as_a_field_of_a_form(self, scripted: Scripted, tmp_path: Path) -> None:
        content, steps = content_of(LARGE), list[int]()
        place = ScriptedPlace(scripted, method="post", form_field="product", form_fields={"station": "käse", "kind": "L1"},
                              auth_hosts="127.0.0.1")
        receipt = deliver(place, make(tmp_path / 'näme "1".nc', content), progress=steps.append)
        assert (receipt.size, receipt.verified) == (LARGE, "none")
        assert receipt.uri == scripted.uri + 'in/näme "1".nc'
        assert steps[-1] == LARGE
        (path, headers, body), = [(path, headers, body) for kind, path, headers, body in scripted.requests if kind == "POST"]
        assert path == "/in/"
        form = email.message_from_bytes(b"Content-Type: " + headers["Content-Type"].encode() + b"\r\n\r\n" + body)
        station, kind, file = (part for part in form.get_payload())  # type: ignore[misc, union-attr]
        assert station.get_payload(decode=True) == "käse".encode()
        assert kind.get_param("name", header="Content-Disposition") == "kind"
        assert 'name="product"; filename="näme %221%22.nc"' in body[:2000].decode("utf-8", "ignore")
        assert file.get_payload(decode=True) == content

    def test_the_form_may_have_a_place_of_its_own(self, scripted: Scripted, tmp_path: Path) -> None:
        place = ScriptedPlace(scripted, method="post", post_path="/api/upload")
        deliver(place, make(tmp_path / "origin.dat", b""), "renamed.dat")
        assert scripted.asked("POST") == ["/api/upload"]
        assert b'name="file"; filename="renamed.dat"' in scripted.requests[-1][3]

    def test_a_refused_form_is_an_error(self, scripted: Scripted, tmp_path: Path) -> None:
        scripted.answers["POST", "/in/"] = 422, {}
        with pytest.raises(DestinationInvalid, match="422"):
            deliver(ScriptedPlace(scripted, method="post"), make(tmp_path / "origin.dat", b"1"))

    def test_another_method_is_refused(self, scripted: Scripted, tmp_path: Path) -> None:
        with pytest.raises(DestinationInvalid, match="method"):
            deliver(ScriptedPlace(scripted, method="get"), make(tmp_path / "origin.dat", b"1"))


def basic(login: str) -> str:
    """The header for a log-in."""
    return "Basic " + base64.b64encode(login.encode()).decode()


class TestLogins:
    """Who is told what."""

    def authorizations(self, scripted: Scripted) -> set[str | None]:
        return {headers.get("Authorization") for _, _, headers, _ in scripted.requests}

    @pytest.mark.parametrize(("login", "parameters", "expected"), [
        ("", {}, None),
        ("user:pass%20word", {"token": "other", "auth_hosts": "127.0.0.1"}, basic("user:pass word")),
        ("", {"token": "abc", "auth_hosts": ["other", "127.0.0.1"]}, "Bearer abc"),
        ("", {"token": "abc", "auth_hosts": "elsewhere"}, None),
        ("", {"username": "ü", "password": "p", "auth_hosts": "127.0.0.1"}, basic("ü:p")),
    ])
    def test_the_login_is_the_one_meant_for_the_host(self, scripted: Scripted, tmp_path: Path, login: str,
                                                      parameters: dict[str, object], expected: str | None,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NETRC", str(tmp_path / "none"))
        deliver(ScriptedPlace(scripted, login, **parameters), make(tmp_path / "origin.dat", b"1"))
        assert self.authorizations(scripted) == {expected}

    def test_the_netrc_file_is_read(self, scripted: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login me password planted\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        deliver(ScriptedPlace(scripted), make(tmp_path / "origin.dat", b"1"))
        assert self.authorizations(scripted) == {basic("me:planted")}

    def test_further_headers_are_sent_to_their_hosts(self, scripted: Scripted, tmp_path: Path) -> None:
        path = make(tmp_path / "origin.dat", b"1")
        for hosts, expected in (("127.0.0.1", {"planted"}), ("elsewhere", {None})):
            scripted.requests.clear()
            deliver(ScriptedPlace(scripted, headers={"X-Key": "planted"}, auth_hosts=hosts), path)
            assert {headers.get("X-Key") for _, _, headers, _ in scripted.requests} == expected

    def test_it_may_be_seen_by_others_where_the_section_says_so(self, tmp_path: Path) -> None:
        settings = SessionSettings(parameters={"allow_plaintext": "true"}, connect_timeout=0.2)
        place = LocalPlace(HttpMover(), "http://user:planted@192.0.2.1:9/in/", settings, tmp_path)
        with pytest.raises(Unreachable) as caught:  # it was tried: nobody is there
            session_of(place).__enter__()
        assert "planted" not in everything_said(caught.value)

    @pytest.mark.parametrize(("uri", "parameters", "said"), [
        ("http://user:planted@archive.example/in/", {}, "https"),
        ("http://archive.example/in/", {"token": "planted", "auth_hosts": "archive.example"}, "https"),
        ("https://archive.example/in/", {"token": "planted"}, "auth_hosts"),
        ("https://archive.example/in/", {"token": "planted\r\nX: y", "auth_hosts": "archive.example"}, "header Authorization"),
    ])
    def test_a_login_that_would_be_seen_by_others_is_refused(self, uri: str, parameters: dict[str, object], said: str,
                                                              tmp_path: Path) -> None:
        settings = SessionSettings(parameters=parameters)
        place = LocalPlace(HttpMover(), uri, settings, tmp_path)
        with pytest.raises(DestinationInvalid, match=said) as caught:
            session_of(place).__enter__()
        assert "planted" not in everything_said(caught.value)
