"""Where files go: what is asked for, what is made on this machine, and what is published are one place."""

from __future__ import annotations

import posixpath
import socket
from pathlib import Path
from typing import Any

import pytest

from trollmoves.client.addressing import Addressing
from trollmoves.config.reading import read_client_config
from trollmoves.uris import parse_destination

HERE = socket.gethostname().lower()
FILE = {"uid": "b_11.dat", "uri": "/in/b_11.dat", "platform": "M9", "filename": "b_11.dat", "stem": "b_11", "ending": "dat"}
SET = {"platform": "M9", "dataset": [{"uid": "one.dat", "uri": "/in/one.dat"}, {"uid": "two.dat", "uri": "/in/two.dat"}]}


def addressing(directory: Path, destination: str, *more: str) -> Addressing:
    """Of a section with that destination; `192.0.2.1` is another machine, any other host this one."""
    lines = ["[s]", "providers = 127.0.0.1:9", "topic = /a", f"destination = {destination}", *more, ""]
    (directory / "client.ini").write_text("\n".join(lines))
    return Addressing(read_client_config(directory / "client.ini").chains["s"], lambda host: host != "192.0.2.1")


def published(found: Addressing, fields: dict[str, Any]) -> list[str]:
    data = found.published_data(fields, "127.0.0.1:9", found.place(fields))
    return [item["uri"] for item in data.get("dataset", [data])]


@pytest.mark.parametrize(("destination", "asked", "made", "uri"), [
    ("file:///data/out9", f"file://{HERE}/data/out9/", "/data/out9/", "/data/out9/b_11.dat"),
    ("file:///data/out9/", f"file://{HERE}/data/out9/", "/data/out9/", "/data/out9/b_11.dat"),
    ("/data/out9", f"file://{HERE}/data/out9/", "/data/out9/", "/data/out9/b_11.dat"),
    ("/data/{platform}", f"file://{HERE}/data/M9/", "/data/M9/", "/data/M9/b_11.dat"),
    ("/data/{uid}", f"file://{HERE}/data/b_11.dat/", "/data/b_11.dat/", "/data/b_11.dat/b_11.dat"),
    ("file://192.0.2.1/out9", "file://192.0.2.1/out9/", "/out9/", "file://192.0.2.1/out9/b_11.dat"),
    ("ftp://192.0.2.1/out9", "ftp://192.0.2.1/out9/", "/out9/", "ftp://192.0.2.1/out9/b_11.dat"),
    ("scp://192.0.2.1:22/in/{platform}", "scp://192.0.2.1:22/in/M9/", "/in/M9/", "scp://192.0.2.1:22/in/M9/b_11.dat"),
    ("s3://Bucket/out9", "s3://Bucket/out9/", None, "s3://Bucket/out9/b_11.dat"),
    ("s3://Bucket", "s3://Bucket", None, "s3://Bucket/b_11.dat"),
    ("ftp://192.0.2.1", "ftp://192.0.2.1", "/", "ftp://192.0.2.1/b_11.dat"),
    ("https://192.0.2.1/dav?a=b", "https://192.0.2.1/dav/?a=b", "/dav/", "https://192.0.2.1/dav/b_11.dat?a=b")])
def test_a_destination_is_a_directory(destination: str, asked: str, made: str | None, uri: str, tmp_path: Path) -> None:
    found = addressing(tmp_path, destination)
    place = found.place(FILE)
    assert (place.requested, place.noticed, place.directory) == (asked, asked, made)
    assert published(found, FILE) == [uri]


@pytest.mark.parametrize(("destination", "path"), [
    ("sftp://192.0.2.1/in/{uid}", "/in/b_11.dat"), ("sftp://192.0.2.1/in/{platform}_{uid}", "/in/M9_b_11.dat"),
    ("ftp://192.0.2.1/in/{filename}", "/in/b_11.dat"), ("s3://192.0.2.1/in/{platform}/{uid}", "/in/M9/b_11.dat")])
def test_a_destination_that_holds_the_name_of_the_file_is_the_file(destination: str, path: str, tmp_path: Path) -> None:
    found = addressing(tmp_path, destination)
    scheme = destination.partition(":")[0]
    assert found.place(FILE).requested == f"{scheme}://192.0.2.1{path}"
    assert found.place(FILE).directory == (None if scheme == "s3" else posixpath.dirname(path))
    assert published(found, FILE) == [f"{scheme}://192.0.2.1{path}"]
    assert found.local_path(found.place(FILE), "b_11.dat") == path


def test_on_this_machine_it_is_the_file_only_where_no_directory_is_made(tmp_path: Path) -> None:
    found = addressing(tmp_path, "/data/{uid}", "create_target_directory = false")
    assert found.place(FILE).requested == f"file://{HERE}/data/b_11.dat" and published(found, FILE) == ["/data/b_11.dat"]
    found = addressing(tmp_path, "/data/out9", "create_target_directory = false")
    assert found.place(FILE)[1:] == (f"file://{HERE}/data/out9/", f"file://{HERE}/data/out9/", None)
    assert found.local_path(found.place(FILE), "b_11.dat") == "/data/out9/b_11.dat"


@pytest.mark.parametrize("destination", [
    "ftp://192.0.2.1/in/{platform}.dat",  # all files of one platform
    "ftp://192.0.2.1/in/{stem}",  # b_11.hdr would be the same
    "ftp://192.0.2.1/{uid}/in", "ftp://192.0.2.1/in?{uid}", "ftp://192.0.2.1/in/{uid:.4s}", "ftp://192.0.2.1/in/b_11.dat"])
def test_a_field_that_others_may_share_is_no_name(destination: str, tmp_path: Path) -> None:
    found = addressing(tmp_path, destination)
    place = found.place(FILE)
    assert place.destination.path.endswith("/")
    assert published(found, FILE) == [f"ftp://192.0.2.1{place.destination.path}b_11.dat"]


def test_several_files_go_into_a_directory(tmp_path: Path) -> None:
    found = addressing(tmp_path, "ftp://192.0.2.1/in/{uid}")
    several = {**SET, "uid": "the set"}
    assert found.place(several).requested == "ftp://192.0.2.1/in/the set/"
    found = addressing(tmp_path, "file:///data/{platform}")
    assert published(found, SET) == ["/data/M9/one.dat", "/data/M9/two.dat"]


def test_one_text_may_be_a_file_or_a_directory(tmp_path: Path) -> None:
    found = addressing(tmp_path, "ftp://192.0.2.1/in/{platform}")
    assert found.place({**FILE, "uid": "M9"}).requested == "ftp://192.0.2.1/in/M9"
    assert found.place(FILE).requested == "ftp://192.0.2.1/in/M9/"


@pytest.mark.parametrize("template", ["/data/{uid}.d/", "file:///data/{uid}.d/"])
def test_a_name_with_a_question_mark_is_looked_for_where_the_provider_puts_it(template: str, tmp_path: Path) -> None:
    found, fields = addressing(tmp_path, template), {**FILE, "uid": "b?11.dat", "uri": "/out/b?11.dat"}
    place = found.place(fields)
    asked = parse_destination(place.requested).for_name("b?11.dat").path
    assert asked == "/data/b/b?11.dat"
    assert found.local_path(place, "b?11.dat") == asked
    assert published(found, fields) == [asked]


def test_a_login_is_in_the_request_only(tmp_path: Path) -> None:
    place = addressing(tmp_path, "ftp://192.0.2.1/in", "login = me:planted").place(FILE)
    assert (place.requested, place.noticed) == ("ftp://me:planted@192.0.2.1/in/", "ftp://192.0.2.1/in/")


@pytest.mark.parametrize(("destination", "more", "uri"), [
    ("ftp://192.0.2.1/in", ["login = me:planted"], "ftp://me@192.0.2.1/in/b_11.dat"),
    ("ftp://you:planted@192.0.2.1/in", [], "ftp://192.0.2.1/in/b_11.dat"),
    ("file:///in", ["login = me:planted"], "/in/b_11.dat")])
def test_what_is_published_holds_no_password(destination: str, more: list[str], uri: str, tmp_path: Path) -> None:
    found = addressing(tmp_path, destination, *more)
    data = found.published_data({**FILE, "destination": found.place(FILE).requested}, "127.0.0.1:9", found.place(FILE))
    assert data["uri"] == uri
    assert "planted" not in str(data) + str(found.notice_data(found.place(FILE)))


def test_metadata_are_mapped_or_replaced_and_what_no_mapping_names_stays(tmp_path: Path) -> None:
    found = addressing(tmp_path, "/in", "platform = M9:Meteosat-9|M10:Meteosat-10", "sensor = seviri", "absent = x")
    for platform, name in ("M9", "Meteosat-9"), ("M10", "Meteosat-10"), ("M11", "M11"):
        fields = {**FILE, "platform": platform, "sensor": "other"}
        data = found.published_data(fields, "127.0.0.1:9", found.place(fields))
        assert (data["platform"], data["sensor"], data["origin"]) == (name, "seviri", "127.0.0.1:9")
        assert "absent" not in data


def test_notices_of_upstream_have_no_slash(tmp_path: Path) -> None:
    found = addressing(tmp_path, "/data/out9")
    assert found.is_sent_to(FILE, f"file://{HERE}/data/out9") and found.is_sent_to(FILE, f"file://{HERE}/data/out9/")
    assert not found.is_sent_to(FILE, f"file://{HERE}/data/out8") and not found.is_sent_to(FILE, None)
