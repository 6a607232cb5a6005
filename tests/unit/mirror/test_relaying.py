"""What is heard in front is in the journal before it is announced behind, and goes in no circle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from tests.support.eventually import eventually, never
from trollmoves.bus import Loop
from trollmoves.bus.streaming import Unheard
from trollmoves.client.flight import Source
from trollmoves.client.ledger import Ledger
from trollmoves.config.reading import read_mirror_config
from trollmoves.journal import Journal
from trollmoves.messages import EXTENSION, Announcement, Envelope, decode, read_announcement
from trollmoves.mirror.relaying import MOST_MIRRORS, Relaying
from trollmoves.server.recent import Recent

ENVELOPE = Envelope("somebody@here")


class Behind(Unheard):
    """Notes what is announced, and whether the journal and those who answer requests know it then."""

    def __init__(self, journal: Journal, recent: Recent):
        self.said: list[dict[str, Any]] = []
        self._journal = journal
        self._recent = recent

    def publish(self, raw: bytes, subject: str, position: int) -> None:
        message = decode(raw)
        row = self._journal.find_one("announcements_since", (position - 1, 1))
        kept = self._recent.take(position)
        self.said.append({**message.fields, **message.extension, "kept": kept and kept["identity"],
                          "written": row is not None and row["message"] == raw.decode()})


class Mirror:
    """The relay of one section; its loop is turned by the test."""

    def __init__(self, root: Path, options: str = ""):
        (root / "mirror.ini").write_text("[s]\nproviders = 127.0.0.1:9010\ntopic = /a\nrequest_port = 9999\n"
                                         f"destination = file://{root}/in\n{options}")
        settings = read_mirror_config(root / "mirror.ini").chains["s"]
        self.loop = Loop()
        self.journal = Journal(root / "journal", self.loop.call_all, self.loop.fail)
        recent = Recent()
        self.behind, self.asking, self.doubting, self.told = Behind(self.journal, recent), Mock(), Mock(), list[str]()
        self.doubting.row_of.return_value, self.doubting.begins_anew.return_value = None, False
        self.pages = list[int]()
        """How much was announced when the next page was asked for."""
        self.ledger = Ledger("s", self.journal)
        self.relaying = Relaying(settings, "m:us", "127.0.0.1:9999", self.ledger, self.journal, self.loop, ENVELOPE,
                                 self.behind, recent, self.asking,  # type: ignore[arg-type]
                                 lambda file, heard: self.told.append(heard.identity), self.doubting)
        self.relaying.start()

    def hear(self, *announcements: Announcement) -> None:
        """As `Hearing` does."""
        for announcement in announcements:
            if self.relaying.is_welcome(announcement):
                self.relaying.begin(Source(announcement.address, announcement), 0)
        self.ledger.write(self.relaying.committing(lambda: self.pages.append(len(self.behind.said))))

    def names(self) -> list[str]:
        self.loop.turn(0.02)
        return [said["uid"] for said in self.behind.said]

    def close(self) -> None:
        self.relaying.stop()
        self.journal.close()
        self.loop.close()


@pytest.fixture
def mirror(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Mirror]:
    found = Mirror(tmp_path, getattr(request, "param", ""))
    yield found
    found.close()


def announced(name: str, provider: int = 1, via: list[str] | None = None, **more: Any) -> Announcement:
    address = f"127.0.0.1:{provider}"
    said = {"version": 1, "epoch": "e:1", "offset": 1, "previous": 0, "address": address, "key": f"k:{name}", "size": 1,
            **({"via": via} if via is not None else {}), **more}
    data = {"uid": name, "uri": f"/there/{name}", "request_address": address, EXTENSION: said}
    return read_announcement(decode(ENVELOPE.encode("/a", "file", data)))


def test_what_is_heard_is_written_first_and_then_announced_in_order_as_asked_for_here(mirror: Mirror) -> None:
    mirror.hear(announced("b", via=["m:one"]), announced("a", mtime=7.0), announced("b2", epoch=None))
    assert not mirror.behind.said and mirror.ledger.known("a")[0] == 2, "heard again now it is no news"
    eventually(lambda: len(mirror.names()) == 3, interval=0.0)
    assert mirror.pages == [3]
    assert mirror.names() == mirror.told == ["b", "a", "b2"]
    first, second, third = mirror.behind.said
    assert [(said["written"], said["kept"]) for said in mirror.behind.said] == [(True, "b"), (True, "a"), (True, "b2")]
    assert {said["request_address"] for said in mirror.behind.said} == {"127.0.0.1:9999"}
    assert (first["via"], second["via"]) == (["m:one", "m:us"], ["m:us"])
    assert (first["key"], second["mtime"]) == ("k:b", 7.0)
    assert "key" not in third, "of what has no epoch nobody can say that it is the same"
    assert [said["previous"] for said in mirror.behind.said] == [0, first["offset"], second["offset"]]
    assert not mirror.ledger._unwritten


@pytest.mark.parametrize(("via", "welcome"), [
    ([], True), (["m:one"], True), (["m:us"], False), (["m:one", "m:us", "m:two"], False),
    ([f"m:{number}" for number in range(MOST_MIRRORS)], True), ([f"m:{number}" for number in range(MOST_MIRRORS + 1)], False)])
def test_what_has_been_here_before_or_comes_from_too_far_is_not_announced(mirror: Mirror, via: list[str], welcome: bool) -> None:
    mirror.hear(announced("a", via=via), announced("b"))
    eventually(lambda: "b" in mirror.names(), interval=0.0)
    assert mirror.names() == (["a", "b"] if welcome else ["b"])
    assert mirror.relaying.dropped == (not welcome)


@pytest.mark.parametrize("mirror", ["origin = /kept/{name}.dat\n"], indirect=True)
def test_of_what_consists_of_several_files_all_have_to_be_of_the_origin(mirror: Mirror) -> None:
    def dataset(*names: str) -> Announcement:
        parts = [{"uid": name, "uri": f"/there/{name}"} for name in names]
        data = {"dataset": parts, "request_address": "127.0.0.1:1", EXTENSION: announced("set").message.extension}
        return read_announcement(decode(ENVELOPE.encode("/a", "dataset", data)))
    sets = [("a.dat", "b.dat"), ("a.dat", "secret.txt"), ("secret.txt",)]
    assert [mirror.relaying.is_welcome(dataset(*names)) for names in sets] == [True, False, False]


@pytest.mark.parametrize("mirror", ["delay = 1\n"], indirect=True)
def test_what_waits_for_its_delay_is_announced_when_that_is_over_also_by_the_next_process(mirror: Mirror, tmp_path: Path) -> None:
    mirror.hear(announced("a"))
    never(mirror.names, 0.3, interval=0.0)
    mirror.hear(announced("b"))
    never(mirror.names, 0.2, interval=0.0)
    eventually(lambda: mirror.names() == ["a", "b"], interval=0.0)
    assert all(said["written"] for said in mirror.behind.said)
    mirror.hear(announced("c"))
    eventually(lambda: mirror.names() and mirror.journal.find("files_in_state", ("s", "seen")), interval=0.0)
    mirror.close()
    again = Mirror(tmp_path, "delay = 1\n")
    eventually(lambda: again.names() == ["c"], interval=0.0)
    never(lambda: again.names() != ["c"], 0.5, interval=0.0)
    mirror.loop, mirror.journal = again.loop, again.journal


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize(("via", "asked"), [([], True), (["m:one"], True), (["m:one", "m:two"], False)])
def test_who_is_as_near_to_the_origin_may_be_asked_as_well_and_nobody_farther(mirror: Mirror, via: list[str], asked: bool,
                                                                              written: bool) -> None:
    """Mirrors would wait for each other."""
    mirror.hear(announced("a", via=["m:far"]))
    if written:
        eventually(mirror.names, interval=0.0)
    other = announced("a", provider=2, via=via)
    mirror.relaying.also_from(1, Source(other.address, other))
    assert mirror.asking.add_source.called is asked
    assert ("add_source" in [statement for statement, _ in mirror.ledger._records]) is asked


@pytest.mark.parametrize(("state", "confirmed"), [("announced", False), ("moved", False), ("moved", True)])
@pytest.mark.parametrize("epoch", ["e:1", None])
def test_who_has_what_all_have_got_here_is_told(mirror: Mirror, state: str, confirmed: bool, epoch: str | None) -> None:
    """Of ours it is noted who is to be told."""
    mirror.hear(announced("a"))
    eventually(mirror.names, interval=0.0)
    move = (1, "1", "s", "one", "one", False, "p", "r", "file:///x", "acknowledged" if confirmed else "moved", 1.0, 1, "[]")
    written = Mock()
    mirror.journal.write([("step", [(state, 1.0, 1, "", 1)]), ("put_transfer", [move])], written)
    eventually(lambda: mirror.loop.turn(0.05) or written.called, interval=0.0)
    mirror.relaying.also_from(1, Source("127.0.0.1:2", announced("a", provider=2, epoch=epoch)))
    assert mirror.asking.acknowledging.tell.called is (confirmed and epoch is None)
    assert ("add_removal" in [statement for statement, _ in mirror.ledger._records]) is (confirmed and epoch is not None)
