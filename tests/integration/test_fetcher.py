"""pytroll-fetcher as a process: messages in, files here, messages out; and what a message may not have it do."""

from __future__ import annotations

import http.server
import socket
import tarfile
import threading
import time
import zipfile
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.integration.fetching import TOPIC, Fetching
from tests.integration.moving import arrives
from tests.support.eventually import eventually, never
from tests.support.ftp_server import ScriptedFtpServer
from tests.support.http_server import HttpServer
from tests.support.ports import free_port
from tests.support.s3_server import MotoServer
from tests.support.ssh_server import SshServer

CONTENT = b"some content\n" * 20_000


def file(root: Path, name: str = "a b.nc", content: bytes = CONTENT) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_file_here_and_what_is_published_of_it(tmp_path: Path) -> None:
    with Fetching(tmp_path) as fetching:
        fetching.start()
        path = file(tmp_path / "there", "a.nc")
        fetching.announce(str(path), start_time="2026-01-01T12:00:00", filesystem={
            "cls": "fsspec.implementations.local:LocalFileSystem", "protocol": ["file", "local"], "args": []}, path=str(path))
        final = fetching.into / "M9" / "a.nc"
        arrives(final, CONTENT)
        said = eventually(fetching.published)
        assert said[0].pop("trollmoves").keys() == {"version", "epoch", "offset", "previous"}
        assert said == [{"platform": "M9", "start_time": "2026-01-01T12:00:00", "uri": str(final), "uid": "a.nc"}]
        eventually(lambda: fetching.states() == ["published"])
        assert [found.name for found in final.parent.iterdir()] == ["a.nc"]
        assert fetching.program.stop() == 0
        assert "Thank you" in fetching.program.output()


def test_the_subject_and_the_destination_are_filled_from_the_message(tmp_path: Path) -> None:
    with Fetching(tmp_path, f"destination: {tmp_path}/into/{{platform}}/{{start_time:%Y/%m}}") as fetching:
        fetching.start()
        path = file(tmp_path / "there", "a.nc")
        fetching.source.publish({"uri": str(path), "uid": "a.nc", "platform": "M9", "start_time": "2026-03-01T12:00:00"},
                                subject=f"{TOPIC}/{{platform}}")
        arrives(fetching.into / "M9" / "2026" / "03" / "a.nc", CONTENT)
        eventually(fetching.published)
        assert fetching.recorder.texts[-1].startswith("pytroll://new/M9 file ")


def test_over_ssh_from_archives_too(tmp_path: Path) -> None:
    with SshServer(tmp_path / "ssh") as server:
        options = (f"filesystem_options:\n  ssh: {{key_filename: {server.client_key}, known_hosts: {server.known_hosts}, "
                   f"username: {server.user}}}\n")
        with Fetching(tmp_path, options) as fetching:
            fetching.start()
            path = file(server.root)
            archive = server.root / "p.tar"
            with tarfile.open(archive, "w") as tar:
                tar.add(file(server.root, "inner/d.txt", b"inner" * 1000), "inner/d.txt")
            sftp = {"cls": "fsspec.implementations.sftp.SFTPFileSystem", "protocol": "ssh", "args": [], "host": "127.0.0.1",
                    "port": server.port}
            fetching.announce(f"ssh://127.0.0.1:{server.port}{path}", filesystem=sftp)
            arrives(fetching.into / "M9" / "a b.nc", CONTENT)
            tar_system = {"cls": "fsspec.implementations.tar:TarFileSystem", "protocol": "tar", "args": [], "fo": str(archive),
                          "target_protocol": "ssh", "target_options": {"host": "127.0.0.1", "port": server.port}}
            item = {"uri": f"tar://inner/d.txt::ssh://127.0.0.1{archive}", "uid": "tar://inner/d.txt", "filesystem": tar_system}
            fetching.source.publish({"platform": "M9", "dataset": [item]}, kind="dataset", subject=TOPIC)
            arrives(fetching.into / "M9" / "d.txt", b"inner" * 1000)
            assert {data["uid"] for data in eventually(lambda: len(fetching.published()) == 2 and fetching.published())} \
                == {"a b.nc", "d.txt"}


def test_an_unknown_ssh_host_is_not_trusted(tmp_path: Path) -> None:
    with SshServer(tmp_path / "ssh") as server:
        (tmp_path / "nobody").write_text("")
        options = f"filesystem_options:\n  ssh: {{key_filename: {server.client_key}, known_hosts: {tmp_path}/nobody}}\n"
        with Fetching(tmp_path, options) as fetching:
            fetching.start()
            fetching.announce(f"ssh://{server.user}@127.0.0.1:{server.port}{file(server.root)}")
            fetching.program.wait_for(r"could not fetch .*not found in known_hosts")


def test_ftp_http_and_zip(tmp_path: Path) -> None:
    with ScriptedFtpServer(tmp_path / "ftp") as ftp, HttpServer(tmp_path / "http") as web:
        options = (f"filesystem_options:\n  ftp://127.0.0.1: {{username: {ftp.user}, password: '{ftp.password}'}}\n"
                   f"  http://127.0.0.1: {{client_kwargs: {{headers: {{Authorization: '{basic(web)}'}}}}}}\n")
        with Fetching(tmp_path, options) as fetching:
            fetching.start()
            file(ftp.root, "by_ftp.nc")
            fetching.announce(f"ftp://127.0.0.1:{ftp.port}/by_ftp.nc")
            arrives(fetching.into / "M9" / "by_ftp.nc", CONTENT)
            file(web.root, "by_http.nc").chmod(0o644)
            fetching.announce(f"{web.url}/by_http.nc")
            arrives(fetching.into / "M9" / "by_http.nc", CONTENT)
            with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
                archive.writestr("d/z.txt", "zipped")
            fetching.announce(f"zip://d/z.txt::file://{tmp_path}/p.zip")
            arrives(fetching.into / "M9" / "z.txt", b"zipped")
        assert ftp.password not in fetching.program.output()
        assert ftp.password.encode() not in fetching.journal.read_bytes()


def basic(web: HttpServer) -> str:
    import base64
    return "Basic " + base64.b64encode(f"{web.user}:{web.password}".encode()).decode()


def test_objects_and_archives_of_them(tmp_path: Path) -> None:
    with MotoServer(tmp_path / "moto") as server:
        server.make_bucket("data")
        server.client().put_object(Bucket="data", Key="k/a.nc", Body=CONTENT)
        with zipfile.ZipFile(tmp_path / "p.zip", "w") as archive:
            archive.writestr("z.txt", "zipped")
        server.client().put_object(Bucket="data", Key="p.zip", Body=(tmp_path / "p.zip").read_bytes())
        options = f"filesystem_options:\n  s3: {{key: {server.access_key}, secret: {server.secret_key}}}\n"
        system = {"cls": "s3fs.core:S3FileSystem", "protocol": ["s3", "s3a"], "args": [], "anon": False,
                  "client_kwargs": {"endpoint_url": server.url, "region_name": server.region}}
        with Fetching(tmp_path, options) as fetching:
            fetching.start()
            fetching.announce("s3://data/k/a.nc", path="data/k/a.nc", filesystem=system)
            arrives(fetching.into / "M9" / "a.nc", CONTENT)
            zipped = {"cls": "fsspec.implementations.zip:ZipFileSystem", "protocol": "zip", "args": [], "fo": "data/p.zip",
                      "target_protocol": "s3", "target_options": system}
            fetching.announce("zip://z.txt::s3://data/p.zip", path="z.txt", filesystem=zipped)
            arrives(fetching.into / "M9" / "z.txt", b"zipped")


@pytest.mark.parametrize(("more", "why"), [
    ({"uri": "github://x/a"}, "allowed_protocols"),
    ({"uri": "x", "path": "/a", "filesystem": {"cls": "os.system", "protocol": "file"}}, "not that of the protocol"),
    ({"uri": "ssh://h/a", "filesystem": {"cls": "a:B", "protocol": "ssh", "args": ["touch owned"], "host": "h"}}, "not that"),
    ({"uri": "ftp://u:planted@h/a"}, "filesystem_options"),
    ({"uri": "/dir/.."}, "names no file"),
    ({"uri": {"a": 1}}, "it has no uri"),
])
def test_what_a_message_may_not_say(more: dict[str, Any], why: str, tmp_path: Path) -> None:
    with Fetching(tmp_path) as fetching:
        fetching.start()
        fetching.source.publish({"platform": "M9", "uid": "a", **more}, subject=TOPIC)
        fetching.program.wait_for(why)
        fetching.announce(str(file(tmp_path / "there", "good.nc")))  # and it goes on
        arrives(fetching.into / "M9" / "good.nc", CONTENT)
        assert "planted" not in fetching.program.output()
        assert b"planted" not in fetching.journal.read_bytes()


def test_a_destination_is_not_left(tmp_path: Path) -> None:
    with Fetching(tmp_path) as fetching:
        fetching.start()
        path = file(tmp_path / "there", "a.nc")
        fetching.announce(str(path), platform="../../outside")
        fetching.program.wait_for("cannot be fetched")
        never(lambda: list(tmp_path.glob("outside*")) != [], 0.5)


def test_hidden_files_are_not_fetched_unless_an_origin_says_so(tmp_path: Path) -> None:
    key = file(tmp_path / "home" / ".ssh", "id_rsa")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "link").symlink_to(key)
    with Fetching(tmp_path) as fetching:
        fetching.start()
        for number, path in enumerate((key, tmp_path / "there" / "link")):
            fetching.announce(str(path), uid=f"{number}")
            fetching.program.wait_for(f"could not fetch .*{path.name} .*is hidden.*given up")
        assert not list(fetching.into.rglob("*"))


def test_origins_can_be_restricted(tmp_path: Path) -> None:
    with Fetching(tmp_path, f"allowed_origins: [{tmp_path}/there]") as fetching:
        fetching.start()
        file(tmp_path / "elsewhere", "no.nc")
        (tmp_path / "there").mkdir()
        (tmp_path / "there" / "no.nc").symlink_to(tmp_path / "elsewhere" / "no.nc")
        fetching.announce(f"{tmp_path}/there/no.nc")
        fetching.program.wait_for("none of the allowed_origins")
        fetching.announce(str(file(tmp_path / "there", "yes.nc")))
        arrives(fetching.into / "M9" / "yes.nc", CONTENT)
        assert not (fetching.into / "M9" / "no.nc").exists()


def test_a_server_that_is_away_is_tried_until_it_is_back_and_delays_nobody(tmp_path: Path) -> None:
    port = free_port()
    options = "filesystem_options:\n  ftp://127.0.0.1: {username: reader, password: 'a secret:word'}\n"
    with Fetching(tmp_path, options) as fetching:
        fetching.start()
        fetching.announce(f"ftp://127.0.0.1:{port}/late.nc")
        fetching.program.wait_for("could not fetch .*late.nc.*to be tried again")
        fetching.announce(str(file(tmp_path / "there", "good.nc")))
        arrives(fetching.into / "M9" / "good.nc", CONTENT)
        assert fetching.program.stop() == 0
        with ScriptedFtpServer(tmp_path / "ftp", port=port) as server:
            file(server.root, "late.nc")
            fetching.start()
            arrives(fetching.into / "M9" / "late.nc", CONTENT)


def test_what_is_too_long_is_refused(tmp_path: Path) -> None:
    with Fetching(tmp_path, "max_size: 1k") as fetching:
        fetching.start()
        fetching.announce(str(file(tmp_path / "there", "long.nc")))
        fetching.program.wait_for("longer than max_size.*given up")
        assert list((fetching.into / "M9").iterdir()) == []


def test_a_silent_server_holds_up_nobody_else(tmp_path: Path) -> None:
    times = "connect_timeout: 2s\nstall_timeout: 2s"
    with socket.create_server(("127.0.0.1", 0)) as silent, Fetching(tmp_path, times) as fetching:
        fetching.start()
        for number in range(10):
            fetching.announce(f"ftp://127.0.0.1:{silent.getsockname()[1]}/f{number}.nc")
        began = time.monotonic()
        fetching.announce(str(file(tmp_path / "there", "good.nc")))
        arrives(fetching.into / "M9" / "good.nc", CONTENT)
        assert time.monotonic() - began < 60
        fetching.program.wait_for("could not fetch .*f0.nc")


class Redirecting(http.server.BaseHTTPRequestHandler):
    """Sends those who ask for /away.nc or /old.nc to another address of this machine, those who ask for /here.nc on to /a.nc."""

    def do_HEAD(self) -> None:
        self.answer(b"")

    def do_GET(self) -> None:
        self.answer(CONTENT)

    def answer(self, body: bytes) -> None:
        port = self.server.server_address[1]
        places = {"/away.nc": f"http://127.0.0.2:{port}/a.nc", "/other.nc": f"https://127.0.0.1:{port}/a.nc",
                  "/here.nc": f"http://127.0.0.1:{port}/a.nc", "/old.nc": f"http://127.0.0.2:{port}/a.nc"}
        asked = self.path.partition("?")[0]
        self.send_response(302 if asked in places else 200)
        if asked in places:
            self.send_header("URI" if asked == "/old.nc" else "Location", places[asked])
            body = b""
        self.send_header("Content-Length", str(len(body) if self.command == "GET" else len(CONTENT) * (self.path == "/a.nc")))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_a_redirection_leads_to_allowed_hosts_only(tmp_path: Path) -> None:
    server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), Redirecting)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with Fetching(tmp_path, 'allowed_hosts: ["127.0.0.1"]\nallowed_protocols: [http]') as fetching:
            fetching.start()
            fetching.announce(f"http://127.0.0.1:{server.server_address[1]}/other.nc?sig=planted", uid="signed")
            fetching.program.wait_for("could not fetch .*sends on to 'https', which is not allowed.*given up")
            assert "planted" not in fetching.program.output()
            fetching.announce(f"http://127.0.0.1:{server.server_address[1]}/away.nc")
            fetching.program.wait_for("could not fetch .*away.nc.*'127.0.0.2' is not allowed.*given up")
            fetching.announce(f"http://127.0.0.1:{server.server_address[1]}/old.nc")
            fetching.program.wait_for("could not fetch .*old.nc.*'127.0.0.2' is not allowed.*given up")
            fetching.announce(f"http://127.0.0.1:{server.server_address[1]}/here.nc")
            arrives(fetching.into / "M9" / "here.nc", CONTENT)
            assert [path.name for path in (fetching.into / "M9").iterdir()] == ["here.nc"]
    finally:
        server.shutdown()
        server.server_close()


class Sending(http.server.BaseHTTPRequestHandler):
    """Sends everybody on to the server named in the path, in the header named there, and notes the headers it gets itself."""

    heard: ClassVar[list[tuple[int, str]]] = []

    def do_GET(self) -> None:
        port, (header, _, to) = self.server.server_address[1], self.path.strip("/").partition("-")
        self.heard.append((port, str(self.headers)))
        self.send_response(302 if to else 200)
        if to:
            self.send_header(header, f"http://127.0.0.1:{to}/Location")
        self.send_header("Content-Length", "0" if to else str(len(CONTENT)))
        self.end_headers()
        if not to and self.command == "GET":
            self.wfile.write(CONTENT)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.mark.parametrize("where", ["client_kwargs: {{{}}}", "{}"])
@pytest.mark.parametrize("secret", ["headers: {X-Auth-Token: planted, Accept-Language: planted}", "cookies: {session: planted}"])
def test_a_redirection_takes_no_secret_to_another_server(secret: str, where: str, tmp_path: Path) -> None:
    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sending) for _ in range(2)]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    here, there = (server.server_address[1] for server in servers)
    options = f"http://127.0.0.1: {{{where.format(secret)}}}"
    try:
        with Fetching(tmp_path, f"filesystem_options: {{{options}}}") as fetching:
            fetching.start()
            for name in (f"Location-{here}", f"Location-{there}", f"URI-{there}"):
                fetching.announce(f"http://127.0.0.1:{here}/{name}", uid=name)
                fetching.program.wait_for(rf"(could not fetch|fetched) \S*/{name}\b")
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
    assert any(port == here and "planted" in heard for port, heard in Sending.heard)
    assert not any(port == there and "planted" in heard for port, heard in Sending.heard)


def test_a_web_server_that_is_away_is_tried_until_it_is_back(tmp_path: Path) -> None:
    port = free_port()
    with Fetching(tmp_path) as fetching:
        fetching.start()
        fetching.announce(f"http://127.0.0.1:{port}/a.nc")
        fetching.program.wait_for("could not fetch .*a.nc.*to be tried again")
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Redirecting)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            arrives(fetching.into / "M9" / "a.nc", CONTENT)
        finally:
            server.shutdown()
            server.server_close()


def test_what_a_web_server_has_not_got_is_given_up(tmp_path: Path) -> None:
    with HttpServer(tmp_path / "http") as web:
        options = f"filesystem_options:\n  http://127.0.0.1: {{client_kwargs: {{headers: {{Authorization: '{basic(web)}'}}}}}}\n"
        with Fetching(tmp_path, options) as fetching:
            fetching.start()
            fetching.announce(f"{web.url}/missing.nc")
            fetching.program.wait_for("could not fetch .*missing.nc: 404.*given up")
