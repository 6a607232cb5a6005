"""The S3 mover keeps the promises of all movers, against OpenStack Swift's S3 door; failures are scripted in front of moto."""

from __future__ import annotations

import hashlib
import http.client
import itertools
import json
import logging
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.contract.movers import (
    CONTROLS,
    HOW,
    LARGE,
    NOT_UTF8,
    MoverContract,
    NetworkContract,
    Place,
    assert_clear,
    content_of,
    deliver,
    everything_said,
    make,
    send,
    session_of,
)
from tests.support.eventually import eventually
from tests.support.s3_server import MotoServer, S3Server, SwiftServer
from tests.support.servers import make_certificate
from tests.support.tcp_proxy import Fault
from trollmoves.errors import (
    Busy,
    Denied,
    DestinationFull,
    DestinationInvalid,
    LoginRefused,
    MoveError,
    TemporaryError,
    VerificationFailed,
)
from trollmoves.movers.base import SessionSettings
from trollmoves.movers.s3 import S3Mover
from trollmoves.uris import parse_destination

numbers = itertools.count()


class S3Place(Place):
    """What is below a prefix of a new bucket."""

    def __init__(self, server: S3Server, **parameters: object):
        self.client = server.client()
        self.bucket = f"bucket-{next(numbers)}"
        self.client.create_bucket(Bucket=self.bucket)
        given = {"key": server.access_key, "secret": server.secret_key, "endpoint_url": server.url,
                 "client_kwargs": {"region_name": server.region},
                 "config_kwargs": {"s3": {"addressing_style": "path"}}, **parameters}
        super().__init__(S3Mover(), f"s3://{self.bucket}/in/", SessionSettings(parameters=given), (server.host, server.port),
                         secret=server.secret_key)

    def at(self, host: str, port: int) -> tuple[str, SessionSettings]:
        return self.uri, self.with_parameters(endpoint_url=f"http://{host}:{port}")

    def with_parameters(self, **parameters: object) -> SessionSettings:
        return replace(self.settings, parameters={**self.settings.parameters, **parameters})

    def head(self, name: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.client.head_object(Bucket=self.bucket, Key=f"in/{name}")
        return answer

    def read(self, name: str) -> bytes | None:
        try:
            content: bytes = self.client.get_object(Bucket=self.bucket, Key=f"in/{name}")["Body"].read()
        except ClientError as error:
            assert error.response["Error"]["Code"] == "NoSuchKey"
            return None
        return content

    def names(self) -> set[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return {entry["Key"].removeprefix("in/") for page in pages for entry in page.get("Contents", ())}

    def unfinished(self) -> list[str]:
        """The keys of multipart uploads that hang about."""
        return [entry["Key"] for entry in self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", ())]

    def forget_unfinished(self) -> None:
        for entry in self.client.list_multipart_uploads(Bucket=self.bucket).get("Uploads", ()):
            self.client.abort_multipart_upload(Bucket=self.bucket, Key=entry["Key"], UploadId=entry["UploadId"])

    def refused(self) -> tuple[str, SessionSettings]:
        return self.uri, self.with_parameters(secret="another-secret")


@pytest.fixture(scope="module")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SwiftServer]:
    with SwiftServer(tmp_path_factory.mktemp("swift")) as server:
        yield server


@pytest.fixture(scope="module")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MotoServer]:
    with MotoServer(tmp_path_factory.mktemp("moto")) as server:
        yield server


class S3Contract(NetworkContract):
    """Requests stand alone, so a lost connection between two of them is no event."""

    refused_names = (NOT_UTF8,)

    @pytest.fixture(autouse=True)
    def nothing_unfinished(self, place: S3Place) -> Iterator[None]:
        yield
        assert place.unfinished() == []

    def test_a_session_that_the_server_closed_is_opened_again(self, place: Place, tmp_path: Path) -> None:
        path = make(tmp_path / "origin.dat", b"1")
        with place.through() as way, session_of(place, way.uri, way.settings) as session:
            send(place, session, path, "first.dat", uri=way.uri)
            before = way.connections
            way.cut()
            assert session.is_alive()
            send(place, session, path, "second.dat", uri=way.uri)
            assert way.connections > before
        assert place.names() == {"first.dat", "second.dat"}

    @pytest.mark.parametrize("size", [1000, LARGE])
    def test_a_lost_answer_leaves_a_whole_file_or_none(self, place: Place, tmp_path: Path, size: int) -> None:
        super().test_a_lost_answer_leaves_a_whole_file_or_none(place, tmp_path, size)
        assert isinstance(place, S3Place)
        place.forget_unfinished()  # we never learned its id; it is taken back when it is a day old, see below

    def test_a_lost_session_says_so(self, place: Place, tmp_path: Path) -> None:
        """It is never lost: see above."""

    def test_a_backup_target_takes_over_and_is_kept(self, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.skip("the host of the uri is a bucket")


class TestOneConnectionToSwift(S3Contract):
    many = 100  # it takes 50 ms for each

    @pytest.fixture
    def place(self, swift: SwiftServer) -> S3Place:
        return S3Place(swift, max_concurrency="1")

    @pytest.mark.parametrize("size", [50_000, LARGE])
    def test_what_is_damaged_on_the_way_is_not_taken(self, place: S3Place, tmp_path: Path, size: int) -> None:
        path = make(tmp_path / "origin.dat", content_of(size))
        with place.through(upward=Fault(corrupt_at=size - 10_000)) as way, pytest.raises(VerificationFailed):
            deliver(place, path, "final.dat", uri=way.uri, settings=way.settings)
        assert place.names() == set()

    def test_a_missing_bucket_is_said(self, place: S3Place) -> None:
        with pytest.raises(DestinationInvalid, match="NoSuchBucket"):
            session_of(place, "s3://no-such-bucket/in/").__enter__()


@pytest.fixture
def full_swift(tmp_path: Path) -> Iterator[SwiftServer]:
    """A Swift on a disk of its own with some 20 MiB."""
    disk = tmp_path / "swift" / "devices" / "disk"
    disk.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", disk]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        try:
            os.setxattr(disk, "user.test", b"1")
        except OSError:
            pytest.skip("a tmpfs has no attributes here, which Swift needs")
        with SwiftServer(tmp_path / "swift") as server:
            yield server
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.parametrize("parameters", [{}, {"s3_multipart_chunksize": LARGE + 1}], ids=["parts", "whole"])
def test_a_full_disk_is_said_and_nothing_is_left(full_swift: SwiftServer, tmp_path: Path, parameters: dict[str, object]) -> None:
    place = S3Place(full_swift, max_concurrency="1", **parameters)
    deliver(place, make(tmp_path / "old.dat", b"old"), "final.dat")
    with pytest.raises(TemporaryError) as caught:  # Swift's object server says 507, its door 503
        deliver(place, make(tmp_path / "large.dat", content_of(LARGE)), "final.dat")
    assert "503" in str(caught.value)
    assert_clear(place, caught.value)
    eventually(lambda: place.read("final.dat") == b"old")  # a disk that was full is not asked for a moment
    assert place.names() == {"final.dat"}
    assert place.unfinished() == []
    deliver(place, make(tmp_path / "fits.dat", content_of(1000)), "fits.dat")
    assert place.names() == {"final.dat", "fits.dat"}


class TestPartsInParallelToMoto(MoverContract):
    refused_names = (NOT_UTF8, CONTROLS[0])
    """moto finds no key with a line end."""
    many = 100
    @pytest.fixture
    def place(self, moto: MotoServer) -> S3Place:
        return S3Place(moto)


Response = tuple[int, dict[str, str], bytes]


@dataclass
class Rule:
    """What happens to the first *times* requests whose method and url match."""

    method: str
    url: str
    change: Callable[[Response], Response] | None
    """Applied to what the server answered; None: the request does not reach it, *answer* is given."""
    answer: Response = (200, {}, b"")
    times: int = 10**6


def refusal(method: str, url: str, status: int, code: str, times: int = 10**6) -> Rule:
    """A rule by which requests are refused as S3 refuses them."""
    text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>so it is</Message></Error>".encode()
    return Rule(method, url, None, (status, {"Content-Type": "application/xml"}, text), times)


class Front(ThreadingHTTPServer):
    """Stands before an S3 server, keeps what it is asked, and changes answers as a test says."""

    daemon_threads = True

    def __init__(self, server: S3Server):
        super().__init__(("127.0.0.1", 0), FrontHandler)
        self.behind = server
        self.rules: list[Rule] = []
        self.requests: list[tuple[str, str, Any]] = []

    def rule(self, method: str, url: str) -> Rule | None:
        for rule in self.rules:
            if rule.method == method and rule.times > 0 and re.search(rule.url, url):
                rule.times -= 1
                return rule
        return None

    def headers(self, method: str, name: str) -> list[str | None]:
        """The values of a header in all requests with *method*."""
        return [headers.get(name) for kind, _, headers in self.requests if kind == method]


class FrontHandler(BaseHTTPRequestHandler):
    server: Front
    protocol_version = "HTTP/1.1"

    def pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((self.command, self.path, self.headers))
        rule = self.server.rule(self.command, self.path)
        status, headers, text = rule.answer if rule and rule.change is None else self._asked(body)
        if rule and rule.change:
            status, headers, text = rule.change((status, headers, text))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(b"" if self.command == "HEAD" else text)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = pass_on

    def _asked(self, body: bytes) -> Response:
        behind = http.client.HTTPConnection(self.server.behind.host, self.server.behind.port, timeout=30)
        behind.request(self.command, self.path, body, {name: value for name, value in self.headers.items() if name != "Expect"})
        answer = behind.getresponse()
        text = answer.read()
        behind.close()
        dropped = {"connection", "transfer-encoding", "server", "date", "" if self.command == "HEAD" else "content-length"}
        kept = {name: value for name, value in answer.headers.items() if name.lower() not in dropped}
        return answer.status, kept, text

    def log_message(self, format: str, *arguments: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def front(moto: MotoServer) -> Iterator[Front]:
    server = Front(moto)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join(20)
        server.server_close()


@pytest.fixture
def place(moto: MotoServer, front: Front) -> S3Place:
    return S3Place(moto, endpoint_url=f"http://127.0.0.1:{front.server_port}")


def with_headers(**headers: str) -> Callable[[Response], Response]:
    """A change that sets headers (`_` stands for `-`) of good answers."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}

    def change(response: Response) -> Response:
        status, old, text = response
        kept = {name: value for name, value in old.items() if name.lower() not in {name.lower() for name in given}}
        return (status, {**kept, **given}, text) if status < 300 else response

    return change


class TestScripted:
    """What a server may say (T38)."""

    @pytest.mark.parametrize(("status", "code"), [(503, "SlowDown"), (500, "InternalError")])
    @pytest.mark.parametrize("size", [1000, LARGE])
    def test_a_busy_server_is_asked_again(self, place: S3Place, front: Front, tmp_path: Path, size: int, status: int,
                                          code: str) -> None:
        steps: list[int] = []
        front.rules = [refusal("PUT", "final", status, code, times=2)]
        deliver(place, make(tmp_path / "origin.dat", content_of(size)), "final.dat", progress=steps.append)
        assert place.read("final.dat") == content_of(size)
        assert steps == sorted(steps) and steps[-1] == size

    @pytest.mark.parametrize(("status", "code", "kind"), [
        (503, "SlowDown", Busy), (500, "InternalError", TemporaryError), (403, "AccessDenied", Denied),
        (400, "ExpiredToken", LoginRefused), (507, "InsufficientStorage", DestinationFull),
        (400, "BadDigest", VerificationFailed), (400, "InvalidArgument", DestinationInvalid)])
    @pytest.mark.parametrize(("method", "url"), [("PUT", "final.dat$"), ("PUT", "partNumber=2"), ("POST", "uploadId=")])
    def test_a_refusal_becomes_our_error_and_leaves_nothing(self, place: S3Place, front: Front, tmp_path: Path, method: str,
                                                            url: str, status: int, code: str, kind: type[MoveError]) -> None:
        path = make(tmp_path / "origin.dat", content_of(1000 if url.endswith("$") else LARGE))
        deliver(place, make(tmp_path / "old.dat", b"old"), "final.dat")
        front.rules = [refusal(method, url, status, code)]
        with pytest.raises(kind, match=code) as caught:
            deliver(place, path, "final.dat")
        assert place.secret not in everything_said(caught.value)
        assert place.read("final.dat") == b"old"
        assert place.unfinished() == []

    def test_an_expired_token_is_said_at_once_and_not_shown(self, place: S3Place, front: Front) -> None:
        front.rules = [refusal("GET", "list-type", 400, "ExpiredToken")]
        token = "a-planted" + "-token"
        with pytest.raises(LoginRefused, match="ExpiredToken") as caught:
            session_of(place, settings=place.with_parameters(token=token)).__enter__()
        assert front.headers("GET", "X-Amz-Security-Token") == [token]
        assert token not in everything_said(caught.value)

    @pytest.mark.parametrize("text", [b"", b"\x00\xff" * 1000, b"<html>gateway</html>", b"<InitiateMultipartUploadResult/>"])
    def test_an_answer_that_makes_no_sense_is_an_error(self, place: S3Place, front: Front, tmp_path: Path, text: bytes) -> None:
        front.rules = [Rule("POST", "uploads", None, (200, {"Content-Type": "application/xml"}, text))]
        with pytest.raises(TemporaryError) as caught:
            deliver(place, make(tmp_path / "origin.dat", content_of(LARGE)), "final.dat")
        assert_clear(place, caught.value)
        assert place.names() == set()

    def test_who_may_only_write_can_write(self, place: S3Place, front: Front, tmp_path: Path) -> None:
        front.rules = [refusal("GET", "", 403, "AccessDenied"), refusal("HEAD", "", 403, "AccessDenied")]
        for size in (1000, LARGE):
            assert deliver(place, make(tmp_path / f"{size}.dat", content_of(size))).verified == "sum"
        settings = replace(place.settings, checksum="never")
        assert deliver(place, tmp_path / "1000.dat", settings=settings).verified == "none"

    @pytest.mark.parametrize(("size", "url"), [(1000, "final"), (LARGE, "partNumber=3")])
    def test_a_wrong_sum_is_noticed_and_nobody_finds_the_wrong_bytes(self, place: S3Place, front: Front, tmp_path: Path,
                                                                     size: int, url: str) -> None:
        front.rules = [Rule("PUT", url, with_headers(ETag='"0123456789abcdef0123456789abcdef"'))]
        with pytest.raises(VerificationFailed, match="0123456789abcdef"):
            deliver(place, make(tmp_path / "origin.dat", content_of(size)), "final.dat")
        assert place.names() == set()
        assert place.unfinished() == []

    @pytest.mark.parametrize("headers", [
        {"ETag": '"other-kind-of-tag"'},
        {"ETag": '"0123456789abcdef0123456789abcdef"', "x_amz_server_side_encryption": "aws:kms"}])
    def test_where_no_sum_is_told_sizes_are_compared(self, place: S3Place, front: Front, tmp_path: Path,
                                                     headers: dict[str, str]) -> None:
        path = make(tmp_path / "origin.dat", content_of(1000))
        front.rules = [Rule("PUT", "final", with_headers(**headers))]
        assert deliver(place, path, "final.dat").verified == "size"
        front.rules.append(Rule("HEAD", "final", with_headers(Content_Length="999")))
        with pytest.raises(VerificationFailed, match="999 bytes"):
            deliver(place, path, "final.dat")

    @pytest.mark.parametrize("size", [0, 1000, LARGE])
    @pytest.mark.parametrize(("checksum", "verified"), [("auto", "sum"), ("always", "sum"), ("never", "size")])
    def test_the_section_says_how_much_is_compared(self, place: S3Place, front: Front, tmp_path: Path, size: int, checksum: str,
                                                   verified: str) -> None:
        settings, how = replace(place.settings, checksum=checksum), HOW._replace(checksum=checksum)
        receipt = deliver(place, make(tmp_path / "origin.dat", content_of(size)), "final.dat", settings=settings, how=how)
        assert receipt.verified == verified
        assert all(bool(value) is (checksum != "never") for value in front.headers("PUT", "Content-MD5"))
        assert all(bool(value) is (checksum == "always") for value in front.headers("PUT", "x-amz-checksum-sha256"))
        if checksum == "always" and size <= 1000:
            with session_of(place) as session:
                assert session.checksum("/in/final.dat") == f"sha256:{hashlib.sha256(content_of(size)).hexdigest()}"

    def test_parts_that_could_not_be_taken_back_are_when_they_are_old(self, place: S3Place, front: Front, tmp_path: Path,
                                                                      caplog: pytest.LogCaptureFixture) -> None:
        front.rules = [refusal("PUT", "partNumber=1", 403, "AccessDenied"), refusal("DELETE", "uploadId", 500, "InternalError")]
        with pytest.raises(Denied):
            deliver(place, make(tmp_path / "origin.dat", content_of(LARGE)), "lost.dat")
        assert place.unfinished() == ["in/lost.dat"]
        assert "could not be taken back" in caplog.text
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z").encode()

        def dated(response: Response) -> Response:
            """moto says 2010 of every upload; the one that runs is new."""
            status, headers, text = response
            uploads = text.split(b"<Upload>")
            uploads = [re.sub(rb"2010-[^<]*", now, upload) if b"in/next.dat" in upload else upload for upload in uploads]
            return status, headers, b"<Upload>".join(uploads)

        front.rules = [Rule("GET", "uploads", dated)]
        deliver(place, make(tmp_path / "origin.dat", content_of(LARGE)), "next.dat")
        assert place.unfinished() == []
        assert place.names() == {"next.dat"}

    def test_nothing_is_taken_back_where_times_mean_nothing(self, place: S3Place, tmp_path: Path) -> None:
        place.client.create_multipart_upload(Bucket=place.bucket, Key="in/other.dat")
        deliver(place, make(tmp_path / "origin.dat", content_of(LARGE)), "final.dat")
        assert place.unfinished() == ["in/other.dat"]


def shakes_hands(listening: socket.socket, context: ssl.SSLContext) -> bool:
    """Whether the first who connects trusts our certificate; then it and all others are hung up on."""
    listening.settimeout(20)
    connection, _ = listening.accept()
    listening.close()
    connection.settimeout(20)
    with connection:
        try:
            context.wrap_socket(connection, server_side=True).close()
        except OSError:
            return False
        return True


def first_line(listening: socket.socket) -> str:
    """What the first who connects says first; then it and all others are hung up on."""
    said = ""
    while not said:
        connection, _ = listening.accept()
        with connection:
            said = connection.recv(4096).decode().split("\r\n", 1)[0]
    listening.close()
    return said


class TestParameters:
    """Upstream's options keep their meaning."""

    def test_what_is_added_to_every_upload(self, place: S3Place, front: Front, tmp_path: Path) -> None:
        more = {"StorageClass": "STANDARD_IA", "Metadata": {"station": "x"}, "ContentType": "application/x-ours"}
        settings = place.with_parameters(s3_additional_kwargs=more, requester_pays="true")
        for name, size in (("small.nc", 1000), ("large.nc", LARGE)):
            deliver(place, make(tmp_path / name, content_of(size)), settings=settings)
            head = place.head(name)
            assert (head["StorageClass"], head["ContentType"]) == ("STANDARD_IA", "application/x-ours")
            assert head["Metadata"] == {"station": "x", "mtime": "1500000000.000000"}
        assert set(front.headers("PUT", "x-amz-request-payer")) == {"requester"}

    @pytest.mark.parametrize("value", ["true", 1, True, "off", 0])
    def test_what_is_on_or_off_may_be_said_as_in_an_ini_file(self, place: S3Place, front: Front, tmp_path: Path,
                                                             value: object) -> None:
        settings = place.with_parameters(s3_additional_kwargs={"BucketKeyEnabled": value})
        deliver(place, make(tmp_path / "a.nc", b"content"), settings=settings)
        header = "x-amz-server-side-encryption-bucket-key-enabled"
        assert set(front.headers("PUT", header)) == {"false" if value in ("off", 0) else "true"}

    @pytest.mark.parametrize(("parameters", "said"), [
        ({"s3_additional_kwargs": {"StorageKlass": "x"}}, "StorageKlass"), ({"config_kwargs": {"colour": "x"}}, "colour"),
        ({"client_kwargs": {"colour": "x"}}, "colour"), ({"client_kwargs": "x"}, "client_kwargs"),
        ({"s3_multipart_chunksize": "1000"}, "s3_multipart_chunksize"), ({"max_concurrency": "many"}, "max_concurrency"),
        ({"profile": "nobodys"}, "nobodys"), ({"session": object()}, "session"), ({"endpoint_url": "nowhere"}, "nowhere")])
    def test_what_cannot_be_understood_is_said(self, place: S3Place, parameters: dict[str, object], said: str) -> None:
        with pytest.raises(DestinationInvalid, match=said):
            session_of(place, settings=place.with_parameters(**parameters)).__enter__()

    @pytest.mark.parametrize(("parameters", "asked"), [({}, "CONNECT bucket"), ({"use_ssl": "false"}, "GET http://")])
    def test_the_connection_is_encrypted_unless_told_otherwise(self, monkeypatch: pytest.MonkeyPatch,
                                                               parameters: dict[str, object], asked: str) -> None:
        """Of AWS itself, which here is a proxy that hangs up."""
        with socket.create_server(("127.0.0.1", 0)) as proxy, ThreadPoolExecutor(1) as pool:
            for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.getsockname()[1]}")
            monkeypatch.setenv("no_proxy", "")
            heard = pool.submit(first_line, proxy)
            settings = SessionSettings(parameters={"key": "x", "secret": "y", "client_kwargs": {"region_name": "eu-north-1"},
                                                   **parameters}, connect_timeout=5.0)
            with pytest.raises(MoveError):
                S3Mover().open(parse_destination("s3://bucket/in/"), settings)
            assert heard.result(30).startswith(asked) and "amazonaws.com" in heard.result()

    @pytest.mark.parametrize(("written", "verified"), [(1, True), (True, True), (0, False), (False, False)])
    def test_certificates_are_verified_or_not_as_an_ini_file_may_say_it(self, place: S3Place, caplog: pytest.LogCaptureFixture,
                                                                        tmp_path: Path, written: object, verified: bool) -> None:
        context, made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), make_certificate(tmp_path)
        context.load_cert_chain(made.both)
        with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
            shaken = pool.submit(shakes_hands, server, context)
            settings = place.with_parameters(endpoint_url=f"https://127.0.0.1:{server.getsockname()[1]}",
                                             client_kwargs={"region_name": "x", "verify": written})
            with pytest.raises(LoginRefused if verified else MoveError, match="not trusted" if verified else "s3://"):
                S3Mover().open(parse_destination("s3://bucket/in/"), settings)
            assert shaken.result(30) is not verified
        assert ("turns off the verification" in caplog.text) is not verified

    def test_nobody_signs_where_that_is_asked_for(self, place: S3Place, front: Front, tmp_path: Path) -> None:
        deliver(place, make(tmp_path / "origin.dat", b"1"), settings=place.with_parameters(anon="true", key=None, secret=None))
        assert front.headers("PUT", "Authorization") == [None]

    def signer(self, front: Front) -> str:
        header, = front.headers("PUT", "Authorization")
        assert header
        found = re.search("Credential=([^/]*)/", header)
        assert found
        return found[1]

    def test_a_profile_is_used(self, place: S3Place, front: Front, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "credentials").write_text("[archive]\naws_access_key_id = ours\naws_secret_access_key = planted\n")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        settings = place.with_parameters(key=None, secret=None, profile="archive")
        deliver(place, make(tmp_path / "origin.dat", b"1"), settings=settings)
        assert self.signer(front) == "ours"

    def test_the_configuration_of_fsspec_is_used(self, place: S3Place, front: Front, tmp_path: Path,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
        said = {"key": "ours", "secret": "planted", "endpoint_url": place.settings.parameters["endpoint_url"]}
        (tmp_path / "s3.json").write_text(json.dumps({"s3": said}))
        monkeypatch.setenv("FSSPEC_CONFIG_DIR", str(tmp_path))
        settings = place.with_parameters(key=None, secret=None, endpoint_url=None)
        deliver(place, make(tmp_path / "origin.dat", b"1"), settings=settings)
        assert self.signer(front) == "ours"

    def test_a_login_in_the_uri_is_used(self, place: S3Place, front: Front, tmp_path: Path) -> None:
        uri = place.uri.replace("//", "//ours:planted@")
        deliver(place, make(tmp_path / "origin.dat", b"1"), uri=uri, settings=place.with_parameters(key=None, secret=None))
        assert self.signer(front) == "ours"

    def test_a_session_is_used(self, place: S3Place, front: Front, tmp_path: Path) -> None:
        session = boto3.Session(aws_access_key_id="ours", aws_secret_access_key="planted")
        settings = place.with_parameters(key=None, secret=None, session=session)
        deliver(place, make(tmp_path / "origin.dat", b"1"), settings=settings)
        assert self.signer(front) == "ours"

    def test_without_any_credentials_the_login_is_refused(self, place: S3Place, tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
            monkeypatch.setenv(name, str(tmp_path / "none"))
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
        with pytest.raises(LoginRefused, match="credentials"):
            session_of(place, settings=place.with_parameters(key=None, secret=None)).__enter__()

    @pytest.mark.parametrize(("parameters", "parts"), [
        ({}, 0), ({"s3_use_multipart": "true"}, 1), ({"s3_multipart_chunksize": str(5 * 2**20)}, 2), ({"s3_use_copy": True}, 0)])
    def test_the_size_of_parts_can_be_set(self, place: S3Place, front: Front, tmp_path: Path, parameters: dict[str, object],
                                          parts: int) -> None:
        size = 7 * 2**20
        deliver(place, make(tmp_path / "origin.dat", content_of(size)), settings=place.with_parameters(**parameters))
        assert sum("partNumber" in url for kind, url, _ in front.requests if kind == "PUT") == parts
        assert place.read("origin.dat") == content_of(size)

    @pytest.mark.parametrize(("options", "sent"), [({}, False), ({"request_checksum_calculation": "when_supported"}, True)])
    def test_newer_checksums_are_sent_when_asked_for(self, place: S3Place, front: Front, tmp_path: Path, options: dict[str, str],
                                                     sent: bool) -> None:
        given = {**place.settings.parameters["config_kwargs"], **options}
        settings = replace(place.with_parameters(config_kwargs=given), checksum="never")
        deliver(place, make(tmp_path / "origin.dat", b"1"), settings=settings)
        _, _, headers = next(request for request in front.requests if request[0] == "PUT")
        assert any(name.lower().startswith(("x-amz-checksum-", "x-amz-trailer")) for name in headers) is sent

    def test_what_is_not_for_s3_is_noted(self, place: S3Place, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG, "trollmoves")
        with session_of(place, settings=place.with_parameters(ssh_key_filename="x", cache_regions=True)):
            assert "not for s3: ssh_key_filename" in caplog.text
            assert "without effect" in caplog.text and "cache_regions" in caplog.text
