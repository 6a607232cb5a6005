"""What is done in which order, and what is left when something goes wrong, wherever a file is moved to."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from trollmoves.errors import (
    ConnectionLost,
    DestinationInvalid,
    MoveError,
    OriginChanged,
    Stalled,
    Unreachable,
    VerificationFailed,
)
from trollmoves.movers.base import Abilities, Origin, Progress, Receipt, Sent, SessionSettings, nothing_written
from trollmoves.movers.ends import opened
from trollmoves.movers.memory import MemoryHost, MemoryMover, MemorySession, Stored
from trollmoves.movers.moving import RESUME_FROM, How, final_place, move, temporary_name
from trollmoves.uris import parse_destination

HOW = How("0123456789abcdef", overwrite="replace")
FINAL = "/in/final.dat"
TEMPORARY = temporary_name(FINAL, HOW.transfer)


class Watched(MemorySession):
    """Says what is done, and lets one thing of that go wrong."""

    def __init__(self) -> None:
        self.host = MemoryHost(directories={"/", "/in"})
        super().__init__(self.host, SessionSettings(), SessionSettings().pace("host"))
        self.done: list[str] = []
        self.fails: dict[str, BaseException] = {}
        self.says: Sent | None = None
        """What a put returns, in place of the truth."""
        self.sums: str | None = "sha256:0"
        """The checksum of whatever is there."""
        self.tells_sizes = True

    def _does(self, what: str) -> None:
        self.done.append(what)
        if what.partition(" ")[0] in self.fails:
            raise self.fails[what.partition(" ")[0]]

    def put(self, origin: Origin, path: str, progress: Progress, offset: int = 0) -> Sent:
        sent = super().put(origin, path, progress, offset)
        self._does(f"put {path}")
        return self.says or sent

    def size(self, path: str) -> int | None:
        return super().size(path) if self.tells_sizes else None

    def checksum(self, path: str) -> str | None:
        return super().checksum(path) if self.sums == "true" else self.sums

    def sync(self, path: str) -> None:
        self._does(f"sync {path}")

    def rename(self, source: str, target: str) -> None:
        self._does(f"rename {source}")
        super().rename(source, target)

    def remove(self, path: str) -> None:
        if "remove" in self.fails:
            raise self.fails["remove"]
        super().remove(path)

    @property
    def files(self) -> dict[str, bytes]:
        return {path: bytes(stored.content) for path, stored in self.host.files.items()}


@pytest.fixture
def session() -> Watched:
    return Watched()


def moved(session: Watched, root: Path, abilities: Abilities, how: How = HOW, place: str = FINAL,
          content: bytes = b"content") -> Receipt:
    path = root / "origin.dat"
    path.write_bytes(content)
    with opened(str(path)) as origin:
        return move(origin, parse_destination(f"memory://host{place}"), session, abilities, how)


@pytest.mark.parametrize("fails", ["put", "sync", "rename"])
@pytest.mark.parametrize("error", [ConnectionLost("the disk does not answer"), MemoryError()], ids=["ours", "unforeseen"])
def test_whatever_goes_wrong_nothing_is_left_and_the_final_name_is_as_it_was(session: Watched, tmp_path: Path, fails: str,
                                                                             error: Exception) -> None:
    session.host.files[FINAL] = Stored(bytearray(b"older"))
    session.fails[fails] = error
    with pytest.raises(type(error)):
        moved(session, tmp_path, Abilities(sync=True), HOW._replace(sync=True))
    assert session.files == {FINAL: b"older"}


def test_an_older_object_stays_where_none_can_take_its_place(session: Watched, tmp_path: Path) -> None:
    """An object store shows what was put when it is whole; until then there is the older one."""
    class Storing(Watched):
        def put(self, origin: Origin, path: str, progress: Progress, offset: int = 0) -> Sent:
            raise ConnectionLost("cut")
    session = Storing()
    session.host.files[FINAL] = Stored(bytearray(b"older"))
    with pytest.raises(ConnectionLost):
        moved(session, tmp_path, Abilities(rename=False, atomic_put=True))
    assert session.files == {FINAL: b"older"}


def test_a_part_of_what_was_written_in_place_is_removed(session: Watched, tmp_path: Path) -> None:
    session.fails["put"] = ConnectionLost("cut")
    with pytest.raises(ConnectionLost):
        moved(session, tmp_path, Abilities(), HOW._replace(inplace=True))
    assert session.files == {}


def test_what_was_there_stays_where_nothing_was_written_in_place(tmp_path: Path) -> None:
    class Refusing(Watched):
        def put(self, origin: Origin, path: str, progress: Progress, offset: int = 0) -> Sent:
            with nothing_written():
                raise ConnectionLost("cut")
    session = Refusing()
    session.host.files[FINAL] = Stored(bytearray(b"older"))
    with pytest.raises(ConnectionLost):
        moved(session, tmp_path, Abilities(), HOW._replace(inplace=True))
    assert session.files == {FINAL: b"older"}


def test_what_was_there_is_not_gone_on_with_in_place(tmp_path: Path) -> None:
    """An older file is not a part of the newer one."""
    settings = SessionSettings()
    with MemorySession(host := MemoryHost(directories={"/", "/in"}), settings, settings.pace("host")) as session:
        host.files[FINAL] = Stored(bytearray(b"o" * RESUME_FROM))
        path = tmp_path / "origin.dat"
        path.write_bytes(content := b"n" * (RESUME_FROM + 100))
        with opened(str(path)) as origin:
            how = HOW._replace(inplace=True, resume=True)
            move(origin, parse_destination(f"memory://host{FINAL}"), session, MemoryMover.abilities, how)
        assert bytes(host.files[FINAL].content) == content


def test_the_same_path_on_another_host_is_another_file(session: Watched, tmp_path: Path) -> None:
    session.make_directories(str(tmp_path))
    moved(session, tmp_path, Abilities(), place=f"{tmp_path}/origin.dat")
    assert session.files == {f"{tmp_path}/origin.dat": b"content"}


def test_a_host_without_a_path_is_its_uppermost_directory(session: Watched) -> None:
    assert final_place("origin.dat", parse_destination("memory://host"), session).path == "/origin.dat"


SUM = "sha256:" + hashlib.sha256(b"content").hexdigest()
SYNCING = HOW._replace(sync=True)


@pytest.mark.parametrize(("how", "abilities", "done"), [
    (SYNCING, Abilities(sync=True), [f"put {TEMPORARY}", f"sync {TEMPORARY}", f"rename {TEMPORARY}", "sync /in"]),
    (SYNCING, Abilities(), [f"put {TEMPORARY}", f"rename {TEMPORARY}"]),
    (HOW, Abilities(sync=True), [f"put {TEMPORARY}", f"rename {TEMPORARY}"]),
    (SYNCING._replace(inplace=True), Abilities(sync=True), [f"put {FINAL}", f"sync {FINAL}", "sync /in"]),
    (SYNCING._replace(inplace=True), Abilities(), [f"put {FINAL}"]),
    (SYNCING, Abilities(sync=True, rename=False, atomic_put=True), [f"put {FINAL}", f"sync {FINAL}", "sync /in"]),
])
def test_a_file_lasts_before_it_is_seen_and_its_name_before_it_is_told(session: Watched, tmp_path: Path, how: How,
                                                                       abilities: Abilities, done: list[str]) -> None:
    moved(session, tmp_path, abilities, how)
    assert session.done == done
    assert session.files == {FINAL: b"content"}


@pytest.mark.parametrize(("overwrite", "abilities", "there", "outcome"), [
    ("never", Abilities(checksum=True), b"content", "left"), ("never", Abilities(checksum=True), b"another", "refused"),
    ("never", Abilities(checksum=True), b"shorter", "refused"), ("never", Abilities(), b"content", "refused"),
    ("never", Abilities(size=False), b"content", "refused"), ("never", Abilities(), None, "sent"),
    ("identical", Abilities(checksum=True), b"content", "left"), ("identical", Abilities(checksum=True), b"another", "sent"),
    ("identical", Abilities(checksum=True), None, "sent"), ("identical", Abilities(), b"content", "sent"),
    ("replace", Abilities(checksum=True), b"content", "sent"),
])
def test_what_is_there_is_left_or_replaced_or_protected(session: Watched, tmp_path: Path, overwrite: str, abilities: Abilities,
                                                        there: bytes | None, outcome: str) -> None:
    session.sums, session.tells_sizes = "true", abilities.size
    if there is not None:
        session.host.files[FINAL] = Stored(bytearray(there))
    try:
        receipt = moved(session, tmp_path, abilities, HOW._replace(overwrite=overwrite))
        found = "sent" if receipt.copied else "left"
        assert receipt.copied or (receipt.verified, receipt.checksum) == ("sum", SUM)
    except DestinationInvalid:
        found = "refused"
    assert (found, bool(session.done)) == (outcome, outcome == "sent")
    assert session.files == {FINAL: there if outcome == "refused" else b"content"}


ALWAYS = HOW._replace(checksum="always")


@pytest.mark.parametrize(("how", "size", "says", "sums", "outcome"), [
    (HOW, True, Sent(7), "sha256:0", "size"), (HOW, False, Sent(7), "sha256:0", "none"),
    (HOW, True, Sent(7, SUM, "sum"), "sha256:0", "sum"), (HOW, False, Sent(7, None, "size"), "sha256:0", "size"),
    (HOW, True, Sent(6, SUM, "sum"), "true", VerificationFailed), (ALWAYS, True, Sent(7), "true", "sum"),
    (HOW, True, Sent(6, None, "size"), "true", VerificationFailed), (ALWAYS, True, Sent(7, SUM, "sum"), "sha256:0", "sum"),
    (ALWAYS, True, Sent(7, None, "size"), "sha256:0", VerificationFailed), (ALWAYS, True, Sent(7), None, DestinationInvalid),
    (ALWAYS, True, Sent(7, "sha256:1"), "true", VerificationFailed), (ALWAYS, True, Sent(7), "sha256:0", VerificationFailed),
])
def test_what_arrived_is_compared_as_far_as_it_is_asked_for(session: Watched, tmp_path: Path, how: How, size: bool, says: Sent,
                                                            sums: str | None, outcome: str | type[MoveError]) -> None:
    session.says, session.sums = says, sums
    if isinstance(outcome, str):
        receipt = moved(session, tmp_path, Abilities(size=size), how)
        assert receipt.verified == outcome
        assert receipt.checksum == (SUM if outcome == "sum" else None)
    else:
        with pytest.raises(outcome):
            moved(session, tmp_path, Abilities(size=size), how)
        assert session.files == {}


def test_what_arrived_in_part_is_not_shown(tmp_path: Path) -> None:
    class Losing(Watched):
        def put(self, origin: Origin, path: str, progress: Progress, offset: int = 0) -> Sent:
            sent = super().put(origin, path, progress, offset)
            del self.host.files[path].content[5:]
            return sent
    session = Losing()
    with pytest.raises(VerificationFailed):
        moved(session, tmp_path, Abilities())
    assert session.files == {}


@pytest.mark.parametrize("change", ["size", "time"])
def test_an_origin_that_is_written_to_behind_what_was_read_is_not_delivered(tmp_path: Path, change: str) -> None:
    path = tmp_path / "origin.dat"

    class Late(Watched):
        def put(self, origin: Origin, path_there: str, progress: Progress, offset: int = 0) -> Sent:
            sent = super().put(origin, path_there, progress, offset)
            if change == "size":
                path.write_bytes(b"contents")
            os.utime(path, ns=(0, origin.mtime_ns + (change == "time")))
            return sent
    session = Late()
    with pytest.raises(OriginChanged):
        moved(session, tmp_path, Abilities())
    assert session.files == {}


PART = b"p" * (RESUME_FROM + 7)
RESUMING = HOW._replace(resume=True)


@pytest.mark.parametrize(("how", "there", "offset"), [
    (RESUMING, RESUME_FROM, RESUME_FROM), (RESUMING, RESUME_FROM - 1, 0), (RESUMING, len(PART), len(PART)),
    (RESUMING, len(PART) + 1, 0), (HOW, RESUME_FROM, 0)])
def test_a_part_is_gone_on_with_when_it_is_worth_that_and_cannot_be_another_file(session: Watched, tmp_path: Path, how: How,
                                                                                there: int, offset: int) -> None:
    offsets: list[int] = []

    class Offset(Watched):
        def put(self, origin: Origin, path: str, progress: Progress, offset: int = 0) -> Sent:
            offsets.append(offset)
            return super().put(origin, path, progress, offset)
    session = Offset()
    session.host.files[TEMPORARY] = Stored(bytearray(b"p" * there))
    moved(session, tmp_path, Abilities(resume=True), how, content=PART)
    assert offsets == [offset]
    assert session.files == {FINAL: PART}


@pytest.mark.parametrize("error", [ConnectionLost("cut"), Stalled("no byte moves"), Unreachable("gone")])
@pytest.mark.parametrize(("how", "abilities", "size", "kept"), [
    (RESUMING, Abilities(resume=True), len(PART), True), (RESUMING, Abilities(), len(PART), False),
    (HOW, Abilities(resume=True), len(PART), False), (RESUMING, Abilities(resume=True), RESUME_FROM - 1, False)])
def test_a_part_is_kept_for_a_later_attempt_where_there_may_be_one(session: Watched, tmp_path: Path, how: How, size: int,
                                                                   abilities: Abilities, kept: bool, error: MoveError) -> None:
    session.fails["put"] = error
    with pytest.raises(type(error)):
        moved(session, tmp_path, abilities, how, content=PART[:size])
    assert list(session.files) == ([TEMPORARY] if kept else [])


@pytest.mark.parametrize("error", [ConnectionLost("cut"), OSError("unforeseen")])
def test_the_first_error_is_told_when_nothing_can_be_removed_either(session: Watched, tmp_path: Path, error: Exception) -> None:
    session.fails |= {"put": Stalled("first"), "remove": error}
    with pytest.raises(Stalled, match="first"):
        moved(session, tmp_path, Abilities())


def test_an_attempt_that_is_slower_than_asked_for_is_ended(session: Watched, tmp_path: Path) -> None:
    with pytest.raises(Stalled, match="min_rate"):
        moved(session, tmp_path, Abilities(), HOW._replace(min_rate=10**12, patience=-1.0), content=PART)
    assert session.files == {}


class Particular(Watched):
    """A server that has not all that others of its kind have, which shows when something was put there."""

    def __init__(self, **lacks: bool) -> None:
        super().__init__()
        self.lacks = lacks
        self.shows = False

    def abilities(self, declared: Abilities) -> Abilities:
        return replace(declared, **self.lacks) if self.shows or self.done else declared


def test_what_this_very_server_cannot_do_is_not_asked_of_it(tmp_path: Path) -> None:
    session = Particular(rename=False)
    session.shows = True
    with pytest.raises(DestinationInvalid, match="inplace"):
        moved(session, tmp_path, Abilities())
    assert not session.done
    session = Particular(size=False)
    session.tells_sizes = False
    assert moved(session, tmp_path, Abilities()).verified == "none"
