"""Where a message says its file is, and what of that is refused."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import fsspec
import pytest

from trollmoves.errors import Denied, MalformedMessage
from trollmoves.fetcher.places import Rights, hide_secrets, place_of

SFTP = {"cls": "fsspec.implementations.sftp.SFTPFileSystem", "protocol": "ssh", "args": [], "host": "data.example"}
TAR = {"cls": "fsspec.implementations.tar:TarFileSystem", "protocol": "tar", "args": [], "fo": "/abs/p.tar",
       "target_protocol": "ssh", "target_options": {"host": "data.example", "protocol": "ssh"}}


@pytest.mark.parametrize(("data", "shown", "name", "server"), [
    ({"uri": "/data/a.txt"}, "file:///data/a.txt", "a.txt", "file://"),
    ({"uri": "file:///data/a.txt"}, "file:///data/a.txt", "a.txt", "file://"),
    ({"uri": "ssh://data.example/data/a.txt"}, "sftp://data.example/data/a.txt", "a.txt", "sftp://data.example"),
    ({"uri": "sftp://user@h:2222/a%20b.txt"}, "sftp://h/a%20b.txt", "a b.txt", "sftp://h:2222"),
    ({"uri": "https://h.example/d/a.nc?x=1"}, "https://h.example/d/a.nc?***", "a.nc", "https://h.example"),
    ({"uri": "s3://bucket/k/a.nc"}, "s3://bucket/k/a.nc", "a.nc", "s3:///bucket"),
    ({"uri": "tar://d/a.txt::ssh://h/abs/p.tar"}, "tar://d/a.txt::sftp://h/abs/p.tar", "a.txt", "sftp://h"),
    ({"uri": "tar:///d/a.txt::file:///abs/p.tar"}, "tar://d/a.txt::file:///abs/p.tar", "a.txt", "file://"),
    ({"uri": "tar:/d/a.txt::/abs/p.tar"}, "tar://d/a.txt::file:///abs/p.tar", "a.txt", "file://"),
    ({"uri": "zip://a.txt::s3://b/p.zip"}, "zip://a.txt::s3://b/p.zip", "a.txt", "s3:///b"),
    # as the collectors write it: no path
    ({"uri": "ssh://data.example/data/a.txt", "filesystem": SFTP}, "sftp://data.example/data/a.txt", "a.txt", "sftp://data.example"),
    ({"uri": "tar://d/a.txt::ssh://data.example/abs/p.tar", "filesystem": TAR},
     "tar://d/a.txt::sftp://data.example/abs/p.tar", "a.txt", "sftp://data.example"),
    # as the watchers write it
    ({"uri": "anything", "path": "/data/b.txt", "filesystem": SFTP}, "sftp://data.example/data/b.txt", "b.txt",
     "sftp://data.example"),
    ({"uri": "x", "path": "bucket/k/a", "filesystem": {"cls": "s3fs.core:S3FileSystem", "protocol": ["s3", "s3a"], "args": [],
                                                      "endpoint_url": "http://s3.example:9000", "anon": True}},
     "s3://bucket/k/a", "a", "s3://s3.example/bucket"),
    ({"path": "https://h.example/a.nc", "uri": "https://h.example/a.nc",
      "filesystem": {"cls": "fsspec.implementations.http:HTTPFileSystem", "protocol": "http", "args": []}},
     "https://h.example/a.nc", "a.nc", "https://h.example"),
    ({"uri": "x", "path": "/d/a", "filesystem": json.dumps(SFTP)}, "sftp://data.example/d/a", "a", "sftp://data.example"),
])
def test_what_is_understood(data: dict[str, Any], shown: str, name: str, server: str) -> None:
    place = place_of(data)
    assert (str(place).replace("sftp://bucket", "s3://bucket"), place.name, place.server) == (shown, name, server)


@pytest.mark.parametrize("cls", [
    "os.system", "subprocess:Popen", "fsspec.implementations.local.LocalFileSystem", "builtins.eval", "evil:SFTPFileSystem"])
def test_a_class_that_is_not_the_protocols_is_refused(cls: str) -> None:
    with pytest.raises(Denied, match="not that of the protocol sftp"):
        place_of({"uri": "x", "path": "/a", "filesystem": {**SFTP, "cls": cls}})


@pytest.mark.parametrize("data", [
    {}, {"uri": 7}, {"uri": "/a\n"}, {"uri": "/a/.."}, {"uri": "/"}, {"uri": "x" * 5000},
    {"uri": "tar://a.txt"}, {"uri": "ssh://h/a::ssh://h/b"}, {"uri": "ssh://h:port/a"},
    {"uri": "/a", "filesystem": 7}, {"uri": "/a", "filesystem": "{"}, {"uri": "/a", "filesystem": "[" * 50000},
    {"uri": "/a", "filesystem": {}}, {"uri": "/a", "filesystem": {"protocol": [7]}},
    {"uri": "x", "path": "a", "filesystem": {**TAR, "fo": {"cls": "os.system"}}},
    {"uri": "x", "path": "a", "filesystem": {**TAR, "target_options": "x"}},
    {"uri": "x", "path": "/a", "filesystem": {**SFTP, "host": {"cls": "os.system"}}},
    {"uri": "tar://a::tar://a::tar://a::tar://a::tar://a::/x.tar"}, {"uri": "http://[/a"},
    {"uri": "x", "path": "http://[/a", "filesystem": {"protocol": "http"}},
])
def test_what_makes_no_sense(data: dict[str, Any]) -> None:
    with pytest.raises(MalformedMessage):
        place_of(data)


@pytest.mark.parametrize("data", [
    {"uri": "ftp://user:pw@h/a"}, {"uri": "https://user:pw@h/a"},
    {"uri": "x", "path": "/a", "filesystem": {**SFTP, "password": "pw"}},
    {"uri": "x", "path": "https://user:pw@h/a", "filesystem": {"protocol": "https"}},
    {"uri": "x", "path": "a", "filesystem": {**TAR, "target_options": {"host": "h", "passphrase": "pw"}}},
    {"uri": "https://h/a", "path": "https://h/a", "filesystem": {"cls": "fsspec.implementations.http:HTTPFileSystem",
     "protocol": "http", "client_kwargs": {"headers": {"Authorization": "Basic pw"}}}},
    {"uri": "x", "path": "b/a", "filesystem": {"cls": "s3fs.core:S3FileSystem", "protocol": "s3", "secret": "pw"}},
])
def test_secrets_are_not_taken_from_messages(data: dict[str, Any]) -> None:
    with pytest.raises(Denied, match="filesystem_options") as caught:
        place_of(data)
    assert "pw" not in str(caught.value)


def test_only_harmless_arguments_are_taken() -> None:
    place = place_of({"uri": "x", "path": "/a", "filesystem": {**SFTP, "port": 22, "sock": "x", "key_filename": "/etc/key",
                                                              "disabled_algorithms": {}}})
    assert place.arguments == {"host": "data.example", "port": 22}


def test_protocols_and_hosts_have_to_be_allowed() -> None:
    usual = Rights(("sftp", "tar"), ())
    usual.check(place_of({"uri": "tar://a::ssh://h/p.tar"}))
    for uri, option in (("zip://a::ssh://h/p.zip", "allowed_protocols"), ("tar://a::/p.tar", "allowed_protocols"),
                        ("github://o:r@x/a", "allowed_protocols"), ("sftp://169.254.169.254/a", "allowed_hosts")):
        with pytest.raises(Denied, match=option):
            usual.check(place_of({"uri": uri.replace("o:r@", "")}))
    some = Rights(("sftp",), ("*.example.org", "h"))
    some.check(place_of({"uri": "sftp://a.EXAMPLE.org/a"}))
    with pytest.raises(Denied, match="allowed_hosts"):
        some.check(place_of({"uri": "sftp://example.com/a"}))


@pytest.mark.parametrize("host", [
    "169.254.169.254", "2852039166", "0xA9FEA9FE", "169.254.43518", "metadata.google.internal.", "fe80::1", "fe90::1",
    "fe80::1%eth0", "::ffff:169.254.169.254", "::ffff:a9fe:a9fe", "fd00:ec2:0::254", "fd20:ce::254", "fd00:c1::a9fe:a9fe",
    "100.100.25800", "::ffff:100.100.100.200"])
def test_an_address_of_the_local_link_is_one_however_it_is_written(host: str) -> None:
    with pytest.raises(Denied, match="of this machine's link"):
        Rights(("http",), ()).check_host(host, 80)
    Rights(("http",), (host,)).check_host(host, 80)


def test_a_name_that_leads_to_the_local_link_is_refused() -> None:
    found = {"good.example": frozenset({"192.0.2.1"}), "bad.example": frozenset({"192.0.2.1", "169.254.169.254"})}
    anywhere = Rights(("http",), (), found.__getitem__)
    assert anywhere.reach("good.example", 80) == ("192.0.2.1",)
    with pytest.raises(Denied, match="has an address that is only of this machine's link"):
        anywhere.reach("bad.example", 80)
    assert set(Rights(("http",), ("*.example",), found.__getitem__).reach("bad.example", 80)) == found["bad.example"]


@pytest.mark.parametrize(("pattern", "uri", "allowed"), [
    ("h:2222", "sftp://h:2222/a", True), ("h:2222", "sftp://h/a", False), ("h:22", "sftp://h/a", True),
    ("h", "sftp://h:2222/a", True), ("h:80", "tar://m::http://h/a", True),
    ("*:443", "https://h/a", True), ("*:443", "https://h:8443/a", False), ("*.example:21", "ftp://a.example/a", True),
    ("*:22", "sftp://[fe80:0:0:0:0:0:0:22]:23/a", False), ("fe80:*:22", "sftp://[fe80:0:0:0:0:0:0:22]:23/a", True)])
def test_a_pattern_may_name_the_port(pattern: str, uri: str, allowed: bool) -> None:
    rights = Rights(("sftp", "http", "https", "ftp", "tar"), (pattern,))
    if allowed:
        rights.check(place_of({"uri": uri}))
        return
    with pytest.raises(Denied, match="port [0-9]+ of the host .* is not allowed; add it to allowed_hosts"):
        rights.check(place_of({"uri": uri}))


@pytest.mark.parametrize("data", [
    {"uri": "http://h:x/a"}, {"uri": "https://h:99999/a"},
    {"path": "/a", "filesystem": {"protocol": "sftp", "host": "h", "port": "many"}}])
def test_a_port_that_is_none(data: dict[str, object]) -> None:
    with pytest.raises(MalformedMessage):
        place_of(data)


def test_the_endpoint_that_is_checked_is_the_one_that_is_used() -> None:
    two = {"protocol": "s3", "endpoint_url": "https://good.example", "client_kwargs": {"endpoint_url": "http://bad.example"}}
    place = place_of({"path": "bucket/key", "filesystem": two})
    assert place.arguments == {"endpoint_url": "http://bad.example", "client_kwargs": {}} and place.host == "bad.example"
    with pytest.raises(Denied, match="allowed_hosts"):
        Rights(("s3",), ("good.example",)).check(place)


@pytest.mark.parametrize("encoding", ["utf-16-be", "utf-7", "punycode"])
def test_names_cannot_hold_further_commands(encoding: str) -> None:
    with pytest.raises(Denied, match="encoding"):
        place_of({"path": "/a", "filesystem": {"protocol": "ftp", "host": "h", "encoding": encoding}})
    assert "\u0d0a".encode("utf-16-be") == b"\r\n"  # why


@pytest.mark.parametrize(("text", "shown"), [
    ("https://h/a.nc?sig=planted", "https://h/a.nc?***"),
    ("tar://m::https://h/p.tar?sig=planted: no", "tar://m::https://h/p.tar?*** no"),
    ("403, message='No', url='https://u:planted@h/a?token=planted'", "403, message='No', url='https://***@h/a?***'"),
    ("https://h/https://i/a?sig=planted) https://h", "https://h/https://i/a?***) https://h"),
    ("x://" * 250_000, "x://" * 250_000),  # in no time
    ("is it there?", "is it there?")], ids=range(6))
def test_signatures_in_urls_are_not_shown(text: str, shown: str) -> None:
    assert hide_secrets(text) == shown


@pytest.mark.parametrize(("made", "path", "shown"), [
    (("file", {}), "/data/a.txt", "file:///data/a.txt"),
    (("tar", {"fo": "{archive}"}), "d/a.txt", "tar://d/a.txt::file://{archive}"),
    (("tar", {"fo": "file://{archive}"}), "d/a.txt", "tar://d/a.txt::file://{archive}"),
    (("tar", {"fo": "{archive}", "target_protocol": "file"}), "/d/a.txt", "tar://d/a.txt::file://{archive}"),
    (("http", {}), "https://h.example/a.nc", "https://h.example/a.nc"),
])
def test_what_fsspec_itself_writes(made: tuple[str, dict[str, str]], path: str, shown: str, tmp_path: Path) -> None:
    archive = tmp_path / "p.tar"
    tarfile.open(archive, "w").close()
    protocol, arguments = made
    filesystem = fsspec.filesystem(protocol, **{name: text.format(archive=archive) for name, text in arguments.items()})
    written = json.loads(filesystem.to_json())
    assert str(place_of({"uri": "x", "path": path, "filesystem": written})) == shown.format(archive=archive)


def test_arguments_without_a_name() -> None:
    positional = {name: value for name, value in SFTP.items() if name != "host"} | {"args": ["other.example"]}
    assert place_of({"uri": "x", "path": "/a", "filesystem": positional}).host == "other.example"
    assert str(place_of({"uri": "x", "path": "a", "filesystem": {"protocol": "zip", "args": ["/p.zip"]}})) == "zip://a::file:///p.zip"
