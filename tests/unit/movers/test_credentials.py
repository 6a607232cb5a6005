"""Whose account is used, and which netrc files are not trusted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.contract.movers import everything_said
from trollmoves.errors import DestinationInvalid, LoginRefused
from trollmoves.movers.base import SessionSettings
from trollmoves.movers.credentials import Login, login_for, login_from_netrc
from trollmoves.movers.ssh_login import login_of
from trollmoves.uris import parse_destination

SECRET = "pl4nted-s3cret"
ENTRIES = f"""
machine one.example login anna password {SECRET}
machine two.example login bert account extra password other
"""


@pytest.fixture
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "netrc"
    path.write_text(ENTRIES)
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))
    return path


@pytest.mark.parametrize(("uri", "expected"), [
    ("ftp://carl:mine@one.example/", Login("carl", "mine")),
    ("ftp://carl:@one.example/", Login("carl", "")),
    ("ftp://carl@one.example/", Login("carl", "")),
    ("ftp://anna@one.example/", Login("anna", SECRET)),
    ("ftp://one.example/", Login("anna", SECRET)),
    ("ftp://two.example/", Login("bert", "other", "extra")),
    ("ftp://three.example/", None),
])
def test_the_uri_comes_first_then_netrc(netrc: Path, uri: str, expected: Login | None) -> None:
    assert login_for(parse_destination(uri), SessionSettings(by_request=True)) == expected


def test_the_default_entry_is_for_all_other_hosts(netrc: Path) -> None:
    netrc.write_text(ENTRIES + "default login dora password d\n")
    assert login_from_netrc("three.example") == Login("dora", "d")


@pytest.mark.parametrize(("uri", "by_request", "auth_hosts", "told"), [
    ("ftp://three.example/", False, None, True), ("ftp://dora@three.example/", False, None, True),
    ("ftp://three.example/", True, None, False), ("ftp://dora@three.example/", True, None, False),
    ("ftp://three.example/", True, "one.example Three.Example", True), ("ftp://three.example/", True, ["four.example"], False),
])
def test_of_hosts_that_clients_name_those_of_auth_hosts_are_told_the_default_entry(
        netrc: Path, uri: str, by_request: bool, auth_hosts: object, told: bool) -> None:
    netrc.write_text(ENTRIES + f"default login dora password {SECRET}\n")
    settings = SessionSettings(by_request=by_request, parameters={"auth_hosts": auth_hosts})
    if told:
        assert login_for(parse_destination(uri), settings) == Login("dora", SECRET)
        return
    with pytest.raises(LoginRefused, match="connection_parameters__auth_hosts = three.example") as caught:
        login_for(parse_destination(uri), settings)
    assert SECRET not in everything_said(caught.value)
    other = parse_destination("ftp://emil@three.example/")
    assert login_for(other, settings) == Login("emil")


def test_everybody_s_account_is_no_secret(netrc: Path) -> None:
    netrc.write_text("default login anonymous password user@site.example\n")
    assert login_for(parse_destination("ftp://three.example/"), SessionSettings(by_request=True)) is not None


def test_a_changed_file_counts_at_once(netrc: Path) -> None:
    assert login_from_netrc("one.example") == Login("anna", SECRET)
    netrc.write_text("machine one.example login anna password new\n")
    assert login_from_netrc("one.example") == Login("anna", "new")


def test_the_file_in_the_home_directory(netrc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NETRC")
    monkeypatch.setenv("HOME", str(netrc.parent))
    assert login_from_netrc("one.example") is None
    netrc.rename(netrc.parent / ".netrc")
    assert login_from_netrc("one.example") == Login("anna", SECRET)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
def test_a_file_that_others_can_read_is_refused_where_it_is_needed(netrc: Path, mode: int) -> None:
    netrc.chmod(mode)
    with pytest.raises(LoginRefused, match="chmod 600") as caught:
        login_from_netrc("one.example")
    assert SECRET not in everything_said(caught.value)
    assert login_from_netrc("three.example") is None


def test_a_file_of_somebody_else_is_refused(netrc: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("giving a file away needs root")
    os.chown(netrc, 65534, 65534)
    with pytest.raises(LoginRefused):
        login_from_netrc("one.example")


@pytest.mark.parametrize("content", [f"machine one.example login anna {SECRET} password\n", f"machine one.example {SECRET}\n"])
def test_the_complaint_about_a_malformed_file_quotes_nothing_of_it(netrc: Path, content: str) -> None:
    netrc.write_text(content)
    with pytest.raises(LoginRefused, match="malformed") as caught:
        login_from_netrc("one.example")
    assert SECRET not in everything_said(caught.value)
    assert caught.value.__context__ is None


def test_bytes_that_are_no_text(netrc: Path) -> None:
    netrc.write_bytes(b"\xff\xfe machine")
    with pytest.raises(LoginRefused):
        login_from_netrc("one.example")


def test_a_login_does_not_show_its_password() -> None:
    assert SECRET not in repr(Login("anna", SECRET, SECRET))


def test_a_process_whose_user_has_no_name_is_told_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs as any number: who asked was answered with a KeyError."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 7)
    with pytest.raises(DestinationInvalid, match="names no user.*username"):
        login_of(parse_destination("sftp://one.example/in/"), SessionSettings())
    assert login_of(parse_destination("sftp://anna@one.example/in/"), SessionSettings()).user == "anna"
    assert login_of(parse_destination("sftp://one.example/"), SessionSettings(parameters={"username": "bert"})).user == "bert"
