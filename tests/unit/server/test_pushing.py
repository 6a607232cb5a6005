"""What a worker does for one push."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from trollmoves.config.reading import read_server_config
from trollmoves.errors import AlreadyHad, Denied, OriginChanged, OriginGone
from trollmoves.movers.checksums import checksum_of_bytes
from trollmoves.movers.circuits import OPENS_AFTER, Opened, of_this_process
from trollmoves.movers.file_session import SMALL
from trollmoves.movers.moving import temporary_name
from trollmoves.movers.sessions import Sessions
from trollmoves.server.beneath import Announced
from trollmoves.server.pushing import Member, Push, Pushing
from trollmoves.server.replies import checksum_of_all
from trollmoves.uris import parse_destination

STRANGER = "192.0.2.7"


def pushing(tmp_path: Path, more: str = "") -> Pushing:
    path = tmp_path / "server.ini"
    path.write_text(f"[one]\norigin = {tmp_path}/{{a}}\ntopic = /t\nrequest_port = 9094\n{more}\n")
    return Pushing(read_server_config(path).chains["one"], (str(tmp_path),))


def push(destination: str, backups: tuple[str, ...], peer: str) -> Push:
    return Push("0123456789abcdef", (), parse_destination(destination), backups, peer, 1)


def test_the_name_of_a_backup_target_is_looked_up_once_and_the_address_kept(tmp_path: Path) -> None:
    """Whoever answers for a name answers differently the second time."""
    asked = push("sftp://u:secret@127.0.0.1:1/in/", ("localhost", "localhost:22", "127.0.0.1"), "127.0.0.1")
    _, backups = pushing(tmp_path).check(asked)
    assert [(place.host, place.port, place.connect_to, place.password) for place in backups] == [
        ("localhost", None, "127.0.0.1", None), ("localhost", 22, "127.0.0.1", None), ("127.0.0.1", None, "", None)]


def test_a_backup_target_needs_the_rights_of_a_destination(tmp_path: Path) -> None:
    with pytest.raises(Denied, match=r"allowed_destinations = sftp://192\.0\.2\.8/in/\*"):
        pushing(tmp_path).check(push(f"sftp://{STRANGER}/in/", (STRANGER, "192.0.2.8"), STRANGER))


@pytest.mark.parametrize(("stranger", "backups", "hurried"), [
    (False, (), True), (True, (), False), (None, (), False), (False, ("localhost",), False)])
def test_the_process_of_small_moves_follows_links_and_gets_nothing_of_a_stranger(
        tmp_path: Path, stranger: bool | None, backups: tuple[str, ...], hurried: bool) -> None:
    """Also when it is known already that the stranger may have files there."""
    ours = pushing(tmp_path, f"allowed_destinations = {tmp_path}/*")
    asked = push(f"file://localhost{tmp_path}/in/", backups, "127.0.0.1")._replace(stranger=stranger)
    assert ours.plain(asked) is None
    ours.rights.check(asked.destination, asked.peer, asked.stranger)
    assert (ours.plain(asked) is not None) is hurried


@pytest.mark.parametrize("becomes", [None, b"other content"])
def test_what_a_killed_attempt_left_goes_when_the_origin_is_there_no_more(tmp_path: Path, becomes: bytes | None) -> None:
    origin, place = tmp_path / "a.dat", tmp_path / "in"
    origin.write_bytes(b"content")
    place.mkdir()
    status = origin.stat()
    announced = Announced(str(origin), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    asked = push(f"file://localhost{place}/", (), "127.0.0.1")._replace(members=(Member(announced, None),))
    left = place / temporary_name("a.dat", asked.transfer)
    left.write_bytes(b"cont")
    origin.unlink()
    if becomes is not None:
        origin.write_bytes(becomes)
    with pytest.raises(OriginGone if becomes is None else OriginChanged):
        pushing(tmp_path).push(asked, Sessions(), lambda done: None)
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("begun", [False, True])
def test_a_host_is_not_asked_about_what_was_not_begun(tmp_path: Path, begun: bool) -> None:
    """Files of which the origins have gone, and that nobody had begun to move, do not count against a host that is down."""
    told: list[Opened] = []
    of_this_process().tell_by(told.append)
    gone = Member(Announced(str(tmp_path / "a.dat"), 1, 2, 3, 4), None)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and nobody listens
        place = f"ftp://u:secret@127.0.0.1:{closed.getsockname()[1]}/in/{begun}"
        asked = push(place, (), "127.0.0.1")._replace(members=(gone,), begun=begun)
        for _ in range(OPENS_AFTER):
            with pytest.raises(OriginGone):
                pushing(tmp_path).push(asked, Sessions(), lambda done: None)
    assert len(told) == begun


def announced(path: Path) -> Announced:
    status = path.stat()
    return Announced(str(path), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@pytest.mark.parametrize("more", ["", "connection_parameters__use_tmp_on_transfer = true"])
@pytest.mark.parametrize(("relatives", "places"), [
    ((None, None), ("a.dat", "b.dat")),
    (("s1/", "s2/"), ("s1/a.dat", "s2/b.dat")),
    (("s1/x.dat", "x.dat"), ("s1/x.dat", "x.dat"))])
def test_each_file_of_a_set_goes_below_the_destination_that_was_asked_for(
        tmp_path: Path, relatives: tuple[str | None, ...], places: tuple[str, ...], more: str) -> None:
    """Upstream's second file goes below where the first one went, or takes its place."""
    origins = [tmp_path / name for name in ("a.dat", "b.dat")]
    for origin in origins:
        origin.write_bytes(origin.name.encode())
    members = tuple(Member(announced(origin), relative) for origin, relative in zip(origins, relatives, strict=True))
    asked = push(f"file://localhost{tmp_path}/in", (), "127.0.0.1")._replace(members=members)
    receipts = pushing(tmp_path, more).push(asked, Sessions(), lambda done: None)
    for origin, place, receipt in zip(origins, places, receipts, strict=True):
        assert (tmp_path / "in" / place).read_bytes() == origin.read_bytes()
        assert receipt.uri.endswith(f"/in/{place}")
    assert sum(path.is_file() for path in (tmp_path / "in").rglob("*")) == 2


def asked_for(origin: Path, place: Path) -> Push:
    """A push of *origin* to the directory *place*, for this machine."""
    status = origin.stat()
    announced = Announced(str(origin), status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    return push(f"file://localhost{place}/", (), "127.0.0.1")._replace(members=(Member(announced, None),))


@pytest.mark.parametrize("names", [["a.dat"], ["a.dat", "b.dat"]])
def test_only_other_content_than_who_asks_has_is_moved(tmp_path: Path, names: list[str]) -> None:
    ours, place = pushing(tmp_path), tmp_path / "in"
    for name in names:
        (tmp_path / name).write_bytes(name.encode())
    asked = asked_for(tmp_path / "a.dat", place)
    asked = asked._replace(members=tuple(asked_for(tmp_path / name, place).members[0] for name in names))
    had = checksum_of_all(ours.push(asked, Sessions(), lambda done: None))
    for name in names:
        (place / name).unlink()
    assert had is not None
    with pytest.raises(AlreadyHad):
        ours.push(asked._replace(unless=("sha256:0", had)), Sessions(), lambda done: None)
    assert list(place.iterdir()) == []
    ours.push(asked._replace(unless=("sha256:0",)), Sessions(), lambda done: None)
    assert sorted(path.name for path in place.iterdir()) == names


def test_who_may_have_nothing_is_not_told_whether_it_has_it(tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_bytes(b"content")
    asked = asked_for(tmp_path / "a.dat", tmp_path / "in")._replace(peer=STRANGER, unless=(checksum_of_bytes(b"content"),))
    with pytest.raises(Denied):
        pushing(tmp_path).push(asked, Sessions(), lambda done: None)


@pytest.mark.parametrize(("size", "more"), [(10, "link = true"), (10, "checksum = never"), (SMALL + 1, "")])
def test_a_checksum_is_told_to_who_wants_it_where_the_move_goes_without(tmp_path: Path, size: int, more: str) -> None:
    ours = pushing(tmp_path, more)
    (tmp_path / "a.dat").write_bytes(bytes(size))
    asked = asked_for(tmp_path / "a.dat", tmp_path / "in")
    assert ours.push(asked, Sessions(), lambda done: None)[0].checksum is None
    (tmp_path / "in" / "a.dat").unlink()
    wanted = asked._replace(told=True)
    assert ours.push(wanted, Sessions(), lambda done: None)[0].checksum == checksum_of_bytes(bytes(size))
    assert ours.is_small(asked, 10)
    assert not more or not ours.is_small(wanted, 10), "the process of small moves computes none"
    assert not ours.is_small(asked._replace(unless=("sha256:0",)), 10), "and compares none"
