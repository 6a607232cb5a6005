"""Who may have files pushed where."""

from __future__ import annotations

import pytest

from trollmoves.errors import Denied, DestinationInvalid
from trollmoves.server import rights as rights_module
from trollmoves.server.rights import KEEP, NotAllowed, Rights, Unknown
from trollmoves.uris import CACHED, parse_destination

STRANGER = "192.0.2.7"


@pytest.fixture(autouse=True)
def known_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that nobody knows is so also on a machine without a name server, where it cannot be told."""
    look_up = rights_module.known_addresses_of
    monkeypatch.setattr(rights_module, "known_addresses_of", lambda host: look_up(host) or ())


def allowed(destination: str, peer: str, *patterns: str, inline: bool = True) -> bool:
    try:
        Rights("one", patterns, inline).check(parse_destination(destination), peer)
    except Denied:
        return False
    return True


@pytest.mark.parametrize(("destination", "peer", "expected"), [
    ("file:///data/in/", "127.0.0.1", True),
    ("/data/in/", "127.0.0.1", True),
    ("file:///data/in/", STRANGER, False),
    ("file://elsewhere/data/in/", STRANGER, False),
    (f"sftp://{STRANGER}/in/", STRANGER, True),
    (f"sftp://{STRANGER}:2222/in/", STRANGER, True),
    ("sftp://192.0.2.8/in/", STRANGER, False),
    ("sftp://localhost/in/", "127.0.0.1", True),
    ("sftp://localhost/in/", "127.0.0.2", True),
    ("sftp://127.0.0.2/in/", "127.0.0.1", True),
    ("sftp://localhost/in/", STRANGER, False),
    ("sftp://127.0.0.1/in/", STRANGER, False),
    ("sftp://0x7f.1/in/", STRANGER, False),
    (f"sftp://[::ffff:{STRANGER}]/in/", STRANGER, True),
    ("s3://bucket/in/", "127.0.0.1", False),
    ("s3://localhost/in/", "127.0.0.1", False),
    (f"s3://{STRANGER}/in/", STRANGER, False),
    ("sftp://no.such.host.invalid/in/", STRANGER, False),
])
def test_without_a_list_a_peer_may_have_files_for_itself(destination: str, peer: str, expected: bool) -> None:
    assert allowed(destination, peer) is expected


@pytest.mark.parametrize(("destination", "pattern", "expected"), [
    ("sftp://host/data/in/x", "sftp://host/data/in/*", True),
    ("sftp://host/data/in", "sftp://host/data/in", True),
    ("sftp://host/data/in/deeper/x", "sftp://host/data/in", True),
    ("sftp://host/data/input", "sftp://host/data/in", False),
    ("sftp://HOST/data/in/x", "sftp://host/data/in/*", True),
    ("sftp://host.evil/data/in/x", "sftp://host/data/in/*", False),
    ("sftp://a@host/data/in/x", "sftp://b@host/data/in/*", False),
    ("sftp://b@host/data/in/x", "sftp://b@host/data/in/*", True),
    ("sftp://host:23/data/in/x", "sftp://host:22/data/in/*", False),
    ("ftp://host/data/in/x", "sftp://host/data/in/*", False),
    ("sftp://host/data//in/./x", "sftp://host/data/in/*", True),
    ("sftp://host/data/in1/x", "sftp://host/data/in?/*", True),
    ("sftp://host/data/in/x", "sftp://host/data/in?/*", False),
    ("file:///data/in/x", "file:///data/in?/*", False),
    ("file:///data/in1/x", "file:///data/in?/*", True),
    ("ftp://host1/data/x", "ftp://host?/data/*", True),
    ("ftp://host/etc/x", "ftp://host?/data/*", False),
    ("http://host/etc/x", "http://host?key=word", False),
    ("file:///etc/x", "file:///data/*", False),
    ("file:///data/x", "file:///data/*", True),
    ("file://elsewhere/data/x", "file://other/data/*", False),
    ("file:///data/in1", "file:///data/in?", True),
    ("file:///data/in1/x", "file:///data/in[12]/x", True),
    ("file:///DATA/in/x", "file:///data/in/*", False),
    ("file:////data/in/x", "file:///data/in/*", True),
    ("file:///data/in/x", "sftp://host/data/in/*", False),
    ("sftp://host/data/in/x", "file:///data/in/*", False),
    ("file:///anywhere", "any", True),
    ("s3://bucket/key", "s3://bucket/*", True),
    ("s3://other/key", "s3://bucket/*", False),
])
def test_a_list_allows_what_matches(destination: str, pattern: str, expected: bool) -> None:
    assert allowed(destination, STRANGER, pattern) is expected


def test_a_refusal_names_the_option_and_its_value() -> None:
    with pytest.raises(Denied, match=r"\[one\].*allowed_destinations = sftp://host/in/\*"):
        Rights("one", (), True).check(parse_destination("sftp://u:secret@host/in/x"), STRANGER)


def test_the_whole_disk_is_not_what_to_allow() -> None:
    """As a container's client asks for a directory that it shares with the server."""
    with pytest.raises(Denied, match="allowed_destinations = file://other/target$"):
        Rights("one", (), True).check(parse_destination("file://other/target"), "192.0.2.9")
    allowed = Rights("one", ("file://other/target",), True)
    for path in ("/target", "/target/", "/target/deep/"):
        allowed.check(parse_destination(f"file://other{path}"), "192.0.2.9")
    with pytest.raises(Denied):
        allowed.check(parse_destination("file://other/etc/"), "192.0.2.9")


def test_a_refusal_shows_no_query() -> None:
    with pytest.raises(Denied, match=r"http://host/x\?\*\*\* is not allowed.*allowed_destinations = http://host/\*$"):
        Rights("one", (), True).check(parse_destination("http://host/x?key=secret"), STRANGER)


def test_credentials_in_requests_can_be_refused_and_are_never_shown() -> None:
    with pytest.raises(Denied, match="allow_inline_credentials") as caught:
        Rights("one", ("any",), False).check(parse_destination("sftp://u:secret@host/in/x"), STRANGER)
    assert "secret" not in str(caught.value)


def test_a_name_is_looked_up_once_and_the_address_kept() -> None:
    place = Rights("one", (), True).check(parse_destination("sftp://localhost/in/x"), "127.0.0.1")
    assert (place.host, place.connect_to) == ("localhost", "127.0.0.1")


def test_dots_do_not_get_out() -> None:
    with pytest.raises(DestinationInvalid):
        parse_destination("sftp://host/data/in/../../etc/x")
    place = parse_destination("sftp://host/data/in/x").with_path("/data/in/../../etc/x")  # however it came to be
    with pytest.raises(DestinationInvalid):
        Rights("one", ("sftp://host/data/in/*",), True).check(place, STRANGER)


@pytest.mark.parametrize("destination", ["/data/in/", "file:///data/in/", "sftp://localhost/in/", "sftp://127.0.0.1/in/"])
def test_another_user_of_roots_machine_has_none_of_roots_rights(destination: str) -> None:
    rights, place = Rights("one", (), True), parse_destination(destination)
    rights.check(place, "127.0.0.1")  # and what root may counts for root alone
    for _ in range(2):
        with pytest.raises(NotAllowed, match="whose user is not root"):
            rights.check(place, "127.0.0.1", stranger=True)
        with pytest.raises(Unknown):
            rights.check(place, "127.0.0.1", stranger=None)
    assert Rights("one", (destination,), True).check(place, "127.0.0.1", stranger=True)


def test_another_user_of_roots_machine_may_log_in_there_as_it_says() -> None:
    place = parse_destination("sftp://me:mine@localhost/in/")
    assert Rights("one", (), True).check(place, "127.0.0.1", stranger=True).connect_to == "127.0.0.1"


def test_a_permission_counts_for_a_few_seconds_and_for_who_got_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer, and whose address a name once was could have files for good."""
    rights, place, now = Rights("one", (), True), parse_destination(f"sftp://{STRANGER}/in/"), 1000.0
    monkeypatch.setattr(rights_module.time, "monotonic", lambda: now)
    rights.check(place, STRANGER)
    assert rights.known(place, STRANGER) == place
    assert rights.known(place, "192.0.2.8") is rights.known(place, STRANGER, stranger=True) is None
    now += KEEP
    assert rights.known(place, STRANGER) is None


def test_only_so_many_permissions_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rights_module, "MOST_KEPT", 3)
    kept = Rights("s", ("any",), True)
    places = [parse_destination(f"file:///in/{number}/") for number in range(4)]
    for place in places:
        kept.check(place, "198.51.100.1")
    assert [kept.known(place, "198.51.100.1") is not None for place in places] == [False, False, False, True]
    long = parse_destination(f"file:///{'x' * CACHED}/")
    kept.check(long, "198.51.100.1")
    assert kept.known(long, "198.51.100.1") is None
