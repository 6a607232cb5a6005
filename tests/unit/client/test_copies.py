"""What is remembered of copies that other providers announced."""

from __future__ import annotations

import pytest

from trollmoves.client import copies
from trollmoves.client.copies import Copies
from trollmoves.messages import Announcement, Envelope, decode, read_announcement


def announced(key: str, offset: int, *, name: str = "a.dat", path: str = "/data/a.dat", epoch: str = "e:1") -> Announcement:
    said = {"version": 1, "epoch": epoch, "offset": offset, "previous": 0, "key": key, "size": 10, "address": "host:1"}
    data = {"uid": name, "uri": path, "request_address": "host:1", "trollmoves": said}
    return read_announcement(decode(Envelope("u@h").encode("/a", "file", data)))


def test_a_provider_that_announces_another_content_later_has_no_copy_any_more() -> None:
    known = Copies()
    assert not known.is_replaced(1, announced("k:1", 3))
    assert not known.is_replaced(1, announced("k:1", 4)), "the same once more"
    assert not known.is_replaced(1, announced("k:0", 2)), "heard late"
    assert known.is_replaced(1, announced("k:2", 5))


@pytest.mark.parametrize("other", [
    announced("k:2", 5, path="/other/a.dat"), announced("k:2", 5, epoch="e:2"), announced("k:2", 5, name="b.dat")])
def test_what_is_elsewhere_replaces_nothing(other: Announcement) -> None:
    known = Copies()
    known.is_replaced(1, announced("k:1", 3))
    assert not known.is_replaced(1, other)


def test_a_copy_of_other_content_is_one() -> None:
    known = Copies()
    known.is_replaced(1, announced("k:1", 3))
    assert not known.is_replaced(2, announced("k:2", 5))


def test_only_the_last_ones_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "MOST", 2)
    known = Copies()
    for name in ("a", "b", "c"):
        known.is_replaced(1, announced("k:1", 3, name=name))
    assert not known.is_replaced(1, announced("k:2", 4, name="a"))
    assert known.is_replaced(1, announced("k:2", 4, name="c"))


def test_what_is_told_again_does_not_make_news_of_what_came_later() -> None:
    seen = Copies()
    assert [seen.is_replaced(1, announced(key, offset)) for key, offset in (("k:1", 5), ("k:0", 3), ("k:1", 5))] == [False] * 3


def test_what_tells_nothing_of_its_content_is_remembered_as_no_copy() -> None:
    seen = Copies()
    assert [seen.is_replaced(1, announced(key, offset)) for key, offset in (("", 1), ("k:1", 2))] == [False] * 2
