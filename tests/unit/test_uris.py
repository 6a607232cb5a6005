from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trollmoves.errors import DestinationInvalid
from trollmoves.uris import (
    Destination,
    check_relative,
    format_endpoint,
    hide_login,
    hide_password,
    host_of,
    is_address,
    local_path,
    parse_destination,
    parse_endpoint,
)

MARKS = st.text(st.sampled_from("ftps3:/@[].?#%~ \\\n\x00{}*é😀ab1-_+"), max_size=60)


@pytest.mark.parametrize("text, scheme, host, port, path, user, password, query", [
    ("/data/in/", "", "", None, "/data/in/", None, None, ""),
    ("file:///data/in/", "file", "", None, "/data/in/", None, None, ""),
    ("file://host/data", "file", "host", None, "/data", None, None, ""),
    ("FTP://Me:se%40cret@Host.Example:2121/in/", "ftp", "Host.Example", 2121, "/in/", "Me", "se@cret", ""),
    ("sftp://me@[2001:db8::1]:22/in", "sftp", "2001:db8::1", 22, "/in", "me", None, ""),
    ("s3://Bucket/Key?version=1", "s3", "Bucket", None, "/Key", None, None, "version=1"),
    ("ftp://a@b:c@host/", "ftp", "host", None, "/", "a@b", "c", ""),
    ("scp://host", "scp", "host", None, "", None, None, ""),
])
def test_parts(text: str, scheme: str, host: str, port: int | None, path: str, user: str | None, password: str | None,
               query: str) -> None:
    assert parse_destination(text) == Destination(scheme, host, port, path, user, password, query)


@pytest.mark.parametrize("text", [
    "", None, 7, ["/a"], {"a": 1}, b"/a", "relative", "file://host", "file:relative", "/a/../b",
    "ftp://h/../x", "ftp://h:port/", "ftp://h:99999/",
    "a://:", "ftp://:21/", "ftp://h:-1/", "ftp://[::1/", "ftp://h\\x/", "/a\nb", "/a\x00b", "ftp://h%20x/", "ftp://{host}/",
])
def test_refused(text: object) -> None:
    with pytest.raises(DestinationInvalid):
        parse_destination(text)


@given(st.one_of(MARKS, st.text(), MARKS.map("ftp://{}".format), MARKS.map("file://h/{}".format),
                 st.lists(st.text(), max_size=2), st.integers(), st.none(), st.binary()))
def test_nothing_but_destination_invalid_is_raised(text: object) -> None:
    try:
        place = parse_destination(text)
    except DestinationInvalid:
        return
    assert parse_destination(place.with_credentials or text) is not None
    for shown in (place.exact, place.clean, str(place), repr(place)):
        assert "\n" not in shown


@given(st.text(max_size=40))
def test_what_was_parsed_is_written_as_it_came(rest: str) -> None:
    try:
        place = parse_destination("sftp://user:pw@host:22/" + rest)
    except DestinationInvalid:
        return
    assert parse_destination(place.with_credentials) == place


@given(st.text(st.characters(exclude_categories=("Cs",))), st.text(st.characters(exclude_categories=("Cs",))))
def test_a_login_survives_being_written(user: str, password: str) -> None:
    place = replace(parse_destination("sftp://host:22/in/"), user=user, password=password)
    assert parse_destination(place.with_credentials) == place


def test_an_upstream_server_gets_the_password_as_it_is() -> None:
    place = parse_destination("ftp://host:21/in/").with_login("me:p@$$:w&rd+!%=é")
    assert urlsplit(place.with_credentials).password == "p@$$:w&rd+!%=é"


@pytest.mark.parametrize("text", ["ftp://me:geheim 7q@h:x/in/", "ftp://me:geheim/7q@h/in/", "ftp://me:geheim#7q@h:x/in"])
def test_a_password_as_upstream_writes_it_is_in_no_error(text: str) -> None:
    with pytest.raises(DestinationInvalid) as caught:
        parse_destination(text)
    assert "geheim" not in str(caught.value) and "7q" not in str(caught.value)


@pytest.mark.parametrize("text, clean, exact, shown", [
    ("ftp://me:secret@Host:21/in/?q=1", "ftp://host/in/", "ftp://Host:21/in/?***", "ftp://me@Host:21/in/?***"),
    ("/in/", "/in/", "/in/", "/in/"),
    ("s3://Bucket/Key", "s3://bucket/Key", "s3://Bucket/Key", "s3://Bucket/Key"),
    ("sftp://[::1]:22/x", "sftp://::1/x", "sftp://[::1]:22/x", "sftp://[::1]:22/x"),
])
def test_the_four_forms(text: str, clean: str, exact: str, shown: str) -> None:
    place = parse_destination(text)
    assert (place.clean, place.exact, str(place)) == (clean, exact, shown)
    assert parse_destination(place.with_credentials) == place


@given(st.text(st.characters(codec="ascii", exclude_categories=("C", "Z"), exclude_characters="/?#"), min_size=8))
def test_a_password_is_never_shown(beginning: str) -> None:
    secret = beginning + "7q"  # so that it is in none of the words around it
    text = f"ftp://me:{secret}@host.example/in/"
    try:
        place = parse_destination(text)
        texts = [place.clean, place.exact, str(place), repr(place)]
    except DestinationInvalid as error:
        texts = [str(error)]
    assert all(secret not in one for one in [*texts, hide_password(text)]), texts


@pytest.mark.parametrize("text, hidden", [
    ("see ftp://a:b@h/x and sftp://c@h2/y", "see ftp://***@h/x and sftp://***@h2/y"),
    ("ftp://a:p@w@h/", "ftp://***@h/"),
    ("mail me@example.org", "mail me@example.org"),
    ("/data/a@b", "/data/a@b"),
    ("ftp://h/a@b", "ftp://h/a@b"),
    ("ftp://a:p/w@h/x", "ftp://***@h/x"),
    ("ftp://a:p#w@h and ftp://a:1?w@h", "ftp://***@h and ftp://a:1?w@h"),  # what may be a port is one
    ("ftp://h:21/a@b or http://[::1]:80/a@b", "ftp://h:21/a@b or http://[::1]:80/a@b"),
    ("ftp://h/a:b@c", "ftp://h/a:b@c"),
    ("tcp://h:9010 hears tcp://a:b/c@d", "tcp://h:9010 hears tcp://***@d"),
    ("me:secret@h:/in/x", "***@h:/in/x"),
    ("to me:se/c@ret@h:/in/x, 'you:secret@h'", "to ***@h:/in/x, '***@h'"),
    ('{"uid":"a:b","to":"me:secret@h:/x"}', '{"uid":"a:b","to":"***@h:/x"}'),
    ("target=me:secret@[::1]:/x", "target=***@[::1]:/x"),
    ("h:9010 me@h 12:30 a@b:c", "h:9010 me@h 12:30 a@b:c"),
])
def test_hide_password(text: str, hidden: str) -> None:
    assert hide_password(text) == hidden


@pytest.mark.parametrize("login", ["me:se/cret", "me:se?cret", "me:se#cret", "me:se cret", "me:se\ncret", "me:se\tcret/",
                                   "me: /secret"])
@pytest.mark.parametrize("scheme", ["sftp://", ""])
def test_an_error_about_a_destination_does_not_hold_its_password(login: str, scheme: str) -> None:
    with pytest.raises(DestinationInvalid) as caught:
        parse_destination(f"{scheme}{login}@ho%st:/in/")
    assert "cret" not in str(caught.value) and "ho%st:/in/" in str(caught.value)


def test_looking_for_passwords_takes_no_longer_for_strange_text() -> None:
    for text in ("://:a" * 100_000 + " @", "://a:" + "b" * 500_000 + " @", "://a:b/" * 100_000 + " @",
                 "=a:" * 300_000 + "@", "a:" * 500_000 + " @", "a" * 1_000_000 + "@", "=" * 1_000_000, "a@" * 100_000 + "@"):
        assert hide_password(text) == text
    for text in ("x://" * 250_000, "a" * 1_000_000, "x" + "://a:b" * 150_000):
        assert hide_login(text) == text
        assert hide_login(text + "@b") in ("x://***@b", text + "@b")


def test_derived_destinations() -> None:
    place = parse_destination("scp://me:pw@one:22/in/")
    assert str(place.with_host("two")) == "scp://me@two/in/" and place.with_host("two").password is None
    assert replace(place, connect_to="192.0.2.1").with_host("two").connect_to == ""
    assert place.with_login("you:x").with_credentials == "scp://you:x@one:22/in/"
    assert place.with_login("you").password is None
    assert place.with_login(None) is place
    assert place.for_name("a").path == "/in/a" and place.for_name("a").for_name("b").path == "/in/a"
    assert parse_destination("scp://one").for_name("a").path == "/a"
    assert place.below("s1/a").path == "/in/s1/a"


@pytest.mark.parametrize("path", ["", "/a", "..", "a/../b", "a//b", "../a", "a\x00b", "a/..", None, 3])
def test_what_would_leave_its_directory(path: str) -> None:
    with pytest.raises(DestinationInvalid):
        check_relative(path)
    with pytest.raises(DestinationInvalid):
        parse_destination("/in/").below(path)


@pytest.mark.parametrize("path", ["a", "a/b", "a/", "..a", "a..", ".hidden", "a b"])
def test_what_stays_below(path: str) -> None:
    check_relative(path)
    assert parse_destination("/in/").below(path).path == "/in/" + path


@pytest.mark.parametrize("uri, path, host", [
    ("/d/a b", "/d/a b", ("", "")),
    ("file:///d/a", "/d/a", ("file", "")),
    ("ssh://me@Host:22/d/a", "/d/a", ("ssh", "Host")),
    ("ssh://[::1]:22/d", "/d", ("ssh", "::1")),
    ("", "", ("", "")),
])
def test_announced_uris(uri: str, path: str, host: tuple[str, str]) -> None:
    assert (local_path(uri), host_of(uri)) == (path, host)


@given(st.text())
def test_announced_uris_never_raise(uri: str) -> None:
    local_path(uri)
    host_of(uri)
    is_address(uri)


@pytest.mark.parametrize("text, place", [
    ("host:9094", ("host", 9094)), ("[::1]:9094", ("::1", 9094)), ("192.0.2.1:1", ("192.0.2.1", 1)), ("h:65535", ("h", 65535)),
])
def test_endpoints(text: str, place: tuple[str, int]) -> None:
    assert parse_endpoint(text) == place
    assert format_endpoint(*place) == text


@pytest.mark.parametrize("text", ["", "host", "host:", ":9094", "host:0", "host:65536", "host:x", "host:١", "a b:1",
                                  "a/b:1", "a@b:1", None, 9, ["h:1"], "h:" + "9" * 5000])
def test_no_endpoints(text: object) -> None:
    with pytest.raises(ValueError, match="address"):
        parse_endpoint(text)


@given(st.one_of(st.text(), MARKS, st.none(), st.integers()))
def test_endpoints_raise_nothing_but_value_errors(text: object) -> None:
    try:
        host, port = parse_endpoint(text)
    except ValueError:
        return
    assert host and 0 < port < 65536


@pytest.mark.parametrize(("text", "place"), [
    ("sftp://me@host:22//data/./in//", "sftp://host:22/data/in/"), ("/data//in/.hidden/", "/data/in/.hidden/"),
    ("/data/in..//a./", "/data/in../a./"), ("s3://bucket/a/./b", "s3://bucket/a/b"), ("file:///a/.//./b/", "/a/b/")])
def test_one_place_has_one_spelling(text: str, place: str) -> None:
    assert parse_destination(text).place.removeprefix("file://") == place
